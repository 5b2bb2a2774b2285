"""What this process holds, by the number that the watchdog compares as `anon`.

Covers: resident memory, and the memory that only this process can give back.
Leaves to others: what of it the allocator keeps (`allocator`), what the components say (`component`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil

_OWN = ("RssAnon", "RssShmem", "VmSwap")
_KIB = 1024


@dataclass(frozen=True, slots=True)
class OwnMemory:
    """Bytes of this process at one moment.

    `private_bytes` is anonymous + shared (not of files) + swapped out: file pages are left out because the kernel takes
    them back by itself, and swap is counted because being swapped out is not being freed.
    """

    resident_bytes: int
    private_bytes: int


def read_own_memory(status: Path = Path("/proc/self/status")) -> OwnMemory:
    """One reading, 30 µs from `/proc/self/status`.

    Where that does not tell anonymous memory (macOS, some sandboxes), private is what psutil calls `uss`, or, where it
    has none, resident. Raises nothing that a live process could cause.
    """
    try:
        found = _kib(status.read_text())
    except OSError:
        found = {}
    resident = found.get("VmRSS")
    if resident is not None and "RssAnon" in found:
        return OwnMemory(resident * _KIB, sum(found.get(name, 0) for name in _OWN) * _KIB)
    process = psutil.Process()
    plain = int(process.memory_info().rss)
    try:
        return OwnMemory(plain, int(process.memory_full_info().uss))
    except (psutil.Error, AttributeError, OSError):
        return OwnMemory(plain, plain)


def _kib(text: str) -> dict[str, int]:
    """The lines of a `status` that are in kB."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[name] = int(words[0])
    return found


def start_time_seconds() -> float:
    """When this process began, in seconds since the epoch."""
    return float(psutil.Process().create_time())
