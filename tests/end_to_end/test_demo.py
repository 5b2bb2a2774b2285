"""`memory-watchdog demo` as a newcomer runs it: without a terminal, to its end, kept, and ended early."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.wait import eventually
from tests.support.watchdog import ENVIRONMENT, PROGRAM, Metrics, fetch

AT_MOST_SECONDS = 60
# what a user has set for a watchdog of their own is none of the demo's business
FOREIGN = {
    "MEMORY_WATCHDOG_LOG_FORMAT": "logfmt", "MEMORY_WATCHDOG_DRY_RUN": "1", "MEMORY_WATCHDOG_TARGET_LIMIT": "1GB",
    "MEMORY_WATCHDOG_WEB_LISTEN_ADDRESS": "127.0.0.1:1",
}  # fmt: skip


class Demo:
    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output
        self.seen: set[psutil.Process] = set()
        """All children that there were, for the end of a demo that leaves them behind."""

    @property
    def text(self) -> str:
        return self.output.read_text()

    def children(self) -> list[psutil.Process]:
        found = _children(self.process.pid)
        self.seen.update(found)
        return found


@contextmanager
def running_demo(folder: Path, *options: str) -> Iterator[Demo]:
    """A demo that is ended with all its children, whatever happens."""
    output = folder / f"demo{len(options)}"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*PROGRAM, "demo", *options], stdout=file, stderr=file, env=ENVIRONMENT | FOREIGN, cwd=folder
        )
    demo = Demo(process, output)
    try:
        yield demo
    finally:
        demo.children()
        if process.poll() is None:
            process.kill()
        process.wait()
        for child in demo.seen:
            if child.is_running():  # the same process, and not another one of that pid
                child.kill()


def gone(children: list[psutil.Process]) -> bool:
    return not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)


def test_the_demo_shows_both_cleanups_and_ends_or_stays(tmp_path: Path) -> None:
    """Two at once, on ports of their own: one ends by itself, one is kept."""
    with running_demo(tmp_path) as plain, running_demo(tmp_path, "--keep") as kept:
        eventually(lambda: len(plain.children()) == len(kept.children()) == 2, what="server and watchdog of each")
        children = plain.children()
        assert plain.process.wait(AT_MOST_SECONDS + 30) == 0, plain.text
        assert gone(children)
        lasted = float(re.findall(r"Done in (\d+)s: both levels were reached, cleaned up, and left\.", plain.text)[0])
        print(f"the demo took {lasted:g} s")
        assert lasted <= AT_MOST_SECONDS
        _tells_the_story(plain.text)

        eventually(lambda: "Still running:" in kept.text, 90, what="the end of the one that is kept")
        _tells_the_story(kept.text)
        address = re.findall(r"Still running: (http://[0-9.:]+)/metrics, server (http://[0-9.:]+)/memory\.", kept.text)
        watchdog, server = address[0]
        seen = Metrics.parsed(fetch(f"{watchdog}/metrics").text)
        assert seen.value("target_up") == 1
        for level in ("normal", "aggressive"):
            assert seen.total("cleanups_total", level=level) >= 1
            assert seen.total("cleanup_reclaimed_bytes_total", level=level) > 2**20
        assert fetch(f"{server}/memory").status == 200
        children = kept.children()
        kept.process.send_signal(signal.SIGINT)
        assert kept.process.wait(10) == 0, kept.text
        assert gone(children)
        assert "Traceback" not in kept.text


def _tells_the_story(text: str) -> None:
    assert "Traceback" not in text
    assert "\x1b" not in text, "plain lines where there is no terminal"
    for said in ("level none -> normal", "level normal -> aggressive", "verdict at normal: effective"):
        assert said in text, said
    assert re.search(r"used +\S+ MiB +limit +256 MiB +level none", text)
    for level in ("normal", "aggressive"):
        (row,) = re.findall(rf"^│ {level} +│ +(\d+) +│ (\S+) MiB +│ (\S+) MiB +│ (.+) │$", text, re.MULTILINE)
        assert int(row[0]) >= 1
        assert float(row[1]) > 1
        assert "reclaimed" in row[3]
    assert "\nWhere less is measured than claimed: " in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_demo_that_is_ended_takes_its_processes_with_it(tmp_path: Path, number: signal.Signals) -> None:
    with running_demo(tmp_path) as demo:
        eventually(lambda: "level none" in demo.text, what="its first line")
        children = demo.children()
        assert len(children) == 2
        demo.process.send_signal(number)
        assert demo.process.wait(10) == 1, "it has not shown what it was to show"
        assert gone(children)
        assert "Traceback" not in demo.text


def test_a_demo_on_another_system_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from memory_watchdog.cli import main

    monkeypatch.setattr("sys.platform", "darwin")
    assert main(["demo"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "Linux" in line
    assert "darwin" in line


def test_a_demo_whose_reader_leaves_ends_quietly(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        children: list[psutil.Process] = []
        try:
            process.stdout.readline()
            children = eventually(lambda: found if len(found := _children(process.pid)) == 2 else [], what="children")
            process.stdout.close()
            assert process.wait(20) == 1
            assert process.stderr.read() == b""
            assert gone(children)
        finally:
            for child in children:
                if child.is_running():
                    child.kill()
            process.kill()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
