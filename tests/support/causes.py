"""Servers that grow for one known reason each: `python -m tests.support.causes KIND`.

They speak `GET /memory` of the wire contract on a free port, which they print, and end with their standard input.
Each grows by about 4 MiB a second, up to 400 MiB.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MIB = 1 << 20
STEPS = 200
STEP_SECONDS = 0.5
STEP_BYTES = 2 * MIB

component_bytes = [20 * MIB]
allocator_bytes: list[int | None] = [0]
held: list[object] = []


def component() -> Iterator[None]:
    """A cache that is counted."""
    while True:
        held.append(bytearray(STEP_BYTES))
        component_bytes[0] += STEP_BYTES
        yield


def leak() -> Iterator[None]:
    """Something that nobody counts."""
    while True:
        held.append(bytearray(STEP_BYTES))
        yield


def allocator() -> Iterator[None]:
    """Small blocks are freed, but for one in a hundred that pins its page: the cache shrinks, the process does not."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    blocks = []
    for _ in range(STEPS * STEP_BYTES // 4096):
        block = libc.malloc(4000)
        libc.memset(block, 1, 4000)
        blocks.append(block)
    libc.malloc(4000)  # keeps the top of the heap
    component_bytes[0] = len(blocks) * 4096
    yield
    while blocks:
        for block in blocks[-STEP_BYTES // 4096 :]:
            libc.free(block)
        del blocks[-STEP_BYTES // 4096 :]
        component_bytes[0] = len(blocks) * 4096
        assert allocator_bytes[0] is not None, "it is known here"
        allocator_bytes[0] += STEP_BYTES
        yield


def files() -> Iterator[None]:
    """A memory map of a file is read."""
    with tempfile.TemporaryFile() as file:
        file.truncate(STEPS * STEP_BYTES)
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        held.append(mapped)
        for step in range(STEPS):
            for page in range(step * STEP_BYTES, (step + 1) * STEP_BYTES, 4096):
                mapped[page]
            yield


def calm() -> Iterator[None]:
    """Nothing grows."""
    while True:
        yield


KINDS: dict[str, Callable[[], Iterator[None]]] = {
    maker.__name__: maker for maker in (component, leak, allocator, files, calm)
}


class Handler(BaseHTTPRequestHandler):
    """`GET /memory`."""

    def do_GET(self) -> None:
        caches = [{"name": "semantic_cache", "bytes": component_bytes[0]}, {"name": "tracker", "bytes": MIB}]
        body = {"schema": 1, "process": {"allocator_free_bytes": allocator_bytes[0]}, "components": caches}
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def main() -> None:
    """Grow until standard input ends."""
    steps = KINDS[sys.argv[1]]()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    next(steps)
    due = time.monotonic()
    while not ended.is_set():
        next(steps, None)
        due += STEP_SECONDS
        ended.wait(max(0.0, due - time.monotonic()))


if __name__ == "__main__":
    main()
