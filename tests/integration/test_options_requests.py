"""The keys of the statistics and the cleanup, as a real server sees them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from memory_watchdog.actions.steps import clean_up_in_steps
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.config import TargetConfig, load
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, ServerReport, Unavailable
from memory_watchdog.parts import cleanup_requests, statistics_source
from memory_watchdog.sources.stats import StatisticsReading

from tests.integration.test_options import shows
from tests.support.servers import Connection, RawServer, Received, answering, hang, message
from tests.support.watchdog import written

T = TypeVar("T")
VALUES = Placeholders(request_id="r-1", reason="used 80%", level="normal", target_bytes=1000)
ANSWER = answering(b'{"schema": 1, "process": {"resident_bytes": 1}, "components": []}')


def run(work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        async with asyncio.timeout(20):
            return await work

    return asyncio.run(bounded())


def target_of(folder: Path, **keys: Any) -> TargetConfig:
    path = written(folder, {"targets": [{"limit": "1GB", **keys}]})
    return load({"config.file": str(path)}, {}, folder).targets[0]


async def read(target: TargetConfig) -> StatisticsReading:
    client = TargetClient(target.url or "")
    source = statistics_source(target, client)
    assert source is not None
    try:
        return await source.read(lambda: 1.0)
    finally:
        await client.aclose()


def asked(folder: Path, base: str = "", **stats: Any) -> Received:
    """The request for the statistics."""

    async def work() -> Received:
        async with RawServer(ANSWER) as server:
            reading = await read(target_of(folder, url=server.url + base, stats=stats))
            assert isinstance(reading.report, ServerReport)
            return server.requests[0]

    return run(work())


def cleaned(folder: Path, **cleanup: Any) -> tuple[Received, Outcome]:
    """The cleanup request, and what came of it."""

    async def work() -> tuple[Received, Outcome]:
        async with RawServer(hang if cleanup.get("timeout") == "100ms" else ANSWER) as server:
            level = {"name": "normal", "enter": "75%", "exit": "70%", "cleanup": {"path": "/c"} | cleanup}
            target = target_of(folder, url=server.url, levels=[level])
            client = TargetClient(target.url or "")
            try:
                outcome = await clean_up_in_steps(client, cleanup_requests(target)["normal"], VALUES)
            finally:
                await client.aclose()
            return server.requests[0], outcome

    return run(work())


@shows("targets.url", "targets.stats.path", "targets.stats.method")
def test_where_and_how_the_statistics_are_asked_for(tmp_path: Path) -> None:
    plain, other = asked(tmp_path), asked(tmp_path, "/base", path="/m?full=1", method="POST")
    assert (plain.method, plain.path) == ("GET", "/memory")
    assert (other.method, other.path) == ("POST", "/base/m?full=1")


@shows("targets.stats.headers", "targets.stats.bearer_token_file")
def test_headers_and_token_of_the_statistics(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    plain = asked(tmp_path)
    other = asked(tmp_path, headers={"X-Own": "1"}, bearer_token_file="token")
    assert "x-own" not in plain.headers
    assert "authorization" not in plain.headers
    assert (other.headers["x-own"], other.headers["authorization"]) == ("1", "Bearer abc")


@shows("targets.stats.timeout")
def test_timeout_of_the_statistics(tmp_path: Path) -> None:
    async def work() -> list[StatisticsReading]:
        async with RawServer(hang) as server:
            return [
                await read(target_of(tmp_path, url=server.url, stats={"timeout": text})) for text in ("50ms", "400ms")
            ]

    short, long = run(work())
    assert isinstance(short.report, Unavailable)
    assert isinstance(long.report, Unavailable)
    assert 0.05 <= short.duration_seconds < 0.4 <= long.duration_seconds


@shows("targets.levels.cleanup.path", "targets.levels.cleanup.method", "targets.levels.cleanup.json")
def test_where_and_how_a_cleanup_is_asked_for(tmp_path: Path) -> None:
    plain, _ = cleaned(tmp_path)
    assert (plain.method, plain.path, plain.body) == ("POST", "/c", b"")
    other, _ = cleaned(tmp_path, path="/x", method="PUT", json={"n": "{target_bytes}", "why": "{level}: {reason}"})
    assert (other.method, other.path) == ("PUT", "/x")
    assert json.loads(other.body) == {"n": 1000, "why": "normal: used 80%"}


@shows("targets.levels.cleanup.headers", "targets.levels.cleanup.bearer_token_file")
def test_headers_and_token_of_a_cleanup(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    plain, _ = cleaned(tmp_path)
    other, _ = cleaned(tmp_path, headers={"X-Level": "{level}"}, bearer_token_file="token")
    assert "authorization" not in plain.headers
    assert (other.headers["x-level"], other.headers["authorization"]) == ("normal", "Bearer abc")
    assert plain.headers["x-request-id"] == other.headers["x-request-id"] == "r-1"


@shows("targets.levels.cleanup.timeout")
def test_timeout_of_a_cleanup(tmp_path: Path) -> None:
    _, outcome = cleaned(tmp_path, timeout="100ms")
    assert outcome.kind is OutcomeKind.TIMEOUT
    assert 0.1 <= outcome.duration_seconds < 5
    _, outcome = cleaned(tmp_path, timeout="5s")
    assert outcome.kind is OutcomeKind.DONE


def tool_called(folder: Path, server_path: str = "/mcp", **tool: Any) -> list[Received]:
    """What an MCP server is asked: the greeting and the call."""

    async def respond(connection: Connection) -> None:
        asked = json.loads(connection.request.body)
        result = {"protocolVersion": "2025-06-18"} if asked["method"] == "initialize" else {}
        body = json.dumps({"id": asked.get("id"), "result": result}).encode()
        await connection.send(message(body, 202 if "id" not in asked else 200, "Content-Type: application/json"))

    async def work() -> list[Received]:
        async with RawServer(respond) as server:
            mcp = {"url": server.url + server_path, "tool": "clean"} | tool
            level = {"name": "normal", "enter": "75%", "exit": "70%", "cleanup": {"mcp": mcp}}
            target = target_of(folder, url="http://127.0.0.1:1", levels=[level])
            steps = cleanup_requests(target)["normal"]
            outcome = await clean_up_in_steps(TargetClient(target.url or ""), steps, VALUES)
            assert outcome.kind is OutcomeKind.DONE
            return server.requests

    return run(work())


@shows(
    "targets.levels.cleanup.mcp.url",
    "targets.levels.cleanup.mcp.path",
    "targets.levels.cleanup.mcp.tool",
    "targets.levels.cleanup.mcp.arguments",
)
def test_where_and_how_a_tool_is_called(tmp_path: Path) -> None:
    plain = tool_called(tmp_path)
    assert {asked.path for asked in plain} == {"/mcp"}
    assert json.loads(plain[-1].body)["params"] == {"name": "clean", "arguments": {}}
    other = tool_called(
        tmp_path, "", path="/x/", tool="tidy", arguments={"n": "{target_bytes}", "list": ["{level}", 2]}
    )
    assert {asked.path for asked in other} == {"/x/"}
    assert json.loads(other[-1].body)["params"] == {"name": "tidy", "arguments": {"n": 1000, "list": ["normal", 2]}}
