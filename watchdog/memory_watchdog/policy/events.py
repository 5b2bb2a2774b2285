"""What goes into the ladder and what comes out of it.

Events: `Observation` and `Outcome` of `observation`, and those defined here. Answers: a `Decision`, and notes, which
say what the step changed without asking for an action.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from memory_watchdog.observation import Observation, Outcome, OutcomeKind, ProcessIdentity, Reason
from memory_watchdog.policy.settings import LadderSettings


class Trigger(StrEnum):
    """Why a request is sent. A closed set: it is a label value."""

    THRESHOLD = "threshold"
    FORECAST = "forecast"
    ESCALATION = "escalation"
    MANUAL = "manual"


class Suppression(StrEnum):
    """Why a wanted action is not sent. A closed set: it is a label value."""

    COOLDOWN = "cooldown"
    BUDGET = "budget"
    IN_FLIGHT = "in_flight"
    STALE = "stale"
    PAUSED = "paused"
    DRY_RUN = "dry_run"
    NO_LIMIT = "no_limit"
    UNANSWERED = "unanswered"


@dataclass(frozen=True, slots=True)
class NewProcess:
    """The target is another process than before."""

    identity: ProcessIdentity


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is sent until `until` (CLOCK_BOOTTIME), except by hand."""

    until: float


@dataclass(frozen=True, slots=True)
class Resume:
    """The end of a pause before its time."""


@dataclass(frozen=True, slots=True)
class Manual:
    """Somebody asks for a cleanup at a level."""

    level: str
    reason: str = "by hand"


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The config was read again."""

    settings: LadderSettings


class RestartOutcome(StrEnum):
    """How a restart ended, or why one that was due did not begin. A closed set: it is a label value.

    `ended` by the drain or SIGTERM, `killed` by SIGKILL, `gone` by itself before, `refused` by a guard, `failed`: it
    lives on.
    """

    ENDED = "ended"
    KILLED = "killed"
    GONE = "gone"
    REFUSED = "refused"
    FAILED = "failed"
    TOO_YOUNG = "too_young"
    PAUSED = "paused"
    NO_BUDGET = "no_budget"
    DRY_RUN = "dry_run"


@dataclass(frozen=True, slots=True)
class RestartEnded:
    """A restart has come to its end."""

    request_id: str
    outcome: RestartOutcome
    detail: str = ""


Event = Observation | Outcome | NewProcess | Pause | Resume | Manual | Reloaded | RestartEnded


@dataclass(frozen=True, slots=True)
class Restart:
    """The process is to be ended now. `reason` is a sentence for the log and the evidence."""

    request_id: str
    identity: ProcessIdentity
    reason: str
    used_bytes: int
    limit_bytes: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """One request to be sent now.

    `held` is the level that memory is at, `level` the one that is asked for. `target_bytes` is what has to go for used
    to fall below the exit; None where that is unknown or already so. `reason` is a sentence for the log.
    """

    request_id: str
    level: str
    held: str
    trigger: Trigger
    reason: str
    target_bytes: int | None
    used_bytes: int | None
    limit_bytes: int | None


class VerdictKind(StrEnum):
    """What the memory says about a cleanup, whatever the server claimed."""

    EFFECTIVE = "effective"
    INEFFECTIVE = "ineffective"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class LevelChanged:
    """The held level rose or fell."""

    before: str
    after: str
    used_bytes: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """A wanted action that was not sent; noted once a reason until something is sent or the level changes."""

    reason: Suppression
    level: str
    trigger: Trigger
    detail: str


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request failed, timed out, or lost its process."""

    request_id: str
    level: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a request's settle. `reclaimed_bytes` is measured; None where it could not be."""

    request_id: str
    level: str
    held: str | None
    kind: VerdictKind
    outcome: OutcomeKind
    reclaimed_bytes: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ThresholdsChanged:
    """The limit moved the thresholds; `crossed` names levels that are off because they no longer ascend."""

    limit_bytes: int | None
    crossed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestartHeldBack:
    """A restart was due and did not begin; noted once a reason until something is sent or the level changes."""

    outcome: RestartOutcome
    detail: str


@dataclass(frozen=True, slots=True)
class RestartDone:
    """A restart that began has ended."""

    request_id: str
    outcome: RestartOutcome
    detail: str


Note = LevelChanged | Suppressed | RequestFailed | Verdict | ThresholdsChanged | RestartHeldBack | RestartDone
