"""The store's folder: who may read it, who has it open, what was set aside in it.

Covers: modes of folder and files, the lock against a second opener, renaming a file that is not to be used any more.
Leaves to others: what is in the files (`database`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import ClassVar

DATABASE_NAME = "embeddings.sqlite3"
LOCK_NAME = "embeddings.lock"
_PARTS = ("", "-wal", "-shm", "-journal")
_MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "hugetlbfs", "devtmpfs"})


class StoreError(Exception):
    """The store cannot be used; the text says why."""


class StoreInUseError(StoreError):
    """Another process, or another store of this one, has the folder open."""


def prepare_folder(folder: Path) -> None:
    """Create the folder with mode 0700, or see to it that an existing one is private. Raises StoreError.

    A wider folder is tightened where nothing but the store's own files is in it, and refused otherwise: it is
    somebody's home or `/tmp`, and closing that would do more harm than good. One of another user is refused.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if status.st_uid != os.geteuid():
            raise StoreError(f"{folder} belongs to user {status.st_uid}, not to {os.geteuid()}: name a folder below it")
        if stat.S_IMODE(status.st_mode) & 0o077:
            strange = sorted(p.name for p in folder.iterdir() if not p.name.startswith(("embeddings.", "lost+found")))
            if strange:
                raise StoreError(f"{folder} is open to others and holds {strange[0]!r}: chmod 700, or name a new one")
            folder.chmod(0o700)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror or error}") from error


def prepare_file(path: Path) -> bytes:
    """Create the database file, empty, with mode 0600, or tighten one that is there; SQLite's others follow its mode.

    Returns its first 100 bytes.

    Only while no connection is open: closing a descriptor drops this process' locks on the file.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


class FolderLock:
    """Held as long as the store is open. Raises StoreInUseError.

    A lock by `lockf` ends with the process and is not inherited by its children: workers that outlive a killed server
    do not keep the next one out. It does not see a second opener in the same process, so those are kept in a set.
    """

    _open_here: ClassVar[set[tuple[int, int]]] = set()
    _guard = threading.Lock()

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        status = folder.stat()
        self._folder = (status.st_dev, status.st_ino)
        with self._guard:
            # First the set: opening and closing the file again would drop the lock of the store that has it.
            if self._folder in self._open_here:
                raise StoreInUseError(f"{folder} is already open in this process")
            self._descriptor = os.open(folder / LOCK_NAME, flags, 0o600)
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._descriptor)
                if error.errno in (errno.EACCES, errno.EAGAIN):
                    raise StoreInUseError(f"{folder} is open in another process: one folder, one process") from error
                raise
            self._open_here.add(self._folder)

    def release(self) -> None:
        """Let the next one in."""
        with self._guard:
            self._open_here.discard(self._folder)
            os.close(self._descriptor)


def set_aside(database: Path, reason: str, stamp: str, keep: int) -> Path:
    """Rename the database and its log to `….REASON-STAMP`; of all that was set aside the newest `keep` stay.

    SQLite still opens the pair under its new name, for whoever wants to look.
    """
    target = database.with_name(f"{database.name}.{reason}-{stamp}")
    number = 1
    while target.exists():
        number += 1
        target = database.with_name(f"{database.name}.{reason}-{stamp}.{number}")
    for part in _PARTS:
        source = database.with_name(database.name + part)
        if not source.exists():
            continue
        if part == "-shm" or (part and source.stat().st_size == 0):
            source.unlink()
        else:
            source.rename(target.with_name(target.name + part))
    aside = [path for path in database.parent.glob(f"{database.name}.*") if not path.name.endswith(_PARTS[1:])]
    for old in sorted(aside, key=lambda path: (path == target, path.stat().st_mtime_ns))[: max(0, len(aside) - keep)]:
        for part in _PARTS:
            old.with_name(old.name + part).unlink(missing_ok=True)
    return target


def bytes_on_disk(database: Path) -> int:
    """Size of the database, its log and the log's index."""
    total = 0
    for part in _PARTS:
        try:
            total += database.with_name(database.name + part).stat().st_size
        except FileNotFoundError:
            continue
    return total


def is_memory(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether the folder's file system keeps its files in memory (tmpfs); False where that cannot be seen."""
    device = folder.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    for line in lines:
        mount, _, kind = line.partition(" - ")
        if mount.split()[2:3] == [wanted]:
            return kind.split()[:1] != [] and kind.split()[0] in _MEMORY_FILE_SYSTEMS
    return False
