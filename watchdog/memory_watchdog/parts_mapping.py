"""From the config's map to a compiled one.

Covers: `stats.map`, `error` and `claimed` of a cleanup.
Leaves to others: what is allowed (`config_mapping_checks`, which has compiled everything once and told what is wrong),
the other parts of a target (`parts`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from memory_watchdog.config import StatsConfig
from memory_watchdog.config_mapping import (
    ELEMENT_KEY,
    ComponentConfig,
    CountConfig,
    CountTermConfig,
    MapConfig,
    SizeConfig,
    TermConfig,
)
from memory_watchdog.expressions import Lookup, Quantity, Term, compile_expression
from memory_watchdog.sources.mapping import ComponentMap, StatisticsMap
from memory_watchdog.sources.prometheus_text import Selector, parse_selector

Compile = Callable[[str], Lookup]


def statistics_map(stats: StatsConfig) -> StatisticsMap | None:
    """The map of the statistics; None where they are in the native form."""
    mapping = stats.map
    if mapping is None:
        return None
    if stats.format == "json":
        return _mapped(mapping, compile_expression)
    wanted: set[str] = set()

    def select(text: str) -> Selector:
        selector = parse_selector(text)
        wanted.add(selector.name)
        return selector

    return replace(_mapped(mapping, select), metrics=frozenset(wanted))


def size_in_json(size: SizeConfig | None) -> Quantity | None:
    """A number of bytes in an answer in JSON."""
    return _quantity(size, compile_expression)


def _mapped(mapping: MapConfig, compile_at: Compile) -> StatisticsMap:
    return StatisticsMap(
        resident=_quantity(mapping.resident, compile_at),
        allocator_free=_quantity(mapping.allocator_free, compile_at),
        values={name: compile_at(value.at) for name, value in mapping.values.items()},
        components=tuple(_component(component, compile_at) for component in mapping.components),
    )


def _component(component: ComponentConfig, compile_at: Compile) -> ComponentMap:
    found = {
        key: _quantity(getattr(component, key), compile_at)
        for key in ComponentConfig.model_fields
        if key not in ("each", "name")
    }
    quantities = {key: quantity for key, quantity in found.items() if quantity is not None}
    if component.each is None:
        return ComponentMap(quantities, name=component.name)
    name = None if component.name == ELEMENT_KEY else compile_expression(component.name)
    return ComponentMap(quantities, each=compile_expression(component.each), element_name=name)


def _quantity(config: SizeConfig | CountConfig | None, compile_at: Compile) -> Quantity | None:
    if config is None:
        return None
    whole = isinstance(config, CountConfig)
    if config.sum is not None:
        return Quantity(tuple(_term(term, compile_at) for term in config.sum), whole)
    assert config.at is not None, "exactly one of at and sum, config checks it"
    times = config.times * (config.unit if isinstance(config, SizeConfig) else 1)
    return Quantity((Term(compile_at(config.at), times),), whole)


def _term(term: TermConfig | CountTermConfig, compile_at: Compile) -> Term:
    return Term(compile_at(term.at), term.times * (term.unit if isinstance(term, TermConfig) else 1))
