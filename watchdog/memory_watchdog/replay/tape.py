"""One target's past in memory: every look as a few numbers, the other events, and what each cleanup gave back.

Covers: taking a recording through its own ladder again, and keeping what a second ladder needs.
Leaves to others: the lines (`recording`), the second ladder (`model`), counting (`figures`).

A look is some 200 bytes: a month at 15 s is 35 MB.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from memory_watchdog.flight.ring import read_flight
from memory_watchdog.observation import (
    Limit,
    LimitSource,
    Measure,
    Observation,
    Outcome,
    OutcomeKind,
    ProcessIdentity,
    Reading,
    Reason,
    Unavailable,
)
from memory_watchdog.policy.events import Decision, Event, Verdict
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.policy.state import LadderState
from memory_watchdog.recording.lines import Checkpoint, Line
from memory_watchdog.recording.verify import Again, Missing, Replayed
from memory_watchdog.replay.figures import Figures

_NOT_RECORDED = Unavailable(Reason.NOT_CONFIGURED)
DEFAULT_SECONDS = 1.0
"""How long a cleanup is taken to last where none was recorded."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the ladder goes by of one observation. `now` is when it took it; `used` and `limit` may be unknown."""

    now: float
    taken_at: float
    used: Reading
    limit: Limit | Unavailable
    measure: Measure
    answered_at: float | None
    identity: ProcessIdentity | Unavailable = _NOT_RECORDED

    def observation(self, used: Reading) -> Observation:
        """An observation of it, with another number used."""
        return Observation(
            taken_at=self.taken_at,
            measure=self.measure,
            used=used,
            limit=self.limit,
            identity=self.identity,
            memory=_NOT_RECORDED,
            report=_NOT_RECORDED,
            server_answered_at=self.answered_at,
        )


@dataclass(slots=True)
class Effect:
    """What one cleanup did: when it was answered, how long it took, what the verdict measured, if it could."""

    answered_at: float
    level: str
    duration_seconds: float
    reclaimed_bytes: int | None


@dataclass(slots=True)
class Tape:
    """One target. `settings` and `state` are those at the beginning; None where the past comes from Prometheus.

    `wall_offset` is added to a `now` for seconds since the epoch. `others` are events that are no look, with their
    time; `decided` are the decisions as they were, `ended` the times at which the process was to be ended.
    """

    target: str
    wall_offset: float = 0.0
    settings: LadderSettings | None = None
    state: LadderState | None = None
    looks: list[Look] = field(default_factory=list)
    others: list[tuple[float, Event]] = field(default_factory=list)
    decided: list[tuple[float, Decision]] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    figures: Figures | None = None
    differing: int = 0
    missing: int = 0
    events: tuple[tuple[float, str], ...] = ()  # by wall clock, as words

    def reclaims(self, level: str) -> tuple[float, float, float]:
        """What a cleanup at a level gives back: the 10th, 50th and 90th percentile; of any level where none was."""
        return _spread([one.reclaimed_bytes for one in self._measured(level) if one.reclaimed_bytes is not None])

    def duration_seconds(self, level: str) -> float:
        """How long one takes there, as a median."""
        found = [one.duration_seconds for one in self._measured(level)]
        return median(found) if found else DEFAULT_SECONDS

    @property
    def unmeasured(self) -> int:
        """How many cleanups have no verdict: the model takes the median of the others for them."""
        return sum(one.reclaimed_bytes is None for one in self.effects)

    def _measured(self, level: str) -> list[Effect]:
        known = [one for one in self.effects if one.reclaimed_bytes is not None]
        return [one for one in known if one.level == level] or known


def _spread(values: list[int]) -> tuple[float, float, float]:
    if not values:
        return 0.0, 0.0, 0.0
    if len(values) == 1:
        return (float(values[0]),) * 3
    tenths = quantiles(values, n=10, method="inclusive")
    return tenths[0], tenths[4], tenths[8]


def tapes(lines: Iterable[Line]) -> dict[str, Tape]:
    """Every target of a recording, by name, taken through its own ladder again."""
    found: dict[str, Tape] = {}
    boots: dict[str, str] = {}
    again = Again()
    sent: dict[str, dict[str, Effect]] = defaultdict(dict)

    def noticed(source: Iterable[Line]) -> Iterable[Line]:
        for line in source:
            if isinstance(line, Checkpoint):
                if boots.setdefault(line.target, line.boot_id) != line.boot_id:
                    # Another boot has another clock: what was before it cannot be put on one line with what follows.
                    found.pop(line.target, None)
                    boots[line.target] = line.boot_id
                if line.target not in found:
                    settings = line.settings
                    tape = Tape(line.target, line.wall - line.boottime, settings, line.state)
                    tape.figures = Figures(settings, tape.wall_offset)
                    found[line.target] = tape
            yield line

    for taken in again.run(noticed(lines)):
        if isinstance(taken, Missing):
            for tape in found.values():
                tape.missing += taken.lost
        else:
            _take(found[taken.target], taken, sent[taken.target])
    return found


def from_flight(path: Path) -> Tape:
    """The last minutes of one target, as its flight recorder has them. They have no decisions that could come again.

    Raises NoFlight.
    """
    flight = read_flight(path)
    tape = Tape(str(flight.about.get("target", path.stem)))
    for look in flight.looks:
        tape.wall_offset = look.wall - look.taken_at
        used: Reading = look.used if look.used >= 0 else _NOT_RECORDED
        limit = Limit(look.limit, LimitSource.GIVEN) if look.limit >= 0 else _NOT_RECORDED
        answered_at = look.answered_at if look.answered_at >= 0 else None
        tape.looks.append(Look(look.taken_at, look.taken_at, used, limit, Measure.AUTO, answered_at))
    tape.events = tuple((event.wall, f"{event.kind}: {event.text}") for event in flight.events)
    return tape


def _take(tape: Tape, taken: Replayed, sent: dict[str, Effect]) -> None:
    event = taken.event
    assert tape.figures is not None, "a recording has its own"
    tape.differing += taken.differs
    if isinstance(event, Observation):
        tape.looks.append(
            Look(
                taken.now,
                event.taken_at,
                event.used,
                _limit(event.limit),
                event.measure,
                event.server_answered_at,
                _identity(event.identity),
            )
        )
        tape.figures.look(taken.now, event.used, event.limit)
    else:
        tape.others.append((taken.now, event))
        if isinstance(event, Outcome) and event.request_id in sent:
            effect = sent[event.request_id]
            effect.answered_at, effect.duration_seconds = taken.now, event.duration_seconds
    for note in taken.notes:
        if isinstance(note, Verdict) and note.request_id in sent:
            sent.pop(note.request_id).reclaimed_bytes = (
                0 if note.outcome is OutcomeKind.UNREACHED else note.reclaimed_bytes
            )
    tape.figures.noted(taken.notes)
    if taken.decided_restart is not None:
        tape.figures.restarted()
        tape.ended.append(taken.now)
    if taken.decided is not None:
        tape.decided.append((taken.now, taken.decided))
        tape.figures.decided(taken.now, taken.decided)
        sent[taken.decided.request_id] = Effect(taken.now, taken.decided.level, DEFAULT_SECONDS, None)
        tape.effects.append(sent[taken.decided.request_id])


_IDENTITIES: dict[ProcessIdentity, ProcessIdentity] = {}
_LIMITS: dict[tuple[int, LimitSource], Limit] = {}


def _identity(identity: ProcessIdentity | Unavailable) -> ProcessIdentity | Unavailable:
    """The same object for the same process."""
    return _IDENTITIES.setdefault(identity, identity) if isinstance(identity, ProcessIdentity) else _NOT_RECORDED


def _limit(limit: Limit | Unavailable) -> Limit | Unavailable:
    """The same object for the same limit: a hundred thousand of them would be 10 MB."""
    return _LIMITS.setdefault((limit.bytes, limit.source), limit) if isinstance(limit, Limit) else limit
