"""A small real server to be watched, and the handle by which a test steers it.

Covers: the native contract over HTTP, anonymous memory that is really allocated and really given back, forked workers,
statistics and cleanups that misbehave on request, a record of the cleanup requests that came.
Leaves to others: answers that are broken on the wire (`servers`).

The server runs as a process of its own (`python target.py PORT`), imports the standard library only and prints its
port as its only line. What is under `/control` is for the test alone.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any, cast

MIB = 1024 * 1024

# ---- the server


class Memory:
    """Anonymous mappings of one MiB; each goes back to the kernel when it is dropped."""

    def __init__(self) -> None:
        self._blocks: list[mmap.mmap] = []

    def grow(self, mebibytes: int) -> None:
        for _ in range(mebibytes):
            block = mmap.mmap(-1, MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for offset in range(0, MIB, mmap.PAGESIZE):
                block[offset] = 1  # written, or the kernel would give no page for it
            self._blocks.append(block)

    def shrink(self, mebibytes: int) -> int:
        """Drop as many blocks as there are, at most so many; answers how many went."""
        count = min(mebibytes, len(self._blocks))
        for _ in range(count):
            self._blocks.pop().close()
        return count

    @property
    def mebibytes(self) -> int:
        return len(self._blocks)


class State:
    """Everything of the server. A behaviour holds until another one is set."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.requests: list[dict[str, Any]] = []
        self.statistics_read = 0
        self.statistics: dict[str, Any] = {}  # hang, status, drop (keys of the answer), tell (the secrets that came)
        self.cleanup: dict[str, Any] = {}  # free (MiB), claim, hang, status, error ("{secrets}" for those that came)
        self.released = threading.Event()
        self.lock = threading.Lock()
        # Workers end with the server: it alone holds the writing end, however it ends.
        self.alive_read, self.alive_write = os.pipe()

    def fork(self, workers: int, mebibytes: int) -> list[int]:
        """Workers that hold memory of their own; they have allocated when this returns."""
        pids = []
        for _ in range(workers):
            ready_read, ready_write = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(self.alive_write)
                own = Memory()
                own.grow(mebibytes)
                os.write(ready_write, b"1")
                os.read(self.alive_read, 1)
                os._exit(0)
            os.read(ready_read, 1)
            os.close(ready_read)
            os.close(ready_write)
            pids.append(pid)
        return pids


class Handler(BaseHTTPRequestHandler):
    """The native contract, and `/control`."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        state = self.server.state
        if self.path == "/control/requests":
            self._answer(200, {"requests": state.requests, "statistics_read": state.statistics_read})
            return
        if not self.path.startswith("/memory"):
            self._answer(404, {"detail": "not here"})
            return
        state.statistics_read += 1
        if state.statistics.get("hang"):
            state.released.wait(60)
        resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * mmap.PAGESIZE
        mebibytes = state.memory.mebibytes
        cache = {"name": "cache", "bytes": mebibytes * MIB, "items": mebibytes, "hits": 3, "misses": mebibytes}
        answer = {"schema": 1, "process": {"pid": os.getpid(), "resident_bytes": resident}, "components": [cache]}
        if state.statistics.get("tell"):
            answer = {"told": self._secrets(), **answer}
        for key in state.statistics.get("drop", ()):
            answer.pop(key)
        self._answer(state.statistics.get("status", 200), answer)

    def do_POST(self) -> None:
        state = self.server.state
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/control":
            self._answer(200, self._control(json.loads(body)))
        else:
            self._clean_up(state, body)

    do_PUT = do_POST

    def _control(self, asked: dict[str, Any]) -> dict[str, Any]:
        state = self.server.state
        state.statistics = asked.get("statistics", state.statistics)
        state.cleanup = asked.get("cleanup", state.cleanup)
        with state.lock:
            state.memory.grow(asked.get("grow", 0))
            state.memory.shrink(asked.get("shrink", 0))
        if asked.get("release"):
            state.released.set()
            state.released = threading.Event()
        return {"pids": state.fork(asked.get("fork", 0), asked.get("each", 0)), "mebibytes": state.memory.mebibytes}

    def _clean_up(self, state: State, body: bytes) -> None:
        how = dict(state.cleanup)
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = {"method": self.command, "path": self.path, "headers": headers, "body": body.decode()}
        state.requests.append(received | {"at": time.monotonic()})
        if how.get("hang"):
            state.released.wait(60)
        with state.lock:
            freed = state.memory.shrink(how.get("free", 0))
        asked = json.loads(body) if body else {}
        error = how.get("error")
        answer = {
            "told": self._secrets() if error == "{secrets}" else None,
            "schema": 1,
            "request_id": asked.get("request_id"),
            "level": asked.get("level"),
            "reclaimed_bytes": how.get("claim", freed) * MIB,
            "duration_seconds": 0.01,
            "components": [
                {
                    "name": "cache",
                    "items_removed": freed,
                    "error": self._secrets() if error == "{secrets}" else error,
                }
            ],
        }
        self._answer(how.get("status", 200), answer)

    def _secrets(self) -> str:
        return f"{self.headers.get('Authorization')} {self.headers.get('X-Api-Key')}"

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.state = State()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests are about."""


def main() -> None:
    server = Server(int(sys.argv[1]))
    print(server.server_address[1], flush=True)
    server.serve_forever()


# ---- the handle


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class Target:
    """`with running_target() as target`: the server as a process of its own."""

    marker: str = "watched"
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it; always on the same port and with the same command line."""
        command = [sys.executable, "-I", "-S", str(Path(__file__)), str(self.port), self.marker]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        line = cast(IO[bytes], self.process.stdout).readline()
        assert int(line) == self.port

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """Kill it the hard way, and wait until it is gone; its workers follow."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
            cast(IO[bytes], process.stdout).close()

    def control(self, **asked: Any) -> dict[str, Any]:
        """Grow or shrink by so many MiB, fork, set behaviours, release what hangs."""
        return self._call("/control", json.dumps(asked).encode())

    def fork(self, workers: int, each: int) -> list[int]:
        """Pids of so many workers that hold `each` MiB of their own."""
        return [int(pid) for pid in self.control(fork=workers, each=each)["pids"]]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The cleanup requests so far, oldest first."""
        return list(self._call("/control/requests")["requests"])

    @property
    def statistics_read(self) -> int:
        """How often the statistics were asked for."""
        return int(self._call("/control/requests")["statistics_read"])

    def _call(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(self.url + path, body), timeout=20) as answer:
            content: dict[str, Any] = json.load(answer)
        return content


@contextlib.contextmanager
def running_target(marker: str = "watched") -> Iterator[Target]:
    """A server on a free port, ended at the end whatever happens."""
    target = Target(marker=marker)
    try:
        target.start()
        yield target
    finally:
        target.kill()


if __name__ == "__main__":
    main()
