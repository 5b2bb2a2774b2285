"""What this process holds."""

from __future__ import annotations

import mmap
from pathlib import Path

import psutil
import pytest
from memory_watchdog_kit import read_own_memory
from memory_watchdog_kit.own_memory import OwnMemory, start_time_seconds

SIZE = 64 * 2**20
SLACK = 8 * 2**20


@pytest.mark.parametrize("flags", [mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS])
def test_touched_memory_is_private_whether_it_is_shared_or_not(flags: int) -> None:
    before = read_own_memory()
    with mmap.mmap(-1, SIZE, flags=flags) as block:
        for at in range(0, SIZE, mmap.PAGESIZE):
            block[at] = 1
        grown = read_own_memory()
    after = read_own_memory()
    assert grown.private_bytes - before.private_bytes == pytest.approx(SIZE, abs=SLACK)
    assert grown.resident_bytes - before.resident_bytes == pytest.approx(SIZE, abs=SLACK)
    assert grown.private_bytes - after.private_bytes == pytest.approx(SIZE, abs=SLACK)


def test_pages_of_a_file_are_not_private(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * SIZE)
    before = read_own_memory()
    with path.open("rb") as file, mmap.mmap(file.fileno(), SIZE, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[at] for at in range(0, SIZE, mmap.PAGESIZE)) == SIZE // mmap.PAGESIZE * ord("x")
        read = read_own_memory()
    assert read.resident_bytes - before.resident_bytes == pytest.approx(SIZE, abs=SLACK)
    assert read.private_bytes - before.private_bytes == pytest.approx(0, abs=SLACK)


def test_anonymous_shared_and_swapped_memory_are_added_up(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Name:\ta kB 5 kB\nVmRSS:\t    1000 kB\nRssAnon:\t     700 kB\nRssFile:\t     250 kB\n"
        "RssShmem:\t      50 kB\nVmSwap:\t      30 kB\nThreads:\t9\n"
    )
    assert read_own_memory(status) == OwnMemory(1000 * 1024, 780 * 1024)


@pytest.mark.parametrize("text", [None, "", "VmRSS:\t12 kB\n", "VmRSS:\tmany kB\nRssAnon: -\n"])
def test_where_the_kernel_does_not_tell_psutil_does(tmp_path: Path, text: str | None) -> None:
    status = tmp_path / "status"
    if text is not None:
        status.write_text(text)
    own = read_own_memory(status)
    assert own.resident_bytes > 2**20
    assert own.private_bytes > 2**20


def test_the_process_began_when_psutil_says() -> None:
    assert start_time_seconds() == psutil.Process().create_time()
