"""A process that fills an embedding store until its disk is full, and beyond; it says what it saw as JSON.

`python embedding_filler.py FOLDER LIMIT`: LIMIT is the longest a file may be (RLIMIT_FSIZE), 0 where the disk is small.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from pathlib import Path

import numpy as np
from memory_watchdog_kit import EmbeddingStore

COUNT = 4000
logging.basicConfig(stream=sys.stderr, format="%(message)s")


def vector(number: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """3 KB of this number."""
    return np.full(768, number, np.float32)


def wrong(store: EmbeddingStore, expected: dict[str, float]) -> list[str]:
    """Keys under which something else than the expected is; a miss is right."""
    return [key for key, value in expected.items() if (got := store.get(key)) is not None and (got != value).any()]


def present(store: EmbeddingStore) -> int:
    """How many of the first vectors can be read."""
    return sum(store.get(str(number)) is not None for number in range(COUNT))


def main(folder: str, limit: int) -> None:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    ballast = Path(folder).parent / "ballast"
    if not limit:
        ballast.write_bytes(b"x" * (4 << 20))
    store = EmbeddingStore(folder, max_bytes=16 << 20, batch_seconds=1000)
    store.put_many({str(number): vector(number) for number in range(COUNT)})
    flushed = store.flush()
    full = store.statistics()
    readable = present(store)
    # Overwriting fails as well; what was there before must not come back as if it were the present.
    store.put_many({str(number): vector(-number) for number in range(200)})
    store.delete("200")
    store.flush()
    stale = wrong(store, {str(number): -number for number in range(200)} | {"200": float("nan")})
    # Room again.
    ballast.unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.trim(0.3)
    store.put("new", vector(7))
    recovered = store.flush() and store.get("new") is not None
    store.close()
    again = EmbeddingStore(folder, max_bytes=16 << 20)
    stale += wrong(again, {str(number): -number for number in range(1, 200)} | {"200": float("nan")})
    report = {
        "flushed": flushed,
        "failures": full.failures,
        "set_aside": again.statistics().files_set_aside + full.files_set_aside,
        "readable": readable,
        "stale": stale,
        "recovered": recovered,
        "new": again.get("new") is not None,
    }
    again.close()
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
