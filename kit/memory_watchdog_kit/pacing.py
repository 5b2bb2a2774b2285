"""Let go of many objects in small steps, so that an event loop in the same process goes on meanwhile.

Covers: emptying a container step by step, the pause after a step, putting what is old beyond the collector's reach.
Leaves to others: what is to go (the components), when (`manager`), giving the pages back (`allocator`).

Dropping a container of 5 million objects holds the interpreter for a second; so does a full collection, which visits
every object there is. Neither can be interrupted, so the one is cut into steps here and the other never runs.
"""

from __future__ import annotations

import gc
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping, MutableSequence, MutableSet
from typing import Any

from memory_watchdog_kit.component import Cleaned

STEP_SECONDS = 0.003
"""How long a step holds the interpreter: a loop that waits for it asks for it after 5 ms (`sys.getswitchinterval`)."""

_AT_A_TIME = 16
"""Elements between two looks at the clock; each is at most `_LARGE` objects, some 0.1 ms."""

_LARGE = 1_000
"""An element of more objects than this is emptied in steps itself, if nobody else holds it."""

_HELD_ONCE = 2
"""What `sys.getrefcount(a_list[-1])` tells of an object that only that list holds: the list's, and the argument's."""


def pause_after(step_seconds: float) -> float:
    """How long to sleep after a step: a third of what it took, at least 1 ms and at most 5.

    A sleep of 0 gives the interpreter up and takes it again before a waiting thread has woken. Whoever takes it in that
    time may keep it for 5 ms; long pauses only give the server more time to put new objects between the old ones, each
    of which holds a megabyte of pymalloc's memory back (`docs/decisions/0007-no-full-collection.md`).
    """
    return min(max(step_seconds / 3, 0.001), 0.005)


def release_in_steps(
    container: MutableMapping[Any, Any] | MutableSequence[Any] | MutableSet[Any],
    step_seconds: float = STEP_SECONDS,
    *,
    size_of: Callable[[Any], int] | None = None,
) -> Iterator[Cleaned]:
    """Empty a dict, list, deque, set or what behaves like one, and yield after every `step_seconds` of it.

    Made for the `cleanup` of a component of one's own, which first takes the container out of reach:

        old, self._entries = self._entries, {}
        yield from release_in_steps(old)

    Dicts, lists, deques, sets and tuples inside it that are large and that nobody else holds are emptied step by step
    too; an instance of a class goes in one piece, and so does the table of a dict or set itself, once it is empty (15
    to 20 ms where it had 5 million keys). What others put in meanwhile stays. `items_removed` counts the elements of
    `container` itself, `bytes_freed` what `size_of` says of each (of a mapping's values), 0 without it. A generator
    that is dropped half-way leaves the rest in the container. Raises TypeError for anything else and ValueError for a
    step that is not positive.
    """
    if not step_seconds > 0:
        raise ValueError(f"step_seconds is {step_seconds}: it must be positive")
    return _release(_taking(container), len(container), step_seconds, size_of)


def settle_heap() -> int:
    """Collect once, and put every object that is alive beyond the collector's reach (`gc.freeze`); answers how many.

    To be called once, when a server is warm (models and indexes loaded) and before it serves: the call takes seconds
    with millions of objects, and holds the interpreter. Afterwards Python's own full collections visit only what came
    later. What is frozen is still freed when its last reference goes; only cycles among it are not found any more.
    """
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()


def _taking(container: Any) -> Callable[[], Any]:
    """What takes one element out, the cheapest to take."""
    if isinstance(container, MutableMapping):
        return lambda: container.popitem()[1]
    if isinstance(container, MutableSequence | MutableSet):
        return container.pop
    raise TypeError(f"a {type(container).__name__} cannot be emptied step by step: give a dict, list, deque or set")


def _release(
    take: Callable[[], Any], left: int, step_seconds: float, size_of: Callable[[Any], int] | None
) -> Iterator[Cleaned]:
    nested: list[Any] = []  # large containers that only this list holds, the innermost last
    while left or nested:
        removed = freed = 0
        end = time.perf_counter() + step_seconds
        while True:
            for _ in range(_AT_A_TIME):
                if nested:
                    _empty_further(nested)
                    continue
                try:
                    element = take() if left else None
                except (KeyError, IndexError):
                    left = 0  # somebody else emptied it
                if not left:
                    break
                left -= 1
                removed += 1
                if size_of is not None:
                    freed += size_of(element)
                if _is_large(element):
                    nested.append(element)
                    del element
                    _keep_if_alone(nested)
                else:
                    del element  # now, and not when the next one takes its name
            if time.perf_counter() >= end or not (left or nested):
                break
        yield Cleaned(removed, freed)


def _empty_further(nested: list[Any]) -> None:
    """Take one element out of the innermost container, which goes when it is empty."""
    innermost = nested[-1]
    if not innermost:
        nested.pop()
        return
    element = innermost.popitem()[1] if isinstance(innermost, dict) else innermost.pop()
    if _is_large(element):
        nested.append(element)
        del element
        _keep_if_alone(nested)


def _keep_if_alone(nested: list[Any]) -> None:
    """Let the last one go, unless nobody else holds it: then it is to be emptied, a tuple as a list."""
    if not _GIL or sys.getrefcount(nested[-1]) != _HELD_ONCE:
        nested.pop()
    elif type(nested[-1]) in (tuple, frozenset):
        nested.append(list(nested.pop()))


def _is_large(element: object) -> bool:
    """Whether more than `_LARGE` objects hang on it, as far as exact dicts, lists, tuples, sets and deques show them.

    Exact types only: a subclass may do more than to let go when something is taken out of it. A set or deque could be
    reached by a weak reference while it is being emptied; nobody holds an element of a cache by one. Looking at a
    search result of 44 objects takes 7 µs and freeing it 3; in exchange no element, however large, stops the others.
    """
    if type(element) not in _CONTAINERS:
        return False
    seen = 0
    found: list[Any] = [element]
    for here in found:  # which grows meanwhile
        seen += len(here)
        if seen > _LARGE:
            return True
        for inside in here.values() if type(here) is dict else here:
            if type(inside) in _CONTAINERS:
                found.append(inside)
    return False


_CONTAINERS = frozenset({dict, list, tuple, set, frozenset, deque})

_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Without it a reference count says nothing about other threads, so nothing inside is emptied then."""
