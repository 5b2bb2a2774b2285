"""A request to a target, built: address, headers, bearer token.

Covers: reading an address, refusing what cannot be a header, reading a token file.
Leaves to others: sending it (`http_client`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from memory_watchdog import __version__
from memory_watchdog.outside_text import secrets_in

ADDRESS_FORMS = "http://HOST:PORT, https://HOST:PORT, each with a base path or without, or unix:/PATH"

_MAX_TOKEN_BYTES = 64 * 1024
_HTTP_WORD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]+", re.ASCII)
_FRAMING = {"content-length", "transfer-encoding"}
_NOT_SECRET = {"accept", "content-type", "host", "mcp-protocol-version", "user-agent", "x-request-id"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a target speaks HTTP: the prefix of every path, and the socket if it is a unix one."""

    base: str
    socket_path: str | None = None

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.base.startswith("https:")


@dataclass(frozen=True, slots=True)
class NotSent:
    """Why a request could not be made at all."""

    detail: str


def parse_address(text: str) -> Address:
    """`http(s)://host[:port][/base]` or `unix:/path`. Raises ValueError, whose text never repeats the address."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        path = path[2:] if path.startswith("//") else path
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f"allowed: {ADDRESS_FORMS}")
        return Address("http://localhost", path)
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ValueError(f"allowed: {ADDRESS_FORMS}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"allowed: {ADDRESS_FORMS}")
    if url.userinfo:
        raise ValueError("an address holds no user and password: use a header or a token file")
    if url.query or url.fragment:
        raise ValueError("an address ends with its path, without ? and #")
    return Address(str(url).rstrip("/"))


def build_request(
    address: Address,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes | None,
    token_file: Path | None,
    secrets: Iterable[str],
) -> tuple[httpx.Request, tuple[str, ...]] | NotSent:
    """The request and everything secret in it. `headers` go over our own, the token over both."""
    token = read_token(token_file) if token_file is not None else ""
    if isinstance(token, NotSent):
        return token
    if not _HTTP_WORD.fullmatch(method):
        return NotSent("the method is empty or holds a character that HTTP does not allow there")
    theirs: dict[str, str] = dict(headers)
    if token:
        theirs = {name: value for name, value in theirs.items() if name.lower() != "authorization"}
        theirs["Authorization"] = f"Bearer {token}"
    if problem := _unfit_header(theirs):
        return NotSent(problem)
    merged = httpx.Headers(_own_headers(with_body=body is not None))
    merged.update([(name.encode("ascii"), value.strip().encode("latin-1")) for name, value in theirs.items()])
    try:
        url = httpx.URL(address.base + (path if path.startswith("/") or not path else f"/{path}"))
        request = httpx.Request(method, url, headers=merged, content=body)
    except (httpx.InvalidURL, ValueError):
        return NotSent("the path cannot be part of an address")
    secret_headers = {name: value for name, value in theirs.items() if name.lower() not in _NOT_SECRET}
    return request, secrets_in(secret_headers, secrets)


def read_token(path: Path) -> str | NotSent:
    """The token in `path`, without the blanks around it."""
    try:
        # a pipe without a writer would stop the event loop for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return NotSent(f"token file {path}: not a regular file")
            content = os.read(descriptor, _MAX_TOKEN_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        return NotSent(f"token file {path}: {error.strerror}")
    except ValueError:
        return NotSent("the name of the token file holds a NUL")
    token = content.strip().decode("ascii", "replace")
    if not token:
        return NotSent(f"token file {path}: empty")
    if len(content) > _MAX_TOKEN_BYTES or not _TOKEN.fullmatch(token):
        return NotSent(f"token file {path}: more than one token, or characters that a header cannot carry")
    return token


def _own_headers(*, with_body: bool) -> dict[str, str]:
    content = {"Content-Type": "application/json"} if with_body else {}
    return {
        "Accept": "application/json, */*;q=0.5",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "User-Agent": f"memory-watchdog/{__version__}",
        **content,
    }


def _unfit_header(headers: Mapping[str, str]) -> str:
    """What is wrong with the first header that cannot go out, without its value; empty if they all can."""
    for name, value in headers.items():
        if not _HTTP_WORD.fullmatch(name):
            return "a header's name is empty or holds a character that HTTP does not allow there"
        if name.lower() in _FRAMING:
            return f"header {name} is set by the body, not by hand"
        if any(ord(char) > 255 or (not char.isprintable() and char != "\t") for char in value.strip()):
            return f"header {name} holds a character that HTTP does not allow there"
    return ""
