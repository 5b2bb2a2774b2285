"""A foreign server's answer to statistics, as the config's `stats.map` says.

Covers: JSON and Prometheus text to resident memory, components and values. Pure: bytes in, a report or the reason why
not out. What a map does not find is unknown, never 0; what it finds and cannot be makes the whole answer invalid.
Leaves to others: asking, the thread and the deadline (`sources.stats`), expressions and numbers (`expressions`),
compiling a map from the config (`parts_mapping`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from memory_watchdog.expressions import Expression, Lookup, Quantity, found_text
from memory_watchdog.observation import Component, Reason, Scalar, ServerReport, Unavailable
from memory_watchdog.outside_text import HEADER_CHARACTERS, label_text, one_line, parse_json
from memory_watchdog.sources.components import first_repeated, fold
from memory_watchdog.sources.prometheus_text import Selector, read_samples

MAX_ELEMENTS = 10_000
"""What one `each` may run over: 64 keep their names, and this many take 0.2 s."""


@dataclass(frozen=True, slots=True)
class ComponentMap:
    """One component called `name`; or, with `each`, one for each element, called what `element_name` finds in it.

    Without `element_name` an element is called by its key. `quantities` are by the fields of a Component.
    """

    quantities: Mapping[str, Quantity]
    name: str = ""
    each: Expression | None = None
    element_name: Expression | None = None


@dataclass(frozen=True, slots=True)
class StatisticsMap:
    """Where in an answer what stands. With `metrics` it is Prometheus text, and these are wanted of it."""

    resident: Quantity | None = None
    allocator_free: Quantity | None = None
    values: Mapping[str, Lookup] | None = None
    components: tuple[ComponentMap, ...] = ()
    metrics: frozenset[str] | None = None


def map_statistics(mapping: StatisticsMap, body: bytes, answered_at: float) -> ServerReport | Unavailable:
    """The report that `mapping` finds in `body`. Unavailable names the first key that is not what it should be."""
    document = _document(mapping, body)
    if isinstance(document, Unavailable):
        return document
    totals: dict[str, int | None] = {"resident": None, "allocator_free": None}
    for key, quantity in (("resident", mapping.resident), ("allocator_free", mapping.allocator_free)):
        found = None if quantity is None else quantity.read(document, f"map.{key}")
        if isinstance(found, Unavailable):
            return found
        totals[key] = found
    values = _values(mapping.values or {}, document)
    if isinstance(values, Unavailable):
        return values
    components: list[Component] = []
    for index, component_map in enumerate(mapping.components):
        for component in _components(component_map, document, f"map.components[{index}]"):
            if isinstance(component, Unavailable):
                return component
            components.append(component)
    if twice := first_repeated(component.name for component in components):
        return _invalid(f"map.components: the name {twice!r} stands there twice")
    return ServerReport(
        answered_at=answered_at,
        resident_bytes=totals["resident"],
        allocator_free_bytes=totals["allocator_free"],
        components=fold(components),
        values=values,
    )


def _document(mapping: StatisticsMap, body: bytes) -> object:
    """The answer, read; Unavailable where it is not what it should be."""
    if mapping.metrics is not None:
        return read_samples(body, mapping.metrics)
    try:
        return parse_json(body)
    except ValueError as error:
        return _invalid(str(error))


def _invalid(text: str) -> Unavailable:
    return Unavailable(Reason.INVALID, one_line(text))


def _values(lookups: Mapping[str, Lookup], document: Any) -> dict[str, Scalar] | Unavailable:
    """What is known of the values, with the type that it has in the answer."""
    values: dict[str, Scalar] = {}
    for name, lookup in lookups.items():
        found = lookup.find(document)
        if isinstance(lookup, Selector) and isinstance(found, list):
            total = float(sum(found))
            found = int(total) if total.is_integer() else total  # 1.234e+03 on the wire is not revision 1234.0
        if isinstance(found, Unavailable):
            return _invalid(f"map.values.{name}: {found.detail}")
        if found is None:
            continue
        if not isinstance(found, str | int | float) or (isinstance(found, float) and not math.isfinite(found)):
            return _invalid(f"map.values.{name}: {lookup.text} yields {found_text(found)}, allowed: a text or a number")
        if isinstance(found, str) and len(found) > HEADER_CHARACTERS:
            allowed = f"at most {HEADER_CHARACTERS} characters"
            return _invalid(f"map.values.{name}: {lookup.text} yields {found_text(found)}, allowed: {allowed}")
        values[name] = found
    return values


def _components(mapping: ComponentMap, document: Any, key: str) -> Iterator[Component | Unavailable]:
    """The components of one entry; after an Unavailable nothing more is of use."""
    if mapping.each is None:
        yield from _component(mapping, mapping.name, document, key)
        return
    found = mapping.each.find(document)
    if isinstance(found, Unavailable):
        yield _invalid(f"{key}.each: {found.detail}")
        return
    if found is not None and not isinstance(found, dict | list):
        yield _invalid(f"{key}.each: {mapping.each.text} yields {found_text(found)}, allowed: an object or a list")
        return
    elements = list(found.items() if isinstance(found, dict) else enumerate(found or []))
    if len(elements) > MAX_ELEMENTS:
        yield _invalid(f"{key}.each: {mapping.each.text} yields {len(elements)} elements, at most {MAX_ELEMENTS}")
        return
    for element_key, element in elements:
        name = str(element_key) if mapping.element_name is None else _name(mapping.element_name, element)
        if isinstance(name, Unavailable):
            yield _invalid(f"{key}.name of {one_line(str(element_key), 40)}: {name.detail}")
            return
        yield from _component(mapping, name, element, key, f" of {one_line(name, 40)}")


def _name(expression: Expression, element: Any) -> str | Unavailable:
    found = expression.find(element)
    if isinstance(found, Unavailable):
        return found
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    if isinstance(found, str) and label_text(found):
        return found
    return _invalid(f"{expression.text} yields {found_text(found)}, allowed: a text that is not empty")


def _component(
    mapping: ComponentMap, name: str, document: Any, key: str, which: str = ""
) -> Iterator[Component | Unavailable]:
    """The component, if anything of it is known: of one that is not there yet nothing is said."""
    label = label_text(name)
    if not label:
        yield _invalid(f"{key}.name: found the text {name!r}, allowed: a text that is not empty")
        return
    known: dict[str, Any] = {}  # numbers; mypy cannot tell which of a component's keys they are for
    for field, quantity in mapping.quantities.items():
        found = quantity.read(document, f"{key}.{field}{which}")
        if isinstance(found, Unavailable):
            yield found
            return
        if found is not None:
            known[field] = found
    if known:
        yield Component(label, **known)
