"""Embeddings of one model by key, held so that removing them frees memory, and searched by cosine.

Covers: `VectorTable`: put, remove, the nearest of a group, exact bytes.
Leaves to others: how a row is held and compared (`vector_rows`), its memory (`columns`), which vectors are worth
keeping and whether two alike queries may share an answer (`semantic_cache`, `guard`).

Every row is compared: an index over the vectors (HNSW) would be faster above a million, but those that exist free
nothing on delete. Rows stand without holes: removing one moves the last row into its place, and the memory behind the
last row goes back to the system in steps of 256 rows.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np
import numpy.typing as npt

from memory_watchdog_kit.columns import Column
from memory_watchdog_kit.locks import SharedLock
from memory_watchdog_kit.vector_rows import Float32Rows, Floats, Int8Rows, RowNumbers, VectorRows, has_numkong

_STEP_ROWS = 256  # 100 KB at 384 dimensions: below 0.3 % of 100,000 rows
_BLOCK_ROWS = 65_536  # what a search takes in memory of its own depends on this, 0.4 MB, and not on the table
_LANES = 64
_GATHERED_SHARE = 4  # copying rows out first costs four times as much as comparing them in place
_NO_SCORES: Floats = np.empty(0, np.float32)
_GROUP_TYPES = (np.uint8, np.uint16, np.uint32, np.int64)


class VectorTable:
    """Vectors of `dimensions` float32 by integer key, each in a group; all comparisons stay within one group.

    `precision` "int8" needs the extra `numkong` and d + 15 bytes a vector (399 at 384), "float32" 4 × d + 13; None
    takes int8 where numkong is there. Groups are best numbered from 0: they take one byte up to 255, two up to 65,535,
    then four and eight. The index of the keys is 4 bytes a row, sorted; so adding or removing moves up to 4 × len
    bytes, about a hundredth of what a search reads.

    Safe from any thread: searches run side by side and without the GIL, in the caller's thread; what changes the table
    waits for those that run (2 ms at 100,000 × 384).

    Raises ValueError for dimensions below 1 and unknown precisions, ImportError for "int8" without numkong.
    """

    def __init__(self, dimensions: int, *, precision: str | None = None) -> None:
        if dimensions < 1:
            raise ValueError(f"a vector has at least one dimension, not {dimensions}")
        chosen = precision or ("int8" if has_numkong() else "float32")
        self._vectors: VectorRows
        if chosen == "int8":
            self._vectors = Int8Rows(dimensions, _STEP_ROWS)
        elif chosen == "float32":
            self._vectors = Float32Rows(dimensions, _STEP_ROWS)
        else:
            raise ValueError(f'precision is "int8" or "float32", not {chosen!r}')
        self.dimensions = dimensions
        self._lock = SharedLock()
        self._rows = 0
        self._capacity_rows = _STEP_ROWS
        self._keys = Column(np.int64, _STEP_ROWS)
        self._groups = Column(_GROUP_TYPES[0], _STEP_ROWS)
        self._order = Column(np.uint32, _STEP_ROWS)  # row numbers, in the order of their keys

    @property
    def precision(self) -> str:
        """ "int8" or "float32"."""
        return self._vectors.precision

    @property
    def bytes(self) -> int:
        """The memory that is taken for vectors, keys, groups and the index of the keys, in whole pages."""
        with self._lock.reading():
            return sum(column.bytes for column in self._columns())

    def __len__(self) -> int:
        return self._rows

    def __contains__(self, key: int) -> bool:
        with self._lock.reading():
            return self._row_of(key) is not None

    def put(self, key: int, vector: npt.ArrayLike, group: int = 0) -> None:
        """Add a vector of shape (dimensions,), or replace that of `key`.

        Raises ValueError for another shape, a zero or not finite vector, and keys or groups beyond 64 bits; OSError
        where the system has no memory. The table is then as it was.
        """
        encoded = self._vectors.encode(vector)
        for name, number in (("key", key), ("group", group)):
            if not -(2**63) <= number < 2**63:
                raise ValueError(f"a {name} has at most 64 bits: {number}")
        with self._lock.writing():
            self._widen_groups(group)
            place = self._place_of(key)
            row = self._row_at(place, key)
            if row is None:
                row = self._insert(place, key)
            self._vectors.store(row, encoded)
            self._groups.array[row] = group

    def remove(self, key: int) -> bool:
        """Take a vector out; False if there is none of that key."""
        with self._lock.writing():
            place = self._place_of(key)
            row = self._row_at(place, key)
            if row is None:
                return False
            last = self._rows - 1
            self._order.memory.move(4 * place, 4 * (place + 1), 4 * (last - place))
            self._rows = last
            if row != last:
                last_key = self._keys.array.item(last)
                self._order.array[self._place_of(last_key)] = row
                self._keys.array[row] = last_key
                self._groups.array[row] = self._groups.array[last]
                self._vectors.move(last, row)
            # One step is left in reserve, so that putting and removing in turn does not remap each time.
            if self._capacity_rows - self._rows >= 2 * _STEP_ROWS:
                self._resize(self._capacity_rows - _STEP_ROWS)
            return True

    def vector(self, key: int) -> Floats:
        """The vector of `key` with length 1, as it is held: shape (dimensions,), a copy. Raises KeyError."""
        with self._lock.reading():
            row = self._row_of(key)
            if row is None:
                raise KeyError(key)
            return self._vectors.vector(row)

    def nearest(self, query: npt.ArrayLike, *, group: int = 0, count: int = 1) -> list[tuple[int, float]]:
        """The `count` vectors of `group` with the largest cosine to `query`: (key, cosine), best first.

        Fewer where the group has fewer. Raises ValueError as `put` does, and for a count below 1.
        """
        if count < 1:
            raise ValueError(f"count is at least 1, not {count}")
        prepared = self._vectors.query(query)
        with self._lock.reading():
            rows = self._candidates(prepared, group, count + self._vectors.spare)
            cosines = self._vectors.cosines(prepared, rows)
            keys = self._keys.array[rows]
        found = zip(keys.tolist(), np.clip(cosines, -1, 1).tolist(), strict=True)
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:count]

    def _candidates(self, query: tuple[npt.NDArray[Any], Floats], group: int, count: int) -> RowNumbers:
        """The `count` rows of `group` with the best scores, in no order."""
        found = [
            self._block(query, group, start, min(start + _BLOCK_ROWS, self._rows), count)
            for start in range(0, self._rows, _BLOCK_ROWS)
        ]
        if len(found) == 1:
            return found[0][0]
        rows = np.concatenate([np.empty(0, np.intp), *(rows for rows, _ in found)])
        return rows[_largest(np.concatenate([_NO_SCORES, *(scores for _, scores in found)]), count)]

    def _block(
        self, query: tuple[npt.NDArray[Any], Floats], group: int, start: int, stop: int, count: int
    ) -> tuple[RowNumbers, Floats]:
        """The same among some rows, with their scores."""
        nothing = np.empty(0, np.intp), _NO_SCORES
        limits = np.iinfo(self._groups.array.dtype)
        if not limits.min <= group <= limits.max:
            return nothing
        inside: npt.NDArray[np.bool_] = self._groups.array[start:stop] == group
        members = int(np.count_nonzero(inside))
        if not members:
            return nothing
        if members * _GATHERED_SHARE < stop - start:
            rows = np.flatnonzero(inside) + start
            scores = self._vectors.scores(query, rows)
            best = _largest(scores, count)
            return rows[best], scores[best]
        scores = self._vectors.scores(query, slice(start, stop))
        if members < stop - start:
            scores[~inside] = -np.inf
        best = _largest(scores, min(count, members))
        return start + best, scores[best]

    def _place_of(self, key: int) -> int:
        """Where in the order `key` stands or would stand."""
        # Memoryviews give Python's own integers, three times as fast as numpy gives its scalars.
        return bisect_left(self._order.array.data, key, 0, self._rows, key=self._keys.array.data.__getitem__)

    def _row_at(self, place: int, key: int) -> int | None:
        if place == self._rows:
            return None
        row = self._order.array.item(place)
        return row if self._keys.array.item(row) == key else None

    def _row_of(self, key: int) -> int | None:
        return self._row_at(self._place_of(key), key)

    def _insert(self, place: int, key: int) -> int:
        """A row for a new key."""
        if self._rows == self._capacity_rows:
            self._resize(self._capacity_rows + _STEP_ROWS)
        row = self._rows
        self._order.memory.move(4 * (place + 1), 4 * place, 4 * (row - place))
        self._order.array[place] = row
        self._keys.array[row] = key
        self._rows = row + 1
        return row

    def _columns(self) -> tuple[Column, ...]:
        return (*self._vectors.columns, self._keys, self._groups, self._order)

    def _resize(self, rows: int) -> None:
        # Never more than the shortest column has, also where the system has no memory in the middle of it.
        self._capacity_rows = min(self._capacity_rows, rows)
        for column in self._columns():
            column.resize(rows)
        self._capacity_rows = rows

    def _widen_groups(self, group: int) -> None:
        """Give the groups a type that can hold `group`."""
        for dtype in _GROUP_TYPES[_GROUP_TYPES.index(self._groups.array.dtype.type) :]:
            limits = np.iinfo(dtype)
            if limits.min <= group <= limits.max:
                if dtype is not self._groups.array.dtype.type:
                    self._groups = self._groups.as_type(dtype)
                return


def _largest(scores: Floats, count: int) -> RowNumbers:
    """Where the `count` largest stand, in no order; all where there are no more."""
    if len(scores) <= count:
        return np.arange(len(scores))
    if len(scores) <= _LANES * count:
        return np.argpartition(scores, -count)[-count:]
    lanes = scores[: len(scores) // _LANES * _LANES].reshape(_LANES, -1).max(axis=0)
    # So many lanes hold something as large as the count-th largest of their maxima, so it leaves out none of the
    # largest; what is left is little more than `count`. To partition all of 100,000 would take 1 ms, this takes 0.1.
    floor = np.partition(lanes, -count)[-count]
    left = np.flatnonzero(scores >= floor)
    return left[np.argpartition(scores[left], -count)[-count:]]
