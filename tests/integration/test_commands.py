"""The commands beside `run`: what they print for whoever types them, and their exit status."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog import __version__
from memory_watchdog.cli import main
from memory_watchdog.options import OPTIONS

from tests.support.target import running_target
from tests.support.watchdog import ENVIRONMENT, PROGRAM, command, config, level, running_watchdog, written

COMMANDS = ("run", "check", "probe", "demo", "healthcheck")


def test_version() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"memory-watchdog {__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_help_fits_a_terminal_and_names_everything(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--help"])
    captured = capsys.readouterr()
    assert (end.value.code, captured.err) == (0, "")
    assert captured.out.startswith("usage: memory-watchdog")
    assert max(len(line) for line in captured.out.splitlines()) <= 80, captured.out
    if arguments in (["run"], ["probe"], ["healthcheck"]):
        for option in OPTIONS:
            assert re.search(rf"^  {re.escape(option.flag)}\b", captured.out, re.MULTILINE), option.flag
    if not arguments:
        assert all(re.search(rf"^    {name}\b", captured.out, re.MULTILINE) for name in COMMANDS)


def test_check_says_what_is_valid_and_what_will_surprise(tmp_path: Path) -> None:
    path = written(tmp_path, config("http://127.0.0.1:1", limit="8GiB") | {"state_file": "s.json"})
    done = command("check", str(path), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}: valid; targets: demo\n", "")
    assert not (tmp_path / "s.json").exists(), "nothing is written"
    assert command("check", cwd=tmp_path).stdout.endswith("memory-watchdog.yaml: valid; targets: demo\n")


def test_check_warns(tmp_path: Path) -> None:
    silent = {key: value for key, value in level("high", "420MiB", "300MiB").items() if key != "cleanup"}
    slow = level("low", "200MiB", "100MiB", cleanup={"path": "/x", "timeout": "60s"})
    path = written(tmp_path, config("http://127.0.0.1:1", levels=[slow, silent], dry_run=True))
    done = command("check", str(path))
    assert done.returncode == 0
    first, *warnings = done.stdout.splitlines()
    assert first.endswith(": valid; targets: demo")
    assert all(line.startswith("warning: ") for line in warnings)
    for text in (
        "no state_file",
        "target demo: a cleanup at level low may take 1m: from 87.5% of 400 MiB only growth below",
        "while level high is held nothing is sent",
        "level high is entered at 420 MiB, not below the limit of 400 MiB",
        "dry run: nothing is sent",
    ):
        assert sum(text in line for line in warnings) == 1, (text, warnings)


def test_check_refuses_a_state_file_that_run_could_not_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (
        ("missing/state.json", "its folder does not exist"),
        ("file/state.json", "its folder is none"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("x" * 300, "File name too long"),
    ):
        path = written(tmp_path, config("http://127.0.0.1:1") | {"state_file": str(tmp_path / name)})
        done = command("check", str(path))
        assert (done.returncode, done.stdout) == (2, ""), name
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"{path}: state_file: found '{tmp_path}"), line
        assert line.endswith(f"({why}), allowed: a file in a folder that exists and can be written")
    assert not (tmp_path / "missing").exists(), "nothing is made"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_check_refuses_a_state_file_in_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(0o555)
    path = written(tmp_path, config("http://127.0.0.1:1") | {"state_file": str(tmp_path / "shut" / "state.json")})
    done = command("check", str(path))
    assert (done.returncode, "its folder cannot be written" in done.stderr) == (2, True)


def test_check_warns_of_tokens_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "good").write_text("abc\n")
    files = {"no": str(tmp_path / "missing"), "empty": str(tmp_path / "empty"), "good": str(tmp_path / "good")}
    levels = [
        level("low", "200MiB", "100MiB", cleanup={"path": "/x", "bearer_token_file": files["empty"]}),
        level("high", "300MiB", "200MiB", cleanup={"path": "/x", "bearer_token_file": files["good"]}),
    ]
    content = config("http://127.0.0.1:1", levels=levels, stats={"bearer_token_file": files["no"]})
    done = command("check", str(written(tmp_path, content | {"state_file": str(tmp_path / "s.json")})))
    assert done.returncode == 0
    warnings = [line for line in done.stdout.splitlines() if "bearer_token_file" in line]
    assert [line.split(": ")[2] for line in warnings] == ["stats", "cleanup of level low"]
    assert warnings[0].endswith(f"token file {files['no']}: No such file or directory")
    assert warnings[1].endswith(f"token file {files['empty']}: empty")
    assert "abc" not in done.stdout


def test_probe_names_what_it_sees(tmp_path: Path) -> None:
    with running_target("[/red]") as target:
        target.control(grow=120)
        target.fork(1, each=5)
        path = written(tmp_path, config(target.url, name="[bold]demo[/]"))
        done = command("probe", f"--config.file={path}")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"pid {target.pid}: " in done.stdout
        for text in (
            "target [bold]demo[/]", "[/red]", "processes in the tree", "resident (rss)", "anonymous", "file mappings",
            "swap", "proportional (pss)", "smaps_rollup", "400 MiB", "given", "measure anon, chosen by auto",
            "level normal", "(met now)", "level aggressive", "│ 1 component ", "component cache", "120 MiB, 120 items",
            "reported by the server", "cleanup normal", "probe never sends it",
        ):  # fmt: skip
            assert text in done.stdout, text
        assert row(done.stdout, "processes in the tree")[1] == "2"
        assert target.requests == []


def row(table: str, what: str) -> list[str]:
    """The cells of one row of a table without a terminal."""
    (line,) = [line for line in table.splitlines() if line.startswith(f"│ {what} ")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_probe_gives_advice_where_something_is_unknown() -> None:
    with running_target() as gone:
        gone.kill()
        done = command("probe", f"--target.url={gone.url}")
        assert (done.returncode, done.stderr) == (1, "")
        assert "not_found" in row(done.stdout, "process")[1]
        assert row(done.stdout, "process")[3].startswith("start the server")
        assert "connection" in row(done.stdout, "statistics")[1]
        assert "is url right?" in row(done.stdout, "statistics")[3]
        assert row(done.stdout, "limit")[3].startswith("set limit")
        assert row(done.stdout, "level normal")[1] == "off: enter 75%, exit 70%"


def test_probe_of_a_server_that_speaks_something_else_or_is_slow(tmp_path: Path) -> None:
    with running_target() as target:
        done = command("probe", f"--config.file={written(tmp_path, config(target.url, stats={'path': '/else'}))}")
        assert "bearer_token_file" in row(done.stdout, "statistics")[3]
        target.control(statistics={"status": 200, "drop": ["schema"]})
        done = command("probe", f"--target.url={target.url}", "--target.limit=1GB")
        assert "native contract" in row(done.stdout, "statistics")[3]
        assert done.returncode == 0, "memory and limit are known"
        target.control(statistics={"hang": True})
        stats = {"timeout": "200ms"}
        done = command("probe", f"--config.file={written(tmp_path, config(target.url, stats=stats))}")
        assert "busy is not down" in row(done.stdout, "statistics")[3]


def test_probe_of_a_url_on_another_host_has_no_view_of_the_process() -> None:
    done = command("probe", "--target.url=http://192.0.2.1:9", "--target.limit=1GB")  # TEST-NET-1: nobody is there
    assert done.returncode == 1
    assert "not_configured" in row(done.stdout, "process")[1]
    assert "beside the server" in row(done.stdout, "process")[3]
    assert "measure reported, chosen by auto" in done.stdout


def test_probe_does_not_let_a_command_line_write_to_the_terminal(tmp_path: Path) -> None:
    with running_target("\x1b]0;title\x07\n| fake") as target:
        done = command("probe", f"--target.url={target.url}", "--target.limit=1GB")
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        assert "\x07" not in done.stdout
        assert "fake" in row(done.stdout, "process")[1]


def test_probe_on_a_terminal_fits_it() -> None:
    with running_target() as target:
        text = on_a_terminal("probe", f"--target.url={target.url}", "--target.limit=1GB")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    assert max(len(line) for line in lines) <= 80
    assert any("resident (rss)" in line for line in lines)


def on_a_terminal(*arguments: str) -> str:
    """What a command prints on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environ = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "80", "LINES": "25"}
    with subprocess.Popen([*PROGRAM, *arguments], stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # EIO: the other side is closed
                break
            if not piece:
                break
            text += piece
        process.wait(20)
    os.close(ours)
    return text.decode()


def test_a_reader_that_leaves_early_is_no_error_worth_a_traceback(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    path = written(tmp_path, config("http://127.0.0.1:1"))
    for arguments in (["check", str(path)], ["probe", "--config.file", str(path)]):
        done = subprocess.run([*PROGRAM, *arguments], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "")
    os.close(write_end)


def test_healthcheck(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        done = command("healthcheck", f"--web.url=http://{watchdog.address}")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        port = watchdog.address.rpartition(":")[2]
        environ = {"MEMORY_WATCHDOG_TARGET_URL": target.url, "MEMORY_WATCHDOG_WEB_LISTEN_ADDRESS": f"0.0.0.0:{port}"}
        assert command("healthcheck", environ=environ, cwd=tmp_path.parent).returncode == 0
        done = command("healthcheck", f"--web.url={target.url}")
        assert done.returncode == 1
        assert "404" in done.stderr
    done = command("healthcheck", f"--web.url=http://{watchdog.address}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"http://{watchdog.address}/-/healthy" in line


@pytest.mark.parametrize(
    "url", ["", "x", "http://", "http://[", "ftp://h", "http://a..b", "http://h:99999", "http://\x00"]
)
def test_healthcheck_of_no_address(url: str, capsys: Any) -> None:
    assert main(["healthcheck", f"--web.url={url}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("memory-watchdog: ")


def test_used_in_probe_is_what_run_compares(tmp_path: Path) -> None:
    measures = ("rss", "anon", "pss", "reported")
    with running_target() as target:
        target.control(grow=50)
        # One after the other: two targets with one process are refused.
        tables = [
            command("probe", f"--config.file={written(tmp_path, config(target.url, measure=measure))}").stdout
            for measure in measures
        ]
    for measure, table in zip(measures, tables, strict=True):
        used = row(table, "used, what is compared")
        assert used[2] == f"measure {measure}"
        assert 50 < float(used[1].split(" MiB")[0]) < 50 + 60, used
