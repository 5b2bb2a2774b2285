"""Replaying: the past again, other settings over it, a model beyond the first difference, suggestions and refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from memory_watchdog.cli import main
from memory_watchdog.observation import Limit, LimitSource, Measure, Outcome, OutcomeKind, ProcessIdentity
from memory_watchdog.policy.events import Decision, Event, Manual, NewProcess, RestartEnded, RestartOutcome, Trigger
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import LadderSettings, RestartSettings
from memory_watchdog.quantities import Percent
from memory_watchdog.recording.lines import VERSION, Checkpoint, Step, encode
from memory_watchdog.recording.reader import read
from memory_watchdog.replay.figures import CHART_POINTS, Series
from memory_watchdog.replay.model import with_settings
from memory_watchdog.replay.suggest import NoSuggestion, Suggestion, suggest
from memory_watchdog.replay.tape import Effect, Look, Tape, tapes

from tests.unit.ladder.simulator import DEFAULTS, ME, MIB, observe

QUIET = replace(DEFAULTS, forecast_within_seconds=None)
LATER = replace(QUIET, levels=(replace(QUIET.levels[0], enter=Percent(80), exit=Percent(72)), QUIET.levels[1]))
ENDING = replace(QUIET, restart=RestartSettings(min_age_seconds=10.0))
Used = Callable[[float], float]


def recorded(
    path: Path, settings: LadderSettings = QUIET, seconds: int = 1200, per_second: float = 0.05, gives: float = 20
) -> Path:
    """A server that grows and is cleaned, as a recording: a look a second, answers after two."""
    ladder = Ladder(settings, "w")
    checkpoint = Checkpoint(VERSION, "t", "boot", 0.0, 1.7e9, settings, ladder.state, ladder.outlook)
    lines, used = [encode(checkpoint)], 50.0
    due: list[tuple[float, str]] = []
    for at in range(seconds):
        used += per_second
        if due and due[0][0] <= at:
            answered, request_id = due.pop(0)
            used -= gives
            outcome = Outcome(request_id, OutcomeKind.DONE, 2.0)
            lines.append(encode(Step("t", answered, outcome, ladder.step(outcome, answered))))
        seen = observe(float(at), used)
        decision = ladder.step(seen, at + 0.01)
        lines.append(encode(Step("t", at + 0.01, seen, decision)))
        if decision is not None:
            due.append((at + 2.0, decision.request_id))
    path.write_bytes(b"".join(lines))
    return path


def tape_of(path: Path) -> Tape:
    return tapes(read(path))["t"]


def test_the_past_is_the_same_again_and_what_cleanups_did_is_known(tmp_path: Path) -> None:
    tape = tape_of(recorded(tmp_path / "tape"))
    assert tape.differing == tape.missing == tape.unmeasured == 0
    assert len(tape.decided) == len(tape.effects) >= 2
    low, middle, high = tape.reclaims("normal")
    assert low <= middle <= high
    assert middle == pytest.approx(20 * MIB, rel=0.1)
    assert tape.duration_seconds("normal") == 2.0
    assert tape.reclaims("aggressive") == tape.reclaims("normal"), "none was measured there: any is better than none"
    assert tape.figures is not None
    assert tape.figures.nearest[0] == pytest.approx(0.765, abs=0.015)
    assert 5 < tape.figures.above_seconds[0]["normal"] < 60


def test_the_same_settings_differ_nowhere(tmp_path: Path) -> None:
    tape = tape_of(recorded(tmp_path / "tape"))
    made = with_settings(tape, QUIET)
    assert made.differs_at is None
    assert tape.figures is not None
    assert made.figures.actions == tape.figures.actions
    assert made.figures.nearest == tape.figures.nearest


def test_other_settings_decide_on_memory_as_it_was_and_are_a_model_after_that(tmp_path: Path) -> None:
    tape = tape_of(recorded(tmp_path / "tape"))
    made = with_settings(tape, LATER)
    first = tape.decided[0][0]
    assert made.differs_at == first
    assert "nothing now" in made.difference
    # What the recorded cleanup gave back comes on top again: growth goes on, and ours come at 80 %.
    (at, level), *_ = made.figures.cleanups
    assert level == "normal"
    assert at == pytest.approx((80 - 50) / 0.05 + 10, abs=8)
    assert made.figures.nearest[0] == pytest.approx(0.805, abs=0.02)
    assert made.figures.nearest[1] >= made.figures.nearest[0] >= made.figures.nearest[2]


def test_the_range_is_that_of_what_was_measured() -> None:
    """Cleanups that gave back 10, 20 and 30 MiB: after the same requests memory is higher or lower by as much."""
    limit = Limit(100 * MIB, LimitSource.GIVEN)
    tape = Tape("t", effects=[Effect(-1.0, "normal", 1.0, size * MIB) for size in (10, 20, 30)])
    tape.looks = [
        Look(float(at), float(at), min(90, 50 + at // 10) * MIB, limit, Measure.ANON, None) for at in range(600)
    ]
    one = replace(QUIET, levels=QUIET.levels[:1])
    made = with_settings(tape, one)
    assert len(made.figures.cleanups) >= 1
    middle, higher, lower = (above["normal"] for above in made.figures.above_seconds)
    assert lower < middle < higher


def test_a_new_process_has_forgotten_what_a_model_did() -> None:
    limit = Limit(100 * MIB, LimitSource.GIVEN)
    tape = Tape("t", effects=[Effect(-1.0, "normal", 1.0, 20 * MIB)])
    tape.looks = [Look(float(at), float(at), 80 * MIB, limit, Measure.ANON, None) for at in range(100)]
    cleaned = with_settings(tape, QUIET).figures.series.columns[-1].highest
    assert cleaned == 60 * MIB
    tape.others = [(50.5, NewProcess(ME))]
    assert with_settings(tape, QUIET).figures.series.columns[52].highest == 80 * MIB


def test_a_cleanup_by_hand_that_the_other_settings_cannot_send_is_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "tape"
    ladder = Ladder(QUIET, "w")
    lines = [encode(Checkpoint(VERSION, "t", "b", 0.0, 0.0, QUIET, ladder.state, ladder.outlook))]
    for at, event in ((0.0, observe(0.0, 30)), (1.0, Manual("aggressive")), (2.0, observe(2.0, 30))):
        lines.append(encode(Step("t", at, event, ladder.step(event, at))))
    path.write_bytes(b"".join(lines))
    tape = tape_of(path)
    assert tape.decided[0][1].trigger is Trigger.MANUAL
    made = with_settings(tape, replace(QUIET, levels=QUIET.levels[:1]))
    assert (made.differs_at, made.difference) == (1.0, "by hand at level aggressive")


def ended_once(path: Path, *, told: bool = True) -> Path:
    """A server that no cleanup helps: its process is ended, another begins. Not `told`: a tampered recording."""
    ladder, identity = Ladder(ENDING, "w"), ME
    checkpoint = Checkpoint(VERSION, "t", "boot", 0.0, 1.7e9, ENDING, ladder.state, ladder.outlook)
    lines = [encode(checkpoint)]

    def take(event: Event, at: float) -> Decision | None:
        decision = ladder.step(event, at)
        lines.append(encode(Step("t", at, event, decision, ladder.restart if told else None)))
        return decision

    for at in range(1000, 1200):
        decision = take(replace(observe(float(at), 95 if identity is ME else 50), identity=identity), at + 0.01)
        if ladder.restart is not None:
            take(RestartEnded(ladder.restart.request_id, RestartOutcome.ENDED), at + 0.2)
            identity = ProcessIdentity(7, at * 100)
            take(NewProcess(identity), at + 0.3)
        elif decision is not None:
            take(Outcome(decision.request_id, OutcomeKind.DONE, 0.1), at + 0.1)
    path.write_bytes(b"".join(lines))
    return path


def test_the_end_of_a_process_is_replayed_counted_and_a_difference_where_it_is_none(tmp_path: Path) -> None:
    tape = tape_of(ended_once(tmp_path / "tape"))
    assert tape.figures is not None
    assert (tape.differing, tape.figures.restarts) == (0, 1)
    assert with_settings(tape, ENDING).differs_at is None
    other = with_settings(tape, replace(ENDING, restart=None))
    assert (other.difference, other.figures.restarts) == ("the process was ended before, not now", 0)
    assert tape_of(ended_once(tmp_path / "tampered", told=False)).differing == 1


def test_a_chart_has_a_bounded_number_of_columns_and_keeps_the_extremes() -> None:
    series = Series()
    for at in range(50_000):
        series.add(float(at), 100.0 if at == 31_234 else 10.0 + at % 3, 200)
    assert CHART_POINTS / 2 <= len(series.columns) <= 2 * CHART_POINTS
    assert max(column.highest for column in series.columns) == 100.0
    assert min(column.lowest for column in series.columns) == 10.0
    times = [column.at for column in series.columns]
    assert times == sorted(times)


def looks_of(used: Used, seconds: int, every: int = 5, gives: int = 25) -> Tape:
    limit = Limit(100 * MIB, LimitSource.GIVEN)
    tape = Tape("t", effects=[Effect(-1.0, "normal", 1.0, gives * MIB)])
    tape.looks = [
        Look(float(at), float(at), int(used(at) * MIB), limit, Measure.ANON, None) for at in range(0, seconds, every)
    ]
    return tape


def test_a_suggestion_is_tried_on_the_second_half() -> None:
    found = suggest(looks_of(lambda at: 40 + 35 * ((at % 1800) / 1800), 14400), QUIET)
    assert isinstance(found, Suggestion)
    assert found.refused is None
    assert found.error == 0
    assert found.nearest_first < 0.95
    normal, aggressive = found.settings.levels
    assert normal.exit.of(1000) < normal.enter.of(1000) <= aggressive.exit.of(1000) < aggressive.enter.of(1000)  # type: ignore[operator]


def test_a_past_that_does_not_predict_the_second_half_is_refused() -> None:
    def used(at: float) -> float:
        return 40 if at < 7200 else 40 + (at - 7200) / 30

    found = suggest(looks_of(used, 14400), QUIET)
    assert isinstance(found, Suggestion)
    assert found.refused is not None


@pytest.mark.parametrize(
    ("used", "seconds", "reason"),
    [(lambda _: 40.0, 1000, "too few"), (lambda at: 40 + 70 * (at % 600) / 600, 14400, "no thresholds would have")],
)
def test_without_grounds_nothing_is_suggested(used: Used, seconds: int, reason: str) -> None:
    found = suggest(looks_of(used, seconds, gives=0), QUIET)
    assert isinstance(found, NoSuggestion)
    assert reason in found.reason


# ---- the command

NEW = """
targets:
  - name: t
    url: http://127.0.0.1:1
    limit: 100MiB
    forecast: {within: 1s}
    levels:
      - {name: normal, enter: 80%, exit: 72%, sustain: 10s, cleanup: {path: /x}}
      - {name: aggressive, enter: 87.5%, exit: 80%, cooldown: 30s, cleanup: {path: /x}}
"""


def test_the_command_says_it_all_and_writes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape, new, html = recorded(tmp_path / "tape"), tmp_path / "new.yaml", tmp_path / "page.html"
    new.write_text(NEW)
    assert main(["replay", str(tape), "--config.file", str(new), "--html", str(html)]) == 0
    printed = capsys.readouterr().out
    assert "decisions, the same again bit for bit" in printed
    assert "first difference at 2023-11-14 22:" in printed
    assert "figures after it are a model" in " ".join(printed.split())
    assert "cleanups at normal, threshold" in printed
    assert "nearest approach to the limit" in printed
    page = html.read_text()
    assert page.count("<svg") == 2
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "enter of normal" in page


def test_a_recording_that_decides_otherwise_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tape = recorded(tmp_path / "tape")
    tape.write_bytes(tape.read_bytes().replace(b'"level":"normal","held":"normal"', b'"level":"normal","held":"none"'))
    assert main(["replay", str(tape)]) == 1
    assert "decide otherwise than was recorded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "there is no such file"),
        (["tape", "--target", "x"], "no target 'x'; there are: t"),
        (["tape", "--config.file", "other.yaml"], "the config has no target 't'; there are: x"),
        (["--prometheus", "http://127.0.0.1:1"], "--prometheus needs --target"),
        (["--prometheus", "http://127.0.0.1:1", "--target", "t"], "cannot be asked"),
        (["--prometheus", "http://127.0.0.1:1", "--target", "t", "--from", "yesterday"], "--from: found 'yesterday'"),
        (["--prometheus", "http://127.0.0.1:1", "--target", "t", "--step", "5"], "--step: found '5'"),
        (["tape", "--html", "/proc/none/x"], "--html: /proc/none/x"),
        ([], "is required"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    recorded(tmp_path / "tape", seconds=30)
    (tmp_path / "other.yaml").write_text(NEW.replace("name: t", "name: x", 1))
    monkeypatch.chdir(tmp_path)
    try:
        status = main(["replay", *arguments])
    except SystemExit as end:
        status = int(str(end.code))
    assert status == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
