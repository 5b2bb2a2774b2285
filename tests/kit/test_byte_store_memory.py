"""What `ByteStore` really takes of memory, beside what it says."""

from __future__ import annotations

import pytest

from tests.kit.support.memory import in_fresh_process


@pytest.mark.parametrize(("count", "size"), [(40_000, 200), (8_000, 2_600)])
def test_what_it_says_it_holds_is_what_memory_grew_by(count: int, size: int) -> None:
    told = in_fresh_process(f"""
        choose = random.Random(1)
        store = ByteStore(1 << 30)
        store.put("first", b"")
        before, said = anonymous(), store.held_bytes
        for number in range({count}):
            store.put(f"key-{{number:08d}}", choose.randbytes(choose.randrange({size} // 2, {size} * 3 // 2)))
        peak, at_peak = anonymous() - before, store.held_bytes - said
        for number in choose.sample(range({count}), {count} // 2):
            store.remove(f"key-{{number:08d}}")
        while store.compact():
            pass
        half, at_half = anonymous() - before, store.held_bytes - said
        store.clear()
        tell(peak=peak, at_peak=at_peak, half=half, at_half=at_half, cleared=anonymous() - before)
    """)
    assert 0.9 <= told["at_peak"] / told["peak"] <= 1.1, told
    # What is left of small objects (keys, places, the index's nodes) lies scattered in the interpreter's own arenas.
    assert told["half"] / told["peak"] < (0.6 if size > 2000 else 0.9), told
    assert told["at_half"] / told["at_peak"] < 0.65, told
    assert told["cleared"] / told["peak"] < (0.1 if size > 2000 else 0.6), told


def test_every_step_gives_memory_back_and_every_map_is_closed() -> None:
    """A step that gave nothing back, or a map left open, shows in memory and not in the account."""
    told = in_fresh_process("""
        store = ByteStore(1 << 30)
        store.put("first", b"")
        before = anonymous()
        for number in range(3500):
            store.put(f"{number}", bytes(10_000))
        held = anonymous() - before
        for number in range(3500):
            if number % 2:
                store._release(f"{number}", store._index.pop(f"{number}"))
        most = 0
        while store.compact():
            most = max(most, anonymous() - before - store.held_bytes)
        compacted = anonymous() - before
        assert all(store.get(f"{number}") == bytes(10_000) for number in range(0, 3500, 2))
        store.clear()
        tell(held=held, most=most, compacted=compacted, cleared=anonymous() - before)
    """)
    assert told["held"] > 34_000_000, told
    assert told["most"] < 1_000_000, told
    assert told["compacted"] < 20_000_000, told
    assert told["cleared"] < 2_000_000, told


def test_a_small_one_costs_little() -> None:
    told = in_fresh_process("""
        ByteStore(1 << 20).put("first", b"")
        before = anonymous()
        stores = [ByteStore(200 * 2**20) for _ in range(50)]
        for store in stores:
            for number in range(10):
                store.put(f"{number}", bytes(500))
        tell(each=(anonymous() - before) / 50, said=stores[0].held_bytes)
    """)
    assert told["each"] < 30_000, told
    assert told["said"] < 30_000, told
