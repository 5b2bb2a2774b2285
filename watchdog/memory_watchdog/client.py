"""Speaks to the running watchdog for `memory-watchdog cleanup`, `pause`, `resume`: its API, and what it says.

Leaves to others: what the API does (`web.api`), a cleanup without a watchdog (`direct`).
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Refused:
    """The watchdog did not do it. `unreachable`: because nothing answers there."""

    detail: str
    unreachable: bool = False


def clean_up(base_url: str, target: str, level: str | None, reason: str | None) -> str | Refused:
    """Ask for a cleanup; answers with a line for the person who asked."""
    body = {key: value for key, value in (("level", level), ("reason", reason)) if value is not None}
    answer = _call(base_url, "POST", f"/api/v1/targets/{quote(target)}/cleanup", body)
    if isinstance(answer, Refused):
        return answer
    return f"cleanup at level {answer['level']} sent, request {answer['request_id']}; the log says what came of it"


def pause(base_url: str, target: str, seconds: float) -> str | Refused:
    """Ask for a pause; answers with a line for the person who asked."""
    answer = _call(base_url, "POST", f"/api/v1/targets/{quote(target)}/pause", {"seconds": seconds})
    if isinstance(answer, Refused):
        return answer
    ends = datetime.datetime.fromtimestamp(answer["paused_until_timestamp_seconds"]).astimezone()
    return f"{target} is paused until {ends:%Y-%m-%d %H:%M:%S %Z}; rises are still logged, nothing is sent"


def resume(base_url: str, target: str) -> str | Refused:
    """Ask for the end of a pause; answers with a line for the person who asked."""
    answer = _call(base_url, "DELETE", f"/api/v1/targets/{quote(target)}/pause", None)
    return answer if isinstance(answer, Refused) else f"{target} is no longer paused"


def is_running(base_url: str) -> bool:
    """Does a watchdog answer there?"""
    answer = _call(base_url, "GET", "/api/v1/targets", None)
    return not (isinstance(answer, Refused) and answer.unreachable)


def _call(base_url: str, method: str, path: str, body: Mapping[str, object] | None) -> Any:
    url = f"{base_url.rstrip('/')}{path}"
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = client.request(method, url, json=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Refused(f"no watchdog answers at {base_url}: {error or type(error).__name__}", unreachable=True)
    if answer.is_success:
        return answer.json() if answer.content else {}
    return Refused(f"{answer.status_code}: {_detail(answer)}")


def _detail(answer: httpx.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return answer.text.strip()[:200]
    if isinstance(detail, str):
        return detail
    # FastAPI's list of what is wrong with a body or a parameter
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in detail)
