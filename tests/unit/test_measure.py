"""What `measure: auto` and `limit: auto` come to, by what can be seen of the process and of its cgroup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from memory_watchdog.config import TargetConfig, load
from memory_watchdog.measure import choose_measure
from memory_watchdog.observation import (
    NO_CGROUP,
    Limit,
    LimitSource,
    Measure,
    ProcessIdentity,
    Reason,
    Unavailable,
)
from memory_watchdog.quantities import parse_size
from memory_watchdog.sources.cgroup_view import CgroupLook
from memory_watchdog.sources.limit import limit_of

from tests.support.cgroup_trees import GIB, of_cgroup
from tests.support.trees import machine

GONE = Unavailable(Reason.GONE, "the process ended")


def target_of(tmp_path: Path, text: str) -> TargetConfig:
    path = tmp_path / "config.yaml"
    path.write_text(f"targets: [{{name: a, url: 'http://127.0.0.1:1'{text}}}]\n")
    return load({"config.file": str(path)}, {}, directory=tmp_path).targets[0]


SEEN = ProcessIdentity(5, 5)
HIDDEN, DOWN = Unavailable(Reason.PERMISSION), Unavailable(Reason.NOT_FOUND)
OF_LIMIT = CgroupLook(of_cgroup(GIB), True, NO_CGROUP)


def unknown(reason: Reason) -> CgroupLook:
    return CgroupLook(Unavailable(reason), False, NO_CGROUP)


class TestMeasure:
    @pytest.mark.parametrize(
        ("text", "identity", "cgroup", "measure"),
        [
            ("", SEEN, OF_LIMIT, Measure.UNRECLAIMABLE),
            ("", SEEN, replace(OF_LIMIT, of_limit=False), Measure.ANON),  # of a cgroup that is not shown
            ("", SEEN, unknown(Reason.UNLIMITED), Measure.ANON),
            ("", SEEN, unknown(Reason.PERMISSION), Measure.ANON),
            ("", SEEN, unknown(Reason.UNREADABLE), Measure.ANON),
            ("", HIDDEN, unknown(Reason.PERMISSION), Measure.REPORTED),
            ("", Unavailable(Reason.NOT_CONFIGURED), unknown(Reason.NOT_CONFIGURED), Measure.REPORTED),
            (", stats: null", HIDDEN, unknown(Reason.PERMISSION), Measure.ANON),
            ("", DOWN, unknown(Reason.NOT_FOUND), Measure.ANON),
            (", measure: rss", SEEN, OF_LIMIT, Measure.RSS),
            (", measure: unreclaimable", SEEN, unknown(Reason.UNLIMITED), Measure.UNRECLAIMABLE),
            (", measure: unreclaimable", HIDDEN, unknown(Reason.PERMISSION), Measure.UNRECLAIMABLE),
        ],
    )
    def test_chosen(
        self,
        tmp_path: Path,
        text: str,
        identity: ProcessIdentity | Unavailable,
        cgroup: CgroupLook,
        measure: Measure,
    ) -> None:
        assert choose_measure(target_of(tmp_path, text), identity, cgroup) is measure

    @pytest.mark.parametrize(
        ("text", "identity", "cgroup", "kept"),
        [
            ("", SEEN, unknown(Reason.UNREADABLE), True),
            ("", SEEN, unknown(Reason.TIMEOUT), True),
            ("", GONE, unknown(Reason.GONE), True),
            ("", DOWN, unknown(Reason.NOT_FOUND), True),
            ("", HIDDEN, unknown(Reason.PERMISSION), False),
            ("", SEEN, unknown(Reason.UNLIMITED), False),
            ("", SEEN, unknown(Reason.NOT_FOUND), False),
            (", limit: 1GB", SEEN, unknown(Reason.UNREADABLE), False),
        ],
    )
    def test_kept_while_it_cannot_be_read_for_a_moment(
        self, tmp_path: Path, text: str, identity: ProcessIdentity | Unavailable, cgroup: CgroupLook, kept: bool
    ) -> None:
        chosen = choose_measure(target_of(tmp_path, text), identity, cgroup, Measure.UNRECLAIMABLE)
        assert (chosen is Measure.UNRECLAIMABLE) == kept


class TestLimitWish:
    @pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.UNLIMITED}))
    def test_an_unknown_limit_is_never_the_machines(self, tmp_path: Path, reason: Reason) -> None:
        assert limit_of("auto", Unavailable(reason), machine(tmp_path)) == Unavailable(reason)

    def test_no_limit_is(self, tmp_path: Path) -> None:
        proc, all_of_it = machine(tmp_path), Limit(16 * GIB, LimitSource.MACHINE)
        assert limit_of("auto", Unavailable(Reason.UNLIMITED), proc) == all_of_it
        assert limit_of("machine", of_cgroup(GIB), proc) == all_of_it

    def test_given(self, tmp_path: Path) -> None:
        assert limit_of(parse_size("1GiB"), Unavailable(Reason.GONE), machine(tmp_path)) == Limit(
            GIB, LimitSource.GIVEN
        )
