"""A process that writes to an embedding store until it is killed: `python embedding_writer.py FOLDER FIRST MAX_BYTES`.

It says the number of each vector that it has put, one a line, after `put` has returned.
"""

from __future__ import annotations

import sys

import numpy as np
from memory_watchdog_kit import EmbeddingStore

BATCH_ITEMS = 32
ROOM = 1500
"""So many keys are used over and over."""


def vector(number: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """What is put as that number."""
    return np.full(300 + number % 500, number, np.float32)


def key(number: int) -> str:
    """Under which key it is put."""
    return str(number % ROOM)


def main(folder: str, first: str, max_bytes: str) -> None:
    store = EmbeddingStore(folder, max_bytes=int(max_bytes), batch_items=BATCH_ITEMS)
    number = int(first)
    while True:
        store.put(key(number), vector(number))
        if number % 7 == 0:
            store.get(key(number - 5))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
