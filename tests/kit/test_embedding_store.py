"""The embedding store as its user sees it: what comes back, who may open it, what is told and cleaned."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_watchdog_kit import Component, EmbeddingStore, Level, StoreError, StoreInUseError
from memory_watchdog_kit.embedding_store.files import is_memory
from numpy.typing import NDArray

from tests.support.wait import eventually

MiB = 1 << 20


def vector(value: float, count: int = 768) -> NDArray[np.float32]:
    return np.full(count, value, np.float32)


def rows_in(folder: Path) -> int:
    with sqlite3.connect(folder / "embeddings.sqlite3") as connection:
        (count,) = connection.execute("SELECT count(*) FROM entry").fetchone()
    connection.close()
    return int(count)


ARRAYS: list[NDArray[Any]] = [
    *(
        np.arange(6, dtype=name).reshape(2, 3)
        for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
    ),
    np.arange(6, dtype=">f4"),
    np.arange(12, dtype="f4").reshape(3, 4)[:, ::2],
    np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4)),
    np.array(3.5),
    np.empty((0, 768), np.float32),
    np.array([np.nan, np.inf, -0.0], np.float32),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
@pytest.mark.parametrize("where", ["waiting", "file", "reopened"])
def test_an_array_comes_back_as_it_was(tmp_path: Path, array: NDArray[Any], where: str) -> None:
    store = EmbeddingStore(tmp_path / "store")
    assert store.put("key", array)
    if where == "file":
        assert store.flush()
    if where == "reopened":
        store.close()
        store = EmbeddingStore(tmp_path / "store")
    got = store.get("key")
    store.close()
    assert got is not None
    assert got.shape == array.shape
    assert got.dtype == array.dtype.newbyteorder("=")
    assert got.tobytes() == array.astype(got.dtype).tobytes()
    assert not got.flags.writeable


def test_what_is_put_is_a_copy(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store") as store:
        array = vector(1)
        store.put("key", array)
        array[:] = 2
        np.testing.assert_array_equal(store.get("key"), vector(1))


@pytest.mark.parametrize("key", ["", "ключ", "a\0b", "\ud800", "x" * 100_000])
def test_any_text_is_a_key(tmp_path: Path, key: str) -> None:
    with EmbeddingStore(tmp_path / "store") as store:
        store.put(key, vector(1))
        store.put(key + "'", vector(2))
        store.flush()
        np.testing.assert_array_equal(store.get(key), vector(1))
        store.delete(key)
        assert store.get(key) is None
        store.flush()
        assert store.get(key) is None
        np.testing.assert_array_equal(store.get(key + "'"), vector(2))


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array(["text"]),
        np.array([b"bytes"]),
        np.array([1j]),
        np.array([True]),
        np.array(["2026-01-01"], "M8[D]"),
        np.zeros(2, [("a", "f4")]),
        np.array([1], np.longdouble),
    ],
    ids=lambda array: str(array.dtype),
)
def test_other_arrays_are_refused(tmp_path: Path, array: NDArray[Any]) -> None:
    with EmbeddingStore(tmp_path / "store") as store:
        with pytest.raises(TypeError, match="are not stored"):
            store.put("key", array)
        assert store.get("key") is None


def test_many_at_once(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", batch_items=4) as store:
        assert store.put_many({str(number): vector(number) for number in range(10)}) == 10
        got = store.get_many(["9", "none", "0"])
    assert got[1] is None
    np.testing.assert_array_equal(got[0], vector(9))
    np.testing.assert_array_equal(got[2], vector(0))


def test_an_array_that_is_too_large_is_refused_and_counted(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", max_bytes=4 * MiB) as store:
        assert store.put("key", np.zeros(120_000, np.uint8))
        assert not store.put("key", np.zeros(200_000, np.uint8))
        assert store.put_many({"a": np.zeros(200_000, np.uint8), "b": vector(1)}) == 1
        got = store.get("key")
        assert got is not None
        assert got.size == 120_000
        assert store.statistics().refused == 2


def test_statistics_count_hits_misses_items_and_evictions(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", max_bytes=4 * MiB) as store:
        assert isinstance(store, Component)
        assert store.name == "embedding_store"
        store.put("a", vector(1))
        store.get("a")
        store.flush()
        store.get("a")
        store.get("b")
        statistics = store.statistics()
        assert (statistics.items, statistics.hits, statistics.misses, statistics.evictions) == (1, 2, 1, 0)
        assert statistics.max_disk_bytes == 4 * MiB
        assert 0 < statistics.disk_bytes <= 4 * MiB
        for number in range(2000):
            store.put(str(number), vector(number))
        store.flush()
        statistics = store.statistics()
        assert statistics.items is not None
        assert statistics.evictions == 2001 - statistics.items > 0


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", max_bytes=4 * MiB) as store:
        for number in range(300):
            store.put(f"old {number}", vector(number))
        store.flush()
        for round_ in range(10):
            for number in range(50):  # in use, although first to come
                assert store.get(f"old {number}") is not None
            for number in range(100):
                store.put(f"new {round_} {number}", vector(number))
        store.flush()
        assert store.statistics().evictions
        assert all(store.get(f"old {number}") is not None for number in range(50))
        assert store.get_many(f"old {number}" for number in range(50, 300)) == [None] * 250
        assert all(store.get(f"new 9 {number}") is not None for number in range(100))


def test_the_order_of_use_survives_closing(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", max_bytes=8 * MiB) as store:
        for number in range(1000):
            store.put(str(number), vector(number))
        store.flush()
        assert store.statistics().evictions == 0
        for number in range(100):
            store.get(str(number))
    with EmbeddingStore(tmp_path / "store", max_bytes=4 * MiB) as store:
        statistics = store.statistics()
        assert statistics.items is not None
        assert 300 < statistics.items < 1000
        assert statistics.disk_bytes <= 4 * MiB
        assert all(store.get(str(number)) is not None for number in range(100))
        assert store.get("100") is None
        assert store.get("999") is not None


def test_a_batch_is_written_when_its_time_has_come(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", batch_seconds=0.01) as store:
        store.put("key", vector(1))
        eventually(lambda: rows_in(tmp_path / "store") == 1)
        store.delete("key")
        eventually(lambda: rows_in(tmp_path / "store") == 0)


def test_a_batch_is_written_when_half_of_it_is_there(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", batch_seconds=1000, batch_items=20) as store:
        for number in range(9):
            store.put(str(number), vector(number))
        assert rows_in(tmp_path / "store") == 0
        store.put("9", vector(9))
        eventually(lambda: rows_in(tmp_path / "store") == 10)
    with EmbeddingStore(tmp_path / "more", batch_seconds=1000, batch_bytes=40_000) as store:
        for number in range(7):
            store.put(str(number), vector(number))
        eventually(lambda: rows_in(tmp_path / "more") == 7)


def test_a_row_longer_than_a_batch_is_a_batch_of_its_own(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", batch_bytes=1000) as store:
        for number in range(5):
            assert store.put(str(number), vector(number))
        store.flush()
        assert store.statistics().items == 5


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's temporary folder lies in."""
    monkeypatch.setattr("memory_watchdog_kit.embedding_store.files.is_memory", lambda folder: False)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory_watchdog_kit.embedding_store.files.is_memory", lambda folder: True)


@pytest.mark.usefixtures("on_disk")
def test_cleanup_lets_go_of_memory_and_leaves_the_rows(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", batch_seconds=1000, batch_items=10_000) as store:
        for number in range(100):
            store.put(str(number), vector(number))
            store.get(str(number))
        before = store.statistics()
        assert before.bytes is not None
        assert before.bytes > 300_000
        (cleaned,) = store.cleanup(Level.AGGRESSIVE, 1 << 40)
        after = store.statistics()
        assert after.bytes == before.bytes - cleaned.bytes_freed == 0
        assert after.items == 100
        assert cleaned.items_removed == after.evictions == 0
        np.testing.assert_array_equal(store.get("7"), vector(7))


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize(("level", "left"), [(Level.NORMAL, 800), (Level.AGGRESSIVE, 500)])
def test_cleanup_drops_the_oldest_where_the_files_lie_in_memory(tmp_path: Path, level: Level, left: int) -> None:
    with EmbeddingStore(tmp_path / "store") as store:
        store.put_many({str(number): vector(number) for number in range(1000)})
        store.flush()
        before = store.statistics()
        assert before.bytes is not None
        assert before.bytes > before.disk_bytes
        steps = list(store.cleanup(level, None))
        after = store.statistics()
        assert len(steps) > 2
        assert sum(step.items_removed for step in steps) == 1000 - left
        assert after.items == left
        assert after.disk_bytes < before.disk_bytes * (left + 100) / 1000
        assert store.get(str(999 - left)) is None
        assert store.get(str(1000 - left)) is not None


@pytest.mark.usefixtures("in_memory")
def test_cleanup_where_the_files_lie_in_memory_stops_at_its_target(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store") as store:
        store.put_many({str(number): vector(number) for number in range(1000)})
        store.flush()
        assert sum(step.items_removed for step in store.cleanup(Level.AGGRESSIVE, 1)) == 0
        removed = sum(step.items_removed for step in store.cleanup(Level.AGGRESSIVE, 300_000))
        assert 0 < removed < 200


def test_trim_removes_the_oldest_and_shrinks_the_file(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store") as store:
        store.put_many({str(number): vector(number) for number in range(1000)})
        store.get("0")
        cleaned = store.trim(0.5)
        assert cleaned.items_removed >= 500
        assert cleaned.bytes_freed >= 500 * 3072
        assert store.statistics().disk_bytes < 600 * 4096
        assert store.get("0") is not None
        assert store.get("1") is None
        assert store.trim(1).items_removed == 500
        assert store.statistics().items == 0
        with pytest.raises(ValueError, match="share"):
            store.trim(1.1)


def test_deleting_shrinks_the_file(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store", max_bytes=16 * MiB) as store:
        store.put_many({str(number): vector(number) for number in range(2000)})
        store.flush()
        for number in range(2000):
            store.delete(str(number))
        store.flush()
        assert store.statistics().items == 0
    assert (tmp_path / "store" / "embeddings.sqlite3").stat().st_size < 3 * MiB


def test_the_folder_and_its_files_are_private(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with EmbeddingStore(tmp_path / "a" / "store") as store:
            store.put("key", vector(1))
            store.flush()
            folder = tmp_path / "a" / "store"
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(old)
    assert set(names) == {
        "embeddings.lock",
        *(f"embeddings.sqlite3{part}" for part in ("", "-wal", "-shm")),
    }
    assert set(names.values()) == {0o600}


def test_an_open_folder_is_closed_if_only_the_store_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    EmbeddingStore(folder).close()
    folder.chmod(0o755)
    (folder / "embeddings.sqlite3").chmod(0o644)
    EmbeddingStore(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "embeddings.sqlite3").stat().st_mode) == 0o600
    folder.chmod(0o755)
    (folder / "letter.txt").touch()
    with pytest.raises(StoreError, match=r"open to others and holds 'letter\.txt'"):
        EmbeddingStore(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(StoreError, match="belongs to user"):
        EmbeddingStore(tmp_path / "store")


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        EmbeddingStore(tmp_path / "file")
    (tmp_path / "store").mkdir(mode=0o700)
    (tmp_path / "store" / "embeddings.sqlite3").symlink_to(tmp_path / "file")
    with pytest.raises(StoreError):
        EmbeddingStore(tmp_path / "store")
    (tmp_path / "store" / "embeddings.sqlite3").unlink()
    EmbeddingStore(tmp_path / "store").close()  # the failed attempt has let go of its lock


def test_a_second_one_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with EmbeddingStore(tmp_path / "store") as store:
        for _ in range(2):
            with pytest.raises(StoreInUseError, match="already open in this process"):
                EmbeddingStore(tmp_path / "store")
        store.put("key", vector(1))
    with EmbeddingStore(tmp_path / "store") as store:
        assert store.get("key") is not None


def test_another_process_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    program = f"from memory_watchdog_kit import EmbeddingStore; EmbeddingStore({str(folder)!r}).close()"
    with EmbeddingStore(folder) as store:
        second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1].endswith(f"{folder} is open in another process: one folder, one process")
        store.put("key", vector(1))
        assert store.flush()
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_bytes": 4 * MiB - 1},
        {"batch_items": 0},
        {"batch_bytes": 0},
        {"batch_seconds": 0},
        {"keep_set_aside": -1},
    ],
)
def test_bounds_that_cannot_be_kept_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EmbeddingStore(tmp_path / "store", **wrong)
    assert not (tmp_path / "store").exists()


def test_closed_is_closed(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "store", name="vectors")
    store.put("key", vector(1))
    store.close()
    store.close()
    for call in (lambda: store.get("key"), lambda: store.put("key", vector(1)), store.flush, store.statistics):
        with pytest.raises(StoreError, match="vectors is closed"):
            call()
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["embeddings.lock", "embeddings.sqlite3"]


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 {device} / {mount} rw,nosuid shared:2 master:1 - {kind} none rw
32 22 broken
"""


@pytest.mark.parametrize(("kind", "memory"), [("tmpfs", True), ("ramfs", True), ("xfs", False)])
def test_a_file_system_in_memory_is_recognised(tmp_path: Path, kind: str, memory: bool) -> None:
    device = tmp_path.stat().st_dev
    table = tmp_path / "mountinfo"
    text = MOUNTS.format(device=f"{os.major(device)}:{os.minor(device)}", mount=tmp_path, kind=kind)
    table.write_text(text)
    assert is_memory(tmp_path, table) is memory
    assert not is_memory(tmp_path, tmp_path / "none")
