"""How soon a crossing is answered: polling alone, with kernel events, at fixed intervals, and beside earlyoom.

Covers: from crossing a threshold to the cleanup request's arrival at the server; how far a process that grows by
500 MB/s gets; what it costs to wait just below a threshold.
Leaves to others: the growing process (`growing`, `grown`), the other program (`earlyoom`), what the watchdog costs far
from a threshold (`footprint`).

All processes, cgroups and watchdogs are real. `Polling alone` is a process in the hierarchy's root, where there are no
events of a cgroup.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import watchdog
from benchmarks.reaction import earlyoom
from benchmarks.reaction.grown import Target, target
from benchmarks.report import BenchmarkError, Row, progress, run
from tests.support.cgroups import VERSION, RealCgroup, real_cgroup

MIB = 2**20
LIMIT_BYTES = 2 * 2**30
RATE_BYTES_PER_SECOND = 500_000_000
AT_THE_FLOOR = 4
"""Targets that take turns under one watchdog."""


def target_config(name: str, seen: Target, levels: list[dict[str, Any]] | None, **keys: Any) -> dict[str, Any]:
    """Without statistics; a request may follow the one before as soon as that has its verdict."""
    own: dict[str, Any] = {
        "name": name,
        "url": f"http://127.0.0.1:{seen.port}",
        "process": {"port": seen.port},
        "settle": "500ms",
        "budget": {"actions": 100_000, "per": "1h"},
    }
    if levels is not None:
        own["levels"] = levels
    return own | keys


def level(enter: int, exit_: int) -> list[dict[str, Any]]:
    """One that sends at once."""
    cleanup = {"path": "/memory/cleanup"}
    return [{"name": "now", "enter": f"{enter}B", "exit": f"{exit_}B", "cooldown": "0s", "cleanup": cleanup}]


@contextlib.contextmanager
def watching(folder: Path, *targets: dict[str, Any]) -> Iterator[Any]:
    """A watchdog that has looked at all of them."""
    config = {"targets": list(targets)}
    with watchdog(json.dumps(config), folder) as started:
        while started.observed_at() is None:
            time.sleep(0.01)
        time.sleep(1)
        yield started


def latency(told: dict[str, Any]) -> float:
    """From crossing to request, in milliseconds."""
    if told["asked_at"] is None or told["crossed_at"] is None:
        raise BenchmarkError(f"no request came: {told}")
    return float(1e3 * (told["asked_at"] - told["crossed_at"]))


def at_the_floor(folder: Path, rounds: int) -> list[float]:
    """Polling alone from just below the threshold, at moments that have nothing to do with the ticks."""
    found: list[float] = []
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(target()) for _ in range(AT_THE_FLOOR)]
        settings = [
            target_config(f"t{n}", one, level(one.used + 16 * MIB, one.used + 12 * MIB), limit="8GB")
            for n, one in enumerate(targets)
        ]
        stack.enter_context(watching(folder, *settings))

        def crosses(number: int) -> list[float]:
            pick, one = random.Random(number), targets[number]
            seen = []
            for _ in range(rounds):
                time.sleep(1.5 + pick.random())
                seen.append(latency(one.grow(0, one.used + 16 * MIB, one.used + 32 * MIB)))
            return seen

        with ThreadPoolExecutor(AT_THE_FLOOR) as threads:
            for seen in threads.map(crosses, range(AT_THE_FLOOR)):
                found += seen
    return found


def from_far(folder: Path, rounds: int, cgroup: RealCgroup | None) -> list[float]:
    """A jump over a threshold that is more than a GiB away, as fast as memory can be touched."""
    enter = 1536 * MIB
    with target(cgroup) as one:
        limit = "auto" if cgroup is not None else f"{LIMIT_BYTES}B"
        settings = target_config("far", one, level(enter, enter - 64 * MIB), limit=limit)
        with watching(folder, settings):
            seen = []
            for number in range(rounds):
                time.sleep(1.5 + random.Random(number).random())
                # what is charged in the cgroup: not what it had before, but with what the kernel adds
                crossing = enter if cgroup is None else enter - cgroup.usage + one.asks("shrink")["used"]
                seen.append(latency(one.grow(0, crossing, 1900 * MIB)))
            return seen


@dataclass(frozen=True)
class Met:
    """Where growth by 500 MB/s was met: share of the limit, in percent; None where it was not by 97 %."""

    percent: list[float | None]

    @property
    def worst(self) -> float:
        """The highest; 100 for one that was not met."""
        return max(100.0 if one is None else one for one in self.percent)


def met(folder: Path, rounds: int, **keys: Any) -> Met:
    """The default levels, in a cgroup of 2 GiB."""
    found: list[float | None] = []
    for _ in range(rounds):
        with real_cgroup(LIMIT_BYTES) as cgroup, target(cgroup) as one:
            settings = target_config("fast", one, None, limit="auto", **keys)
            with watching(folder, settings):
                before = one.used - cgroup.usage  # charged elsewhere
                told = one.grow(RATE_BYTES_PER_SECOND, LIMIT_BYTES, round(0.97 * LIMIT_BYTES) + before)
                used = told["used_then"]
                met_at = None if used is None else 100 * (used - before) / LIMIT_BYTES
                found.append(None if met_at is None or met_at >= 97 else met_at)
    return Met(found)


def waiting(folder: Path, seconds: float) -> float:
    """CPU of a watchdog that waits 4 MiB below a threshold, in percent of a core."""
    with real_cgroup(LIMIT_BYTES) as cgroup, target(cgroup) as one:
        enter = cgroup.usage + 4 * MIB
        settings = target_config("near", one, level(enter, enter - MIB), limit="auto")
        with watching(folder, settings) as started:
            time.sleep(3)
            cpu, began = started.cpu_seconds(), time.monotonic()
            time.sleep(seconds)
            return float(100 * (started.cpu_seconds() - cpu) / (time.monotonic() - began))


def measure(quick: bool) -> Sequence[Row]:
    """All of it; 4 minutes in full."""
    with tempfile.TemporaryDirectory(prefix="memory-watchdog-reaction-") as name:
        folder = Path(name)
        progress("polling alone, at the floor")
        floor = at_the_floor(folder, 4 if quick else 50)
        progress("a jump from afar")
        alone = from_far(folder, 2 if quick else 10, None)
        with real_cgroup(LIMIT_BYTES) as cgroup:
            with_events = from_far(folder, 2 if quick else 10, cgroup)
        progress("500 MB/s")
        rounds = 1 if quick else 5
        ours = met(folder, rounds)
        every_second = met(folder, rounds, interval="1s", min_interval="1s")
        every_ten = None if quick else met(folder, 2, interval="10s", min_interval="10s")
        progress("earlyoom")
        other = earlyoom.milliseconds(1 if quick else 3, RATE_BYTES_PER_SECOND)
        progress("waiting below a threshold")
        cpu = waiting(folder, 5 if quick else 60)
    events = "with the usage eventfd" if VERSION == 1 else "with v2's events"
    rows = [
        Row(f"polling alone at the floor, from crossing to request, p99 of {len(floor)}", _p99(floor), "ms", 120),
        Row("the same, median", statistics.median(floor), "ms"),
        Row("jump of over a GiB, polling alone, slowest", max(alone), "ms"),
        Row(f"the same {events}, slowest", max(with_events), "ms", 150 if VERSION == 1 else None),
        Row("the same, median", statistics.median(with_events), "ms"),
        Row("500 MB/s in 2 GiB, default levels: met at, worst", ours.worst, "% of the limit", 92),
        Row("the same with fixed polling at 1 s (100: not met)", every_second.worst, "% of the limit"),
        Row("earlyoom at 500 MB/s, from crossing to its decision, median", statistics.median(other), "ms"),
        Row("CPU while waiting 4 MiB below a threshold", cpu, "% of a core", 0.5),
    ]
    if every_ten is not None:
        rows.insert(7, Row("the same with fixed polling at 10 s (100: not met)", every_ten.worst, "% of the limit"))
    return rows


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[max(0, -(-len(values) * 99 // 100) - 1)]


if __name__ == "__main__":
    run("From crossing a threshold to the cleanup request", measure)
