"""Recordings: exact lines, files that each stand alone, and the same decisions again."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog.observation import (
    CgroupMemory,
    Component,
    Limit,
    LimitSource,
    Measure,
    Observation,
    Outcome,
    OutcomeKind,
    ProcessIdentity,
    ProcessMemory,
    Reason,
    ServerReport,
    Unavailable,
)
from memory_watchdog.policy.events import Decision, Event, Manual, NewProcess, Pause, Reloaded, Resume
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.recording.lines import VERSION, Checkpoint, Gap, NoLine, Step, decode, encode
from memory_watchdog.recording.reader import RecordingError, read
from memory_watchdog.recording.recorder import Recorder, files_of
from memory_watchdog.recording.verify import Again, Missing, Replayed

from tests.support.wait import eventually
from tests.unit.ladder.simulator import DEFAULTS, ME, observe

numbers = st.integers(0, 2**60)
readings = numbers | st.builds(Unavailable, st.sampled_from(Reason), st.text(max_size=9))
times = st.floats(0, 1e9, allow_nan=False)
scalars = st.text(max_size=5) | st.integers(-(2**60), 2**60) | st.booleans() | st.floats(allow_nan=False, width=64)
observations = st.builds(
    Observation,
    taken_at=times,
    measure=st.sampled_from(Measure),
    used=readings,
    limit=st.builds(Limit, numbers, st.sampled_from(LimitSource)) | st.builds(Unavailable, st.sampled_from(Reason)),
    identity=st.builds(ProcessIdentity, numbers, numbers),
    memory=st.builds(
        ProcessMemory, numbers, readings, numbers, readings, readings, readings, readings
    ) | st.builds(Unavailable, st.sampled_from(Reason)),
    report=st.builds(
        ServerReport,
        answered_at=times,
        resident_bytes=st.none() | numbers,
        components=st.lists(st.builds(Component, st.text(max_size=5), st.none() | numbers), max_size=3).map(tuple),
        values=st.dictionaries(st.text(max_size=5), scalars, max_size=3),
    ) | st.builds(Unavailable, st.sampled_from(Reason)),
    server_answered_at=st.none() | times,
    cgroup=st.builds(CgroupMemory, readings, readings, readings, readings, readings),
)  # fmt: skip
events: st.SearchStrategy[Event] = (
    observations
    | st.builds(Outcome, st.text(max_size=9), st.sampled_from(OutcomeKind), times, st.none() | st.sampled_from(Reason))
    | st.builds(NewProcess, st.builds(ProcessIdentity, numbers, numbers))
    | st.builds(Pause, times)
    | st.just(Resume())
    | st.builds(Manual, st.text(max_size=9), st.text(max_size=9))
    | st.just(Reloaded(DEFAULTS))
)


def finite(event: Event) -> bool:
    """JSON has no infinity; nothing of ours is infinite, and the server's own values are not let in if they are."""
    if not isinstance(event, Observation) or not isinstance(event.report, ServerReport):
        return True
    return all(value not in (float("inf"), -float("inf")) for value in event.report.values.values())


@given(st.text(max_size=9), times, events.filter(finite))
@settings(max_examples=200, deadline=None)
def test_a_line_is_read_as_it_was_written(target: str, now: float, event: Event) -> None:
    step = Step(target, now, event, None)
    text = encode(step)
    assert text.count(b"\n") == 1
    back = decode(text)
    assert back == step
    if isinstance(event, Observation):
        assert repr(back) == repr(step), "True is not 1"


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_whatever_a_line_holds_it_is_read_or_refused(text: bytes) -> None:
    with contextlib.suppress(NoLine):
        assert isinstance(decode(text), Checkpoint | Gap | Step)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{}", "none of checkpoint, gap, or an event of kind observation"),
        (b'{"checkpoint":{"version":99}}', "version 99; this program reads 1"),
        (b'{"kind":"pause","event":{"until":"soon"},"target":"t","now":1,"decision":null}', "until"),
        (b'{"kind":"resume","event":{},"now":1,"decision":null}', "target"),
    ],
)
def test_what_is_wrong_with_a_line_is_said(text: bytes, said: str) -> None:
    with pytest.raises(NoLine, match=said):
        decode(text)


class Taped:
    """A ladder whose events go to a recorder, as the watcher sends them."""

    def __init__(self, path: Path, **keys: Any) -> None:
        self.ladder = Ladder(DEFAULTS, "t")
        self.recorder = Recorder(path, lambda: [self.checkpoint()], structlog.get_logger(), **keys)
        self.recorder.begin(self.checkpoint())
        self.decisions: list[Decision] = []

    def checkpoint(self) -> Checkpoint:
        ladder = self.ladder
        return Checkpoint(VERSION, "t", "boot", 0.0, 1e9, ladder.settings, ladder.state, ladder.outlook)

    def take(self, event: Event, now: float) -> Decision | None:
        decision = self.ladder.step(event, now)
        self.recorder.step(Step("t", now, event, decision))
        if decision is not None:
            self.decisions.append(decision)
        return decision

    def live(self, seconds: int, seed: int) -> None:
        """Growth, falls, answers, restarts, pauses."""
        pick, used = random.Random(seed), 22.0
        for at in range(seconds):
            used = min(99.0, max(20.0, used + (pick.choice([0.18, 0.2, 0.22]) if at % 1500 > 500 else -0.1)))
            decision = self.take(observe(float(at), used if pick.random() > 0.02 else None), at + 0.01)
            if decision is not None:
                self.take(Outcome(decision.request_id, pick.choice(list(OutcomeKind)[:2]), 0.5), at + 0.5)
                used -= pick.choice([0.0, 10.0, 30.0])
            if at > 1000 and pick.random() < 0.003:
                others: list[Event] = [NewProcess(ME), Pause(at + 30.0), Resume(), Manual("normal")]
                self.take(pick.choice(others), at + 0.7)


def again(path: Path) -> tuple[list[Replayed], list[Missing]]:
    taken = list(Again().run(read(path)))
    return [one for one in taken if isinstance(one, Replayed)], [one for one in taken if isinstance(one, Missing)]


def test_the_recorded_decisions_come_again(tmp_path: Path) -> None:
    taped = Taped(tmp_path / "tape")
    taped.live(3000, seed=5)
    taped.recorder.close()
    steps, missing = again(tmp_path / "tape")
    assert len(steps) > 3000
    assert not missing
    assert [step.decided for step in steps if step.decided] == taped.decisions
    assert {decision.trigger for decision in taped.decisions} >= {"threshold", "forecast"}
    assert not any(step.differs for step in steps)
    assert steps[0].wall == pytest.approx(1e9 + steps[0].now)


def test_every_file_of_a_rotated_recording_can_be_replayed_alone(tmp_path: Path) -> None:
    """The forecast too goes on from where it was: without what it remembers the decisions would be others."""
    taped = Taped(tmp_path / "tape", max_file_bytes=400_000)
    taped.live(3000, seed=5)
    taped.recorder.close()
    files = files_of(tmp_path / "tape")
    assert len(files) >= 4
    assert all(file.stat().st_size < 500_000 for file in files)
    count = 0
    for number, file in enumerate(files):
        alone = tmp_path / f"alone{number}"
        alone.write_bytes(file.read_bytes())
        steps, missing = again(alone)
        assert not missing
        assert not any(step.differs for step in steps), file
        count += len(steps)
    whole, _ = again(tmp_path / "tape")
    assert len(whole) == count


def test_only_so_many_files_are_kept(tmp_path: Path) -> None:
    taped = Taped(tmp_path / "tape", max_file_bytes=50_000)
    taped.live(2000, seed=6)
    taped.recorder.close()
    assert [file.name for file in files_of(tmp_path / "tape")] == ["tape.4", "tape.3", "tape.2", "tape.1", "tape"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 5 * 60_000


def test_an_earlier_run_is_rotated_away_and_read_with_the_rest(tmp_path: Path) -> None:
    for seed in (1, 2):
        taped = Taped(tmp_path / "tape")
        taped.live(300, seed)
        taped.recorder.close()
    steps, missing = again(tmp_path / "tape")
    assert len(steps) >= 600
    assert not missing
    assert not any(step.differs for step in steps)


def test_a_line_that_was_cut_off_is_the_end_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    taped = Taped(tmp_path / "tape")
    taped.live(50, seed=1)
    taped.recorder.close()
    whole = (tmp_path / "tape").read_bytes()
    (tmp_path / "tape").write_bytes(whole[:-20])
    steps, _ = again(tmp_path / "tape")
    assert len(steps) >= 49
    lines = whole.splitlines(keepends=True)
    (tmp_path / "tape").write_bytes(b"".join([*lines[:3], b"{broken\n", *lines[4:]]))
    with pytest.raises(RecordingError, match=r"tape:4: "):
        again(tmp_path / "tape")
    with pytest.raises(RecordingError, match="no such file"):
        again(tmp_path / "nothing")


def test_a_disk_that_fails_leaves_a_gap_that_is_said_and_then_it_goes_on(tmp_path: Path) -> None:
    """The folder goes away and comes back: what came meanwhile is missing, and nothing that is there is wrong."""
    folder = tmp_path / "disk"
    folder.mkdir()
    taped = Taped(folder / "tape", max_file_bytes=20_000)
    taped.live(20, seed=1)
    folder.rename(tmp_path / "gone")
    at = 20.0
    while not taped.recorder.lost:
        at += 1.0
        taped.take(observe(at, 30.0), at)
        if at > 100_000:
            pytest.fail("the failure was never seen")
    (tmp_path / "gone").rename(folder)

    def recovered() -> bool:
        nonlocal at
        at += 1.0
        taped.take(observe(at, 30.0), at)
        return any(isinstance(line, Gap) for line in read(folder / "tape"))

    eventually(recovered, what="the gap in the recording")
    taped.live(100, seed=2)
    taped.recorder.close()
    steps, missing = again(folder / "tape")
    assert missing
    assert not any(step.differs for step in steps)
