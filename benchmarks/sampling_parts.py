"""The processes of `benchmarks.sampling`: a tree to be watched, and the samplers, each in a process of its own.

`tree N` forks N idle children and waits for the end of its standard input; `ours PID N` and `psutil PID N` sample the
tree N times and print what that cost as JSON. Memory can only be told apart where each sampler is alone in its process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path


def tree(count: int) -> None:
    """Fork `count` children that wait for this process to end, say so, and wait for standard input to end."""
    waiting, open_end = os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            os.close(open_end)
            os.read(waiting, 1)
            os._exit(0)
    print("ready", flush=True)
    sys.stdin.buffer.read()


def ours(pid: int, samples: int) -> None:
    """The hot path of `ProcessTree`: known processes, descriptors kept open."""
    from memory_watchdog.observation import ProcessIdentity, ProcessMemory  # noqa: PLC0415 - alone in its process
    from memory_watchdog.sources.discovery import ByPid, find  # noqa: PLC0415
    from memory_watchdog.sources.process import ProcessTree, raise_descriptor_limit  # noqa: PLC0415

    raise_descriptor_limit()
    identity = find(ByPid(pid))
    assert isinstance(identity, ProcessIdentity), identity
    known = ProcessTree(identity)
    known.read(0.0, 0.0)

    def sample() -> int:
        memory = known.read(0.0, 5.0)
        assert isinstance(memory, ProcessMemory), memory
        return memory.processes

    _measure(sample, samples)


def psutil(pid: int, samples: int) -> None:
    """The loop that people write: memory_info of every known process."""
    import psutil as library  # noqa: PLC0415 - alone in its process

    root = library.Process(pid)
    known = [root, *root.children(recursive=True)]

    def sample() -> int:
        return len([process.memory_info().rss for process in known])

    _measure(sample, samples)


def _measure(sample: Callable[[], int], samples: int) -> None:
    processes = sample()
    started, wall = time.process_time(), time.perf_counter()
    for _ in range(samples):
        sample()
    cpu, took = time.process_time() - started, time.perf_counter() - wall
    resident = int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    figures = {
        "processes": processes,
        "cpu_seconds": cpu / samples,
        "seconds": took / samples,
        "resident_bytes": resident,
    }
    print(json.dumps(figures))


def main() -> None:
    """What the arguments say."""
    if sys.argv[1] == "tree":
        tree(int(sys.argv[2]))
    else:
        {"ours": ours, "psutil": psutil}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
