"""What the embedding store does with rows and files that are not as it wrote them, and with a planted pickle."""

from __future__ import annotations

import logging
import os
import pickle
import random
import shutil
import sqlite3
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog_kit import EmbeddingStore, Level
from numpy.typing import NDArray

COUNT = 60
NAME = "embeddings.sqlite3"


def vector(value: float) -> NDArray[np.float32]:
    return np.full(768, value, np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed store with `COUNT` vectors."""
    with EmbeddingStore(tmp_path / "store") as store:
        store.put_many({str(number): vector(number) for number in range(COUNT)})
    return tmp_path / "store"


def change(folder: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(folder / NAME)
    with connection:
        assert connection.execute(sql, values).rowcount
    connection.close()


class Planted:
    """Runs code when it is unpickled: it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("data", vector(3).tobytes()[:-1] + b"x"),
        ("data", vector(3).tobytes()[:-4]),
        ("data", b""),
        ("data", None),
        ("data", "text"),
        ("data", 7),
        ("data", b"x" * 3_000_000),
        ("dtype", "float64"),
        ("dtype", "object"),
        ("dtype", "O"),
        ("dtype", None),
        ("dtype", b"\xff\xfe"),
        ("shape", "767"),
        ("shape", "-768"),
        ("shape", "2,384"),
        ("shape", ",".join(["1"] * 40)),
        ("shape", "9" * 5000),
        ("shape", None),
        ("checksum", 1),
        ("checksum", "one"),
        ("checksum", None),
        ("key", b"other"),
        ("key", None),
    ],
)
def test_a_damaged_row_is_a_miss_is_counted_and_goes(folder: Path, column: str, value: object) -> None:
    change(folder, f"UPDATE embedding SET {column} = ? WHERE key = ?", value, b"3")
    with EmbeddingStore(folder) as store:
        assert store.get("3") is None
        statistics = store.statistics()
        assert (statistics.damaged_rows, statistics.misses, statistics.hits) == (1, 1, 0)
        store.flush()
        assert store.statistics().items == COUNT - 1
        assert store.get("3") is None
        assert store.statistics().damaged_rows == 1
        np.testing.assert_array_equal(store.get("4"), vector(4))
        store.put("3", vector(33))
        store.flush()
        np.testing.assert_array_equal(store.get("3"), vector(33))


def test_an_enormous_row_is_not_read_into_memory(folder: Path) -> None:
    change(folder, "UPDATE embedding SET data = zeroblob(50000000) WHERE key = ?", b"3")
    with EmbeddingStore(folder) as store:
        tracemalloc.start()
        assert store.get("3") is None
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 5_000_000
        assert store.statistics().damaged_rows == 1


@pytest.mark.parametrize("dtype", ["object", "O", "|O", "float32", "uint8", "V1"])
@pytest.mark.parametrize("checksum", ["right", "wrong"])
def test_a_planted_pickle_is_inert(folder: Path, tmp_path: Path, dtype: str, checksum: str) -> None:
    mark = tmp_path / "was run"
    data = pickle.dumps(Planted(mark), protocol=0)
    data += b"." * (-len(data) % 4)
    shape = str(len(data) // 4 if dtype == "float32" else len(data))
    total = zlib.crc32(data, zlib.crc32(f"{dtype}\0{shape}\0".encode() + b"3\0")) if checksum == "right" else 5
    change(
        folder,
        "UPDATE embedding SET data = ?, dtype = ?, shape = ?, checksum = ? WHERE key = ?",
        *(data, dtype, shape, total, b"3"),
    )
    with EmbeddingStore(folder) as store:
        got = store.get("3")
        if checksum == "right" and dtype in ("float32", "uint8"):
            assert got is not None  # numbers like any others
            assert got.tobytes() == data
        else:
            assert got is None
            assert store.statistics().damaged_rows == 1
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()  # it would have run


def test_a_pickle_as_dtype_is_inert(folder: Path, tmp_path: Path) -> None:
    mark = tmp_path / "was run"
    change(
        folder, "UPDATE embedding SET dtype = ? WHERE key = ?", pickle.dumps(Planted(mark), protocol=0).decode(), b"3"
    )
    change(folder, "UPDATE embedding SET dtype = ? WHERE key = ?", pickle.dumps(Planted(mark)), b"4")
    with EmbeddingStore(folder) as store:
        assert store.get_many(["3", "4"]) == [None, None]
        assert store.statistics().damaged_rows == 2
    assert not mark.exists()


def test_a_row_of_another_key_with_the_same_hash_is_a_plain_miss(folder: Path) -> None:
    change(folder, "UPDATE entry SET place = (SELECT place FROM embedding WHERE key = ?) WHERE hash = ("
                   "SELECT hash FROM entry JOIN embedding USING (place) WHERE key = ?)", b"4", b"3")  # fmt: skip
    with EmbeddingStore(folder) as store:
        assert store.get("3") is None
        assert store.statistics().damaged_rows == 0
        assert store.get("4") is not None
        store.put("3", vector(33))
        store.flush()
        np.testing.assert_array_equal(store.get("3"), vector(33))


def test_rows_that_no_entry_points_to_do_not_fill_the_store_for_ever(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with EmbeddingStore(folder, max_bytes=4 << 20) as store:
        store.put_many({str(number): vector(number) for number in range(2000)})
    change(folder, "DELETE FROM entry")
    with EmbeddingStore(folder, max_bytes=4 << 20) as store:
        store.put_many({str(number): vector(number) for number in range(100)})
        store.flush()
        store.put_many({str(number): vector(number) for number in range(100)})
        store.flush()
        assert store.statistics().files_set_aside == 1
        assert store.get("99") is not None


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "header": lambda path: overwrite(path, 0, b"x" * 100),
    "first page": lambda path: overwrite(path, 100, b"\xff" * 3000),
    "not a database": lambda path: overwrite(path, 0, b"hello" * 5000),
    "every other page": lambda path: overwrite(path, 4096, random.Random(1).randbytes(path.stat().st_size - 4096)),
    "half of it": lambda path: os.truncate(path, path.stat().st_size // 2),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside(folder: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    DAMAGES[damage](folder / NAME)
    damaged = (folder / NAME).read_bytes()
    with caplog.at_level(logging.WARNING), EmbeddingStore(folder) as store:
        store.get_many(map(str, range(COUNT)))
        store.put("new", vector(7))
        store.flush()
        np.testing.assert_array_equal(store.get("new"), vector(7))
        statistics = store.statistics()
        assert (statistics.files_set_aside, statistics.items) == (1, 1)
    (aside,) = folder.glob(f"{NAME}.*")
    assert aside.name.startswith(f"{NAME}.damaged-")
    assert len(aside.read_bytes()) == len(damaged)
    (record,) = caplog.records
    assert f"set aside as {aside.name} and a new one begun" in record.getMessage()


@pytest.mark.parametrize("value", [0, 5, 255])
def test_a_header_with_any_wrong_byte_is_survived(folder: Path, value: int) -> None:
    whole = (folder / NAME).read_bytes()
    for offset in range(100):
        for path in folder.glob(f"{NAME}*"):
            path.unlink()
        (folder / NAME).write_bytes(whole)
        overwrite(folder / NAME, offset, bytes([value]))
        with EmbeddingStore(folder) as store:
            store.get("3")
            store.put("3", vector(33))
            assert store.flush(), offset
            np.testing.assert_array_equal(store.get("3"), vector(33))
            assert store.statistics().failures == 0


def test_damage_that_comes_while_it_is_open_is_a_miss(folder: Path) -> None:
    with EmbeddingStore(folder) as store:
        assert store.get("0") is not None
        list(store.cleanup(Level.NORMAL, None))  # nothing is left in the page caches
        DAMAGES["every other page"](folder / NAME)
        assert store.get_many(map(str, range(COUNT))) == [None] * COUNT
        store.put("new", vector(7))
        assert store.flush()
        np.testing.assert_array_equal(store.get("new"), vector(7))
        assert store.statistics().files_set_aside == 1


@pytest.mark.parametrize("size", [0, 1])
def test_an_empty_file_is_a_new_one(folder: Path, size: int) -> None:
    os.truncate(folder / NAME, size)
    with EmbeddingStore(folder) as store:
        assert store.get("3") is None
        assert store.put("3", vector(3))
        assert store.statistics().files_set_aside == 0


@pytest.mark.parametrize(("keep", "left"), [(1, 1), (3, 3), (0, 0)])
def test_what_is_set_aside_is_bounded_in_number(folder: Path, keep: int, left: int) -> None:
    newest = b""
    for number in range(4):
        newest = b"damage %d" % number
        (folder / NAME).write_bytes(newest)
        EmbeddingStore(folder, keep_set_aside=keep).close()
    aside = list(folder.glob(f"{NAME}.*"))
    assert len(aside) == left
    assert not left or newest in {path.read_bytes() for path in aside}


@pytest.mark.parametrize(
    "sql",
    [
        "PRAGMA user_version = 2",
        "PRAGMA application_id = 1",
        "CREATE TABLE more (a)",
        "CREATE TRIGGER planted AFTER UPDATE ON entry BEGIN DELETE FROM embedding; END",
        "DROP INDEX entry_used",
    ],
)
def test_a_file_of_another_schema_is_set_aside_and_not_read(folder: Path, sql: str) -> None:
    connection = sqlite3.connect(folder / NAME)
    connection.execute(sql)
    connection.commit()
    connection.close()
    with EmbeddingStore(folder) as store:
        assert store.get("3") is None
        assert store.statistics().files_set_aside == 1
        store.put("3", vector(33))
    (aside,) = folder.glob(f"{NAME}.*")
    assert aside.name.startswith(f"{NAME}.schema-")
    connection = sqlite3.connect(aside)
    assert connection.execute("SELECT count(*) FROM entry").fetchone() == (COUNT,)
    connection.close()
    with EmbeddingStore(folder) as store:
        np.testing.assert_array_equal(store.get("3"), vector(33))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_is_a_miss_and_nothing_else(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    whole = tmp_path_factory.getbasetemp() / "whole"
    if not whole.exists():
        with EmbeddingStore(whole) as store:
            store.put_many({str(number): vector(number) for number in range(COUNT)})
    folder = tmp_path_factory.mktemp("any") / "store"
    shutil.copytree(whole, folder)
    size = (folder / NAME).stat().st_size
    for _ in range(data.draw(st.integers(1, 5))):
        overwrite(folder / NAME, data.draw(st.integers(0, size - 1)), data.draw(st.binary(min_size=1, max_size=200)))
    with EmbeddingStore(folder) as store:
        for number in range(COUNT):
            got = store.get(str(number))
            assert got is None or (got == number).all()
        store.put_many({str(number): vector(-number) for number in range(COUNT)})
        store.delete("0")
        store.flush()
        list(store.cleanup(Level.NORMAL, None))
        store.trim(0.5)
        for number in range(COUNT):
            got = store.get(str(number))
            assert got is None or (got == -number).all() or (got == number).all()
        store.put("new", vector(7))
        store.flush()
        assert store.statistics().failures == 0
    shutil.rmtree(folder.parent)
