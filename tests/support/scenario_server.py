"""A small server that lives through one scenario by itself: `python -I -S scenario_server.py KIND PORT BEGIN RATE`.

Covers: a cache with a bound that is asked, filled and cleaned up, memory that nothing counts, cleanups that fail.
Leaves to others: a server that a test steers step by step (`target`), restarts (`scenarios`).

It imports the standard library only, prints its port, and ends with its standard input. For BEGIN seconds it is calm;
then memory grows by RATE MiB a second. Its memory is real: mappings of a quarter of a MiB, written and given back.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BLOCK = 1 << 18
MIB = 1 << 20
STEP_SECONDS = 0.25
CALM_MIB = 48
LEAST_SHARE = 0.35  # what a cleanup leaves of a cache
MOST_LEAKED_MIB = 130
CACHE_LIMIT_MIB = 180
KINDS = ("calm", "leak", "sawtooth", "failing", "restart")


class Blocks:
    """Anonymous memory in blocks that go back to the kernel."""

    def __init__(self) -> None:
        self._held: deque[mmap.mmap] = deque()

    def resize(self, mebibytes: float) -> None:
        """Grow or shrink to so many MiB."""
        wanted = int(mebibytes * MIB / BLOCK)
        while len(self._held) > wanted:
            self._held.popleft().close()
        while len(self._held) < wanted:
            block = mmap.mmap(-1, BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for offset in range(0, BLOCK, mmap.PAGESIZE):
                block[offset] = 1  # written, or the kernel would give no page for it
            self._held.append(block)

    @property
    def bytes(self) -> int:
        return len(self._held) * BLOCK


class Life:
    """The server's state, moved on by one thread."""

    def __init__(self, kind: str, begin_seconds: float, rate: float) -> None:
        self.kind = kind
        self.begin_seconds, self.rate = begin_seconds, rate
        self.began = time.monotonic()
        self.lock = threading.Lock()
        self.cache, self.sessions, self.lost = Blocks(), Blocks(), Blocks()
        self.sessions.resize(12)
        self.hits = self.misses = self.evictions = self.expirations = self.cleanups = 0

    def go_on(self) -> None:
        """Live, step by step."""
        while True:
            with self.lock:
                self._step(time.monotonic() - self.began - self.begin_seconds)
            time.sleep(STEP_SECONDS)

    def _step(self, grown_seconds: float) -> None:
        held = self.cache.bytes / MIB
        growth = self.rate * STEP_SECONDS
        if grown_seconds < 0 or self.kind in {"calm", "leak"}:
            self.cache.resize(min(CALM_MIB, held + max(growth, 2)))
        else:
            self.cache.resize(min(CACHE_LIMIT_MIB, held + growth))
        if self.kind == "leak" and grown_seconds > 0:
            self.lost.resize(min(MOST_LEAKED_MIB, grown_seconds * self.rate))
        # The fuller the cache, the more of what is asked is found in it.
        found = 0.35 + 0.6 * min(1.0, self.cache.bytes / MIB / CALM_MIB / 2)
        asked = 40 + random.Random(self.hits).randrange(20)
        self.hits += int(asked * found)
        self.misses += asked - int(asked * found)
        self.evictions += int(self.cache.bytes >= CALM_MIB * MIB)
        self.expirations += self.misses % 2

    def statistics(self) -> dict[str, Any]:
        with self.lock:
            cache, sessions = self.cache.bytes, self.sessions.bytes
            counts = {"hits": self.hits, "misses": self.misses}
            counts |= {"evictions": self.evictions, "expirations": self.expirations}
        limits = {"max_bytes": CACHE_LIMIT_MIB * MIB, "max_items": CACHE_LIMIT_MIB * 4}
        resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * mmap.PAGESIZE
        return {
            "schema": 1,
            "process": {"pid": os.getpid(), "resident_bytes": resident},
            "components": [
                {"name": "semantic_cache", "bytes": cache, "items": cache // BLOCK, **limits, **counts},
                {"name": "sessions", "bytes": sessions, "items": 31, "max_items": 64},
            ],
        }

    def clean_up(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer."""
        self.cleanups += 1
        if self.kind == "failing":
            error = {"components": [{"name": "semantic_cache", "error": "the index is being written"}]}
            return (500, {"detail": "busy"}) if self.cleanups % 2 else (200, {"schema": 1, **error})
        with self.lock:
            before = self.cache.bytes
            share = 0.99 if self.kind in {"leak", "restart"} else LEAST_SHARE
            self.cache.resize(before / MIB * share)
            freed = before - self.cache.bytes
        answer = {"schema": 1, "request_id": asked.get("request_id"), "level": asked.get("level")}
        # As servers do, it counts what it dropped and not what came back.
        return 200, {**answer, "reclaimed_bytes": freed + 12 * MIB, "duration_seconds": 0.02}


class Handler(BaseHTTPRequestHandler):
    """The native contract."""

    protocol_version = "HTTP/1.1"
    life: Life

    def do_GET(self) -> None:
        self._answer(200, self.life.statistics())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(*self.life.clean_up(json.loads(body)))

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def main() -> None:
    kind, port, begin_seconds, rate = sys.argv[1:]
    Handler.life = Life(kind, float(begin_seconds), float(rate))
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.daemon_threads = True
    threading.Thread(target=Handler.life.go_on, daemon=True).start()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
