"""What the API says: models, from which its OpenAPI is made. Sizes in bytes, times in seconds, null is unknown.

Leaves to others: the routes (`web.api`), where the values come from (`ledger`).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from memory_watchdog.ledger import Happening, Sample, Snapshot
from memory_watchdog.observation import (
    NO_CGROUP,
    Component,
    Limit,
    Observation,
    ProcessMemory,
    Reading,
    Unavailable,
)
from memory_watchdog.policy.causes import ALLOCATOR, COMPONENT, FILES, UNEXPLAINED, Picture

MAX_PAUSE_SECONDS = 24 * 3600


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class Number(_Answer):
    """A number that may be unknown."""

    bytes: int | None = Field(description="null while it is unknown")
    unknown: str | None = Field(default=None, description="why it is unknown")

    @classmethod
    def of(cls, reading: Reading) -> Number:
        """From what a source has read."""
        return cls(bytes=reading) if isinstance(reading, int) else cls(bytes=None, unknown=str(reading))


class LevelView(_Answer):
    """One level of a target. Edges are null while the level is off."""

    name: str
    enter_bytes: int | None
    exit_bytes: int | None
    cooldown_seconds: float | None = Field(description="back-off included; null where the level sends nothing")


class TargetSummary(_Answer):
    """One target in a line."""

    name: str
    up: bool
    measure: str
    process_view: str
    used: Number
    limit: Number
    limit_source: str | None
    level: str
    paused: bool
    dry_run: bool
    last_observation_timestamp_seconds: float | None


class ComponentView(_Answer):
    """One component, by the server's own word."""

    name: str
    bytes: int | None
    items: int | None
    max_bytes: int | None
    max_items: int | None
    hits: int | None
    misses: int | None
    evictions: int | None
    expirations: int | None
    error: str | None


class HistoryPoint(_Answer):
    """One point of the last hour."""

    timestamp_seconds: float
    used_bytes: int | None
    limit_bytes: int | None
    level: str


class EventView(_Answer):
    """Something that happened."""

    timestamp_seconds: float
    target: str
    kind: str
    text: str
    level: str | None
    request_id: str | None


class PartView(_Answer):
    """One part of used memory: `component NAME`, `allocator`, `files` or `unexplained`, which may be negative."""

    part: str
    bytes: int
    growth_bytes_per_second: float | None


class TargetDetail(TargetSummary):
    """Everything about one target."""

    levels: list[LevelView]
    budget_remaining: int
    growth_bytes_per_second: float | None = Field(description="by the lower envelope; null until a minute was seen")
    time_to_limit_seconds: float | None = Field(description="null where the past does not say so with confidence")
    cause: str | None = Field(description="what the growth looks like, in a sentence")
    parts: list[PartView] = Field(description="what used memory consists of, and how fast each part grows")
    memory: dict[str, Number] = Field(description="each number of the process tree by name")
    cgroup: dict[str, Number] = Field(description="each size of the cgroup by name")
    oom_kills: int | None = Field(description="processes that the kernel killed for memory in the target's cgroup")
    pressure_waiting_seconds: float | None = Field(description="some task of the cgroup waited for memory (PSI some)")
    pressure_stalled_seconds: float | None = Field(description="all tasks of the cgroup waited for memory (PSI full)")
    processes: int | None
    components: list[ComponentView]
    history: list[HistoryPoint]


class CleanupRequest(BaseModel):
    """A cleanup by hand."""

    model_config = ConfigDict(extra="forbid")
    # A length, without which pydantic lets lone surrogates through.
    level: str | None = Field(
        default=None, max_length=200, description="default: the held level, else the lowest that has a cleanup"
    )
    reason: str = Field(default="by hand", min_length=1, max_length=200)


class CleanupAnswer(_Answer):
    """The request that is on its way."""

    request_id: str
    level: str
    target_bytes: int | None


class PauseRequest(BaseModel):
    """A pause."""

    model_config = ConfigDict(extra="forbid")
    seconds: float = Field(gt=0, le=MAX_PAUSE_SECONDS, allow_inf_nan=False)


class PauseAnswer(_Answer):
    """The pause that holds now."""

    paused_until_timestamp_seconds: float


class Problem(_Answer):
    """Why something was refused."""

    detail: str


def summary_of(snapshot: Snapshot) -> TargetSummary:
    """One target in a line."""
    return TargetSummary(**_summary(snapshot))


def _summary(snapshot: Snapshot) -> dict[str, Any]:
    seen, standing = snapshot.seen, snapshot.standing
    pending = Number(bytes=None, unknown="not observed yet")
    limit = seen.limit if seen is not None else None
    return {
        "name": snapshot.name,
        "up": snapshot.up,
        "measure": str(snapshot.measure),
        "process_view": snapshot.process_view,
        "used": pending if seen is None else Number.of(seen.used),
        "limit": pending if limit is None else Number.of(limit.bytes if isinstance(limit, Limit) else limit),
        "limit_source": str(limit.source) if isinstance(limit, Limit) else None,
        "level": standing.level,
        "paused": standing.paused,
        "dry_run": standing.dry_run,
        "last_observation_timestamp_seconds": snapshot.seen_wall,
    }


def detail_of(snapshot: Snapshot, samples: tuple[Sample, ...]) -> TargetDetail:
    """Everything about one target."""
    standing, statistics = snapshot.standing, snapshot.statistics
    levels = []
    for name, edge in zip(standing.levels, standing.edges, strict=True):
        levels.append(
            LevelView(
                name=name,
                enter_bytes=None if edge is None else edge.enter,
                exit_bytes=None if edge is None else edge.exit,
                cooldown_seconds=standing.cooldown_seconds.get(name),
            )
        )
    report = statistics.report if statistics is not None and statistics.up else None
    components: tuple[Component, ...] = () if report is None else report.components
    memory = snapshot.seen.memory if snapshot.seen is not None else None
    cgroup = snapshot.seen.cgroup if snapshot.seen is not None else NO_CGROUP
    return TargetDetail(
        **_summary(snapshot),
        levels=levels,
        budget_remaining=standing.budget_remaining,
        growth_bytes_per_second=standing.growth_bytes_per_second,
        time_to_limit_seconds=standing.time_to_limit_seconds,
        cause=None if standing.picture is None else standing.picture.sentence,
        parts=_parts(standing.picture),
        memory=_memory(snapshot.seen),
        cgroup=_cgroup(snapshot.seen),
        oom_kills=_count(cgroup.oom_kills),
        pressure_waiting_seconds=_seconds(cgroup.waiting_microseconds),
        pressure_stalled_seconds=_seconds(cgroup.stalled_microseconds),
        processes=memory.processes if isinstance(memory, ProcessMemory) else None,
        components=[ComponentView.model_validate(component) for component in components],
        history=[
            HistoryPoint(
                timestamp_seconds=sample.wall,
                used_bytes=sample.used_bytes,
                limit_bytes=sample.limit_bytes,
                level=sample.level,
            )
            for sample in samples
        ],
    )


def _memory(seen: Observation | None) -> dict[str, Number]:
    memory = seen.memory if seen is not None else None
    if memory is None or isinstance(memory, Unavailable):
        return {}
    return {
        "resident": Number.of(memory.resident_bytes),
        "anonymous": Number.of(memory.anonymous_bytes),
        "file": Number.of(memory.file_bytes),
        "shared": Number.of(memory.shared_bytes),
        "swap": Number.of(memory.swap_bytes),
        "proportional": Number.of(memory.proportional_bytes),
    }


def _cgroup(seen: Observation | None) -> dict[str, Number]:
    if seen is None:
        return {}
    return {
        "usage": Number.of(seen.cgroup.usage_bytes),
        "unreclaimable": Number.of(seen.cgroup.unreclaimable_bytes),
    }


def _parts(picture: Picture | None) -> list[PartView]:
    if picture is None:
        return []
    split = picture.split
    known: dict[str, int | None] = {COMPONENT + name: size for name, size in split.components.items()}
    known |= {ALLOCATOR: split.allocator_bytes, FILES: split.files_bytes, UNEXPLAINED: split.unexplained_bytes}
    return [
        PartView(part=part, bytes=size, growth_bytes_per_second=picture.slopes.get(part))
        for part, size in known.items()
        if size is not None
    ]


def _count(reading: Reading) -> int | None:
    return reading if isinstance(reading, int) else None


def _seconds(microseconds: Reading) -> float | None:
    return microseconds / 1_000_000 if isinstance(microseconds, int) else None


def event_of(target: str, happening: Happening) -> EventView:
    """One event with the target it belongs to."""
    return EventView(
        timestamp_seconds=happening.wall,
        target=target,
        kind=happening.kind,
        text=happening.text,
        level=happening.level,
        request_id=happening.request_id,
    )
