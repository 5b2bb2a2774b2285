"""A process that grows as it is told and knows when: what `benchmarks.reaction` watches.

Covers: growth at a rate, when used crossed a size, when the cleanup request came, giving all of it back.
Leaves to others: who watches, and what is made of the times.

Lines on standard input: `grow BYTES_PER_SECOND CROSSING_BYTES STOP_BYTES` (0: as fast as it goes), `shrink`. Every line
is answered by one JSON object. Times are CLOCK_MONOTONIC in seconds, sizes resident minus shared, in bytes. A cleanup
ends the growth and gives back what has grown.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK_BYTES = 2**20
WAIT_SECONDS = 5.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = os.open("/proc/self/statm", os.O_RDONLY)


def used_bytes() -> int:
    """What the watchdog compares: resident minus shared."""
    _, resident, shared, *_ = os.pread(_STATM, 200, 0).split()
    return (int(resident) - int(shared)) * _PAGE


class Grown:
    """What has grown, and the request that ended it."""

    def __init__(self) -> None:
        self.blocks: list[mmap.mmap] = []
        self.asked = threading.Event()
        self.asked_at = 0.0
        self.used_then = 0

    def ask(self) -> None:
        """A cleanup request is here."""
        if not self.asked.is_set():
            self.asked_at, self.used_then = time.monotonic(), used_bytes()
            self.asked.set()

    def grow(self, bytes_per_second: float, crossing: int, stop: int) -> dict[str, float | int | None]:
        """Until the request comes; or until `stop` is reached and no request came for a while after it."""
        self.asked.clear()
        began, first = time.monotonic(), used_bytes()
        crossed_at: float | None = None
        grown = 0
        while not self.asked.is_set() and first + grown < stop:
            block = mmap.mmap(-1, CHUNK_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            block[::_PAGE] = b"x" * (CHUNK_BYTES // _PAGE)
            self.blocks.append(block)
            grown += CHUNK_BYTES
            now = time.monotonic()
            if crossed_at is None and first + grown >= crossing:
                crossed_at = now
            if bytes_per_second:
                self.asked.wait(max(0.0, began + grown / bytes_per_second - now))
        came = self.asked.wait(WAIT_SECONDS)
        self.shrink()
        return {
            "crossed_at": crossed_at,
            "asked_at": self.asked_at if came else None,
            "used_then": self.used_then if came else None,
        }

    def shrink(self) -> None:
        """Give all of it back."""
        for block in self.blocks:
            block.close()
        self.blocks.clear()


def main() -> None:
    """Serve, say the port and what is used, and do what standard input says."""
    grown = Grown()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            grown.ask()
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_port, "used": used_bytes()}), flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "grow":
            rate, crossing, stop = map(int, numbers)
            print(json.dumps(grown.grow(rate, crossing, stop)), flush=True)
        else:
            grown.shrink()
            print(json.dumps({"used": used_bytes()}), flush=True)


if __name__ == "__main__":
    main()
