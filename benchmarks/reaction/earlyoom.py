"""earlyoom beside us: from the machine's available memory crossing its threshold to its decision.

Covers: having the program, its threshold, both moments.
Leaves to others: the process that grows (`grown`), our own times (`__main__`).

It only says what it would kill (`--dryrun`): this machine runs other things, and one of them would be its choice.
Debian's package is unpacked and not installed where it is not there already: its service would start, and stay.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.reaction.grown import Target, target
from benchmarks.report import BenchmarkError

MIB = 2**20
AWAY_BYTES = 1400 * MIB
GROWS_BYTES = 1900 * MIB
ATTEMPTS = 3
"""Who else gives memory back meanwhile moves the threshold out of reach."""

DECISION_SECONDS = 20.0
_SENDS = re.compile(r"sending SIGTERM to process")
_AVAILABLE = re.compile(r"^MemAvailable: +(\d+) kB$", re.M)


def milliseconds(rounds: int, bytes_per_second: int) -> list[float]:
    """From crossing to decision, while a process grows at that rate."""
    with program() as path:
        return [_decided(path, bytes_per_second) for _ in range(rounds)]


@contextlib.contextmanager
def program() -> Iterator[str]:
    """As it is installed, else out of Debian's package."""
    installed = shutil.which("earlyoom")
    if installed:
        yield installed
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # apt downloads as a user of its own
        for command in (["apt-get", "download", "earlyoom"], ["sh", "-c", "dpkg-deb -x earlyoom_*.deb ."]):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise BenchmarkError(f"earlyoom cannot be had: {done.stderr.strip()[-200:]}")
        yield f"{folder}/usr/bin/earlyoom"


def available_bytes() -> int:
    """What the machine has left."""
    found = _AVAILABLE.search(Path("/proc/meminfo").read_text(encoding="ascii"))
    assert found is not None, "every kernel has it"
    return int(found[1]) * 1024


def _decided(path: str, bytes_per_second: int) -> float:
    for _ in range(ATTEMPTS):
        with target() as one:
            threshold = (available_bytes() - AWAY_BYTES) // 1024
            command = [path, "--dryrun", "-M", f"{threshold},{threshold // 2}", "-r", "0"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
                try:
                    found = _one(one, process, threshold * 1024, bytes_per_second)
                finally:
                    process.kill()
        if found is not None:
            return found
    raise BenchmarkError(f"available memory did not cross earlyoom's threshold in {ATTEMPTS} attempts")


def _one(one: Target, process: subprocess.Popen[str], threshold: int, bytes_per_second: int) -> float | None:
    """None where the threshold was not crossed, or was before anything grew."""
    time.sleep(1)
    if available_bytes() <= threshold:
        return None
    with ThreadPoolExecutor(2) as threads:
        deciding = threads.submit(_decision, process)
        growing = threads.submit(one.grow, bytes_per_second, 0, one.used + GROWS_BYTES)
        try:
            crossed = time.monotonic()
            while available_bytes() > threshold:
                crossed = time.monotonic()
                if growing.done():
                    return None
            decided = deciding.result(timeout=DECISION_SECONDS)
        finally:
            # both threads read from a process: they end with it, and the executor waits for them
            process.kill()
            one.process.kill()
    if decided is None:
        raise BenchmarkError("earlyoom ended without a decision")
    return 1e3 * (decided - crossed)


def _decision(process: subprocess.Popen[str]) -> float | None:
    """When it says what it would kill; None where it ends before that."""
    assert process.stdout is not None, "asked for"
    for line in process.stdout:
        if _SENDS.search(line):
            return time.monotonic()
    return None
