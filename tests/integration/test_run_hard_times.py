"""A running watchdog when things around it are slow, full or wavering."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import http.server
import json
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog import logs, state_file, supervisor
from memory_watchdog.clock import Clock
from memory_watchdog.config import Config
from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.supervisor import Supervisor

from tests.support.answers import Server
from tests.support.target import free_port, running_target
from tests.support.wait import eventually
from tests.support.watchdog import ENVIRONMENT, PROGRAM, command, config, fetch, running_watchdog, written


def test_many_reloads_of_where_the_process_is_end_no_watching(tmp_path: Path) -> None:
    """Each may come while the search of the tick before is still under way."""
    nowhere = config(None, process={"port": 9}, levels=quiet())
    with running_target() as target, running_watchdog(tmp_path, nowhere) as watchdog:
        for port in range(10, 60):
            written(tmp_path, config(None, process={"port": port}, levels=quiet()))
            assert watchdog.get("/-/reload", method="POST").status == 200
        written(tmp_path, config(None, process={"port": target.port}, levels=quiet()))
        assert watchdog.get("/-/reload", method="POST").status == 200
        watchdog.until(target_up=1)
        watchdog.ticks(2)


def quiet() -> list[dict[str, Any]]:
    return [{"name": "high", "enter": "90%", "exit": "80%"}]


def test_a_slow_disk_holds_up_neither_a_save_nor_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    written_all: list[bytes] = []

    def slow(path: Path, content: bytes) -> None:
        go_on.wait(20)
        written_all.append(content)

    monkeypatch.setattr(state_file, "write", slow)
    monkeypatch.setattr(supervisor, "SAVE_DEADLINE_SECONDS", 0.05)

    async def save() -> None:
        running = Supervisor(Clock())
        path = tmp_path / "state.json"
        started = time.monotonic()
        for _ in range(3):  # the later ones find the first still under way, and start nothing beside it
            failure = await running.write_to(path)
            assert isinstance(failure, Unavailable)
            assert failure.reason is Reason.TIMEOUT
        assert time.monotonic() - started < 5
        go_on.set()
        assert running._writing is not None
        await running._writing
        assert await running.write_to(path) is None
        assert len(written_all) == 2

    logs.configure("error", "logfmt")
    asyncio.run(save())


def test_a_log_that_nobody_reads_does_not_stop_the_watching(tmp_path: Path) -> None:
    with running_target() as target:
        port = free_port()
        content = config(target.url) | {"log": {"level": "debug", "format": "json"}}
        content["web"]["listen_address"] = f"127.0.0.1:{port}"
        path = written(tmp_path, content)
        process = subprocess.Popen(
            [*PROGRAM, "run", f"--config.file={path}"], stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=tmp_path
        )
        try:
            ready = f"http://127.0.0.1:{port}/-/ready"

            def lines() -> bool:
                with contextlib.suppress(OSError):
                    return fetch(ready).status == 200
                return False

            eventually(lines)
            assert process.stderr is not None
            fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
            eventually(lambda: unread(process.stderr), what="a pipe that holds something")
            # 250 bytes a look: the one page that is left to the pipe would be full after some sixteen
            for _ in range(40):
                before = observed(port)
                eventually(lambda before=before: observed(port) > before)  # type: ignore[misc]
            started = time.monotonic()
            process.terminate()
            assert process.wait(10) == 0
            assert time.monotonic() - started < 5
        finally:
            process.kill()
            process.communicate()


def unread(pipe: Any) -> int:
    """Bytes that wait in a pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def observed(port: int) -> float:
    text = fetch(f"http://127.0.0.1:{port}/metrics").text
    line = next(line for line in text.splitlines() if line.startswith("memory_watchdog_target_last_observation"))
    return float(line.split()[-1])


@contextlib.contextmanager
def reporting(wavering: float, answer_seconds: float = 0.0) -> Iterator[str]:
    """A server whose report says when it started, not always the same, after a while."""
    starts = iter(1795400000.0 + wavering * (-1) ** number for number in range(10_000))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if answer_seconds:
                hanging.wait(answer_seconds)
            process = {"resident_bytes": 50 << 20, "start_time_seconds": next(starts)}
            body = json.dumps({"schema": 1, "process": process, "components": []}).encode()
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    hanging = threading.Event()
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        hanging.set()
        server.shutdown()
        thread.join()
        server.server_close()


def reported(url: str, **stats: str) -> dict[str, Any]:
    """A target of which only the report is seen: no process has that pid file."""
    return config(url, measure="reported", process={"pid_file": "nowhere"}, stats={"interval": "1s"} | stats)


def test_a_start_time_that_wavers_is_no_restart(tmp_path: Path) -> None:
    with reporting(0.3) as url, running_watchdog(tmp_path, reported(url)) as watchdog:
        watchdog.ticks(4)
        assert watchdog.metrics().value("target_restarts_total") == 0
        assert watchdog.metrics().value("target_used_bytes") == 50 << 20


def test_a_start_time_that_jumps_is_one(tmp_path: Path) -> None:
    with reporting(30) as url, running_watchdog(tmp_path, reported(url)) as watchdog:
        eventually(lambda: (watchdog.metrics().value("target_restarts_total") or 0) >= 1)


def test_being_ready_does_not_wait_for_the_statistics(tmp_path: Path) -> None:
    with reporting(0, answer_seconds=15) as url:
        started = time.monotonic()
        with running_watchdog(tmp_path, reported(url, timeout="60s")) as watchdog:
            assert time.monotonic() - started < 10
            assert watchdog.metrics().value("target_up") == 0
            assert watchdog.metrics().value("target_used_bytes") is None
            assert watchdog.get("/-/healthy").status == 200


def test_direct_keeps_to_dry_run(tmp_path: Path) -> None:
    with running_target() as target:
        path = written(tmp_path, config(target.url, dry_run=True))
        refused = command(
            "cleanup", "demo", "--direct", f"--config.file={path}", "--web.url=http://127.0.0.1:9", cwd=tmp_path
        )
        assert (refused.returncode, "dry run" in refused.stderr) == (2, True)
        assert target.requests == []


def test_a_config_is_a_config() -> None:
    """What the helpers above write is what the models know."""
    assert set(config("http://127.0.0.1:1")) <= set(Config.model_fields)
