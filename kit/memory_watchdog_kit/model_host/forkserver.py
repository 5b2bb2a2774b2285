"""The process that forks the workers: it has imported what they share, has one thread, and does nothing else.

Covers: preloading, forking, ending, reaping, telling the host; that nobody outlives the host.
Leaves to others: the model (`worker`), when to start and end whom (`roster`), starting this process (`launch`).

Why not `multiprocessing`'s own forkserver: there is one for the whole program, whose preloaded modules its first user
decides; its workers import the server's main module again; they are handed their work by pickle; the parent cannot wait
for their ends without a thread each; and a worker that hangs outlives a parent that was killed. This one is 200 lines.

Who ends when:
* The control socket reads EOF when the host closes it or ends in any way. The workers' sockets read EOF then too; those
  that still run after the grace are killed.
* Should this process hang in a preload, PR_SET_PDEATHSIG ends it with the host's thread that started it (`keeper`,
  which lives until `close`); the workers have the same with this process' only thread.
* A worker leads a process group of its own, which is killed with it: what it had started gives its memory back too.
* SIGINT and SIGTERM do nothing here: a supervisor that signals the whole cgroup lets the server finish its requests.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from types import FrameType

from memory_watchdog_kit.model_host import worker
from memory_watchdog_kit.model_host.errors import plain

MESSAGE_BYTES = 65536
GRACE_SECONDS = 1.0
"""What the workers get to end by themselves when the host is gone."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def main(control: socket.socket, host_pid: int, preload: list[str]) -> None:
    """Serve until the host is gone. In a worker this returns too, when its model is no longer wanted."""
    _die_with(host_pid)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)  # not SIG_IGN, which programs that a model starts would inherit
    _tell(control, op="up", failures=_preload(preload))
    gc.collect()
    gc.freeze()  # a collection in a worker would write to, and so copy, every page with objects
    connection = Forkserver(control).serve()
    if connection is not None:
        worker.serve(connection)


def _preload(modules: list[str]) -> list[str]:
    """Import them; what could not be, with its reason: the workers that need it will fail with the same."""
    failures = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a module may raise anything, and the host logs it
            failures.append(plain(f"{module}: {type(error).__name__}: {error}"))
    return failures


class Forkserver:
    """The loop. `serve` returns None when the host is gone; in each worker it returns that worker's socket."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._numbers: dict[int, int] = {}  # of the workers, by pid
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)

    def serve(self) -> socket.socket | None:
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self._woken.fileno():
                    self._woken.recv(4096)
                    self._reap()
                    continue
                message, descriptors = _receive(self._control)
                if message is None:
                    self._end_all()
                    return None
                connection = self._obey(message, descriptors)
                if connection is not None:
                    return connection

    def _obey(self, message: Mapping[str, object], descriptors: list[int]) -> socket.socket | None:
        match message:
            case {"op": "start", "number": int(number), "name": str(name)}:
                return self._fork(number, name, *descriptors)
            case {"op": "kill", "number": int(number)}:
                for pid in [pid for pid, known in self._numbers.items() if known == number]:
                    _kill_group(pid)
        return None

    def _fork(self, number: int, name: str, connection: int, output: int) -> socket.socket | None:
        """None in this process."""
        sys.stdout.flush()
        sys.stderr.flush()
        own_pid = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            os.close(connection)
            os.close(output)
            _tell(self._control, op="refused", number=number, reason=plain(str(error)))
            return None
        if pid == 0:
            self._become_worker(own_pid, name, output)
            return socket.socket(fileno=connection)
        os.close(connection)
        os.close(output)
        self._numbers[pid] = number
        _set_group(pid)  # here and in the worker: whoever comes first, it is done before anything is killed
        _tell(self._control, op="started", number=number, pid=pid)
        return None

    def _become_worker(self, forkserver_pid: int, name: str, output: int) -> None:
        _die_with(forkserver_pid)
        _set_group(0)
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)  # what ps and top show
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in (self._control, self._woken, self._wake):
            end.close()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)

    def _reap(self) -> None:
        """Every worker that has ended, and no other child: a preloaded library may have its own."""
        for pid, number in list(self._numbers.items()):
            # Not reaped yet, its pid is its own, and so is its group, of which others may still live.
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                continue
            _kill_group(pid)
            _, status = os.waitpid(pid, 0)
            del self._numbers[pid]
            _tell(self._control, op="ended", number=number, status=status)

    def _end_all(self) -> None:
        deadline = time.monotonic() + GRACE_SECONDS
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        self._reap()
        while self._numbers and time.monotonic() < deadline:
            poll.poll(max(1, round((deadline - time.monotonic()) * 1000)))
            try:
                self._woken.recv(4096)
            except BlockingIOError:
                continue
            self._reap()
        for pid in self._numbers:
            _kill_group(pid)
        for pid in self._numbers:
            os.waitpid(pid, 0)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A signal that only wakes."""


def _die_with(parent_pid: int) -> None:
    """SIGKILL for this process when its parent ends, also where it ended just before."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone")


def _set_group(pid: int) -> None:
    try:
        os.setpgid(pid, 0)
    except (PermissionError, ProcessLookupError):  # it has done so itself, and more
        return


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _receive(control: socket.socket) -> tuple[dict[str, object] | None, list[int]]:
    """One message and its descriptors; None for the message at the host's end."""
    try:
        data, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 2)
    except ConnectionError:
        return None, []
    return (json.loads(data) if data else None), descriptors


def _tell(control: socket.socket, **message: object) -> None:
    try:
        control.sendall(json.dumps(message).encode())
    except ConnectionError:  # the host is gone, which the next poll says
        return
