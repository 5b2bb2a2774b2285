"""The state file: what is written comes back, on this boot's clock, or not at all."""

from __future__ import annotations

import os
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog import state_file
from memory_watchdog.clock import Clock, boot_id
from memory_watchdog.observation import Limit, LimitSource, Measure, OutcomeKind, ProcessIdentity, Reason, Unavailable
from memory_watchdog.policy.efficacy import Basis, LastEffective, Request, Unanswered
from memory_watchdog.policy.events import Trigger, VerdictKind
from memory_watchdog.policy.state import LadderState, LevelState, Place, Restarting, shifted
from memory_watchdog.quantities import Percent, Size
from memory_watchdog.state_file import SavedState, TargetState

BOOT = "boot-1"

times = st.floats(min_value=0, max_value=1e9)
counts = st.integers(min_value=0, max_value=2**63)
names = st.text(max_size=20)
bases = st.builds(Basis, st.sampled_from(Measure), st.none() | st.builds(Limit, counts, st.sampled_from(LimitSource)))
thresholds = st.builds(Size, counts) | st.builds(Percent, st.floats(min_value=0.1, max_value=100))
requests = st.builds(
    Request,
    request_id=names, level=names, held=st.none() | names, trigger=st.sampled_from(Trigger), episode=counts,
    sent_at=times, timeout_seconds=times, settle_seconds=times, min_reclaim=thresholds, basis=st.none() | bases,
    before_bytes=st.none() | counts, low_bytes=st.none() | counts, low_at=times, answered_at=st.none() | times,
    outcome=st.sampled_from(OutcomeKind), disturbed=names,
)  # fmt: skip
levels = st.builds(
    LevelState,
    met_since=st.none() | times, last_request_at=st.none() | times, shadow_request_at=st.none() | times, streak=counts,
    last_verdict=st.none() | st.sampled_from(VerdictKind), ineffective=counts,
)  # fmt: skip
unanswered = st.builds(
    Unanswered, names, names, times, times, st.none() | counts, thresholds, st.booleans(), st.booleans(), st.booleans()
)
ladders = st.builds(
    LadderState,
    instance=names, held=names, levels=st.dictionaries(names, levels, max_size=3), held_since=times, episode=counts,
    sequence=counts, now=times, last_known_at=st.none() | times, last_used_bytes=st.none() | counts,
    last_basis=st.none() | bases, decide_after=times, last_sent_at=st.none() | times, request=st.none() | requests,
    unanswered=st.none() | unanswered, last_effective=st.none() | st.builds(LastEffective, counts, times, times),
    budget=st.lists(st.builds(Place, names, times), max_size=3), shadow_budget=st.lists(times, max_size=3),
    paused_until=st.none() | times, suppressed=st.lists(names, max_size=2),
    restart=st.none() | st.builds(Restarting, names, times), restarts=st.lists(times, max_size=3),
)  # fmt: skip
states = st.builds(
    SavedState,
    version=st.just(state_file.VERSION), boot_id=st.just(BOOT), boottime=times, wall=times,
    targets=st.dictionaries(
        names, st.builds(TargetState, ladders, st.none() | st.builds(ProcessIdentity, counts, counts)), max_size=3
    ),
)  # fmt: skip


class FixedClock(Clock):
    """A clock that stands still."""

    def __init__(self, boottime: float, wall: float) -> None:
        object.__setattr__(self, "_times", (boottime, wall))

    def boottime(self) -> float:
        return float(vars(self)["_times"][0])

    def wall(self) -> float:
        return float(vars(self)["_times"][1])


def small_state(**keys: Any) -> SavedState:
    ladder = LadderState(
        instance="i", held="normal", levels={"normal": LevelState(last_request_at=90.0, met_since=None)}, now=100.0,
        held_since=80.0, budget=[Place("i-1", 90.0)], paused_until=130.0, decide_after=95.0,
    )  # fmt: skip
    content: dict[str, Any] = {"version": 1, "boot_id": BOOT, "boottime": 100.0, "wall": 1_000_000.0}
    return SavedState(**content | {"targets": {"t": TargetState(ladder, ProcessIdentity(7, 8))}} | keys)


def loaded(path: Path, clock: Clock | None = None, boot: str = BOOT) -> SavedState:
    found = state_file.load(path, boot, clock or Clock())
    assert isinstance(found, SavedState), found
    return found


@given(states)
def test_every_state_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, state: SavedState) -> None:
    path = tmp_path_factory.getbasetemp() / "any-state.json"
    assert state_file.write(path, state_file.dump(state)) is None
    assert loaded(path) == state


def test_every_field_of_a_state_is_tried() -> None:
    """A field that is new in a state is one that the test above must build."""
    tried: list[tuple[Any, Any]] = [(ladders, LadderState), (requests, Request), (levels, LevelState)]
    for strategy, kind in tried:
        assert set(strategy.wrapped_strategy.kwargs) == set(kind.__dataclass_fields__), kind


def test_after_another_boot_times_are_as_long_ago_as_the_wall_clock_says(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    state_file.write(path, state_file.dump(small_state()))
    # 60 s later by the wall clock, and 5 s after the boot: what was at 100 s is now at −55
    moved = loaded(path, FixedClock(5.0, 1_000_060.0), "boot-2")
    ladder = moved.targets["t"].ladder
    assert (moved.boot_id, moved.boottime, moved.wall) == ("boot-2", 5.0, 1_000_060.0)
    assert ladder.levels["normal"].last_request_at == pytest.approx(-65.0)
    assert ladder.budget[0].taken_at == pytest.approx(-65.0)
    assert ladder.paused_until == pytest.approx(-25.0)
    assert ladder.now == pytest.approx(-55.0)
    assert moved.targets["t"].identity == ProcessIdentity(7, 8)


TIMES = {
    "met_since", "last_request_at", "shadow_request_at", "held_since", "now", "last_known_at", "decide_after",
    "last_sent_at", "sent_at", "low_at", "answered_at", "since", "ends_at", "taken_at", "paused_until", "shadow_budget",
    "expires_at", "restarts",
}  # fmt: skip


@given(ladders, st.floats(min_value=-1e6, max_value=1e6))
def test_every_time_is_moved_and_nothing_else(ladder: LadderState, seconds: float) -> None:
    compare(asdict(ladder), asdict(shifted(ladder, seconds)), seconds, "")


def compare(before: Any, after: Any, seconds: float, key: str) -> None:
    """`key` is the name under which the two stand; those in a list have the list's."""
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for name in before:
            compare(before[name], after[name], seconds, name)
    elif isinstance(before, list):
        for one, other in zip(before, after, strict=True):
            compare(one, other, seconds, key)
    elif key in TIMES and before is not None:
        assert after == before + seconds, key
    else:
        assert after == before, key


def test_a_wall_clock_that_went_back_counts_as_no_time(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    state_file.write(path, state_file.dump(small_state()))
    moved = loaded(path, FixedClock(5.0, 10.0), "boot-2")
    assert moved.targets["t"].ladder.levels["normal"].last_request_at == pytest.approx(-5.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ""),
        (b"{", ""),
        (b"null", ""),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
        (b'{"version": 1}', "boot_id"),
        (state_file.dump(small_state(version=2)), "version 2"),
        (state_file.dump(small_state()).replace(b'"held":"normal"', b'"held":7'), "held"),
        (state_file.dump(small_state())[:-20], ""),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(content)
    found = state_file.load(path, BOOT, Clock())
    assert isinstance(found, Unavailable)
    assert found.reason is Reason.INVALID
    assert str(path) in found.detail
    assert said in found.detail
    assert len(found.detail) < 400


def test_what_is_missing_and_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name, reason in (
        ("nothing", Reason.NOT_FOUND), ("dangling", Reason.NOT_FOUND), ("", Reason.UNREADABLE),
        ("pipe", Reason.UNREADABLE), ("loop", Reason.UNREADABLE),
    ):  # fmt: skip
        found = state_file.load(tmp_path / name, BOOT, Clock())
        assert isinstance(found, Unavailable)
        assert found.reason is reason, name


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.json"
    assert state_file.write(path, b"old") is None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    failure = state_file.write(path, b"new")
    assert isinstance(failure, Unavailable)
    assert failure.detail == f"{path}: No space left on device"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    failure = state_file.write(tmp_path / "no" / "s.json", b"x")
    assert isinstance(failure, Unavailable)
    assert "No such file or directory" in failure.detail


def test_setting_aside_keeps_the_content_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        assert state_file.set_aside(path) == tmp_path / "s.json.damaged"
    assert (tmp_path / "s.json.damaged").read_bytes() == b"second"
    assert not path.exists()
    assert isinstance(state_file.set_aside(path), Unavailable)


def test_the_boot_id_is_read_or_why_not(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("abc\n")
    assert boot_id(tmp_path) == "abc"
    assert isinstance(boot_id(tmp_path / "nowhere"), Unavailable)
