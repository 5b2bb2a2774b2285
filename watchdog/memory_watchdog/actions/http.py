"""The cleanup request over HTTP: build it, send it once, judge the answer.

Covers: filling in, the native answer (an error inside a 200, what the server claims to have reclaimed), and where the
config says that these stand in another server's answer.
Leaves to others: several requests in order (`actions.steps`), whether and when to ask (`policy`), the wire
(`http_client`), whether it helped (`policy.efficacy`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from memory_watchdog.actions.template import Dropped, Placeholders, fill_headers, fill_json, unknown_statistics
from memory_watchdog.expressions import Expression, Quantity
from memory_watchdog.http_client import Answer, Failure, TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason, Unavailable
from memory_watchdog.outside_text import LARGEST_COUNT, Json, parse_json, secret_texts
from memory_watchdog.worker import Worker

READING_SECONDS = 2.0
"""For looking up `error` and `claimed` in an answer of a megabyte."""


@dataclass(frozen=True, slots=True)
class CleanupRequest:
    """What the config says of a cleanup. `body` counts only with `has_body`: null is a body too.

    `error` finds what must not be in the answer, `claimed` what the server says it has reclaimed; without either the
    answer is read as the wire contract has it.
    """

    path: str
    method: str = "POST"
    timeout_seconds: float = 30.0
    has_body: bool = False
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)
    token_file: Path | None = None
    error: Expression | None = None
    claimed: Quantity | None = None

    @property
    def label(self) -> str:
        """What it is called where several steps are told of."""
        return f"{self.method} {self.path}"

    @property
    def templates(self) -> tuple[Json, ...]:
        """Everything in it that may hold placeholders."""
        return (self.body if self.has_body else None, *self.headers.values())


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

    if missing := unknown_statistics(request.templates, values):
        return outcome(OutcomeKind.UNREACHED, Reason.NOT_SENT, missing)
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
        secrets=tuple(secret_texts(request.body)),
        now=now,
    )
    if isinstance(answer, Failure):
        return outcome(*_judge_failure(answer))
    try:
        content = parse_json(answer.body)
    except ValueError:  # empty, or no JSON: it says nothing beyond its status
        return outcome(OutcomeKind.DONE)
    return outcome(*await judge(content, answer, request.error, request.claimed))


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


Judgement = tuple[OutcomeKind, Reason | None, str, int | None]


async def judge(content: Json, answer: Answer, error: Expression | None, claimed: Quantity | None) -> Judgement:
    """What a successful `answer` says of the cleanup: `error` and `claimed` look into its `content`."""
    if error is None and claimed is None:
        return _judge(content, answer, error, claimed)
    judged = await Worker().run(READING_SECONDS, _judge, content, answer, error, claimed)
    if isinstance(judged, Unavailable):
        # it was a success, and what it says in so long an answer stays unknown
        return OutcomeKind.DONE, None, judged.detail, None
    return judged


def _judge(content: Json, answer: Answer, error: Expression | None, claimed: Quantity | None) -> Judgement:
    claim, note = _claim(content, claimed)
    if error is None:
        errors = list(_errors(content))
    else:
        found = error.find(content)
        if isinstance(found, Unavailable):
            return OutcomeKind.FAILED, Reason.INVALID, answer.detail(f"error: {found.detail}"), claim
        errors = [] if found is None or found == [] else [error_text(found)]  # [] is a projection that found nothing
    if errors:
        return OutcomeKind.FAILED, Reason.ERROR_IN_ANSWER, answer.detail("; ".join(errors)), claim
    return OutcomeKind.DONE, None, answer.detail(note), claim


def _claim(content: Json, claimed: Quantity | None) -> tuple[int | None, str]:
    """What the server says it has reclaimed, and what is wrong with that. It is never believed, so it fails nothing."""
    if claimed is None:
        return _claimed_bytes(content.get("reclaimed_bytes")) if isinstance(content, dict) else None, ""
    found = claimed.read(content, "claimed")
    return (None, found.detail) if isinstance(found, Unavailable) else (found, "")


def _claimed_bytes(value: Json) -> int | None:
    """The server's number, if it is one that memory can have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= LARGEST_COUNT else None  # NaN compares false


def _errors(content: Json) -> Iterator[str]:
    """What a native answer calls an error: anything but null, an empty text included."""
    if not isinstance(content, dict):
        return
    if content.get("error") is not None:
        yield error_text(content["error"])
    components = content.get("components")
    for index, component in enumerate(components if isinstance(components, list) else []):
        if isinstance(component, dict) and component.get("error") is not None:
            name = component.get("name")
            label = name if isinstance(name, str) else f"components[{index}]"
            yield f"{label}: {error_text(component['error'])}"


def error_text(error: object) -> str:
    """What a server calls an error, as a text."""
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        error = error["message"]
    if isinstance(error, str):
        return error or "an error without a text"
    try:
        return json.dumps(error)
    except RecursionError:
        return "an error that is nested too deeply"
