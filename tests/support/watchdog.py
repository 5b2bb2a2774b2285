"""The real `memory-watchdog` as a process of its own: started, read, ended.

Covers: a config for short times, the log as parsed lines, `/metrics` as numbers, other commands run to their end.
Leaves to others: what is watched (`target`), waiting (`wait`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.wait import eventually

Sample = tuple[str, frozenset[tuple[str, str]]]

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MEMORY_WATCHDOG_")}
PROGRAM = (sys.executable, "-m", "memory_watchdog")
LIMIT_MIB = 400

NATIVE_BODY = {name: f"{{{name}}}" for name in ("level", "reason", "request_id", "target_bytes")}


def cleanup(timeout: str = "5s", **keys: Any) -> dict[str, Any]:
    return {"path": "/memory/cleanup", "timeout": timeout, "json": NATIVE_BODY} | keys


def level(name: str, enter: str, leave: str, **keys: Any) -> dict[str, Any]:
    """A level that is quick: no sustain, a second of cooldown."""
    return {"name": name, "enter": enter, "exit": leave, "cooldown": "1s", "cleanup": cleanup()} | keys


def levels(**keys: Any) -> list[dict[str, Any]]:
    """Normal at 100 MiB of 400, aggressive at 200; 4 MiB is what counts as reclaimed."""
    return [level("normal", "25%", "20%", **keys), level("aggressive", "50%", "40%", **keys)]


def config(url: str | None, **keys: Any) -> dict[str, Any]:
    """A config of one target with short times; `keys` are those of the target."""
    target: dict[str, Any] = {
        "name": "demo", "limit": f"{LIMIT_MIB}MiB", "interval": "100ms", "min_interval": "50ms", "settle": "400ms",
        "levels": levels(),
    }  # fmt: skip
    if url is not None:
        target |= {"url": url, "stats": {"interval": "1s", "timeout": "1s"}}
    target |= keys
    return {
        "web": {"listen_address": "127.0.0.1:0"},
        "log": {"format": "json"},
        "targets": [{key: value for key, value in target.items() if value is not None}],
    }


@dataclass
class Answer:
    """An answer over HTTP, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def fetch(
    url: str, headers: Mapping[str, str] | None = None, method: str = "GET", timeout_seconds: float = 10
) -> Answer:
    """One request, without any proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=dict(headers or {}), method=method)
    try:
        with opener.open(request, timeout=timeout_seconds) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read())


@dataclass
class Watchdog:
    """A running `memory-watchdog run`. Its log is in a file, so that no pipe can fill."""

    process: subprocess.Popen[bytes]
    log_file: Path
    address: str = ""

    @property
    def text(self) -> str:
        """Everything that it has said."""
        return self.log_file.read_text(errors="replace")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log, parsed; a line that is being written is left out."""
        whole = self.text.rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def said(self, msg: str, **values: Any) -> list[dict[str, Any]]:
        """The lines with that message and those values."""
        return [line for line in self.lines if line["msg"] == msg and values.items() <= line.items()]

    def wait_for(self, msg: str, count: int = 1, seconds: float = 20, **values: Any) -> dict[str, Any]:
        """The line with that message and those values that makes it so many."""

        def probe() -> list[dict[str, Any]]:
            found = self.said(msg, **values)
            if len(found) < count and self.process.poll() is not None:
                raise AssertionError(f"it has ended: {self.text}")
            return found[count - 1 :]

        return eventually(probe, seconds, f"{count} × {msg!r} {values} in the log")[0]

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        return fetch(f"http://{self.address}{path}", headers, method)

    def metrics(self) -> Metrics:
        return Metrics.parsed(self.get("/metrics").text)

    def until(self, **values: float | None) -> Metrics:
        """The first exposition in which these families (without prefix, one sample each) have these values."""

        def probe() -> Metrics | None:
            seen = self.metrics()
            return seen if all(seen.value(name) == value for name, value in values.items()) else None

        return eventually(probe, what=f"{values}; log: {self.text[-2000:]}")  # type: ignore[return-value]

    def ticks(self, count: int = 5) -> None:
        """Wait until it has looked so many times more."""
        last = self.metrics().value("target_last_observation_timestamp_seconds")
        for _ in range(count):
            last = eventually(lambda before=last: self._later_than(before), what="a tick")  # type: ignore[misc]

    def _later_than(self, before: float | None) -> float | None:
        at = self.metrics().value("target_last_observation_timestamp_seconds")
        return at if at is not None and (before is None or at > before) else None

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 10) -> int:
        """Send the signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


@dataclass
class Metrics:
    """One exposition, by name without prefix and labels without `target`."""

    samples: dict[Sample, float] = field(default_factory=dict)

    @classmethod
    def parsed(cls, text: str) -> Metrics:
        samples = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = frozenset((key, value) for key, value in sample.labels.items() if key != "target")
                samples[sample.name.removeprefix("memory_watchdog_"), labels] = sample.value
        return cls(samples)

    def value(self, name: str, **labels: str) -> float | None:
        """The sample with exactly these labels; None where it is absent."""
        return self.samples.get((name, frozenset(labels.items())))

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of that name that have these labels."""
        return sum(
            value for (key, have), value in self.samples.items() if key == name and labels.items() <= dict(have).items()
        )

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(have) for key, have in self.samples if key == name]


def written(folder: Path, content: Mapping[str, Any] | str, name: str = "memory-watchdog.yaml") -> Path:
    """The config as a file."""
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(dict(content), sort_keys=False))
    return path


@contextlib.contextmanager
def running_watchdog(
    folder: Path,
    content: Mapping[str, Any] | str,
    *options: str,
    environ: Mapping[str, str] | None = None,
    wait: bool = True,
) -> Iterator[Watchdog]:
    """`memory-watchdog run` with this config; killed at the end if it still runs."""
    path = written(folder, content)
    log_file = folder / f"log.{len(list(folder.glob('log.*')))}"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*PROGRAM, "run", f"--config.file={path}", *options],
            stdout=log,
            stderr=log,
            env={**ENVIRONMENT, **(environ or {})},
            cwd=folder,
        )
    watchdog = Watchdog(process, log_file)
    try:
        if wait:
            watchdog.address = watchdog.wait_for("listening")["address"]
            eventually(lambda: watchdog.get("/-/ready").status == 200, what=f"ready: {watchdog.text}")
        yield watchdog
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def command(
    *arguments: str | bytes,
    cwd: Path | None = None,
    environ: Mapping[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
    seconds: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Any command, run to its end."""
    return subprocess.run(
        [*program, *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **(environ or {})},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )
