"""A bench for the ladder: steps it by hand or against a model of a server, and keeps what it answered.

Covers: observations and outcomes in one line each, a ladder that is saved and read back before every step, a server
with growth, cleanup effect and answer delay. Sizes are in MiB, times in seconds; nothing sleeps and no clock is read.
Leaves to others: what is expected of the ladder (the tests beside it).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from memory_watchdog.observation import (
    Limit,
    LimitSource,
    Measure,
    Observation,
    Outcome,
    OutcomeKind,
    ProcessIdentity,
    Reason,
    Unavailable,
)
from memory_watchdog.policy.events import Decision, Event, Note, Suppressed, Verdict
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import LadderSettings, LevelSettings
from memory_watchdog.policy.state import LadderState
from memory_watchdog.quantities import Percent
from pydantic import TypeAdapter

MIB = 1 << 20
STATE = TypeAdapter(LadderState)
ME = ProcessIdentity(4242, 100)

NORMAL = LevelSettings("normal", Percent(75), Percent(70), 10, 60, Percent(1), 30)
AGGRESSIVE = LevelSettings("aggressive", Percent(87.5), Percent(80), 0, 30, Percent(1), 60)
DEFAULTS = LadderSettings((NORMAL, AGGRESSIVE))
"""The defaults of DESIGN.md, section 5."""

N = TypeVar("N", bound=Note)


def observe(
    at: float,
    used_mib: float | None,
    limit_mib: float | None = 100,
    *,
    measure: Measure = Measure.ANON,
    source: LimitSource = LimitSource.GIVEN,
    answered_at: float | None = None,
) -> Observation:
    """An observation; None is unknown."""
    nothing = Unavailable(Reason.NOT_CONFIGURED)
    return Observation(
        taken_at=at,
        measure=measure,
        used=Unavailable(Reason.GONE) if used_mib is None else round(used_mib * MIB),
        limit=Unavailable(Reason.UNREADABLE) if limit_mib is None else Limit(round(limit_mib * MIB), source),
        identity=ME,
        memory=nothing,
        report=nothing,
        server_answered_at=answered_at,
    )


def through_json(state: LadderState) -> LadderState:
    """The state as a restarted watchdog reads it; equal to what was saved."""
    back = STATE.validate_json(STATE.dump_json(state))
    assert back == state
    return back


@dataclass
class Bench:
    """A ladder on a limit of 100 MiB, so that MiB are percent. `restored`: saved and read back before every step."""

    settings: LadderSettings = DEFAULTS
    restored: bool = False
    limit_mib: float | None = 100
    sent: list[tuple[float, Decision]] = field(default_factory=list)
    notes: list[tuple[float, Note]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ladder = Ladder(self.settings, "w")

    def step(self, event: Event, at: float) -> Decision | None:
        """One step; what it answers is kept."""
        if self.restored:
            self.ladder = Ladder(self.ladder.settings, "w", through_json(self.ladder.state))
        decision = self.ladder.step(event, at)
        self.notes += [(at, note) for note in self.ladder.notes]
        if decision is not None:
            self.sent.append((at, decision))
        return decision

    def see(self, at: float, used_mib: float | None, *, answered_at: float | None = None) -> Decision | None:
        """One observation, taken now, under the bench's limit."""
        return self.step(observe(at, used_mib, self.limit_mib, answered_at=answered_at), at)

    def watch(self, first: float, last: float, used_mib: float | None, every: float = 1.0) -> None:
        """The same reading from `first` to `last`, both included."""
        for index in range(int((last - first) / every + 1e-9) + 1):
            self.see(first + index * every, used_mib)

    def answer(
        self, at: float, kind: OutcomeKind = OutcomeKind.DONE, reason: Reason | None = None, request_id: str = ""
    ) -> None:
        """The outcome of the last request, or of the one named."""
        if reason is None and kind is not OutcomeKind.DONE:
            reason = Reason.TIMEOUT if kind is OutcomeKind.TIMEOUT else Reason.HTTP_STATUS
        found = request_id or self.sent[-1][1].request_id
        assert self.step(Outcome(found, kind, 0.5, reason), at) is None

    def times(self) -> list[float]:
        """When requests were sent."""
        return [at for at, _ in self.sent]

    def levels(self) -> list[str]:
        """For which levels requests were sent."""
        return [decision.level for _, decision in self.sent]

    def noted(self, kind: type[N]) -> list[N]:
        """All notes of one kind."""
        return [note for _, note in self.notes if isinstance(note, kind)]

    def verdicts(self) -> list[str]:
        """The kinds of all verdicts."""
        return [str(note.kind) for note in self.noted(Verdict)]

    def suppressed(self) -> list[str]:
        """The reasons of all suppressions, in order."""
        return [str(note.reason) for note in self.noted(Suppressed)]


@dataclass
class Server:
    """A server: `growth` in MiB/s at a time, `clean` from level and used to what is used afterwards.

    The cleanup acts and is answered `delay` after it was sent, however long that is: late ones run too. While one is
    running, a server that `blocks` answers no statistics.
    """

    used: float
    growth: Callable[[float], float]
    clean: Callable[[str, float], float]
    delay: float = 0.5
    ceiling: float = float("inf")
    blocks: bool = False


@dataclass
class Simulation:
    """Drives a bench against a server; stops when `used` reaches the limit. `adaptive`: the interval of the design."""

    bench: Bench
    server: Server
    interval: float = 5.0
    adaptive: bool = False
    now: float = 0.0
    died_at: float | None = None
    peak: float = 0.0
    _events: list[tuple[float, int, str, str]] = field(default_factory=list)
    _running: int = 0

    def run(self, until: float) -> Simulation:
        """Go on until a time, or until the kernel kills the server."""
        next_tick, order = self.now, 0
        while self.died_at is None and (next_tick <= until or (self._events and self._events[0][0] <= until)):
            if self._events and self._events[0][0] <= next_tick:
                at, _, what, name = heapq.heappop(self._events)
                self._grow(at)
                self._happen(what, name)
                continue
            if not self._grow(next_tick):
                break
            answered_at = None if self.server.blocks and self._running else self.now
            decision = self.bench.see(self.now, self.server.used, answered_at=answered_at)
            if decision is not None:
                timeout = self._timeout(decision.level)
                order += 3
                self._running += 1
                answer = (self.now + timeout, order, "timeout", decision.request_id)
                if self.server.delay <= timeout:
                    answer = (self.now + self.server.delay, order, "answer", decision.request_id)
                heapq.heappush(self._events, (self.now + self.server.delay, order - 1, "clean", decision.level))
                heapq.heappush(self._events, answer)
            next_tick = self.now + self._interval()
        return self

    def _timeout(self, level: str) -> float:
        index = self.bench.ladder.settings.index_of(level)
        assert index is not None
        timeout = self.bench.ladder.settings.levels[index].cleanup_timeout_seconds
        assert timeout is not None
        return timeout

    def _interval(self) -> float:
        if not self.adaptive:
            return self.interval
        used, limit = round(self.server.used * MIB), self.bench.limit_mib
        edge = self.bench.ladder.thresholds.next_enter(used)
        if edge is None and limit is not None:
            edge = round(limit * MIB)
        return self.interval if edge is None else min(max((edge - used) / 1e9, 0.1), self.interval)

    def _grow(self, at: float) -> bool:
        """Let time pass; does the server live?"""
        self.server.used = min(self.server.used + self.server.growth(self.now) * (at - self.now), self.server.ceiling)
        self.now, self.peak = at, max(self.peak, self.server.used)
        if self.bench.limit_mib is not None and self.server.used >= self.bench.limit_mib:
            self.died_at = at
        return self.died_at is None

    def _happen(self, what: str, name: str) -> None:
        if what == "clean":
            self._running -= 1
            self.server.used = min(self.server.used, self.server.clean(name, self.server.used))
        else:
            kind = OutcomeKind.DONE if what == "answer" else OutcomeKind.TIMEOUT
            self.bench.answer(self.now, kind, request_id=name)
