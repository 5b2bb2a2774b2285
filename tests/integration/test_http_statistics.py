"""The statistics, asked over real sockets."""

from __future__ import annotations

import json

import pytest
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Component, Reason, ServerReport, Unavailable
from memory_watchdog.sources.stats import StatisticsReading, StatisticsSource

from tests.support.http import DEADLINE_SECONDS, HEAD, SECRET, run
from tests.support.servers import (
    RawServer,
    Respond,
    answering,
    dripping,
    hang,
)


def read(respond: Respond) -> StatisticsReading:
    async def work() -> StatisticsReading:
        async with RawServer(respond) as server:
            client = TargetClient(server.url)
            source = StatisticsSource(client, "/memory", timeout_seconds=DEADLINE_SECONDS, headers={"X-Key": SECRET})
            reading = await source.read(lambda: 77.0)
            await client.aclose()
            assert [(request.method, request.path) for request in server.requests] == [("GET", "/memory")]
            assert server.requests[0].headers["x-key"] == SECRET
            return reading

    return run(work())


def test_statistics() -> None:
    body = {"schema": 1, "process": {"resident_bytes": 5}, "components": [{"name": "a", "bytes": 1}]}
    reading = read(answering(json.dumps(body).encode()))
    assert reading.report == ServerReport(77.0, resident_bytes=5, components=(Component("a", bytes=1),))
    assert reading.answered_at == 77.0
    assert 0 < reading.duration_seconds < 10


@pytest.mark.parametrize(
    ("respond", "reason", "answered_at"),
    [
        (answering(b'{"schema": 1, "compo'), Reason.INVALID, 77.0),
        (answering(b""), Reason.INVALID, 77.0),
        (answering(b'{"schema": 2}'), Reason.INVALID, 77.0),
        (answering(b"busy", 503), Reason.HTTP_STATUS, 77.0),
        (dripping(HEAD), Reason.TIMEOUT, 77.0),
        (hang, Reason.TIMEOUT, None),
    ],
)
def test_statistics_that_fail(respond: Respond, reason: Reason, answered_at: float | None) -> None:
    reading = read(respond)
    assert isinstance(reading.report, Unavailable)
    assert (reading.report.reason, reading.answered_at) == (reason, answered_at)
    assert reading.duration_seconds > 0


def test_a_secret_that_stands_in_the_statistics_is_not_in_the_detail() -> None:
    reading = read(answering(json.dumps({"schema": SECRET}).encode()))
    assert reading.report == Unavailable(Reason.INVALID, "schema: found '***', allowed: 1")
