"""From a target's config to the parts that it is made of.

Covers: which finder, which ladder settings, which requests a config means.
Leaves to others: what is allowed in a config (`config`), what the parts do.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from memory_watchdog.actions.http import CleanupRequest
from memory_watchdog.config import ABSENT, LevelConfig, TargetConfig
from memory_watchdog.http_client import TargetClient
from memory_watchdog.policy.settings import LadderSettings, LevelSettings
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
from memory_watchdog.sources.stats import StatisticsSource


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
    )


def _level_settings(level: LevelConfig) -> LevelSettings:
    return LevelSettings(
        name=level.name,
        enter=level.enter,
        exit=level.exit,
        sustain_seconds=level.sustain,
        cooldown_seconds=level.cooldown,
        min_reclaim=level.min_reclaim,
        cleanup_timeout_seconds=None if level.cleanup is None else level.cleanup.timeout,
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


def cleanup_requests(target: TargetConfig) -> dict[str, CleanupRequest]:
    """By level, what is sent there."""
    return {
        level.name: CleanupRequest(
            path=level.cleanup.path,
            method=level.cleanup.method,
            timeout_seconds=level.cleanup.timeout,
            has_body=level.cleanup.body is not ABSENT,
            body=None if level.cleanup.body is ABSENT else level.cleanup.body,
            headers=level.cleanup.headers,
            token_file=level.cleanup.bearer_token_file,
        )
        for level in target.levels
        if level.cleanup is not None
    }


def statistics_source(target: TargetConfig, client: TargetClient | None) -> StatisticsSource | None:
    """Where the server's statistics are read; None where it has none."""
    if target.stats is None or client is None:
        return None
    return StatisticsSource(
        client=client,
        path=target.stats.path,
        method=target.stats.method,
        timeout_seconds=target.stats.timeout,
        headers=target.stats.headers,
        token_file=target.stats.bearer_token_file,
    )
