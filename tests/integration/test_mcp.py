"""A cleanup by a tool call: what goes over the wire, and servers that answer it wrongly in every way."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog import __version__
from memory_watchdog.actions.http import CleanupRequest
from memory_watchdog.actions.mcp import ToolCall
from memory_watchdog.actions.steps import CleanupStep, clean_up_in_steps, statistics_needed
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.expressions import Quantity, Term, compile_expression
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason, Scalar

from tests.support.servers import Connection, RawServer, Received, Respond, hang, hanging_after, message, sending

DONE, FAILED, IN_ANSWER = OutcomeKind.DONE, OutcomeKind.FAILED, Reason.ERROR_IN_ANSWER
TYPE_JSON, TYPE_EVENTS = "Content-Type: application/json", "Content-Type: text/event-stream"
SECRET = "s3cr3t-key"


def result_of(value: Any, request_id: int = 2) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": value}).encode()


def says(value: Any) -> Respond:
    """The answer of the tool: this result, as JSON."""
    return sending(message(result_of(value), 200, TYPE_JSON))


GREETING = result_of({"protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {}}, 1)
STREAM_HEAD = f"HTTP/1.1 200 OK\r\n{TYPE_EVENTS}\r\n\r\n".encode()
FINE = says({"content": [], "structuredContent": {"reclaimed_bytes": 9}})


def server_of(
    tool: Respond = FINE,
    *,
    greeting: Respond | None = None,
    initialized: Respond | None = None,
    delete: Respond | None = None,
    session: str | None = "abc-1",
) -> Respond:
    """An MCP server whose four answers can be replaced."""
    headers = [TYPE_JSON] + ([] if session is None else [f"Mcp-Session-Id: {session}"])
    answers: dict[str, Respond] = {
        "initialize": greeting or sending(message(GREETING, 200, *headers)),
        "notifications/initialized": initialized or sending(message(b"", 202)),
        "tools/call": tool,
        "DELETE": delete or sending(message(b"", 200)),
    }

    async def respond(connection: Connection) -> None:
        await answers[asked_for(connection.request)](connection)

    return respond


def asked_for(request: Received) -> str:
    return request.method if request.method != "POST" else str(json.loads(request.body)["method"])


def called(
    respond: Respond, *, statistics: dict[str, Scalar] | None = None, **keys: Any
) -> tuple[Outcome, list[Received], TargetClient]:
    async def work() -> tuple[Outcome, list[Received], TargetClient]:
        async with RawServer(respond) as server, asyncio.timeout(30):
            target = TargetClient("http://127.0.0.1:1")
            given: dict[str, Any] = {"url": server.url + "/mcp", "tool": "clean", "timeout_seconds": 10} | keys
            step = ToolCall(**given)
            values = Placeholders("id-1", "used 80%", "normal", 5, statistics or {})
            outcome = await clean_up_in_steps(target, [step], values)
            assert outcome.detail.isprintable()
            assert len(outcome.detail) <= 200
            return outcome, server.requests, target

    return asyncio.run(work())


def judged(respond: Respond, **keys: Any) -> tuple[OutcomeKind, Reason | None, str, int | None]:
    outcome, _, _ = called(respond, **keys)
    return outcome.kind, outcome.reason, outcome.detail, outcome.claimed_bytes


def test_what_is_sent(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tok-en\n")
    arguments = {"level": "{level}", "n": "{target_bytes}", "rev": ["{stats.rev}"], "gone": "{stats.none}x{level}"}
    outcome, requests, target = called(
        server_of(),
        arguments={key: value for key, value in arguments.items() if key != "gone"},
        headers={"X-Level": "{level}"},
        token_file=tmp_path / "token",
        statistics={"rev": 7},
    )
    assert (outcome.kind, outcome.claimed_bytes, outcome.request_id) == (DONE, 9, "id-1")
    assert target.last_answered_at is not None
    assert [asked_for(request) for request in requests] == [
        "initialize",
        "notifications/initialized",
        "tools/call",
        "DELETE",
    ]
    bodies = [json.loads(request.body) for request in requests[:3]]
    assert bodies[0] == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "memory-watchdog", "version": __version__},
        },
    }
    assert bodies[1] == {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert bodies[2] == {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "clean", "arguments": {"level": "normal", "n": 5, "rev": [7]}},
    }
    for number, request in enumerate(requests):
        assert request.path == "/mcp"
        assert request.headers["accept"] == "application/json, text/event-stream"
        assert request.headers["authorization"] == "Bearer tok-en"
        assert request.headers["x-level"] == "normal"
        assert request.headers["x-request-id"] == "id-1"
        assert request.headers.get("mcp-session-id") == (None if number == 0 else "abc-1")
        # the version that the server has chosen
        assert request.headers.get("mcp-protocol-version") == (None if number == 0 else "2025-03-26")
        assert request.headers.get("content-type") == (None if request.method == "DELETE" else "application/json")


def test_without_a_session_nothing_is_ended() -> None:
    _, requests, _ = called(server_of(session=None))
    assert [asked_for(request) for request in requests] == ["initialize", "notifications/initialized", "tools/call"]
    assert all("mcp-session-id" not in request.headers for request in requests)


@pytest.mark.parametrize(
    "delete", [sending(message(b"", 405)), sending(message(b"", 404)), sending(b""), sending(b"nonsense")]
)
def test_how_a_session_ends_is_no_part_of_the_outcome(delete: Respond) -> None:
    assert judged(server_of(delete=delete)) == (DONE, None, "", 9)


def test_a_session_that_does_not_end_is_not_waited_for() -> None:
    outcome, _, _ = called(server_of(delete=hang))
    assert outcome.kind is DONE
    assert outcome.duration_seconds < 2  # the waiting is not in it


def test_where_it_is_asked(tmp_path: Path) -> None:
    async def asked(**keys: Any) -> list[str]:
        socket = tmp_path / "server.sock" if keys.pop("unix", False) else None
        async with RawServer(server_of(), unix_path=socket) as server:
            step = ToolCall(url=server.url, tool="clean", **keys)
            outcome = await clean_up_in_steps(TargetClient("http://127.0.0.1:1"), [step], Placeholders("i", "", "n"))
            assert outcome.kind is DONE, outcome
            return [request.path for request in server.requests]

    assert asyncio.run(asked(path="/tools/?a=1")) == ["/tools/?a=1"] * 4
    assert asyncio.run(asked()) == ["/"] * 4
    assert asyncio.run(asked(unix=True)) == ["/mcp"] * 4
    assert asyncio.run(asked(unix=True, path="/other")) == ["/other"] * 4


NO_RESULT = "tools/call: the result is no object"


@pytest.mark.parametrize(
    ("result", "judgement"),
    [
        ({}, (DONE, None, "", None)),
        ({"content": [{"type": "text", "text": "Freed."}]}, (DONE, None, "", None)),
        ({"content": [{"type": "image", "data": ""}, 5, {"type": "text"}]}, (DONE, None, "", None)),
        ({"content": [{"type": "text", "text": '{"reclaimed_bytes": 4}'}]}, (DONE, None, "", 4)),
        ({"content": [{"type": "text", "text": "x"}, {"type": "text", "text": '{"reclaimed_bytes": 4}'}]},
         (DONE, None, "", 4)),
        ({"structuredContent": {"reclaimed_bytes": 3}, "content": [{"type": "text", "text": '{"reclaimed_bytes": 4}'}]},
         (DONE, None, "", 3)),
        ({"structuredContent": {"result": '{"error": "busy"}'},
          "content": [{"type": "text", "text": '{"error": "busy"}'}]}, (FAILED, IN_ANSWER, "busy", None)),
        ({"structuredContent": {"result": {"error": "not ours"}}}, (DONE, None, "", None)),
        ({"structuredContent": {"error": {"message": "busy"}}}, (FAILED, IN_ANSWER, "busy", None)),
        ({"structuredContent": {"components": [{"name": "c", "error": "locked"}]}},
         (FAILED, IN_ANSWER, "c: locked", None)),
        ({"isError": True, "content": [{"type": "text", "text": "no\nmanager"}, {"type": "text", "text": "at all"}]},
         (FAILED, IN_ANSWER, "no manager at all", None)),
        ({"isError": True}, (FAILED, IN_ANSWER, "an error without a text", None)),
        ({"isError": "yes", "content": [{"type": "text", "text": "no"}]}, (FAILED, IN_ANSWER, "no", None)),
        ({"isError": False, "structuredContent": {}}, (DONE, None, "", None)),
        ("text", (FAILED, Reason.INVALID, NO_RESULT, None)),
        (None, (FAILED, Reason.INVALID, NO_RESULT, None)),
    ],
)  # fmt: skip
def test_what_the_tool_says(result: Any, judgement: tuple[OutcomeKind, Reason | None, str, int | None]) -> None:
    assert judged(server_of(says(result))) == judgement


def test_where_error_and_claim_are() -> None:
    keys: dict[str, Any] = {
        "error": compile_expression("status.error"),
        "claimed": Quantity((Term(compile_expression("freed_mb"), 2**20),)),
    }
    assert judged(server_of(says({"structuredContent": {"freed_mb": 1.5, "error": "native"}})), **keys) == (
        DONE, None, "", 3 * 2**19,
    )  # fmt: skip
    text = json.dumps({"freed_mb": 1, "status": {"error": "busy"}})
    assert judged(server_of(says({"content": [{"type": "text", "text": text}]})), **keys) == (
        FAILED, IN_ANSWER, "busy", 2**20,
    )  # fmt: skip


EVENT = b"event: message\r\ndata: " + result_of({"structuredContent": {"reclaimed_bytes": 5}}) + b"\r\n\r\n"
PROGRESS = b'data: {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}\n\n'


def squeezed_so_far(data: bytes) -> bytes:
    """The beginning of a gzip stream that holds all of the data and does not end."""
    squeeze = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    return squeeze.compress(data) + squeeze.flush(zlib.Z_SYNC_FLUSH)


@pytest.mark.parametrize(
    "tool",
    [
        sending(STREAM_HEAD + EVENT),
        hanging_after(STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + squeezed_so_far(EVENT)),
        sending(STREAM_HEAD + b": ping\n\nid: 1\ndata:\n\n" + PROGRESS * 3 + EVENT + PROGRESS),
        hanging_after(STREAM_HEAD + PROGRESS + EVENT),  # goes on for ever
        sending(STREAM_HEAD + b'data: {"jsonrpc": "2.0", "id": 9, "result": {}}\n\n' + EVENT),
        sending(STREAM_HEAD + b'data: {"jsonrpc": "2.0", "id": 2, "method": "ping"}\n\n' + EVENT),
        sending(STREAM_HEAD + b"data: [" + result_of({}, 1) + b"," + EVENT.split(b"data: ")[1].strip() + b"]\n\n"),
        sending(message(b"[" + result_of({"structuredContent": {"reclaimed_bytes": 5}}) + b"]", 200, TYPE_JSON)),
    ],
)
def test_the_answer_may_be_among_others(tool: Respond) -> None:
    assert judged(server_of(tool)) == (DONE, None, "", 5)


def test_the_greeting_may_be_a_stream() -> None:
    head = STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nMcp-Session-Id: s-2\r\n\r\n")
    outcome, requests, _ = called(server_of(greeting=hanging_after(head + b"data: " + GREETING + b"\n\n")))
    assert outcome.kind is DONE
    assert requests[-1].headers["mcp-session-id"] == "s-2"


def error(code: int, words: str, request_id: int = 2) -> bytes:
    body = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": words, "data": SECRET}}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("respond", "judgement"),
    [
        (server_of(sending(message(error(-32602, "Unknown\ntool"), 200, TYPE_JSON))),
         (FAILED, IN_ANSWER, "tools/call: error -32602: Unknown tool", None)),
        (server_of(sending(STREAM_HEAD + b"data: " + error(-32603, "inside") + b"\n\n")),
         (FAILED, IN_ANSWER, "tools/call: error -32603: inside", None)),
        (server_of(sending(message(error(-32022, "Unsupported: 2025-03-26"), 200, TYPE_JSON))),
         (FAILED, IN_ANSWER, "tools/call: error -32022: Unsupported: 2025-03-26", None)),
        (server_of(sending(message(b'{"id": 2, "error": "odd"}', 200, TYPE_JSON))),
         (FAILED, IN_ANSWER, "tools/call: odd", None)),
        (server_of(greeting=sending(message(error(-32022, "no such version", 1), 200, TYPE_JSON))),
         (FAILED, IN_ANSWER, "initialize: error -32022: no such version", None)),
        (server_of(greeting=sending(message(result_of({}, 1), 200, TYPE_JSON))),
         (FAILED, Reason.INVALID, "initialize: the answer has no protocol version", None)),
        (server_of(greeting=sending(message(result_of({"protocolVersion": "a\nb"}, 1), 200, TYPE_JSON))),
         (FAILED, Reason.INVALID, "initialize: the answer has no protocol version", None)),
        (server_of(session="a b"), (FAILED, Reason.INVALID, "initialize: the session's id is not valid HTTP", None)),
        (server_of(greeting=sending(message(b"<html>", 200, "Content-Type: text/html"))),
         (FAILED, Reason.INVALID, "initialize: not JSON: Expecting value: line 1 column 1 (char 0)", None)),
        (server_of(greeting=sending(message(b"", 307, "Location: /mcp/"))),
         (FAILED, Reason.REDIRECT, "initialize: 307 to /mcp/", None)),
        (server_of(greeting=sending(message(b"who?", 401))),
         (FAILED, Reason.HTTP_STATUS, "initialize: 401: who?", None)),
        (server_of(initialized=sending(message(b"no", 400))),
         (FAILED, Reason.HTTP_STATUS, "notifications/initialized: 400: no", None)),
        (server_of(sending(message(b"gone", 404))),
         (FAILED, Reason.HTTP_STATUS, "tools/call: the server does not know the session any more: 404: gone", None)),
        (server_of(sending(message(b"gone", 404)), session=None),
         (FAILED, Reason.HTTP_STATUS, "tools/call: 404: gone", None)),
        (server_of(sending(message(result_of({}, 3), 200, TYPE_JSON))),
         (FAILED, Reason.INVALID, "tools/call: an answer to request 3, not to ours", None)),
        (server_of(sending(message(b"[]", 200, TYPE_JSON))),
         (FAILED, Reason.INVALID, "tools/call: the answer ended without an answer to the request", None)),
        (server_of(sending(STREAM_HEAD + PROGRESS)),
         (FAILED, Reason.INVALID, "tools/call: the answer ended without an answer to the request", None)),
        (server_of(sending(message(b"", 202))), (FAILED, Reason.INVALID, "tools/call: the answer is empty", None)),
        (server_of(sending(STREAM_HEAD + b": " + b"x" * 2**21)),
         (FAILED, Reason.TOO_LARGE, "tools/call: the answer is larger than 1.00 MiB", None)),
        (server_of(sending(message(result_of({"x": "y" * 2**21}), 200, TYPE_JSON))),
         (FAILED, Reason.TOO_LARGE, "tools/call: the answer is larger than 1.00 MiB", None)),
        (server_of(sending(b"")),
         (FAILED, Reason.CLOSED, "tools/call: Server disconnected without sending a response.", None)),
    ],
)  # fmt: skip
def test_every_wrong_answer_is_a_failure(
    respond: Respond, judgement: tuple[OutcomeKind, Reason | None, str, int | None]
) -> None:
    assert judged(respond) == judgement


@pytest.mark.parametrize(
    ("respond", "method"),
    [
        (server_of(hang), "tools/call"),
        (server_of(hanging_after(STREAM_HEAD + PROGRESS)), "tools/call"),
        (server_of(hanging_after(STREAM_HEAD + b"data: {")), "tools/call"),
        (server_of(hanging_after(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")), "tools/call"),
        (server_of(greeting=hang), "initialize"),
        (server_of(initialized=hang), "notifications/initialized"),
    ],
)
def test_one_deadline_holds_for_everything(respond: Respond, method: str) -> None:
    outcome, requests, _ = called(respond, timeout_seconds=1)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.TIMEOUT, Reason.TIMEOUT)
    assert outcome.detail == f"{method}: no answer within 1s"
    assert outcome.duration_seconds >= 1
    assert (asked_for(requests[-1]) == "DELETE") == (method != "initialize")


def slowly(respond: Respond) -> Respond:
    async def later(connection: Connection) -> None:
        await asyncio.sleep(0.4)
        await respond(connection)

    return later


def test_the_deadline_is_not_each_requests_own() -> None:
    slow = slowly(sending(message(GREETING, 200, TYPE_JSON)))
    accepted = slowly(sending(message(b"", 202)))
    outcome, _, _ = called(server_of(slowly(FINE), greeting=slow, initialized=accepted), timeout_seconds=1)
    assert outcome.kind is OutcomeKind.TIMEOUT


def test_a_server_that_is_not_there_got_nothing() -> None:
    async def work() -> Outcome:
        step = ToolCall(url="http://127.0.0.1:1/mcp", tool="clean")
        return await clean_up_in_steps(TargetClient("http://127.0.0.1:1"), [step], Placeholders("i", "", "n"))

    outcome = asyncio.run(work())
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNREACHED, Reason.CONNECTION)
    assert outcome.detail.startswith("initialize: ")


@pytest.mark.parametrize(
    ("keys", "detail"),
    [
        ({"arguments": {"a": "{stats.none}"}}, "not known from the statistics: none"),
        ({"headers": {"A": "{stats.none}"}}, "not known from the statistics: none"),
        ({"arguments": {"a": float("nan")}}, "the arguments are not JSON: ValueError"),
        ({"token_file": Path("/none")}, "initialize: token file /none: No such file or directory"),
    ],
)
def test_what_cannot_be_sent_is_not(keys: dict[str, Any], detail: str) -> None:
    outcome, requests, _ = called(server_of(), **keys)
    assert (outcome.kind, outcome.reason, outcome.detail) == (OutcomeKind.UNREACHED, Reason.NOT_SENT, detail)
    assert requests == []


def echoing(make: Callable[[str], bytes]) -> Respond:
    async def respond(connection: Connection) -> None:
        request = connection.request
        words = f"{request.headers['authorization']} {request.body.decode()} {request.headers['mcp-session-id']}"
        await connection.send(make(words))

    return respond


@pytest.mark.parametrize(
    "make",
    [
        lambda words: message(words.encode(), 500),
        lambda words: message(error(-1, words), 200, TYPE_JSON),
        lambda words: message(
            result_of({"isError": True, "content": [{"type": "text", "text": words}]}), 200, TYPE_JSON
        ),
        lambda words: message(result_of({"structuredContent": {"error": words}}), 200, TYPE_JSON),
    ],
)
def test_secrets_are_not_repeated(make: Callable[[str], bytes], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tok-en")
    respond = server_of(echoing(make), session="sess-ion")
    outcome, _, _ = called(respond, arguments={"api_key": SECRET}, token_file=tmp_path / "token")
    assert outcome.kind is FAILED
    assert "***" in outcome.detail
    for secret in (SECRET, "tok-en", "sess-ion"):
        assert secret not in outcome.detail


def test_it_stands_among_other_steps() -> None:
    async def work(tool: Respond) -> tuple[Outcome, list[str], list[str]]:
        plain = sending(message(b'{"reclaimed_bytes": 1}'))

        async def respond(connection: Connection) -> None:
            await (server_of(tool) if connection.request.path == "/mcp" else plain)(connection)

        async with RawServer(respond) as server:
            client = TargetClient(server.url)
            call = ToolCall(url=f"{server.url}/mcp", tool="clean", arguments={"id": "{request_id}", "v": "{stats.v}"})
            steps: list[CleanupStep] = [CleanupRequest("/a"), call, CleanupRequest("/b", headers={"X": "{stats.w}"})]
            assert statistics_needed(steps) == {"v", "w"}
            values = Placeholders("id-1", "why", "normal", 5, {"v": 1, "w": 2})
            outcome = await clean_up_in_steps(client, steps, values)
            await client.aclose()
            ids = [request.headers["x-request-id"] for request in server.requests]
            return outcome, [request.path for request in server.requests], ids

    outcome, paths, ids = asyncio.run(work(FINE))
    assert (outcome.kind, outcome.claimed_bytes, outcome.detail) == (DONE, 11, "")
    assert paths == ["/a", *["/mcp"] * 4, "/b"]
    assert ids == ["id-1", *["id-1-2"] * 4, "id-1-3"]
    outcome, paths, _ = asyncio.run(work(says({"isError": True, "content": [{"type": "text", "text": "no"}]})))
    assert (outcome.kind, outcome.claimed_bytes) == (FAILED, 1)
    assert outcome.detail.startswith("step 2 of 3, tool clean at http://127.0.0.1:")
    assert outcome.detail.endswith("/mcp: no")
    assert paths == ["/a", *["/mcp"] * 4]
