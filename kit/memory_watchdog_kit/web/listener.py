"""A small listener on a Unix socket, for servers that speak over standard input and output only.

Covers: its thread, the bounds on connections, sizes and time, who is at the other end.
Leaves to others: the socket's file (`socket_file`), HTTP (`http_message`), the checks and answers (`endpoints`).

Who may call: the socket's mode says who can connect at all (0600: the same user, and root). A peer of our own user, or
root, counts as a caller on this machine, by the kernel's word (SO_PEERCRED); another user whom a wider mode lets in
needs the token, for reading too.

Nothing is ever written to standard output, which is the MCP channel: what there is to say goes to `logging`. Its
threads are daemons: they never hold up the server's end. One request on a connection, then it is closed.
"""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from memory_watchdog_kit.forking import held_across_forks, renewed_in_child
from memory_watchdog_kit.web.access import Caller
from memory_watchdog_kit.web.endpoints import MAX_BODY_BYTES, TOO_LARGE, Answer, Endpoints, Manager, refused
from memory_watchdog_kit.web.http_message import END_OF_HEAD, MAX_HEAD_BYTES, Malformed, parse_head, written
from memory_watchdog_kit.web.socket_file import SocketFile, peer_user

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 16
"""At once. A watchdog uses two: its statistics, and a cleanup beside them."""

CLIENT_SECONDS = 10.0
"""For a whole request to arrive, and again for its answer to be taken."""

_BACKLOG = 512  # connecting to a full one fails at once, unlike TCP
_AFTER_ERROR_SECONDS = 0.5  # no descriptors left: trying at once again would only burn a core
_STOP_SECONDS = 2.0
_CHUNK_BYTES = 16 * 1024


class MemoryListener:
    """`GET /memory` and `POST /memory/cleanup` at `unix:PATH`, from `start` to `stop`.

    `token_file` and `allow_loopback_changes` say who may clean up: see `web.access`. Thread-safe; may be started again
    after `stop`. Can be used as a context manager. In a forked process it does not listen, and the parent's goes on.
    """

    def __init__(
        self,
        manager: Manager,
        path: str | os.PathLike[str],
        mode: int = 0o600,
        *,
        token_file: str | os.PathLike[str] | None = None,
        allow_loopback_changes: bool = True,
    ) -> None:
        self._endpoints = Endpoints(manager, token_file=token_file, allow_loopback_changes=allow_loopback_changes)
        self._path = Path(path)
        self._mode = mode
        self._lock = held_across_forks(threading.Lock())
        self._running: _Acceptor | None = None
        renewed_in_child(self._renew)

    def _renew(self) -> None:
        """In a forked child, where nobody answers: its copy of the socket must not take connections."""
        running, self._running = self._running, None
        if running is not None:
            running.forget()

    def start(self) -> MemoryListener:
        """Begin to listen; nothing happens if it does already. When this returns, clients can connect.

        The socket file of a process that has died is replaced. Raises OSError if another process listens there, if
        something else than a socket is there, or the folder cannot be written; ValueError for a path that is not
        absolute or longer than 107 bytes.
        """
        with self._lock:
            if self._running is None:
                file = SocketFile(self._path, self._mode, _BACKLOG)
                try:
                    self._running = _Acceptor(self._endpoints, file)
                except BaseException:
                    file.close()
                    raise
                atexit.register(self.stop)
                log.info("listening on unix:%s", self._path)
        return self

    def stop(self) -> None:
        """End listening and remove the socket's file. Requests at hand are still answered; nobody waits for them."""
        with self._lock:
            running, self._running = self._running, None
        atexit.unregister(self.stop)
        if running is not None:
            running.stop()

    def __enter__(self) -> MemoryListener:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Acceptor:
    """One time of listening: a thread that accepts, and one for each connection."""

    def __init__(self, endpoints: Endpoints, file: SocketFile) -> None:
        self._endpoints = endpoints
        self._file = file
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._wake_read, self._wake_write = socket.socketpair()
        self._stopping = threading.Event()
        self._file.socket.setblocking(False)
        self._thread = threading.Thread(target=self._accept, name="memory-listener", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with suppress(OSError):  # it has ended by itself
            self._wake_write.send(b"x")
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_SECONDS)
        self._file.close()
        self._wake_write.close()

    def forget(self) -> None:
        """In a forked child: close the copies; the file stays the parent's."""
        self._file.close()
        self._wake_write.close()
        self._wake_read.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector, self._wake_read:
            selector.register(self._file.socket, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                try:
                    self._take()
                except (
                    OSError,
                    RuntimeError,
                ) as error:  # no descriptor or no thread is left
                    if not self._stopping.is_set():
                        log.warning("a connection could not be taken: %s", error)
                        self._stopping.wait(_AFTER_ERROR_SECONDS)

    def _take(self) -> None:
        """One connection; while all are in use, the next waits in the backlog, and its client for its deadline."""
        if not self._free.acquire(timeout=CLIENT_SECONDS / 10):
            return
        try:
            connection, _ = self._file.socket.accept()
        except BlockingIOError:
            self._free.release()
            return
        except BaseException:
            self._free.release()
            raise
        try:
            threading.Thread(target=self._serve, args=(connection,), name="memory-client", daemon=True).start()
        except BaseException:
            connection.close()
            self._free.release()
            raise

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                answer, method = self._exchange(connection)
                if answer is not None:
                    _send(connection, written(answer, with_body=method != "HEAD"))
        except OSError:
            log.debug("a client left", exc_info=True)
        except Exception:
            log.exception("a request failed")
        finally:
            self._free.release()

    def _exchange(self, connection: socket.socket) -> tuple[Answer | None, str]:
        """The answer to the one request of this connection, None if none came; and its method."""
        incoming = _Incoming(connection)
        raw = incoming.head()
        if isinstance(raw, Answer) or raw is None:
            return raw, ""
        head = parse_head(raw)
        if isinstance(head, Malformed):
            return refused(head.status, head.detail), ""
        route = self._endpoints.route(head.method, head.path)
        if isinstance(route, Answer):
            return route, head.method
        caller = Caller(peer_user(connection) in (os.geteuid(), 0), head.headers)
        refusal = self._endpoints.why_not(route, caller, head.body_bytes)
        if refusal is not None:
            return refusal, head.method
        body = incoming.body(head.body_bytes)
        if isinstance(body, Answer):
            return body, head.method
        return self._endpoints.answer(route, body), head.method


class _Incoming:
    """What a client sends: bounded in size, and in time as a whole, so that a byte a second gains nothing."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + CLIENT_SECONDS
        self._received = bytearray()

    def head(self) -> bytes | Answer | None:
        """Up to the empty line; None for a client that sent nothing."""
        while (end := self._received.find(END_OF_HEAD)) < 0:
            if len(self._received) > MAX_HEAD_BYTES:
                return refused(431, f"a head of more than {MAX_HEAD_BYTES // 1024} KiB")
            missing = self._more("the head of the request")
            if missing is not None:
                return missing if self._received else None
        head = bytes(self._received[:end])
        del self._received[: end + len(END_OF_HEAD)]
        return head

    def body(self, size_bytes: int) -> bytes | Answer:
        """So many bytes, at most `MAX_BODY_BYTES`."""
        if size_bytes > MAX_BODY_BYTES:
            return TOO_LARGE
        while len(self._received) < size_bytes:
            missing = self._more("the body")
            if missing is not None:
                return missing
        return bytes(self._received[:size_bytes])

    def _more(self, what: str) -> Answer | None:
        """Receive something, or say why nothing more comes."""
        left = self._deadline - time.monotonic()
        try:
            self._connection.settimeout(max(left, 0.001))
            chunk = self._connection.recv(_CHUNK_BYTES) if left > 0 else None
        except TimeoutError:
            chunk = None
        if chunk is None:
            return refused(408, f"{what} did not arrive within {CLIENT_SECONDS:g} s")
        if not chunk:
            return refused(400, f"{what} ends in the middle")
        self._received += chunk
        return None


def _send(connection: socket.socket, data: bytes) -> None:
    """The whole answer within its time; then the client is told that nothing follows, and what it still sent is read.

    Closing with bytes unread would reset the connection, and the client might never see the answer.
    """
    connection.settimeout(CLIENT_SECONDS)
    connection.sendall(data)  # its timeout is for the whole
    connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + 1.0
    drained = 0
    while drained < 4 * MAX_BODY_BYTES and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        chunk = connection.recv(_CHUNK_BYTES)
        if not chunk:
            return
        drained += len(chunk)
