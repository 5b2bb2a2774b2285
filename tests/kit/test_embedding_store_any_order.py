"""The embedding store under any order of operations, and under eight threads at once."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from memory_watchdog_kit import EmbeddingStore, Level
from numpy.typing import NDArray

MAX_BYTES = 4 << 20
KEYS = st.integers(0, 60).map(str)
SIZES = st.sampled_from([0, 3, 768, 4000, 4100, 30_000, 125_000])


def array_of(size: int, value: int) -> NDArray[np.uint8]:
    return np.full(size, value, np.uint8)


class AnyOrder(RuleBasedStateMachine):
    """Beside the store a dictionary of what was put last. What the store has evicted it may miss, never have wrong."""

    @initialize(batch_items=st.sampled_from([1, 7, 256]))
    def begin(self, batch_items: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.batch_items = batch_items
        self.put: dict[str, NDArray[np.uint8]] = {}
        self.last = ""
        self.gone = 0
        self.value = 0
        self.open()

    def open(self) -> None:
        self.store = EmbeddingStore(
            self.folder, max_bytes=MAX_BYTES, batch_items=self.batch_items, batch_bytes=400_000, batch_seconds=1000
        )

    def compare(self, key: str, got: NDArray[np.uint8] | None) -> None:
        expected = self.put.get(key)
        if got is not None:
            assert expected is not None, f"{key} was deleted or never put"
            np.testing.assert_array_equal(got, expected)
        elif expected is not None:
            assert self.evicted() > 0, f"{key} is lost"
            assert key != self.last, f"{key} was used last and has been evicted first"

    def evicted(self) -> int:
        return self.gone + (self.store.statistics().evictions or 0)

    @rule(key=KEYS, size=SIZES, count=st.integers(1, 12))
    def put_some(self, key: str, size: int, count: int) -> None:
        self.value = (self.value + 1) % 256
        keys = [str((int(key) + number) % 61) for number in range(count)]
        taken = self.store.put_many({key: array_of(size, self.value) for key in keys})
        assert taken == len(keys)
        self.put |= {key: array_of(size, self.value) for key in keys}
        self.last = keys[-1]

    @rule(key=KEYS)
    def put_too_much(self, key: str) -> None:
        assert not self.store.put(key, array_of(140_000, 0))

    @rule(key=KEYS)
    def get(self, key: str) -> None:
        got = self.store.get(key)
        self.compare(key, got)
        if got is not None:
            self.last = key

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.store.delete(key)
        self.put.pop(key, None)
        assert self.store.get(key) is None

    @rule()
    def flush(self) -> None:
        assert self.store.flush()
        items = self.store.statistics().items
        assert items is not None
        assert items == len(self.put) or (items < len(self.put) and self.evicted())

    @rule(level=st.sampled_from(Level))
    def cleanup(self, level: Level) -> None:
        assert all(step.bytes_freed >= 0 for step in self.store.cleanup(level, None))

    @rule(share=st.floats(0, 0.5))
    def trim(self, share: float) -> None:
        before = self.evicted()
        assert self.store.trim(share).items_removed == self.evicted() - before

    @rule()
    def reopen(self) -> None:
        self.gone = self.evicted()
        self.store.close()
        self.open()

    @precondition(lambda self: hasattr(self, "store"))
    @invariant()
    def bounds_hold(self) -> None:
        statistics = self.store.statistics()
        assert statistics.disk_bytes <= MAX_BYTES
        assert (statistics.failures, statistics.damaged_rows, statistics.files_set_aside) == (0, 0, 0)
        assert statistics.bytes is not None

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for key in [str(number) for number in range(61)]:
                self.compare(key, self.store.get(key))
            self.store.close()
            shutil.rmtree(self.folder)


AnyOrder.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_threads_at_once(tmp_path: Path) -> None:
    """Each thread owns an eighth of the keys: for them it knows what must come back. It reads the others' as well."""
    threads, keys, rounds = 8, 25, 250
    failures: list[str] = []
    with EmbeddingStore(tmp_path / "store", max_bytes=MAX_BYTES, batch_items=16) as store:

        def work(number: int) -> None:
            rng = random.Random(number)
            mine: dict[str, int] = {}
            for round_ in range(rounds):
                key = f"{number} {rng.randrange(keys)}"
                match rng.randrange(8):
                    case 0 | 1 | 2:
                        value = round_ % 250
                        store.put(key, np.full(5000, value, np.uint8))
                        mine[key] = value
                    case 3:
                        store.delete(key)
                        mine.pop(key, None)
                    case 4:
                        other = store.get(f"{rng.randrange(threads)} {rng.randrange(keys)}")
                        if other is not None and other.min() != other.max():
                            failures.append(f"{number}: torn")
                    case 5:
                        got = store.get(key)
                        if got is not None and got[0] != mine.get(key):
                            failures.append(f"{number}: {key} is {got[0]}, not {mine.get(key)}")
                    case 6:
                        store.flush()
                    case _:
                        list(store.cleanup(Level.NORMAL, None))
                        if store.statistics().disk_bytes > MAX_BYTES:
                            failures.append("too large")

        def guarded(number: int) -> None:
            try:
                work(number)
            except Exception as error:  # noqa: BLE001  # told below: pytest does not see other threads' errors
                failures.append(repr(error))

        workers = [threading.Thread(target=guarded, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert failures == []
        store.flush()
        statistics = store.statistics()
        assert (statistics.failures, statistics.damaged_rows) == (0, 0)
        assert statistics.items == sum(store.get(f"{n} {k}") is not None for n in range(threads) for k in range(keys))
