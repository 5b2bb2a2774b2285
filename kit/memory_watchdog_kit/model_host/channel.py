"""The host's end of a worker's socket: send with a deadline, receive with a deadline.

Covers: waiting, a message that comes in pieces and goes on after a deadline. Leaves to others: what is said (`wire`).
"""

from __future__ import annotations

import math
import select
import socket
import time

from memory_watchdog_kit.model_host.wire import MAX_ANSWER_HEADER_BYTES, Frame, FrameReader

_LONGEST_POLL_MILLISECONDS = 3_600_000  # it takes 24 days, and overflows from there on


class Late(Exception):
    """The deadline passed before the answer was here; the request is sent, or a part of it."""


class NothingSent(Late):
    """… and before anything was sent."""


class Channel:
    """One connection. One thread at a time uses it; `shutdown` may come from another and ends its waiting."""

    def __init__(self, connection: socket.socket, max_answer_bytes: int) -> None:
        connection.setblocking(False)
        self.connection = connection
        self._reader = FrameReader(MAX_ANSWER_HEADER_BYTES, max_answer_bytes)
        self._poll = select.poll()

    def send(self, message: bytes, deadline: float) -> None:
        """Raises NothingSent or Late, and ConnectionError when the worker is gone."""
        if time.monotonic() >= deadline:
            raise NothingSent
        rest = memoryview(message)
        while rest:
            try:
                rest = rest[self.connection.send(rest) :]
            except BlockingIOError:
                if not self._wait(select.POLLOUT, deadline):
                    raise (Late if len(rest) < len(message) else NothingSent) from None

    def receive(self, deadline: float) -> Frame:
        """The next whole message. Raises Late (and the next call goes on from there), EOFError, WireError, OSError."""
        while True:
            if not self._wait(select.POLLIN, deadline):
                raise Late
            frame = self.receive_some()
            if frame is not None:
                return frame

    def receive_some(self) -> Frame | None:
        """What is there now, without waiting; the message if it is now whole. Raises EOFError, WireError, OSError."""
        try:
            return self._reader.advance(self.connection)
        except BlockingIOError:
            return None

    def _wait(self, event: int, deadline: float) -> bool:
        self._poll.register(self.connection, event)
        while (remaining := deadline - time.monotonic()) > 0:
            if self._poll.poll(min(math.ceil(remaining * 1000), _LONGEST_POLL_MILLISECONDS)):
                return True
        return False

    def shutdown(self) -> None:
        """End the connection for both; the descriptor stays until `close`, so a thread in `receive` reads EOF."""
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # the worker ended first
            return

    def close(self) -> None:
        """Give the descriptor back; no other thread may be in here."""
        self.connection.close()
