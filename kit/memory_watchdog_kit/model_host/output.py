"""What workers print, as lines of the server's log.

Covers: reading the pipe, lines from pieces, cutting, printable characters, a bound on how many a second.
Leaves to others: when there is something to read (`keeper`), where the log goes (the server's `logging`).
"""

from __future__ import annotations

import logging
import os
import time

from memory_watchdog_kit.model_host.errors import plain

LINES_PER_SECOND = 50
"""A library in a loop must not fill the server's disk; a traceback has about 20 lines."""

_LINE_BYTES = 4096
_READ_BYTES = 65536
_LAST_READS = 16  # 1 MiB, which is all that a pipe can hold


class Output:
    """One pipe's text. WARNING, so that it is seen without any set-up: a model that prints is not expected."""

    def __init__(self, descriptor: int, log: logging.Logger, whose: str) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._log = log
        self._whose = whose
        self._rest = b""
        self._second = -1
        self._lines = 0
        self._dropped = 0

    def read(self) -> bool:
        """Log a piece of what is there; False when no more can come."""
        try:
            data = os.read(self.descriptor, _READ_BYTES)
        except BlockingIOError:
            return True
        self.feed(data, time.monotonic())
        return bool(data)

    def close(self) -> None:
        """Log what is still there, and close the pipe."""
        for _ in range(_LAST_READS):
            try:
                data = os.read(self.descriptor, _READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                break
            self.feed(data, time.monotonic())
        self.feed(b"\n", time.monotonic())
        self._tell_dropped()
        os.close(self.descriptor)

    def feed(self, data: bytes, now: float) -> None:
        """What was read."""
        *lines, rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        self._rest = rest[:_LINE_BYTES]
        for line in lines:
            self._say(line, now)

    def _say(self, line: bytes, now: float) -> None:
        text = plain(line.decode("utf-8", "replace"))
        if not text:
            return
        if int(now) != self._second:
            self._tell_dropped()
            self._second, self._lines = int(now), 0
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self._dropped += 1
        else:
            self._log.warning("%s: %s", self._whose, text)

    def _tell_dropped(self) -> None:
        if self._dropped:
            self._log.warning("%s: … and %d more lines", self._whose, self._dropped)
            self._dropped = 0
