"""Between two looks, close below a threshold, only the number that is compared is read: what that must not lose."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory_watchdog.clock import Clock
from memory_watchdog.config import load
from memory_watchdog.observer import Observer
from memory_watchdog.reporting import Reporter
from memory_watchdog.supervisor import Supervisor

from tests.support.api import Api
from tests.support.target import MIB, Target, running_target
from tests.support.wait import eventually
from tests.support.watchdog import Watchdog, config, running_watchdog, written

INTERVAL = "60s"
"""So long that nothing in here comes of a look at its interval."""


@pytest.fixture
def target() -> Iterator[Target]:
    with running_target() as running:
        yield running


@pytest.fixture
def watchdog(tmp_path: Path, target: Target) -> Iterator[Watchdog]:
    target.control(grow=40)
    levels = [{"name": "high", "enter": "120MiB", "exit": "110MiB", "cleanup": {"path": "/memory/cleanup"}}]
    settings = config(
        target.url, limit="200MiB", interval=INTERVAL, min_interval="20ms", levels=levels, measure="anon", stats=None
    )
    with running_watchdog(tmp_path, settings) as running:
        eventually(lambda: running.metrics().value("target_used_bytes"))
        yield running


def observed_at(watchdog: Watchdog) -> float:
    return watchdog.metrics().value("target_last_observation_timestamp_seconds") or 0.0


def test_a_crossing_is_answered_long_before_the_interval(watchdog: Watchdog, target: Target) -> None:
    first = observed_at(watchdog)
    target.control(grow=90)
    watchdog.wait_for("level", after="high")
    watchdog.wait_for("cleanup")
    assert observed_at(watchdog) > first


def test_a_peak_that_only_a_glance_saw_is_exported(watchdog: Watchdog, target: Target) -> None:
    first = observed_at(watchdog)
    target.control(grow=30)

    def peak() -> bool:
        seen = watchdog.metrics()
        used, highest = seen.value("target_used_bytes"), seen.value("target_used_peak_bytes")
        assert used is not None
        assert highest is not None
        return highest - used > 25 * MIB

    eventually(peak)
    assert observed_at(watchdog) == first, "no look has seen it"


def test_a_process_that_ends_is_looked_for_at_once(watchdog: Watchdog, target: Target) -> None:
    first = observed_at(watchdog)
    assert target.process is not None
    target.process.kill()
    eventually(lambda: observed_at(watchdog) > first)
    watchdog.wait_for("the process cannot be read")


def test_a_request_by_hand_ends_the_glances(watchdog: Watchdog, target: Target) -> None:
    first = observed_at(watchdog)
    target.control(cleanup={"hang": True})
    assert Api(watchdog).post("targets/demo/cleanup", level="high").is_success
    eventually(lambda: target.requests)
    eventually(lambda: observed_at(watchdog) > first, what="a look while the request is open")
    target.control(release=True)


class Blind:
    """What a watcher that is close below a threshold glances with; `faults` counts what was told of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.glances, self.faults = 0, 0
        monkeypatch.setattr(Observer, "glance", self._glance)
        monkeypatch.setattr(Reporter, "broken", self._broken)

    def _glance(self, *_: object) -> int:
        self.glances += 1
        raise RuntimeError("a fault")

    def _broken(self, *_: object) -> None:
        self.faults += 1


def test_a_fault_in_a_glance_is_counted_and_watching_goes_on(
    tmp_path: Path, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    blind = Blind(monkeypatch)
    level = {"name": "high", "enter": "120MiB", "exit": "110MiB"}
    keys = {"limit": "200MiB", "interval": "1s", "min_interval": "20ms", "levels": [level], "measure": "anon"}
    content = config(target.url, stats=None, **keys)
    loaded = load({"config.file": str(written(tmp_path, content))}, {}, tmp_path)

    async def watch() -> None:
        supervisor, stop = Supervisor(Clock()), asyncio.Event()
        await supervisor.prepare(loaded)
        running = asyncio.create_task(supervisor.run(loaded, stop))
        async with asyncio.timeout(20):
            while blind.glances < 3:
                assert not running.done(), running.exception()
                await asyncio.sleep(0.02)
        stop.set()
        await running

    asyncio.run(watch())
    assert blind.faults >= 3
