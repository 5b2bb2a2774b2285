"""The growing process from outside: started, told to grow, asked what it saw.

Leaves to others: the process itself (`growing`).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from tests.support.cgroups import RealCgroup


class Target:
    """A process of `growing`, and what it answers."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        told = self._answer()
        self.port: int = told["port"]
        self.used: int = told["used"]

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None, "asked for"
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def asks(self, line: str) -> dict[str, Any]:
        """One line, and its answer."""
        assert self.process.stdin is not None, "asked for"
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def grow(self, rate: int, crossing: int, stop: int) -> dict[str, Any]:
        """As `growing` has it."""
        return self.asks(f"grow {rate} {crossing} {stop}")


@contextlib.contextmanager
def target(cgroup: RealCgroup | None = None) -> Iterator[Target]:
    """One, in a cgroup if that is given. What it had before it came there is charged where it was."""
    command = [sys.executable, "-m", "benchmarks.reaction.growing"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if cgroup is not None:
            cgroup.add(process.pid)
        yield Target(process)
    finally:
        process.kill()
        process.communicate()
