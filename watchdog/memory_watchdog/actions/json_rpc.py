"""Hear one JSON-RPC answer, in either form in which an MCP server gives it: as JSON, or in a stream of events.

Covers: server-sent events, batches, the answer among other messages.
Leaves to others: the wire and its bounds (`http_client`), what is asked and what the answer means (`actions.mcp`).

In a stream the answer may come after progress, logs and pings, and the stream may go on after it for ever: so it is
read while it comes, and left when the answer is there. Each byte is looked at once, however small the pieces are.
"""

from __future__ import annotations

import codecs
import json
from typing import TypeAlias

from memory_watchdog.outside_text import Json, parse_json

Message: TypeAlias = "dict[str, Json]"

EVENT_STREAM = "text/event-stream"


class AnswerListener:
    """A `http_client.Listener` that hears the answer to the request with one id."""

    def __init__(self, request_id: int) -> None:
        self.answer: Message | None = None
        """The message with `result` or `error`; None until it is there."""
        self.problem = ""
        """What was heard in its place, for people."""
        self._request_id = request_id
        self._is_stream = False
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._line: list[str] = []  # what has come of the line that has not ended
        self._after_return = False
        self._data: list[str] = []

    def begin(self, content_type: str) -> None:
        """The answer has begun."""
        self._is_stream = content_type.partition(";")[0].strip().lower() == EVENT_STREAM

    def feed(self, piece: bytes) -> bool:
        """A piece of it; True when the answer is there. In the form that is no stream it is only heard at the end."""
        if self._is_stream:
            self._lines(self._decoder.decode(piece))
        return self.answer is not None

    def end(self, body: bytes) -> Message | None:
        """The answer's body has ended: what it says, or None and `problem`."""
        if self._is_stream and self.answer is None:
            self._lines(self._decoder.decode(b"", final=True) + "\n\n")  # a last event without its blank line
        elif not self._is_stream:
            self._take(body)
        if self.answer is None and not self.problem:
            self.problem = "the answer ended without an answer to the request"
        return self.answer

    def _lines(self, text: str) -> None:
        """Lines end with CR LF, LF or CR; a blank one ends an event."""
        if not text:
            return
        begin = 1 if self._after_return and text[0] == "\n" else 0
        self._after_return = text[-1] == "\r"
        *ends, rest = text[begin:].replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for end in ends:
            line, self._line = "".join([*self._line, end]), []
            if line:
                field, _, value = line.partition(":")
                if field == "data":
                    self._data.append(value.removeprefix(" "))
                continue
            data, self._data = "\n".join(self._data), []
            if data.strip() and self.answer is None:
                self._take(data.encode())
        self._line.append(rest)

    def _take(self, text: bytes) -> None:
        try:
            content = parse_json(text)
        except ValueError as error:
            self.problem = str(error)
            return
        for message in content if isinstance(content, list) else [content]:
            if not isinstance(message, dict):
                self.problem = "not a JSON-RPC message"
            elif self._is_answer(message):
                self.answer = message
                return
            elif "method" not in message:
                self.problem = f"an answer to request {json.dumps(message.get('id'))[:40]}, not to ours"

    def _is_answer(self, message: Message) -> bool:
        """Ours by its id; an error without one is ours too, since nothing else was asked."""
        if "method" in message or ("result" in message) == ("error" in message):
            return False
        known = message.get("id")
        if known is None and "error" in message:
            return True
        return known == self._request_id and not isinstance(known, bool)
