"""Says what happened to a target: one line in the log and one entry in the ledger for each.

Leaves to others: what happens (`watcher`, `policy`), the form of a line (`logs`), how long it is kept (`ledger`).
"""

from __future__ import annotations

from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from memory_watchdog import logs
from memory_watchdog.actions.guards import Hindrance
from memory_watchdog.clock import Clock
from memory_watchdog.ledger import TargetLedger
from memory_watchdog.observation import (
    Limit,
    Measure,
    Observation,
    Outcome,
    OutcomeKind,
    ProcessIdentity,
    Reason,
    Unavailable,
)
from memory_watchdog.policy.causes import Picture
from memory_watchdog.policy.events import (
    Decision,
    LevelChanged,
    Note,
    RequestFailed,
    Restart,
    RestartDone,
    RestartHeldBack,
    RestartOutcome,
    Suppressed,
    ThresholdsChanged,
    Verdict,
    VerdictKind,
)
from memory_watchdog.quantities import format_bytes, format_seconds
from memory_watchdog.sources.triggers import Source


class Reporter:
    """The voice of one target."""

    def __init__(self, log: FilteringBoundLogger, ledger: TargetLedger, clock: Clock) -> None:
        self.log = log
        self._ledger = ledger
        self._clock = clock

    def attached(self, identity: ProcessIdentity, *, replaced: bool) -> None:
        """The target's process was found."""
        text = "the target is a new process" if replaced else "the target was found"
        self.log.info(text, pid=identity.pid or None, change=True)  # without a view there is no pid
        self._ledger.happened(self._clock.wall(), "process", f"{text}: pid {identity.pid}" if identity.pid else text)
        if replaced:
            self._ledger.restarted()

    def measure_chosen(self, measure: Measure, *, asked: Measure) -> None:
        """Which number is compared from now on."""
        chosen = ", chosen by auto" if asked is Measure.AUTO else ""
        self.log.info("compared from now on", measure=measure, asked=asked, change=True)
        self._ledger.happened(self._clock.wall(), "measure", f"{measure} is compared{chosen}")

    def process_unavailable(self, why: Unavailable) -> None:
        """The target's process was not found or could not be read."""
        self._ledger.source_failed("process", why.reason)
        self.log.warning("the process cannot be read", reason=why.reason, detail=why.detail, source="process")

    def limit_changed(self, limit: Limit | Unavailable, cgroup: str) -> None:
        """The limit is another one than before, or has become unknown. `cgroup` is the one that has it, if one has."""
        if isinstance(limit, Limit):
            text = f"{format_bytes(limit.bytes)} from {limit.source}{cgroup and f' {cgroup}'}"
            where = {"cgroup": cgroup} if cgroup else {}
            self.log.info("the limit is now", limit_bytes=limit.bytes, limit_source=limit.source, change=True, **where)
        else:
            text = f"unknown: {limit}"
            self.log.warning(
                "the limit is unknown: levels in percent are off", reason=limit.reason, detail=limit.detail,
                source="limit",
            )  # fmt: skip
        self._ledger.happened(self._clock.wall(), "limit", text)

    def limit_unavailable(self, why: Unavailable) -> None:
        """The limit could not be read at this tick."""
        self._ledger.source_failed("limit", why.reason)

    def cgroup_unavailable(self, why: Unavailable, *, compared: bool) -> None:
        """The cgroup's numbers could not be read at this tick. Said where one is `compared`, else only counted."""
        if why.reason is Reason.UNSUPPORTED:
            return  # there is none to be read
        self._ledger.source_failed("cgroup", why.reason)
        if compared:
            self.log.warning("the cgroup cannot be read", reason=why.reason, detail=why.detail, source="cgroup")

    def kernel_events(self, standing: Mapping[Source, Unavailable | None]) -> None:
        """Which kernel events bring a look forward from now on, and which cannot be had."""
        self._ledger.kernel_events({str(source): why is None for source, why in standing.items()})
        refused = {str(source): str(why) for source, why in standing.items() if why is not None}
        if standing:
            armed = ",".join(source for source, why in standing.items() if why is None)
            self.log.info("kernel events", armed=armed or "none", change=True, **refused)

    def statistics_failed(self, why: Unavailable) -> None:
        """The server's statistics could not be read; busy is not down."""
        self.log.warning("the statistics cannot be read", reason=why.reason, detail=why.detail, source="stats")

    def component_failed(self, component: str, error: str) -> None:
        """The server says that one of its components could not tell its numbers."""
        self.log.warning("a component cannot tell its numbers", component=component, detail=error, source="stats")

    def looked(self, seen: Observation, held: str) -> None:
        """What one tick saw, for whoever asks for `debug`."""
        if not logs.shows_debug():
            return
        self.log.debug(
            "look", used_bytes=seen.used, limit_bytes=seen.limit.bytes if isinstance(seen.limit, Limit) else seen.limit,
            measure=seen.measure, target_level=held,
        )  # fmt: skip

    def decided(self, decision: Decision) -> None:
        """A request is about to be sent."""
        self._ledger.decided(decision, self._clock.wall())
        self.log.warning(
            "cleanup", request_id=decision.request_id, target_level=decision.level, held_level=decision.held,
            trigger=decision.trigger, reason=decision.reason, target_bytes=decision.target_bytes,
            used_bytes=decision.used_bytes, limit_bytes=decision.limit_bytes,
        )  # fmt: skip

    def restarts(self, decision: Restart) -> None:
        """The process is about to be ended."""
        self.log.error(
            "ending the process", request_id=decision.request_id, pid=decision.identity.pid, reason=decision.reason,
            used_bytes=decision.used_bytes, limit_bytes=decision.limit_bytes, change=True,
        )  # fmt: skip
        self._ledger.happened(self._clock.wall(), "restart", f"ending pid {decision.identity.pid}: {decision.reason}")

    def hindered(self, what: Hindrance) -> None:
        """The last step would not be taken, or may not work."""
        text = "the process would not be ended" if what.is_refused else "the process can be asked to end, not be killed"
        self.log.warning(text, detail=what.detail, change=True)
        self._ledger.happened(self._clock.wall(), "restart", f"{text}: {what.detail}")

    def answered(self, decision: Decision, outcome: Outcome) -> None:
        """A request ended."""
        self._ledger.answered(decision, outcome, self._clock.wall())
        if outcome.kind is OutcomeKind.DONE:
            self.log.info(
                "cleanup answered", request_id=outcome.request_id, target_level=decision.level,
                claimed_bytes=outcome.claimed_bytes, duration_seconds=round(outcome.duration_seconds, 3),
                detail=outcome.detail,
            )  # fmt: skip

    def noted(self, note: Note) -> None:
        """Something changed in the ladder."""
        self._ledger.noted(note, self._clock.wall())
        match note:
            case LevelChanged():
                self.log.info(
                    "level", before=note.before, after=note.after, used_bytes=note.used_bytes, reason=note.reason,
                    change=True,
                )  # fmt: skip
            case Suppressed():
                self.log.info(
                    "cleanup suppressed",
                    reason=note.reason,
                    target_level=note.level,
                    trigger=note.trigger,
                    detail=note.detail,
                )
            case RequestFailed():
                self.log.error(
                    "cleanup failed", request_id=note.request_id, target_level=note.level, reason=note.reason,
                    detail=note.detail,
                )  # fmt: skip
            case Verdict():
                say = self.log.info if note.kind is VerdictKind.EFFECTIVE else self.log.warning
                say(
                    "verdict", request_id=note.request_id, target_level=note.level, verdict=note.kind,
                    reclaimed_bytes=note.reclaimed_bytes, reason=note.reason,
                )  # fmt: skip
            case RestartHeldBack():
                say = self.log.error if note.outcome is RestartOutcome.NO_BUDGET else self.log.warning
                say("restart held back", reason=note.outcome, detail=note.detail, change=True)
            case RestartDone():
                is_over = note.outcome in (RestartOutcome.ENDED, RestartOutcome.KILLED)
                say = self.log.warning if is_over else self.log.error
                say("restart", request_id=note.request_id, outcome=note.outcome, detail=note.detail, change=True)
            case ThresholdsChanged():
                if note.crossed:
                    self.log.error(
                        "thresholds no longer ascend under this limit: levels are off",
                        target_level=",".join(note.crossed), limit_bytes=note.limit_bytes,
                    )  # fmt: skip

    def grows(self, picture: Picture) -> None:
        """What the growth that led to a level looks like."""
        split = picture.split
        self.log.info(
            "what grows", cause=picture.sentence, used_bytes=split.used_bytes, components_bytes=split.components_bytes,
            allocator_free_bytes=split.allocator_bytes, file_bytes=split.files_bytes,
            unexplained_bytes=split.unexplained_bytes, change=True,
        )  # fmt: skip
        self._ledger.happened(self._clock.wall(), "cause", picture.sentence)

    def flown(self, told: str) -> None:
        """What the flight recorder of the last run says."""
        self.log.warning("before the last end", flight=told, change=True)
        self._ledger.happened(self._clock.wall(), "flight", told)

    def flight_failed(self, problem: str) -> None:
        """The flight recorder is off from now on."""
        self.log.error("the flight recorder cannot be written: it is off", detail=problem, change=True)
        self._ledger.source_failed("flight", Reason.UNREADABLE)

    def reloaded(self) -> None:
        """The target goes on with another config."""
        self.log.info("reloaded", change=True)
        self._ledger.happened(self._clock.wall(), "reload", "the config of the target was changed")

    def paused(self, seconds: float) -> None:
        """Nothing is sent for a while, by somebody's wish."""
        self.log.warning("paused", seconds=seconds, change=True)
        self._ledger.happened(self._clock.wall(), "pause", f"paused for {format_seconds(seconds)}")

    def resumed(self) -> None:
        """The pause was ended."""
        self.log.info("resumed", change=True)
        self._ledger.happened(self._clock.wall(), "resume", "the pause was ended")

    def broken(self, fault: BaseException | None = None) -> None:
        """A tick, or an action (`fault`), ended with an exception that nobody planned: a fault of this program."""
        what = "a tick" if fault is None else "an action"
        self._ledger.source_failed("tick", Reason.INVALID)
        self.log.error(f"{what} failed; this is a fault of memory-watchdog", source="tick", exc_info=fault or True)
