"""Short ways to ask a `RawServer` through the real client.

Covers: one request, one cleanup, with a bound on a test that hangs.
Leaves to others: how the server behaves (`servers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from memory_watchdog.actions.http import CleanupRequest, clean_up
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.http_client import Answer, Failure, TargetClient
from memory_watchdog.observation import Outcome

from tests.support.servers import RawServer, Respond

DEADLINE_SECONDS = 0.3
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
SECRET = "s3cr3t-value"
VALUES = Placeholders(request_id="r-1", reason="used 80%", level="normal", target_bytes=1000)

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """The bound is for a test that hangs; nothing waits for it."""

    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


async def fetch(url: str, timeout_seconds: float = DEADLINE_SECONDS, **options: Any) -> Answer | Failure:
    client = TargetClient(url)
    try:
        return await client.request("GET", "/memory", timeout_seconds=timeout_seconds, **options)
    finally:
        await client.aclose()


def fetched(respond: Respond, timeout_seconds: float = DEADLINE_SECONDS, **options: Any) -> Answer | Failure:
    async def work() -> Answer | Failure:
        async with RawServer(respond) as server:
            return await fetch(server.url, timeout_seconds, **options)

    return run(work())


def failed(respond: Respond, timeout_seconds: float = DEADLINE_SECONDS, **options: Any) -> Failure:
    failure = fetched(respond, timeout_seconds, **options)
    assert isinstance(failure, Failure)
    assert failure.detail.isprintable()
    assert 0 < len(failure.detail) <= 200
    return failure


def answered(respond: Respond, **options: Any) -> Answer:
    answer = fetched(respond, 10, **options)
    assert isinstance(answer, Answer), answer
    return answer


def cleaned(respond: Respond, request: CleanupRequest, values: Placeholders = VALUES) -> tuple[Outcome, RawServer]:
    async def work() -> tuple[Outcome, RawServer]:
        async with RawServer(respond) as server:
            client = TargetClient(server.url)
            outcome = await clean_up(client, request, values)
            await client.aclose()
            return outcome, server

    outcome, server = run(work())
    assert outcome.request_id == values.request_id
    assert 0 <= outcome.duration_seconds < 15
    assert outcome.detail.isprintable()
    assert len(outcome.detail) <= 200
    return outcome, server
