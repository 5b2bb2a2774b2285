"""A listening Unix socket at a path: made safely, removed only by whoever made it.

Covers: the file of a process that has died, one of a living process, the mode, who is at the other end.
Leaves to others: accepting and answering (`listener`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from pathlib import Path

_MAX_PATH_BYTES = 107  # sun_path, less its NUL
_LOCK_SECONDS = 5.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class SocketFile:
    """A socket that listens at `path` from the constructor to `close`.

    A socket file that nobody listens on is replaced. Raises OSError when the path cannot be had: one on which a process
    listens (EADDRINUSE), something there that is no socket (ENOTSOCK), a folder that is not there; ValueError for a
    path that is not absolute or longer than 107 bytes.
    """

    def __init__(self, path: Path, mode: int, backlog: int) -> None:
        if not path.is_absolute() or len(os.fsencode(path)) > _MAX_PATH_BYTES:
            raise ValueError(f"{path}: a path of a socket is absolute and at most {_MAX_PATH_BYTES} bytes long")
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _alone_in(path.parent):
                _clear(path)
                self.socket.bind(os.fspath(path))
                try:
                    self._identity = _identity(path)
                    # before it listens: nobody can connect with the mode that the umask gave it
                    path.chmod(mode)
                    self.socket.listen(backlog)
                except BaseException:
                    path.unlink(missing_ok=True)
                    raise
        except BaseException:
            self.socket.close()
            raise
        self._owner_pid = os.getpid()

    def close(self) -> None:
        """End listening and remove the file, unless another has taken its place or a fork asks for it."""
        self.socket.close()
        if os.getpid() == self._owner_pid:
            with contextlib.suppress(OSError), _alone_in(self.path.parent):  # a folder that is gone needs no cleaning
                if _identity(self.path) == self._identity:
                    self.path.unlink()


def peer_user(connection: socket.socket) -> int | None:
    """The uid of the process at the other end when it connected (SO_PEERCRED); None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(raw)[1])


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """While two processes start, one of them looks, removes and binds at a time: the folder itself is the lock."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, "another process keeps the folder locked", str(folder)) from None
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _clear(path: Path) -> None:
    """Remove the socket file of a process that has died."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.ENOTSOCK, "there is something that is no socket", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
    raise OSError(errno.EADDRINUSE, "another process listens on it", str(path))


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
