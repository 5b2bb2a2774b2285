"""Small trees of files that stand in for /proc and /sys/fs/cgroup.

Covers: files from a mapping, a process as /proc shows it, tables of listening sockets.
Leaves to others: what errors the kernel alone can give (ESRCH, EACCES for root); real processes show those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

BOOTED_AT = 1_700_000_000
TICKS_PER_SECOND = 100
UNLIMITED_V1 = 0x7FFFFFFFFFFFF000


def tree(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write each file below `root` and return `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def machine(root: Path, memory_kib: int = 16 * 1024 * 1024) -> Path:
    """A /proc without processes."""
    return tree(
        root,
        {
            "stat": f"cpu  1 2 3 4\nbtime {BOOTED_AT}\nprocesses 5\n",
            "meminfo": f"MemTotal:       {memory_kib} kB\nMemFree:        1 kB\n",
        },
    )


def stat_line(
    pid: int, parent: int, comm: bytes = b"server", start_ticks: int = 1000, state: str = "S", flags: int = 0x400000
) -> bytes:
    """The 52 fields of /proc/PID/stat."""
    fields = [state, parent, pid, pid, 0, -1, flags, *[0] * 8, 20, 0, 1, 0, start_ticks, *[7] * 30]
    return b"%d (%b) " % (pid, comm) + " ".join(map(str, fields)).encode() + b"\n"


def status_text(file_kib: int = 40, shared_kib: int = 0, swap_kib: int = 0, name: str = "server") -> str:
    return (
        f"Name:\t{name}\nState:\tS (sleeping)\nVmSize:\t    9000 kB\nVmRSS:\t     400 kB\n"
        f"RssAnon:\t     300 kB\nRssFile:\t{file_kib:8} kB\nRssShmem:\t{shared_kib:8} kB\nVmSwap:\t{swap_kib:8} kB\n"
        "Threads:\t1\n"
    )


def process(  # noqa: PLR0913 - every file of a process can be said
    proc: Path,
    pid: int,
    parent: int = 0,
    *,
    comm: bytes = b"server",
    argv: Sequence[str] = ("server",),
    start_ticks: int = 1000,
    state: str = "S",
    flags: int = 0x400000,
    statm: str | None = None,
    status: str | None = None,
    pss_kib: int | None = None,
    cgroup: str = "0::/\n",
    children: Iterable[int] | None = None,
    inodes: Iterable[int] = (),
) -> Path:
    """One process. Without `children` it is of a kernel without CONFIG_PROC_CHILDREN."""
    folder = proc / str(pid)
    files: dict[str, str | bytes] = {
        "stat": stat_line(pid, parent, comm, start_ticks, state, flags),
        "cmdline": b"".join(argument.encode() + b"\0" for argument in argv),
        # the size differs from process to process: equal lines mean shared memory
        "statm": f"{10_000 + pid} 100 10 1 0 50 0\n" if statm is None else statm,
        "status": status_text() if status is None else status,
        "cgroup": cgroup,
    }
    if pss_kib is not None:
        files["smaps_rollup"] = (
            f"00400000-7fff00000000 ---p 00000000 00:00 0 [rollup]\nRss: 1 kB\nPss: {pss_kib:8} kB\n"
        )
    if children is not None:
        files[f"task/{pid}/children"] = " ".join(map(str, children)) + " "
    tree(folder, files)
    (folder / "fd").mkdir(exist_ok=True)
    for number, inode in enumerate(inodes, start=3):
        (folder / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
    return folder


def tcp_table(*rows: tuple[str, int, str, int]) -> str:
    """/proc/net/tcp or tcp6 of (address in hex, port, state, inode)."""
    lines = ["  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"]
    for number, (address, port, state, inode) in enumerate(rows):
        lines.append(
            f"{number:4}: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000"
            f"     0        0 {inode} 1 0000000000000000 100 0 0 10 0"
        )
    return "\n".join(lines) + "\n"


def unix_table(*rows: tuple[str, int, str]) -> str:
    """/proc/net/unix of (flags in hex, inode, path)."""
    lines = ["Num       RefCount Protocol Flags    Type St Inode Path"]
    lines += [f"0000000000000000: 00000002 00000000 {flags} 0001 01 {inode} {path}" for flags, inode, path in rows]
    return "\n".join(lines) + "\n"
