"""Does a recording give the recorded decisions again, bit for bit?

Leaves to others: other settings and what they would have led to (`replay`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass

from memory_watchdog.policy.events import Decision, Event, Note, Restart
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.recording.lines import Checkpoint, Gap, Line, Step


@dataclass(frozen=True, slots=True)
class Replayed:
    """One step, taken again: what was recorded and what was decided now. `notes` are what the ladder said besides.

    `wall` is when it was, since the epoch, by the clocks of the last checkpoint.
    """

    target: str
    now: float
    wall: float
    event: Event
    recorded: Decision | None
    decided: Decision | None
    notes: tuple[Note, ...]
    held: str
    recorded_restart: Restart | None = None
    decided_restart: Restart | None = None

    @property
    def differs(self) -> bool:
        """Is the decision another one than was recorded?"""
        return (self.recorded, self.recorded_restart) != (self.decided, self.decided_restart)


@dataclass(frozen=True, slots=True)
class Missing:
    """Lines are missing here, or the recording was begun anew."""

    lost: int


class Again:
    """The ladders of a recording, taken through it again."""

    def __init__(self) -> None:
        self._ladders: dict[str, tuple[Ladder, float]] = {}  # with wall − boottime

    def ladder(self, target: str) -> Ladder:
        """The ladder of a target, as it stands."""
        return self._ladders[target][0]

    def run(self, lines: Iterable[Line]) -> Iterator[Replayed | Missing]:
        """Every step, taken again. A step of a target that no checkpoint came before is passed over as missing."""
        for line in lines:
            match line:
                case Checkpoint():
                    state, outlook = deepcopy(line.state), deepcopy(line.outlook)
                    ladder = Ladder(line.settings, line.state.instance, state, outlook)
                    self._ladders[line.target] = ladder, line.wall - line.boottime
                case Gap():
                    self._ladders.clear()
                    yield Missing(line.lost)
                case Step():
                    known = self._ladders.get(line.target)
                    if known is None:
                        yield Missing(1)
                        continue
                    yield _again(line, *known)


def _again(step: Step, ladder: Ladder, offset: float) -> Replayed:
    decided = ladder.step(step.event, step.now)
    return Replayed(
        step.target, step.now, step.now + offset, step.event, step.decision, decided, ladder.notes, ladder.held,
        step.restart, ladder.restart,
    )  # fmt: skip
