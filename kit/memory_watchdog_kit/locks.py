"""A lock that many readers may hold together, or one writer alone.

Covers: `SharedLock`. A waiting writer goes before readers that come later, so that steady reading cannot keep it out. A
fork waits until nobody holds it, and the child has it free.
Leaves to others: what is protected. It is not re-entrant: neither side may be taken again by its holder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from memory_watchdog_kit.forking import held_across_forks, renewed_in_child


class SharedLock:
    """`with lock.reading():` for readers, `with lock.writing():` for the one that changes something.

    `acquire` and `release` are for forks: they take the writing side and close the way in, so that no thread is
    half-way through it.
    """

    __slots__ = ("__weakref__", "_changed", "_mutex", "_readers", "_waiting_writers", "_writing")

    def __init__(self) -> None:
        self._renew()
        held_across_forks(self)
        renewed_in_child(self._renew)

    def _renew(self) -> None:
        """Also in a forked child: those who waited here are no longer."""
        self._mutex = threading.Lock()
        self._changed = threading.Condition(self._mutex)
        self._readers = self._waiting_writers = 0
        self._writing = False

    def reading(self) -> AbstractContextManager[None]:
        """Hold it together with other readers."""
        return _Side(self._start_reading, self._stop_reading)

    def writing(self) -> AbstractContextManager[None]:
        """Hold it alone."""
        return _Side(self._start_writing, self._stop_writing)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take all of it, as `threading.Lock` has it; False when it was not free in time."""
        seconds = (None if timeout < 0 else timeout) if blocking else 0.0
        if not self._mutex.acquire(blocking, timeout):
            return False
        if self._wait_to_write(seconds):
            return True
        self._mutex.release()
        return False

    def release(self) -> None:
        """Give it back."""
        self._writing = False
        self._changed.notify_all()
        self._mutex.release()

    def _start_reading(self) -> None:
        with self._mutex:
            while self._writing or self._waiting_writers:
                self._changed.wait()
            self._readers += 1

    def _stop_reading(self) -> None:
        with self._mutex:
            self._readers -= 1
            if not self._readers and self._waiting_writers:
                self._changed.notify_all()

    def _start_writing(self) -> None:
        with self._mutex:
            self._wait_to_write(None)

    def _stop_writing(self) -> None:
        with self._mutex:
            self._writing = False
            self._changed.notify_all()

    def _wait_to_write(self, seconds: float | None) -> bool:
        """With the mutex held: become the writer, False if that took too long."""
        if self._writing or self._readers:
            self._waiting_writers += 1
            free = False
            try:
                free = self._changed.wait_for(lambda: not (self._writing or self._readers), seconds)
            finally:
                self._waiting_writers -= 1
                if not free:  # interrupted or too late: readers may have waited for this writer
                    self._changed.notify_all()
            if not free:
                return False
        self._writing = True
        return True


class _Side(AbstractContextManager[None]):
    """One side, held within `with`. A context manager made of a generator would cost twice as much."""

    __slots__ = ("_start", "_stop")

    def __init__(self, start: Callable[[], None], stop: Callable[[], None]) -> None:
        self._start = start
        self._stop = stop

    def __enter__(self) -> None:
        self._start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
