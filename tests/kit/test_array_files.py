"""Array files: whole or not at all, checked when opened, mapped read-only, counted and let go of."""

from __future__ import annotations

import ctypes
import mmap
import os
import pickle
import random
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_watchdog_kit import ArrayFileError, Component, Level, MappedArrays, open_array, save_array
from memory_watchdog_kit.embedding_store.files import is_memory
from numpy.typing import NDArray

MiB = 1 << 20
ARRAYS: list[NDArray[Any]] = [
    *(
        np.arange(6, dtype=name).reshape(2, 3)
        for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
    ),
    np.arange(6, dtype=">f4"),
    np.array(3.5),
    np.empty((0, 768), np.float32),
    np.arange(12, dtype="f4").reshape(3, 4)[:, ::2],
    np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4)),
    np.arange(9 * MiB, dtype=np.float32).reshape(3, -1)[:, ::2],  # in parts, and not contiguous
    np.arange(18 * MiB, dtype=np.uint8).reshape(1, -1),  # one row is more than a part
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_an_array_comes_back_as_it_was(tmp_path: Path, array: NDArray[Any]) -> None:
    save_array(tmp_path / "array.npy", array)
    for got in (open_array(tmp_path / "array.npy"), np.load(tmp_path / "array.npy", allow_pickle=False)):
        np.testing.assert_array_equal(got, array)
        assert got.shape == array.shape
        assert got.dtype == array.dtype.newbyteorder("=")
    assert not open_array(tmp_path / "array.npy").flags.writeable
    assert stat.S_IMODE((tmp_path / "array.npy").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["array.npy"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_of_numpy_can_be_opened(tmp_path: Path, order: Any) -> None:
    array = np.asarray(np.arange(12, dtype=np.float32).reshape(3, 4), order=order)
    np.save(tmp_path / "array.npy", array)
    np.testing.assert_array_equal(open_array(tmp_path / "array.npy"), array)


@pytest.mark.parametrize(
    "array", [np.array([object()]), np.array(["text"]), np.array([1j]), np.zeros(2, [("a", "f4")])]
)
def test_other_arrays_are_refused(tmp_path: Path, array: NDArray[Any]) -> None:
    with pytest.raises(TypeError, match="are not stored"):
        save_array(tmp_path / "array.npy", array)
    assert not list(tmp_path.iterdir())
    np.save(tmp_path / "array.npy", array)
    with pytest.raises(ArrayFileError):
        open_array(tmp_path / "array.npy")


def test_a_pickle_in_the_place_of_a_header_is_inert(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    path.write_bytes(pickle.dumps(np.arange(5)))
    with pytest.raises(ArrayFileError, match="no array file"):
        open_array(path)
    evil = b"{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').mkdir('x'),), }\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(evil).to_bytes(2, "little") + evil + bytes(100))
    with pytest.raises(ArrayFileError, match="header"):
        open_array(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 4127), shape=st.sampled_from([(1000,), (10, 100)]))
def test_a_cut_file_is_an_error_when_it_is_opened(tmp_path: Path, cut: int, shape: tuple[int, ...]) -> None:
    path = tmp_path / "array.npy"
    save_array(path, np.arange(1000, dtype=np.float32).reshape(shape))
    size = path.stat().st_size
    assert size == 128 + 4000 + 12
    os.truncate(path, cut)
    with pytest.raises(ArrayFileError):
        open_array(path)
    path.write_bytes(path.read_bytes() + bytes(size + 1 - cut))
    with pytest.raises(ArrayFileError):
        open_array(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(offset=st.integers(0, 127), value=st.integers(0, 255))
def test_a_damaged_header_is_an_error(tmp_path: Path, offset: int, value: int) -> None:
    path = tmp_path / "array.npy"
    save_array(path, np.arange(1000, dtype=np.float32).reshape(10, 100))
    whole = path.read_bytes()
    path.write_bytes(whole[:offset] + bytes([value]) + whole[offset + 1 :])
    if path.read_bytes() == whole:
        assert open_array(path).shape == (10, 100)
    else:
        with pytest.raises(ArrayFileError):
            open_array(path)


@pytest.mark.parametrize(("old", "new"), [(b"<f4", b"<i4"), (b"(10, 100)", b"(100, 10)"), (b"False", b"True ")])
def test_a_header_that_fits_the_size_and_is_wrong_is_an_error(tmp_path: Path, old: bytes, new: bytes) -> None:
    path = tmp_path / "array.npy"
    save_array(path, np.arange(1000, dtype=np.float32).reshape(10, 100))
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ArrayFileError):
        open_array(path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=300), magic=st.booleans())
def test_any_file_is_an_array_or_an_error(tmp_path: Path, content: bytes, magic: bool) -> None:
    path = tmp_path / "array.npy"
    path.write_bytes((b"\x93NUMPY\x01\x00" if magic else b"") + content)
    with pytest.raises(ArrayFileError):
        open_array(path)


def test_a_long_row_of_digits_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    for shape in (b"1" * 5000, b"1," * 40, b",", b"1,,2", b"9" * 18 + b"," + b"9" * 18):
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + b"), }\n"
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8))
        with pytest.raises(ArrayFileError):
            open_array(path)


def test_replacing_a_file_leaves_what_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "array.npy"
    save_array(path, np.zeros(100_000, np.float32))
    arrays = MappedArrays()
    before = arrays.open(path)
    save_array(path, np.ones(10, np.float32))
    assert before.sum() == 0
    after = arrays.open(path)
    assert after.sum() == 10
    assert arrays.statistics().items == 2


SAVES = """
import sys
import numpy as np
from memory_watchdog_kit import save_array
number = int(sys.argv[2])
while True:
    number += 1
    save_array(sys.argv[1], np.full(200_000, number, np.int64))
    print(number, flush=True)
"""


def test_kill_9_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    rng, last = random.Random(1), 0
    path = tmp_path / "array.npy"
    for _ in range(6):
        command = [sys.executable, "-c", SAVES, str(path), str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(rng.randrange(1, 8)):
                last = int(process.stdout.readline())
            time.sleep(rng.random() * 0.01)  # anywhere in the next file
            process.kill()
            last = max([last, *map(int, process.stdout.read().split())])
        array = open_array(path)
        assert array[0] in (last, last + 1)
        assert (array == array[0]).all()
        last = int(array[0])
    left = list(tmp_path.glob(".array.npy.*.tmp"))
    for temporary in left:
        os.utime(temporary, (0, 0))
    save_array(path, np.zeros(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["array.npy"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    program = (
        "import resource, sys; import numpy as np; from memory_watchdog_kit import save_array\n"
        "save_array(sys.argv[1], np.zeros(10))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: save_array(sys.argv[1], np.ones(100_000))\n"
        "except OSError as error: print(error.strerror)"
    )
    path = tmp_path / "array.npy"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert open_array(path).sum() == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["array.npy"]


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """160 MiB, more than the 128 of which every page is looked at."""
    save_array(tmp_path / "big.npy", np.ones(160 * MiB, np.uint8))
    return tmp_path / "big.npy"


def test_resident_pages_are_file_memory_and_not_bytes(big: Path) -> None:
    arrays = MappedArrays(name="index")
    assert isinstance(arrays, Component)
    assert arrays.name == "index"
    assert (arrays.statistics().items, arrays.statistics().file_bytes) == (0, 0)
    array = arrays.open(big)
    statistics = arrays.statistics()
    assert (statistics.bytes, statistics.items) == (0, 1)
    assert statistics.file_bytes is not None
    assert statistics.file_bytes < 8 * MiB
    array[: 80 * MiB].max()
    half = arrays.statistics().file_bytes
    assert half == pytest.approx(80 * MiB, rel=0.05)
    array.max()
    assert arrays.statistics().file_bytes == pytest.approx(160 * MiB, rel=0.01)
    save_array(big.with_name("small.npy"), np.ones(3 * MiB, np.uint8))
    small = arrays.open(big.with_name("small.npy"))
    small.max()
    assert arrays.statistics().file_bytes == pytest.approx(163 * MiB, rel=0.01)
    assert arrays.statistics().items == 2


def test_a_cleanup_takes_the_pages_and_leaves_the_array(big: Path) -> None:
    arrays = MappedArrays()
    array = arrays.open(big)
    for level in Level:
        assert array.max() == 1
        steps = list(arrays.cleanup(level, None))
        assert len(steps) == 3
        assert sum(step.bytes_freed for step in steps) == pytest.approx(160 * MiB, rel=0.01)
        assert all(step.items_removed == 0 for step in steps)
        assert arrays.statistics().file_bytes == 0
    assert array.min() == 1
    (step,) = arrays.cleanup(Level.NORMAL, 1)
    assert step.bytes_freed == pytest.approx(64 * MiB, rel=0.01)
    assert arrays.statistics().file_bytes == pytest.approx(96 * MiB, rel=0.02)


def in_page_cache(path: Path) -> bool:
    """Whether reading the file's middle would not go to the disk, as mincore tells."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE) as mapped:
        page = (ctypes.c_char * 1).from_buffer(mapped, len(mapped) // 2 // mmap.PAGESIZE * mmap.PAGESIZE)
        told = ctypes.c_ubyte()
        assert libc.mincore(ctypes.byref(page), ctypes.c_size_t(1), ctypes.byref(told)) == 0
        del page
    return bool(told.value & 1)


def test_only_an_aggressive_cleanup_empties_the_page_cache(big: Path) -> None:
    arrays = MappedArrays()
    array = arrays.open(big)
    if is_memory(big.parent):
        pytest.skip("the files of this file system are in the page cache and nowhere else")
    array.max()
    list(arrays.cleanup(Level.NORMAL, None))
    assert in_page_cache(big)
    list(arrays.cleanup(Level.AGGRESSIVE, None))
    assert not in_page_cache(big)
    assert array.min() == 1


def test_a_map_ends_with_its_last_array(tmp_path: Path) -> None:
    save_array(tmp_path / "a.npy", np.arange(10))
    arrays = MappedArrays()
    first = arrays.open(tmp_path / "a.npy")
    second = arrays.open(tmp_path / "a.npy")
    assert first.base is second.base is not None  # mapped once
    assert arrays.statistics().items == 1
    view = second[3:5]
    del first, second
    assert arrays.statistics().items == 1
    assert view.tolist() == [3, 4]
    del view
    assert arrays.statistics().items == 0
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_file_that_is_gone_is_cleaned_as_well(tmp_path: Path) -> None:
    save_array(tmp_path / "a.npy", np.ones(100_000))
    arrays = MappedArrays()
    array = arrays.open(tmp_path / "a.npy")
    (tmp_path / "a.npy").unlink()
    assert array.sum() == 100_000
    list(arrays.cleanup(Level.AGGRESSIVE, None))
    assert arrays.statistics().file_bytes == 0
    assert array.sum() == 100_000
    with pytest.raises(FileNotFoundError):
        arrays.open(tmp_path / "a.npy")
