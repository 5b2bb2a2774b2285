"""Requests to the API of a running watchdog."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from tests.support.watchdog import Watchdog


@dataclass
class Api:
    """`api.post("targets/demo/pause", seconds=900)`."""

    watchdog: Watchdog

    def get(self, path: str, **parameters: Any) -> Any:
        return self.ask("GET", path, params=parameters).json()

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.ask("POST", path, json=body)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        with httpx.Client(trust_env=False, timeout=10) as client:
            return client.request(method, f"http://{self.watchdog.address}/api/v1/{path}", **options)

    def kinds(self, **parameters: Any) -> list[str]:
        """The kinds of the events, newest first."""
        return [event["kind"] for event in self.get("events", **parameters)]


def problem(answer: httpx.Response) -> str:
    """What the API says is wrong."""
    detail = answer.json()["detail"]
    return detail if isinstance(detail, str) else json.dumps(detail)
