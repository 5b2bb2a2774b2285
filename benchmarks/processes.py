"""Real processes for benchmarks: the demo's server, a watchdog beside it, and what the kernel says of them.

Covers: start, address, scrape as Prometheus would, CPU and resident memory from /proc, end.
Leaves to others: what is measured and what is promised (the benchmarks).
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_START_SECONDS = 30.0
_LOOK_SECONDS = 0.002
_SCRAPE_HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4",
    "Accept-Encoding": "gzip",
}
_OBSERVED_AT = re.compile(rb"^memory_watchdog_target_last_observation_timestamp_seconds\{[^}]*\} (\S+)", re.M)


class BenchmarkError(Exception):
    """The measuring itself failed; the text says how."""


@dataclass(slots=True)
class Watchdog:
    """A running `memory-watchdog run`."""

    process: subprocess.Popen[bytes]
    started_at: float  # time.monotonic() at exec
    host: str
    port: int

    def scrape(self) -> tuple[bytes, float]:
        """The exposition, and how many seconds it took from connecting to the last byte."""
        started = time.perf_counter()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("GET", "/metrics", headers=_SCRAPE_HEADERS)
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        seconds = time.perf_counter() - started
        if response.status != http.client.OK:
            raise BenchmarkError(f"/metrics answered {response.status}")
        return gzip.decompress(body), seconds

    def observed_at(self) -> float | None:
        """The last observation's time, as exported; None before the first."""
        found = _OBSERVED_AT.search(self.scrape()[0])
        return None if found is None else float(found[1])

    def cpu_seconds(self) -> float:
        """User and system time of all its threads, since it was started."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND

    def resident_bytes(self) -> int:
        """Resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES

    def terminate(self) -> float:
        """SIGTERM; how many seconds until it had ended."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        return time.monotonic() - started


@contextlib.contextmanager
def demo_server() -> Iterator[int]:
    """The demo's server; yields its port."""
    process = subprocess.Popen(
        [sys.executable, "-m", "memory_watchdog.demo.server"], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None, "asked for"
        line = process.stdout.readline().strip()
        if not line.isdigit():
            raise BenchmarkError("the demo's server did not start")
        yield int(line)
    finally:
        _end(process)


@contextlib.contextmanager
def watchdog(config: str, folder: Path) -> Iterator[Watchdog]:
    """A watchdog with this config, of which `folder` gets the file and the log; yields as soon as it listens."""
    name = f"{len(list(folder.iterdir())):03}"
    file, log = folder / f"{name}.yaml", folder / f"{name}.log"
    file.write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "memory_watchdog", "run", f"--config.file={file}", "--log.format=json"]
    # Only what is asked for here counts: an option in the environment would measure something else.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MEMORY_WATCHDOG_")}
    with log.open("wb") as stderr:
        started_at = time.monotonic()
        process = subprocess.Popen(
            [*command, "--web.listen-address=127.0.0.1:0"],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environ,
            start_new_session=True,
        )
    try:
        host, port = _address(process, log)
        yield Watchdog(process, started_at, host, port)
    finally:
        _end(process)


def _address(process: subprocess.Popen[bytes], log: Path) -> tuple[str, int]:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        for line in log.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n") and b'"listening"' in line:
                host, _, port = json.loads(line)["address"].rpartition(":")
                return host, int(port)
        time.sleep(_LOOK_SECONDS)
    raise BenchmarkError(f"the watchdog did not start: {log.read_text(errors='replace')[-500:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
