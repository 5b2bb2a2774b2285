"""The one place where time is read, so that everything else can be given it.

`boottime` is what decisions are made by: CLOCK_BOOTTIME goes on during suspend, and no clock step moves it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import Reason, Unavailable

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # elsewhere than on Linux


@dataclass(frozen=True, slots=True)
class Clock:
    """Real time."""

    def boottime(self) -> float:
        """Seconds since boot, suspend included."""
        return time.clock_gettime(_BOOTTIME)

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def boot_id(proc: Path = Path("/proc")) -> str | Unavailable:
    """What tells one boot of the machine from another: times since boot of two boots have nothing in common."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError as error:
        return Unavailable(Reason.UNREADABLE, str(error))
