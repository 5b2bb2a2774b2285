"""A lock that many readers may hold together, or one writer alone.

Covers: `SharedLock`. A waiting writer goes before readers that come later, so that steady reading cannot keep it out. A
fork waits until nobody holds it, and the child has it free.
Leaves to others: what is protected. It is not re-entrant: neither side may be taken again by its holder.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from memory_watchdog_kit.forking import held_across_forks, renewed_in_child


class SharedLock:
    """`with lock.reading():` for readers, `with lock.writing():` for the one that changes something."""

    __slots__ = ("__weakref__", "_across_forks", "_changed", "_readers", "_waiting_writers", "_writing")

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._waiting_writers = 0
        self._writing = False
        self._across_forks = held_across_forks(_Whole(self))
        renewed_in_child(self._renew)

    def _renew(self) -> None:
        """In a forked child: those who waited here are no longer."""
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

    def hold(self, blocking: bool, timeout: float) -> bool:
        """As `acquire`; afterwards nobody else is inside of any method here either, up to `let_go`."""
        if not self.acquire(blocking, timeout):
            return False
        self._changed.acquire()  # held for microseconds
        return True

    def let_go(self) -> None:
        """The end of `hold`."""
        self._writing = False
        self._changed.notify_all()
        self._changed.release()


class _Whole:
    """The lock as it is taken for a fork. The writing side alone would not do.

    Somebody who comes to find it taken holds the condition for that moment, and would hold it in the child for ever.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self, lock: SharedLock) -> None:
        self._lock = weakref.ref(lock)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock`; a lock that is gone is free."""
        lock = self._lock()
        return lock is None or lock.hold(blocking, timeout)

    def release(self) -> None:
        """As `threading.Lock`."""
        lock = self._lock()
        if lock is not None:
            lock.let_go()
