"""`memory-watchdog replay`: from its arguments to what it prints.

Leaves to others: the past (`tape`, `prometheus`), other settings (`model`, `suggest`), how it looks (`report`, `page`).
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from memory_watchdog.config import Config
from memory_watchdog.flight.ring import NoFlight, is_flight
from memory_watchdog.parts import ladder_settings
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.quantities import Percent, parse_duration
from memory_watchdog.recording.reader import RecordingError, read, size_of
from memory_watchdog.replay.figures import Figures
from memory_watchdog.replay.model import Alternative, with_settings
from memory_watchdog.replay.page import page
from memory_watchdog.replay.prometheus import PrometheusError, tape_from
from memory_watchdog.replay.report import print_tape
from memory_watchdog.replay.suggest import NoSuggestion, Suggestion, suggest
from memory_watchdog.replay.tape import Tape, from_flight, tapes

PLAIN_WIDTH = 120
_SLOW_BYTES = 5 * 2**20  # a recording from this size on takes a second and more: it gets a progress bar
_SLOW_LOOKS = 20_000


class ReplayError(Exception):
    """Nothing can be replayed; the text says why in one line."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments. Exactly one of `recording` and `prometheus` is given; times are as typed."""

    recording: Path | None
    config: Config | None
    target: str | None = None
    prometheus: str | None = None
    begins: str | None = None
    ends: str | None = None
    step: str = "15s"
    suggest: bool = False
    html: Path | None = None


def replay(asked: Asked) -> bool:
    """Do it. False when a recording does not give its own decisions again, or a suggestion was asked for and refused.

    Raises ReplayError.
    """
    console = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    words = Console(record=True, width=PLAIN_WIDTH, file=io.StringIO())
    try:
        found = _tapes(asked)
    except (RecordingError, PrometheusError, NoFlight) as error:
        raise ReplayError(str(error)) from error
    good, charts = True, list[tuple[str, Figures]]()
    for tape in found:
        settings = _settings(asked, tape)
        columns = [] if tape.figures is None else [(f"recorded, {tape.target}", tape.figures)]
        made: Alternative | None = None
        if settings is not None:
            with _progress(len(tape.looks), _SLOW_LOOKS, f"{tape.target}: other settings") as told:
                made = with_settings(tape, settings, told)
            columns.append((f"{'other settings' if columns else 'model'}, {tape.target}", made.figures))
        for where in (console, words):
            print_tape(where, tape, columns, made)
        charts += columns
        good = good and not tape.differing
        if asked.suggest:
            good = _suggest(asked, tape, console) and good
    if asked.html is not None:
        _write(asked.html, page("memory-watchdog replay", charts, words.export_text()))
        console.print(f"the picture is in {asked.html}")
    return good


def _tapes(asked: Asked) -> list[Tape]:
    if asked.prometheus is not None:
        return [_from_prometheus(asked)]
    assert asked.recording is not None, "the command line asks for one of both"
    if is_flight(asked.recording):
        return [from_flight(asked.recording)]
    with _progress(size_of(asked.recording), _SLOW_BYTES, "reading") as told:
        found = tapes(read(asked.recording, told))
    if not found:
        raise ReplayError(f"{asked.recording}: no target is recorded in it")
    if asked.target is not None and asked.target not in found:
        raise ReplayError(f"{asked.recording}: no target {asked.target!r}; there are: {', '.join(sorted(found))}")
    return [tape for name, tape in found.items() if asked.target in (None, name)]


def _from_prometheus(asked: Asked) -> Tape:
    if asked.prometheus is None or asked.target is None:
        raise ReplayError("--prometheus needs --target NAME: which of its targets?")
    now = time.time()
    begins, ends = _moment("--from", asked.begins or "1d", now), _moment("--to", asked.ends or "0s", now)
    try:
        step = parse_duration(asked.step)
    except ValueError as allowed:
        raise ReplayError(f"--step: found {asked.step!r}, allowed: {allowed}") from allowed
    if not begins < ends or step < 1:
        raise ReplayError("--from lies before --to, and --step is at least 1s")
    with _progress(round((ends - begins) / step), _SLOW_LOOKS, "asking Prometheus") as told:
        return tape_from(asked.prometheus, asked.target, begins, ends, step, told)


def _moment(option: str, text: str, now: float) -> float:
    """A time as ISO 8601, or so long ago."""
    try:
        return now - parse_duration(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ReplayError(
            f"{option}: found {text!r}, allowed: so long ago (7d, 12h) or a time such as 2026-11-26T20:00:00+00:00"
        ) from None


def _settings(asked: Asked, tape: Tape) -> LadderSettings | None:
    """The other settings; without a config those of the defaults where the past has none of its own."""
    if asked.config is not None:
        targets = {target.name: ladder_settings(target) for target in asked.config.targets}
        if tape.target in targets:
            return targets[tape.target]
        if len(targets) == 1 and tape.settings is None:
            return next(iter(targets.values()))
        raise ReplayError(f"the config has no target {tape.target!r}; there are: {', '.join(targets)}")
    return None if tape.settings is not None else _defaults()


def _defaults() -> LadderSettings:
    from memory_watchdog.config import TargetConfig  # noqa: PLC0415 - only where nothing else is given

    return ladder_settings(TargetConfig.model_validate({"url": "http://127.0.0.1"}))


def _suggest(asked: Asked, tape: Tape, console: Console) -> bool:
    base = _settings(asked, tape) or tape.settings or _defaults()
    with _progress(len(tape.looks) * 8, _SLOW_LOOKS, f"{tape.target}: trying thresholds") as told:
        found = suggest(tape, base, told)
    if isinstance(found, NoSuggestion):
        console.print(f"no suggestion for {tape.target}: {found.reason}")
        return False
    _print_suggestion(console, tape, found)
    return found.refused is None


def _print_suggestion(console: Console, tape: Tape, found: Suggestion) -> None:
    if found.refused is None:
        console.print(f"suggested for {tape.target}, from the first half of the past, tried on the second:")
        for level in found.settings.levels:
            assert isinstance(level.enter, Percent), "candidates are in percent"
            console.print(f"  - {{name: {level.name}, enter: {level.enter}, exit: {level.exit}}}")
    else:
        console.print(f"no suggestion for {tape.target}: {found.refused}")
    console.print(
        f"first half: {found.cleanups_first} cleanups, nearest approach {100 * found.nearest_first:.1f} %; "
        f"second half: {found.cleanups_second} cleanups, {100 * found.nearest_second:.1f} %; "
        f"error of the prediction {100 * found.error:.0f} %"
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReplayError(f"--html: {path}: {error.strerror}") from error


@contextmanager
def _progress(total: int, slow: int, what: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where somebody looks and it takes long."""
    if total < slow or not sys.stderr.isatty():
        yield lambda _: None
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)
