"""The keys that say what is looked at, how often, and what it is compared with: real processes, real ticks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import pytest
from memory_watchdog.clock import Clock
from memory_watchdog.config import load
from memory_watchdog.ledger import Snapshot
from memory_watchdog.observation import Limit, LimitSource, Measure, ProcessIdentity, ProcessMemory, Reason, Unavailable
from memory_watchdog.parts import finder_of
from memory_watchdog.sources.discovery import find
from memory_watchdog.supervisor import Supervisor

from tests.integration.test_options import shows
from tests.support.target import MIB, Target, running_target
from tests.support.watchdog import written

T = TypeVar("T")


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with running_target() as running:
        running.control(grow=40)
        yield running


def run(work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


def watched(folder: Path, targets: list[dict[str, Any]], enough: Callable[[list[Snapshot]], T]) -> T:
    """Run the watchers of these targets in this process until `enough` says something."""
    config = load({"config.file": str(written(folder, {"targets": targets}))}, {}, folder)

    async def work() -> T:
        supervisor, stop = Supervisor(Clock()), asyncio.Event()
        task = asyncio.create_task(supervisor.run(config, stop))
        try:
            while not (found := enough(supervisor.snapshots())):
                assert not task.done(), task
                await asyncio.sleep(0.002)
            return found
        finally:
            stop.set()
            await task

    return run(work())


def first_looks(folder: Path, *targets: dict[str, Any]) -> list[Snapshot]:
    """What the first tick of each target saw. One at a time, for a process can be watched as one target only."""

    def enough(snapshots: list[Snapshot]) -> list[Snapshot]:
        return snapshots if snapshots and all(snapshot.seen for snapshot in snapshots) else []

    return [watched(folder, [target], enough)[0] for target in targets]


def spacing(folder: Path, *targets: dict[str, Any]) -> list[float]:
    """By target the median time between seven looks. One at a time, as in `first_looks`."""
    looks: dict[str, list[float]] = {}

    def enough(snapshots: list[Snapshot]) -> bool:
        for snapshot in snapshots:
            if snapshot.seen is not None and snapshot.seen.taken_at not in looks.setdefault(snapshot.name, [])[-1:]:
                looks[snapshot.name].append(snapshot.seen.taken_at)
        return bool(snapshots) and len(looks.get(snapshots[0].name, [])) >= 7

    for target in targets:
        watched(folder, [target], enough)
    return [median(later - earlier for earlier, later in pairwise(times[1:])) for times in looks.values()]


@shows("targets.name")
def test_the_name_of_a_target(tmp_path: Path, target: Target) -> None:
    by_default, named = first_looks(tmp_path, {"url": target.url}, {"url": target.url, "name": "a b"})
    assert (by_default.name, named.name) == (f"127.0.0.1:{target.port}", "a b")


@shows("targets.interval")
def test_interval(tmp_path: Path, target: Target) -> None:
    """A limit so far away that the formula asks for less than anybody wants."""
    base = {"process": {"pid": target.pid}, "limit": "1TB", "min_interval": "10ms"}
    short, long = spacing(tmp_path, base | {"name": "a", "interval": "40ms"}, base | {"name": "b", "interval": "200ms"})
    assert 0.03 < short < 0.15 < long


@shows("targets.min_interval")
def test_min_interval(tmp_path: Path, target: Target) -> None:
    """Just below a level, with another one held: the formula asks for the shortest there is, and no glance will do."""
    (look,) = first_looks(tmp_path, {"name": "a", "process": {"pid": target.pid}, "limit": "1GB"})
    assert look.seen is not None
    assert isinstance(look.seen.used, int)
    base: dict[str, Any] = {"process": {"pid": target.pid}, "limit": "1GB", "interval": "2s"}
    base["levels"] = [
        {"name": "held", "enter": "2MiB", "exit": "1MiB"},
        {"name": "x", "enter": f"{look.seen.used // MIB + 2}MiB", "exit": "1MiB"},
    ]
    short, long = spacing(
        tmp_path, base | {"name": "a", "min_interval": "40ms"}, base | {"name": "b", "min_interval": "200ms"}
    )
    assert 0.03 < short < 0.15 < long < 1


@shows("targets.stats.interval")
def test_interval_of_the_statistics(tmp_path: Path, target: Target) -> None:
    with running_target() as other:
        often = {"url": target.url, "limit": "1GB", "stats": {"interval": "1s"}}
        seldom = {"url": other.url, "limit": "1GB", "stats": {"interval": "60s"}}
        before = target.statistics_read

        def enough(_: list[Snapshot]) -> bool:
            return target.statistics_read - before >= 2

        watched(tmp_path, [often, seldom], enough)
        assert other.statistics_read == 1


@shows("targets.measure")
def test_measure(tmp_path: Path, target: Target) -> None:
    names = ("auto", "rss", "anon", "pss", "reported")
    looks = first_looks(tmp_path, *({"url": target.url, "name": name, "measure": name} for name in names))
    used = {look.name: look.seen.used for look in looks if look.seen is not None}
    assert [look.measure for look in looks] == [Measure.ANON, Measure.RSS, Measure.ANON, Measure.PSS, Measure.REPORTED]
    anon, pss, rss = used["anon"], used["pss"], used["rss"]
    assert isinstance(anon, int)
    assert isinstance(pss, int)
    assert isinstance(rss, int)
    assert 40 * MIB < anon < pss <= rss < 100 * MIB
    memory = looks[3].seen.memory if looks[3].seen else None
    assert isinstance(memory, ProcessMemory)
    assert memory.proportional_bytes == pss
    assert abs(used["reported"] - rss) < 4 * MIB  # type: ignore[operator]


@shows("targets.limit")
def test_limit(tmp_path: Path, target: Target) -> None:
    base = {"url": target.url}
    given, machine, auto, unknown = first_looks(
        tmp_path,
        base | {"name": "a", "limit": "123MB"},
        base | {"name": "b", "limit": "machine"},
        base | {"name": "c", "limit": "auto"},
        base | {"name": "d", "limit": "auto", "process": {"pid_file": "nowhere"}},
    )
    limits = [look.seen.limit if look.seen else None for look in (given, machine, auto, unknown)]
    assert limits[0] == Limit(123_000_000, LimitSource.GIVEN)
    assert isinstance(limits[1], Limit)
    assert limits[1].source is LimitSource.MACHINE
    # whatever this machine's cgroups say: a limit of theirs, the machine's, or why it is unknown, but never a given one
    assert not isinstance(limits[2], Limit) or limits[2].source is not LimitSource.GIVEN
    assert isinstance(limits[3], Unavailable)


@shows(*(f"targets.process.{way}" for way in ("port", "pid", "pid_file", "command", "cgroup")))
def test_ways_of_finding_the_process(tmp_path: Path, target: Target) -> None:
    """Each way finds this server, and with another value it does not."""
    (tmp_path / "right.pid").write_text(f"{target.pid}\n")
    (tmp_path / "wrong.pid").write_text("4194304\n")
    with running_target("another") as other:
        ways: dict[str, tuple[Any, Any]] = {
            "port": (target.port, 1),
            "pid": (target.pid, other.pid),
            "pid_file": ("right.pid", "wrong.pid"),
            "command": (rf"target\.py {target.port} watched$", "no such command line"),
        }
        for way, (right, wrong) in ways.items():
            found, not_found = (sought(tmp_path, {way: value}, other.pid) for value in (right, wrong))
            assert isinstance(found, ProcessIdentity), way
            assert found.pid == target.pid, way
            assert not isinstance(not_found, ProcessIdentity) or not_found.pid == other.pid, way
        # the cgroup that everything here is in cannot tell one process from another; that it is looked into can be told
        own = next(line.split(":", 2)[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if line)
        here, nowhere = (sought(tmp_path, {"cgroup": path}, other.pid) for path in (own, "/no/such/cgroup"))
        assert not isinstance(here, Unavailable) or here.reason is not Reason.NOT_FOUND
        assert isinstance(nowhere, Unavailable)
        assert nowhere.reason is Reason.NOT_FOUND


def sought(folder: Path, process: dict[str, Any], own_pid: int) -> ProcessIdentity | Unavailable:
    """Who is found. `own_pid` is that of a process beside the target: what we started counts as our own."""
    path = written(folder, {"targets": [{"name": "x", "process": process}]})
    finder = finder_of(load({"config.file": str(path)}, {}, folder).targets[0])
    assert finder is not None
    return find(finder, own_pid=own_pid)
