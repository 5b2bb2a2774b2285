"""How the vectors of a table are held and compared: as int8 beside a reciprocal length, or as float32.

Covers: `Int8Rows` (the extra `numkong`), `Float32Rows` (numpy alone), what both offer (`VectorRows`), `unit_vector`.
Leaves to others: which row belongs to which key and group, locking, the choice of the best (`vectors`).

int8: each vector is scaled so that its largest component becomes ±127, and rounded. The first pass over all rows
multiplies rounded rows with the rounded query, exactly, in int32; the best few are then compared with the query in
float32. The cosine that is told is that of the rounded row: it differs from the true one by at most the length of the
rounding, which is √d / 254 × the largest component of the unit vector (0.015 at d = 384); measured, by 0.0004.

numpy float16 would need half of float32's memory, but has no fast product: 90 times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from memory_watchdog_kit.columns import Column

Floats = npt.NDArray[np.float32]
RowNumbers = npt.NDArray[np.intp]

_LARGEST = 127
_RECIPROCAL_OF_LARGEST = 65_535


class VectorRows(Protocol):
    """Vectors by row number. `encode` and `query` touch no row; all else is for the holder of a lock."""

    precision: str
    columns: tuple[Column, ...]
    spare: int  # how many more rows than asked for the first pass must bring

    def encode(self, vector: npt.ArrayLike) -> tuple[npt.NDArray[Any], int]:
        """What `store` stores. Raises ValueError like `unit_vector`."""
        ...

    def store(self, row: int, encoded: tuple[npt.NDArray[Any], int]) -> None:
        """Write a row."""
        ...

    def move(self, source: int, target: int) -> None:
        """Copy a row over another."""
        ...

    def query(self, vector: npt.ArrayLike) -> tuple[npt.NDArray[Any], Floats]:
        """What is compared with rows. Raises ValueError like `unit_vector`."""
        ...

    def scores(self, query: tuple[npt.NDArray[Any], Floats], rows: slice | RowNumbers) -> Floats:
        """A number for each row that grows with the cosine, give or take the rounding."""
        ...

    def cosines(self, query: tuple[npt.NDArray[Any], Floats], rows: RowNumbers) -> Floats:
        """The cosine of each row, as exact as the row is."""
        ...

    def vector(self, row: int) -> Floats:
        """The row as unit vector, shape (d,), a copy."""
        ...


class Int8Rows:
    """d + 2 bytes a vector.

    `numkong.cdist` computes in the calling thread alone and releases the GIL (measured: another thread ran every 0.8 ms
    during a call of 142 ms). 100,000 × 384 take it 2.0 ms, near what reading the memory once takes (1.5 ms); its packed
    layouts are no faster for one query, and could not be kept up row by row.
    """

    precision = "int8"
    spare = 32

    def __init__(self, dimensions: int, rows: int) -> None:
        self._dimensions = dimensions
        self._distances = _distances()
        self._codes = Column(np.int8, rows, dimensions)
        self._reciprocals = Column(np.uint16, rows)  # of the length, in units of 1 / (127 × 65,535)
        self.columns: tuple[Column, ...] = (self._codes, self._reciprocals)

    def encode(self, vector: npt.ArrayLike) -> tuple[npt.NDArray[np.int8], int]:
        """See `VectorRows`."""
        codes = np.rint(_scaled(vector, self._dimensions) * np.float32(_LARGEST))
        length = float(np.dot(codes, codes)) ** 0.5  # at least 127: the largest component's
        return codes.astype(np.int8), round(_RECIPROCAL_OF_LARGEST * _LARGEST / length)

    def store(self, row: int, encoded: tuple[npt.NDArray[Any], int]) -> None:
        """See `VectorRows`."""
        self._codes.array[row], self._reciprocals.array[row] = encoded

    def move(self, source: int, target: int) -> None:
        """See `VectorRows`."""
        self._codes.array[target] = self._codes.array[source]
        self._reciprocals.array[target] = self._reciprocals.array[source]

    def query(self, vector: npt.ArrayLike) -> tuple[npt.NDArray[np.int8], Floats]:
        """See `VectorRows`."""
        scaled = _scaled(vector, self._dimensions)
        codes = np.rint(scaled * np.float32(_LARGEST)).astype(np.int8)
        return codes.reshape(1, -1), scaled / np.sqrt(np.dot(scaled, scaled))

    def scores(self, query: tuple[npt.NDArray[Any], Floats], rows: slice | RowNumbers) -> Floats:
        """See `VectorRows`."""
        codes = self._codes.array[rows]
        # In float32, which is exact to 1,040 dimensions, in memory that malloc takes from no new map: 64 KB a block.
        products = np.empty((1, len(codes)), np.float32)
        self._distances(query[0], codes, "dot", out=products)
        products *= self._reciprocals.array[rows]
        return products.reshape(-1)

    def cosines(self, query: tuple[npt.NDArray[Any], Floats], rows: RowNumbers) -> Floats:
        """See `VectorRows`."""
        codes = self._codes.array[rows].astype(np.float32)
        lengths: Floats = np.sqrt(np.einsum("ij,ij->i", codes, codes))
        return np.asarray(codes @ query[1] / lengths, np.float32)

    def vector(self, row: int) -> Floats:
        """See `VectorRows`."""
        codes = self._codes.array[row].astype(np.float32)
        return np.asarray(codes / np.sqrt(np.dot(codes, codes)), np.float32)


class Float32Rows:
    """4 × d bytes a vector. numpy's product releases the GIL too, and may use more threads than the caller's."""

    precision = "float32"
    spare = 0

    def __init__(self, dimensions: int, rows: int) -> None:
        self._dimensions = dimensions
        self._units = Column(np.float32, rows, dimensions)
        self.columns: tuple[Column, ...] = (self._units,)

    def encode(self, vector: npt.ArrayLike) -> tuple[Floats, int]:
        """See `VectorRows`."""
        return unit_vector(vector, self._dimensions), 0

    def store(self, row: int, encoded: tuple[npt.NDArray[Any], int]) -> None:
        """See `VectorRows`."""
        self._units.array[row] = encoded[0]

    def move(self, source: int, target: int) -> None:
        """See `VectorRows`."""
        self._units.array[target] = self._units.array[source]

    def query(self, vector: npt.ArrayLike) -> tuple[Floats, Floats]:
        """See `VectorRows`."""
        unit = unit_vector(vector, self._dimensions)
        return unit, unit

    def scores(self, query: tuple[npt.NDArray[Any], Floats], rows: slice | RowNumbers) -> Floats:
        """See `VectorRows`."""
        return np.asarray(self._units.array[rows] @ query[1])

    def cosines(self, query: tuple[npt.NDArray[Any], Floats], rows: RowNumbers) -> Floats:
        """See `VectorRows`."""
        return np.asarray(self._units.array[rows] @ query[1])

    def vector(self, row: int) -> Floats:
        """See `VectorRows`."""
        return np.array(self._units.array[row])


def unit_vector(vector: npt.ArrayLike, dimensions: int) -> Floats:
    """The vector with length 1, shape (dimensions,).

    Raises ValueError if it has another shape, is zero, or holds something that is not a finite float32.
    """
    scaled = _scaled(vector, dimensions)
    return np.asarray(scaled / np.sqrt(np.dot(scaled, scaled)), np.float32)


def _scaled(vector: npt.ArrayLike, dimensions: int) -> Floats:
    """The vector with a largest component of ±1: so nothing over- or underflows when it is squared."""
    if isinstance(vector, np.ndarray) and vector.dtype == np.float32:
        values = vector
    else:
        with np.errstate(over="ignore"):  # a float64 that is too large becomes infinite, and is refused below
            values = np.asarray(vector, np.float32)
    if values.shape != (dimensions,):
        raise ValueError(f"a vector of shape ({dimensions},) is needed, not {values.shape}")
    largest = abs(values.item(np.abs(values).argmax()))  # of a NaN too: it counts as the largest
    if not 0 < largest < np.inf:
        raise ValueError("a vector must not be zero and must be finite")
    return np.asarray(values / largest, np.float32)


def has_numkong() -> bool:
    """Whether the extra `numkong` can be imported."""
    try:
        _distances()
    except ImportError:
        return False
    return True


def _distances() -> Callable[..., Any]:
    distances: Callable[..., Any] = import_module("numkong").cdist
    return distances
