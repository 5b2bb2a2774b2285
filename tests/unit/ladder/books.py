"""The books of the referee: what was seen and sent, by the events and decisions alone.

Leaves to others: whether that was right (`referee`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from memory_watchdog.observation import Limit, Measure, Observation, Outcome, OutcomeKind, Reason
from memory_watchdog.policy.events import Decision, Trigger, VerdictKind
from memory_watchdog.policy.settings import LadderSettings, LevelSettings
from memory_watchdog.quantities import Percent, Size, Threshold

NEVER = -math.inf


@dataclass
class Seen:
    """One known reading, in the order of its time; `step` counts the events, `edges` are by level name."""

    at: float
    used: int
    limit: Limit | None
    measure: Measure
    edges: dict[str, tuple[int, int]]
    process: int
    step: int
    stale_after: float


@dataclass
class Sent:
    """One request, and what became of it. `heard_at` is when it ended by an outcome or by its time."""

    level: str
    held: str | None
    at: float
    step: int
    request_id: str
    settings: LevelSettings
    settle: float
    episode: int
    before: Seen | None
    heard_at: float | None = None
    kind: OutcomeKind = OutcomeKind.DONE
    verdict: VerdictKind | None = None
    reclaimed: int | None = None


@dataclass
class Hold:
    """What a timed-out request holds back."""

    level: str
    request_id: str
    since: float
    until: float
    highest: int | None
    min_reclaim: Threshold
    released: bool = False
    fell: bool = False
    passed: bool = False


def in_bytes(threshold: Threshold, whole: int | None) -> int | None:
    if isinstance(threshold, Size):
        return threshold.bytes
    return None if whole is None else int(whole * threshold.percent / 100)


@dataclass
class Books:
    """Everything that the rules speak of."""

    settings: LadderSettings
    held: str = "none"
    now: float = 0.0
    steps: int = 0
    process: int = 0
    episode: int = 0
    none_since: float = 0.0
    last_outcome_at: float = NEVER
    paused_until: float = NEVER
    seen: list[Seen] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    shadows: list[tuple[float, str]] = field(default_factory=list)
    last_at: dict[str, float] = field(default_factory=dict)  # last request by level, forgotten with the level
    streaks: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, VerdictKind] = field(default_factory=dict)  # last of this episode, by held level
    helped: Sent | None = None  # the last request, if its verdict was effective and nothing came after
    hold: Hold | None = None
    facts: set[str] = field(default_factory=set)  # what has happened at all, to see that the events reach it
    born: dict[str, int] = field(default_factory=dict)  # the step at which a reload brought a level
    remeasured: bool = False

    def __post_init__(self) -> None:
        self.streaks = {level.name: 0 for level in self.settings.levels}
        self.born = dict(self.streaks)

    def cooldown(self, level: LevelSettings, streak: int) -> float:
        base = level.cooldown_seconds
        return float(min(base * 2 ** min(streak, 60), max(base, self.settings.max_cooldown_seconds)))

    def highest(self) -> str | None:
        """The highest level that sends anything."""
        names = [level.name for level in self.settings.levels if level.cleanup_timeout_seconds is not None]
        return names[-1] if names else None

    @property
    def open(self) -> Sent | None:
        return self.sent[-1] if self.sent and self.sent[-1].verdict is None else None

    def index(self, name: str) -> int:
        return next((i for i, level in enumerate(self.settings.levels) if level.name == name), -1)

    def rank(self, name: str) -> int:
        """Where a level stands; one that is gone stands above all."""
        index = self.index(name)
        return len(self.settings.levels) if index < 0 else index

    def edges(self, limit: int | None) -> dict[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = {}
        beneath = (-1, -1)
        for level in self.settings.levels:
            enter, leave = in_bytes(level.enter, limit), in_bytes(level.exit, limit)
            if enter is not None and leave is not None and leave < enter and enter > beneath[0] and leave >= beneath[1]:
                found[level.name] = beneath = (enter, leave)
        return found

    def known(self, event: Observation) -> bool:
        percent = any(isinstance(level.enter, Percent) for level in self.settings.levels)
        late = bool(self.seen) and event.taken_at < self.seen[-1].at
        return isinstance(event.used, int) and (isinstance(event.limit, Limit) or not percent) and not late

    def let_expire(self) -> None:
        last = self.open
        if last is not None and last.heard_at is None:
            timeout = last.settings.cleanup_timeout_seconds
            assert timeout is not None
            if self.now >= last.at + timeout + 5:
                self.facts.add("expired")
                self._end(last, OutcomeKind.TIMEOUT)
        if self.hold is not None and self.now >= self.hold.until:
            self.hold.released = True

    def _end(self, request: Sent, kind: OutcomeKind) -> None:
        request.heard_at, request.kind = self.now, kind
        self.last_outcome_at = self.now
        if kind is OutcomeKind.TIMEOUT:
            timeout = request.settings.cleanup_timeout_seconds or 0.0
            wait = self.settings.max_cooldown_seconds
            if not self.settings.statistics_configured:
                wait = min(wait, 2 * timeout)
            readings = [seen.used for seen in self.since(request) if seen.step < self.steps]
            highest = max(readings, default=None)
            self.hold = Hold(
                request.level,
                request.request_id,
                self.now,
                self.now + wait,
                highest,
                request.settings.min_reclaim,
            )

    def since(self, request: Sent) -> list[Seen]:
        """The reading it was sent at, and all after it."""
        found = [] if request.before is None else [request.before]
        return found + [seen for seen in self.seen if seen.step > request.step]

    def hear(self, outcome: Outcome) -> None:
        self.last_outcome_at = self.now
        heard = outcome.kind is OutcomeKind.DONE or (
            outcome.kind is OutcomeKind.FAILED and outcome.reason is not Reason.CLOSED
        )
        if heard and self.hold is not None:
            self.hold.released = True
        last = self.open
        if last is not None and last.heard_at is None and last.request_id == outcome.request_id:
            self._end(last, outcome.kind)
            self.facts.add(f"outcome {outcome.kind}")

    def look(self, event: Observation, known: bool) -> None:
        hold = self.hold
        if hold is not None and event.server_answered_at is not None and event.server_answered_at > hold.since:
            hold.released = True
        if not known:
            return
        assert isinstance(event.used, int)
        limit = event.limit if isinstance(event.limit, Limit) else None
        whole = None if limit is None else limit.bytes
        if self.seen and self.seen[-1].measure is not event.measure:
            self.remeasured, self.helped = True, None
            if hold is not None:
                hold.highest = None
        self.seen.append(
            Seen(
                event.taken_at,
                event.used,
                limit,
                event.measure,
                self.edges(whole),
                self.process,
                self.steps,
                self.settings.stale_after_seconds,
            )
        )
        if hold is not None:
            hold.highest = max(event.used, event.used if hold.highest is None else hold.highest)
            enough = in_bytes(hold.min_reclaim, hold.highest if whole is None else whole)
            if enough and hold.highest - event.used >= enough:
                hold.released = hold.fell = True
                self.facts.add("ran late")

    def replace(self) -> None:
        self.process += 1
        self.streaks = dict.fromkeys(self.streaks, 0)
        self.hold = self.helped = None

    def reload(self, settings: LadderSettings) -> None:
        self.settings = settings
        names = [level.name for level in settings.levels]
        self.born = {name: self.born.get(name, self.steps) for name in names}
        self.streaks = {name: self.streaks.get(name, 0) for name in names}
        self.last_at = {name: at for name, at in self.last_at.items() if name in names}
        self.verdicts = {name: kind for name, kind in self.verdicts.items() if name in names}
        self.shadows = [(at, name if name in names else "") for at, name in self.shadows] if settings.dry_run else []

    def forget_when_quiet(self, known: bool) -> None:
        quiet = max(self.none_since, self.sent[-1].at if self.sent else 0.0)
        if known and self.held == "none" and self.now - quiet >= self.settings.max_cooldown_seconds:
            self.streaks = dict.fromkeys(self.streaks, 0)

    def places(self, name: str) -> int:
        start = self.now - self.settings.budget_per_seconds
        taken = sum(one.at > start and one.verdict is not VerdictKind.EFFECTIVE for one in self.sent)
        taken += sum(at > start for at, _ in self.shadows)
        kept = 0 if name == self.highest() else self.settings.budget_actions // 4
        return self.settings.budget_actions - kept - taken

    def book(self, decision: Decision) -> None:
        assert self.open is None, "two requests at once"
        level = self.settings.levels[self.index(decision.level)]
        assert level.cleanup_timeout_seconds is not None
        self.facts.add(f"sent {decision.trigger}")
        by_hand = decision.trigger is Trigger.MANUAL
        fresh = decision.used_bytes is not None
        held = None if by_hand else self.held
        before = self.seen[-1] if fresh else None
        self.sent.append(
            Sent(
                level.name,
                held,
                self.now,
                self.steps,
                decision.request_id,
                level,
                self.settings.settle_seconds,
                self.episode,
                before,
            )
        )
        self.last_at[level.name] = self.now
        self.helped = None
