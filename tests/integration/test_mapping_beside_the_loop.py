"""Mapping an answer holds up neither the loop nor, beyond the timeout, the target's own tick."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from memory_watchdog.expressions import Quantity, Term, compile_expression
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Reason, ServerReport, Unavailable
from memory_watchdog.sources import stats
from memory_watchdog.sources.mapping import StatisticsMap
from memory_watchdog.sources.stats import StatisticsSource

from tests.support.answers import Answer, answering

MAP = StatisticsMap(resident=Quantity((Term(compile_expression("rss")),)))


def test_a_slow_map_is_given_up_at_the_timeout_and_is_not_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    finish = threading.Event()
    started: list[bytes] = []

    def slow(_: StatisticsMap, body: bytes, answered_at: float) -> ServerReport:
        started.append(body)
        finish.wait(10)
        return ServerReport(answered_at)

    monkeypatch.setattr(stats, "map_statistics", slow)

    async def read() -> list[ServerReport | Unavailable]:
        client = TargetClient(server.url)
        source = StatisticsSource(client, "/s", mapping=MAP, timeout_seconds=0.2)
        readings = []
        for _ in range(2):
            began = time.monotonic()
            readings.append((await source.read(lambda: 1.0)).report)
            assert time.monotonic() - began < 5
        finish.set()
        await client.aclose()
        return readings

    with answering({("GET", "/s"): Answer(b'{"rss":5}')}) as server:
        late, refused = asyncio.run(read())
    assert late == Unavailable(Reason.TIMEOUT, "more than 200ms of work on the answer")
    assert refused == Unavailable(Reason.TIMEOUT, "an earlier answer is still being worked on")
    assert len(started) == 1


def test_an_answer_of_a_megabyte_is_mapped_while_the_loop_goes_on() -> None:
    body = b'{"rss":5,"c":[' + b"{}," * 340_000 + b"{}]}"
    mapping = StatisticsMap(resident=Quantity((Term(compile_expression("not_null(c[*].a | [0], rss)")),)))

    async def read() -> tuple[ServerReport | Unavailable, int]:
        client = TargetClient(server.url)
        source = StatisticsSource(client, "/s", mapping=mapping, timeout_seconds=20)
        reading = asyncio.create_task(source.read(lambda: 1.0))
        turns = 0
        while not reading.done():
            turns += 1
            await asyncio.sleep(0.002)
        await client.aclose()
        return reading.result().report, turns

    with answering({("GET", "/s"): Answer(body)}) as server:
        report, turns = asyncio.run(read())
    assert report == ServerReport(answered_at=1.0, resident_bytes=5)
    assert turns > 5
