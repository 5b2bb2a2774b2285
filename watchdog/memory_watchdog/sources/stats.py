"""The server's own statistics over HTTP, in the native form of the wire contract.

Covers: asking, reading the answer, refusing what is no statistics, at most 64 components.
Leaves to others: other servers' forms (`sources.mapping`), how often to ask (`watcher`), the wire (`http_client`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, PlainValidator, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from memory_watchdog.http_client import Failure, TargetClient
from memory_watchdog.observation import Component, Reason, ServerReport, Unavailable
from memory_watchdog.outside_text import LARGEST_COUNT, describe, label_text, one_line, parse_json

MAX_COMPONENTS = 64
"""Each is a label value on nine metrics."""

OTHER = "other"
"""The name under which the components beyond that are added up."""

COUNT_FORM = f"a whole number from 0 to {LARGEST_COUNT}"


@dataclass(frozen=True, slots=True)
class StatisticsReading:
    """One attempt. `answered_at` is when the server answered anything over HTTP, with whatever status."""

    report: ServerReport | Unavailable
    duration_seconds: float
    answered_at: float | None


class StatisticsSource:
    """Asks one address. `client` belongs to the caller."""

    def __init__(
        self,
        client: TargetClient,
        path: str = "/memory",
        *,
        method: str = "GET",
        timeout_seconds: float = 2.0,
        headers: Mapping[str, str] | None = None,
        token_file: Path | None = None,
    ) -> None:
        self._client = client
        self._path = path
        self._method = method
        self._timeout_seconds = timeout_seconds
        self._headers = dict(headers or {})
        self._token_file = token_file

    async def read(self, now: Callable[[], float]) -> StatisticsReading:
        """Ask once; `now` tells when the answer came. Raises nothing but CancelledError."""
        started = time.monotonic()
        answer = await self._client.request(
            self._method,
            self._path,
            timeout_seconds=self._timeout_seconds,
            headers=self._headers,
            token_file=self._token_file,
            now=now,
        )
        duration_seconds = time.monotonic() - started
        if isinstance(answer, Failure):
            return StatisticsReading(Unavailable(answer.reason, answer.detail), duration_seconds, answer.answered_at)
        report = parse_statistics(answer.body, answer.answered_at)
        if isinstance(report, Unavailable):
            report = Unavailable(report.reason, answer.detail(report.detail))
        return StatisticsReading(report, duration_seconds, answer.answered_at)


def parse_statistics(body: bytes, answered_at: float) -> ServerReport | Unavailable:
    """The answer of `GET /memory`. Unavailable names the first key that is not what it should be."""
    try:
        answer = _Answer.model_validate(parse_json(body))
    except ValidationError as error:
        return Unavailable(Reason.INVALID, _first_problem(error))
    except ValueError as error:
        return Unavailable(Reason.INVALID, one_line(str(error)))
    components = tuple(Component(**dict(component)) for component in answer.components or ())
    if twice := _first_repeated(component.name for component in components):
        return Unavailable(Reason.INVALID, one_line(f"components: the name {twice!r} stands there twice"))
    process = answer.process or _Process()
    return ServerReport(
        answered_at=answered_at,
        resident_bytes=process.resident_bytes,
        allocator_free_bytes=process.allocator_free_bytes,
        start_time_seconds=process.start_time_seconds,
        components=fold(components),
    )


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


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _invalid(allowed: str) -> PydanticCustomError:
    return PydanticCustomError("not_allowed", "{allowed}", {"allowed": allowed})


def _count(value: object) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON knows one kind of number, and some writers print 5 as 5.0
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT:
        return value
    raise _invalid(COUNT_FORM)


def _seconds(value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_COUNT:
        return float(value)  # NaN compares false
    raise _invalid("a number of seconds from 0")


def _name(value: object) -> str:
    name = label_text(value) if isinstance(value, str) else ""
    if not name:
        raise _invalid("a text that is not empty")
    return name


def _schema(value: object) -> int:
    if isinstance(value, bool) or value != 1:
        raise _invalid("1")
    return 1


Count = Annotated[int, PlainValidator(_count)]
Seconds = Annotated[float, PlainValidator(_seconds)]


class _Component(BaseModel):
    name: Annotated[str, PlainValidator(_name)]
    bytes: Count | None = None
    items: Count | None = None
    max_bytes: Count | None = None
    max_items: Count | None = None
    hits: Count | None = None
    misses: Count | None = None
    evictions: Count | None = None
    expirations: Count | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.bytes is None and self.items is None:
            raise _invalid("bytes, items or both")
        return self


class _Process(BaseModel):
    """`pid` is the server's own and never used: it is not even read."""

    resident_bytes: Count | None = None
    allocator_free_bytes: Count | None = None
    start_time_seconds: Seconds | None = None


class _Answer(BaseModel):
    version: Annotated[int, PlainValidator(_schema), Field(alias="schema")]
    process: _Process | None = None
    # fail-fast: a megabyte of bad components would otherwise make 100,000 errors, to show the first
    components: list[_Component] | None = Field(default=None, fail_fast=True)


def _first_problem(error: ValidationError) -> str:
    """`components[3].bytes: found -5, allowed: a whole number from 0 to …`."""
    first = error.errors(include_url=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    found = "nothing" if first["type"] == "missing" else describe(first["input"])
    return one_line(f"{place or 'the answer'}: found {found}, allowed: {_allowed(first)}")


def _allowed(problem: ErrorDetails) -> str:
    if problem["type"] == "missing":
        return "1" if problem["loc"] == ("schema",) else "a text that is not empty"  # no other key is required
    if problem["type"] == "list_type":
        return "a list"
    return "an object" if problem["type"].startswith(("model_", "dict_")) else problem["msg"]
