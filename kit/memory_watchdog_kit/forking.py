"""What the kit does when its process forks, as prefork servers do after they have built their application.

Covers: locks that no other thread holds at the moment of a fork; what a structure has to renew in the child.
Leaves to others: what each structure does in a child (its docstring; `kit/README.md` has all of them).

Only the thread that forks goes on in the child. A lock that another one held would be held there for ever, and what it
protects would be half changed. So before a fork every lock that is registered here is taken, as `logging` does with its
own, and afterwards given back in both processes. It concerns `os.fork` and what is built on it (multiprocessing's
"fork"); `subprocess` forks without it, and needs none of this.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 5.0
"""A lock of the kit is held for microseconds, for milliseconds where arrays move. One that is not free by then is held
by the very thread that forks, from within a callback; that thread goes on in the child and gives it back."""

_TURN_SECONDS = 0.01  # for a lock, while others are held: their holder may wait for one of ours


class Lock(Protocol):
    """As `threading.Lock`."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """True when it was taken."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


L = TypeVar("L", bound=Lock)


def held_across_forks(lock: L) -> L:
    """`lock`, which from now on no other thread holds while the process forks. It may be taken when others are held."""
    _FORKS.add(lock)
    return lock


def renewed_in_child(renew: Callable[[], None]) -> None:
    """Call the bound method `renew` in every forked child, while its object lives; the locks are free again by then."""
    _FORKS.add_renewal(renew)


class _Forks:
    """Everything that is registered; weakly, so that registering keeps nothing alive."""

    def __init__(self) -> None:
        self._own = threading.Lock()
        self._locks: list[weakref.ref[Lock]] = []
        self._renewals: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._held: list[Lock] = []

    def add(self, lock: Lock) -> None:
        with self._own:
            self._locks = [known for known in self._locks if known() is not None]
            self._locks.append(weakref.ref(lock))

    def add_renewal(self, renew: Callable[[], None]) -> None:
        with self._own:
            self._renewals = [known for known in self._renewals if known() is not None]
            self._renewals.append(weakref.WeakMethod(renew))

    def before(self) -> None:
        self._own.acquire()
        self._held = _take_all([lock for known in self._locks if (lock := known()) is not None])

    def after_in_parent(self) -> None:
        held, self._held = self._held, []
        for lock in reversed(held):
            lock.release()
        self._own.release()

    def after_in_child(self) -> None:
        self.after_in_parent()
        for known in list(self._renewals):
            renew = known()
            if renew is not None:
                renew()


def _take_all(locks: Sequence[Lock]) -> list[Lock]:
    """All of them. Their holders may take them in any order: who cannot have one lets go of all, and waits for that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    order = list(locks)
    while True:
        held: list[Lock] = []
        for lock in order:
            wait = _TURN_SECONDS if held else max(0.0, deadline - time.monotonic())
            if not lock.acquire(timeout=wait):
                break
            held.append(lock)
        else:
            return held
        for taken in reversed(held):
            taken.release()
        if time.monotonic() >= deadline:
            log.warning("forks although a lock has been held for %g s: by its own thread, it seems", PATIENCE_SECONDS)
            return []
        order.sort(key=lambda one, missing=lock: one is not missing)  # type: ignore[misc]


_FORKS = _Forks()
os.register_at_fork(before=_FORKS.before, after_in_parent=_FORKS.after_in_parent, after_in_child=_FORKS.after_in_child)
