"""Giving pages back: glibc's, jemalloc's and mimalloc's malloc in real processes, and a plain "cannot"."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog_kit import find_allocator, return_large_blocks
from memory_watchdog_kit.allocator import Glibc, Unknown

LIBRARIES = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu"

# Every second block goes, so that no heap shrinks by itself; they have 600 B and more, so that pymalloc has no part.
FRAGMENTED = """
import json, random
from memory_watchdog_kit import find_allocator, read_own_memory, return_large_blocks
def held(): return read_own_memory().private_bytes
rng = random.Random(1)
def fragmented(smallest, largest, size_bytes):
    fresh = held()
    blocks = []
    while held() - fresh < size_bytes:
        blocks += [b"x" * rng.randrange(smallest, largest) for _ in range(1000)]
    return blocks
allocator = find_allocator()
"""


def run(program: str, preload: str | None = None) -> dict[str, Any]:
    environment = dict(os.environ)
    if preload is not None:
        library = LIBRARIES / preload
        assert library.exists(), f"{library} is needed; tools/debian-packages installs it"
        environment["LD_PRELOAD"] = str(library)
    done = subprocess.run(
        [sys.executable, "-c", FRAGMENTED + textwrap.dedent(program)],
        capture_output=True,
        check=False,
        timeout=100,
        env=environment,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


GIVEN_BACK = """
    blocks = fragmented(600, 9000, 100 * 2**20)
    peak = held()
    del blocks[::2]
    dropped = held()
    free = allocator.free_bytes()
    said = allocator.give_back()
    given = held()
    print(json.dumps({"name": allocator.name, "peak": peak, "dropped": dropped, "free": free, "said": said,
                      "given": given, "left": allocator.free_bytes()}))
"""


def test_glibc_gives_pages_back() -> None:
    seen = run(GIVEN_BACK)
    assert (seen["name"], seen["said"]) == ("glibc", None)
    assert seen["peak"] - seen["dropped"] < 20 * 2**20, "it comes back without a trim: nothing is tested"
    assert 40 * 2**20 < seen["free"] < 60 * 2**20
    # The other half is in the way: only whole pages can go.
    assert seen["dropped"] - seen["given"] > 15 * 2**20
    assert seen["left"] == 0


def test_jemalloc_gives_pages_back() -> None:
    seen = run(GIVEN_BACK, preload="libjemalloc.so.2")
    assert (seen["name"], seen["said"]) == ("jemalloc", None)
    assert 30 * 2**20 < seen["free"] < 80 * 2**20
    assert seen["dropped"] - seen["given"] > 10 * 2**20
    assert seen["left"] < seen["free"] - 10 * 2**20


def test_mimalloc_is_asked_and_tells_nothing() -> None:
    seen = run(GIVEN_BACK, preload="libmimalloc.so.2.0")
    assert (seen["name"], seen["said"], seen["free"], seen["left"]) == ("mimalloc", None, None, None)


def test_large_blocks_return_by_themselves_where_that_is_wanted() -> None:
    program = """
        assert {wanted} is False or return_large_blocks() is True
        blocks = fragmented(20_000, 60_000, 100 * 2**20)
        peak = held()
        del blocks[::2]
        print(json.dumps({{"peak": peak, "dropped": held()}}))
    """
    plain = run(program.format(wanted=False))
    wanted = run(program.format(wanted=True))
    assert plain["peak"] - plain["dropped"] < 10 * 2**20
    assert wanted["peak"] - wanted["dropped"] > 40 * 2**20


def test_with_another_malloc_large_blocks_stay() -> None:
    assert run("print(json.dumps({'set': return_large_blocks()}))", preload="libjemalloc.so.2") == {"set": False}


@pytest.mark.parametrize("threshold_bytes", [0, -1, 4095, 2**25 + 1])
def test_a_threshold_that_glibc_refuses_is_refused(threshold_bytes: int) -> None:
    with pytest.raises(ValueError, match="threshold_bytes"):
        return_large_blocks(threshold_bytes)


class OfAnotherSystem:
    """A C library in which only `malloc` can be found, as musl's."""

    def __init__(self) -> None:
        self.dladdr = ctypes.CDLL(None).dladdr
        self.malloc = ctypes.CDLL(None).malloc


def test_where_nothing_is_known_it_says_that_it_cannot() -> None:
    allocator = find_allocator(OfAnotherSystem())  # type: ignore[arg-type]
    assert isinstance(allocator, Unknown)
    assert Path(allocator.name).name.startswith("libc")
    assert allocator.free_bytes() is None
    assert (
        allocator.give_back()
        == f"cannot give pages back: {allocator.name} has none of mallctl, mi_collect, malloc_trim"
    )


def test_where_there_is_no_malloc_to_be_seen_it_says_that_it_cannot() -> None:
    allocator = find_allocator(object())  # type: ignore[arg-type]
    assert (allocator.give_back() or "").startswith("cannot give pages back: no malloc to be found")


class Heap:
    """glibc's two functions over a number that the test sets; one reading takes `cost` seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cost = 0.0
        self.free = 0
        self.read = 0
        self.malloc_trim = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t)(lambda _: 1)

    def clock(self) -> float:
        return self.now


class Told:
    """What `mallinfo2` answers with."""

    def __init__(self, heap: Heap) -> None:
        self._heap = heap

    def __call__(self) -> Told:
        self._heap.read += 1
        self._heap.now += self._heap.cost
        self.fordblks = self._heap.free
        return self


def glibc_over(heap: Heap) -> Glibc:
    heap.mallinfo2 = Told(heap)  # type: ignore[attr-defined]
    return Glibc(heap, heap.clock)  # type: ignore[arg-type]


@pytest.mark.parametrize(("cost", "lasts"), [(0.0, 1.0), (0.001, 1.0), (0.055, 27.5)])
def test_a_reading_is_kept_the_longer_the_more_it_costs(cost: float, lasts: float) -> None:
    heap = Heap()
    heap.cost, heap.free = cost, 1000
    glibc = glibc_over(heap)
    assert glibc.free_bytes() == 1000
    heap.free = 2000
    heap.now += lasts - 0.01
    assert (glibc.free_bytes(), heap.read) == (1000, 1)
    heap.now += 0.02
    assert (glibc.free_bytes(), heap.read) == (2000, 2)


def test_what_a_trim_returned_is_no_longer_free_memory_that_is_held() -> None:
    heap = Heap()
    glibc = glibc_over(heap)
    heap.free = 5000
    assert glibc.free_bytes() == 5000
    assert glibc.give_back() is None
    assert glibc.free_bytes() == 0  # glibc still says 5,000
    for free, held in ((7000, 2000), (3000, 0), (5000, 2000), (0, 0), (5000, 5000)):
        heap.free = free
        heap.now += 1.0
        assert glibc.free_bytes() == held


def test_an_old_glibc_does_not_know_what_is_free() -> None:
    heap = Heap()
    glibc = Glibc(heap, heap.clock)  # type: ignore[arg-type]
    assert glibc.give_back() is None
    assert glibc.free_bytes() is None
