"""What every part of a server that holds memory looks like from outside: a name, numbers, a cleanup.

Covers: the interface `Component`, the numbers it tells, what a cleanup tells of itself, the reports made of both.
Leaves to others: what is held (`SemanticCache`, `ContextTracker`, …), when it is cleaned (`manager`), the wire (`web`).

Numbers that are not known are None, never 0. Sizes are bytes, times seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable


class Level(StrEnum):
    """How much a cleanup is to take: the oldest fifth, or the oldest half."""

    NORMAL = "normal"
    AGGRESSIVE = "aggressive"


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a component says of itself. A component knows at least one of `bytes` and `items`.

    `file_bytes` is memory that the kernel can take back by itself: memory maps of files; it is not in `bytes`.
    `refill_seconds` is how long getting one item again takes on average.
    """

    bytes: int | None = None
    items: int | None = None
    max_bytes: int | None = None
    max_items: int | None = None
    hits: int | None = None
    misses: int | None = None
    evictions: int | None = None
    expirations: int | None = None
    file_bytes: int | None = None
    refill_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a cleanup, or one step of it, took out."""

    items_removed: int = 0
    bytes_freed: int = 0

    def __add__(self, other: Cleaned) -> Cleaned:
        return Cleaned(self.items_removed + other.items_removed, self.bytes_freed + other.bytes_freed)


@runtime_checkable
class Component(Protocol):
    """A cache or another part of the server that holds memory and can let go of it.

    `cleanup` is called in a thread of its own, one at a time. It answers with what it took out, or yields that step by
    step: between two steps the manager lets the other threads run, so a step is best no longer than 3 ms. With
    `target_bytes` it stops when so many bytes are gone. Both methods may raise; the manager reports it.
    """

    @property
    def name(self) -> str:
        """What it is called in statistics, metrics and logs."""
        ...

    def statistics(self) -> Statistics:
        """Its numbers at this moment; cheap, and safe from any thread."""
        ...

    def cleanup(self, level: Level, target_bytes: int | None) -> Cleaned | Iterator[Cleaned]:
        """Let go of the least valuable part."""
        ...


@runtime_checkable
class Expiring(Protocol):
    """A component that also knows what nobody can get any more. The manager calls this every period."""

    def expire(self) -> Cleaned | Iterator[Cleaned]:
        """Let go of what is expired and of nothing else; as `Component.cleanup`, in steps if it takes longer."""
        ...


@dataclass(frozen=True, slots=True)
class ComponentReport:
    """One component in a `MemoryReport`; `error` says why it has no statistics."""

    name: str
    statistics: Statistics | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """The process and all that is registered, at one moment; what the allocator keeps is freed, and not given back."""

    pid: int
    start_time_seconds: float
    resident_bytes: int
    allocator_free_bytes: int | None
    components: tuple[ComponentReport, ...]


@dataclass(frozen=True, slots=True)
class ComponentCleanup:
    """What a cleanup did to one component."""

    name: str
    cleaned: Cleaned
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """One cleanup. `reclaimed_bytes` is measured on the process, never added up from what the components say.

    None where it could not be measured. `not_given_back` says why free pages could not be returned to the system.
    """

    request_id: str
    level: Level
    reclaimed_bytes: int | None
    duration_seconds: float
    components: tuple[ComponentCleanup, ...]
    not_given_back: str | None = None
