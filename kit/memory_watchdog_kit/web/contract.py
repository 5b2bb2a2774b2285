"""The wire contract as pure functions: reports to JSON, the body of a cleanup request to what was asked.

Covers: schema 1 of `GET /memory` and `POST /memory/cleanup`, refusing what cannot be meant, numbers that JSON cannot
carry.
Leaves to others: HTTP (`app`, `listener`), who may ask (`access`), doing it (`MemoryManager`).

Beyond what the contract lists, a component may have `file_bytes`, `refill_seconds`, and, where its numbers cannot be
had, `error` in their place; a cleanup may have `not_given_back`. Readers ignore keys that they do not know.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NoReturn, TypeAlias

from memory_watchdog_kit.component import CleanupReport, ComponentReport, Level, MemoryReport, Statistics

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

SCHEMA = 1

LARGEST_COUNT = 2**63 - 1
"""Nothing that is counted is larger, and the watchdog refuses a whole answer that holds a larger number."""

MAX_REQUEST_ID_CHARACTERS = 256
"""What the manager remembers."""

_TEXT_CHARACTERS = 500
_FOUND_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class CleanupAsked:
    """What the body of a cleanup request asks for. Without a `request_id` the manager makes one up."""

    level: Level
    reason: str = ""
    request_id: str | None = None
    target_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a body asks for nothing that can be done: which key, what was found, what is allowed."""

    detail: str


def parse_cleanup(body: bytes) -> CleanupAsked | Unfit:
    """The body of `POST /memory/cleanup`: a JSON object in UTF-8 with `level`; keys that are not known are ignored."""
    try:
        content = json.loads(body.decode("utf-8-sig"), parse_constant=_no_constant) if body.strip() else None
    except UnicodeDecodeError as error:
        return Unfit(f"the body is not UTF-8 at byte {error.start}")
    except RecursionError:
        return Unfit("the body is nested too deeply")
    except ValueError as error:  # JSONDecodeError, NaN, and an integer of more than 4300 digits
        return Unfit(f"the body is not JSON: {one_line(str(error), 100)}")
    if not isinstance(content, dict):
        found = _found(content) if body.strip() else "nothing"
        return Unfit(f"the body: found {found}, allowed: an object with level")
    return _asked(content)


def _asked(content: Mapping[str, object]) -> CleanupAsked | Unfit:
    level, reason, request_id = (content.get(key) for key in ("level", "reason", "request_id"))
    target_bytes = content.get("target_bytes")
    if not isinstance(level, str) or level not in list(Level):
        found = _found(level) if "level" in content else "nothing"
        return Unfit(f"level: found {found}, allowed: {' or '.join(Level)}")
    if reason is not None and not isinstance(reason, str):
        return Unfit(f"reason: found {_found(reason)}, allowed: a text")
    if request_id is not None and not (
        isinstance(request_id, str) and 0 < len(request_id) <= MAX_REQUEST_ID_CHARACTERS
    ):
        allowed = f"a text of 1 to {MAX_REQUEST_ID_CHARACTERS} characters"
        return Unfit(f"request_id: found {_found(request_id)}, allowed: {allowed}")
    if isinstance(target_bytes, float) and target_bytes.is_integer():
        target_bytes = int(target_bytes)  # JSON knows one kind of number, and some writers print 5 as 5.0
    if target_bytes is not None and not (
        isinstance(target_bytes, int) and not isinstance(target_bytes, bool) and 0 <= target_bytes <= LARGEST_COUNT
    ):
        return Unfit(f"target_bytes: found {_found(target_bytes)}, allowed: a whole number from 0 to {LARGEST_COUNT}")
    return CleanupAsked(Level(level), one_line(reason or ""), request_id, target_bytes)


def memory_content(report: MemoryReport) -> dict[str, Json]:
    """The answer of `GET /memory`."""
    process: dict[str, Json] = {"pid": report.pid}
    if math.isfinite(report.start_time_seconds):
        process["start_time_seconds"] = report.start_time_seconds
    for key in ("resident_bytes", "allocator_free_bytes"):
        number = _count(getattr(report, key))
        if number is not None:
            process[key] = number
    return {"schema": SCHEMA, "process": process, "components": [_component(one) for one in report.components]}


def cleanup_content(report: CleanupReport) -> dict[str, Json]:
    """The answer of `POST /memory/cleanup`."""
    content: dict[str, Json] = {
        "schema": SCHEMA,
        "request_id": report.request_id,
        "level": report.level.value,
        "reclaimed_bytes": _count(report.reclaimed_bytes),
        "duration_seconds": round(report.duration_seconds, 6) if math.isfinite(report.duration_seconds) else None,
        "components": [
            {
                "name": one.name,
                "items_removed": _count(one.cleaned.items_removed),
                "bytes_freed": _count(one.cleaned.bytes_freed),
                "error": None if one.error is None else _error(one.error),
            }
            for one in report.components
        ],
    }
    if report.not_given_back is not None:
        content["not_given_back"] = one_line(report.not_given_back)
    return content


def encoded(content: Json) -> bytes:
    """JSON in ASCII: a name with a lone surrogate has no UTF-8."""
    return json.dumps(content, allow_nan=False).encode("ascii")


def problem(detail: str) -> dict[str, Json]:
    """The body of an answer that is not 200."""
    return {"detail": detail}


def one_line(text: str, limit: int = _TEXT_CHARACTERS) -> str:
    """`text` on one line, printable, blanks merged, at most `limit` characters."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _component(one: ComponentReport) -> dict[str, Json]:
    """Its numbers, or why there are none: one that says something impossible must not make the answer unreadable."""
    if one.statistics is None:
        return {"name": one.name, "error": _error(one.error or "")}
    told = _numbers(one.statistics)
    if isinstance(told, str):
        return {"name": one.name, "error": told}
    content: dict[str, Json] = {"name": one.name, **told}
    if one.error is not None:
        content["error"] = _error(one.error)
    return content


def _numbers(statistics: Statistics) -> dict[str, Json] | str:
    """What is known, by its key on the wire; or what is wrong with the first number that cannot be."""
    told: dict[str, Json] = {}
    for field in fields(Statistics):
        value = getattr(statistics, field.name)
        if value is None:
            continue
        number = _seconds(value) if field.name.endswith("_seconds") else _count(value)
        if number is None:
            return f"its statistics say {field.name} {one_line(repr(value), _FOUND_CHARACTERS)}"
        told[field.name] = number
    if "bytes" not in told and "items" not in told:
        return "its statistics tell neither bytes nor items"
    return told


def _count(value: object) -> int | None:
    """A whole number, numpy's included, if it is one that can be counted."""
    if isinstance(value, bool):
        return None
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # what has no index raises
    except TypeError:
        return None
    return number if 0 <= number <= LARGEST_COUNT else None


def _seconds(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number <= LARGEST_COUNT else None  # NaN compares false


def _error(text: str) -> str:
    return one_line(text) or "an error without a text"


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _found(value: object) -> str:
    """What was found, for a message; a text is shown whole or not at all."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return repr(value) if len(value) <= _FOUND_CHARACTERS else f"a text of {len(value)} characters"
    return one_line(json.dumps(value), _FOUND_CHARACTERS)
