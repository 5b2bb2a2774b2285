"""Who holds a listening socket: TCP port or unix path to inodes, inodes to processes.

Covers: /proc/net/tcp, tcp6 and unix, and the scan of /proc/*/fd.
Leaves to others: which of several owners is the server (`discovery`).

Not psutil.net_connections: it names one owner of an inode, and prefork workers share one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.sources.procfs import read, unavailable

_LISTEN = b"0A"  # TCP_LISTEN, column `st`
_ACCEPTS = 0x10000  # __SO_ACCEPTCON, column `Flags` of /proc/net/unix


@dataclass(frozen=True, slots=True)
class Owners:
    """`refused`: some process did not show its descriptors, so an owner may be missing."""

    pids: frozenset[int]
    refused: bool


def tcp_inodes(proc: Path, port: int) -> set[int] | Unavailable:
    """Inodes of the sockets that listen on `port`, whatever the address, in our network namespace."""
    found: set[int] = set()
    failures: list[Unavailable] = []
    for name in ("tcp", "tcp6"):  # a kernel without IPv6 has no tcp6
        raw = read(proc / "net" / name, missing=Reason.NOT_FOUND)
        if isinstance(raw, Unavailable):
            failures.append(raw)
            continue
        for line in raw.splitlines()[1:]:
            columns = line.split()
            if len(columns) > 9 and columns[3] == _LISTEN:
                local_port = columns[1].rpartition(b":")[2]
                if _number(local_port, 16) == port:
                    found.add(_number(columns[9], 10))
    if len(failures) == 2:
        return failures[0]
    return found - {0, -1}  # inode 0: no process holds it


def unix_inodes(proc: Path, path: str) -> set[int] | Unavailable:
    """Inodes of the sockets that listen on `path`; an abstract name begins with `@`.

    Both sides are resolved first: a server that bound /var/run/x.sock is found by /run/x.sock.
    """
    raw = read(proc / "net" / "unix", missing=Reason.NOT_FOUND)
    if isinstance(raw, Unavailable):
        return raw
    wanted = _resolved(path)
    found: set[int] = set()
    for line in raw.split(b"\n")[1:]:
        columns = line.split(None, 7)
        if len(columns) < 8 or not max(0, _number(columns[3], 16)) & _ACCEPTS:
            continue
        if _resolved(os.fsdecode(columns[7])) == wanted:
            found.add(_number(columns[6], 10))
    return found - {0, -1}


def owners(proc: Path, inodes: Iterable[int], pids: Iterable[int]) -> Owners:
    """Those of `pids` that have one of the sockets open."""
    links = {f"socket:[{inode}]" for inode in inodes}
    found: set[int] = set()
    refused = False
    for pid in pids:
        holds = _holds(f"{proc}/{pid}/fd", links)
        if isinstance(holds, Unavailable):
            refused |= holds.reason is Reason.PERMISSION
        elif holds:
            found.add(pid)
    return Owners(frozenset(found), refused)


def _holds(folder: str, links: set[str]) -> bool | Unavailable:
    try:
        numbers = os.listdir(folder)  # noqa: PTH208 - plain names, thousands of them
    except OSError as error:
        return unavailable(error)
    failure: Unavailable | None = None
    for number in numbers:
        try:
            if os.readlink(f"{folder}/{number}") in links:  # noqa: PTH115
                return True
        except OSError as error:  # closed meanwhile, or the list is shown and its links are not
            failure = unavailable(error)
    return failure if failure is not None and failure.reason is Reason.PERMISSION else False


def _resolved(path: str) -> str:
    return os.path.realpath(path) if path.startswith("/") else path


def _number(text: bytes, base: int) -> int:
    """-1 for what is no number: a torn line matches nothing."""
    try:
        return int(text, base)
    except ValueError:
        return -1
