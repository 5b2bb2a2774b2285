"""The running watchdog and a server in a real cgroup: what is compared, decided and told. v1 or v2, as the machine has.

Leaves to others: what is read of a cgroup (`test_cgroups`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import MIB, VERSION, Filler, RealCgroup, file_on_disk, filling, real_cgroup, why_none
from tests.support.wait import PATIENCE, eventually
from tests.support.watchdog import Metrics, Watchdog, command, config, running_watchdog, written

pytestmark = [pytest.mark.skipif(bool(why_none()), reason=why_none()), pytest.mark.timeout(60 * PATIENCE)]

LEVELS = [{"name": "high", "enter": "50%", "exit": "40%"}]


@pytest.fixture
def cgroup() -> Iterator[RealCgroup]:
    with real_cgroup(256 * MIB) as made:
        yield made


@pytest.fixture
def filler(cgroup: RealCgroup) -> Iterator[Filler]:
    with filling(cgroup) as target:
        target.does("anon", 8)  # what it had before it came into the cgroup is charged where it was
        yield target


def settings(pid_file: Path, **keys: Any) -> dict[str, Any]:
    return config(None, process={"pid_file": str(pid_file)}, levels=LEVELS, **({"limit": "auto"} | keys))


@pytest.fixture
def pid_file(tmp_path: Path, filler: Filler) -> Path:
    path = tmp_path / "pid"
    path.write_text(f"{filler.pid}\n")
    return path


@pytest.fixture
def watchdog(tmp_path: Path, pid_file: Path) -> Iterator[Watchdog]:
    with running_watchdog(tmp_path, settings(pid_file)) as watchdog:
        yield watchdog


def until(watchdog: Watchdog, name: str, at_least: float, at_most: float = float("inf")) -> Metrics:
    """The first exposition in which a family has a value in that range."""

    def probe() -> Metrics | None:
        seen = watchdog.metrics()
        value = seen.value(name)
        return seen if value is not None and at_least <= value <= at_most else None

    found = eventually(probe, what=f"{name} from {at_least} to {at_most}: {watchdog.text[-2000:]}")
    assert found is not None
    return found


def info(seen: Metrics) -> dict[str, str]:
    return seen.labels("target_info")[0]


class TestMeasure:
    def test_auto_compares_what_the_cgroup_with_the_limit_cannot_give_back(
        self, watchdog: Watchdog, filler: Filler, cgroup: RealCgroup
    ) -> None:
        seen = until(watchdog, "target_cgroup_unreclaimable_bytes", 1)
        assert (info(seen)["measure"], info(seen)["limit_source"]) == ("unreclaimable", "cgroup")
        assert seen.value("target_limit_bytes") == 256 * MIB
        assert seen.value("target_used_bytes") == seen.value("target_cgroup_unreclaimable_bytes")
        assert watchdog.said("the limit is now", cgroup=str(cgroup.folder))
        with file_on_disk() as path:
            filler.does("file", path, 160)
            seen = until(watchdog, "target_cgroup_usage_bytes", 150 * MIB)
            watchdog.ticks()
            assert watchdog.metrics().value("target_level", level="high") == 0  # page cache is no reason to act
        filler.does("shmem", 150)
        watchdog.wait_for("level", after="high")
        cgroup.limit(1024 * MIB)  # a change moves the thresholds
        watchdog.wait_for("level", after="none")

    def test_a_limit_taken_away_is_the_machines_and_anon_is_compared(
        self, watchdog: Watchdog, filler: Filler, cgroup: RealCgroup
    ) -> None:
        until(watchdog, "target_limit_bytes", 256 * MIB, 256 * MIB)
        cgroup.limit(None)
        seen = until(watchdog, "target_limit_bytes", 257 * MIB)
        assert (info(seen)["measure"], info(seen)["limit_source"]) == ("anon", "machine")
        assert seen.value("target_cgroup_usage_bytes") is not None  # read and told, whichever one is compared
        cgroup.limit(256 * MIB)
        assert info(until(watchdog, "target_limit_bytes", 256 * MIB, 256 * MIB))["measure"] == "unreclaimable"

    @pytest.mark.parametrize(("keys", "measure"), [({"limit": "1GiB"}, "anon"), ({"measure": "rss"}, "rss")])
    def test_as_it_is_said(self, tmp_path: Path, pid_file: Path, keys: dict[str, str], measure: str) -> None:
        with running_watchdog(tmp_path, settings(pid_file, **keys)) as watchdog:
            assert info(until(watchdog, "target_cgroup_unreclaimable_bytes", 1))["measure"] == measure

    def test_unreclaimable_with_a_limit_that_is_given(self, tmp_path: Path, pid_file: Path) -> None:
        keys = {"limit": "1GiB", "measure": "unreclaimable"}
        with running_watchdog(tmp_path, settings(pid_file, **keys)) as watchdog:
            seen = until(watchdog, "target_used_bytes", 1)
            assert seen.value("target_used_bytes") == seen.value("target_cgroup_unreclaimable_bytes")
            assert info(seen)["limit_source"] == "given"


class TestTold:
    def test_kills_go_on_over_a_restart(
        self, watchdog: Watchdog, filler: Filler, cgroup: RealCgroup, pid_file: Path
    ) -> None:
        assert until(watchdog, "target_cgroup_usage_bytes", 0).value("target_oom_kills_total") == 0
        cgroup.limit(64 * MIB)
        filler.does("die", 128)
        until(watchdog, "target_oom_kills_total", 1, 1)
        filler.end()
        seen = until(watchdog, "target_up", 0, 0)
        assert seen.value("target_oom_kills_total") == 1
        assert seen.value("target_cgroup_usage_bytes") is None
        assert info(seen)["measure"] == "unreclaimable"  # of a process that comes back
        with real_cgroup(128 * MIB) as other, filling(other) as second:
            pid_file.write_text(f"{second.pid}\n")
            seen = until(watchdog, "target_limit_bytes", 128 * MIB, 128 * MIB)
            assert seen.value("target_oom_kills_total") == 1

    def test_pressure_where_the_version_has_it(self, watchdog: Watchdog) -> None:
        seen = until(watchdog, "target_cgroup_usage_bytes", 0)
        for name in ("target_pressure_waiting_seconds_total", "target_pressure_stalled_seconds_total"):
            assert (seen.value(name) is not None) == (VERSION == 2)

    def test_api(self, watchdog: Watchdog) -> None:
        until(watchdog, "target_cgroup_usage_bytes", 0)
        answer = json.loads(watchdog.get("/api/v1/targets/demo").text)
        assert answer["cgroup"].keys() == {"usage", "unreclaimable"}
        assert 0 < answer["cgroup"]["unreclaimable"]["bytes"] <= answer["cgroup"]["usage"]["bytes"]
        assert answer["oom_kills"] == 0
        assert (answer["pressure_waiting_seconds"] is None) == (VERSION == 1)

    def test_probe(self, tmp_path: Path, pid_file: Path, cgroup: RealCgroup) -> None:
        path = written(tmp_path, settings(pid_file))
        done = command("probe", f"--config.file={path}", seconds=60 * PATIENCE)
        assert done.returncode == 0, done.stderr
        rows = {line.split("│")[1].strip(): line for line in done.stdout.splitlines() if line.count("│") > 3}
        assert "/memory-watchdog-test" in rows["cgroup"]  # the rest of the name may stand in the next line
        assert "MiB" in rows["unreclaimable"]
        assert "│ 0 " in rows["OOM kills"]
        assert "measure unreclaimable, chosen by auto" in rows["used, what is compared"]
        assert ("unsupported" in rows["waiting for memory (some)"]) == (VERSION == 1)
