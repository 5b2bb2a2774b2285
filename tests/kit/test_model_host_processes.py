"""The model host's processes from outside: who outlives whom, what they inherit, what they print."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from memory_watchdog_kit import ModelCrashed, ModelFailed, ModelHost

from tests.kit.conftest import spec
from tests.kit.support.processes import children, living
from tests.support.wait import eventually

Make = Callable[..., ModelHost]


@contextlib.contextmanager
def server(file: Path = Path("/nowhere")) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A server in a process (and session) of its own, and the processes of its three models."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.kit.support.model_server", str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    below: list[psutil.Process] = []
    try:
        assert line(process) == "ready"
        below = children(process.pid)
        assert len(below) == 4, "the forkserver and three workers"
        yield process, below
    finally:
        process.kill()
        process.communicate()
        for left in living(below):
            left.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def say(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def test_nothing_outlives_a_parent_that_is_killed_not_even_what_hangs(tmp_path: Path) -> None:
    with server(tmp_path / "hangs") as (process, below):
        say(process, "hang")
        eventually((tmp_path / "hangs").exists)
        process.kill()
        eventually(lambda: not living(below), 10)


def test_nothing_outlives_a_parent_that_is_killed_while_its_forkserver_is_stopped() -> None:
    """A stopped forkserver reads no EOF: the kernel ends it, and its workers with it."""
    with server() as (process, below):
        below[0].suspend()
        process.kill()
        eventually(lambda: not living(below), 10)


def test_nothing_outlives_a_parent_although_a_forked_child_of_it_lives_on() -> None:
    """The child closes its copies of the sockets, else the workers would not read EOF."""
    with server() as (process, below):
        say(process, "fork")
        child = psutil.Process(int(line(process)))
        try:
            process.kill()
            eventually(lambda: not living(below), 10)
            assert living([child])
        finally:
            child.kill()


def test_a_parent_that_simply_ends_takes_its_processes_along() -> None:
    with server() as (process, below):
        say(process, "exit")
        assert process.wait(20) == 0
        assert living(below) == []
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_control_c_ends_the_server_without_a_word_from_the_workers(tmp_path: Path) -> None:
    with server(tmp_path / "hangs") as (process, below):
        say(process, "interrupt")
        eventually((tmp_path / "hangs").exists)
        for pid in [process.pid, *(each.pid for each in below)]:  # as a terminal does for its foreground group
            os.kill(pid, signal.SIGINT)
        assert line(process) == "interrupted"
        assert process.wait(20) == 0
        assert living(below) == []
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_sigterm_to_the_whole_cgroup_leaves_the_models_to_the_server() -> None:
    with server() as (process, below):
        for each in below:
            each.terminate()
        say(process, "ask")
        assert line(process) == "3"
        assert living(below) == below


def test_a_worker_gets_no_descriptor_of_the_server(host: Make, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)  # as badly as it can be opened
        models = host({"a": spec("obedient"), "b": spec("obedient")})
        models.embed("a", ["x"])
        models.embed("b", ["x"])
        forkserver, *workers = children()
    assert len(workers) == 2
    assert os.getsid(forkserver.pid) == forkserver.pid, "it belongs to no terminal"
    for worker in workers:
        kinds = [str(link.readlink()).split(":")[0] for link in Path(f"/proc/{worker.pid}/fd").iterdir()]
        assert sorted(kinds) == ["/dev/null", "pipe", "pipe", "socket"]
    kinds = [str(link.readlink()).split(":")[0] for link in Path(f"/proc/{forkserver.pid}/fd").iterdir()]
    assert sorted(kinds) == ["/dev/null", "pipe", "pipe", "socket", "socket", "socket"]


def test_what_a_model_prints_is_logged_and_not_taken_for_an_answer(
    host: Make, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    models = host({"a": spec("obedient")}, name="mine")
    assert models.embed("a", ["print some words", "two"]).shape == (2, 4)
    eventually(lambda: "mine: model a: some words" in caplog.messages)
    eventually(lambda: any(message.startswith("mine: model a: MWK1") for message in caplog.messages))
    with pytest.raises(ModelFailed):
        models.embed("a", ["raise no such token"])
    eventually(lambda: "mine: model a: ValueError: no such token" in caplog.messages)
    assert any(", in _obey" in message for message in caplog.messages), "the traceback is in the log"
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    assert capfd.readouterr() == ("", "")


def test_a_model_that_prints_without_end_neither_hangs_nor_fills_the_log(
    host: Make, caplog: pytest.LogCaptureFixture
) -> None:
    models = host({"a": spec("obedient")})
    assert models.embed("a", ["flood 200000"]).shape == (1, 4)
    models.close()
    assert sum(message == "models: model a: x" for message in caplog.messages) <= 50 * 60
    assert any("more lines" in message for message in caplog.messages)


def test_what_a_model_has_started_goes_with_it(host: Make) -> None:
    """Its process group: a helper that stays would keep memory, and the socket open."""
    models = host({"a": spec("obedient")})
    models.embed("a", ["child"])
    models.embed("a", ["fork"])
    below = children()
    assert len(below) == 4
    with pytest.raises(ModelCrashed, match="SIGKILL"):
        models.embed("a", ["die"])
    eventually(lambda: living(below) == [below[0]])


def test_signals_of_a_worker_are_as_they_were_for_what_it_starts(host: Make) -> None:
    models = host({"a": spec("obedient")})
    models.embed("a", ["child"])
    started = eventually(lambda: [one for one in children() if one.cmdline()[-1:] == ["import signal; signal.pause()"]])
    started[0].terminate()
    eventually(lambda: not living(started), what="SIGTERM was not ignored")
