"""`ByteStore` in any order of operations and from many threads."""

from __future__ import annotations

import mmap
import random
import threading
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from memory_watchdog_kit import ByteStore, Cleaned, Component, Level
from memory_watchdog_kit.byte_store import _ENTRY_BYTES
from memory_watchdog_kit.slots import LARGEST_SLOT_BYTES, ROW_BYTES, SEGMENT_BYTES, slot_bytes_for

MIB = 2**20
keys = some.integers(0, 40).map(lambda number: f"key {number}") | some.integers(0, 5).map(lambda number: b"%d" % number)
sizes = some.integers(0, 300) | some.integers(0, 9_000) | some.sampled_from([4096, 65_536, LARGEST_SLOT_BYTES + 1])


class AnyOrder(RuleBasedStateMachine):
    """Beside it a model that knows the order of use, and which of the keys may still be there."""

    @initialize(
        max_bytes=some.sampled_from([600, 10_000, 60_000, 400_000, 4_000_000]),
        max_items=some.sampled_from([None, 1, 7, 30]),
    )
    def begin(self, max_bytes: int, max_items: int | None) -> None:
        self.evicted: list[str | bytes] = []
        self.max_bytes, self.max_items = max_bytes, max_items
        self.store = ByteStore(max_bytes, max_items, evicted=self.evicted.append)
        self.model: OrderedDict[str | bytes, bytes] = OrderedDict()

    def take_evicted(self) -> None:
        """Only the least recently used may go."""
        for key in self.evicted:
            oldest = next(iter(self.model))
            assert key == oldest
            del self.model[key]
        self.evicted.clear()

    @rule(key=keys, size=sizes, seed=some.integers(0, 255))
    def put(self, key: str | bytes, size: int, seed: int) -> None:
        value = bytes([seed]) * size
        self.model.pop(key, None)
        kept = self.store.put(key, value)
        self.model[key] = value
        if key in self.evicted:  # put, and then no room for it
            assert not kept
        self.take_evicted()
        if not kept:
            self.model.pop(key, None)
        assert (key in self.store) == kept

    @rule(key=keys)
    def get(self, key: str | bytes) -> None:
        assert self.store.get(key) == self.model.get(key)
        if key in self.model:
            self.model.move_to_end(key)

    @rule(key=keys)
    def remove(self, key: str | bytes) -> None:
        assert self.store.remove(key) == (self.model.pop(key, None) is not None)

    @rule(count=some.integers(0, 8))
    def evict(self, count: int) -> None:
        assert self.store.evict(count) == min(count, len(self.model))
        self.take_evicted()

    @rule(level=some.sampled_from(Level), target_bytes=some.sampled_from([None, 1, 5_000]))
    def cleanup(self, level: Level, target_bytes: int | None) -> None:
        before = self.store.held_bytes
        done = sum(self.store.cleanup(level, target_bytes), Cleaned())
        assert done.items_removed == len(self.evicted)
        assert self.store.held_bytes <= before
        self.take_evicted()

    @rule(max_bytes=some.sampled_from([600, 10_000, 60_000, 400_000]))
    def resize(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.store.resize(max_bytes)
        self.take_evicted()

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.model.clear()
        assert self.store.held_bytes == 0

    @invariant()
    def the_bounds_hold(self) -> None:
        assert self.store.held_bytes <= self.max_bytes
        assert self.max_items is None or len(self.store) <= self.max_items

    @invariant()
    def it_has_what_the_model_has(self) -> None:
        assert len(self.store) == len(self.model)
        for key, value in self.model.items():
            assert self.store.peek(key) == value

    @invariant()
    def the_account_is_the_sum(self) -> None:
        slots = sum(slot_bytes_for(len(value)) for value in self.model.values())
        keys = sum(key.__sizeof__() + _ENTRY_BYTES for key in self.model)
        index = self.store._index.__sizeof__() - OrderedDict[str, int]().__sizeof__()
        counted = self.store._segments
        segments = list(counted._segments.values())
        assert counted.dead_bytes == sum(segment.slot_bytes * segment.keys.count(None) for segment in segments)
        cut = sum(len(segment.keys) * (segment.slot_bytes + ROW_BYTES) + SEGMENT_BYTES for segment in segments)
        assert counted.held_bytes == cut
        assert self.store.held_bytes == cut + keys + index
        assert self.store.live_bytes == self.store.held_bytes - counted.dead_bytes
        rows = sum(len(segment.keys) for segment in segments) * ROW_BYTES + len(segments) * SEGMENT_BYTES
        assert counted.held_bytes - counted.dead_bytes == slots + rows
        if not self.model:
            assert self.store.held_bytes == 0


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("max_items", [None, 25])
@pytest.mark.parametrize(("max_bytes", "largest"), [(15_000, 300), (120_000, 3_000), (3_000_000, 600_000)])
def test_a_long_walk(max_bytes: int, largest: int, max_items: int | None) -> None:
    """What takes many operations to go wrong: the same machine, with few keys and mostly puts and gets."""
    choose = random.Random(max_bytes)
    machine = AnyOrder()
    machine.begin(max_bytes, max_items)
    for _ in range(1_200):
        key = f"key {choose.randrange(60)}"
        match choose.randrange(24):
            case 0:
                machine.remove(key)
            case 1:
                machine.evict(choose.randrange(6))
            case 2:
                machine.compact()
            case 3 if not choose.randrange(8):
                machine.cleanup(choose.choice(list(Level)), choose.choice([None, largest]))
            case 4 if not choose.randrange(30):
                machine.clear()
            case 5 | 6 | 7 | 8 | 9:
                machine.get(key)
            case _:
                machine.put(key, choose.randrange(largest), choose.randrange(256))
        machine.the_bounds_hold()
        machine.it_has_what_the_model_has()
        machine.the_account_is_the_sum()


def test_it_is_a_component() -> None:
    store: Component = ByteStore(MIB, name="results")
    assert isinstance(store, Component)
    assert store.name == "results"


def test_statistics() -> None:
    store = ByteStore(MIB, 2)
    for key in ("a", "b", "c"):
        store.put(key, b"x")
    store.get("a")
    store.get("b")
    said = store.statistics()
    assert (said.items, said.max_items, said.max_bytes) == (2, 2, MIB)
    assert (said.hits, said.misses, said.evictions) == (1, 1, 1)
    assert said.bytes == store.held_bytes > 0


@pytest.mark.parametrize(("max_bytes", "max_items"), [(0, None), (MIB, 0)])
def test_a_bound_below_one_is_an_error(max_bytes: int, max_items: int | None) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ByteStore(max_bytes, max_items)


def test_what_is_too_large_is_refused_and_nothing_goes_for_it() -> None:
    store = ByteStore(100_000)
    store.put("small", b"x")
    store.put("large", b"y")
    assert not store.put("large", bytes(100_000))
    assert store.refusals == 1
    assert "large" not in store  # its old value would be a wrong one
    assert store.get("small") == b"x"


def test_values_larger_than_a_segment() -> None:
    store = ByteStore(64 * MIB)
    values = {
        f"{size}": random.Random(size).randbytes(size) for size in (512 * 1024, 512 * 1024 + 1, 9 * MIB, 20 * MIB)
    }
    for key, value in values.items():
        assert store.put(key, value)
    for key, value in values.items():
        assert store.get(key) == value
    store.put("9437184", b"short")
    assert store.get("9437184") == b"short"
    assert store.held_bytes < 22 * MIB


@pytest.mark.parametrize("replacing", [True, False])
def test_a_value_that_is_no_bytes_raises_and_leaves_the_store_sound(replacing: bool) -> None:
    store = ByteStore(10_000_000)
    for number in range(3000):
        key = str(number)
        if replacing:
            store.put(key, b"y" * 100)
        if number % 10 == 0:
            with pytest.raises(TypeError):
                store.put(key, "x" * 300)  # type: ignore[arg-type]
        store.put(key, b"x" * 300)
    for number in range(3000):
        if number % 5:
            store.remove(str(number))
    while store.compact():
        pass
    assert len(store) == 600
    assert all(store.get(str(number)) == b"x" * 300 for number in range(0, 3000, 5))
    assert store.held_bytes < 600 * 600


def test_at_the_bound_by_number_a_value_takes_the_place_of_the_oldest() -> None:
    evicted: list[str | bytes] = []
    store = ByteStore(1_000_000, 100, evicted=evicted.append)
    for number in range(100):
        store.put(f"key {number:04d}", bytes([number]) * 200)
    held = store.held_bytes
    store.get("key 0000")
    for number in range(100, 150):
        assert store.put(f"key {number:04d}", bytes([number]) * 200)
    assert evicted == [f"key {number:04d}" for number in range(1, 51)]
    assert (store.held_bytes, store.statistics().evictions, len(store)) == (held, 50, 100)
    assert store.get("key 0000") == bytes(200)
    assert all(store.get(f"key {number:04d}") == bytes([number]) * 200 for number in range(51, 150))
    with pytest.raises(TypeError):
        store.put("another", "y" * 200)  # type: ignore[arg-type]
    assert len(store) == 100
    assert store.get("key 0051") == bytes([51]) * 200


def test_no_memory_to_map_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ByteStore(MIB)
    assert store.put("a", b"x" * 100)

    def full(*_arguments: Any, **_keywords: Any) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("memory_watchdog_kit.slots.mmap.mmap", full)
    assert not store.put("b", b"x" * 5000)
    assert store.get("a") == b"x" * 100
    assert store.refusals == 1
    monkeypatch.undo()
    assert store.put("b", b"x" * 5000)


def test_moving_that_runs_out_of_memory_half_way_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ByteStore(64 * MIB)
    values = {f"{number}": random.Random(number).randbytes(2000) for number in range(128)}
    for key, value in values.items():  # four segments of 32 slots
        store.put(key, value)
    for number in (*range(20), 40, 41, 42):  # most of the first, three of the second, which the moves fill up
        store._release(f"{number}", store._index.pop(f"{number}"))
        del values[f"{number}"]

    def full(*_arguments: Any, **_keywords: Any) -> mmap.mmap:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("memory_watchdog_kit.slots.mmap.mmap", full)
    assert not store.compact()
    assert not store.compact()
    assert {key: store.get(key) for key in values} == values
    monkeypatch.undo()
    while store.compact():
        pass
    assert {key: store.get(key) for key in values} == values


def test_cleanup_takes_the_oldest_share_or_just_enough() -> None:
    for level, left in ((Level.NORMAL, 800), (Level.AGGRESSIVE, 500)):
        store = ByteStore(64 * MIB)
        for number in range(1000):
            store.put(f"{number}", bytes(1000))
        steps = list(store.cleanup(level, None))
        assert len(steps) > 1
        assert len(store) == left
        assert f"{1000 - left}" in store
        assert f"{999 - left}" not in store
    store = ByteStore(64 * MIB)
    for number in range(1000):
        store.put(f"{number}", bytes(1000))
    before = store.held_bytes
    done = sum(store.cleanup(Level.AGGRESSIVE, 50_000), Cleaned())
    assert 50_000 <= before - store.held_bytes == done.bytes_freed < 100_000
    assert 40 <= done.items_removed <= 100


def test_a_step_of_compaction_is_bounded() -> None:
    store = ByteStore(64 * MIB)
    for number in range(20_000):
        store.put(f"{number}", b"%d" % number * 20)
    for number in range(20_000):
        if number % 8:
            store._release(f"{number}", store._index.pop(f"{number}"))
    before = store.held_bytes
    places = dict(store._index)
    while store.compact():
        moved = sum(places[key] != place for key, place in store._index.items())
        assert moved <= 16
        places = dict(store._index)
    assert store.held_bytes < before / 3
    assert all(store.get(f"{number}") == b"%d" % number * 20 for number in range(0, 20_000, 8))


def test_eight_threads() -> None:
    store = ByteStore(300_000, 400)
    wrong: list[str] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(4000):
            key = f"{choose.randrange(600)}"
            match choose.randrange(6):
                case 0 | 1 | 2:
                    store.put(key, key.encode() * choose.randrange(1, 400))
                case 3 | 4:
                    value = store.get(key)
                    if value is not None and value != key.encode() * (len(value) // len(key)):
                        wrong.append(key)
                case _:
                    store.remove(key)
            if len(store) > 400:
                wrong.append("too many")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert store.held_bytes <= 300_000
    store.clear()
    assert store.held_bytes == 0
