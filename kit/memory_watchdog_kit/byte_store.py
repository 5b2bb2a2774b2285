"""Keys and their bytes, bounded in bytes and in number, the least recently used out first.

Covers: `ByteStore`: the index, the order of use, the bounds, what all of it occupies, the lock.
Leaves to others: where the bytes lie and how their memory goes back (`segments`), what they mean (`codec`).
"""

from __future__ import annotations

import math
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator

from memory_watchdog_kit.component import Cleaned, Level, Statistics
from memory_watchdog_kit.dropping import SHARES, Droppable, drop_in_steps
from memory_watchdog_kit.forking import held_across_forks
from memory_watchdog_kit.segments import Segments
from memory_watchdog_kit.slots import slot_bytes_for

# What an entry occupies beside its key, its slot and the index: its place is an int of 32 bytes, the index counts 56
# bytes for a node where the allocator takes 64, and it takes a key in steps of 16.
_ENTRY_BYTES = 32 + 8 + 8
_EMPTY_INDEX_BYTES = OrderedDict[str | bytes, int]().__sizeof__()
# The most that the index itself takes for an entry: CPython makes a table for three times what is in it, rounded up to
# a power of two, of 28 bytes a place; and a node.
_INDEX_ENTRY_BYTES = 6 * 28 + 56
_INDEX_FIRST_BYTES = 512

# With so much room, and another slot, `put` need not reckon: a cut of slots, a segment, any reasonable key.
_FAR_BYTES = 128 * 1024

# Dead space up to an eighth of what is held is left alone: the next values take it.
_DEAD_SHARE = 8


class ByteStore:
    """A bounded LRU of bytes whose memory goes back to the system. A `Component`, safe from any thread.

    `max_bytes` bounds all that is held: values, the free space between them, keys and the index. Inside a call it is
    exceeded by at most one step of moving values (64 KiB, or one value). `max_items` bounds their number. `evicted` is
    told each key that falls to a bound or a cleanup; it is called inside the lock and must not call back.
    `entry_overhead_bytes` is what the owner keeps beside each entry; it counts as if it were kept here.
    """

    def __init__(
        self,
        max_bytes: int,
        max_items: int | None = None,
        *,
        evicted: Callable[[str | bytes], None] | None = None,
        entry_overhead_bytes: int = 0,
        name: str = "byte_store",
    ) -> None:
        """Raises ValueError for a bound below 1."""
        if max_bytes < 1 or (max_items is not None and max_items < 1):
            raise ValueError(f"max_bytes and max_items are at least 1, not {max_bytes} and {max_items}")
        self.name = name
        self._max_bytes = max_bytes
        self._max_items = sys.maxsize if max_items is None else max_items
        self._evicted = evicted
        self._entry_bytes = _ENTRY_BYTES + entry_overhead_bytes
        self._lock = held_across_forks(threading.Lock())
        self._segments = Segments()
        # Segments' own, for `put` and `get`.
        self._open = self._segments.open
        self._memories = self._segments.memories
        self._index: OrderedDict[str | bytes, int] = OrderedDict()
        self._entries_bytes = 0  # keys, places, what the owner keeps
        self._index_room = 0  # more items than this may make the index larger than `_index_most` says
        self._index_low = 0  # with so few it is made anew, smaller
        self._index_most = 0  # the most items that it had since it was made
        self._entries_most = 0  # up to here the byte bound cannot have been passed
        self._hits = self._misses = self._evictions = self._refusals = 0
        self._note_room()

    def put(self, key: str | bytes, value: bytes) -> bool:
        """Keep the value. False if it cannot be kept, even alone: the key then has no value at all.

        That is so where the bound is too low for it, and where the system has no memory to map.
        """
        size = len(value)
        slot_bytes = (size + 15) & -16 or 16 if size <= 256 else slot_bytes_for(size)
        with self._lock:
            index, segments = self._index, self._segments
            if key in index:
                return self._replace(key, value, slot_bytes)
            if len(index) >= self._index_room:
                if self._take_over(key, value, slot_bytes):
                    return True
                index = self._index
            try:
                segment = self._open[slot_bytes]
                origin = segment.free.pop()
            except (KeyError, IndexError):
                if not self._make_room(key, slot_bytes):
                    return False
                index = self._index
                segment = self._open[slot_bytes]
                origin = segment.free.pop()
            # As in `Segments.put`, with the constants written out: 3 % of the time.
            begin = origin & 0x7FFFFF
            try:
                segment.memory[begin : begin + size] = value
            except TypeError:  # no bytes
                segment.free.append(origin)
                raise
            segment.keys[begin // slot_bytes] = key
            segments.dead_bytes -= slot_bytes
            index[key] = origin + size if size <= 0x80000 else origin
            self._entries_bytes = entries_bytes = self._entries_bytes + key.__sizeof__() + self._entry_bytes
            return entries_bytes <= self._entries_most or self._settle(key)

    def get(self, key: str | bytes) -> bytes | None:
        """The value, which becomes the most recently used; None if there is none."""
        with self._lock:
            try:
                self._index.move_to_end(key)
            except KeyError:
                self._misses += 1
                return None
            self._hits += 1
            place = self._index[key]
            return self._memories[place >> 46][place >> 23 & 0x7FFFFF : place & 0x7FFFFF]

    def peek(self, key: str | bytes) -> bytes | None:
        """The value or None, without counting it as a use."""
        with self._lock:
            place = self._index.get(key)
            return None if place is None else self._segments.read(place)

    def remove(self, key: str | bytes) -> bool:
        """Forget the value; False if there was none."""
        with self._lock:
            if key not in self._index:
                return False
            self._release(key, self._index.pop(key))
            self._give_back()
            return True

    def evict(self, count: int) -> int:
        """Let the `count` least recently used go, and tell how many there were."""
        with self._lock:
            count = min(count, len(self._index))
            for _ in range(count):
                self._evict()
            self._give_back()
            return count

    def compact(self) -> bool:
        """One step of moving values together, so that what is free goes back; False when there is no more to do."""
        with self._lock:
            moved = self._step()
            self._note_room()
            return moved

    def resize(self, max_bytes: int) -> None:
        """Another bound, kept at once."""
        with self._lock:
            self._max_bytes = max_bytes
            while self._bytes() > max_bytes and self._shrink():
                pass
            self._note_room()

    def clear(self) -> None:
        """Forget everything, without telling `evicted`."""
        with self._lock:
            self._segments.clear()
            self._index = OrderedDict()
            self._entries_bytes = self._index_most = 0
            self._note_room()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: str | bytes) -> bool:
        return key in self._index

    @property
    def held_bytes(self) -> int:
        """All that is held: cut slots, used or not, keys, index."""
        with self._lock:
            return self._bytes()

    @property
    def live_bytes(self) -> int:
        """The same without slots that have no value."""
        with self._lock:
            return self._bytes() - self._segments.dead_bytes

    def statistics(self) -> Statistics:
        """Its numbers."""
        with self._lock:
            return Statistics(
                bytes=self._bytes(),
                items=len(self._index),
                max_bytes=self._max_bytes,
                max_items=None if self._max_items == sys.maxsize else self._max_items,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
            )

    @property
    def refusals(self) -> int:
        """How many values could not be kept."""
        return self._refusals

    def cleanup(self, level: Level, target_bytes: int | None) -> Iterator[Cleaned]:
        """Let the least recently used 20 % (normal) or 50 % (aggressive) go, or as many as free `target_bytes`.

        It runs as it is iterated, a step of about 1 ms at a time.
        """
        store = Droppable(self.evict, self.compact, lambda: self.held_bytes, lambda: self.live_bytes)
        yield from drop_in_steps(store, math.ceil(len(self) * SHARES[Level(level)]), target_bytes)

    def _bytes(self) -> int:
        return self._segments.held_bytes + self._entries_bytes + self._index.__sizeof__() - _EMPTY_INDEX_BYTES

    def _replace(self, key: str | bytes, value: bytes, slot_bytes: int) -> bool:
        place = self._index[key]
        if self._segments.slot_bytes_of(place) == slot_bytes:
            self._index[key] = self._segments.replace(place, value, key)
            self._index.move_to_end(key)
            return True
        self._release(key, self._index.pop(key))
        if not self._make_room(key, slot_bytes):
            return False
        self._index[key] = self._segments.put(key, value, slot_bytes)
        self._entries_bytes += key.__sizeof__() + self._entry_bytes
        return self._settle(key)

    def _release(self, key: str | bytes, place: int) -> None:
        """Account for a key that has just left the index."""
        self._segments.free(place)
        self._entries_bytes -= key.__sizeof__() + self._entry_bytes
        if len(self._index) <= self._index_low:  # a dict does not shrink by itself
            self._index = OrderedDict(self._index)
            self._index_most = len(self._index)
            self._note_room()

    def _evict(self) -> None:
        key, place = self._index.popitem(last=False)
        self._release(key, place)
        self._evictions += 1
        if self._evicted is not None:
            self._evicted(key)

    def _step(self) -> bool:
        """A step of moving values together; False where there is nothing to move, or no memory to move it to."""
        try:
            return self._segments.step(self._index)
        except OSError:
            return False

    def _shrink(self) -> bool:
        """Hold a little less, by moving values together where much is dead, else by an eviction; False: all is gone."""
        segments = self._segments
        if segments.dead_bytes * _DEAD_SHARE >= segments.held_bytes and self._step():
            return True
        if not self._index:
            return False
        self._evict()
        return True

    def _give_back(self) -> None:
        """A step of moving values together, if more is dead than the next values are likely to take."""
        segments = self._segments
        if segments.dead_bytes * _DEAD_SHARE > segments.held_bytes:
            self._step()
        self._note_room()

    def _take_over(self, key: str | bytes, value: bytes, slot_bytes: int) -> bool:
        """At the bound by number, where the least recently used value has a slot of that size: write over it.

        A quarter less work than to evict it and to find another slot (`benchmarks.kit bytestore`: 1.27 of cachetools,
        where it was 0.97 to 1.01). False where that cannot be: there is room then.
        """
        index, segments = self._index, self._segments
        if len(index) == self._max_items and segments.dead_bytes * _DEAD_SHARE <= segments.held_bytes:
            oldest, place = next(iter(index.items()))
            after_bytes = self._entries_bytes + key.__sizeof__() - oldest.__sizeof__()
            if after_bytes <= self._entries_most and segments.takes_over(place, slot_bytes):
                index[key] = segments.replace(place, value, key)
                del index[oldest]
                self._entries_bytes = after_bytes
                self._evictions += 1
                if self._evicted is not None:
                    self._evicted(oldest)
                return True
        self._make_room_in_index()
        return False

    def _make_room_in_index(self) -> None:
        """For one more item."""
        segments = self._segments
        while len(self._index) >= self._max_items:
            self._evict()
        if segments.dead_bytes * _DEAD_SHARE > segments.held_bytes:
            self._give_back()
        elif len(self._index) >= self._index_room:
            self._note_room()

    def _make_room(self, key: str | bytes, slot_bytes: int) -> bool:
        """A free slot of that size, in the open segment; False, and a refusal, if there can be none."""
        segments = self._segments
        if self._entries_bytes + _FAR_BYTES + slot_bytes <= self._entries_most:
            return self._cut(slot_bytes) or self._refuse()
        if segments.has_free(slot_bytes):
            segments.with_free(slot_bytes)
            return True
        entry_bytes = key.__sizeof__() + self._entry_bytes
        growth_bytes = segments.growth_bytes(slot_bytes)
        if self._entries_bytes + entry_bytes + growth_bytes <= self._entries_most and self._cut(slot_bytes):
            return True
        possible = growth_bytes + entry_bytes + _INDEX_FIRST_BYTES <= self._max_bytes
        while possible and not segments.has_free(slot_bytes):
            if self._bytes() + entry_bytes + segments.growth_bytes(slot_bytes) <= self._max_bytes:
                break
            possible = self._shrink()
        possible = possible and self._cut(slot_bytes)
        self._note_room()
        return possible or self._refuse()

    def _refuse(self) -> bool:
        self._refusals += 1
        return False

    def _cut(self, slot_bytes: int) -> bool:
        """Hold more slots of that size; False if the system has no memory for them."""
        segments = self._segments
        before_bytes = segments.held_bytes
        try:
            segments.with_free(slot_bytes)
        except OSError:
            return False
        self._entries_most -= segments.held_bytes - before_bytes
        return True

    def _settle(self, key: str | bytes) -> bool:
        """Keep the byte bound now that `key` is in; False if that did not leave room for it."""
        while self._bytes() > self._max_bytes and self._shrink():
            pass
        self._give_back()
        return key in self._index or self._refuse()

    def _note_room(self) -> None:
        """What `put` may add without looking: an eighth more items, and what the bound leaves beside their index."""
        items = len(self._index)
        self._index_room = min(self._max_items, items + items // 8 + 64)
        self._index_most = max(self._index_most, self._index_room)
        self._index_low = max(0, (self._index_most - 64) // 4)
        index_bytes = max(self._index.__sizeof__(), _INDEX_FIRST_BYTES + self._index_most * _INDEX_ENTRY_BYTES)
        self._entries_most = self._max_bytes - self._segments.held_bytes - index_bytes
