"""A column keeps its rows whatever happens to its length, and gives memory back."""

from __future__ import annotations

import mmap
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit.columns import Column


@given(st.lists(st.integers(1, 6_000), max_size=12), st.sampled_from([None, 1, 3]))
def test_rows_stay_through_any_lengths(lengths: list[int], width: int | None) -> None:
    column = Column(np.int32, 10, width)
    column.array[:] = np.arange(10 * (width or 1)).reshape(column.array.shape)
    expected = column.array.copy()
    for rows in lengths:
        column.resize(rows)
        kept = min(rows, len(expected))
        assert len(column.array) == rows
        assert (column.array[:kept] == expected[:kept]).all()
        assert column.bytes == -(-rows * (width or 1) * 4 // mmap.PAGESIZE) * mmap.PAGESIZE
        column.array[kept:] = rows
        expected = column.array.copy()


@pytest.mark.parametrize("rows", [5, 5_000])
def test_who_still_looks_at_it_keeps_what_was_there(rows: int) -> None:
    column = Column(np.int64, 1_000)
    column.array[:] = 7
    seen = column.array[:5]
    column.resize(rows)
    assert column.array[: min(rows, 1_000)].tolist() == [7] * min(rows, 1_000)
    column.array[:] = 8
    assert seen.tolist() == [7] * 5
    assert column.array.tolist() == [8] * rows


def test_another_type_keeps_the_values() -> None:
    column = Column(np.uint8, 1_000)
    column.array[:] = np.arange(1_000) % 256
    wider = column.as_type(np.uint16)
    assert wider.array.dtype == np.uint16
    assert (wider.array == column.array).all()


NO_MEMORY = """
import resource
import numpy as np
from memory_watchdog_kit.vectors import VectorTable

table = VectorTable(4_096, precision="float32")
vector = np.ones(4_096, np.float32)
for key in range(300):
    table.put(key, vector)
with open("/proc/self/statm") as statm:
    now = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 20_000_000, resource.RLIM_INFINITY))
for key in range(300, 10_000):
    try:
        table.put(key, vector)
    except OSError as error:
        print(type(error).__name__, key == len(table), key in table)
        break
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
held = len(table)
print(len(table.nearest(vector, count=held + 5)) == held, table.remove(7))
for key in range(held, held + 1_000):
    table.put(key, vector)
print(len(table) == held + 999, all(table.vector(key)[0] == np.float32(1 / 64) for key in range(8, held + 1_000)))
"""


def test_a_table_is_whole_when_the_system_has_no_memory_for_more() -> None:
    done = subprocess.run([sys.executable, "-c", NO_MEMORY], capture_output=True, text=True, check=False, timeout=100)
    assert (done.stdout.splitlines(), done.stderr) == (["OSError True False", "True True", "True True"], "")
