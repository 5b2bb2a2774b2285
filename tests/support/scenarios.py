"""All scenarios side by side, each server with a watchdog of its own, scraped by one Prometheus.

Covers: servers, restarts, watchdogs, a target of which everything is known, Prometheus, questions to it.
Leaves to others: what a server does by itself (`scenario_server`), what is asked (`test_dashboards_live`).

`python -m tests.support.scenarios` plays them slowly, prints Prometheus' address, and ends at end of input.
"""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import yaml

from tests.support.full_target import serving_everything
from tests.support.prometheus import running_prometheus
from tests.support.scenario_server import KINDS
from tests.support.target import free_port
from tests.support.watchdog import cleanup, fetch, running_watchdog

SERVER = Path(__file__).with_name("scenario_server.py")
TARGET = "retrieval"  # in a fleet all targets are called the same
JOB = "memory-watchdog"
MODELLED = "modelled"
SCRAPE_SECONDS = 1
GONE_SECONDS = 3.0


@dataclass(frozen=True)
class Pace:
    """How fast things happen: MiB a second, and the calm before a leak (seconds)."""

    leak: float
    sawtooth: float
    calm_seconds: float
    cooldown: str
    max_cooldown: str


FAST = Pace(leak=6, sawtooth=20, calm_seconds=1, cooldown="1s", max_cooldown="8s")
SLOW = Pace(leak=0.34, sawtooth=1.6, calm_seconds=130, cooldown="10s", max_cooldown="80s")
"""A leak that is forecast: not before 300 s, of growth that began after 120 s and goes on beyond the present."""


@dataclass
class Server:
    """One server of a scenario, always on the same port."""

    kind: str
    pace: Pace
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        begin = self.pace.calm_seconds if self.kind == "leak" else 1
        rate = self.pace.leak if self.kind == "leak" else self.pace.sawtooth
        command = [sys.executable, "-I", "-S", str(SERVER), self.kind, str(self.port), str(begin), str(rate)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert int(cast(IO[bytes], self.process.stdout).readline()) == self.port

    def kill(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                cast(IO[bytes], stream).close()

    def come_back(self, over: threading.Event) -> None:
        """What a supervisor does: start it again, a little after the watchdog has ended it."""
        while not over.wait(0.1):
            if self.process is not None and self.process.poll() is not None:
                self.kill()
                over.wait(GONE_SECONDS)
                self.start()


def watchdog_config(server: Server) -> dict[str, Any]:
    """What the watchdog of a scenario runs with: 200 MiB, two levels."""
    pace = server.pace
    levels = [
        {"name": "normal", "enter": "55%", "exit": "45%", "cooldown": pace.cooldown, "cleanup": cleanup()},
        {"name": "aggressive", "enter": "80%", "exit": "70%", "cooldown": pace.cooldown, "cleanup": cleanup()},
    ]
    target = {
        "name": TARGET, "url": f"http://127.0.0.1:{server.port}", "limit": "200MiB", "interval": "500ms",
        "min_interval": "100ms", "settle": "1s", "max_cooldown": pace.max_cooldown, "levels": levels,
        "measure": "pss" if server.kind == "calm" else "anon", "stats": {"interval": "1s", "timeout": "1s"},
    }  # fmt: skip
    if server.kind == "restart":
        target["restart"] = {"after": 1, "min_age": "1s", "term": "2s", "budget": {"actions": 60, "per": "1h"}}
    return {"web": {"listen_address": "127.0.0.1:0"}, "log": {"format": "json"}, "targets": [target]}


@dataclass(frozen=True)
class Stage:
    """Prometheus, and since when it scrapes."""

    url: str
    began: float

    def values(self, expr: str, instance: str, *, instant: bool) -> list[float]:
        """All numbers of an answer, NaN and infinite ones left out. Raises AssertionError for an error."""
        now = time.time()
        shown = max(10, int(now - self.began))
        asked = {"query": with_variables(expr, instance, shown)}
        if instant:
            asked["time"] = f"{now:.3f}"
        else:
            asked |= {"start": f"{now - shown:.3f}", "end": f"{now:.3f}", "step": str(max(1, shown // 300))}
        data = self._ask(f"query{'' if instant else '_range'}", asked)
        points = [each.get("values") or [each["value"]] for each in data["result"]]
        found = [float(value) for series in points for _, value in series]
        return [value for value in found if math.isfinite(value)]

    def label_values(self, selector: str, label: str, instance: str) -> list[str]:
        """What a variable offers."""
        return list(self._ask(f"label/{label}/values", {"match[]": with_variables(selector, instance, 60)}))

    def _ask(self, what: str, asked: dict[str, str]) -> Any:
        answer = fetch(f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}")
        content = json.loads(answer.text)
        assert content["status"] == "success", (content.get("error"), asked)
        return content["data"]


def with_variables(
    expr: str, instance: str, shown_seconds: int, scrape_seconds: int = SCRAPE_SECONDS, points: int = 300
) -> str:
    """The expression as Grafana would send it from a panel that is so many points wide."""
    step = max(scrape_seconds, shown_seconds // points)
    values = {
        "$__rate_interval": f"{max(4 * scrape_seconds, step + scrape_seconds)}s",
        "$__interval_ms": str(1000 * step),
        "$__interval": f"{step}s",
        "$__range": f"{shown_seconds}s",
        "$job": JOB,
        "$instance": instance,
        "$target": ".+",
    }
    for name, value in values.items():
        expr = expr.replace(name, value)
    return expr


@contextlib.contextmanager
def played(folder: Path, pace: Pace, *, modelled: bool = True) -> Iterator[Stage]:
    """All of them running, and one that needs nothing to run; everything is ended at the end."""
    over = threading.Event()
    with contextlib.ExitStack() as stack:
        addresses = {MODELLED: stack.enter_context(serving_everything(TARGET))} if modelled else {}
        for kind in KINDS:
            server = Server(kind, pace)
            stack.callback(server.kill)
            server.start()
            own = folder / kind
            own.mkdir()
            watchdog = stack.enter_context(running_watchdog(own, watchdog_config(server)))
            addresses[kind] = watchdog.address
            if kind == "restart":
                thread = threading.Thread(target=server.come_back, args=(over,))
                stack.callback(thread.join)
                stack.callback(over.set)
                thread.start()
        write_rules(folder)
        url = stack.enter_context(running_prometheus(folder, prometheus_config(addresses)))
        yield Stage(url, time.time())


def write_rules(folder: Path) -> None:
    """An alert of its own, so that alerts can be shown whatever the shipped ones wait for."""
    expr = "memory_watchdog_target_used_bytes / memory_watchdog_target_limit_bytes > 0.7"
    rule = {"alert": "ScenarioNearItsLimit", "expr": expr, "labels": {"severity": "warning"}}
    content = {"groups": [{"name": "scenarios", "rules": [rule]}]}
    (folder / "rules.yml").write_text(yaml.safe_dump(content))


def prometheus_config(addresses: dict[str, str]) -> str:
    """One job; an instance is called as its scenario."""
    groups = [{"targets": [address], "labels": {"instance": name}} for name, address in addresses.items()]
    job = {"job_name": JOB, "static_configs": groups}
    interval = f"{SCRAPE_SECONDS}s"
    often = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": "2s"}
    return yaml.safe_dump({"global": often, "rule_files": ["rules.yml"], "scrape_configs": [job]})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, played(Path(name), SLOW, modelled=False) as stage:
        print(stage.url, flush=True)
        sys.stdin.read()
