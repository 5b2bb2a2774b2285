"""What it costs to read the memory of many processes: ours, psutil over known pids, process-exporter.

Covers: CPU a sample, resident memory, time of a scrape, over the same tree of 100, 1,000 and 5,000 processes in one
run. process-exporter is Debian's package, without smaps and threads, so that it reads what the others read; a sample of
it is one scrape. Ours and psutil's are the loop over processes that are known already: what happens at every tick.

`python -m benchmarks.sampling [--quick] [--json]`; `--quick` leaves out 5,000.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.processes import BenchmarkError, watchdog
from benchmarks.report import Row, progress, run

EXPORTER = "prometheus-process-exporter"
_PARTS = (sys.executable, "-c", "from benchmarks.sampling_parts import main; main()")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one sample over so many processes."""

    processes: int
    cpu_seconds: float
    seconds: float
    resident_bytes: int


def measure(quick: bool) -> list[Row]:
    """All rows."""
    exporter = shutil.which(EXPORTER)
    if exporter is None:
        raise BenchmarkError(f"{EXPORTER} is missing: apt-get install -y --no-install-recommends {EXPORTER}")
    rows: list[Row] = []
    ours_by_count: dict[int, Cost] = {}
    for count in (100, 1000) if quick else (100, 1000, 5000):
        progress(f"{count} processes")
        samples = max(10, (20_000 if quick else 100_000) // count)
        with process_tree(count) as pid:
            ours = ours_by_count[count] = _in_process("ours", pid, samples)
            psutil = _in_process("psutil", pid, max(3, samples // 10))
            theirs = _exporter(exporter, count, scrapes=3 if quick else 10)
            rows.append(Row(f"ours, {count} processes: scrape", _our_scrape(pid, 5) * 1e3, "ms"))
        rows += _rows(count, ours, psutil, theirs)
    rows += _slope(ours_by_count)
    return rows


def _rows(count: int, ours: Cost, psutil: Cost, theirs: Cost) -> Iterator[Row]:
    for name, cost in (("ours", ours), ("psutil", psutil), ("process-exporter", theirs)):
        goal = 8.0 if name == "ours" and count == 1000 else None
        yield Row(f"{name}, {count} processes: CPU a sample", cost.cpu_seconds * 1e3, "ms", goal)
        yield Row(f"{name}, {count} processes: resident memory", cost.resident_bytes / 2**20, "MiB")
    yield Row(f"process-exporter, {count} processes: scrape", theirs.seconds * 1e3, "ms")
    yield Row(f"{count} processes: CPU of ours / psutil's", ours.cpu_seconds / psutil.cpu_seconds, "", 1 / 2)
    ratio = ours.cpu_seconds / theirs.cpu_seconds if theirs.cpu_seconds else float("inf")
    yield Row(f"{count} processes: CPU of ours / process-exporter's", ratio, "", 1 / 40)


def _slope(costs: dict[int, Cost]) -> Iterator[Row]:
    """One more process: between the smallest and the largest tree, so that what a tick costs anyway drops out."""
    low, high = costs[min(costs)], costs[max(costs)]
    each = (high.cpu_seconds - low.cpu_seconds) / (high.processes - low.processes)
    yield Row("ours: one more process", each * 1e6, "µs a tick", 5.0)


@contextlib.contextmanager
def process_tree(count: int) -> Iterator[int]:
    """The pid of a process with so many children."""
    command = [*_PARTS, "tree", str(count)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None, "asked for"
        assert process.stdout is not None, "asked for"
        if process.stdout.readline().strip() != b"ready":
            raise BenchmarkError(f"the tree of {count} processes did not start")
        try:
            yield process.pid
        finally:
            process.stdin.close()


def _in_process(sampler: str, pid: int, samples: int) -> Cost:
    command = [*_PARTS, sampler, str(pid), str(samples)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchmarkError(f"the sampler {sampler} failed: {done.stderr.strip()[-500:]}")
    return Cost(**json.loads(done.stdout))


def _exporter(program: str, count: int, scrapes: int) -> Cost:
    """process-exporter over the same processes: one scrape is one sample."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yml"
        config.write_text("process_names:\n  - name: tree\n    cmdline: [benchmarks.sampling_parts, tree]\n")
        command = [
            program, f"-config.path={config}", f"-web.listen-address=127.0.0.1:{port}",
            "-gather-smaps=false", "-threads=false",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                found = _wait_for(port)
                if found < count:
                    raise BenchmarkError(f"process-exporter sees {found} of {count} processes")
                before = _cpu_seconds(process.pid)
                times = [_scrape(port)[0] for _ in range(scrapes)]
                cpu = (_cpu_seconds(process.pid) - before) / scrapes
                resident = int(Path(f"/proc/{process.pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
            finally:
                process.terminate()
    return Cost(count, cpu, median(times), resident)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _our_scrape(pid: int, scrapes: int) -> float:
    """Seconds of one scrape of a running watchdog whose target is the tree: it reads nothing then."""
    config = f"targets: [{{name: tree, process: {{pid: {pid}}}, limit: machine, interval: 1s}}]\n"
    with tempfile.TemporaryDirectory() as folder, watchdog(config, Path(folder)) as ours:
        deadline = time.monotonic() + 30
        while ours.observed_at() is None:
            if time.monotonic() > deadline:
                raise BenchmarkError("our own watchdog has observed nothing within 30 s")
            time.sleep(0.01)
        return median(ours.scrape()[1] for _ in range(scrapes))


def _wait_for(port: int) -> int:
    """Wait until it answers; how many processes of the tree it counts."""
    deadline = time.monotonic() + 60
    while True:
        try:
            body = _scrape(port)[1]
        except OSError as error:
            if time.monotonic() > deadline:
                raise BenchmarkError("process-exporter did not start") from error
            time.sleep(0.05)
            continue
        for line in body.splitlines():
            if line.startswith('namedprocess_namegroup_num_procs{groupname="tree"}'):
                return int(float(line.split()[-1]))
        raise BenchmarkError("process-exporter does not see the tree")


def _scrape(port: int) -> tuple[float, str]:
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        body = connection.getresponse().read().decode()
    finally:
        connection.close()
    return time.perf_counter() - started, body


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


if __name__ == "__main__":
    run(__doc__.splitlines()[0] if __doc__ else "", measure)
