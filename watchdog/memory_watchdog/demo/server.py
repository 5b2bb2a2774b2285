"""The server of the demo: a cache without a bound behind a small HTTP interface that speaks the native contract.

`POST /query` puts a result into the cache, `GET /memory` and `POST /memory/cleanup` are those of the wire contract. It
really allocates and really frees: each result is an anonymous mapping of its own, which goes back to the kernel when
it is dropped. Started by `show` as a process of its own; prints its port as its only line.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

RESULT_BYTES = 1024 * 1024
SHARES = {"normal": 0.2, "aggressive": 0.5}
_REMEMBERED_REQUESTS = 100
_MAX_BODY_BYTES = 64 * 1024


class Cache:
    """Results by query, oldest first, and never fewer by themselves: the fault that the watchdog is for."""

    def __init__(self) -> None:
        self._results: OrderedDict[int, mmap.mmap] = OrderedDict()
        self._lock = threading.Lock()
        self._answers: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._misses = 0

    def add(self) -> int:
        """Compute and keep one result; answers how many there are."""
        result = mmap.mmap(-1, RESULT_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        result.write(os.urandom(4096) * (RESULT_BYTES // 4096))  # written, or the kernel would give no page for it
        with self._lock:
            self._misses += 1
            self._results[self._misses] = result
            return len(self._results)

    def statistics(self) -> dict[str, Any]:
        """One component, as the contract wants it."""
        with self._lock:
            items, misses = len(self._results), self._misses
        return {"name": "result_cache", "bytes": items * RESULT_BYTES, "items": items, "hits": 0, "misses": misses}

    def clean_up(self, level: str, request_id: str, target_bytes: int | None) -> dict[str, Any]:
        """Drop the oldest: a share by level, or just enough for `target_bytes` if that is less."""
        started = time.monotonic()
        with self._lock:
            if request_id in self._answers:
                return self._answers[request_id]
            count = int(len(self._results) * SHARES[level])
            if target_bytes is not None:
                count = min(count, -(-target_bytes // RESULT_BYTES))
            for _ in range(count):
                _, oldest = self._results.popitem(last=False)
                oldest.close()
            freed = count * RESULT_BYTES
            answer = {
                "schema": 1,
                "request_id": request_id,
                "level": level,
                "reclaimed_bytes": freed,
                "duration_seconds": time.monotonic() - started,
                "components": [
                    {"name": "result_cache", "items_removed": count, "bytes_freed": freed, "error": None},
                ],
            }
            self._answers[request_id] = answer
            if len(self._answers) > _REMEMBERED_REQUESTS:
                self._answers.popitem(last=False)
            return answer


class Handler(BaseHTTPRequestHandler):
    """The routes."""

    protocol_version = "HTTP/1.1"
    cache = Cache()

    def do_GET(self) -> None:
        """Statistics."""
        if self.path != "/memory":
            self._answer(404, {"detail": f"no {self.path} here"})
            return
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - the shortest way to one number
            resident = int(file.read().split()[1]) * mmap.PAGESIZE
        process = {"pid": os.getpid(), "resident_bytes": resident}
        self._answer(200, {"schema": 1, "process": process, "components": [self.cache.statistics()]})

    def do_POST(self) -> None:
        """A query, or a cleanup."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > _MAX_BODY_BYTES:
            self._answer(413, {"detail": f"a body of at most {_MAX_BODY_BYTES} bytes"})
            return
        body = self.rfile.read(length)
        if self.path == "/query":
            self._answer(200, {"results": self.cache.add()})
        elif self.path == "/memory/cleanup":
            self._clean_up(body)
        else:
            self._answer(404, {"detail": f"no {self.path} here"})

    def _clean_up(self, body: bytes) -> None:
        try:
            asked = json.loads(body)
            level, request_id = asked["level"], str(asked["request_id"])
            target = asked.get("target_bytes")
            target_bytes = None if target is None else int(target)
        except (ValueError, TypeError, KeyError) as error:
            self._answer(422, {"detail": f"not a cleanup request: {error!r}"})
            return
        if level not in SHARES:
            self._answer(422, {"detail": f"unknown level {level!r}, allowed: {', '.join(SHARES)}"})
            return
        self._answer(200, self.cache.clean_up(level, request_id, target_bytes))

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the demo prints its own table."""


class Server(ThreadingHTTPServer):
    """Quiet when a client goes away, as the load does at the end of the demo."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell every other fault."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main() -> None:
    """Serve on a free port of loopback until the process is ended."""
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)  # noqa: T201 - how the demo learns it
    server.serve_forever()


if __name__ == "__main__":
    main()
