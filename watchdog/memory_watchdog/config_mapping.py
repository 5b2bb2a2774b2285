"""The part of the config that maps a foreign answer: keys, their forms, their defaults.

Covers: `stats.map`, and `claimed` of a cleanup. Expressions stay texts here: whether one is JMESPath or the name of a
metric depends on `stats.format`.
Leaves to others: what must fit together, expressions that cannot be compiled (`config_mapping_checks`), compiling
(`parts_mapping`).
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from memory_watchdog.config_base import Model
from memory_watchdog.config_values import Factor, Text, Unit, ValueName

ELEMENT_KEY = "@key"
"""As the name of a component: the key of the element that `each` runs over."""


class TermConfig(Model):
    """A number of bytes. `unit` is how many bytes one of them is."""

    at: Text
    unit: Unit = 1
    times: Factor = 1


class SizeConfig(Model):
    """A number of bytes, or a sum of several: exactly one of `at` and `sum`."""

    at: Text | None = None
    unit: Unit = 1
    times: Factor = 1
    sum: tuple[TermConfig, ...] | None = None


class CountTermConfig(Model):
    """A count."""

    at: Text
    times: Factor = 1


class CountConfig(Model):
    """A count, or a sum of several: exactly one of `at` and `sum`."""

    at: Text | None = None
    times: Factor = 1
    sum: tuple[CountTermConfig, ...] | None = None


class ValueConfig(Model):
    """Something that is only handed back to the server."""

    at: Text


class ComponentConfig(Model):
    """One component; with `each` one for each element, and `name` is then an expression or `@key`."""

    each: Text | None = None
    name: Text
    bytes: SizeConfig | None = None
    items: CountConfig | None = None
    max_bytes: SizeConfig | None = None
    max_items: CountConfig | None = None
    hits: CountConfig | None = None
    misses: CountConfig | None = None
    evictions: CountConfig | None = None
    expirations: CountConfig | None = None


class MapConfig(Model):
    """Where in an answer the statistics stand."""

    resident: SizeConfig | None = None
    allocator_free: SizeConfig | None = None
    values: Mapping[ValueName, ValueConfig] = Field(default_factory=dict)
    components: tuple[ComponentConfig, ...] = ()
