"""How much memory a process has for itself, read cheaply.

Covers: resident − shared from /proc/PID/statm, and the part of it that came by fork.
Leaves to others: whose memory is added up (`host`).

resident − shared is anonymous memory. A forked process has its parent's pages in it until one of the two writes to
them, so a sum over workers would count the forkserver once for each of them. smaps_rollup tells those pages apart, and
stalls its process (37 ms at 1 GB): a worker therefore reads its own once, when its model is loaded, and what it had
inherited then is subtracted from then on.
"""

from __future__ import annotations

import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def own_bytes(pid: int, inherited: int) -> int | None:
    """resident − shared − inherited; 0 for a process that is gone, None where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0 if Path("/proc/self/statm").exists() else None
    except OSError:
        return None
    return max(0, (int(fields[1]) - int(fields[2])) * _PAGE_BYTES - inherited)


def inherited_bytes() -> int:
    """How much of this process' anonymous memory it shares with the one that forked it; 0 where that cannot be read."""
    own = own_bytes(os.getpid(), 0)
    try:
        lines = Path("/proc/self/smaps_rollup").read_bytes().splitlines()
    except OSError:
        return 0
    private = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(b"Private_Dirty:"))
    return max(0, (own or 0) - private)
