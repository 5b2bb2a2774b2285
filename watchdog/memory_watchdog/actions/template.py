"""Fill what a cleanup request leaves open: `{request_id}`, `{reason}`, `{level}`, `{target_bytes}`, `{stats.NAME}`.

Covers: JSON values and header values; any other brace stays as it is.
Leaves to others: sending (`actions.http`); which templates a config may hold.

Every value is put in once: a reason that contains `{level}` is not filled again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from memory_watchdog.observation import Scalar
from memory_watchdog.outside_text import Json, header_text

_STATISTICS = "stats."
_PLACEHOLDER = re.compile(r"\{(request_id|reason|level|target_bytes|stats\.[A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Placeholders:
    """What is put in. `target_bytes` is what would have to go, None where that is not known.

    `statistics` are the values of the server's own statistics; one that is unknown is not there.
    """

    request_id: str
    reason: str
    level: str
    target_bytes: int | None = None
    statistics: Mapping[str, Scalar] = field(default_factory=dict)

    def value_of(self, name: str) -> Scalar | None:
        """The value of one placeholder; None is unknown."""
        if name.startswith(_STATISTICS):
            return self.statistics.get(name.removeprefix(_STATISTICS))
        known: dict[str, str | int | None] = {
            "request_id": self.request_id,
            "reason": self.reason,
            "level": self.level,
            "target_bytes": self.target_bytes,
        }
        return known[name]


class Dropped(Enum):
    """Stands for a value that is left out, since null is a value too."""

    DROPPED = "dropped"


DROPPED = Dropped.DROPPED


def needed_statistics(templates: Iterable[Json]) -> set[str]:
    """Every NAME of a `{stats.NAME}` in them."""
    return {name for template in templates for name in statistics_in(template)}


def unknown_statistics(templates: Iterable[Json], values: Placeholders) -> str:
    """Which value is needed and the statistics have not told; empty if all are known."""
    names = needed_statistics(templates) - values.statistics.keys()
    return f"not known from the statistics: {', '.join(sorted(names))}" if names else ""


def statistics_in(template: Json) -> Iterator[str]:
    """Every NAME of a `{stats.NAME}` in the texts of `template`; keys are left alone."""
    if isinstance(template, str):
        for match in _PLACEHOLDER.finditer(template):
            if match[1].startswith(_STATISTICS):
                yield match[1].removeprefix(_STATISTICS)
    elif isinstance(template, list | dict):
        for part in template.values() if isinstance(template, dict) else template:
            yield from statistics_in(part)


def fill_json(template: Json, values: Placeholders) -> Json | Dropped:
    """`template` with the placeholders in its texts filled in; keys are left alone.

    A text that is nothing but one placeholder takes the value's own type. What holds an unknown value is dropped: the
    key of an object, the element of a list, or the whole.
    """
    if isinstance(template, str):
        return _fill_text(template, values)
    if isinstance(template, list):
        filled = [fill_json(element, values) for element in template]
        return [element for element in filled if not isinstance(element, Dropped)]
    if isinstance(template, dict):
        pairs = [(key, fill_json(value, values)) for key, value in template.items()]
        return {key: value for key, value in pairs if not isinstance(value, Dropped)}
    return template


def fill_headers(templates: Mapping[str, str], values: Placeholders) -> dict[str, str]:
    """Header values filled in; what is put in becomes one line of latin-1. A header with an unknown value is dropped.

    `X-Request-Id` is always there: the config's if it has one, else ours.
    """
    headers: dict[str, str] = {}
    for name, template in templates.items():
        if _holds_unknown(template, values):
            continue
        headers[name] = _PLACEHOLDER.sub(lambda match: header_text(_text(values.value_of(match[1]))), template)
    if not any(name.lower() == "x-request-id" for name in headers):
        headers["X-Request-Id"] = header_text(values.request_id)
    return headers


def _text(value: Scalar | None) -> str:
    """A value inside a text, as JSON writes it: `true`, not `True`."""
    return value if isinstance(value, str) else json.dumps(value)


def _fill_text(template: str, values: Placeholders) -> Scalar | Dropped:
    if whole := _PLACEHOLDER.fullmatch(template):
        value = values.value_of(whole[1])
        return DROPPED if value is None else value
    if _holds_unknown(template, values):
        return DROPPED
    return _PLACEHOLDER.sub(lambda match: _text(values.value_of(match[1])), template)


def _holds_unknown(template: str, values: Placeholders) -> bool:
    return any(values.value_of(match[1]) is None for match in _PLACEHOLDER.finditer(template))
