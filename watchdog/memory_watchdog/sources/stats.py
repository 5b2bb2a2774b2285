"""The server's own statistics over HTTP.

Covers: asking, reading the native form of the wire contract, mapping another form beside the loop.
Leaves to others: what a map means (`sources.mapping`), how often to ask (`watcher`), the wire (`http_client`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, Field, PlainValidator, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from memory_watchdog.http_client import Failure, TargetClient
from memory_watchdog.observation import Component, Reason, ServerReport, Unavailable
from memory_watchdog.outside_text import (
    LARGEST_COUNT,
    Json,
    describe,
    label_text,
    one_line,
    parse_json,
    secret_texts,
)
from memory_watchdog.sources.components import MAX_COMPONENTS, first_repeated, fold
from memory_watchdog.sources.mapping import StatisticsMap, map_statistics
from memory_watchdog.worker import Worker

__all__ = ["MAX_COMPONENTS", "StatisticsBody", "StatisticsReading", "StatisticsSource", "fold", "parse_statistics"]

COUNT_FORM = f"a whole number from 0 to {LARGEST_COUNT}"


@dataclass(frozen=True, slots=True)
class StatisticsReading:
    """One attempt. `answered_at` is when the server answered anything over HTTP, with whatever status."""

    report: ServerReport | Unavailable
    duration_seconds: float
    answered_at: float | None


@dataclass(frozen=True, slots=True)
class StatisticsBody:
    """What is sent with the question: any JSON, null included, as the config has it."""

    content: Json


class StatisticsSource:
    """Asks one address. `client` belongs to the caller. Without `mapping` the answer is in the native form."""

    def __init__(
        self,
        client: TargetClient,
        path: str = "/memory",
        *,
        method: str = "GET",
        timeout_seconds: float = 2.0,
        headers: Mapping[str, str] | None = None,
        token_file: Path | None = None,
        body: StatisticsBody | None = None,
        mapping: StatisticsMap | None = None,
    ) -> None:
        self._client = client
        self._path = path
        self._method = method
        self._timeout_seconds = timeout_seconds
        self._headers = dict(headers or {})
        self._token_file = token_file
        self._body = None if body is None else json.dumps(body.content, allow_nan=False).encode()
        self._secrets = () if body is None else tuple(secret_texts(body.content))
        self._mapping = mapping
        self._worker = Worker()
        accepts = any(name.lower() == "accept" for name in self._headers)
        if mapping is not None and mapping.metrics is not None and not accepts:
            # our own Accept prefers JSON, and some servers would follow it
            self._headers["Accept"] = "text/plain; version=0.0.4, */*;q=0.1"

    async def read(self, now: Callable[[], float]) -> StatisticsReading:
        """Ask once; `now` tells when the answer came. Raises nothing but CancelledError."""
        started = time.monotonic()
        answer = await self._client.request(
            self._method,
            self._path,
            timeout_seconds=self._timeout_seconds,
            headers=self._headers,
            body=self._body,
            token_file=self._token_file,
            secrets=self._secrets,
            now=now,
        )
        if isinstance(answer, Failure):
            duration_seconds = time.monotonic() - started
            return StatisticsReading(Unavailable(answer.reason, answer.detail), duration_seconds, answer.answered_at)
        if self._mapping is None:
            report = parse_statistics(answer.body, answer.answered_at)
        else:
            # a megabyte takes up to a second, and the loop has other targets
            report = await self._worker.run(
                self._timeout_seconds, map_statistics, self._mapping, answer.body, answer.answered_at
            )
        if isinstance(report, Unavailable):
            report = Unavailable(report.reason, answer.detail(report.detail))
        return StatisticsReading(report, time.monotonic() - started, answer.answered_at)


def parse_statistics(body: bytes, answered_at: float) -> ServerReport | Unavailable:
    """The answer of `GET /memory`. Unavailable names the first key that is not what it should be."""
    try:
        answer = _Answer.model_validate(parse_json(body))
    except ValidationError as error:
        return Unavailable(Reason.INVALID, _first_problem(error))
    except ValueError as error:
        return Unavailable(Reason.INVALID, one_line(str(error)))
    components = tuple(Component(**dict(component)) for component in answer.components or ())
    if twice := first_repeated(component.name for component in components):
        return Unavailable(Reason.INVALID, one_line(f"components: the name {twice!r} stands there twice"))
    process = answer.process or _Process()
    return ServerReport(
        answered_at=answered_at,
        resident_bytes=process.resident_bytes,
        allocator_free_bytes=process.allocator_free_bytes,
        start_time_seconds=process.start_time_seconds,
        components=fold(components),
    )


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


def _error(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise _invalid("a text that is not empty, or null")
    return one_line(value)


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
    error: Annotated[str | None, PlainValidator(_error)] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.bytes is None and self.items is None and self.error is None:
            raise _invalid("bytes, items or both, or an error in their place")
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
