"""Large read-only arrays in files, used through a memory map: memory that the kernel can take back by itself.

Covers: writing such a file so that it is there whole or not at all, opening it checked, what is resident, letting go.
Leaves to others: small arrays by key (`embedding_store`), everything that changes.

A file is a `.npy` of version 1.0 or 2.0 with 12 bytes behind the data: a mark and the checksum of the header. numpy
reads it as any other; one that numpy wrote, without the 12 bytes, can be opened as well. Nothing is ever evaluated.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import re
import struct
import tempfile
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from memory_watchdog_kit.component import Cleaned, Level, Statistics
from memory_watchdog_kit.embedding_store.rows import DTYPES
from memory_watchdog_kit.forking import held_across_forks

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(rb"\{'descr': '[<|]([fiu][1248])', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\), \} *\n")
"""Exactly what numpy writes; numpy itself would evaluate it as a literal."""

_TRAILER = struct.Struct("<8sI")
_MARK = b"MWKARRAY"
_MAX_HEADER_BYTES = 10_000
_DTYPES = {dtype.str.lstrip("<|"): dtype for dtype in DTYPES.values()}
_WRITE_BYTES = 16 << 20
_STEP_BYTES = 64 << 20
"""Of one step of a cleanup: unmapping takes 0.3 ms."""

_EXACT_PAGES = 1 << 15
"""Of a map so long (128 MiB) every page is looked at, of a longer one as many at even distances: 1 ms at most."""

_RUN_PAGES = 128
_LEFT_BEHIND_SECONDS = 3600.0


_File = tuple[int, int, int, int]
"""Device, inode, size and time of change: what has been replaced or rewritten is another file."""


class ArrayFileError(Exception):
    """The file is not a whole array file; the text says why."""


def save_array(path: str | os.PathLike[str], array: NDArray[Any]) -> None:
    """Write an array so that after a crash at any moment the path has the old file or the new one, whole; mode 0600.

    What is mapped from the old file stays as it is. Takes integers and floats of up to 64 bits, others are TypeError;
    OSError where the disk refuses, and then the old file is still there.
    """
    path = Path(path)
    array = np.asarray(array)
    dtype = DTYPES.get(array.dtype.name.encode())
    if dtype is None:
        raise TypeError(f"arrays of {array.dtype} are not stored, only integers and floats of up to 64 bits")
    _remove_left_behind(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as file:
            description = {"descr": dtype.str, "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(file, description)
            end = file.tell()
            file.seek(0)
            header = file.read(end)
            for part in _parts(array):
                file.write(np.ascontiguousarray(part, dtype).tobytes())
            file.write(_TRAILER.pack(_MARK, zlib.crc32(header)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _parts(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The array in C order in pieces of a few MiB, so that an array that is no C array itself is never copied whole."""
    if array.nbytes <= _WRITE_BYTES or array.ndim == 0:
        yield array
    elif (rows := _WRITE_BYTES * len(array) // array.nbytes) > 0:
        for start in range(0, len(array), rows):
            yield array[start : start + rows]
    else:
        for row in array:
            yield from _parts(row)


def _remove_left_behind(path: Path) -> None:
    """Temporary files of this path whose writer was killed: by now nobody writes to them."""
    for left in path.parent.glob(f".{_escaped(path.name)}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND_SECONDS:
                left.unlink()


def _escaped(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)


def open_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array in the file, read-only, not read but mapped; mapped as long as it or a view of it is there.

    Raises ArrayFileError for a file that is shorter or longer than its header says, or is no such file; OSError. A file
    that others cut while it is mapped ends the process with SIGBUS: replace it with `save_array`, never write into it.
    """
    header, mapped, _ = _open(Path(path))
    return header.view(mapped)


def _open(path: Path) -> tuple[_Header, mmap.mmap, _File]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        header = _read_header(path, file.read(12 + _MAX_HEADER_BYTES))
        end = header.bytes + header.count * header.dtype.itemsize
        if status.st_size == end + _TRAILER.size:
            mark, checksum = _TRAILER.unpack(os.pread(file.fileno(), _TRAILER.size, end))
            if mark != _MARK or checksum != header.checksum:
                raise ArrayFileError(f"{path}: the header does not have its checksum")
        elif status.st_size != end:
            raise ArrayFileError(f"{path}: {status.st_size} bytes, by its header {end + _TRAILER.size} or {end}")
        mapped = mmap.mmap(file.fileno(), status.st_size, access=mmap.ACCESS_READ)
    return header, mapped, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class _Header:
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    bytes: int
    checksum: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def view(self, mapped: mmap.mmap) -> NDArray[Any]:
        """The array over the map, which lives as long as the array."""
        order: Literal["F", "C"] = "F" if self.fortran_order else "C"
        return np.ndarray(self.shape, self.dtype, buffer=mapped, offset=self.bytes, order=order)


def _read_header(path: Path, begin: bytes) -> _Header:
    sizes = {b"\x01\x00": "<H", b"\x02\x00": "<I"}
    length_format = sizes.get(begin[6:8])
    if begin[:6] != _MAGIC or length_format is None or len(begin) < 12:
        raise ArrayFileError(f"{path}: no array file")
    (length,) = struct.unpack_from(length_format, begin, 8)
    first = 8 + struct.calcsize(length_format)
    found = _HEADER.fullmatch(begin[first : first + length])
    if length > _MAX_HEADER_BYTES or found is None or (dtype := _DTYPES.get(found[1].decode())) is None:
        raise ArrayFileError(f"{path}: its header is damaged, or of an array of other things than plain numbers")
    lengths = found[3].replace(b" ", b"").removesuffix(b",")
    numbers = lengths.split(b",") if lengths else []
    if len(numbers) > 32 or not all(0 < len(number) < 19 for number in numbers):
        raise ArrayFileError(f"{path}: its shape is damaged")
    shape = tuple(map(int, numbers))
    end = first + length
    return _Header(dtype, shape, found[2] == b"True", end, zlib.crc32(begin[:end]))


class MappedArrays:
    """Array files that are in use, as one `Component`: how many, and how much of them is resident.

    They hold no memory of their own, so `bytes` is 0; the resident pages are `file_bytes`, None where the system does
    not tell. A cleanup of level normal takes them out of the process, and coming back costs 0.5 ms a MiB at most while
    they are in the page cache; an aggressive one takes them out of the page cache as well. Safe from any thread.
    """

    def __init__(self, *, name: str = "mapped_arrays") -> None:
        self._name = name
        self._lock = held_across_forks(threading.Lock())
        # The arrays belong to their users: with the last one the map ends, and is no longer counted.
        self._maps: dict[_File, tuple[weakref.ref[mmap.mmap], Path]] = {}

    @property
    def name(self) -> str:
        """What it is called in statistics."""
        return self._name

    def open(self, path: str | os.PathLike[str]) -> NDArray[Any]:
        """As `open_array`, counted as long as the array or a view of it is there; the same file is mapped once."""
        path = Path(path).absolute()
        header, mapped, file = _open(path)
        with self._lock:
            known = self._maps.get(file)
            before = None if known is None else known[0]()
            if before is None:
                self._maps[file] = weakref.ref(mapped), path
        return header.view(mapped if before is None else before)

    def statistics(self) -> Statistics:
        """`items`: mapped files. `file_bytes`: what of them is resident in this process, an estimate above 128 MiB."""
        live = self._live()
        resident = [_resident(mapped, 0, len(mapped)) for mapped, _ in live]
        known = None if None in resident else sum(filter(None, resident))
        return Statistics(bytes=0, items=len(live), file_bytes=known)

    def _live(self) -> list[tuple[mmap.mmap, Path]]:
        with self._lock:
            live = [(file, reference(), path) for file, (reference, path) in self._maps.items()]
            for file, mapped, _ in live:
                if mapped is None:
                    del self._maps[file]
        return [(mapped, path) for _, mapped, path in live if mapped is not None]

    def cleanup(self, level: Level, target_bytes: int | None) -> Iterator[Cleaned]:
        """Let go of resident pages, in steps of 64 MiB; `bytes_freed` is what was resident and is no more."""
        freed = 0
        for mapped, path in self._live():
            for start in range(0, len(mapped), _STEP_BYTES):
                length = min(_STEP_BYTES, len(mapped) - start)
                before = _resident(mapped, start, length) or 0
                mapped.madvise(mmap.MADV_DONTNEED, start, length)
                step = max(0, before - (_resident(mapped, start, length) or 0))
                freed += step
                yield Cleaned(bytes_freed=step)
                if target_bytes is not None and freed >= target_bytes:
                    return
            if level is Level.AGGRESSIVE:
                _drop_from_page_cache(path)


def _drop_from_page_cache(path: Path) -> None:
    """Only pages that no process has mapped go, so this comes after unmapping. A path that is gone needs nothing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _resident(mapped: mmap.mmap, start: int, length: int) -> int | None:
    """Bytes of that part of the map that are resident in this process, by /proc/self/pagemap; None without it."""
    page = mmap.PAGESIZE
    pages = -(-length // page)
    first = (np.frombuffer(mapped, np.uint8).ctypes.data + start) // page
    distance = 1 if pages <= _EXACT_PAGES else pages * _RUN_PAGES // _EXACT_PAGES
    looked_at = present = 0
    try:
        descriptor = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        try:
            # An entry is 8 bytes, its highest bit says "in memory".
            for run in range(0, pages, max(distance, _RUN_PAGES) if distance > 1 else pages):
                count = min(pages - run, _RUN_PAGES if distance > 1 else pages)
                entries = np.frombuffer(os.pread(descriptor, count * 8, (first + run) * 8), np.uint64)
                looked_at += entries.size
                present += int(np.count_nonzero(entries >> np.uint64(63)))
        finally:
            os.close(descriptor)
    except OSError:
        return None
    return min(length, present * page * pages // looked_at) if looked_at else None
