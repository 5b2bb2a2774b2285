"""The host's side of the forkserver: start it, tell it what to do, hear what it says.

Covers: the command, the control socket and what it carries, the pipe of its output.
Leaves to others: when (`keeper`), the other side (`forkserver`).

It is a process of its own by exec, so nothing of the server's memory and no descriptor but the control socket gets
into it; it is given the server's `sys.path`, so it finds the same modules. The control socket keeps message boundaries
(SOCK_SEQPACKET) and carries JSON, and with "start" the two descriptors of the new worker.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from memory_watchdog_kit.model_host.forkserver import MESSAGE_BYTES
from memory_watchdog_kit.model_host.output import Output

_BOOT = """import json, socket, sys
options = json.loads(sys.argv[1])
sys.path[:] = options["path"]
from memory_watchdog_kit.model_host.forkserver import main
main(socket.socket(fileno=options["control"]), options["host"], options["preload"])
"""


class Forkserver:
    """A running forkserver. Must be made by a thread that lives as long: its end ends the forkserver."""

    def __init__(self, preload: Sequence[str], log: logging.Logger, whose: str) -> None:
        """Raises OSError when it cannot be started."""
        self.is_up = False  # it has said so: it is not in a preload any more
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            reading, writing = os.pipe()
        except OSError:
            self.control.close()
            theirs.close()
            raise
        try:
            self.process = subprocess.Popen(
                [sys.executable or "python3", "-P", "-c", _BOOT, _options(theirs.fileno(), preload)],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the server's terminal is the server's business
            )
            self.output = Output(reading, log, whose)
        except OSError:
            self.control.close()
            os.close(reading)
            raise
        finally:
            theirs.close()
            os.close(writing)
        self.control.setblocking(False)

    def start(self, number: int, name: str, connection: socket.socket, output: int) -> None:
        """Fork a worker with these two descriptors. Raises OSError."""
        message = json.dumps({"op": "start", "number": number, "name": name}).encode()
        socket.send_fds(self.control, [message], [connection.fileno(), output])

    def kill(self, number: int) -> None:
        """SIGKILL for a worker and all that it has started. Raises OSError."""
        self.control.send(json.dumps({"op": "kill", "number": number}).encode())

    def receive(self) -> dict[str, object] | None:
        """What it says next. Raises EOFError when it has ended; None when there is nothing."""
        try:
            data = self.control.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        if not data:
            raise EOFError
        message: dict[str, object] = json.loads(data)
        return message

    def end(self, patience_seconds: float) -> None:
        """Let it end its workers and itself; kill it when that takes too long; close its descriptors."""
        self.control.close()
        try:
            self.process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.output.close()

    def forget(self) -> None:
        """In a forked child: close the copies, and leave the process to the one that started it."""
        self.control.close()
        os.close(self.output.descriptor)
        self.process.returncode = 0  # else Popen complains that a child which is not ours still runs


def _options(control: int, preload: Sequence[str]) -> str:
    path = [str(Path(entry).absolute()) for entry in sys.path]
    return json.dumps({"path": path, "control": control, "host": os.getpid(), "preload": list(preload)})
