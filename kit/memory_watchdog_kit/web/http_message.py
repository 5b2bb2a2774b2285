"""Just enough of HTTP/1.1 for one request on a connection: the head as it is read, the answer as it is written.

Covers: bounds on the head, strictness: what two readers could understand in two ways is refused.
Leaves to others: sockets and deadlines (`listener`), what is asked (`endpoints`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from memory_watchdog_kit.web.asgi import head_of
from memory_watchdog_kit.web.endpoints import Answer

MAX_HEAD_BYTES = 16 * 1024
"""Of the request line and all headers: the watchdog's are 500 bytes, and a bearer token may be some kilobytes."""

END_OF_HEAD = b"\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[\x21-\x7e]*) HTTP/1\.[01]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*)")
_LENGTH = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body, which is `body_bytes` long. `path` is without the query."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body_bytes: int


@dataclass(frozen=True, slots=True)
class Malformed:
    """Why a request cannot be answered: 400 or 501."""

    status: int
    detail: str


def parse_head(raw: bytes) -> Head | Malformed:
    """The head, without the empty line at its end."""
    lines = raw.split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(lines[0])
    if request is None:
        return Malformed(400, "the request line is no METHOD /PATH HTTP/1.1")
    headers: list[tuple[str, str]] = []
    for line in lines[1:]:
        header = _HEADER.fullmatch(line)
        if header is None:
            return Malformed(400, "a header line is no NAME: VALUE")
        headers.append((header[1].decode("ascii").lower(), header[2].strip(b" \t").decode("latin-1")))
    if any(name == "transfer-encoding" for name, _ in headers):
        return Malformed(501, "a body has a Content-Length here, and no Transfer-Encoding")
    lengths = [value for name, value in headers if name == "content-length"]
    if len(lengths) > 1 or any(not _LENGTH.fullmatch(value) for value in lengths):
        return Malformed(400, "Content-Length is no number, or stands there twice")
    method, path = request[1].decode("ascii"), request[2].decode("ascii").partition("?")[0]
    return Head(method, path, tuple(headers), int(lengths[0]) if lengths else 0)


def written(answer: Answer, *, with_body: bool = True) -> bytes:
    """The answer as bytes; the connection ends after each."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = ""
    headers = head_of(answer) | {"Content-Length": str(len(answer.body)), "Connection": "close"}
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (answer.body if with_body else b"")
