"""What the runbooks tell to ask and to run works against a live stack: watchdog, Prometheus, Alertmanager."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.alerting import (
    example_for,
    running_alertmanager,
    running_prometheus_with_rules,
    running_receiver,
)
from tests.support.runbooks import blocks, runbooks
from tests.support.target import free_port, running_target
from tests.support.wait import eventually
from tests.support.watchdog import ENVIRONMENT, config, fetch, running_watchdog

TARGET = "retrieval"
MEMORY_WATCHDOG = f"{shlex.quote(sys.executable)} -m memory_watchdog"

NOT_HERE = (
    "memory_watchdog_component_limit_bytes",
    "memory_watchdog_component_evictions_total",
    "memory_watchdog_target_time_to_limit_seconds",
    "prometheus_notifications_errors_total",
)


@dataclass
class Live:
    """Where everything is, and the folder with the config."""

    folder: Path
    addresses: dict[str, str]
    prometheus: str

    def ask(self, expr: str) -> dict[str, Any]:
        """Prometheus' answer to a query, as it is."""
        answer = fetch(f"{self.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
        content: dict[str, Any] = json.loads(answer.text)
        return content

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """A line of a runbook, at the addresses that things have here."""
        for documented, real in self.addresses.items():
            line = line.replace(documented, real)
        if line.startswith("memory-watchdog "):
            line = MEMORY_WATCHDOG + line.removeprefix("memory-watchdog")
        return subprocess.run(
            ["bash", "-c", line.replace("curl -s", "curl -sf")],
            cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("runbooks")
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(running_receiver())
        alertmanager = stack.enter_context(running_alertmanager(folder, example_for(receiver, folder)))
        target = stack.enter_context(running_target())
        content = config(target.url, name=TARGET)
        content["web"] = {"listen_address": f"127.0.0.1:{free_port()}"}
        watchdog = stack.enter_context(running_watchdog(folder, content))
        prometheus = stack.enter_context(
            running_prometheus_with_rules(
                folder, [watchdog.address], [alertmanager.url.removeprefix("http://")], lambda _: {}
            )
        )
        addresses = {
            "127.0.0.1:9847": watchdog.address,
            "127.0.0.1:9090": prometheus.removeprefix("http://"),
            "127.0.0.1:9093": alertmanager.url.removeprefix("http://"),
        }
        target.control(grow=110)
        live = Live(folder, addresses, prometheus)
        watchdog.wait_for("verdict")
        # A replay needs more than one sample of the past, and an increase as well.
        eventually(lambda: len(live.run("curl -s http://127.0.0.1:9090/api/v1/query?query=up%5B1m%5D").stdout) > 250)
        yield live


def may_be_empty(expr: str) -> bool:
    """Asks for what is wrong, and nothing is; or for what this server does not tell, or not within seconds."""
    return re.search(r"(> 0|== 0)$|^absent", expr) is not None or any(name in expr for name in NOT_HERE)


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_what_a_runbook_tells_to_ask_and_to_run_works(live: Live, path: Path) -> None:
    text = path.read_text()
    for expr in blocks(text, "promql"):
        answer = live.ask(expr)
        assert answer["status"] == "success", expr
        assert answer["data"]["result"] or may_be_empty(expr), expr
    for block in blocks(text, "console"):
        for line in block.splitlines():
            done = live.run(line)
            assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_what_does_not_work_is_noticed(live: Live) -> None:
    assert live.ask("sum(")["status"] == "error"
    assert live.run("memory-watchdog cleanup nothing").returncode == 1
    assert live.run("curl -s http://127.0.0.1:9847/api/v1/nothing").returncode != 0
