"""The listener on a Unix socket: its file, its bounds, who may call."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit import MemoryManager
from memory_watchdog_kit.web import listener as module
from memory_watchdog_kit.web.endpoints import answer
from memory_watchdog_kit.web.http_message import Head, Malformed, parse_head, written
from memory_watchdog_kit.web.listener import MAX_CONNECTIONS, MemoryListener

from tests.support.components import Shelf
from tests.support.memory_servers import Served, content_of, received, status_of
from tests.support.wait import eventually

GET = b"GET /memory HTTP/1.1\r\nHost: localhost\r\n\r\n"

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def manager() -> MemoryManager:
    manager = MemoryManager()
    manager.register(Shelf("shelf", items=5))
    return manager


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.sock"


@pytest.fixture
def listener(manager: MemoryManager, path: Path) -> Iterator[MemoryListener]:
    with MemoryListener(manager, path) as listener:
        yield listener


def test_starting_and_stopping(manager: MemoryManager, path: Path) -> None:
    listener = MemoryListener(manager, path)
    for _ in range(3):
        assert listener.start() is listener
        listener.start()
        assert status_of(Served(str(path)).raw(GET)) == 200
        listener.stop()
        listener.stop()
        assert not path.exists()
    assert not [thread for thread in threading.enumerate() if thread.name == "memory-listener"]


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_the_mode_is_that_of_the_file_whatever_the_umask(manager: MemoryManager, path: Path, mode: int) -> None:
    before = os.umask(0)
    try:
        with MemoryListener(manager, path, mode):
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_the_file_of_a_dead_process_is_replaced(manager: MemoryManager, path: Path) -> None:
    program = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-S", "-c", program, str(path)], check=True)
    assert path.is_socket()
    with MemoryListener(manager, path):
        assert status_of(Served(str(path)).raw(GET)) == 200


def test_the_socket_of_a_living_process_is_an_error(
    listener: MemoryListener, manager: MemoryManager, path: Path
) -> None:
    with pytest.raises(OSError, match="another process listens on it") as error:
        MemoryListener(manager, path).start()
    assert error.value.errno == errno.EADDRINUSE
    assert status_of(Served(str(path)).raw(GET)) == 200, "the first one goes on"


def test_a_busy_one_counts_as_living(manager: MemoryManager, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as filler:
        busy.bind(str(path))
        busy.listen(0)
        filler.connect(str(path))
        with pytest.raises(OSError, match="another process listens on it"):
            MemoryListener(manager, path).start()


def test_what_is_no_socket_is_left_alone(manager: MemoryManager, path: Path, tmp_path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(OSError, match="no socket"):
        MemoryListener(manager, path).start()
    assert path.read_text() == "precious"
    link = tmp_path / "link.sock"
    link.symlink_to(path)
    with pytest.raises(OSError, match="no socket"):
        MemoryListener(manager, link).start()
    with pytest.raises(FileNotFoundError):
        MemoryListener(manager, tmp_path / "none" / "a.sock").start()
    for unfit in ("relative.sock", tmp_path / ("x" * 108)):
        with pytest.raises(ValueError, match="absolute and at most 107 bytes"):
            MemoryListener(manager, unfit).start()


def test_a_file_of_somebody_else_is_not_removed(manager: MemoryManager, path: Path) -> None:
    listener = MemoryListener(manager, path).start()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        listener.stop()
        assert path.is_socket()


def test_starting_at_once_leaves_one(manager: MemoryManager, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listeners = [MemoryListener(manager, path) for _ in range(8)]
    failures: list[OSError] = []

    def start(one: MemoryListener) -> None:
        try:
            one.start()
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(one,)) for one in listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len(failures) == 7
        assert status_of(Served(str(path)).raw(GET)) == 200
    finally:
        for one in listeners:
            one.stop()


def test_clients_beyond_the_bound_wait_and_are_answered(
    listener: MemoryListener, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLIENT_SECONDS", 5.0)
    served = Served(str(path))
    silent = [served.connect() for _ in range(MAX_CONNECTIONS)]
    try:
        eventually(lambda: _serving() == MAX_CONNECTIONS, what="all are served")
        waiting = served.connect()
        waiting.sendall(GET)
        silent.pop().close()
        with waiting:
            assert status_of(received(waiting)) == 200
        assert _serving() <= MAX_CONNECTIONS
    finally:
        for connection in silent:
            connection.close()


def _serving() -> int:
    return sum(thread.name == "memory-client" for thread in threading.enumerate())


def test_a_byte_now_and_then_gains_no_time(manager: MemoryManager, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLIENT_SECONDS", 0.5)
    with MemoryListener(manager, path), Served(str(path)).connect() as connection:
        connection.settimeout(0.05)
        answered = b""
        while not answered:
            try:
                connection.sendall(b"G")
                answered = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        assert status_of(answered) in (0, 408)
    eventually(lambda: _serving() == 0, what="nobody is served any more")


def test_a_client_that_does_not_read_is_left(
    manager: MemoryManager, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLIENT_SECONDS", 0.3)
    for number in range(5000):
        manager.register(Shelf(f"shelf {number} {'x' * 150}"))
    with MemoryListener(manager, path), Served(str(path)).connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(GET)
        eventually(lambda: _serving() == 1, what="it is served")
        eventually(lambda: _serving() == 0, what="it was left")


@as_root
def test_another_user_needs_the_token(manager: MemoryManager, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    for parent in [folder, *folder.parents][:-1]:
        parent.chmod(parent.stat().st_mode | 0o011)
    token = tmp_path / "token"
    token.write_text("s3cret")
    program = (
        "import os, socket, sys\n"
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "for headers in ('', 'Authorization: Bearer s3cret\\r\\n'):\n"
        "    s = socket.socket(socket.AF_UNIX)\n"
        "    try: s.connect(sys.argv[1])\n"
        "    except PermissionError: print('refused'); continue\n"
        "    s.sendall(f'GET /memory HTTP/1.1\\r\\nHost: localhost\\r\\n{headers}\\r\\n'.encode())\n"
        "    print(s.recv(99).split()[1].decode())\n"
    )

    def seen(path: Path) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-S", "-c", program, str(path)], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    with MemoryListener(manager, folder / "own.sock", token_file=token) as _:
        assert seen(folder / "own.sock") == ["refused", "refused"]
    with MemoryListener(manager, folder / "wide.sock", 0o666, token_file=token) as _:
        assert seen(folder / "wide.sock") == ["401", "200"]
    with MemoryListener(manager, folder / "wide.sock", 0o666) as _:
        assert seen(folder / "wide.sock") == ["403", "403"]


SERVER = """
import sys, threading
from memory_watchdog_kit import MemoryManager
from memory_watchdog_kit.web.listener import MemoryListener

class Stuck:
    name = "stuck"
    def statistics(self): raise OSError("gone")
    def cleanup(self, level, target_bytes): threading.Event().wait()

manager = MemoryManager(component_deadline_seconds=3600)
manager.register(Stuck())
MemoryListener(manager, sys.argv[1]).start()
sys.stdin.readline()
"""


def test_the_server_ends_although_a_cleanup_hangs_and_its_output_is_its_own(path: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as server:
        try:
            eventually(path.is_socket, what="it listens")
            served = Served(str(path))
            assert status_of(served.raw(b"nonsense\r\n\r\n")) == 400
            [component] = content_of(served.raw(GET))["components"]
            assert "gone" in component["error"]
            with served.connect() as hanging:
                body = b'{"level": "normal"}'
                head = b"POST /memory/cleanup HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
                hanging.sendall(head + body)
                eventually(lambda: status_of(served.post("/memory/cleanup", {"level": "normal"})) == 409)
                output, errors = server.communicate("\n", timeout=30)
        finally:
            server.kill()
    assert server.returncode == 0, errors
    assert output == ""
    assert not path.exists(), "it is removed at a normal end"


class TestHead:
    def test_what_is_read(self) -> None:
        raw = b"POST /memory/cleanup?x=1 HTTP/1.0\r\nHOST: localhost \r\nContent-Length:3"
        assert parse_head(raw) == Head(
            "POST", "/memory/cleanup", (("host", "localhost"), ("content-length", "3")), body_bytes=3
        )

    @pytest.mark.parametrize(
        ("raw", "status"),
        [
            (b"GET /memory HTTP/2", 400),
            (b"get /memory HTTP/1.1", 400),
            (b"GET  /memory HTTP/1.1", 400),
            (b"GET /memory HTTP/1.1\nHost: a", 400),
            (b"GET /memory HTTP/1.1\r\n folded: a", 400),
            (b"GET /memory HTTP/1.1\r\nHost: a\x00b", 400),
            (b"GET /memory HTTP/1.1\r\nContent-Length: +3", 400),
            (b"GET /memory HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3", 400),
            (b"GET /memory HTTP/1.1\r\nTransfer-Encoding: chunked", 501),
        ],
    )
    def test_what_could_be_read_in_two_ways_is_refused(self, raw: bytes, status: int) -> None:
        head = parse_head(raw)
        assert isinstance(head, Malformed)
        assert head.status == status

    @given(st.binary(max_size=300) | st.binary(max_size=100).map(lambda x: b"GET /memory HTTP/1.1\r\n" + x))
    def test_any_bytes_are_a_head_or_refused(self, raw: bytes) -> None:
        head = parse_head(raw)
        assert isinstance(head, Malformed) or head.body_bytes >= 0

    def test_an_answer_without_its_body(self) -> None:
        whole, head = written(answer(200, {})), written(answer(299, {}), with_body=False)
        assert whole.endswith(b"\r\n\r\n{}")
        assert head.startswith(b"HTTP/1.1 299 \r\n")
        assert head.endswith(b"\r\n\r\n")
