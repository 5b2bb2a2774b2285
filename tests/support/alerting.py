"""Alerting as it is shipped, for real: rules, Prometheus, Alertmanager, and the receivers at the end.

Covers: the shipped files with nothing changed but times and the receivers' addresses, notifications as they arrive,
what Alertmanager says of its alerts.
Leaves to others: what is watched, and the watchdog (`watchdog`).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from tests.support.prometheus import running_prometheus
from tests.support.target import free_port
from tests.support.wait import eventually
from tests.support.watchdog import fetch
from tools.mutate_rules import ALERTS

JOB = "memory-watchdog"
EVERY_SECOND = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
RESEND = "--rules.alert.resend-delay=1s"
"""An alert that Prometheus no longer sends ends after four of these, by default four minutes."""

Times = Callable[[dict[str, Any]], dict[str, str]]


@dataclass(frozen=True)
class Notification:
    """What came to a receiver: the path that it was sent to, when (seconds since the epoch), its content."""

    path: str
    at: float
    content: dict[str, Any]

    def names(self, status: str = "firing", **labels: str) -> list[str]:
        """The alerts in a webhook's notification that have this status and these labels."""
        return [
            alert["labels"]["alertname"]
            for alert in self.content.get("alerts", ())
            if alert["status"] == status and labels.items() <= alert["labels"].items()
        ]


@dataclass
class Receiver:
    """A server that notes all that it is sent."""

    url: str = ""
    got: list[Notification] = field(default_factory=list)

    def at(self, path: str) -> list[Notification]:
        """What came there, oldest first."""
        return [each for each in list(self.got) if each.path == path]


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.receiver.got.append(Notification(self.path, time.time(), json.loads(body)))
        # PagerDuty accepts with 202 and wants to be told so.
        self.send_response(202 if self.path == "/pagerduty" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def running_receiver() -> Iterator[Receiver]:
    """The receiver, in a thread of the test."""
    receiver = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": receiver}))
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def example_for(receiver: Receiver, folder: Path) -> dict[str, Any]:
    """The shipped example with quick times and the receiver's addresses; routes and inhibitions are as they are."""
    content: dict[str, Any] = yaml.safe_load((ALERTS / "alertmanager.yml").read_text())
    content["global"]["pagerduty_url"] = f"{receiver.url}/pagerduty"
    for route in (content["route"], *content["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
        if route["receiver"] == "heartbeat":
            route["repeat_interval"] = "1s"
    (folder / "key").write_text("0123456789abcdef0123456789abcdef")
    (folder / "slack").write_text(f"{receiver.url}/chat")
    for each in content["receivers"]:
        for hook in each.get("webhook_configs", ()):
            hook["url"] = f"{receiver.url}/{hook['url'].rpartition('/')[2]}"
        for hook in each.get("pagerduty_configs", ()):
            hook["routing_key_file"] = str(folder / "key")
        for hook in each.get("slack_configs", ()):
            hook["api_url_file"] = str(folder / "slack")
    return content


@dataclass
class Alertmanager:
    """A running Alertmanager."""

    url: str

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """Its alerts with these labels, with what it does with each."""
        found: list[dict[str, Any]] = json.loads(fetch(f"{self.url}/api/v2/alerts").text)
        return [alert for alert in found if labels.items() <= alert["labels"].items()]


@contextlib.contextmanager
def running_alertmanager(folder: Path, content: dict[str, Any], port: int | None = None) -> Iterator[Alertmanager]:
    """Alertmanager with this config, alone."""
    port = port or free_port()
    home = folder / f"alertmanager-{port}"
    home.mkdir(exist_ok=True)
    (home / "alertmanager.yml").write_text(yaml.safe_dump(content))
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(
            [
                "prometheus-alertmanager", f"--config.file={home / 'alertmanager.yml'}",
                f"--storage.path={home / 'data'}", f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=", "--log.level=warn",
            ],
            stdout=log, stderr=log, cwd=home,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (home / "log").read_text()
        with contextlib.suppress(OSError):
            return fetch(f"{url}/-/ready").status == 200
        return False

    try:
        eventually(ready, seconds=30, what="Alertmanager")
        yield Alertmanager(url)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def rules_with(folder: Path, times: Times) -> list[str]:
    """The shipped rule files with other times, and no other change; their paths."""
    written = []
    for path in sorted(ALERTS.glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        for group in content["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    rule |= {key: value for key, value in times(rule).items() if key in rule}
        (folder / path.name).write_text(yaml.safe_dump(content))
        written.append(str(folder / path.name))
    return written


@contextlib.contextmanager
def running_prometheus_with_rules(
    folder: Path, watchdogs: list[str], alertmanagers: list[str], times: Times
) -> Iterator[str]:
    """Prometheus with the shipped rules, scraping and evaluating every second; its address."""
    shipped = yaml.safe_load((ALERTS.parent / "deploy" / "prometheus" / "prometheus.yml").read_text())
    config = {
        "global": shipped["global"] | EVERY_SECOND,
        "rule_files": rules_with(folder, times),
        "alerting": shipped["alerting"] | {"alertmanagers": [{"static_configs": [{"targets": alertmanagers}]}]},
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": watchdogs}]}],
    }
    with running_prometheus(folder, yaml.safe_dump(config), RESEND) as url:
        yield url
