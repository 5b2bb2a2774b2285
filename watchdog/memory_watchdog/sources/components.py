"""The components that a server reports: at most 64, each name once.

Leaves to others: reading them (`sources.stats`, `sources.mapping`), showing them (`web`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memory_watchdog.observation import Component
from memory_watchdog.outside_text import LARGEST_COUNT

MAX_COMPONENTS = 64
"""Each is a label value on nine metrics."""

OTHER = "other"
"""The name under which the components beyond that are added up."""


def fold(components: Sequence[Component]) -> tuple[Component, ...]:
    """At most 64 components: of more, the first keep their names, bytes and items of the rest are added up as `other`.

    A component that is itself called `other` is added to the rest. Of a sum only what is known counts: it is what the
    components report. Counters are not added up: their sum would jump whenever the order changes.
    """
    if len(components) <= MAX_COMPONENTS:
        return tuple(components)
    kept = [component for component in components if component.name != OTHER][: MAX_COMPONENTS - 1]
    names = {component.name for component in kept}
    rest = [component for component in components if component.name not in names]
    other = Component(
        OTHER,
        bytes=_sum(component.bytes for component in rest),
        items=_sum(component.items for component in rest),
    )
    return (*kept, other)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return min(sum(known), LARGEST_COUNT) if known else None


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that was there before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
