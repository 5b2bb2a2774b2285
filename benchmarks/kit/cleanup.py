"""What a cleanup gives back, and how long an event loop in the same process lags meanwhile.

Search results of 44 objects each, 5 million objects in all (dicts, lists, floats, ints, strings of 100 to 1,500
characters), are held in a dict and let go of: by the manager in steps, or by `del` and `gc.collect()` twice. The loop
sleeps 1 ms at a time and allocates blocks of 5 to 40 KB, as one that answers requests does.

Reclaimable is what a fresh process would not hold that has only ever built what stays: nothing, or the half that is
kept. A busy loop keeps a new result every tenth turn: CPython puts it into the holes between two steps, where it holds
an arena of 1 MiB. So three shares are told of plain objects, and beside them those of the kit's store of bytes, which
has no such holes, with results of the same kind.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import median
from typing import Any

from memory_watchdog_kit import (
    ByteStore,
    Cleaned,
    Level,
    MemoryManager,
    Statistics,
    read_own_memory,
    release_in_steps,
    settle_heap,
)

from benchmarks.report import Row

OBJECTS_OF_A_RESULT = 44
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One fresh process: how much stays, how it is held, who lets go, whether the loop keeps new results meanwhile.

    `by`: `kit`; `del` and `gc.collect()`; `nobody`, where what is to go is never built; `collect`, where as many lists
    as results are held, nothing goes and there is only `gc.collect()`; `settled`, that after `settle_heap`. Lists,
    because the collector does not track dicts of strings and numbers, of which results are made.
    """

    results: int
    keep_half: bool = False
    by: str = "kit"
    busy: bool = False
    stored: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process saw."""

    peak_bytes: int
    after_bytes: int
    lag_seconds: float
    seconds: float


class Held:
    """A component that holds results as live objects, and drops all or a random half of them step by step."""

    name = "results"

    def __init__(self, results: Iterable[tuple[str, Result]], keep_half: bool) -> None:
        self.results = dict(results)
        self._keep_half = keep_half

    def statistics(self) -> Statistics:
        """The number of results; what live objects take nobody knows."""
        return Statistics(items=len(self.results))

    def cleanup(self, level: Level, target_bytes: int | None) -> Iterator[Cleaned]:  # noqa: ARG002 - all that goes
        """In steps of 3 ms, as the kit's users do it."""
        yield from release_in_steps(self.take_out())

    def take_out(self) -> dict[str, Result]:
        """What is to go, out of reach."""
        if not self._keep_half:
            old, self.results = self.results, {}
            return old
        return {key: self.results.pop(key) for key in list(self.results) if not _stays(key)}


class Stored:
    """A component that holds results as JSON in the kit's store of bytes; what is to go is least recently used."""

    name = "stored"

    def __init__(self, results: Iterable[tuple[str, Result]]) -> None:
        self._store = ByteStore(2**40)
        for key, result in results:
            self._store.put(key, json.dumps(result).encode())

    def use(self) -> None:
        """Ask for what stays, so that a cleanup of half takes the other."""
        for key in [f"query {number}" for number in range(len(self._store))]:
            if _stays(key):
                self._store.get(key)

    def statistics(self) -> Statistics:
        """The store's."""
        return self._store.statistics()

    def cleanup(self, level: Level, target_bytes: int | None) -> Iterator[Cleaned]:
        """The least recently used half of the store, at the level aggressive."""
        return self._store.cleanup(level, target_bytes)


def rows(quick: bool) -> Sequence[Row]:
    """Medians of three runs; when quick one run of fewer cases and objects."""
    plain, stored = (1_000_000 if quick else 5_000_000) // OBJECTS_OF_A_RESULT, 5_000 if quick else 20_000
    runs = 1 if quick else 3
    size = f"{plain * OBJECTS_OF_A_RESULT / 1e6:.1f} M objects"
    rest = _measure(Case(plain, by="nobody"))
    found = _told(f"all of {size} in steps", Case(plain), rest, runs, goal=95.0)
    found += _told(f"the same while the loop keeps new ones, {size}", Case(plain, busy=True), rest, runs)
    found += _told(f"all of {size} by del, gc.collect() twice", Case(plain, by="del"), rest, runs)
    if not quick:
        rest = _measure(Case(plain, True, "nobody"))
        found += _told(f"random half of {size} in steps", Case(plain, True), rest, runs)
        found += _told(f"random half of {size} by del, gc.collect() twice", Case(plain, True, "del"), rest, runs)
        for name, by in (("", "collect"), (" after settle_heap()", "settled")):
            seen = _median([_measure(Case(5_000_000, by=by)) for _ in range(runs)])
            found.append(Row(f"gc.collect() twice{name}, 5 M lists alive: longest lag", seen.lag_seconds * 1e3, "ms"))
            back = (seen.peak_bytes - seen.after_bytes) / 1e6
            found.append(Row(f"gc.collect() twice{name}, 5 M lists alive: given back", back, "MB"))
    rest = _measure(Case(stored, True, "nobody", stored=True))
    case = Case(stored, True, busy=True, stored=True)
    return found + _told(f"random half of {stored} in a ByteStore, loop keeps new ones", case, rest, runs, goal=95.0)


def _told(name: str, case: Case, rest: Measured, runs: int, goal: float | None = None) -> list[Row]:
    seen = _median([_measure(case) for _ in range(runs)])
    share = (seen.peak_bytes - seen.after_bytes) / (seen.peak_bytes - rest.after_bytes)
    return [
        Row(f"{name}: given back of reclaimable", share * 100, "%", goal, at_least=True),
        Row(f"{name}: longest lag of the loop", seen.lag_seconds * 1e3, "ms", 20.0 if case.by == "kit" else None),
        Row(f"{name}: took", seen.seconds, "s"),
    ]


def _median(seen: Sequence[Measured]) -> Measured:
    return Measured(
        peak_bytes=int(median(one.peak_bytes for one in seen)),
        after_bytes=int(median(one.after_bytes for one in seen)),
        lag_seconds=median(one.lag_seconds for one in seen),
        seconds=median(one.seconds for one in seen),
    )


def _measure(case: Case) -> Measured:
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(_in_a_fresh_process, case).result()


def _in_a_fresh_process(case: Case) -> Measured:
    gc.disable()
    lists = [[number] for number in range(case.results)] if case.by in ("collect", "settled") else []
    held = Stored(_results(case)) if case.stored else Held(_results(case) if not lists else (), case.keep_half)
    gc.enable()
    if isinstance(held, Stored):
        held.use()
    gc.collect()
    peak_bytes = read_own_memory().private_bytes
    manager = MemoryManager(component_deadline_seconds=120.0)
    manager.register(held)
    if case.by == "settled":
        settle_heap()
    work: dict[str, Callable[[], object]] = {
        "kit": lambda: manager.cleanup("aggressive"),
        "del": lambda: _drop_and_collect(held),
        "nobody": lambda: None,
        "collect": _collect,
        "settled": _collect,
    }
    kept: list[Result] = []
    lag_seconds, seconds = asyncio.run(_beside(work[case.by], kept if case.busy else None))
    seen = Measured(peak_bytes, read_own_memory().private_bytes, lag_seconds, seconds)
    del lists
    return seen


def _drop_and_collect(held: Held | Stored) -> None:
    """What the server's plan was."""
    assert isinstance(held, Held)
    dropped = held.take_out()
    del dropped
    _collect()


def _collect() -> None:
    gc.collect()
    gc.collect()


async def _beside(work: Callable[[], object], kept: list[Result] | None) -> tuple[float, float]:
    """The loop's longest lag while a thread works, and how long that took; both in seconds.

    A busy loop keeps a new result in `kept` every tenth turn.
    """
    took = array("d", [0.0])  # no floats that stay: each of them would be one of the survivors that are measured
    longest = array("d", [0.0])

    warm = threading.Event()

    def timed() -> None:
        warm.wait()
        started = time.perf_counter()
        work()
        took[0] = time.perf_counter() - started

    rng = random.Random(2)
    thread = threading.Thread(target=timed)
    thread.start()
    turns = 0
    while thread.is_alive():
        before = time.perf_counter()
        await asyncio.sleep(0.001)
        longest[0] = max(longest[0], time.perf_counter() - before - 0.001)
        turns += 1
        if turns == 50:
            longest[0] = 0.0
            warm.set()
        blocks = [bytearray(5_000 * n) for n in range(1, 9)]
        del blocks
        if kept is not None and turns % 10 == 0:
            kept.append(_result(turns, rng))
    thread.join()
    return longest[0], took[0]


def _results(case: Case) -> Iterator[tuple[str, Result]]:
    rng = random.Random(1)
    for number in range(case.results):
        key = f"query {number}"
        if case.by != "nobody" or (case.keep_half and _stays(key)):
            yield key, _result(number, rng)


def _stays(key: str) -> bool:
    return random.Random(key).random() < 0.5


def _result(number: int, rng: random.Random) -> Result:
    return {"hits": [_hit(number, rank, rng) for rank in range(10)], "took_seconds": rng.random()}


def _hit(number: int, rank: int, rng: random.Random) -> dict[str, Any]:
    return {
        "path": f"/src/package_{number % 97}/module_{number}_{rank}.py",
        "score": rng.random(),
        "line": number * 10 + rank,
        "snippet": "x" * rng.randrange(100, 1_500),
    }
