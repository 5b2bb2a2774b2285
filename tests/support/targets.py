"""Real processes that tests watch: Python programs that do as they are told on stdin and answer on stdout.

Whatever a program forks ends when the program does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PRELUDE = """
import mmap, os, signal, socket, sys

def say(*words):
    print(*words, flush=True)

life, hold = os.pipe()  # the first process alone keeps the writing end: when it ends, all read the end of file

def fork(work):
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        try:
            work()
            os.read(life, 1)
        finally:
            os._exit(0)
    return pid
"""

WAITS = PRELUDE + "say(os.getpid())\nsys.stdin.read()\n"

GROWS = (
    PRELUDE
    + """
kept = []
say(os.getpid())
for line in sys.stdin:
    kept.append(b"x" * int(line))
    say("grown")
"""
)

WORKERS = (
    PRELUDE
    + """
shared = mmap.mmap(-1, 64 << 20)
for _ in range(64):
    shared.write(b"x" * (1 << 20))
done, told = os.pipe()
kept = []

def work():
    for at in range(0, len(shared), 4096):
        shared[at]
    kept.append(b"x" * (16 << 20))
    os.write(told, b"1")

pids = [fork(work) for _ in range(3)]
for _ in pids:
    os.read(done, 1)
say(*pids)
for line in sys.stdin:  # a pid: end that worker, and do not wait for it
    os.kill(int(line), signal.SIGKILL)
    say("killed")
"""
)

PREFORK = (
    PRELUDE
    + """
listener = socket.create_server(("127.0.0.1", 0))
done, told = os.pipe()
pids = [fork(lambda: os.write(told, b"1")) for _ in range(3)]
for _ in pids:
    os.read(done, 1)
say(listener.getsockname()[1], *pids)
sys.stdin.read()
"""
)

REUSEPORT = (
    PRELUDE
    + """
first = socket.socket()
first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
first.bind(("127.0.0.1", 0))  # holds the number and does not listen
done, told = os.pipe()

def work():
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    own.bind(first.getsockname())
    own.listen()
    first.close()
    os.write(told, b"1")
    os.read(life, 1)  # while `own` listens

pids = [fork(work) for _ in range(2)]
for _ in pids:
    os.read(done, 1)
say(first.getsockname()[1], *pids)
sys.stdin.read()
"""
)

UNIX_SOCKET = (
    PRELUDE
    + """
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
say(os.getpid())
sys.stdin.read()
"""
)

VFORK = (
    PRELUDE
    + """
kept = b"x" * (64 << 20)
say(os.getpid())
sys.stdin.readline()
# The child opens the fifo before exec, and waits there, in our memory, for somebody who writes.
actions = [(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)]
os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions)
sys.stdin.read()
"""
)


class Target:
    """One program. `heard` is its first answer."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self.popen.pid
        self.heard = self.hear()

    def hear(self) -> list[str]:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().split()

    def tell(self, line: object) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n")

    def ask(self, line: object) -> list[str]:
        self.tell(line)
        return self.hear()

    def kill(self) -> None:
        """End it; it stays a zombie."""
        self.popen.kill()

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def running(program: str, *arguments: str) -> Iterator[Target]:
    """The program, ready, and ended afterwards."""
    target = Target(program, *arguments)
    try:
        yield target
    finally:
        target.end()
