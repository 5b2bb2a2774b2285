"""`python -m tests.support.impostor PID MIB`: a process that gets a pid which is free, and takes memory.

Needs root: the kernel is told which pid was given last (`/proc/sys/kernel/ns_last_pid`), and the next fork gets the one
behind it, unless another process was quicker; then it is tried again. Says "ready" and ends with its standard input.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

TRIES = 2000


def main() -> None:
    """Fork until the pid is the wanted one."""
    wanted, mib = int(sys.argv[1]), int(sys.argv[2])
    for _ in range(TRIES):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(wanted - 1))
        child = os.fork()
        if child == 0:
            if os.getpid() != wanted:
                os._exit(0)
            kept = bytearray(mib << 20)
            for page in range(0, len(kept), 4096):
                kept[page] = 1
            print("ready", flush=True)
            sys.stdin.read()
            os._exit(0)
        os.waitpid(child, 0)
        if child == wanted:
            return
    sys.exit(f"pid {wanted} was not to be had in {TRIES} tries")


if __name__ == "__main__":
    main()
