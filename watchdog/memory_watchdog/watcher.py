"""One target: observe, decide, act, record.

Covers: what a look does, and what is asked of the target from outside.
Leaves to others: when a look comes (`ticking`, `pace`), reading (`observer`), judging (`policy`), what is done beside
the loop (`acting`), the words (`reporting`), what is kept (`ledger`, `flight`), several targets (`supervisor`).
"""

from __future__ import annotations

import asyncio
import uuid

from memory_watchdog.acting import Acting, Clients, Hands
from memory_watchdog.clock import Clock
from memory_watchdog.config import TargetConfig
from memory_watchdog.flight.aboard import Aboard
from memory_watchdog.ledger import TargetLedger
from memory_watchdog.observation import (
    Measure,
    Observation,
    ProcessIdentity,
)
from memory_watchdog.observer import REPORTED_TICKS_PER_SECOND, Observer
from memory_watchdog.pace import Pace
from memory_watchdog.parts import ladder_settings
from memory_watchdog.policy.causes import Causes, Picture
from memory_watchdog.policy.events import (
    Decision,
    Event,
    LevelChanged,
    Manual,
    NewProcess,
    Pause,
    Reloaded,
    Resume,
    Suppressed,
)
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import NONE
from memory_watchdog.recording.lines import VERSION, Checkpoint, Step
from memory_watchdog.reporting import Reporter
from memory_watchdog.shared import Shared
from memory_watchdog.standing import standing_of
from memory_watchdog.state_file import TargetState
from memory_watchdog.ticking import Tick, Ticking

REPORTED_START_SLACK_SECONDS = 2.0
PICTURE_SECONDS = 5.0
"""What grows is worked out at most this often: 64 components take 3 ms."""


class Watcher:
    """Watches one target until it is stopped."""

    def __init__(
        self,
        target: TargetConfig,
        *,
        ledger: TargetLedger,
        reporter: Reporter,
        clock: Clock,
        saved: TargetState | None,
        shared: Shared,
    ) -> None:
        self.target = target
        self.ledger = ledger
        self._reporter = reporter
        self._clock = clock
        self._shared = shared
        self._clients = Clients(target.url)
        self._ticking = Ticking(clock, ledger)
        self._observer = Observer(
            target,
            self._clients.current,
            ledger=ledger,
            reporter=reporter,
            clock=clock,
            claims=shared.claims,
            wake=self._ticking.wake,
            machine_pressure=shared.machine_pressure,
        )
        self._ladder = Ladder(ladder_settings(target), uuid.uuid4().hex[:12], saved.ladder if saved else None)
        hands = Hands(
            self._ladder, self._observer, ledger, reporter, clock, shared.save, shared.state_folder, self._acted
        )
        self._acting = Acting(target, self._clients, hands)
        self._identity = saved.identity if saved else None
        self._hindrance_told_for: ProcessIdentity | None = None
        self._pace = Pace(target)
        self._causes = Causes()
        self._picture: Picture | None = None
        self._pictured_at = float("-inf")
        self._ticked_at = float("-inf")
        self._calm_below: int | None = None
        flight = shared.flight(target.name, [level.name for level in target.levels])
        self._flight = Aboard(flight, ledger, reporter)
        self._make_known()

    def _make_known(self) -> None:
        levels = [level.name for level in self.target.levels]
        self.ledger.know(
            levels,
            self._acting.sending,
            statistics=self.target.stats is not None,
            restarts=self.target.restart is not None,
            preset=self.target.preset,
        )

    def state(self) -> TargetState:
        """What a restarted watchdog must know of this target."""
        return TargetState(self._ladder.state, self._identity, self.target.budget.per)

    def checkpoint(self, boot_id: str) -> Checkpoint:
        """The ladder as it stands, for a recording to begin with."""
        ladder = self._ladder
        return Checkpoint(
            VERSION,
            self.target.name,
            boot_id,
            self._clock.boottime(),
            self._clock.wall(),
            ladder.settings,
            ladder.state,
            ladder.outlook,
        )

    @property
    def ready(self) -> bool:
        """Has the first look ended, whatever it saw?"""
        return self._ticking.ready

    def stalled(self) -> bool:
        """Have the ticks stopped, or does each of them fail?"""
        return self._ticking.stalled(self.target)

    async def run(self) -> None:
        """Tick until cancelled."""
        self._observer.start()
        telling = asyncio.create_task(self._flight.tell_of_the_last())
        tick = Tick(self._is_calm, self._guarded_tick, self._interval, lambda: self.target)
        try:
            await self._ticking.run(tick)
        finally:
            telling.cancel()
            await self._acting.cancel()
            await self._observer.close()
            self._flight.close()
            await self._clients.aclose()

    # ---- what is asked of it from outside

    def reload(self, target: TargetConfig) -> None:
        """Go on with another config of the same name. State stays; what is in flight ends under the old settings."""
        before, self.target = self.target, target
        if target.url != before.url:
            self._clients.replace(target.url)
        self._observer.reload(target, self._clients.current)
        self._acting.reload(target)
        self._pace = Pace(target)
        self._ladder_step(Reloaded(self._pace.settings()), self._clock.boottime())
        self._make_known()
        self._reporter.reloaded()
        if target.restart != before.restart:
            self._hindrance_told_for = None
        self._ticking.wake()

    def clean_up(self, level: str, reason: str) -> Decision | Suppressed:
        """Send a cleanup now, by hand. Raises ValueError for a level that does not exist or sends nothing."""
        decision = self._step(Manual(level, reason))
        if decision is not None:
            return decision
        return next(note for note in self._ladder.notes if isinstance(note, Suppressed))

    async def pause(self, seconds: float) -> float:
        """Send nothing for so long, except by hand. Returns when that ends, since the epoch, with the state saved."""
        now = self._clock.boottime()
        self._ladder_step(Pause(now + seconds), now)
        ends_wall = self._clock.wall() + seconds
        self._reporter.paused(seconds)
        self._ticking.wake()
        await self._shared.save()
        return ends_wall

    async def resume(self) -> None:
        """End a pause."""
        self._ladder_step(Resume(), self._clock.boottime())
        self._reporter.resumed()
        self._ticking.wake()
        await self._shared.save()

    async def _guarded_tick(self) -> bool:
        try:
            await self._tick()
        except Exception:  # noqa: BLE001 - a fault in one tick must not end the watching; it is logged and counted
            self._reporter.broken()
            return False
        return True

    # ---- one tick

    def _is_calm(self, now: float) -> bool:
        """Does a glance show that a tick would decide nothing? Close below a threshold that is most of the ticks.

        Only after a tick that left nothing held, waited for or foreseen, and for `interval` at the most.
        """
        if self._calm_below is None or now - self._ticked_at >= self.target.interval:
            return False
        try:
            used = self._observer.glance(now)
        except Exception:  # noqa: BLE001 - as in a tick; the look that follows tells more
            self._reporter.broken()
            return False
        if not isinstance(used, int) or used >= self._calm_below:
            return False
        self._pace.glanced(used, now)
        self.ledger.glanced(used, now)
        return True

    async def _tick(self) -> None:
        self._calm_below, self._ticked_at = None, self._clock.boottime()
        seen = await self._observer.observe(self._ladder.thresholds, self._pace.reported_interval(self._ladder))
        identity = self._observer.identity(seen)
        if identity is not None:
            self._attached(identity)
        self._pace.follow(seen)
        self._look_for_causes(seen)
        self._step(seen)
        self._observer.arm(seen, self._ladder.thresholds)
        self._calm_below = self._ladder.calm_below(seen.used)
        self._record(seen)
        self._reporter.looked(seen, self._ladder.held)

    def _look_for_causes(self, seen: Observation) -> None:
        if self._causes.look(seen) and seen.taken_at - self._pictured_at >= PICTURE_SECONDS:
            self._picture, self._pictured_at = self._causes.picture(), seen.taken_at

    def _attached(self, identity: ProcessIdentity) -> None:
        if self.target.restart is not None and not _is_same(identity, self._hindrance_told_for):
            self._hindrance_told_for = identity  # also of a process that was known before we were started
            self._acting.look_ahead(identity)
        if _is_same(identity, self._identity):
            return
        replaced = self._identity is not None
        self._identity = identity
        self._reporter.attached(identity, replaced=replaced)
        if replaced:
            self._ladder_step(NewProcess(identity), self._clock.boottime())
        self._pace.begin_anew()
        self._causes.begin_anew()
        self._picture = None
        self._shared.changed()

    def _step(self, event: Event) -> Decision | None:
        decision = self._ladder_step(event, self._clock.boottime())
        if decision is not None:
            self._acting.clean_up(decision)
        return decision

    def _acted(self, event: Event) -> None:
        """Something that was done has ended."""
        self._step(event)
        self._ticking.wake()

    def _ladder_step(self, event: Event, now: float) -> Decision | None:
        decision = self._ladder.step(event, now)
        self._calm_below = None  # whatever it was: what it led to is not known to a glance
        self._shared.record(Step(self.target.name, now, event, decision, self._ladder.restart))
        if self._ladder.restart is not None:
            self._acting.restart(self._ladder.restart)
        for note in self._ladder.notes:
            self._reporter.noted(note)
            if isinstance(note, LevelChanged) and note.after != NONE and self._picture is not None:
                self._reporter.grows(self._picture)
            if not isinstance(note, Suppressed):
                self._shared.changed()
        return decision

    # ---- what comes of it

    def _record(self, seen: Observation) -> None:
        self.ledger.observe(
            seen,
            self._clock.wall(),
            standing_of(self._ladder, self._picture, self._clock.boottime()),
            process_view=self._observer.process_view(seen),
            start_time_seconds=self._observer.start_time_seconds(seen),
        )
        self._flight.look(seen, self._clock.wall(), self._ladder.held)

    def _interval(self, now: float) -> float:
        """Seconds until the next tick."""
        interval = self._pace.interval(self._ladder, self._observer, now)
        if self._observer.compared is Measure.PSS and self._pace.stretched(interval, self._ladder):
            self._ladder_step(Reloaded(self._pace.settings()), now)
        return interval


def _is_same(identity: ProcessIdentity, known: ProcessIdentity | None) -> bool:
    """The same process? A start time that a server reports itself wavers with the clock that it is worked out from."""
    if known is None or identity == known:
        return identity == known
    slack = REPORTED_START_SLACK_SECONDS * REPORTED_TICKS_PER_SECOND
    return identity.pid == known.pid == 0 and abs(identity.start_ticks - known.start_ticks) <= slack
