"""Writes flight recorders beside the loop: one thread for all targets.

Covers: the queue, opening and closing in order with what is written, failures.
Leaves to others: the bytes (`ring`).

`pwrite` leaves the bytes in the kernel's page cache, so that SIGKILL of the process or of its container loses nothing
but what is queued, which is less than a tick. Not through a map of the file (decision 8), and in a thread, because a
write may wait while the kernel is short of memory, which is when this program must not.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path

MAX_QUEUED = 20_000
"""At 100 bytes a look 2 MB, which a disk that hangs may cost; what comes then is lost."""

_END_SECONDS = 1.0


class File:
    """One file, which the thread opens at its first bytes. `problem` says why nothing is written any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.descriptor: int | None = None


class FlightWriter:
    """The thread. It starts with the first file."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_QUEUED)
        self._thread: threading.Thread | None = None

    def write(self, file: File, content: bytes, at: int) -> None:
        """Put bytes at a place of a file; the file is made anew at its first bytes."""
        if file.problem is None:
            self._put(lambda: _write(file, content, at))

    def close_file(self, file: File) -> None:
        """Let go of a file after everything that was written to it before."""
        self._put(lambda: _close(file))

    def close(self) -> None:
        """Write what is queued, within a second."""
        if self._thread is not None:
            self._put(None)
            self._thread.join(_END_SECONDS)

    def _put(self, work: Callable[[], None] | None) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flight recorder", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            return  # the disk hangs: what is not recorded is the price of going on

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            work()


def _write(file: File, content: bytes, at: int) -> None:
    if file.problem is not None:
        return
    try:
        if file.descriptor is None:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            file.descriptor = os.open(file.path, flags, 0o600)
        os.pwrite(file.descriptor, content, at)
    except OSError as error:
        _close(file)
        file.problem = f"{file.path}: {error.strerror}"


def _close(file: File) -> None:
    if file.descriptor is not None:
        os.close(file.descriptor)
        file.descriptor = None
