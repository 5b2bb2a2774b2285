"""A server that speaks stdio only: the kit's listener on a Unix socket, watched and cleaned up by the watchdog."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.wait import eventually
from tests.support.watchdog import command, config, running_watchdog

SERVER = """
import sys
from memory_watchdog_kit import Cleaned, MemoryManager, Statistics
from memory_watchdog_kit.web.listener import MemoryListener

class Pages:
    name = "pages"
    held = []
    def statistics(self):
        return Statistics(bytes=sum(map(len, self.held)), items=len(self.held))
    def cleanup(self, level, target_bytes):
        gone = sum(map(len, self.held))
        self.held.clear()
        return Cleaned(1, gone)

class Broken:
    name = "broken"
    def statistics(self):
        raise RuntimeError("no idea")
    def cleanup(self, level, target_bytes):
        raise RuntimeError("cannot")

manager = MemoryManager()
pages = Pages()
manager.register(pages)
manager.register(Broken())
with MemoryListener(manager, sys.argv[1]):
    print("listening", flush=True)
    for line in sys.stdin:
        pages.held.append(bytearray(int(line) << 20))
        print("grown", flush=True)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(tmp_path / "memory.sock")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "listening\n"
        yield process
        process.stdin.close()
        process.wait(20)


def test_it_is_found_by_its_socket_seen_and_cleaned_up(tmp_path: Path, server: subprocess.Popen[str]) -> None:
    assert server.stdin is not None
    url = f"unix:{tmp_path / 'memory.sock'}"
    with running_watchdog(tmp_path, config(url, measure="anon")) as watchdog:
        assert watchdog.wait_for("the target was found")["pid"] == server.pid
        server.stdin.write("150\n")
        server.stdin.flush()
        verdict = watchdog.wait_for("verdict")
        assert verdict["verdict"] == "effective"
        assert verdict["reclaimed_bytes"] > 80 << 20  # it is asked while memory still grows

        def told() -> bool:
            metrics = watchdog.metrics()
            return (
                metrics.value("component_up", component="pages") == 1
                and metrics.value("component_up", component="broken") == 0
                and metrics.value("component_bytes", component="pages") == 0
                and metrics.value("component_bytes", component="broken") is None
            )

        eventually(told, what="the components")
        assert "no idea" in watchdog.wait_for("a component cannot tell its numbers", component="broken")["detail"]
        assert len(watchdog.said("a component cannot tell its numbers")) <= 2, "said once, not at each answer"


def test_probe_shows_it(tmp_path: Path, server: subprocess.Popen[str]) -> None:
    done = command("probe", f"--target.url=unix:{tmp_path / 'memory.sock'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(server.pid) in done.stdout
