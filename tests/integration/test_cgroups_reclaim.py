"""The kernel is asked to take memory back, in a real cgroup: v2 has it, v1 has not. v1 or v2, as the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cgroups import MIB, VERSION, Filler, RealCgroup, file_on_disk, filling, real_cgroup, why_none
from tests.support.wait import PATIENCE
from tests.support.watchdog import Watchdog, config, running_watchdog

pytestmark = [pytest.mark.skipif(bool(why_none()), reason=why_none()), pytest.mark.timeout(60 * PATIENCE)]

LEVELS = [{"name": "high", "enter": "50%", "exit": "25%", "cleanup": {"reclaim": {}, "timeout": "10s"}}]


@pytest.fixture
def cgroup() -> Iterator[RealCgroup]:
    with real_cgroup(512 * MIB) as made:
        yield made


@pytest.fixture
def filler(cgroup: RealCgroup) -> Iterator[Filler]:
    with filling(cgroup) as target:
        yield target


@pytest.fixture
def watchdog(tmp_path: Path, filler: Filler) -> Iterator[Watchdog]:
    """There is no url: a server without any endpoint is helped as well."""
    pid_file = tmp_path / "pid"
    pid_file.write_text(f"{filler.pid}\n")
    content = config(None, process={"pid_file": str(pid_file)}, measure="rss", limit="200MiB", levels=LEVELS)
    with running_watchdog(tmp_path, content) as watchdog:
        yield watchdog


def test_mapped_files_are_taken_back_and_the_verdict_is_measured(watchdog: Watchdog, filler: Filler) -> None:
    with file_on_disk() as path:
        filler.does("file", path, 120)
        filler.does("mapped", path)
        sent = watchdog.wait_for("cleanup")
        assert sent["target_bytes"] > 50 * MIB
        if VERSION == 1:
            failed = watchdog.wait_for("cleanup failed")
            assert failed["reason"] == "unsupported"
            assert "cgroup v1 has no memory.reclaim" in failed["detail"]
            assert watchdog.metrics().value("cleanup_failures_total", level="high", reason="unsupported") >= 1  # type: ignore[operator]
        else:
            verdict = watchdog.wait_for("verdict")
            assert verdict["verdict"] == "effective"
            assert verdict["reclaimed_bytes"] > 40 * MIB
            assert watchdog.wait_for("cleanup answered")["claimed_bytes"] == sent["target_bytes"]


def test_where_nothing_can_be_taken_the_verdict_says_so(watchdog: Watchdog, filler: Filler) -> None:
    """Anonymous memory without swap: the kernel answers EAGAIN, and memory stays where it is."""
    filler.does("anon", 120)
    if VERSION == 1:
        assert watchdog.wait_for("cleanup failed")["reason"] == "unsupported"
        return
    assert "was to be had" in watchdog.wait_for("cleanup answered")["detail"]
    assert watchdog.wait_for("verdict")["verdict"] == "ineffective"
