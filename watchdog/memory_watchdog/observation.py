"""What one tick saw and what happened since: the frozen values that sources, policy, actions and ledger exchange.

Covers: readings that may be unknown, the identity of a process, its memory, the limit, the server's own report,
the outcome of an action.
Leaves to others: how any of it is read (`sources`), what it means (`policy`).

Times named `…_at` are CLOCK_BOOTTIME in seconds: they go on during suspend and no clock step moves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why something is unknown or failed. A closed set: it becomes a label value."""

    AMBIGUOUS = "ambiguous"  # several unrelated processes match
    CLOSED = "closed"  # the connection ended before the answer did
    CONNECTION = "connection"  # refused, no route, no such host
    ENCODING = "encoding"  # a Content-Encoding that we did not ask for and do not read
    ERROR_IN_ANSWER = "error_in_answer"  # 2xx, and an error inside
    GONE = "gone"  # the process ended
    HTTP_STATUS = "http_status"  # neither 2xx nor a redirect
    INVALID = "invalid"  # read, and not what it should be
    NOT_CONFIGURED = "not_configured"
    NOT_FOUND = "not_found"
    NOT_SENT = "not_sent"  # the request could not be made at all
    PENDING = "pending"  # not read yet
    PERMISSION = "permission"
    REDIRECT = "redirect"
    STALE = "stale"  # the last good reading is too old
    TARGET_GONE = "target_gone"  # the process was replaced while a request was in flight
    TIMEOUT = "timeout"
    TLS = "tls"
    TOO_LARGE = "too_large"
    UNLIMITED = "unlimited"  # read, and there is no limit
    UNREADABLE = "unreadable"  # the kernel gave an error or something that is no number
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A number that could not be read: never 0, never the last one."""

    reason: Reason
    detail: str = ""  # for the log and the probe, never for a label

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else str(self.reason)


Reading = int | Unavailable
"""A number of bytes, or why there is none."""


class Measure(StrEnum):
    """Which number is compared with the limit."""

    AUTO = "auto"
    RSS = "rss"
    ANON = "anon"
    PSS = "pss"
    UNRECLAIMABLE = "unreclaimable"
    REPORTED = "reported"


class LimitSource(StrEnum):
    """Where a limit came from."""

    GIVEN = "given"
    CGROUP = "cgroup"
    MACHINE = "machine"


@dataclass(frozen=True, slots=True)
class Limit:
    """The number of bytes at which the target is in trouble, and who says so."""

    bytes: int
    source: LimitSource


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """Pid and start time together: a pid alone is used again.

    `start_ticks` is field 22 of /proc/PID/stat: clock ticks since boot, which no clock step moves.
    """

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """The process tree, in bytes. Sums count a page once for every process that maps it.

    `anonymous_bytes` is the sum of resident − shared of `statm`; `shared_bytes` the largest RssShmem of the tree,
    since forked workers map the same segments; `proportional_bytes` is Pss, read only when asked for.
    """

    resident_bytes: int
    anonymous_bytes: Reading
    processes: int
    file_bytes: Reading
    shared_bytes: Reading
    swap_bytes: Reading
    proportional_bytes: Reading


@dataclass(frozen=True, slots=True)
class CgroupMemory:
    """What the kernel counts for the target's cgroup, each number by itself known or not.

    `oom_kills` and the times are counts: they only go up, and go on when the process restarts or is moved. `waiting` is
    the time in which at least one task waited for memory, `stalled` that in which all did.
    """

    usage_bytes: Reading
    unreclaimable_bytes: Reading
    oom_kills: Reading
    waiting_microseconds: Reading
    stalled_microseconds: Reading


_NOT_READ = Unavailable(Reason.PENDING)
NO_CGROUP = CgroupMemory(_NOT_READ, _NOT_READ, _NOT_READ, _NOT_READ, _NOT_READ)


@dataclass(frozen=True, slots=True)
class Component:
    """One cache or other part of the server, by the server's own word. None is unknown.

    `error` is why it could not tell its numbers; the others' are known all the same.
    """

    name: str
    bytes: int | None = None
    items: int | None = None
    max_bytes: int | None = None
    max_items: int | None = None
    hits: int | None = None
    misses: int | None = None
    evictions: int | None = None
    expirations: int | None = None
    error: str | None = None


Scalar = str | int | float | bool
"""A value of the server's that is only handed back to it."""


@dataclass(frozen=True, slots=True)
class ServerReport:
    """One answer of the server's statistics. `values` are for `{stats.NAME}` in a cleanup; none of them is unknown."""

    answered_at: float
    resident_bytes: int | None = None
    allocator_free_bytes: int | None = None
    start_time_seconds: float | None = None
    components: tuple[Component, ...] = ()
    values: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at a target. `used` and `limit` are what the ladder compares; the rest is shown.

    `server_answered_at` is when the server last answered any request over HTTP, with whatever status.
    """

    taken_at: float
    measure: Measure
    used: Reading
    limit: Limit | Unavailable
    identity: ProcessIdentity | Unavailable
    memory: ProcessMemory | Unavailable
    report: ServerReport | Unavailable
    server_answered_at: float | None = None
    cgroup: CgroupMemory = NO_CGROUP


class OutcomeKind(StrEnum):
    """How an action ended."""

    DONE = "done"  # the server says it did it
    FAILED = "failed"  # the server was reached, and it failed or its answer says so
    TIMEOUT = "timeout"  # unknown: it may still run
    UNREACHED = "unreached"  # the server certainly did not get it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request. `claimed_bytes` is the server's word and is never believed."""

    request_id: str
    kind: OutcomeKind
    duration_seconds: float
    reason: Reason | None = None  # set unless DONE
    detail: str = ""
    claimed_bytes: int | None = None
