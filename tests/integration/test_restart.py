"""The last step on real processes: how one is ended, in which time, and the whole way from a leak to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.actions.restart import Plan, restart
from memory_watchdog.observation import Outcome, OutcomeKind, ProcessIdentity, Reason, Unavailable
from memory_watchdog.policy.events import RestartEnded, RestartOutcome
from memory_watchdog.sources.discovery import ByPort, Finder
from memory_watchdog.sources.procfs import read_stat

from tests.support.target import free_port
from tests.support.wait import eventually
from tests.support.watchdog import Watchdog, config, level, running_watchdog

ROOT = Path(__file__).parents[2]


@contextmanager
def stubborn(port: int, *words: str) -> Iterator[subprocess.Popen[str]]:
    """One of `tests.support.stubborn`, which has said that it listens."""
    command = [sys.executable, "-m", "tests.support.stubborn", str(port), *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        _, worker = map(int, process.stdout.readline().split())
        process.worker = worker  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            process.kill()
            if worker and lives(worker):
                os.kill(worker, signal.SIGKILL)
            process.wait()


def identity_of(pid: int) -> ProcessIdentity:
    stat = read_stat("/proc", pid)
    assert not isinstance(stat, Unavailable)
    return stat.identity


def lives(pid: int) -> bool:
    stat = read_stat("/proc", pid)
    return not isinstance(stat, Unavailable) and not stat.is_dead


async def nothing_kept() -> str:
    return ""


def end(
    identity: ProcessIdentity,
    finder: Finder,
    *,
    term_seconds: float = 10.0,
    drain: Callable[[], Awaitable[Outcome]] | None = None,
    kept: Callable[[], Awaitable[str]] = nothing_kept,
) -> RestartEnded:
    """The whole step; no descriptor is left behind."""
    before = len([*Path("/proc/self/fd").iterdir()])
    ended = asyncio.run(restart("r-1", identity, Plan(finder, term_seconds, drain), kept))
    assert len([*Path("/proc/self/fd").iterdir()]) == before
    assert ended.request_id == "r-1"
    return ended


# ---- the steps


def test_sigterm_is_enough() -> None:
    port = free_port()
    with stubborn(port) as process:
        ended = end(identity_of(process.pid), ByPort(port))
        assert (ended.outcome, ended.detail) == (RestartOutcome.ENDED, "on SIGTERM")
        assert process.wait(5) == -signal.SIGTERM


def test_who_ignores_it_is_killed_and_its_workers_too() -> None:
    port = free_port()
    with stubborn(port, "ignore", "fork") as process:
        worker = process.worker  # type: ignore[attr-defined]
        ended = end(identity_of(process.pid), ByPort(port), term_seconds=0.3)
        assert (ended.outcome, ended.detail) == (RestartOutcome.KILLED, "not within 300ms on SIGTERM, so by SIGKILL")
        assert process.wait(5) == -signal.SIGKILL
        eventually(lambda: not lives(worker))


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (OutcomeKind.DONE, "drained"),
        (OutcomeKind.TIMEOUT, "drain: timeout too slow"),
        (OutcomeKind.UNREACHED, "drain: timeout too slow"),
    ],
)
def test_a_drain_that_fails_keeps_nobody(kind: OutcomeKind, told: str) -> None:
    port = free_port()

    async def drain() -> Outcome:
        failed = kind is not OutcomeKind.DONE
        return Outcome("r-1", kind, 0.1, Reason.TIMEOUT if failed else None, "too slow" if failed else "")

    with stubborn(port) as process:
        ended = end(identity_of(process.pid), ByPort(port), drain=drain)
        assert (ended.outcome, ended.detail) == (RestartOutcome.ENDED, f"on SIGTERM; {told}")


@pytest.mark.parametrize("during", ["evidence", "drain"])
def test_who_ends_in_the_middle_has_ended(during: str) -> None:
    port = free_port()
    with stubborn(port, "ignore") as process:

        def dies() -> None:
            process.kill()
            process.wait()

        async def kept() -> str:
            if during == "evidence":
                dies()
            return "kept"

        async def drain() -> Outcome:
            if during == "drain":
                dies()
            return Outcome("r-1", OutcomeKind.FAILED, 0.1, Reason.CLOSED)

        ended = end(identity_of(process.pid), ByPort(port), drain=drain, kept=kept)
        assert (ended.outcome, ended.detail) == (
            RestartOutcome.ENDED,
            "it ended while it was drained; drained; kept",
        )


def test_who_has_ended_before_is_gone() -> None:
    port = free_port()
    with stubborn(port) as process:
        identity = identity_of(process.pid)
        process.kill()
        process.wait()
        assert end(identity, ByPort(port)).outcome is RestartOutcome.GONE


# ---- all of it


def settings(port: int, tmp_path: Path, **keys: Any) -> dict[str, Any]:
    cleanup = {"path": "/memory/cleanup", "timeout": "2s"}
    rules = {"after": 1, "min_age": "100ms", "term": "1s", "budget": {"actions": 2, "per": "1h"}} | keys
    levels = [level("high", "20%", "10%", cooldown="0s", cleanup=cleanup)]
    watched = config(
        f"http://127.0.0.1:{port}", levels=levels, stats=None, restart=rules, max_cooldown="1s", limit="200MiB"
    )
    return watched | {"state_file": str(tmp_path / "state.json")}


def outcomes(watchdog: Watchdog) -> dict[str, float]:
    names = [str(one) for one in RestartOutcome]
    seen = watchdog.metrics()
    return {name: value for name in names if (value := seen.value("restart_actions_total", outcome=name))}


def test_a_server_that_no_cleanup_helps_is_ended_started_again_and_at_last_left_alone(tmp_path: Path) -> None:
    port = free_port()
    with running_watchdog(tmp_path, settings(port, tmp_path, drain={"path": "/drain", "timeout": "2s"})) as watchdog:
        for words in (("drain",), ("ignore",)):
            with stubborn(port, *words) as process:
                process.wait(40)
        assert eventually(lambda: outcomes(watchdog)) == {"ended": 1, "killed": 1}
        with stubborn(port, "ignore") as process:
            watchdog.wait_for("restart held back", reason="no_budget")
            watchdog.ticks(5)
            assert process.poll() is None
            assert outcomes(watchdog)["no_budget"] >= 1
        assert watchdog.said("ending the process")
        kept = [*(tmp_path / "evidence").iterdir()]
        assert len(kept) == 2
        events = json.loads(kept[-1].read_text())["events"]
        assert any(event["kind"] == "verdict" for event in events)


def test_a_watchdog_that_is_started_again_does_not_act_more_often(tmp_path: Path) -> None:
    port = free_port()
    content = settings(port, tmp_path, budget={"actions": 1, "per": "1h"})
    with running_watchdog(tmp_path, content), stubborn(port) as process:
        process.wait(40)
        time.sleep(0.5)
    for _ in range(2):
        with stubborn(port) as process, running_watchdog(tmp_path, content) as watchdog:
            watchdog.wait_for("restart held back", reason="no_budget")
            assert process.poll() is None
