"""What the manager tells people: the section of a health check, and its line in the log.

Covers: status, process, components, thresholds, last cleanup as plain values; one line of memory.
Leaves to others: reading any of it (`manager`), the wire contract's answers (`web`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from memory_watchdog_kit.component import CleanupReport, ComponentCleanup, ComponentReport, Level, MemoryReport
from memory_watchdog_kit.manager.period import Thresholds
from memory_watchdog_kit.own_memory import OwnMemory


@dataclass(frozen=True, slots=True)
class LastCleanup:
    """The last cleanup, why it ran, and when it ended by the manager's clock."""

    report: CleanupReport
    reason: str
    ended_at: float


def health_section(
    report: MemoryReport, own: OwnMemory, thresholds: Thresholds, last: LastCleanup | None, now: float
) -> dict[str, object]:
    """As `MemoryManager.health` says."""
    return {
        "status": _status(report, thresholds.level(own.private_bytes)),
        "process": _known(
            pid=report.pid,
            start_time_seconds=report.start_time_seconds,
            resident_bytes=report.resident_bytes,
            private_bytes=own.private_bytes,
            allocator_free_bytes=report.allocator_free_bytes,
        ),
        "components": [_component(one) for one in report.components],
        "thresholds": _known(**asdict(thresholds)),
        "last_cleanup": None if last is None else _last(last, now),
    }


def memory_line(report: MemoryReport, own: OwnMemory, expired: Sequence[ComponentCleanup]) -> str:
    """One line: the process, then each component, then what a period dropped as expired."""
    free = report.allocator_free_bytes
    parts = [
        f"memory: {_mib(own.private_bytes)} private, {_mib(own.resident_bytes)} resident",
        "allocator's free bytes unknown" if free is None else f"{_mib(free)} free in the allocator",
        *map(_short, report.components),
    ]
    dropped = sum(one.cleaned.items_removed for one in expired)
    failed = [one.name for one in expired if one.error is not None]
    if dropped:
        parts.append(f"{dropped} items expired")
    if failed:
        parts.append(f"expiring failed in {', '.join(failed)}")
    return ", ".join(parts)


def _status(report: MemoryReport, level: Level | None) -> str:
    if level is Level.AGGRESSIVE:
        return "critical"
    if any(one.error is not None for one in report.components):
        return "degraded"
    return "ok" if level is None else "high"


def _component(one: ComponentReport) -> dict[str, object]:
    return _known(name=one.name, error=one.error, **({} if one.statistics is None else asdict(one.statistics)))


def _last(last: LastCleanup, now: float) -> dict[str, object]:
    report = last.report
    return _known(
        level=report.level.value,
        reason=last.reason[:200],
        request_id=report.request_id,
        reclaimed_bytes=report.reclaimed_bytes,
        duration_seconds=round(report.duration_seconds, 6),
        ended_seconds_ago=round(max(0.0, now - last.ended_at), 3),
        not_given_back=report.not_given_back,
        errors={one.name: one.error for one in report.components if one.error is not None},
    )


def _short(one: ComponentReport) -> str:
    if one.statistics is None:
        return f"{one.name} unknown ({one.error})"
    known = one.statistics
    size = [] if known.bytes is None else [_mib(known.bytes)]
    return f"{one.name} {' in '.join([*size, *([] if known.items is None else [f'{known.items} items'])])}"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.1f} MiB"


def _known(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}
