"""Which processes a host has, as the kernel sees them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil


def children(pid: int | None = None) -> list[psutil.Process]:
    """All processes below one, zombies too."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def lives(process: psutil.Process) -> bool:
    """It is there and no zombie: one that was reparented waits for this machine's init."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def living(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that are left."""
    return [process for process in processes if lives(process)]


def kill(pid: int) -> None:
    """As the kernel does when memory is out."""
    os.kill(pid, signal.SIGKILL)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
