"""Properties of the vector table: it equals a dictionary and a search through all of it, in any order of operations."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_watchdog_kit import vector_rows
from memory_watchdog_kit.vectors import VectorTable

DIMENSIONS = 12
PRECISIONS = ("int8", "float32")

# A query is rounded too, but only for the choice of candidates; what is told is the cosine of the rounded row.
LARGEST_ERROR = {"int8": DIMENSIONS**0.5 / 254 * 1.01, "float32": 1e-5}


def unit(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    exact = vector.astype(np.float64)
    return np.asarray(exact / np.linalg.norm(exact))


def random_vector(seed: int, dimensions: int = DIMENSIONS) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=dimensions).astype(np.float32)


@pytest.fixture(params=PRECISIONS)
def table(request: pytest.FixtureRequest) -> VectorTable:
    return VectorTable(DIMENSIONS, precision=request.param)


keys = st.one_of(st.integers(0, 40), st.sampled_from([-(2**63), 2**63 - 1, -1]))
groups = st.sampled_from([0, 0, 1, 2, 255, 256, 70_000, 2**40, -3])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.integers(0, 10_000), groups),
        st.tuples(st.just("remove"), keys, st.just(0), st.just(0)),
        st.tuples(st.just("nearest"), st.just(0), st.integers(0, 10_000), groups),
    ),
    max_size=80,
)


@pytest.mark.parametrize("precision", PRECISIONS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(operations=steps, count=st.integers(1, 5))
def test_any_order_of_operations_equals_a_dictionary(
    precision: str, operations: list[tuple[str, int, int, int]], count: int
) -> None:
    table = VectorTable(DIMENSIONS, precision=precision)
    expected: dict[int, tuple[npt.NDArray[np.float64], int]] = {}
    for name, key, seed, group in operations:
        if name == "put":
            table.put(key, random_vector(seed), group)
            expected[key] = (unit(random_vector(seed)), group)
        elif name == "remove":
            assert table.remove(key) == (expected.pop(key, None) is not None)
            assert key not in table
        else:
            check_nearest(table, expected, random_vector(seed), group, count)
        assert len(table) == len(expected)
    for key, (vector, _) in expected.items():
        assert key in table
        assert np.linalg.norm(table.vector(key) - vector) <= LARGEST_ERROR[precision]


def check_nearest(
    table: VectorTable,
    expected: dict[int, tuple[npt.NDArray[np.float64], int]],
    query: npt.NDArray[np.float32],
    group: int,
    count: int,
) -> None:
    found = table.nearest(query, group=group, count=count)
    exact = {key: float(vector @ unit(query)) for key, (vector, of) in expected.items() if of == group}
    error = LARGEST_ERROR[table.precision]
    assert len(found) == min(count, len(exact))
    assert len({key for key, _ in found}) == len(found)
    assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)
    for (key, cosine), best in zip(found, sorted(exact.values(), reverse=True), strict=False):
        assert abs(cosine - exact[key]) <= error
        assert cosine >= best - error


def test_search_over_several_blocks_equals_brute_force(table: VectorTable) -> None:
    random = np.random.default_rng(5)
    vectors = random.normal(size=(20_000, DIMENSIONS)).astype(np.float32)
    # Group 0 is nearly everything, 1 a twentieth (its rows are copied out), 2 a single row.
    of = np.where(np.arange(len(vectors)) % 20 == 0, 1, 0)
    of[777] = 2
    for key, vector in enumerate(vectors):
        table.put(key, vector, int(of[key]))
    expected = {key: (unit(vector), int(of[key])) for key, vector in enumerate(vectors)}
    for query in random.normal(size=(20, DIMENSIONS)).astype(np.float32):
        for group in (0, 1, 2, 3):
            check_nearest(table, expected, query, group, 10)


def test_the_nearest_is_the_nearest_also_among_many_that_are_nearly_as_near(table: VectorTable) -> None:
    """Rounding exchanges neighbours in the first pass: a second look at its best puts them right."""
    random = np.random.default_rng(8)
    vectors = random.normal(size=DIMENSIONS) + 0.15 * random.normal(size=(4_000, DIMENSIONS))
    for key, vector in enumerate(vectors):
        table.put(key, vector)
    held = np.stack([table.vector(key) for key in range(len(vectors))])
    queries = vectors[:300] + 0.05 * random.normal(size=(300, DIMENSIONS))
    right = sum(
        table.nearest(query)[0][0] == int(np.argmax(held @ unit(query.astype(np.float32)))) for query in queries
    )
    assert right >= 297


def test_a_search_takes_the_best_of_any_block_and_any_number_of_equals(table: VectorTable) -> None:
    """The best stand at the edges of blocks, all others are the same vector, so that the first choice leaves all in."""
    ones = np.ones(DIMENSIONS, np.float32)
    for key in range(70_000):
        table.put(key, ones)
    query = random_vector(4)
    best = [0, 63, 64, 65_535, 65_536, 65_537, 69_999]
    for key in best:
        table.put(key, query)
    assert sorted(key for key, _ in table.nearest(query, count=len(best))) == best
    assert len(table.nearest(query, count=500)) == 500
    assert len(table.nearest(query, count=80_000)) == 70_000


def test_a_row_that_was_put_is_found_by_itself_with_cosine_one(table: VectorTable) -> None:
    for key in range(3_000):
        table.put(key, random_vector(key))
    for key in range(0, 3_000, 100):
        [(found, cosine)] = table.nearest(random_vector(key) * 7)
        assert found == key
        assert cosine == pytest.approx(1, abs=2e-4)
        assert cosine <= 1


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(DIMENSIONS),
        np.full(DIMENSIONS, np.nan),
        np.full(DIMENSIONS, np.inf),
        np.full(DIMENSIONS, 1e300),
        np.ones(DIMENSIONS + 1),
        np.ones((1, DIMENSIONS)),
        np.float32(1),
    ],
    ids=["zero", "nan", "infinite", "beyond float32", "too long", "two dimensions", "no dimension"],
)
def test_a_vector_that_has_no_direction_or_another_shape_is_refused(
    table: VectorTable, vector: npt.NDArray[np.float64]
) -> None:
    with pytest.raises(ValueError, match="vector"):
        table.put(1, vector)
    assert 1 not in table
    with pytest.raises(ValueError, match="vector"):
        table.nearest(vector)


@pytest.mark.parametrize("size", [1e-42, 1e-20, 1e20, 3e38])
def test_the_length_of_a_vector_does_not_matter(table: VectorTable, size: float) -> None:
    vector = np.zeros(DIMENSIONS, np.float32)
    vector[3], vector[4] = size, -size
    table.put(1, vector)
    assert table.vector(1)[3:5] == pytest.approx([0.5**0.5, -(0.5**0.5)])
    ((key, cosine),) = table.nearest(vector)
    assert key == 1
    assert cosine == pytest.approx(1.0)


def test_keys_and_groups_of_more_than_64_bits_are_refused_or_unknown(table: VectorTable) -> None:
    vector = random_vector(1)
    for key in (2**63, -(2**63) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            table.put(key, vector)
        with pytest.raises(ValueError, match="64 bits"):
            table.put(1, vector, key)
        assert key not in table
        assert not table.remove(key)
        assert table.nearest(vector, group=key) == []
    assert len(table) == 0


def test_arguments_that_make_no_sense_are_refused(table: VectorTable) -> None:
    with pytest.raises(ValueError, match="count"):
        table.nearest(random_vector(1), count=0)
    with pytest.raises(ValueError, match="dimension"):
        VectorTable(0)
    with pytest.raises(ValueError, match="precision"):
        VectorTable(3, precision="float16")
    with pytest.raises(KeyError):
        table.vector(5)


def test_int8_without_numkong_says_what_is_missing_and_the_default_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    assert VectorTable(3).precision == "int8"
    monkeypatch.setitem(sys.modules, "numkong", None)
    assert VectorTable(3).precision == "float32"
    with pytest.raises(ImportError, match="numkong"):
        VectorTable(3, precision="int8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_changing_table_under_many_threads_shows_whole_rows_only(precision: str) -> None:
    """Each key has one vector for ever: a search finds it with cosine 1 or, removed, something that is not it."""
    table = VectorTable(DIMENSIONS, precision=precision)
    vectors = [random_vector(key) for key in range(600)]
    stop = threading.Event()
    errors: list[str] = []

    def change(start: int) -> None:
        random = np.random.default_rng(start)
        for key in random.integers(0, 600, 3_000).tolist():
            if key % 3 == start:
                if random.random() < 0.5:
                    table.put(key, vectors[key])
                else:
                    table.remove(key)

    def read(start: int) -> None:
        random = np.random.default_rng(start)
        while not stop.is_set():
            key = int(random.integers(0, 600))
            for found, cosine in table.nearest(vectors[key], count=2):
                true = float(unit(vectors[found]) @ unit(vectors[key]))
                if abs(cosine - true) > LARGEST_ERROR[precision]:
                    errors.append(f"{found} at {cosine}, not {true}")

    readers = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    writers = [threading.Thread(target=change, args=(number,)) for number in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads are stopped everywhere, also between a row's key and its vector
    try:
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join()
    finally:
        stop.set()
        sys.setswitchinterval(interval)
    for thread in readers:
        thread.join()
    assert errors == []
    assert sorted(key for key, _ in table.nearest(vectors[0], count=1_000)) == [
        key for key in range(600) if key in table
    ]


SHRINKS = """
import numpy as np
from memory_watchdog_kit.vectors import VectorTable

def resident_bytes():
    with open("/proc/self/statm") as statm:
        pages = statm.read().split()
    return (int(pages[1]) - int(pages[2])) * 4096

vectors = np.random.default_rng(0).normal(size=(1000, 384)).astype(np.float32)
table = VectorTable(384, precision="{precision}")
table.put(0, vectors[0])
table.nearest(vectors[0])
table.remove(0)
before, base = resident_bytes(), table.bytes
for key in range({rows}):
    table.put(key, vectors[key % 1000])
print(resident_bytes() - before, table.bytes - base)
for key in np.random.default_rng(1).permutation({rows})[: {rows} // 2].tolist():
    table.remove(key)
print(resident_bytes() - before, table.bytes - base)
for key in range({rows}):
    table.remove(key)
print(resident_bytes() - before, table.bytes - base)
"""


@pytest.mark.parametrize("precision", PRECISIONS)
def test_removed_rows_go_back_to_the_system_and_bytes_are_what_the_process_grew_by(precision: str) -> None:
    program = SHRINKS.format(precision=precision, rows=20_000)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    full, half, empty = ([int(number) for number in line.split()] for line in done.stdout.splitlines())
    row_bytes = {"int8": 399, "float32": 1_549}[precision]
    assert full[1] == pytest.approx(20_000 * row_bytes, rel=0.03)
    assert half[1] == pytest.approx(10_000 * row_bytes, rel=0.06)
    assert empty[1] <= 2 * 256 * row_bytes
    # Python and numpy themselves take up to some 100 KB more or less in between: 7 % of the smaller table.
    for grown, told in (full, half, empty):
        assert abs(grown - told) <= 1_000_000


def test_unit_vector_has_length_one() -> None:
    assert np.linalg.norm(vector_rows.unit_vector(random_vector(3), DIMENSIONS)) == pytest.approx(1)
