"""Bytes in anonymous memory maps, which go back to the system as they empty: where `ByteStore` keeps its values.

Covers: a slot for a value, its use again after that, unmapping an emptied segment, emptying a mostly free one.
Leaves to others: one map (`slots`); which key has which value, the order of use, the bounds, the lock (`byte_store`).

A segment has slots of one size. A freed slot is the next value's of that size: at its bound a store evicts one value
and puts another without moving any, where values end to end cost three moves a put. For that a slot is up to a
sixteenth larger than its value, 3 % in the middle. Slots are cut a page at a time: what was never cut costs nothing.

A place is one int: the segment's number, where the value begins, where it ends. It needs no object but itself, 32
bytes, and no look at the segment. Nothing here is locked.

`ByteStore.put` and `.get` do by themselves what `Segments.put` and `.read` do: a call costs an eighth of their time.
"""

from __future__ import annotations

import mmap
from collections.abc import MutableMapping

from memory_watchdog_kit.slots import (
    BEGIN_SHIFT,
    LARGEST_SEGMENT_BYTES,
    LARGEST_SLOT_BYTES,
    NUMBER_SHIFT,
    OFFSET_MASK,
    ROW_BYTES,
    SEGMENT_BYTES,
    SMALLEST_SEGMENT_BYTES,
    Segment,
    Sliceable,
    Whole,
    cut_at_once,
    place_at,
    slots_in,
)

# A segment is emptied if so much of it is dead; below, the moves cost more than they give.
_WORTHWHILE_SHARE = 1 / 16
_WORTHWHILE_BYTES = 2 * (SEGMENT_BYTES + mmap.PAGESIZE)

# One step of emptying: with 200 B a value 20 µs, with values of 64 KiB and more one value.
_STEP_VALUES = 16
_STEP_BYTES = 64 * 1024
_STEP_SLOTS = 1024


def _dead_share(segment: Segment) -> float:
    """How much of what it occupies is dead; 0 if that is not clearly more than a new segment would have unused."""
    slot_bytes = segment.slot_bytes
    dead_bytes = len(segment.free) * slot_bytes
    unused_bytes = cut_at_once(segment.slots * slot_bytes, slot_bytes) * slot_bytes
    if dead_bytes <= _WORTHWHILE_BYTES + unused_bytes:
        return 0.0
    return dead_bytes / (len(segment.keys) * slot_bytes)


class Segments:
    """Values in slots. `held_bytes` is what all cut slots occupy, `dead_bytes` the part of it that has no value.

    `open` has, by size of slot, the segment that the next value goes to; `memories` is what is mapped, by number.
    """

    __slots__ = (
        "_emptying",
        "_left",
        "_numbers",
        "_roomy",
        "_segments",
        "dead_bytes",
        "held_bytes",
        "memories",
        "open",
    )

    def __init__(self) -> None:
        self.open: dict[int, Segment] = {}
        self.memories: list[Sliceable] = []
        self._segments: dict[int, Segment] = {}
        self._numbers: list[int] = []  # that are free again
        self._roomy: dict[int, dict[int, Segment]] = {}  # by size of slot and number: others with free or uncut slots
        self._emptying: Segment | None = None
        self._left = 0  # values in the one that is being emptied
        self.held_bytes = 0
        self.dead_bytes = 0

    @property
    def count(self) -> int:
        """How many maps there are."""
        return len(self._segments)

    def has_free(self, slot_bytes: int) -> bool:
        """Whether a value of such a slot needs no more than is held already."""
        segment = self.open.get(slot_bytes)
        return (segment is not None and bool(segment.free)) or self._with_free_slot(slot_bytes) is not None

    def growth_bytes(self, slot_bytes: int) -> int:
        """By how much held grows, at most, when `with_free` has to cut slots."""
        roomy = self._roomy.get(slot_bytes)
        segment = next(iter(roomy.values())) if roomy else self.open.get(slot_bytes)
        if segment is not None and len(segment.keys) < segment.slots:
            return cut_at_once(segment.slots * slot_bytes, slot_bytes) * (slot_bytes + ROW_BYTES)
        slots = slots_in(self._usual_bytes(), slot_bytes)
        cut = min(slots, cut_at_once(slots * slot_bytes, slot_bytes))
        return cut * (slot_bytes + ROW_BYTES) + SEGMENT_BYTES

    def put(self, key: str | bytes, value: bytes, slot_bytes: int) -> int:
        """Keep the value in a slot of that size (`slot_bytes_for`) and tell its place.

        Raises OSError where the system has no more memory to map; nothing is changed then.
        """
        segment = self.open.get(slot_bytes)
        if segment is None or not segment.free:
            segment = self.with_free(slot_bytes)
        origin = segment.free.pop()
        begin = origin & OFFSET_MASK
        try:
            segment.memory[begin : begin + len(value)] = value
        except TypeError:  # no bytes
            segment.free.append(origin)
            raise
        segment.keys[begin // slot_bytes] = key
        self.dead_bytes -= slot_bytes
        return place_at(origin, len(value))

    def takes_over(self, place: int, slot_bytes: int) -> bool:
        """Whether another key may have the slot at this place for a value of such a slot."""
        segment = self._segments[place >> NUMBER_SHIFT]
        return segment.slot_bytes == slot_bytes and segment is not self._emptying

    def replace(self, place: int, value: bytes, key: str | bytes) -> int:
        """Write a value over another whose slot is of its size, now that key's, and tell its place."""
        begin = place >> BEGIN_SHIFT & OFFSET_MASK
        segment = self._segments[place >> NUMBER_SHIFT]
        size = len(value)
        segment.memory[begin : begin + size] = value
        segment.keys[begin // segment.slot_bytes] = key
        return place_at(segment.base | begin << BEGIN_SHIFT | begin, size)

    def read(self, place: int) -> bytes:
        """A copy of the value."""
        return self.memories[place >> NUMBER_SHIFT][place >> BEGIN_SHIFT & OFFSET_MASK : place & OFFSET_MASK]

    def slot_bytes_of(self, place: int) -> int:
        """The size of the slot that a value lies in."""
        return self._segments[place >> NUMBER_SHIFT].slot_bytes

    def free(self, place: int) -> None:
        """Let go of the value. Its slot is used again, or goes back with its segment or by `step`."""
        segment = self._segments[place >> NUMBER_SHIFT]
        slot_bytes = segment.slot_bytes
        begin = place >> BEGIN_SHIFT & OFFSET_MASK
        segment.keys[begin // slot_bytes] = None
        self.dead_bytes += slot_bytes
        if segment is self._emptying:
            self._left -= 1
            if not self._left:
                self._unmap(segment)
            return
        free = segment.free
        free.append(segment.base | begin << BEGIN_SHIFT | begin)
        if len(free) == len(segment.keys):
            self._unmap(segment)
        elif len(free) == 1:
            self._offer(segment)

    def with_free(self, slot_bytes: int) -> Segment:
        """The open segment, which has a free slot afterwards: another one, or with more slots cut, or a new one.

        Raises OSError as `put`.
        """
        found = self._with_free_slot(slot_bytes)
        if found is not None:
            self._open(found)
            return found
        found = self.open.get(slot_bytes)
        if found is None or len(found.keys) == found.slots:
            roomy = self._roomy.get(slot_bytes)
            found = next(iter(roomy.values())) if roomy else self._map(slot_bytes)
            self._open(found)
        cut = found.cut()
        self.held_bytes += cut * (slot_bytes + ROW_BYTES)
        self.dead_bytes += cut * slot_bytes
        return found

    def step(self, places: MutableMapping[str | bytes, int]) -> bool:
        """Move a few values out of the segment with the most free slots and write their new places.

        False when none is worth it. What this leaves behind goes back at once, so that no more than one step is held
        twice. Raises OSError as `put`.
        """
        segment = self._emptying or self._choose()
        if segment is None:
            return False
        keys, slot_bytes, memory = segment.keys, segment.slot_bytes, segment.memory
        top = len(keys)
        lowest = max(0, top - _STEP_SLOTS)
        moves = min(_STEP_VALUES, _STEP_BYTES // slot_bytes + 1)
        while top > lowest and moves:
            key = keys[top - 1]
            if key is not None:
                place = places[key]
                value = memory[place >> BEGIN_SHIFT & OFFSET_MASK : place & OFFSET_MASK]
                places[key] = self.put(key, value, slot_bytes)
                keys[top - 1] = None
                self.dead_bytes += slot_bytes
                self._left -= 1
                moves -= 1
            top -= 1
        if self._left:
            self._trim(segment, top)
        else:
            self._unmap(segment)
        return True

    def clear(self) -> None:
        """Give everything back."""
        for segment in list(self._segments.values()):
            self._unmap(segment)

    def _with_free_slot(self, slot_bytes: int) -> Segment | None:
        """One that is not open."""
        roomy = self._roomy.get(slot_bytes)
        return next((segment for segment in roomy.values() if segment.free), None) if roomy else None

    def _offer(self, segment: Segment) -> None:
        """Let the next value have the slot that has just become free: now if the open one has none, else later."""
        current = self.open.get(segment.slot_bytes)
        if current is segment:
            return
        if current is None or not current.free:
            self._open(segment)
        else:
            self._roomy.setdefault(segment.slot_bytes, {})[segment.number] = segment

    def _open(self, segment: Segment) -> None:
        """In place of the one that is open, which has no free slot, and may have some that are not cut yet."""
        slot_bytes = segment.slot_bytes
        before = self.open.get(slot_bytes)
        roomy = self._roomy.get(slot_bytes)
        if roomy and roomy.pop(segment.number, None) and not roomy:
            del self._roomy[slot_bytes]
        if before is not None and before is not segment and len(before.keys) < before.slots:
            self._roomy.setdefault(slot_bytes, {})[before.number] = before
        self.open[slot_bytes] = segment

    def _usual_bytes(self) -> int:
        return min(LARGEST_SEGMENT_BYTES, max(SMALLEST_SEGMENT_BYTES, 1 << (self.held_bytes >> 3).bit_length()))

    def _map(self, slot_bytes: int) -> Segment:
        number = self._numbers[-1] if self._numbers else len(self.memories)
        segment = Segment(number, slot_bytes, slots_in(self._usual_bytes(), slot_bytes))
        memory = Whole(segment.memory) if slot_bytes > LARGEST_SLOT_BYTES else segment.memory
        if self._numbers:
            self._numbers.pop()
            self.memories[number] = memory
        else:
            self.memories.append(memory)
        self._segments[number] = segment
        self.held_bytes += SEGMENT_BYTES
        return segment

    def _unmap(self, segment: Segment) -> None:
        segment.memory.close()
        self.memories[segment.number] = b""
        self._numbers.append(segment.number)
        del self._segments[segment.number]
        self._withdraw(segment)
        dead = len(segment.free)
        if segment is self._emptying:
            dead = len(segment.keys) - self._left
            self._emptying = None
            self._left = 0
        self.held_bytes -= SEGMENT_BYTES + len(segment.keys) * (segment.slot_bytes + ROW_BYTES)
        self.dead_bytes -= dead * segment.slot_bytes

    def _withdraw(self, segment: Segment) -> None:
        """No new value goes there."""
        if self.open.get(segment.slot_bytes) is segment:
            del self.open[segment.slot_bytes]
        roomy = self._roomy.get(segment.slot_bytes)
        if roomy and roomy.pop(segment.number, None) and not roomy:
            del self._roomy[segment.slot_bytes]

    def _choose(self) -> Segment | None:
        """The one with the largest free share, if emptying it gives back more than a new segment would cost."""
        segment = max(self._segments.values(), key=_dead_share, default=None)
        if segment is None or _dead_share(segment) < _WORTHWHILE_SHARE:
            return None
        self._withdraw(segment)
        self._emptying = segment
        self._left = len(segment.keys) - len(segment.free)
        segment.free.clear()
        return segment

    def _trim(self, segment: Segment, top: int) -> None:
        """Give back the pages above; no slot there has a value any more."""
        slot_bytes, page = segment.slot_bytes, mmap.PAGESIZE
        cut = len(segment.keys)
        begin = -(-top * slot_bytes // page) * page
        end = min(-(-cut * slot_bytes // page) * page, len(segment.memory))
        if begin < end:
            segment.memory.madvise(mmap.MADV_DONTNEED, begin, end - begin)
        self.held_bytes -= (cut - top) * (slot_bytes + ROW_BYTES)
        self.dead_bytes -= (cut - top) * slot_bytes
        del segment.keys[top:]
