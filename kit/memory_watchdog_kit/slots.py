"""One anonymous memory map with slots of one size: what `Segments` is made of.

Covers: how large a slot and a segment are, the map, what they cost beside the values.
Leaves to others: which slot is whose and when a map goes back (`segments`).
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Protocol

# A segment is an eighth of what is held, between these: a store of a few values touches a few pages, and a large one
# does not need thousands of maps, of which a process may have 65,530.
SMALLEST_SEGMENT_BYTES = 64 * 1024
LARGEST_SEGMENT_BYTES = 4 * 1024 * 1024

# A value larger than this has a map of its own, exactly as large as it is.
LARGEST_SLOT_BYTES = LARGEST_SEGMENT_BYTES // 8

# What a slot costs beside itself: the pointer in `keys`, and an eighth more because lists grow ahead.
ROW_BYTES = 9
# What a segment costs beside its slots: its objects, and half a page after the last slot.
SEGMENT_BYTES = 1024 + mmap.PAGESIZE // 2

# 23 bits hold every offset in a segment, its end included. The first 16,384 numbers, which are used again, then make an
# int of two digits, 32 bytes.
BEGIN_SHIFT = 23
NUMBER_SHIFT = 46
OFFSET_MASK = (1 << 23) - 1


def slot_bytes_for(size: int) -> int:
    """The slot of a value: steps of 16 bytes up to 256, then sixteen steps from each power of two to the next."""
    if size <= 256:
        return (size + 15) & -16 or 16
    if size > LARGEST_SLOT_BYTES:
        return size
    shift = size.bit_length() - 5
    return ((size - 1 >> shift) + 1) << shift


class Segment:
    """One map: the first `len(keys)` slots are cut, `keys` tells whose each is, `free` has the origins of those that
    have no value.
    """

    __slots__ = ("base", "free", "keys", "memory", "number", "slot_bytes", "slots")

    def __init__(self, number: int, slot_bytes: int, slots: int) -> None:
        self.number = number
        self.base = number << NUMBER_SHIFT  # the first slot's origin
        self.slot_bytes = slot_bytes
        self.slots = slots
        # Private: a shared anonymous map is shmem, which a reader of resident − shared does not see.
        self.memory = mmap.mmap(-1, slot_bytes * slots, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            # A huge page would make 2 MiB out of the first byte. Refused where the kernel has no huge pages at all.
            with contextlib.suppress(OSError):
                self.memory.madvise(mmap.MADV_NOHUGEPAGE)
        self.keys: list[str | bytes | None] = []
        self.free: list[int] = []

    def cut(self) -> int:
        """Make slots from what was not used yet, and tell how many; the lowest is taken first."""
        first = len(self.keys)
        end = min(self.slots, first + cut_at_once(self.slots * self.slot_bytes, self.slot_bytes))
        self.keys += [None] * (end - first)
        step = self.slot_bytes * ((1 << BEGIN_SHIFT) + 1)
        self.free += range(self.base + (end - 1) * step, self.base + (first - 1) * step, -step)
        return end - first


def slots_in(segment_bytes: int, slot_bytes: int) -> int:
    """How many slots a segment of about that size has."""
    return 1 if slot_bytes > LARGEST_SLOT_BYTES else max(1, segment_bytes // slot_bytes)


def cut_at_once(segment_bytes: int, slot_bytes: int) -> int:
    """A page of slots, in a large segment 64 KiB of them: cutting costs 2 µs whatever their number."""
    return max(1, mmap.PAGESIZE // slot_bytes, (segment_bytes >> 6) // slot_bytes)


def place_at(origin: int, size: int) -> int:
    """The place of a value of that size at an origin. One that has a map of its own is all of it, whatever its end."""
    return origin + size if size <= LARGEST_SLOT_BYTES else origin


class Sliceable(Protocol):
    """What a value is read from."""

    def __getitem__(self, part: slice, /) -> bytes: ...


class Whole:
    """A map with one value that is too large for an offset: any slice of it is all of it."""

    __slots__ = ("_memory",)

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def __getitem__(self, _part: slice) -> bytes:
        return self._memory[:]
