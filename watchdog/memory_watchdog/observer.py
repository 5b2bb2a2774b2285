"""Sees one target: puts what the sources read together into an observation.

Covers: details young enough to act on, whose process is whose, statistics beside the loop.
Leaves to others: each source (`sources`), which number is compared (`measure`), what follows from it (`watcher`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from memory_watchdog.clock import Clock
from memory_watchdog.config import TargetConfig
from memory_watchdog.http_client import TargetClient
from memory_watchdog.ledger import TargetLedger
from memory_watchdog.measure import choose_measure
from memory_watchdog.observation import (
    CgroupMemory,
    Limit,
    Measure,
    Observation,
    ProcessIdentity,
    ProcessMemory,
    Reading,
    Reason,
    Scalar,
    ServerReport,
    Unavailable,
)
from memory_watchdog.parts import finder_of, statistics_source
from memory_watchdog.policy.interval import ahead_of
from memory_watchdog.policy.thresholds import Thresholds
from memory_watchdog.poller import StatisticsPoller
from memory_watchdog.reporting import Reporter
from memory_watchdog.sources.cgroup_view import CgroupLook, CgroupView
from memory_watchdog.sources.limit import limit_of
from memory_watchdog.sources.process import measured
from memory_watchdog.sources.triggers import MachinePressure, Triggers
from memory_watchdog.sources.view import ProcessView, Seen

DETAILS_SECONDS = 5.0
"""How old swap, shared memory and the list of processes may be; a status costs 32 µs a process, a statm 3."""

DETAILS_BEFORE_ACTION_SECONDS = 1.0
REPORTED_TICKS_PER_SECOND = 100
MIN_PAUSE_SECONDS = 0.1
FIRST_ANSWER_SECONDS = 0.5
"""How long the first look waits for the statistics: being ready does not wait for a server."""


class Observer:
    """The eyes of one watcher. `claims` says which target has which process, among all targets.

    `compared` is the measure of the last observation, `limit` its limit, `pss_due_at` when Pss may be read again.
    """

    def __init__(
        self,
        target: TargetConfig,
        client: TargetClient | None,
        *,
        ledger: TargetLedger,
        reporter: Reporter,
        clock: Clock,
        claims: dict[ProcessIdentity, str],
        wake: Callable[[], None],
        machine_pressure: MachinePressure,
    ) -> None:
        self.compared = Measure.AUTO
        self.limit: Limit | Unavailable = Unavailable(Reason.PENDING)
        self.pss_due_at = float("-inf")
        self._target = target
        self._client = client
        self._ledger = ledger
        self._reporter = reporter
        self._clock = clock
        self._claims = claims
        self._claim: ProcessIdentity | None = None
        self._wake = wake
        self._is_first = True
        self._asking: set[asyncio.Task[None]] = set()
        self._view = ProcessView(finder_of(target))
        self._cgroup = CgroupView()
        self._look: CgroupLook | None = None
        self._triggers = Triggers(machine_pressure, wake, ledger.kernel_event)
        self._statistics = self._new_poller()
        self._statistics_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read the statistics, beside the loop."""
        self._statistics_task = asyncio.create_task(self._read_statistics(self._statistics))

    def reload(self, target: TargetConfig, client: TargetClient | None) -> None:
        """See another config of the same target; what it does not change is kept."""
        before, self._target = self._target, target
        if (target.stats, client) != (before.stats, self._client):
            self._client = client
            self._ledger.forget_statistics()
            self._statistics = self._new_poller()
            if self._statistics_task is not None:
                self._statistics_task.cancel()
                self.start()
        if finder_of(target) != finder_of(before):
            self._view.close()
            self._release()
            self._view = ProcessView(finder_of(target))

    async def close(self) -> None:
        """Stop reading, give back descriptors and the claim."""
        tasks = [*self._asking, *([] if self._statistics_task is None else [self._statistics_task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._view.close()
        self._triggers.close()
        self._cgroup.close()
        self._release()

    async def observe(self, thresholds: Thresholds, reported_interval: float) -> Observation:
        """One look. `reported_interval` is how old the statistics may be where they are what is compared."""
        now, view = self._clock.boottime(), self._view
        seen = await view.read(now, DETAILS_SECONDS)
        if self._view is not view:  # a reload came in between: this was seen in a way that no longer counts
            pending = Unavailable(Reason.PENDING, "the process is looked for in another way from now on")
            seen = Seen(pending, pending)
        seen = self._claimed(seen)
        cgroup = await self._cgroup.read(seen.identity, now, wants_limit=self._target.limit == "auto")
        self._look = cgroup
        measure = choose_measure(self._target, seen.identity, cgroup, self.compared)
        if measure is not self.compared:
            self._reporter.measure_chosen(measure, asked=self._target.measure)
        self.compared = measure
        memory, used = seen.memory, _reading(seen.memory, measure)
        if measure is Measure.REPORTED:
            used = await self._reported(reported_interval)
            if isinstance(seen.memory, Unavailable) and seen.memory.reason is not Reason.NOT_CONFIGURED:
                self._reporter.process_unavailable(seen.memory)
        elif isinstance(seen.memory, Unavailable):
            self._reporter.process_unavailable(seen.memory)
        elif measure is Measure.UNRECLAIMABLE:
            used = cgroup.memory.unreclaimable_bytes
        elif measure is Measure.PSS:
            memory, used = await self._with_pss(seen.memory, now)
        else:
            memory, used = self._with_fresh_details(seen.memory, used, thresholds, now)
        return Observation(
            taken_at=self._clock.boottime(),
            measure=measure,
            used=used,
            limit=self._read_limit(cgroup),
            identity=seen.identity,
            memory=memory,
            report=self._statistics.report,
            server_answered_at=None if self._client is None else self._client.last_answered_at,
            cgroup=self._counted(cgroup, seen.identity),
        )

    def glance(self, now: float) -> Reading:
        """Only the number that is compared, at a tenth of a look's work; unknown where a look must tell."""
        match self.compared:
            case Measure.UNRECLAIMABLE:
                return self._cgroup.glance()
            case Measure.ANON | Measure.RSS:
                return _reading(self._view.read_again(now, DETAILS_SECONDS), self.compared)
        return Unavailable(Reason.PENDING, "it is read by a look only")

    def arm(self, seen: Observation, thresholds: Thresholds) -> None:
        """Let kernel events bring the next look forward. `thresholds` are those that `seen` led to."""
        cgroup = self._look
        if cgroup is None or self.compared is Measure.REPORTED:
            return  # the server's own word comes when it is asked
        usage, crossing = cgroup.memory.usage_bytes, None
        if isinstance(usage, int) and isinstance(seen.used, int):
            ahead = ahead_of(seen.used, seen.limit.bytes if isinstance(seen.limit, Limit) else None, thresholds)
            if ahead is not None and ahead > seen.used:
                crossing = usage + ahead - seen.used, ahead - seen.used
        floor = self._target.min_interval
        if self._triggers.arm(cgroup.folder, is_v1=cgroup.is_v1, crossing=crossing, min_interval=floor):
            self._reporter.kernel_events(self._triggers.standing)

    async def statistics_values(self, names: Collection[str]) -> Mapping[str, Scalar]:
        """What a cleanup is filled in with; read now where one of `names` is not known yet."""
        return await self._statistics.values_with(names)

    @property
    def report(self) -> ServerReport | Unavailable:
        """What the server said last, or why it did not."""
        return self._statistics.report

    def cgroup_home(self) -> Path | Unavailable:
        """The folder of the target's own cgroup."""
        return self._cgroup.home()

    def process_view(self, seen: Observation) -> str:
        """Through what the target is seen, as a label."""
        if seen.measure is Measure.REPORTED and isinstance(seen.report, ServerReport):
            return "reported"
        return "process" if isinstance(seen.identity, ProcessIdentity) else "none"

    def start_time_seconds(self, seen: Observation) -> float | None:
        """When the server started, since the epoch: by the kernel, else by its own word."""
        if seen.measure is Measure.REPORTED and isinstance(seen.identity, Unavailable):
            return seen.report.start_time_seconds if isinstance(seen.report, ServerReport) else None
        return self._view.start_time_seconds

    def identity(self, seen: Observation) -> ProcessIdentity | None:
        """Which process it was: by the kernel; where only the server's report is seen, by when it says it started."""
        if isinstance(seen.identity, ProcessIdentity):
            return seen.identity
        report = seen.report
        if seen.measure is Measure.REPORTED and isinstance(report, ServerReport) and report.start_time_seconds:
            return ProcessIdentity(pid=0, start_ticks=round(report.start_time_seconds * REPORTED_TICKS_PER_SECOND))
        return None

    # ---- the process

    def _claimed(self, seen: Seen) -> Seen:
        """One process belongs to one target: the first that finds it. Two would clean it up twice."""
        if isinstance(seen.identity, Unavailable):
            self._release()
            return seen
        if self._claim != seen.identity:
            self._release()
            owner = self._claims.setdefault(seen.identity, self._target.name)
            if owner != self._target.name:
                detail = f"target {owner} has found the same process, pid {seen.identity.pid}"
                taken = Unavailable(Reason.AMBIGUOUS, detail)
                return Seen(taken, taken)
            self._claim = seen.identity
        return seen

    def _release(self) -> None:
        if self._claim is not None:
            self._claims.pop(self._claim, None)
            self._claim = None

    def _with_fresh_details(
        self, memory: ProcessMemory, used: Reading, thresholds: Thresholds, now: float
    ) -> tuple[ProcessMemory | Unavailable, Reading]:
        """The same with details young enough to act on, where they may lead to an action."""
        lowest = min((edge.enter for edge in thresholds.edges if edge is not None), default=None)
        if lowest is None or not isinstance(used, int) or used < lowest:
            return memory, used
        again = self._view.read_again(now, DETAILS_BEFORE_ACTION_SECONDS)
        return again, _reading(again, self.compared)

    async def _reported(self, interval: float) -> Reading:
        """What the server says now. The first look does not wait for a slow answer; the next comes with it."""
        # A little less than the interval: a tick that comes a moment early must not use the same answer twice.
        asking = asyncio.create_task(self._statistics.refresh(max_age=interval * 0.9))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        done, _ = await asyncio.wait({asking}, timeout=FIRST_ANSWER_SECONDS if self._is_first else None)
        self._is_first = False
        if not done:
            asking.add_done_callback(lambda _: self._wake())
            return Unavailable(Reason.PENDING, "the statistics have not answered yet")
        asking.result()
        return self._statistics.reported()

    async def _with_pss(self, memory: ProcessMemory, now: float) -> tuple[ProcessMemory, Reading]:
        reading, rest_seconds = await self._view.proportional()
        self.pss_due_at = now + rest_seconds
        if isinstance(reading, Unavailable):
            self._reporter.process_unavailable(reading)
        return replace(memory, proportional_bytes=reading), reading

    # ---- limit and statistics

    def _counted(self, cgroup: CgroupLook, identity: ProcessIdentity | Unavailable) -> CgroupMemory:
        """The cgroup's numbers; a failure to read them, of a process that is seen, is counted and said."""
        number = cgroup.memory.unreclaimable_bytes
        if isinstance(number, Unavailable) and isinstance(identity, ProcessIdentity):
            self._reporter.cgroup_unavailable(number, compared=self.compared is Measure.UNRECLAIMABLE)
        return cgroup.memory

    def _read_limit(self, cgroup: CgroupLook) -> Limit | Unavailable:
        limit, before = limit_of(self._target.limit, cgroup.limit), self.limit
        if isinstance(limit, Unavailable):
            self._reporter.limit_unavailable(limit)
        first = isinstance(before, Unavailable) and before.reason is Reason.PENDING
        # From unknown to unknown is no news, even if the reason is another one.
        if limit != before and (first or isinstance(limit, Limit) or isinstance(before, Limit)):
            self._reporter.limit_changed(limit, cgroup.path if cgroup.of_limit else "")
        self.limit = limit
        return limit

    def _new_poller(self) -> StatisticsPoller:
        source = statistics_source(self._target, self._client)
        return StatisticsPoller(source, self._ledger, self._reporter, self._clock)

    async def _read_statistics(self, poller: StatisticsPoller) -> None:
        """Read the statistics at their interval. Where they are what is compared, the ticks read them more often."""
        stats = self._target.stats
        if stats is None:
            return
        while True:
            try:
                await poller.refresh(max_age=stats.interval)
            except Exception:  # noqa: BLE001 - a fault in one reading must not end the reading; it is logged and counted
                self._reporter.broken()
            await asyncio.sleep(max(poller.due_in(stats.interval), MIN_PAUSE_SECONDS))


def _reading(memory: ProcessMemory | Unavailable, measure: Measure) -> Reading:
    return memory if isinstance(memory, Unavailable) else measured(memory, measure)
