"""The commands that speak to a watchdog, where no watchdog answers, or what they were told cannot be sent."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.target import running_target
from tests.support.watchdog import ENVIRONMENT, PROGRAM, command, config, running_watchdog, written

COMMANDS = (["cleanup", "demo"], ["pause", "demo"], ["resume", "demo"])


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives every request the same answer."""

    class Same(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_DELETE = do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Same) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def failed(*arguments: str | bytes) -> str:
    """The one line of a command that ends with status 1."""
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, env=ENVIRONMENT, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (1, b""), done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("memory-watchdog: ")
    return line


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"<html>\n<p>hello\n</html>", b"[]", b'{"paused_until_timestamp_seconds": 1e300}', b"\xff"]
)
def test_an_answer_that_is_not_ours(body: bytes) -> None:
    with answering(200, body) as url:
        for arguments in COMMANDS:
            assert f"{url} is no memory-watchdog" in failed(*arguments, f"--web.url={url}")


@pytest.mark.parametrize(
    "body", [b"<p>\nno\n</p>", b'{"detail": ["x"]}', b'{"detail": 5}', b'{"detail": "a\\nb"}', b""]
)
def test_a_refusal_that_is_not_ours(body: bytes) -> None:
    with answering(500, body) as url:
        for arguments in (*COMMANDS, ["healthcheck"]):
            assert "500" in failed(*arguments, f"--web.url={url}")


@pytest.mark.parametrize("url", [f"http://{'a' * 64}.b:9", "http://a..b", "", "x\ny", "http://\udcff"])
def test_no_address(url: str) -> None:
    for arguments in COMMANDS:
        assert "no watchdog answers" in failed(*arguments, os.fsencode(f"--web.url={url}"))


def test_what_is_no_utf8(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        url = f"--web.url=http://{watchdog.address}"
        for use in ("cleanup", "pause", "resume"):
            assert "404: no target" in failed(use, b"\xff", url)
        assert "422: body.reason" in failed("cleanup", "demo", url, b"--reason=\xff")
        assert "422: body.level" in failed("cleanup", "demo", url, b"--level=\xff")


@pytest.mark.parametrize("duration", ["48h", "24h1s", "0s"])
def test_a_pause_of_a_length_that_is_not_allowed(duration: str) -> None:
    done = command("pause", "demo", f"--for={duration}", "--web.url=http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"memory-watchdog: --for: found '{duration}', allowed: more than 0s, at most 24h\n"


def test_an_output_that_is_full_is_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, config("http://127.0.0.1:1"))
    for arguments in (["check", str(path)], ["probe", "--config.file", str(path)], ["presets"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, check=False
            )
        assert done.returncode == 1
        assert done.stderr == "memory-watchdog: the output cannot be written: No space left on device\n"
