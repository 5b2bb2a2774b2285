"""The cleanup as a tool call over MCP's streamable HTTP: greet the server, call the tool once, judge the answer.

Covers: `initialize`, `notifications/initialized`, `tools/call`, the session and its end, errors in every place that the
protocol has for them.
Leaves to others: hearing an answer in either form (`json_rpc`), the wire (`http_client`), what in the tool's answer is
an error or a claim (`actions.http`), several steps (`actions.steps`).

The package `mcp` is not imported: that costs 65 MB. One deadline holds for the three requests together; nothing is
repeated.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from memory_watchdog import __version__
from memory_watchdog.actions.http import error_text, judge
from memory_watchdog.actions.json_rpc import EVENT_STREAM, AnswerListener, Message
from memory_watchdog.actions.template import Dropped, Placeholders, fill_headers, fill_json, unknown_statistics
from memory_watchdog.expressions import Expression, Quantity
from memory_watchdog.http_client import Answer, Failure, TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason
from memory_watchdog.outside_text import Json, one_line, parse_json, secret_texts
from memory_watchdog.quantities import format_seconds

PROTOCOL_VERSION = "2025-06-18"
"""What is offered; the server may answer with an older or a newer one. The three requests are the same in all."""

SOCKET_PATH = "/mcp"
"""Where the server is on a unix socket, whose address has no path."""

END_SESSION_SECONDS = 2.0
"""At most, after the outcome is known; the ladder waits 5 s longer than the timeout."""

_VERSION = re.compile(r"[0-9A-Za-z.-]{1,40}")
_SESSION = re.compile(r"[\x21-\x7e]{1,1024}")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What the config says of a cleanup by a tool. `error` and `claimed` look into what the tool returns."""

    url: str
    tool: str
    path: str | None = None
    arguments: Mapping[str, Json] = field(default_factory=dict)
    timeout_seconds: float = 30.0
    headers: Mapping[str, str] = field(default_factory=dict)
    token_file: Path | None = None
    error: Expression | None = None
    claimed: Quantity | None = None

    @property
    def label(self) -> str:
        """What it is called where several steps are told of."""
        return f"tool {self.tool} at {self.url}{self.request_path}"

    @property
    def templates(self) -> tuple[Json, ...]:
        """Everything in it that may hold placeholders."""
        return (dict(self.arguments), *self.headers.values())

    @property
    def request_path(self) -> str:
        """What is added to the address."""
        if self.path is None:
            return SOCKET_PATH if self.url.startswith("unix:") else ""
        return self.path


async def call_tool(
    client: TargetClient, call: ToolCall, values: Placeholders, now: Callable[[], float] | None = None
) -> Outcome:
    """Call it once. Raises nothing but CancelledError. `client` is the target's: it learns that the server answered."""
    started = time.monotonic()
    if missing := unknown_statistics(call.templates, values):
        return Outcome(values.request_id, OutcomeKind.UNREACHED, 0.0, Reason.NOT_SENT, missing)
    try:
        arguments = fill_json(dict(call.arguments), values)
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        detail = f"the arguments are not JSON: {type(error).__name__}"
        return Outcome(values.request_id, OutcomeKind.UNREACHED, 0.0, Reason.NOT_SENT, detail)
    assert not isinstance(arguments, Dropped), "an object loses keys, never itself"
    own = TargetClient(call.url)
    session = _Session(own, call, values, now)
    try:
        verdict = await session.call(arguments)
        took = time.monotonic() - started
        await session.end()
    finally:
        await own.aclose()
    if own.last_answered_at is not None:
        client.last_answered_at = max(own.last_answered_at, client.last_answered_at or own.last_answered_at)
    return Outcome(values.request_id, verdict.kind, took, verdict.reason, verdict.detail, verdict.claimed_bytes)


@dataclass(frozen=True, slots=True)
class _Verdict:
    kind: OutcomeKind
    reason: Reason | None = None
    detail: str = ""
    claimed_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class _Heard:
    """An answer over HTTP and the message in it; None where none was asked for."""

    answer: Answer
    message: Message | None


class _Session:
    """One conversation. Every request of it has the same deadline."""

    def __init__(
        self, client: TargetClient, call: ToolCall, values: Placeholders, now: Callable[[], float] | None
    ) -> None:
        self._client = client
        self._call = call
        self._now = now
        self._deadline = time.monotonic() + call.timeout_seconds
        self._headers = {
            "Accept": f"application/json, {EVENT_STREAM}",
            **fill_headers(call.headers, values),
        }
        self._has_session = False
        self._greeted = False

    async def call(self, arguments: Json) -> _Verdict:
        """Greet, call, judge."""
        params: Json = {
            "protocolVersion": PROTOCOL_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "memory-watchdog", "version": __version__},
        }
        heard = await self._ask("initialize", params, 1)
        if isinstance(heard, _Verdict):
            return heard
        if problem := self._take_greeting(heard):
            return problem
        heard = await self._ask("notifications/initialized", None, None)
        if isinstance(heard, _Verdict):
            return heard
        heard = await self._ask("tools/call", {"name": self._call.tool, "arguments": arguments}, 2)
        if isinstance(heard, _Verdict):
            return heard
        return await self._judge(heard)

    def _take_greeting(self, heard: _Heard) -> _Verdict | None:
        """What the server's answer to `initialize` settles for the other requests."""
        result = heard.message.get("result") if heard.message is not None else None
        version = result.get("protocolVersion") if isinstance(result, dict) else None
        if not isinstance(version, str) or _VERSION.fullmatch(version) is None:
            detail = heard.answer.detail("initialize: the answer has no protocol version")
            return _Verdict(OutcomeKind.FAILED, Reason.INVALID, detail)
        self._greeted = True
        self._headers["Mcp-Protocol-Version"] = version
        session = heard.answer.headers.get("mcp-session-id")
        if session is not None:
            if _SESSION.fullmatch(session) is None:
                return _Verdict(OutcomeKind.FAILED, Reason.INVALID, "initialize: the session's id is not valid HTTP")
            self._headers["Mcp-Session-Id"] = session
            self._has_session = True
        return None

    async def _ask(self, method: str, params: Json, request_id: int | None) -> _Heard | _Verdict:
        """One request, or with no id a notification; what was heard, or how that failed."""
        message: dict[str, Json] = {"jsonrpc": "2.0", "method": method}
        message |= {} if request_id is None else {"id": request_id}
        message |= {} if params is None else {"params": params}
        listener = None if request_id is None else AnswerListener(request_id)
        left = self._deadline - time.monotonic()
        if left <= 0:
            return self._late(method)
        answer = await self._client.request(
            "POST",
            self._call.request_path,
            timeout_seconds=left,
            headers=self._headers,
            body=json.dumps(message).encode(),
            token_file=self._call.token_file,
            secrets=tuple(secret_texts(dict(self._call.arguments))),
            now=self._now,
            listener=listener,
        )
        if isinstance(answer, Failure):
            return self._failed(method, answer)
        if listener is None:
            return _Heard(answer, None)
        heard = listener.end(answer.body)
        if heard is None:
            return _Verdict(OutcomeKind.FAILED, Reason.INVALID, answer.detail(f"{method}: {listener.problem}"))
        if "error" in heard:
            detail = answer.detail(f"{method}: {_rpc_error(heard['error'])}")
            return _Verdict(OutcomeKind.FAILED, Reason.ERROR_IN_ANSWER, detail)
        return _Heard(answer, heard)

    def _late(self, method: str) -> _Verdict:
        detail = f"{method}: no answer within {format_seconds(self._call.timeout_seconds)}"
        return _Verdict(OutcomeKind.TIMEOUT, Reason.TIMEOUT, detail)

    def _failed(self, method: str, failure: Failure) -> _Verdict:
        if failure.reason is Reason.TIMEOUT:
            return self._late(method)
        # the server has got the greeting, whatever became of the call
        kind = OutcomeKind.FAILED if failure.reached or self._greeted else OutcomeKind.UNREACHED
        lost = self._has_session and failure.status == 404
        words = "the server does not know the session any more: " if lost else ""
        return _Verdict(kind, failure.reason, one_line(f"{method}: {words}{failure.detail}"))

    async def _judge(self, heard: _Heard) -> _Verdict:
        """What the tool says."""
        result = heard.message.get("result") if heard.message is not None else None
        if not isinstance(result, dict):
            detail = heard.answer.detail("tools/call: the result is no object")
            return _Verdict(OutcomeKind.FAILED, Reason.INVALID, detail)
        texts = _texts(result)
        if result.get("isError") not in (None, False):
            words = heard.answer.detail(" ".join(texts) or "an error without a text")
            return _Verdict(OutcomeKind.FAILED, Reason.ERROR_IN_ANSWER, words)
        content = _content(result, texts)
        if content is None:
            return _Verdict(OutcomeKind.DONE)  # words for people, or nothing: no error, no claim
        return _Verdict(*await judge(content, heard.answer, self._call.error, self._call.claimed))

    async def end(self) -> None:
        """Tell the server that the session is over, where there is one: it would keep it for ever.

        Whether it can (405: it cannot) and whether it does is no part of the outcome.
        """
        if self._has_session:
            await self._client.request(
                "DELETE",
                self._call.request_path,
                timeout_seconds=END_SESSION_SECONDS,
                headers=self._headers,
                token_file=self._call.token_file,
                now=self._now,
            )


def _rpc_error(error: Json) -> str:
    if isinstance(error, dict) and isinstance(error.get("code"), int):
        return f"error {error['code']}: {error_text(error)}"
    return error_text(error)


def _texts(result: Mapping[str, Json]) -> list[str]:
    content = result.get("content")
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and part.get("type") == "text" and "text" in part]
    return [text for text in texts if isinstance(text, str)]


def _content(result: Mapping[str, Json], texts: list[str]) -> Json:
    """What the tool returned as JSON: `structuredContent`, else the first text that is JSON; None where neither is.

    Servers wrap a result that is no object as `{"result": …}`. If that is a text, the JSON in it is what is meant.
    """
    structured = result.get("structuredContent")
    if isinstance(structured, dict) and not (structured.keys() == {"result"} and isinstance(structured["result"], str)):
        return structured
    for text in texts:
        try:
            found = parse_json(text.encode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(found, dict | list):
            return found
    return structured
