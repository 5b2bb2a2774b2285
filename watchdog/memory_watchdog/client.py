"""Speaks to the running watchdog for `memory-watchdog cleanup`, `pause`, `resume`: its API, and what it says.

Leaves to others: what the API does (`web.api`), a cleanup without a watchdog (`direct`).
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from memory_watchdog.outside_text import one_line
from memory_watchdog.web.schemas import CleanupAnswer, PauseAnswer

TIMEOUT_SECONDS = 10.0
_DETAIL_CHARACTERS = 1000  # the names of ten targets fit


@dataclass(frozen=True, slots=True)
class Refused:
    """The watchdog did not do it. `unreachable`: because nothing answers there."""

    detail: str
    unreachable: bool = False


def clean_up(base_url: str, target: str, level: str | None, reason: str | None) -> str | Refused:
    """Ask for a cleanup; answers with a line for the person who asked."""
    body = {key: value for key, value in (("level", level), ("reason", reason)) if value is not None}
    answer = _call(base_url, "POST", f"{_path(target)}/cleanup", body)
    if isinstance(answer, Refused):
        return answer
    try:
        sent = CleanupAnswer.model_validate_json(answer.content)
    except ValidationError:
        return _not_ours(base_url, answer)
    return f"cleanup at level {sent.level} sent, request {sent.request_id}; the log says what came of it"


def pause(base_url: str, target: str, seconds: float) -> str | Refused:
    """Ask for a pause; answers with a line for the person who asked."""
    answer = _call(base_url, "POST", f"{_path(target)}/pause", {"seconds": seconds})
    if isinstance(answer, Refused):
        return answer
    try:
        until = PauseAnswer.model_validate_json(answer.content).paused_until_timestamp_seconds
        ends = datetime.datetime.fromtimestamp(until).astimezone()
    except (ValueError, OverflowError, OSError):  # no such answer, or a time that no calendar has
        return _not_ours(base_url, answer)
    return f"{target} is paused until {ends:%Y-%m-%d %H:%M:%S %Z}; rises are still logged, nothing is sent"


def resume(base_url: str, target: str) -> str | Refused:
    """Ask for the end of a pause; answers with a line for the person who asked."""
    answer = _call(base_url, "DELETE", f"{_path(target)}/pause", None)
    if isinstance(answer, Refused):
        return answer
    if answer.status_code != httpx.codes.NO_CONTENT:
        return _not_ours(base_url, answer)
    return f"{target} is no longer paused"


def is_running(base_url: str) -> bool:
    """Does a watchdog answer there?"""
    answer = _call(base_url, "GET", "/api/v1/targets", None)
    return not (isinstance(answer, Refused) and answer.unreachable)


def _path(target: str) -> str:
    """A name from the command line may hold bytes that are no UTF-8; the watchdog then says that it has no such one."""
    return f"/api/v1/targets/{quote(target, errors='surrogateescape')}"


def _call(base_url: str, method: str, path: str, body: Mapping[str, object] | None) -> httpx.Response | Refused:
    url = f"{base_url.rstrip('/')}{path}"
    # httpx's own `json=` cannot send what is no UTF-8; escaped it arrives, and the watchdog says what is wrong.
    content = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = client.request(method, url, content=content, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: a UnicodeError of a host name
        why = one_line(str(error)) or type(error).__name__
        return Refused(f"no watchdog answers at {one_line(base_url)}: {why}", unreachable=True)
    return answer if answer.is_success else Refused(f"{answer.status_code}: {_detail(answer)}")


def _not_ours(base_url: str, answer: httpx.Response) -> Refused:
    said = one_line(answer.text, 80) or "nothing"
    return Refused(f"{one_line(base_url)} is no memory-watchdog: it answers {answer.status_code} with {said}")


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
        if isinstance(detail, str):
            return one_line(detail, _DETAIL_CHARACTERS)
        # FastAPI's list of what is wrong with a body or a parameter
        text = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in detail)
    except (ValueError, KeyError, TypeError, RecursionError):  # whatever answers there, it is not ours
        text = answer.text
    return one_line(text, _DETAIL_CHARACTERS) or answer.reason_phrase
