"""One target: observe, decide, act, record.

Covers: the tick, its interval, which number is compared, the request beside the loop.
Leaves to others: reading (`sources`), judging (`policy`), sending (`actions`), the words (`reporting`), what is kept
(`ledger`), several targets and the state file (`supervisor`).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from memory_watchdog.actions.http import CleanupRequest, needed_statistics
from memory_watchdog.actions.steps import clean_up_in_steps
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.clock import Clock
from memory_watchdog.config import TargetConfig
from memory_watchdog.http_client import TargetClient
from memory_watchdog.ledger import Standing, TargetLedger
from memory_watchdog.observation import (
    Limit,
    Measure,
    Observation,
    ProcessIdentity,
    ProcessMemory,
    Reading,
    Reason,
    ServerReport,
    Unavailable,
)
from memory_watchdog.parts import cleanup_requests, finder_of, ladder_settings, statistics_source
from memory_watchdog.policy.events import Decision, Event, Manual, NewProcess, Pause, Reloaded, Resume, Suppressed
from memory_watchdog.policy.interval import next_interval
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import NONE
from memory_watchdog.poller import MIN_SECONDS, StatisticsPoller
from memory_watchdog.reporting import Reporter
from memory_watchdog.sources.limit import limit_of
from memory_watchdog.sources.process import measured
from memory_watchdog.sources.view import ProcessView, Seen
from memory_watchdog.state_file import TargetState

DETAILS_SECONDS = 5.0
"""How old swap, shared memory and the list of processes may be; a status costs 32 µs a process, a statm 3."""

DETAILS_BEFORE_ACTION_SECONDS = 1.0
STALLED_INTERVALS = 10
STALLED_AT_LEAST_SECONDS = 30.0


def choose_measure(target: TargetConfig, identity: ProcessIdentity | Unavailable) -> Measure:
    """The number that is compared: `auto` is what the server reports where its process can never be seen, else anon."""
    if target.measure is not Measure.AUTO:
        return target.measure
    blind = isinstance(identity, Unavailable) and identity.reason in (Reason.NOT_CONFIGURED, Reason.PERMISSION)
    return Measure.REPORTED if blind and target.stats is not None else Measure.ANON


class Watcher:
    """Watches one target until it is stopped.

    `claims` says which target has which process, among all targets. `save` writes the state of all targets and is
    awaited before a request goes out; `changed` says that the state is worth writing soon.
    """

    def __init__(
        self,
        target: TargetConfig,
        *,
        ledger: TargetLedger,
        reporter: Reporter,
        clock: Clock,
        saved: TargetState | None,
        claims: dict[ProcessIdentity, str],
        save: Callable[[], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self.target = target
        self.ledger = ledger
        self.ready = False
        self._reporter = reporter
        self._clock = clock
        self._claims = claims
        self._save = save
        self._changed = changed
        self._wake = asyncio.Event()
        self._statistics_task: asyncio.Task[None] | None = None
        self._retired: list[TargetClient] = []
        self._client = None if target.url is None else TargetClient(target.url)
        self._statistics = StatisticsPoller(statistics_source(target, self._client), ledger, reporter, clock)
        self._view = ProcessView(finder_of(target))
        self._requests = cleanup_requests(target)
        self._ladder = Ladder(ladder_settings(target), uuid.uuid4().hex[:12], saved.ladder if saved else None)
        self._identity = saved.identity if saved else None
        self._claim: ProcessIdentity | None = None
        self._limit: Limit | Unavailable = Unavailable(Reason.PENDING)
        self._last_used: tuple[float, int] | None = None
        self._growth = 0.0
        self._compared = Measure.AUTO
        self._pss_due_at = float("-inf")
        self._ticked_at = clock.boottime()
        self._actions: set[asyncio.Task[None]] = set()
        self._make_known()

    def _make_known(self) -> None:
        levels = [level.name for level in self.target.levels]
        self.ledger.know(
            levels, list(self._requests), statistics=self.target.stats is not None, preset=self.target.preset
        )

    def state(self) -> TargetState:
        """What a restarted watchdog must know of this target."""
        return TargetState(self._ladder.state, self._identity, self.target.budget.per)

    def stalled(self) -> bool:
        """Have the ticks stopped?"""
        silence = self._clock.boottime() - self._ticked_at
        return silence > max(STALLED_AT_LEAST_SECONDS, STALLED_INTERVALS * self.target.interval)

    async def run(self) -> None:
        """Tick until cancelled."""
        self._statistics_task = asyncio.create_task(self._read_statistics())
        due = self._clock.boottime()
        try:
            while True:
                started = self._clock.boottime()
                late = started - due > max(0.05, self.target.interval / 2)
                await self._guarded_tick()
                ended = self._ticked_at = self._clock.boottime()
                self.ledger.tick_took(ended - started, late=late)
                self.ready = True
                due = max(started + self._interval(), ended)
                if await self._wait(due - ended):
                    due = self._clock.boottime()
        finally:
            tasks = [self._statistics_task, *self._actions]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._view.close()
            self._release()
            for client in (self._client, *self._retired):
                if client is not None:
                    await client.aclose()

    async def _wait(self, seconds: float) -> bool:
        """Let `seconds` pass; True when something asked for a tick before."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    # ---- what is asked of it from outside

    def reload(self, target: TargetConfig) -> None:
        """Go on with another config of the same name. State stays; what is in flight ends under the old settings."""
        before, self.target = self.target, target
        if target.url != before.url:
            if self._client is not None:
                self._retired.append(self._client)
            self._client = None if target.url is None else TargetClient(target.url)
        if (target.url, target.stats) != (before.url, before.stats):
            source = statistics_source(target, self._client)
            self._statistics = StatisticsPoller(source, self.ledger, self._reporter, self._clock)
            self.ledger.forget_statistics()
            if self._statistics_task is not None:
                self._statistics_task.cancel()
                self._statistics_task = asyncio.create_task(self._read_statistics())
        if finder_of(target) != finder_of(before):
            self._view.close()
            self._release()
            self._view = ProcessView(finder_of(target))
        self._requests = cleanup_requests(target)
        self._ladder_step(Reloaded(ladder_settings(target)), self._clock.boottime())
        self._make_known()
        self._reporter.reloaded()
        self._wake.set()

    def clean_up(self, level: str, reason: str) -> Decision | Suppressed:
        """Send a cleanup now, by hand. Raises ValueError for a level that does not exist or sends nothing."""
        decision = self._step(Manual(level, reason))
        if decision is not None:
            return decision
        return next(note for note in self._ladder.notes if isinstance(note, Suppressed))

    def pause(self, seconds: float) -> float:
        """Send nothing for so long, except by hand. Returns when that ends, since the epoch."""
        now = self._clock.boottime()
        self._ladder_step(Pause(now + seconds), now)
        ends_wall = self._clock.wall() + seconds
        self._reporter.paused(seconds)
        self._changed()
        self._wake.set()
        return ends_wall

    def resume(self) -> None:
        """End a pause."""
        self._ladder_step(Resume(), self._clock.boottime())
        self._reporter.resumed()
        self._changed()
        self._wake.set()

    async def _guarded_tick(self) -> None:
        try:
            await self._tick()
        except Exception:  # noqa: BLE001 - a fault in one tick must not end the watching; it is logged and counted
            self._reporter.broken()

    async def _read_statistics(self) -> None:
        """Read the statistics at their interval. Where they are what is compared, the ticks read them."""
        if self.target.stats is None:
            return
        while True:
            await self._statistics.refresh(max_age=self.target.stats.interval)
            await asyncio.sleep(self._statistics.due_in(self.target.stats.interval))

    # ---- one tick

    async def _tick(self) -> None:
        now = self._clock.boottime()
        seen = await self._view.read(now, DETAILS_SECONDS)
        if isinstance(seen.identity, ProcessIdentity):
            seen = self._claimed(seen, seen.identity)
        else:
            self._release()
        if isinstance(seen.identity, ProcessIdentity):
            self._attached(seen.identity, now)
        measure = self._compared = choose_measure(self.target, seen.identity)
        memory = seen.memory
        used: Reading
        if measure is Measure.REPORTED:
            await self._statistics.refresh(max_age=self._reported_interval() * 0.9)
            used = self._statistics.reported()
        elif measure is Measure.PSS:
            memory, used = await self._with_pss(memory, now)
        else:
            memory, used = self._with_fresh_details(memory, measure, now)
            if isinstance(seen.memory, Unavailable):
                self._reporter.process_unavailable(seen.memory)
        observation = Observation(
            taken_at=self._clock.boottime(),
            measure=measure,
            used=used,
            limit=self._read_limit(seen.identity),
            identity=seen.identity,
            memory=memory,
            report=self._statistics.report,
            server_answered_at=None if self._client is None else self._client.last_answered_at,
        )
        self._follow(observation)
        self._step(observation)
        self._record(observation)

    def _with_fresh_details(
        self, memory: ProcessMemory | Unavailable, measure: Measure, now: float
    ) -> tuple[ProcessMemory | Unavailable, Reading]:
        """The number that is compared, with details young enough to act on if it may lead to an action."""
        if isinstance(memory, Unavailable):
            return memory, memory
        used = measured(memory, measure)
        lowest = min((edge.enter for edge in self._ladder.thresholds.edges if edge is not None), default=None)
        if isinstance(used, int) and lowest is not None and used >= lowest:
            memory = self._view.read_again(now, DETAILS_BEFORE_ACTION_SECONDS)
            used = memory if isinstance(memory, Unavailable) else measured(memory, measure)
        return memory, used

    async def _with_pss(
        self, memory: ProcessMemory | Unavailable, now: float
    ) -> tuple[ProcessMemory | Unavailable, Reading]:
        reading, rest_seconds = await self._view.proportional()
        self._pss_due_at = now + rest_seconds
        if isinstance(memory, ProcessMemory):
            memory = replace(memory, proportional_bytes=reading)
        if isinstance(reading, Unavailable):
            self._reporter.process_unavailable(reading)
        return memory, reading

    def _read_limit(self, identity: ProcessIdentity | Unavailable) -> Limit | Unavailable:
        limit = limit_of(self.target.limit, identity)
        if isinstance(limit, Unavailable):
            self._reporter.limit_unavailable(limit)
        known, before = isinstance(limit, Limit), isinstance(self._limit, Limit)
        if limit != self._limit and (known or before or self._limit == Unavailable(Reason.PENDING)):
            self._reporter.limit_changed(limit, self.target.measure)
        self._limit = limit
        return limit

    def _attached(self, identity: ProcessIdentity, now: float) -> None:
        if identity == self._identity:
            return
        if self._claim != identity:
            self._release()
        replaced = self._identity is not None
        self._identity = identity
        self._reporter.attached(identity, replaced=replaced)
        if replaced:
            self._ladder_step(NewProcess(identity), now)
        self._last_used = None
        self._changed()

    def _claimed(self, seen: Seen, identity: ProcessIdentity) -> Seen:
        """One process belongs to one target: the first that finds it. Two would clean it up twice."""
        owner = self._claims.setdefault(identity, self.target.name)
        if owner == self.target.name:
            self._claim = identity
            return seen
        taken = Unavailable(Reason.AMBIGUOUS, f"target {owner} has found the same process, pid {identity.pid}")
        return Seen(taken, taken)

    def _release(self) -> None:
        if self._claim is not None:
            self._claims.pop(self._claim, None)
            self._claim = None

    def _follow(self, seen: Observation) -> None:
        """Growth between two looks: what the interval is worked out from."""
        if not isinstance(seen.used, int):
            self._last_used = None
            return
        if self._last_used is not None and seen.taken_at > self._last_used[0]:
            self._growth = (seen.used - self._last_used[1]) / (seen.taken_at - self._last_used[0])
        self._last_used = (seen.taken_at, seen.used)

    def _step(self, event: Event) -> Decision | None:
        decision = self._ladder_step(event, self._clock.boottime())
        if decision is not None:
            assert self._client is not None, "a level with a cleanup has a url, config checks it"
            task = asyncio.create_task(self._act(decision, self._client, self._requests[decision.level]))
            self._actions.add(task)
            task.add_done_callback(self._actions.discard)
        return decision

    def _ladder_step(self, event: Event, now: float) -> Decision | None:
        decision = self._ladder.step(event, now)
        for note in self._ladder.notes:
            self._reporter.noted(note)
            if not isinstance(note, Suppressed):
                self._changed()
        return decision

    async def _act(self, decision: Decision, client: TargetClient, requests: Sequence[CleanupRequest]) -> None:
        """Send a request, beside the loop. The state is on disk before: a crash must not lead to a second one."""
        self._reporter.decided(decision)
        await self._save()
        values = Placeholders(
            request_id=decision.request_id,
            reason=decision.reason,
            level=decision.level,
            target_bytes=decision.target_bytes,
            statistics=await self._statistics.values_with(set().union(*map(needed_statistics, requests))),
        )
        outcome = await clean_up_in_steps(client, requests, values)
        self._reporter.answered(decision, outcome)
        self._step(outcome)
        self._wake.set()
        if client in self._retired:
            self._retired.remove(client)
            await client.aclose()

    # ---- what comes of it

    def _record(self, seen: Observation) -> None:
        ladder, now = self._ladder, self._clock.boottime()
        settings = ladder.settings
        standing = Standing(
            level=ladder.held,
            levels=tuple(level.name for level in settings.levels),
            edges=ladder.thresholds.edges,
            cooldown_seconds={
                level.name: ladder.cooldown_seconds(index)
                for index, level in enumerate(settings.levels)
                if level.cleanup_timeout_seconds is not None
            },
            budget_remaining=ladder.budget_remaining(),
            paused=ladder.state.paused_until is not None and ladder.state.paused_until > now,
            dry_run=settings.dry_run,
        )
        view = "process" if isinstance(seen.identity, ProcessIdentity) else "none"
        if seen.measure is Measure.REPORTED and isinstance(seen.report, ServerReport):
            view = "reported"
        start = self._view.start_time_seconds
        if start is None and isinstance(seen.report, ServerReport):
            start = seen.report.start_time_seconds
        self.ledger.observe(seen, self._clock.wall(), standing, process_view=view, start_time_seconds=start)

    def _longest_interval(self) -> float:
        """The configured interval; shorter where the second half of a settle time needs readings for its verdict."""
        target = self.target
        if self._ladder.state.request is None and self._ladder.held == NONE:
            return target.interval
        return min(target.interval, max(target.settle / 4, target.min_interval))

    def _reported_interval(self) -> float:
        stats, longest = self.target.stats, self._longest_interval()
        return max(MIN_SECONDS, longest if stats is None else min(longest, stats.interval))

    def _interval(self) -> float:
        """Seconds until the next tick."""
        if self._compared is Measure.REPORTED:
            return self._reported_interval()
        interval = next_interval(
            used=None if self._last_used is None else self._last_used[1],
            limit_bytes=self._limit.bytes if isinstance(self._limit, Limit) else None,
            thresholds=self._ladder.thresholds,
            growth_bytes_per_second=self._growth,
            min_interval_seconds=self.target.min_interval,
            interval_seconds=self._longest_interval(),
        )
        if self._compared is Measure.PSS:
            return max(interval, self._pss_due_at - self._clock.boottime())
        return interval
