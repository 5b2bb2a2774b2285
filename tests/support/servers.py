"""A server on loopback that can misbehave in every way that the tests need: raw sockets, no HTTP library.

Covers: what is read of a request, the ways to answer it (`Respond`), TLS and unix sockets.
Leaves to others: anything a well-behaved server does beyond one request on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]  # names in lower case, repeated ones joined by a comma
    body: bytes


@dataclass(frozen=True)
class Connection:
    """What a `Respond` works with."""

    request: Received
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_closed(self) -> None:
        """Until the client has closed."""
        await self.reader.read()


Respond = Callable[[Connection], Awaitable[None]]


@dataclass
class RawServer:
    """`async with RawServer(respond) as server`: accepts on loopback or on a unix socket, one request a connection."""

    respond: Respond
    unix_path: Path | None = None
    tls: ssl.SSLContext | None = None
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    """A connection has been accepted (with TLS: its handshake is over)."""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """A request has been read."""
    peer_left: asyncio.Event = field(default_factory=asyncio.Event)
    """A client has closed its connection."""

    async def __aenter__(self) -> RawServer:
        self._tasks: set[asyncio.Task[None]] = set()
        if self.unix_path is not None:
            self._server = await asyncio.start_unix_server(self._accept, self.unix_path)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        port = self._server.sockets[0].getsockname()[1]
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.connected.set()
        try:
            request = await _read_request(reader)
            self.requests.append(request)
            self.arrived.set()
            await self.respond(Connection(request, reader, writer))
            if writer.can_write_eof():
                writer.write_eof()
                await reader.read()
                self.peer_left.set()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.peer_left.set()
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ", 2)
    headers: dict[str, str] = {}
    for line in filter(None, head[1:]):
        name, _, value = line.partition(":")
        earlier = headers.get(name.lower())
        headers[name.lower()] = value.strip() if earlier is None else f"{earlier}, {value.strip()}"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


def message(body: bytes = b"{}", status: int = 200, *headers: str) -> bytes:
    """A whole answer with its length."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answering(body: bytes = b"{}", status: int = 200, *headers: str) -> Respond:
    """A whole answer with its length."""
    return sending(message(body, status, *headers))


def sending(data: bytes) -> Respond:
    """These bytes, then the end of the stream."""

    async def respond(connection: Connection) -> None:
        await connection.send(data)

    return respond


async def hang(connection: Connection) -> None:
    """No answer at all."""
    await connection.until_closed()


def hanging_after(data: bytes) -> Respond:
    """These bytes, then nothing, and the connection stays open."""

    async def respond(connection: Connection) -> None:
        await connection.send(data)
        await connection.until_closed()

    return respond


def resetting_after(data: bytes) -> Respond:
    """These bytes, then the connection is torn down."""

    async def respond(connection: Connection) -> None:
        await connection.send(data)
        connection.writer.transport.abort()

    return respond


def dripping(head: bytes, every_seconds: float = 0.02) -> Respond:
    """An answer that always makes progress, one byte at a time, and never ends."""

    async def respond(connection: Connection) -> None:
        await connection.send(head)
        while True:
            await connection.send(b" ")
            await asyncio.sleep(every_seconds)

    return respond


def endless(head: bytes) -> Respond:
    """As many bytes as the client takes."""

    async def respond(connection: Connection) -> None:
        await connection.send(head)
        while True:
            await connection.send(b"x" * 65536)

    return respond


def chunked(*pieces: bytes) -> Respond:
    """In chunks, each sent by itself."""

    async def respond(connection: Connection) -> None:
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (*pieces, b""):
            await connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")

    return respond


def by_path(**responds: Respond) -> Respond:
    """Another behaviour for each last part of the path."""

    async def respond(connection: Connection) -> None:
        await responds[connection.request.path.rpartition("/")[2]](connection)

    return respond


def gzip_bomb(decompressed_bytes: int) -> bytes:
    """About a thousandth of its content, made without ever holding that."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    block = bytes(1024 * 1024)
    pieces = [squeeze.compress(block) for _ in range(decompressed_bytes // len(block))]
    return b"".join([*pieces, squeeze.flush()])


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body)


@contextlib.asynccontextmanager
async def full_backlog() -> AsyncIterator[str]:
    """The address of a listener that accepts nothing and has no room left: connecting to it never ends."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for opened in (*fillers, listener):
            opened.close()
