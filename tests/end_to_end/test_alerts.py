"""From a leak to the page, with real programs and the shipped files: who is told of what, how soon, and who is not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from examples.mcp_server.load import Load
from examples.mcp_server.load_mix import Mix, Shares
from tests.support.alerting import (
    Alertmanager,
    Receiver,
    example_for,
    running_alertmanager,
    running_prometheus_with_rules,
    running_receiver,
)
from tests.support.example_server import REPOSITORY, Example, call, connected, running_example
from tests.support.target import MIB, Target, running_target
from tests.support.wait import eventually
from tests.support.watchdog import Watchdog, config, level, levels, running_watchdog

LIMIT_NEAR = "MemoryWatchdogLimitNear"
MEMORY_HIGH = "MemoryWatchdogMemoryHigh"
SOURCES = REPOSITORY / "watchdog"
WHOLE_FILES = Shares(search=0.9, read_file=0.05, novel=1.0, file_level=1.0, limit=25)
ENOUGH_TEETH = 3
SILENCE_SECONDS = 4.0
"""So long no heartbeat, where there was one a second, is none any more."""


def soon(rule: dict[str, Any]) -> dict[str, str]:
    """The page after a second, the warning of the same cause later, so that it finds the page there; both end soon."""
    waits = {LIMIT_NEAR: "1s", MEMORY_HIGH: "5s"}
    return {"for": waits[rule["alert"]], "keep_firing_for": "2s"} if rule["alert"] in waits else {}


@dataclass
class Stage:
    """Everything that runs."""

    target: Target
    example: Example
    watchdog: Watchdog
    alertmanager: Alertmanager
    receiver: Receiver
    prometheus: contextlib.ExitStack

    def pages(self, target: str, status: str = "firing") -> list[float]:
        """When pages about a target came."""
        return [each.at for each in self.receiver.at("/page") if LIMIT_NEAR in each.names(status, target=target)]

    def chat_about(self, target: str) -> list[str]:
        """Titles of what the chat was told about a target; the example puts its name at their end."""
        titles = [each.content["attachments"][0]["title"] for each in self.receiver.at("/chat")]
        return [title for title in titles if title.endswith(f": {target}")]


def watched(target: Target, example: Example, used_bytes: int) -> dict[str, Any]:
    """One watchdog of two targets: cleanups of the one give nothing back, those of the other do."""
    content = config(target.url, name="leaking", limit="200MiB", levels=levels(min_reclaim="4MiB", cooldown="500ms"))
    teeth = [
        level(name, f"{used_bytes + enter * MIB}B", f"{used_bytes + leave * MIB}B", min_reclaim="1MiB")
        for name, enter, leave in (("normal", 10, 6), ("aggressive", 16, 9))
    ]
    limit = f"{used_bytes + 18 * MIB}B"
    sawtooth = config(example.url, name="sawtooth", preset="native", limit=limit, levels=teeth, settle="1s")
    return {**content, "targets": content["targets"] + sawtooth["targets"]}


@contextlib.contextmanager
def running_stage(folder: Path, target: Target, example: Example, used_bytes: int) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(running_receiver())
        alertmanager = stack.enter_context(running_alertmanager(folder, example_for(receiver, folder)))
        watchdog = stack.enter_context(running_watchdog(folder, watched(target, example, used_bytes)))
        prometheus = stack.enter_context(contextlib.ExitStack())
        prometheus.enter_context(
            running_prometheus_with_rules(folder, [watchdog.address], [alertmanager.url.removeprefix("http://")], soon)
        )
        yield Stage(target, example, watchdog, alertmanager, receiver, prometheus)


def tell(stage: Stage, began: float, page: float) -> None:
    """Print what each hop took."""
    (alert,) = stage.alertmanager.alerts(alertname=LIMIT_NEAR, target="leaking")
    cleanup = stage.watchdog.said("cleanup", target="leaking")[0]
    verdict = stage.watchdog.said("verdict", target="leaking")[0]
    times = {
        "memory has grown": began,
        "cleanup sent": moment(cleanup["ts"]),
        "verdict: it did not help": moment(verdict["ts"]),
        "alert fires in Prometheus": moment(alert["startsAt"]),
        "page arrives": page,
    }
    before = began
    for what, at in times.items():
        print(f"{what:28} +{at - before:5.2f} s   {at - began:5.2f} s")
        before = at


def moment(text: str) -> float:
    """An ISO time as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def a_leak_pages_once(stage: Stage) -> None:
    """The page comes to the right receivers, once; the warning about the same target is held back."""
    began = time.time()
    stage.target.control(grow=190)
    page = eventually(lambda: stage.pages("leaking"), what=f"the page; {stage.watchdog.text[-3000:]}")[0]
    tell(stage, began, page)
    warnings = eventually(
        lambda: [
            alert
            for alert in stage.alertmanager.alerts(target="leaking", severity="warning")
            if alert["status"]["inhibitedBy"]
        ],
        what="a warning that is inhibited",
    )
    assert {alert["status"]["state"] for alert in warnings} == {"suppressed"}
    assert MEMORY_HIGH in {alert["labels"]["alertname"] for alert in warnings}
    assert len(stage.pages("leaking")) == 1
    triggers = [each.content for each in stage.receiver.at("/pagerduty") if each.content["event_action"] == "trigger"]
    assert [each["payload"]["severity"] for each in triggers] == ["critical"]
    assert stage.chat_about("leaking") == []


def the_page_resolves(stage: Stage) -> None:
    """The fix gives the memory back."""
    stage.target.control(shrink=190)
    eventually(lambda: stage.pages("leaking", "resolved"), what="resolved")
    eventually(
        lambda: [each for each in stage.receiver.at("/pagerduty") if each.content["event_action"] == "resolve"],
        what="PagerDuty is told",
    )
    assert len(stage.pages("leaking")) == 1


def the_heartbeat_stops(stage: Stage) -> None:
    """Without Prometheus nothing says that alerting works."""
    heartbeats = stage.receiver.at("/heartbeat")
    assert heartbeats[-1].names() == ["MemoryWatchdogDeadMansSwitch"]
    before = time.time()
    eventually(lambda: stage.receiver.at("/heartbeat")[-1].at > before, what="another heartbeat")
    stage.prometheus.close()
    eventually(lambda: time.time() - stage.receiver.at("/heartbeat")[-1].at > SILENCE_SECONDS, what="silence")


@contextlib.asynccontextmanager
async def load_on(example: Example) -> Any:
    """New questions, whose answers fill the caches, as long as it lasts."""
    async with connected(example.mcp_url) as client:
        running = asyncio.create_task(Load(client, Mix(1, WHOLE_FILES), rate=40.0, calls_at_once=2).run(300))
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def wait_for_teeth(stage: Stage) -> None:
    """Cleanups of the sawtooth that helped."""
    eventually(
        lambda: len(stage.watchdog.said("verdict", target="sawtooth", verdict="effective")) >= ENOUGH_TEETH,
        seconds=60,
        what=f"a sawtooth; {stage.watchdog.text[-3000:]}",
    )


def wait_for_heartbeat(stage: Stage) -> None:
    """Alerting works, from end to end."""
    eventually(lambda: stage.receiver.at("/heartbeat"), 30, "a heartbeat")


async def play(folder: Path, target: Target, example: Example) -> None:
    async with connected(example.mcp_url) as client:
        await call(client, "index_directory", path="memory_watchdog/sources")
    memory = psutil.Process(example.process.pid).memory_info()
    with running_stage(folder, target, example, memory.rss - memory.shared) as stage:
        async with load_on(example):
            for act in (wait_for_heartbeat, a_leak_pages_once, the_page_resolves, wait_for_teeth):
                await asyncio.to_thread(act, stage)
        await asyncio.to_thread(the_heartbeat_stops, stage)
        assert stage.pages("sawtooth") == []


@pytest.mark.timeout(240)
def test_a_leak_pages_once_and_a_sawtooth_nobody(tmp_path: Path) -> None:
    options = ("--cache-max-bytes", str(1024 * MIB), "--cache-max-results", "100000")
    with running_target() as target, running_example(SOURCES, tmp_path, *options) as example:
        asyncio.run(play(tmp_path, target, example))
