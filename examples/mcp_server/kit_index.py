"""The index of a server with the kit: vectors in a `VectorTable`, texts in a `ByteStore`, bounded in bytes together.

Covers: `KitIndex`. Where the bound is reached, the chunks that were found least recently go, and their files are
indexed again the next time.
Leaves to others: how vectors and bytes are held (the kit), what a chunk is (`chunks`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from memory_watchdog_kit import ByteStore, Cleaned, Codec, Level, Statistics, VectorTable

from examples.mcp_server.chunks import Chunk, Detail
from examples.mcp_server.keeping import Floats, Hit, Stamp

_GROUPS = {detail: group for group, detail in enumerate(Detail)}
_MOST_FILES = 100_000
_FILE_BYTES = 400
"""What a file takes beside its chunks: path, stamp, numbers and its place in a dict."""

_VECTOR_EXTRA_BYTES = 16
"""Beside the numbers themselves: key, group, length, order (see `VectorTable`)."""


@dataclass(frozen=True, slots=True)
class _File:
    stamp: Stamp
    first_id: int
    count: int


class KitIndex:
    """A `Component`, safe from any thread. Raises ValueError for a bound below 1."""

    name = "index"

    def __init__(self, dimensions: int, max_bytes: int) -> None:
        self._table = VectorTable(dimensions)
        number_bytes = 1 if self._table.precision == "int8" else 4
        self._texts = ByteStore(
            max_bytes,
            evicted=self._forget,
            entry_overhead_bytes=dimensions * number_bytes + _VECTOR_EXTRA_BYTES,
            name="index_texts",
        )
        self._codec = Codec()
        self._lock = threading.Lock()
        self._files: OrderedDict[str, _File] = OrderedDict()
        self._next_id = 0
        self._version = 0

    @property
    def version(self) -> int:
        """See `Index`."""
        return self._version

    def is_current(self, path: str, stamp: Stamp) -> bool:
        """See `Index`. A file of which a chunk has gone is not."""
        with self._lock:
            file = self._files.get(path)
        if file is None or file.stamp != stamp:
            return False
        return all(number in self._table for number in range(file.first_id, file.first_id + file.count))

    def put(self, path: str, stamp: Stamp, chunks: Sequence[Chunk], vectors: Floats) -> None:
        """See `Index`."""
        with self._lock:
            gone = [self._files.pop(path, None)]
            if len(self._files) >= _MOST_FILES:
                gone.append(self._files.popitem(last=False)[1])
            first_id, self._next_id = self._next_id, self._next_id + len(chunks)
            self._files[path] = _File(stamp, first_id, len(chunks))
            self._version += 1
        for file in gone:
            self._remove(file)
        for number, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True), first_id):
            # the vector first: a text without one would never be found, and never be removed
            self._table.put(number, vector, _GROUPS[chunk.detail])
            if not self._texts.put(_key(number), self._encoded(path, chunk)):
                self._table.remove(number)

    def nearest(self, vector: Floats, detail: Detail, count: int) -> list[Hit]:
        """See `Index`."""
        found = self._table.nearest(vector, group=_GROUPS[detail], count=count)
        # one that was evicted in between has no text any more
        texts = [(self._texts.get(_key(number)), score) for number, score in found]
        return [self._hit(blob, detail, score) for blob, score in texts if blob is not None]

    def counts(self) -> tuple[int, int]:
        """See `Index`."""
        return len(self._files), len(self._table)

    def statistics(self) -> Statistics:
        """Texts, vectors and files; `max_bytes` is for the first two."""
        texts = self._texts.statistics()
        file_bytes = len(self._files) * _FILE_BYTES
        return Statistics(
            bytes=None if texts.bytes is None else texts.bytes + file_bytes,
            items=len(self._table),
            max_bytes=texts.max_bytes,
            max_items=None,
            evictions=texts.evictions,
        )

    def cleanup(self, level: Level, target_bytes: int | None) -> Cleaned:  # noqa: ARG002 - a component's signature
        """Nothing: without a chunk a search would be wrong, and not only slower, until its file is indexed again."""
        return Cleaned()

    def _encoded(self, path: str, chunk: Chunk) -> bytes:
        return self._codec.encode([path, chunk.symbol, chunk.first_line, chunk.last_line, chunk.text])

    def _hit(self, blob: bytes, detail: Detail, score: float) -> Hit:
        path, symbol, first_line, last_line, text = self._codec.decode(blob)
        return Hit(path, Chunk(detail, symbol, first_line, last_line, text), score)

    def _remove(self, file: _File | None) -> None:
        if file is not None:
            for number in range(file.first_id, file.first_id + file.count):
                self._texts.remove(_key(number))
                self._table.remove(number)

    def _forget(self, key: str | bytes) -> None:
        """Called by the store, inside its lock, for each text that falls to the bound."""
        assert isinstance(key, bytes), "all keys are"
        self._table.remove(int.from_bytes(key))


def _key(number: int) -> bytes:
    return number.to_bytes(8)
