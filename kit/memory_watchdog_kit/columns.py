"""One column of a table in memory of its own, which goes back to the system when the column is made shorter.

Covers: `Column`, a one- or two-dimensional numpy array in an anonymous private memory map.
Leaves to others: what the rows mean and which are in use (`vectors`), locking (the caller).

Memory of the C allocator would not do: glibc keeps freed blocks of up to 32 MiB for itself. The kernel makes a map
longer or shorter in place (`mremap`), so that growing needs no second copy at the peak.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


class Column:
    """`rows` values of one type, or with a `width` rows of so many values.

    `array` and `memory` are the same bytes, once as numpy array of shape (rows,) or (rows, width), once as memory map,
    which can `move` within itself without a copy. `resize` replaces both.
    """

    __slots__ = ("_dtype", "_width", "array", "memory")

    def __init__(self, dtype: npt.DTypeLike, rows: int, width: int | None = None) -> None:
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        self._width = width
        self.memory = _anonymous(self._bytes_of(rows))
        self.array = self._view(rows)

    @property
    def bytes(self) -> int:
        """What is mapped."""
        return len(self.memory)

    def resize(self, rows: int) -> None:
        """Keep the first `rows`, at least one; what stands in new ones is not defined.

        Raises OSError where the system has no memory, and has changed nothing then.
        """
        rows_now = len(self.array)
        del self.array  # a map that is looked at cannot be resized
        try:
            self.memory = _resized(self.memory, self._bytes_of(rows))
            rows_now = rows
        finally:
            self.array = self._view(rows_now)

    def as_type(self, dtype: npt.DTypeLike) -> Column:
        """A copy whose values have another type."""
        other = Column(dtype, len(self.array), self._width)
        other.array[:] = self.array
        return other

    def _bytes_of(self, rows: int) -> int:
        """Of whole pages."""
        exact = rows * (self._width or 1) * self._dtype.itemsize
        return -(-exact // mmap.PAGESIZE) * mmap.PAGESIZE

    def _view(self, rows: int) -> npt.NDArray[Any]:
        flat = np.frombuffer(self.memory, self._dtype, rows * (self._width or 1))
        return flat if self._width is None else flat.reshape(rows, self._width)


def _anonymous(size_bytes: int) -> mmap.mmap:
    # Private: Python's default is shared, which counts as shared memory and is written to by forked children.
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _resized(memory: mmap.mmap, size_bytes: int) -> mmap.mmap:
    if size_bytes == len(memory):
        return memory
    try:
        memory.resize(size_bytes)
    except (BufferError, SystemError):
        # Somebody still looks at it (a traceback that was kept does), or there is no mremap (macOS): copy.
        fresh = _anonymous(size_bytes)
        kept_bytes = min(size_bytes, len(memory))
        fresh[:kept_bytes] = memoryview(memory)[:kept_bytes]
        return fresh
    return memory
