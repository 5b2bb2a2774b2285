"""From a target's config to the parts that it is made of.

Covers: which finder, which ladder settings, which requests a config means.
Leaves to others: maps (`parts_mapping`), what is allowed in a config (`config`), what the parts do.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from memory_watchdog.actions.evidence import DEADLINE_SECONDS
from memory_watchdog.actions.http import CleanupRequest
from memory_watchdog.actions.mcp import ToolCall
from memory_watchdog.actions.reclaim import Reclaim
from memory_watchdog.actions.restart import CHECK_SECONDS, KILL_SECONDS, WORKERS_SECONDS
from memory_watchdog.actions.steps import CleanupStep
from memory_watchdog.config import ABSENT, CleanupConfig, LevelConfig, TargetConfig
from memory_watchdog.config_models import RestartConfig
from memory_watchdog.expressions import compile_expression
from memory_watchdog.http_client import TargetClient
from memory_watchdog.parts_mapping import size_in_json, statistics_map
from memory_watchdog.policy.settings import LadderSettings, LevelSettings, RestartSettings
from memory_watchdog.sources.discovery import (
    ByCgroup,
    ByCommand,
    ByPid,
    ByPidFile,
    ByPort,
    BySocket,
    ByUrl,
    Finder,
)
from memory_watchdog.sources.stats import StatisticsBody, StatisticsSource


def ladder_settings(target: TargetConfig) -> LadderSettings:
    """What the ladder is told."""
    return LadderSettings(
        levels=tuple(_level_settings(level) for level in target.levels),
        stale_after_seconds=target.stale_after,
        settle_seconds=target.settle,
        escalate_after=target.escalate_after,
        max_cooldown_seconds=target.max_cooldown,
        budget_actions=target.budget.actions,
        budget_per_seconds=target.budget.per,
        statistics_configured=target.stats is not None,
        dry_run=target.dry_run,
        forecast_within_seconds=target.forecast.within,
        forecast_above=target.forecast.above,
        restart=None if target.restart is None else _restart_settings(target.restart),
    )


def _restart_settings(restart: RestartConfig) -> RestartSettings:
    drain = 0.0 if restart.drain is None else restart.drain.timeout
    return RestartSettings(
        after=restart.after,
        min_age_seconds=restart.min_age,
        budget_actions=restart.budget.actions,
        budget_per_seconds=restart.budget.per,
        steps_seconds=CHECK_SECONDS + DEADLINE_SECONDS + drain + restart.term + WORKERS_SECONDS + KILL_SECONDS,
    )


def drain_request(restart: RestartConfig) -> CleanupRequest | None:
    """What is sent before the process is ended."""
    drain = restart.drain
    if drain is None:
        return None
    return CleanupRequest(
        path=drain.path,
        method=drain.method,
        timeout_seconds=drain.timeout,
        has_body=drain.body is not ABSENT,
        body=None if drain.body is ABSENT else drain.body,
        headers=drain.headers,
        token_file=drain.bearer_token_file,
    )


def _level_settings(level: LevelConfig) -> LevelSettings:
    return LevelSettings(
        name=level.name,
        enter=level.enter,
        exit=level.exit,
        sustain_seconds=level.sustain,
        cooldown_seconds=level.cooldown,
        min_reclaim=level.min_reclaim,
        cleanup_timeout_seconds=level.cleanup_timeout,
    )


def finder_of(target: TargetConfig) -> Finder | None:
    """How the target's process is found; None where its url leads to another machine."""
    process = target.process
    if process is None:
        return _finder_of_url(target.url or "")
    if process.port is not None:
        return ByPort(process.port)
    if process.pid is not None:
        return ByPid(process.pid)
    if process.pid_file is not None:
        return ByPidFile(process.pid_file)
    if process.command is not None:
        return ByCommand(process.command)
    assert process.cgroup is not None, "exactly one is set, config checks it"
    return ByCgroup(process.cgroup)


def _finder_of_url(url: str) -> Finder | None:
    if url.startswith("unix:"):
        return ByUrl(BySocket(url.removeprefix("unix:")))
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return None
    return ByUrl(ByPort(parts.port or (443 if parts.scheme == "https" else 80)))


def is_loopback(host: str) -> bool:
    """Does a host name or address mean this machine (or this network namespace)?"""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cleanup_requests(target: TargetConfig) -> dict[str, tuple[CleanupStep, ...]]:
    """By level, what is sent there, in order."""
    return {
        level.name: tuple(_cleanup_step(request) for request in level.cleanup)
        for level in target.levels
        if level.cleanup is not None
    }


def _cleanup_step(request: CleanupConfig) -> CleanupStep:
    error = None if request.error is None else compile_expression(request.error)
    if request.mcp is not None:
        return ToolCall(
            url=request.mcp.url,
            path=request.mcp.path,
            tool=request.mcp.tool,
            arguments=dict(request.mcp.arguments),
            timeout_seconds=request.timeout,
            headers=request.headers,
            token_file=request.bearer_token_file,
            error=error,
            claimed=size_in_json(request.claimed),
        )
    if request.reclaim is not None:
        return Reclaim(request.timeout)
    assert request.path is not None, "a cleanup has a path, a tool or reclaim, config checks it"
    return CleanupRequest(
        path=request.path,
        method=request.method,
        timeout_seconds=request.timeout,
        has_body=request.body is not ABSENT,
        body=None if request.body is ABSENT else request.body,
        headers=request.headers,
        token_file=request.bearer_token_file,
        error=error,
        claimed=size_in_json(request.claimed),
    )


def statistics_source(target: TargetConfig, client: TargetClient | None) -> StatisticsSource | None:
    """Where the server's statistics are read; None where it has none."""
    stats = target.stats
    if stats is None or client is None:
        return None
    return StatisticsSource(
        client=client,
        path=stats.path,
        method=stats.method,
        timeout_seconds=stats.timeout,
        headers=stats.headers,
        token_file=stats.bearer_token_file,
        body=None if stats.body is ABSENT else StatisticsBody(stats.body),
        mapping=statistics_map(stats),
    )
