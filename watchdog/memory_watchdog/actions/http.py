"""The cleanup request over HTTP: build it, send it once, judge the answer.

Covers: filling in, the native answer (an error inside a 200, what the server claims to have reclaimed).
Leaves to others: whether and when to ask (`policy`), the wire (`http_client`), whether it helped (`policy.efficacy`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from memory_watchdog.actions.template import Dropped, Placeholders, fill_headers, fill_json
from memory_watchdog.http_client import Answer, Failure, TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason
from memory_watchdog.outside_text import LARGEST_COUNT, Json, parse_json

_SECRET_KEY = re.compile(r"passw|passphrase|secret|token|credential|api_?key", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class CleanupRequest:
    """What the config says of a cleanup. `body` counts only with `has_body`: null is a body too."""

    path: str
    method: str = "POST"
    timeout_seconds: float = 30.0
    has_body: bool = False
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    token_file: Path | None = None


async def clean_up(
    client: TargetClient,
    request: CleanupRequest,
    values: Placeholders,
    now: Callable[[], float] | None = None,
) -> Outcome:
    """Ask once. Raises nothing but CancelledError, which ends the connection."""
    started = time.monotonic()

    def outcome(kind: OutcomeKind, reason: Reason | None = None, detail: str = "", claim: int | None = None) -> Outcome:
        return Outcome(values.request_id, kind, time.monotonic() - started, reason, detail, claim)

    try:
        body = _body(request, values)
    except (TypeError, ValueError, RecursionError) as error:
        # NaN, a date, a nesting without end: the error's text names the type at most
        return outcome(OutcomeKind.UNREACHED, Reason.NOT_SENT, f"the body is not JSON: {type(error).__name__}")
    answer = await client.request(
        request.method,
        request.path,
        timeout_seconds=request.timeout_seconds,
        headers=fill_headers(request.headers, values),
        body=body,
        token_file=request.token_file,
        secrets=tuple(_secret_texts(request.body)),
        now=now,
    )
    if isinstance(answer, Failure):
        return outcome(*_judge_failure(answer))
    return outcome(*_judge(answer))


def _body(request: CleanupRequest, values: Placeholders) -> bytes | None:
    filled = fill_json(request.body, values) if request.has_body else None
    if not request.has_body or isinstance(filled, Dropped):
        return None
    return json.dumps(filled, allow_nan=False).encode()


def _judge_failure(failure: Failure) -> tuple[OutcomeKind, Reason | None, str]:
    if failure.reason is Reason.TOO_LARGE and failure.status is not None:
        # it answered 2xx: the size of its answer makes that no failure, it only leaves the claim unknown
        return OutcomeKind.DONE, None, f"{failure.detail}; not read"
    if not failure.reached:
        return OutcomeKind.UNREACHED, failure.reason, failure.detail
    kind = OutcomeKind.TIMEOUT if failure.reason is Reason.TIMEOUT else OutcomeKind.FAILED
    return kind, failure.reason, failure.detail


def _judge(answer: Answer) -> tuple[OutcomeKind, Reason | None, str, int | None]:
    """A 2xx answer. One that is empty, no JSON, or no object says nothing beyond its status."""
    try:
        content = parse_json(answer.body)
    except ValueError:
        return OutcomeKind.DONE, None, "", None
    if not isinstance(content, dict):
        return OutcomeKind.DONE, None, "", None
    claim = _claimed_bytes(content.get("reclaimed_bytes"))
    if errors := list(_errors(content)):
        return OutcomeKind.FAILED, Reason.ERROR_IN_ANSWER, answer.detail("; ".join(errors)), claim
    return OutcomeKind.DONE, None, "", claim


def _claimed_bytes(value: Json) -> int | None:
    """The server's number, if it is one that memory can have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= LARGEST_COUNT else None  # NaN compares false


def _errors(content: dict[str, Json]) -> Iterator[str]:
    """What the answer calls an error: anything but null, an empty text included."""
    if content.get("error") is not None:
        yield _error_text(content["error"])
    components = content.get("components")
    for index, component in enumerate(components if isinstance(components, list) else []):
        if isinstance(component, dict) and component.get("error") is not None:
            name = component.get("name")
            label = name if isinstance(name, str) else f"components[{index}]"
            yield f"{label}: {_error_text(component['error'])}"


def _error_text(error: Json) -> str:
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        error = error["message"]
    if isinstance(error, str):
        return error or "an error without a text"
    try:
        return json.dumps(error)
    except RecursionError:
        return "an error that is nested too deeply"


def _secret_texts(body: Json, *, secret: bool = False) -> Iterator[str]:
    """Texts in the body under a key such as `password` or `api_key`: servers repeat a body that they refuse."""
    if isinstance(body, str) and secret:
        yield body
    elif isinstance(body, list):
        for element in body:
            yield from _secret_texts(element, secret=secret)
    elif isinstance(body, dict):
        for key, value in body.items():
            yield from _secret_texts(value, secret=secret or _SECRET_KEY.search(key) is not None)
