"""The number that decides, by what fills memory: a flood of page cache and a scan of a large map are no reason to act,
anonymous, shared and kernel memory are. In a real cgroup, v1 or v2, as the machine has.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import MIB, Filler, RealCgroup, file_on_disk, filling, real_cgroup, why_none
from tests.support.wait import PATIENCE
from tests.support.watchdog import Watchdog, config, level, running_watchdog

pytestmark = [pytest.mark.skipif(bool(why_none()), reason=why_none()), pytest.mark.timeout(60 * PATIENCE)]

LIMIT_MIB = 256
NOBODY = "http://127.0.0.1:1"  # what is asked for is enough: nobody has to answer
LEVELS = [level("high", "50%", "40%", cleanup={"path": "/cleanup", "timeout": "5s"})]


@pytest.fixture
def cgroup() -> Iterator[RealCgroup]:
    with real_cgroup(LIMIT_MIB * MIB) as made:
        yield made


@pytest.fixture
def filler(cgroup: RealCgroup) -> Iterator[Filler]:
    with filling(cgroup) as target:
        target.does("anon", 8)  # what it had before it came into the cgroup is charged where it was
        yield target


@pytest.fixture(params=["auto", "anon"])
def watchdog(request: pytest.FixtureRequest, tmp_path: Path, filler: Filler) -> Iterator[Watchdog]:
    """By the cgroup's number, and by that of the process tree where a limit is given."""
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{filler.pid}\n")
    keys: dict[str, Any] = {"limit": "auto"}
    if request.param == "anon":
        keys = {"limit": f"{LIMIT_MIB}MiB", "measure": "anon"}
    content = config(NOBODY, process={"pid_file": str(pid_file)}, levels=LEVELS, stats=None, **keys)
    with running_watchdog(tmp_path, content) as watchdog:
        watchdog.ticks()
        yield watchdog


def acts(watchdog: Watchdog) -> None:
    watchdog.wait_for("cleanup")


def does_not_act(watchdog: Watchdog) -> None:
    watchdog.ticks(10)
    seen = watchdog.metrics()
    assert seen.total("cleanups_total") == 0
    assert seen.value("target_level", level="high") == 0


def test_a_flood_of_page_cache_is_no_reason(watchdog: Watchdog, filler: Filler) -> None:
    with file_on_disk() as path:
        filler.does("file", path, 280)
        does_not_act(watchdog)


def test_a_scan_of_a_large_memory_map_is_no_reason(watchdog: Watchdog, filler: Filler) -> None:
    """An index that is mapped and read: resident memory rises by as much."""
    with file_on_disk() as path:
        filler.does("file", path, 180)
        filler.does("mapped", path)
        assert (watchdog.metrics().value("target_resident_bytes") or 0) > 0
        does_not_act(watchdog)
        assert (watchdog.metrics().value("target_resident_bytes") or 0) > 150 * MIB


@pytest.mark.parametrize("kind", ["anon", "shmem"])
def test_memory_that_nobody_can_take_back_is(watchdog: Watchdog, filler: Filler, kind: str) -> None:
    filler.does(kind, 150)
    acts(watchdog)


@pytest.mark.parametrize("watchdog", ["auto"], indirect=True)
def test_kernel_memory_is_too(watchdog: Watchdog, filler: Filler) -> None:
    """Full pipes, charged to the cgroup: no number of the process shows them."""
    filler.does("pipes", 150)
    acts(watchdog)
    assert (watchdog.metrics().value("target_anonymous_bytes") or 0) < 50 * MIB
