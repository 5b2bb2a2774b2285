"""Bad input of every kind: one clear line for each mistake, status 2, and never a traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from memory_watchdog.cli import main

from tests.support.target import free_port
from tests.support.wait import eventually
from tests.support.watchdog import ENVIRONMENT, PROGRAM, command, config, fetch, written

TARGET = "targets: [{url: 'http://127.0.0.1:1'"

# the file, then what each line must hold
FILES: dict[str, tuple[str | bytes, list[str]]] = {
    "unit": (TARGET + ", limit: 8Gb}]", ["memory-watchdog.yaml:1", "targets[0].limit", "'8Gb'", "8GiB"]),
    "unknown key": (TARGET + ", limits: 8GB}]", ["targets[0].limits", "an unknown key", "did you mean limit?"]),
    "duplicate key": (TARGET + ", limit: 1GB, limit: 2GB}]", ["limit"]),
    "bare number": (TARGET + ", interval: 5}]", ["targets[0].interval", "'5'", "100ms"]),
    "interval below min_interval": (TARGET + ", interval: 50ms}]", ["targets[0].interval", "min_interval (100ms)"]),
    "two ways to find it": (TARGET + ", process: {pid: 1, port: 2}}]", ["port and pid", "exactly one"]),
    "no way to find it": (TARGET + ", process: {}}]", ["targets[0].process", "exactly one"]),
    "exit above enter": (TARGET + ", levels: [{name: a, enter: 50%, exit: 60%}]}]", ["exit", "below enter (50%)"]),
    "levels out of order": (
        TARGET + ", levels: [{name: a, enter: 80%, exit: 70%}, {name: b, enter: 75%, exit: 71%}]}]",
        ["targets[0].levels[1].enter", "above the enter of the level beneath (80%)"],
    ),
    "missing variable": (TARGET + ", limit: '${NO_SUCH_VARIABLE}'}]", ["NO_SUCH_VARIABLE"]),
    "no yaml": ("targets: [", ["memory-watchdog.yaml:"]),
    "not utf-8": (b"targets: \xff\xfe", ["memory-watchdog.yaml"]),
    "control characters": (b"targets: \x00\x07", ["memory-watchdog.yaml"]),
    "empty": ("", ["memory-watchdog.yaml", "a mapping with the key targets"]),
    "a text": ("hello", ["memory-watchdog.yaml"]),
    "a list": ("- 1\n- 2", ["memory-watchdog.yaml"]),
    "no targets": ("targets: []", ["at least one target"]),
    "a secret in the url": ("targets: [{url: 'http://u:pa55@h'}]", ["targets[0].url", "<hidden>"]),
    "a bad header": (TARGET + ", stats: {headers: {'X-A b': v4lue}}}]", ["headers"]),
    "deep": ("targets: " + "[" * 2000 + "]" * 2000, ["memory-watchdog.yaml"]),
    "an alias that grows": ("a: &a [x, x]\nb: &b [*a, *a]\ntargets: [*b]", ["memory-watchdog.yaml"]),
    "log format": ("log: {format: xml}\n" + TARGET + "}]", ["log.format", "logfmt or json"]),
    "listen address": ("web: {listen_address: 9847}\n" + TARGET + "}]", ["web.listen_address", ":PORT"]),
}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("MEMORY_WATCHDOG_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The lines of a command that is refused with status 2."""
    try:
        status: object = main(arguments)
    except SystemExit as end:
        status = end.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    lines = captured.err.splitlines()
    assert lines
    assert "Traceback" not in captured.err
    assert all(line.strip() and line.isprintable() for line in lines)
    return lines


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("use", ["run", "check"])
def test_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], use: str, name: str) -> None:
    content, held = FILES[name]
    path = tmp_path / "memory-watchdog.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    lines = refused(capsys, use)
    for text in held:
        assert text in "\n".join(lines)
    assert "pa55" not in "".join(lines)
    assert "v4lue" not in "".join(lines)
    if len(held) > 1:
        assert len(lines) == 1


def test_each_of_several_mistakes_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(
        tmp_path,
        f"log: {{level: loud}}\nstate_file: 1\n{TARGET},\n  limit: 1QB,\n  settle: soon,\n  dry_run: 'no'}}]\n",
    )
    lines = refused(capsys, "check")
    assert [line.split(" found ")[0] for line in lines] == [
        "memory-watchdog.yaml:1: log.level:",
        "memory-watchdog.yaml:2: state_file:",
        "memory-watchdog.yaml:4: targets[0].limit:",
        "memory-watchdog.yaml:5: targets[0].settle:",
        "memory-watchdog.yaml:6: targets[0].dry_run:",
    ]


def test_a_file_that_is_not_there_or_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    for path, reason in (("nowhere.yaml", "No such file"), ("folder", "directory"), ("a\nb", "No such file")):
        for arguments in (["check", path], ["run", f"--config.file={path}"], ["probe", "--config.file", path]):
            (line,) = refused(capsys, *arguments)
            assert reason.lower() in line.lower()
    refused(capsys, "check", "")


@pytest.mark.parametrize("use", ["run", "probe", "check"])
def test_without_any_config(capsys: pytest.CaptureFixture[str], use: str) -> None:
    (line,) = refused(capsys, use)
    assert "no config" in line
    assert "--target.url" in line


@pytest.mark.parametrize(
    ("arguments", "held"),
    [
        (["--target.url=ftp://x"], "--target.url: found 'ftp://x'"),
        (["--target.url="], "--target.url"),
        (["--target.url=http://h", "--target.limit=lots"], "--target.limit: found 'lots'"),
        (["--target.url=http://h", "--target.limit=75%"], "--target.limit"),
        (["--target.url=http://h", "--target.interval=5"], "--target.interval"),
        (["--target.url=http://h", "--target.measure=vms"], "--target.measure"),
        (["--target.url=http://h", "--target.port=70000"], "--target.port"),
        (["--target.url=http://h", "--target.pid=-1"], "--target.pid"),
        (["--target.url=http://h", "--target.command=("], "--target.command"),
        (["--target.url=http://h", "--target.pid=1", "--target.port=2"], "exactly one"),
        (["--target.pid=1"], "name"),
        (["--target.url=http://h", "--web.listen-address=here"], "--web.listen-address"),
        (["--target.url=http://h", "--log.level=loud"], "--log.level"),
        (["--target.url=http://h", "--log.format=xml"], "--log.format"),
        (["--target.url=http://h", "--state-file="], "--state-file"),
        (["--target.url"], "expected one argument"),
        (["--no-such-option"], "--no-such-option"),
        (["--target.ur=http://h"], "--target.ur"),  # no abbreviations: they would change meaning with a new option
        (["--dry-run=yes"], "dry-run"),
        (["one", "two"], "one two"),
    ],
)
def test_bad_options(capsys: pytest.CaptureFixture[str], arguments: list[str], held: str) -> None:
    (line,) = refused(capsys, "run", *arguments)
    assert held in line


def test_bad_variables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMORY_WATCHDOG_TARGET_URL", "http://h")
    monkeypatch.setenv("MEMORY_WATCHDOG_TARGET_LIMIT", "lots")
    monkeypatch.setenv("MEMORY_WATCHDOG_DRY_RUN", "perhaps")
    lines = refused(capsys, "run")
    assert sorted(line.split(":")[0] for line in lines) == ["MEMORY_WATCHDOG_DRY_RUN", "MEMORY_WATCHDOG_TARGET_LIMIT"]


def test_target_options_beside_a_file_with_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, TARGET + "}]")
    (line,) = refused(capsys, "run", "--config.file=memory-watchdog.yaml", "--target.limit=1GB")
    assert line.startswith("--target.limit: found '1GB'")


@pytest.mark.parametrize("arguments", [[], ["nope"], ["check", "a", "b"], ["demo", "--keep=1"], ["demo", "x"], ["-x"]])
def test_bad_commands(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    (line,) = refused(capsys, *arguments)
    assert line.startswith("memory-watchdog")
    assert "--help" in line


@pytest.mark.parametrize(
    ("address", "held"),
    [("127.0.0.1:{busy}", "Address already in use"), ("a..b:9", "a..b:9"),
     (f"{'a' * 64}.b:9", "cannot listen")],
)  # fmt: skip
def test_an_address_that_cannot_be_had_is_one_line_and_status_1(tmp_path: Path, address: str, held: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        address = address.replace("{busy}", str(busy.getsockname()[1]))
        done = command("run", "--target.url=http://127.0.0.1:1", f"--web.listen-address={address}", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("memory-watchdog: cannot listen on ")
    assert held in line


def test_names_that_the_output_cannot_show_are_escaped(tmp_path: Path) -> None:
    """A file name of bytes that are no UTF-8, a target name beyond ASCII, an output that is ASCII."""
    path = tmp_path / os.fsdecode(b"\xff.yaml")
    path.write_text(TARGET + ', name: "caf\\u00e9"}]')
    for environ in ({}, {"PYTHONIOENCODING": "ascii"}):
        done = command("check", os.fsencode(path.name), cwd=tmp_path, environ=environ)
        assert done.returncode == 0, done.stderr
        assert ".yaml: valid; targets: caf" in done.stdout
    done = command(
        "probe", "--config.file", os.fsencode(path.name), cwd=tmp_path, environ={"PYTHONIOENCODING": "ascii"}
    )
    assert "Traceback" not in done.stderr
    assert "target caf" in done.stdout


@pytest.mark.parametrize("stderr", ["/dev/full", "closed pipe", "closed"])
def test_a_log_that_cannot_be_written_does_not_end_the_watching(tmp_path: Path, stderr: str) -> None:
    port = free_port()
    path = written(tmp_path, config("http://127.0.0.1:1") | {"web": {"listen_address": f"127.0.0.1:{port}"}})
    read_end, write_end = os.pipe()
    os.close(read_end)
    full = os.open("/dev/full", os.O_WRONLY)
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh"] if stderr == "closed" else []
    process = subprocess.Popen(
        [*shell, *PROGRAM, "run", f"--config.file={path}"],
        stderr=full if stderr == "/dev/full" else write_end,
        env=ENVIRONMENT,
    )
    os.close(write_end)
    os.close(full)
    try:

        def up() -> bool:
            try:
                return fetch(f"http://127.0.0.1:{port}/-/ready").status == 200
            except OSError:
                assert process.poll() is None
                return False

        eventually(up, what="it listens")
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait()
