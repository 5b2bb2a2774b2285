"""A server that is hard to end, as a program of its own: what the last step is tested on.

`python -m tests.support.stubborn PORT [WORD…]`: `ignore` SIGTERM, `drain` ends it when it is asked to, `fork` a worker
that ignores SIGTERM too, which is `heavy` with 80 MiB. It answers every request with 200, has 40 MiB, and prints its
pid and its worker's.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MIB = 2**20


def taken(mib: int) -> mmap.mmap:
    """So much memory, each page touched."""
    kept = mmap.mmap(-1, mib * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    kept[:: mmap.PAGESIZE] = b"x" * (len(kept) // mmap.PAGESIZE)
    return kept


def main() -> None:
    """Serve until ended."""
    port, words = int(sys.argv[1]), set(sys.argv[2:])
    if "ignore" in words:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    worker = 0
    if "fork" in words:
        worker = os.fork()
        if worker == 0:
            worker_kept = taken(80 if "heavy" in words else 1)
            while worker_kept:
                time.sleep(60)
    kept = taken(40)  # noqa: F841 - it is there

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")
            if self.path == "/drain" and "drain" in words:
                threading.Timer(0.1, os._exit, (0,)).start()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(os.getpid(), worker, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
