"""The keys of the last step: two configs that differ in one key, and what differs by that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.actions.http import clean_up
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.config import TargetConfig, load
from memory_watchdog.http_client import TargetClient
from memory_watchdog.ledger import TargetLedger
from memory_watchdog.observation import (
    Limit,
    LimitSource,
    Measure,
    Observation,
    Outcome,
    OutcomeKind,
    ProcessIdentity,
    Reason,
    Unavailable,
)
from memory_watchdog.parts import drain_request, ladder_settings
from memory_watchdog.policy.events import NewProcess, Restart, RestartEnded, RestartOutcome
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.restart import USER_HZ
from memory_watchdog.restarting import end_process

from tests.integration.test_options import shows
from tests.integration.test_restart import identity_of, stubborn
from tests.support.answers import Answer, AnsweringServer, answering
from tests.support.target import MIB, free_port
from tests.support.watchdog import config, level, written

UNKNOWN = Unavailable(Reason.NOT_CONFIGURED)


def target_of(folder: Path, url: str, rules: dict[str, Any]) -> TargetConfig:
    levels = [level("high", "50%", "40%", cooldown="1s", cleanup={"path": "/c", "timeout": "1s"})]
    keys = {"levels": levels, "stats": None, "limit": "100MiB", "restart": rules, "max_cooldown": "2s", "settle": "4s"}
    content = config(url, **keys)
    return load({"config.file": str(written(folder, content))}, {}, folder).targets[0]


def restarts(folder: Path, **rules: Any) -> list[int]:
    """When a process of which no cleanup frees anything is ended, in seconds; it is replaced at once."""
    rules = {"min_age": "1s", "budget": {"actions": 100, "per": "1h"}} | rules
    ladder = Ladder(ladder_settings(target_of(folder, "http://127.0.0.1:1", rules)), "w")
    identity, times = ProcessIdentity(50, 0), []
    for at in range(1000, 1400):
        limit = Limit(100 * MIB, LimitSource.GIVEN)
        seen = Observation(float(at), Measure.ANON, 90 * MIB, limit, identity, UNKNOWN, UNKNOWN)
        decision = ladder.step(seen, float(at))
        if decision is not None:
            ladder.step(Outcome(decision.request_id, OutcomeKind.DONE, 0.1), at + 0.1)
        if ladder.restart is not None:
            times.append(at)
            ladder.step(RestartEnded(ladder.restart.request_id, RestartOutcome.ENDED), at + 0.2)
            identity = ProcessIdentity(identity.pid + 1, round(at * USER_HZ))
            ladder.step(NewProcess(identity), at + 0.3)
    return times


@shows("targets.restart.after")
def test_after(tmp_path: Path) -> None:
    assert restarts(tmp_path, after=1)[0] < restarts(tmp_path, after=4)[0]


@shows("targets.restart.min_age")
def test_min_age(tmp_path: Path) -> None:
    young, old = restarts(tmp_path, min_age="1s"), restarts(tmp_path, min_age="30s")
    assert young[1] - young[0] < 30 <= old[1] - old[0]


@shows("targets.restart.budget.actions", "targets.restart.budget.per")
def test_budget(tmp_path: Path) -> None:
    assert len(restarts(tmp_path, budget={"actions": 1, "per": "1h"})) == 1
    assert len(restarts(tmp_path, budget={"actions": 2, "per": "1h"})) == 2
    assert len(restarts(tmp_path, budget={"actions": 1, "per": "100s"})) == 3


def ended(folder: Path, url: str, pid: int, rules: dict[str, Any]) -> tuple[RestartEnded, float]:
    """How a process ends under these rules, and how long that takes."""

    async def work() -> RestartEnded:
        client = TargetClient(url)
        decision = Restart("r-1", identity_of(pid), "it grew", 90 * MIB, 100 * MIB)
        try:
            return await end_process(
                decision,
                target_of(folder, url, rules),
                client=client,
                ledger=TargetLedger("demo"),
                report=UNKNOWN,
                wall=time.time(),
                state_folder=None,
            )
        finally:
            await client.aclose()

    began = time.monotonic()
    return asyncio.run(work()), time.monotonic() - began


@shows("targets.restart.term")
def test_term(tmp_path: Path) -> None:
    took = []
    for term in ("100ms", "1500ms"):
        port = free_port()
        with stubborn(port, "ignore") as process:
            end, seconds = ended(tmp_path, f"http://127.0.0.1:{port}", process.pid, {"term": term})
            assert end.outcome is RestartOutcome.KILLED
            took.append(seconds)
    assert took[1] - took[0] > 0.7


@pytest.fixture
def asked() -> Iterator[AnsweringServer]:
    with answering({("POST", "/drain"): Answer(b"{}"), ("DELETE", "/other"): Answer(b"{}")}) as server:
        yield server


@shows(
    "targets.restart.drain.path", "targets.restart.drain.method", "targets.restart.drain.headers",
    "targets.restart.drain.bearer_token_file", "targets.restart.drain.json", "targets.restart.drain.timeout",
)  # fmt: skip
def test_drain(tmp_path: Path, asked: AnsweringServer) -> None:
    token = tmp_path / "token"
    token.write_text("s3cr3t")
    for drain in (
        {"path": "/drain"},
        {"path": "/other", "method": "DELETE", "headers": {"X-Why": "{reason}"}, "json": {"id": "{request_id}"}},
        {"path": "/drain", "bearer_token_file": str(token)},
    ):
        assert drained(tmp_path, asked.url, drain) is OutcomeKind.DONE
    first, second, third = asked.asked
    assert (first.method, first.path, first.body) == ("POST", "/drain", b"")
    assert (second.method, second.path, second.body) == ("DELETE", "/other", b'{"id": "r-1"}')
    assert second.headers["x-why"] == "it grew"
    assert third.headers["authorization"] == "Bearer s3cr3t"

    def slow(_: object) -> Answer:
        time.sleep(1)
        return Answer(b"{}")

    asked.answers["POST", "/drain"] = slow
    assert drained(tmp_path, asked.url, {"path": "/drain", "timeout": "100ms"}) is OutcomeKind.TIMEOUT


def drained(folder: Path, url: str, drain: dict[str, Any]) -> OutcomeKind:
    """What became of the drain alone."""

    async def work() -> OutcomeKind:
        client = TargetClient(url)
        rules = target_of(folder, url, {"drain": drain}).restart
        assert rules is not None
        request = drain_request(rules)
        assert request is not None
        try:
            return (await clean_up(client, request, Placeholders("r-1", "it grew", "high", None))).kind
        finally:
            await client.aclose()

    return asyncio.run(work())
