"""What in the mapping part of the config is right alone and wrong together, or cannot be compiled.

Covers: expressions, `at` beside `sum`, what the format allows, names used twice, `{stats.NAME}` that nothing fills.
Leaves to others: each value by itself (`config_values`), the rest of a target (`config_checks`).

Like there, the checks read the data as written and pass over what cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from memory_watchdog.actions.template import statistics_in
from memory_watchdog.config_errors import KeyPath, Problem
from memory_watchdog.config_mapping import ELEMENT_KEY, ComponentConfig, MapConfig
from memory_watchdog.expressions import compile_expression
from memory_watchdog.outside_text import label_text
from memory_watchdog.sources.prometheus_text import parse_selector

PROMETHEUS = "prometheus"
_QUANTITY_KEYS = ("resident", "allocator_free")
_COMPONENT_QUANTITIES = [key for key in ComponentConfig.model_fields if key not in ("each", "name")]
_MAP_KEYS = ", ".join(MapConfig.model_fields)


def stats_problems(stats: object, path: KeyPath) -> Iterator[Problem]:
    """Everything in `stats` that has to do with its map."""
    if not isinstance(stats, dict):
        return
    prometheus = stats.get("format") == PROMETHEUS
    mapping = stats.get("map")
    if prometheus and mapping is None:
        found = "nothing" if "map" not in stats else None
        yield Problem((*path, "map"), f"a mapping with the keys {_MAP_KEYS}: format prometheus needs one", found)
    if not isinstance(mapping, dict):
        return
    place = (*path, "map")
    empty = [
        key for key, value in mapping.items() if value is None or (value in ([], {}) and key not in _QUANTITY_KEYS)
    ]
    if len(empty) == len(mapping):
        yield Problem(place, f"at least one of {_MAP_KEYS}")
    for key in _QUANTITY_KEYS:
        yield from _quantity_problems(mapping.get(key), (*place, key), prometheus)
    values = mapping.get("values")
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            yield from _at_problems(value.get("at"), (*place, "values", name, "at"), prometheus)
    components = mapping.get("components")
    names: dict[str, int] = {}
    for index, component in enumerate(components if isinstance(components, list) else ()):
        if isinstance(component, dict):
            here = (*place, "components", index)
            yield from _component_problems(component, here, prometheus)
            name = component.get("name")
            if component.get("each") is None and isinstance(name, str) and names.setdefault(name, index) != index:
                yield Problem((*here, "name"), f"a name that components[{names[name]}] does not have")


def reports_resident(stats: object) -> bool:
    """Can these statistics say how much memory the server uses?"""
    mapping = stats.get("map") if isinstance(stats, dict) else None
    return not isinstance(mapping, dict) or mapping.get("resident") is not None


def _component_problems(component: Mapping[str, Any], path: KeyPath, prometheus: bool) -> Iterator[Problem]:
    each, name = component.get("each"), component.get("name")
    if each is not None and prometheus:
        yield Problem((*path, "each"), "nothing with format prometheus, where each component is named by itself")
    elif each is not None:
        yield from _at_problems(each, (*path, "each"), prometheus=False)
        if name != ELEMENT_KEY:
            yield from _at_problems(name, (*path, "name"), prometheus=False)
    elif isinstance(name, str) and (name == ELEMENT_KEY or not label_text(name)):
        yield Problem((*path, "name"), f"a name; {ELEMENT_KEY} needs each")
    if component.get("bytes") is None and component.get("items") is None:
        yield Problem(path, "bytes, items or both", "neither bytes nor items")
    for key in _COMPONENT_QUANTITIES:
        yield from _quantity_problems(component.get(key), (*path, key), prometheus)


def _quantity_problems(quantity: object, path: KeyPath, prometheus: bool) -> Iterator[Problem]:
    if not isinstance(quantity, dict):
        return
    terms = quantity.get("sum")
    if quantity.get("at") is None and terms is None:
        if not quantity.keys() - {"at", "sum", "unit", "times"}:
            yield Problem(path, "exactly one of at, sum", "neither at nor sum")
    elif terms is None:
        yield from _at_problems(quantity.get("at"), (*path, "at"), prometheus)
    elif beside := [key for key in ("at", "unit", "times") if quantity.get(key) is not None]:
        yield Problem(path, "nothing beside sum: each of its parts has its own at, unit, times", " and ".join(beside))
    elif terms == []:
        yield Problem((*path, "sum"), "at least one part")
    for index, term in enumerate(terms if isinstance(terms, list) else ()):
        if isinstance(term, dict):
            yield from _at_problems(term.get("at"), (*path, "sum", index, "at"), prometheus)


def _at_problems(text: object, path: KeyPath, prometheus: bool) -> Iterator[Problem]:
    if not isinstance(text, str) or not text.strip():
        return
    try:
        if prometheus:
            parse_selector(text)
        else:
            compile_expression(text)
    except ValueError as error:
        yield Problem(path, str(error))


def cleanup_problems(request: Mapping[str, Any], path: KeyPath, stats: object) -> Iterator[Problem]:
    """Everything in one cleanup request that has to do with the answers of a foreign server."""
    yield from _at_problems(request.get("error"), (*path, "error"), prometheus=False)
    yield from _quantity_problems(request.get("claimed"), (*path, "claimed"), prometheus=False)
    mapping = stats.get("map") if isinstance(stats, dict) else None
    values = mapping.get("values") if isinstance(mapping, dict) else None
    known = sorted(name for name in values if isinstance(name, str)) if isinstance(values, dict) else []
    tool = request.get("mcp")
    templates: dict[KeyPath, Any] = {("json",): request.get("json"), ("headers",): request.get("headers")}
    templates |= {("mcp", "arguments"): tool.get("arguments")} if isinstance(tool, dict) else {}
    for keys, template in templates.items():
        for place, text in _texts(template, (*path, *keys)):
            for name in statistics_in(text):
                if name not in known:
                    names = f"one of {', '.join(known)}" if known else "there are none"
                    found = None if keys == ("headers",) else f"{{stats.{name}}}"
                    yield Problem(place, f"{{stats.NAME}} with a name from stats.map.values: {names}", found)


def _texts(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
