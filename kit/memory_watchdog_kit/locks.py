"""A lock that many readers may hold together, or one writer alone.

Covers: `SharedLock`. A waiting writer goes before readers that come later, so that steady reading cannot keep it out. A
fork waits until nobody holds it, and the child has it free.
Leaves to others: what is protected. It is not re-entrant: neither side may be taken again by its holder.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from memory_watchdog_kit.forking import held_across_forks, renewed_in_child


class SharedLock:
    """`with lock.reading():` for readers, `with lock.writing():` for the one that changes something."""

    __slots__ = ("__weakref__", "_changed", "_readers", "_waiting_writers", "_writing")

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._waiting_writers = 0
        self._writing = False
        held_across_forks(self)
        renewed_in_child(self._renew)

    def _renew(self) -> None:
        """In a forked child: those who waited here are no longer, and one of them may have held the condition."""
        self._changed = threading.Condition(threading.Lock())
        self._readers = self._waiting_writers = 0
        self._writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Hold it together with other readers."""
        with self._changed:
            while self._writing or self._waiting_writers:
                self._changed.wait()
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if not self._readers:
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold it alone."""
        self.acquire()
        try:
            yield
        finally:
            self.release()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take the writing side, as `threading.Lock` has it; False when it was not free in time."""
        seconds = (None if timeout < 0 else timeout) if blocking else 0.0
        with self._changed:
            self._waiting_writers += 1
            taken = False
            try:
                taken = self._changed.wait_for(lambda: not (self._writing or self._readers), seconds)
                self._writing = self._writing or taken
            finally:
                self._waiting_writers -= 1
                if not taken:  # interrupted or too late: readers may have waited for this writer
                    self._changed.notify_all()
            return taken

    def release(self) -> None:
        """Give the writing side back."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
