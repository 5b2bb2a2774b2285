"""A cleanup by a tool call of real MCP servers, by itself and through the commands."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.actions.mcp import ToolCall
from memory_watchdog.actions.steps import clean_up_in_steps
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.expressions import Quantity, Term, compile_expression
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason
from memory_watchdog.preset_files import starting_config

from tests.support import mcp_server
from tests.support.wait import eventually
from tests.support.watchdog import ENVIRONMENT, PROGRAM, config, running_watchdog

DONE, FAILED, IN_ANSWER = OutcomeKind.DONE, OutcomeKind.FAILED, Reason.ERROR_IN_ANSWER


@dataclass
class McpServer:
    """One that runs: where, and what its tools were called with."""

    url: str
    calls: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sessions(self) -> int:
        """How many it keeps."""
        with urllib.request.urlopen(f"{self.url}/memory", timeout=10) as answer:
            return int(json.load(answer)["components"][0]["items"])


@contextmanager
def running(state: str, form: str, socket: Path | None = None) -> Iterator[McpServer]:
    command = [sys.executable, "-P", mcp_server.__file__, state, form, *([] if socket is None else [str(socket)])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().strip()
            assert said, process.stderr.read() if process.stderr else ""
            server = McpServer(f"http://127.0.0.1:{said}" if socket is None else f"unix:{socket}")
            reader = threading.Thread(target=_collect, args=(process, server))
            reader.start()
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            reader.join()


def _collect(process: subprocess.Popen[str], server: McpServer) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith('{"tool"'):
            server.calls.append(json.loads(line))


@pytest.fixture(scope="module", params=["stateful json", "stateful events", "stateless json", "stateless events"])
def server(request: pytest.FixtureRequest) -> Iterator[McpServer]:
    with running(*request.param.split()) as started:
        yield started


@pytest.fixture(scope="module")
def stateful() -> Iterator[McpServer]:
    with running("stateful", "events") as started:
        yield started


def called(server: McpServer, tool: str, **keys: Any) -> Outcome:
    async def work() -> Outcome:
        target = TargetClient(server.url)
        url = server.url if server.url.startswith("unix:") else f"{server.url}/mcp"
        given: dict[str, Any] = {"url": url, "tool": tool, "timeout_seconds": 30} | keys
        step = ToolCall(**given)
        try:
            return await clean_up_in_steps(target, [step], Placeholders("id-1", "used 80%", "normal", 5))
        finally:
            await target.aclose()

    return asyncio.run(work())


def judged(outcome: Outcome) -> tuple[OutcomeKind, Reason | None, str, int | None]:
    return outcome.kind, outcome.reason, outcome.detail, outcome.claimed_bytes


def test_a_tool_is_called_with_what_the_config_says(server: McpServer) -> None:
    arguments = {name: f"{{{name}}}" for name in ("level", "reason", "request_id", "target_bytes")}
    assert judged(called(server, "cleanup_memory", arguments=arguments)) == (DONE, None, "", 1234)
    expected = {
        "tool": "cleanup_memory", "level": "normal", "reason": "used 80%", "request_id": "id-1", "target_bytes": 5,
    }  # fmt: skip
    assert eventually(lambda: server.calls, what="the call")[-1] == expected


def test_answers_of_every_kind(server: McpServer) -> None:
    claimed = Quantity((Term(compile_expression("memory_freed_mb"), 2**20),))
    as_text: dict[str, Any] = {
        "arguments": {"level": "{level}"},
        "error": compile_expression("error"),
        "claimed": claimed,
    }
    assert judged(called(server, "cleanup_as_text", **as_text)) == (DONE, None, "", 5 * 2**19)
    as_text["arguments"] = {"level": "aggressive"}
    assert judged(called(server, "cleanup_as_text", **as_text)) == (FAILED, IN_ANSWER, "the index is busy", 5 * 2**19)
    assert judged(called(server, "cleanup_in_words")) == (DONE, None, "", None)
    assert judged(called(server, "cleanup_with_progress")) == (DONE, None, "", 7)
    assert judged(called(server, "cleanup_with_an_error")) == (FAILED, IN_ANSWER, "cache: it is locked", None)


def test_errors_of_every_kind(server: McpServer) -> None:
    raised = called(server, "cleanup_that_raises")
    assert (raised.kind, raised.reason) == (FAILED, IN_ANSWER)
    assert "cleanup_that_raises" in raised.detail
    unknown = called(server, "no_such_tool")
    assert (unknown.kind, unknown.reason) == (FAILED, IN_ANSWER)
    assert "no_such_tool" in unknown.detail
    wrong = called(server, "cleanup_memory", arguments={})
    assert (wrong.kind, wrong.reason) == (FAILED, IN_ANSWER)
    assert "level" in wrong.detail
    nowhere = called(server, "cleanup_memory", path="/elsewhere")
    assert (nowhere.kind, nowhere.reason) == (FAILED, Reason.HTTP_STATUS)


def test_no_session_is_left_behind(stateful: McpServer) -> None:
    for _ in range(3):
        called(stateful, "cleanup_in_words")
        called(stateful, "no_such_tool")
    late = called(stateful, "cleanup_that_hangs", timeout_seconds=2)
    assert (late.kind, late.reason) == (OutcomeKind.TIMEOUT, Reason.TIMEOUT)
    assert stateful.sessions == 0


def test_over_a_unix_socket(tmp_path: Path) -> None:
    with running("stateful", "events", tmp_path / "server.sock") as server:
        # A host that the server has not been told of is refused, as with any client.
        refused = called(server, "cleanup_in_words")
        assert (refused.kind, refused.reason) == (FAILED, Reason.HTTP_STATUS)
        assert refused.detail.startswith("initialize: 421")
        assert judged(called(server, "cleanup_in_words", headers={"Host": "localhost:80"})) == (DONE, None, "", None)


def test_the_preset_through_probe_and_a_direct_cleanup(stateful: McpServer, tmp_path: Path) -> None:
    text = starting_config("mcp").replace("http://127.0.0.1:8081", stateful.url)
    (tmp_path / "c.yaml").write_text(text + f"    settle: 100ms\n    process: {{pid: {os.getpid()}}}\n")

    def run(*words: str) -> str:
        done = subprocess.run(
            (*PROGRAM, *words), cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "valid; targets: " in run("check", "c.yaml")
    looked = "".join(run("probe", "--config.file", "c.yaml").split())
    assert f"toolcleanup_memoryat{stateful.url}/mcp,atmost30s" in looked
    assert "componentsessions│0items" in looked
    name = stateful.url.removeprefix("http://")
    said = run("cleanup", name, "--direct", "--level", "aggressive", "--config.file", "c.yaml")
    assert "cleanup at level aggressive answered in " in said
    assert "1.21 KiB claimed" in said
    call = stateful.calls[-1]
    assert (call["tool"], call["level"]) == ("cleanup_memory", "aggressive")
    assert "target_bytes" not in call or call["target_bytes"] is None


def test_a_watchdog_that_runs_calls_the_tool(stateful: McpServer, tmp_path: Path) -> None:
    step = {"mcp": {"url": f"{stateful.url}/mcp", "tool": "cleanup_memory", "arguments": {"level": "aggressive"}}}
    # Used is more than this limit from the start.
    high = {"name": "high", "enter": "50%", "exit": "40%", "cooldown": "1h", "cleanup": step}
    before = len(stateful.calls)
    settings = config(stateful.url, levels=[high], limit="2MiB", measure="rss", process={"pid": os.getpid()})
    with running_watchdog(tmp_path, settings) as watchdog:
        eventually(lambda: len(stateful.calls) > before, what="the call")
        claimed = "cleanup_claimed_bytes_total"
        eventually(lambda: watchdog.metrics().value(claimed, level="high") == 1234, what="the claim")
    assert stateful.calls[-1]["level"] == "aggressive"


def test_the_package_is_not_imported() -> None:
    program = "import sys, memory_watchdog.cli, memory_watchdog.actions.mcp; print('mcp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
