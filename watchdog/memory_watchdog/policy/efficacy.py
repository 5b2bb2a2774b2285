"""One request from sending to verdict: what it reclaimed, and whether that was enough.

The rule: before = the highest reading from the last one before sending until half of the settle time after the answer;
low = the lowest in the second half; reclaimed = max(0, before − low). So growth during a slow answer does not hide a
reclaim, and memory that comes straight back is not one.
Leaves to others: what a verdict leads to (`ladder`).
"""

from __future__ import annotations

from dataclasses import dataclass

from memory_watchdog.observation import Limit, Measure, Observation, OutcomeKind
from memory_watchdog.policy.events import Trigger, VerdictKind
from memory_watchdog.quantities import Threshold, format_bytes


@dataclass(frozen=True, slots=True)
class Basis:
    """What readings must have in common to be compared with each other."""

    measure: Measure
    limit: Limit | None

    @classmethod
    def of(cls, seen: Observation) -> Basis:
        """The basis of one observation."""
        return cls(seen.measure, seen.limit if isinstance(seen.limit, Limit) else None)


@dataclass(slots=True)
class Request:
    """A request that was sent, with the settings that held then: a reload does not change what is under way.

    `held` is the level to whose streak it belongs, None for one by hand. `answered_at` is None while in flight.
    """

    request_id: str
    level: str
    held: str | None
    trigger: Trigger
    episode: int
    sent_at: float
    timeout_seconds: float
    settle_seconds: float
    min_reclaim: Threshold
    basis: Basis | None
    before_bytes: int | None
    low_bytes: int | None = None
    low_at: float = 0.0
    answered_at: float | None = None
    outcome: OutcomeKind = OutcomeKind.DONE
    disturbed: str = ""

    @property
    def settled_at(self) -> float:
        """When the verdict is due; infinite while in flight."""
        return float("inf") if self.answered_at is None else self.answered_at + self.settle_seconds

    def fold(self, used: int, taken_at: float, basis: Basis) -> None:
        """Take one known reading into account, up to the end of the settle time."""
        if taken_at > self.settled_at:
            return
        if self.basis is None:
            self.basis = basis
        elif basis != self.basis and not self.disturbed:
            self.disturbed = "the measure, the limit or its source changed"
        if self.answered_at is None or taken_at <= self.answered_at + self.settle_seconds / 2:
            self.before_bytes = used if self.before_bytes is None else max(self.before_bytes, used)
        elif self.low_bytes is None or used < self.low_bytes:
            self.low_bytes, self.low_at = used, taken_at

    def enough_bytes(self) -> int | None:
        """How much has to come back to count: a share of the limit, or of `before` where no limit is known."""
        limit = self.basis.limit.bytes if self.basis is not None and self.basis.limit is not None else None
        return self.min_reclaim.of(self.before_bytes if limit is None else limit)

    def judge(self) -> tuple[VerdictKind, int | None, str]:
        """Verdict, reclaimed bytes (None where not measured), and the reason as a sentence."""
        enough = self.enough_bytes()
        if self.disturbed:
            return VerdictKind.INCONCLUSIVE, None, self.disturbed
        if self.before_bytes is None or self.low_bytes is None or enough is None:
            return VerdictKind.INCONCLUSIVE, None, "no reading in the second half of the settle time"
        reclaimed = max(0, self.before_bytes - self.low_bytes)
        text = f"{format_bytes(reclaimed)} reclaimed, {format_bytes(enough)} needed to count"
        if reclaimed >= enough and reclaimed > 0:
            return VerdictKind.EFFECTIVE, reclaimed, text
        return VerdictKind.INEFFECTIVE, reclaimed, text


@dataclass(slots=True)
class Unanswered:
    """A request that timed out: unknown, it may still run. Holds back what would only pile up behind it.

    It ends when the server has answered anything since, when used has fallen by `min_reclaim` (it has run late), or
    at `ends_at`. While used has not fallen, a repeat carries the same id, so that the server can know it again.
    """

    request_id: str
    level: str
    since: float
    ends_at: float
    highest_bytes: int | None
    min_reclaim: Threshold
    passed: bool = False  # a rise went through it, which may happen once
    released: bool = False
    fallen: bool = False

    def fold(self, used: int, limit_bytes: int | None) -> None:
        """Has it run late? Measured from the highest reading since it was sent."""
        self.highest_bytes = used if self.highest_bytes is None else max(self.highest_bytes, used)
        enough = self.min_reclaim.of(self.highest_bytes if limit_bytes is None else limit_bytes)
        if enough is not None and enough > 0 and self.highest_bytes - used >= enough:
            self.fallen = self.released = True


@dataclass(slots=True)
class LastEffective:
    """What the last effective cleanup left behind; growth since then says how long it will last."""

    low_bytes: int
    low_at: float
    settle_seconds: float

    def growth_bytes_per_second(self, used: int, taken_at: float) -> float:
        """Growth since the low. Over at least half a settle time, so that two readings 0.1 s apart cannot alarm."""
        return max(0, used - self.low_bytes) / max(taken_at - self.low_at, self.settle_seconds / 2, 1e-3)
