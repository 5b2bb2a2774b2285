"""`EmbeddingStore`: embeddings that stay on disk, the least recently used going first.

Covers: the interface, the thread that writes, statistics, cleanup.
Leaves to others: what waits (`buffer`), a usable file whatever happens (`keeper`), SQL (`database`), a row (`rows`).
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from memory_watchdog_kit.component import Cleaned, Level, Statistics
from memory_watchdog_kit.embedding_store import files
from memory_watchdog_kit.embedding_store.buffer import ON_DISK, Buffer
from memory_watchdog_kit.embedding_store.database import OversizeRowError
from memory_watchdog_kit.embedding_store.keeper import Keeper
from memory_watchdog_kit.embedding_store.rows import DamagedRowError, Row, decode, encode, hash_of, key_bytes, restore
from memory_watchdog_kit.embedding_store.space import MIN_BYTES, Space

_SHARE = {Level.NORMAL: 0.2, Level.AGGRESSIVE: 0.5}


@dataclass(frozen=True, slots=True)
class StoreStatistics(Statistics):
    """`bytes` is memory; on a file system that lies in memory it includes the files.

    `disk_bytes` is what the files take, `refused` how many arrays were too large, `damaged_rows` and `files_set_aside`
    what was found damaged (or of another version), `failures` how often the disk refused.
    """

    disk_bytes: int = 0
    max_disk_bytes: int = 0
    refused: int = 0
    damaged_rows: int = 0
    files_set_aside: int = 0
    failures: int = 0


class EmbeddingStore:
    """Arrays by key in a folder of its own; a `Component`, safe from any thread.

    Bounded in bytes on disk (database and log together); rows that were used least recently make room. Writes are
    collected: a process that is killed loses at most the last `batch_items` rows or `batch_bytes`, none older than
    `batch_seconds`. What the disk does wrong is counted and never raised after the constructor: a row that is damaged,
    cannot be read or could not be written is a miss. One folder belongs to one process, without its children.

    Cleaning up lets go of memory and leaves the files alone, since removing them would cost hits and give no memory
    back; only where the folder lies in memory (tmpfs) the oldest rows go.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        max_bytes: int = 1 << 30,
        name: str = "embedding_store",
        batch_items: int = 256,
        batch_bytes: int = 1 << 20,
        batch_seconds: float = 1.0,
        keep_set_aside: int = 1,
    ) -> None:
        """Open or create it, mode 0700. `max_bytes`, at least 4 MiB, is for the files in use.

        A file that is damaged or of another version is renamed; the newest `keep_set_aside` of those stay, on top of
        `max_bytes`. Raises ValueError for bounds that cannot be kept, StoreInUseError if somebody has the folder open,
        StoreError if it cannot be used: it belongs to another user, is open to others and holds other things, cannot
        be written. A full disk is no such reason: it may have room later.
        """
        if max_bytes < MIN_BYTES:
            raise ValueError(f"max_bytes is {max_bytes}, at least {MIN_BYTES} are needed")
        if batch_items < 1 or batch_bytes < 1 or not batch_seconds > 0 or keep_set_aside < 0:
            raise ValueError("batch_items, batch_bytes and batch_seconds must be above 0, keep_set_aside not below")
        self._name = name
        self._space = Space(max_bytes)
        self._batch_seconds = batch_seconds
        self._buffer = Buffer(batch_items, batch_bytes)
        folder = Path(folder).absolute()
        self._keeper = Keeper(folder, self._space, self._buffer.last_use, keep_set_aside)
        self._buffer.clock = self._keeper.clock
        self._in_memory = files.is_memory(folder)
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._writing = threading.Lock()
        self._waiting_since = 0.0
        self._hits = self._misses = self._refused = self._damaged = 0
        self._closed = False
        self._thread = threading.Thread(target=self._write_on, name=name, daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def name(self) -> str:
        """What it is called in statistics."""
        return self._name

    def get(self, key: str) -> NDArray[Any] | None:
        """The array that was put under this key, read-only, or None. Raises StoreError only when it is closed."""
        self._check_usable()
        stored = key_bytes(key)
        hash_ = hash_of(stored)
        array: NDArray[Any] | None = None
        with self._lock:
            row = self._buffer.find(hash_)
        if row is ON_DISK:
            array = self._read(stored, hash_)
        elif row is not None and row.key == stored:
            array = restore(row)
        with self._lock:
            if array is None:
                self._misses += 1
            else:
                self._hits += 1
                if self._buffer.use(hash_):
                    self._changed.notify()
        return array

    def _read(self, stored: bytes, hash_: int) -> NDArray[Any] | None:
        try:
            columns = self._keeper.read(hash_)
            return None if columns is None else decode(stored, columns)
        except (DamagedRowError, OversizeRowError):
            with self._lock:
                self._damaged += 1
                if self._buffer.find(hash_) is ON_DISK:
                    self._add(hash_, None)
            return None

    def get_many(self, keys: Iterable[str]) -> list[NDArray[Any] | None]:
        """As `get`, for each key in its order."""
        return [self.get(key) for key in keys]

    def put(self, key: str, array: NDArray[Any]) -> bool:
        """Keep a copy; it replaces what was there. False if it is too large, and then what was there stays.

        The most is 2 MiB, in a store below 256 MiB an eighth of its log, which is a sixteenth of it or 1 MiB. Raises
        TypeError for anything but integers and floats of up to 64 bits, StoreError when the store is closed.
        """
        self._check_usable()
        stored = key_bytes(key)
        row = encode(stored, array)
        if row.size > self._space.row_bytes:
            with self._lock:
                self._refused += 1
            return False
        self._change(hash_of(stored), row)
        return True

    def put_many(self, arrays: Mapping[str, NDArray[Any]]) -> int:
        """As `put`, for each of them; how many were taken."""
        return sum([self.put(key, array) for key, array in arrays.items()])

    def delete(self, key: str) -> None:
        """Forget what is under this key, if anything."""
        self._check_usable()
        self._change(hash_of(key_bytes(key)), None)

    def _change(self, hash_: int, row: Row | None) -> None:
        while True:
            with self._lock:
                self._check_usable()
                if self._buffer.has_room(0 if row is None else row.size):
                    self._add(hash_, row)
                    return
            # The disk is slower than the caller: it has to wait, or memory would grow.
            self._write_batch()

    def _add(self, hash_: int, row: Row | None) -> None:
        """Put it into the next batch, and wake the thread where it has something to do; under the lock."""
        self._buffer.add(hash_, row)
        if self._buffer.waiting == 1:
            self._waiting_since = time.monotonic()
        if self._buffer.waiting == 1 or self._buffer.due:
            self._changed.notify()

    def flush(self) -> bool:
        """Write what waits; afterwards it survives kill −9. False if some of it is lost, since the disk refused."""
        self._check_usable()
        return self._write_batch()

    def _write_batch(self, *, all_uses: bool = False) -> bool:
        with self._writing:
            with self._lock:
                batch = self._buffer.take(all_uses=all_uses)
            if batch is None:
                return True
            out_of_date: Collection[int] = batch.rows
            try:
                written = self._keeper.write(batch.rows, batch.clock, batch.used)
                out_of_date = () if written else self._keeper.known(batch.rows)
            finally:
                with self._lock:
                    self._buffer.done(batch, out_of_date=out_of_date)
            return written

    def _write_on(self) -> None:
        """The thread: a batch when half of it is there, or its time has come."""
        while True:
            with self._lock:
                while not self._closed and not self._buffer.due:
                    left = None
                    if self._buffer.waiting:
                        left = self._waiting_since + self._batch_seconds - time.monotonic()
                        if left <= 0:
                            break
                    self._changed.wait(left)
                if self._closed:
                    return
            self._write_batch()

    def _check_usable(self) -> None:
        # Before any lock is taken: a child could have inherited it locked.
        if os.getpid() != self._process:
            raise files.StoreError(f"{self._name} was opened by process {self._process}: open one after the fork")
        if self._closed:
            raise files.StoreError(f"{self._name} is closed")

    def statistics(self) -> StoreStatistics:
        """Its numbers; `items` are those in the file, `bytes` what its buffers and SQLite's caches hold at most."""
        self._check_usable()
        keeper = self._keeper
        disk_bytes = keeper.disk_bytes
        with self._lock:
            return StoreStatistics(
                bytes=self._memory_bytes() + (disk_bytes if self._in_memory else 0),
                items=keeper.items,
                hits=self._hits,
                misses=self._misses,
                evictions=keeper.evictions,
                disk_bytes=disk_bytes,
                max_disk_bytes=self._space.max_bytes,
                refused=self._refused,
                damaged_rows=self._damaged,
                files_set_aside=keeper.files_set_aside,
                failures=keeper.failures,
            )

    def _memory_bytes(self) -> int:
        return self._buffer.memory_bytes + self._keeper.memory_bytes

    def cleanup(self, level: Level, target_bytes: int | None) -> Iterator[Cleaned]:
        """Write what waits and empty SQLite's page caches; rows go only where the files lie in memory (see above)."""
        self._check_usable()
        with self._lock:
            before = self._memory_bytes()
        self._write_batch(all_uses=True)
        self._keeper.shrink_memory()
        with self._lock:
            freed = max(0, before - self._memory_bytes())
        yield Cleaned(bytes_freed=freed)
        if self._in_memory:
            yield from self._drop(_SHARE[level], None if target_bytes is None else target_bytes - freed)

    def trim(self, share: float) -> Cleaned:
        """Remove that share (0 to 1) of the rows, least recently used first, and give the disk space back."""
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share}, not between 0 and 1")
        self.flush()
        return sum(self._drop(share, None), Cleaned())

    def _drop(self, share: float, wanted_bytes: int | None) -> Iterator[Cleaned]:
        steps = self._keeper.drop_oldest(round(self._keeper.items * share))
        left = wanted_bytes
        while (left is None or left > 0) and (removed := next(steps, None)) is not None:
            yield Cleaned(removed.items, removed.bytes)
            left = None if left is None else left - removed.bytes

    def close(self) -> None:
        """Write what waits, close the files and let the next one open the folder. Twice is once."""
        if os.getpid() != self._process:
            return  # the files and what waits are the parent's
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._changed.notify()
        self._thread.join()
        self._write_batch(all_uses=True)
        self._keeper.close()
        atexit.unregister(self.close)

    def __enter__(self) -> EmbeddingStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
