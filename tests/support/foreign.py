"""A target of a config with a preset, asked as the watchdog would ask it: its statistics, its cleanups.

Leaves to others: what the server answers (`answers`).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from memory_watchdog.actions.steps import clean_up_in_steps
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.config import TargetConfig, load
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason, Scalar, ServerReport, Unavailable
from memory_watchdog.parts import cleanup_requests, statistics_source

from tests.support.answers import Answer, AnsweringServer, Respond

Answers = dict[tuple[str, str], Answer | Respond]


def target_of(url: str, preset: str, directory: Path, more: str = "") -> TargetConfig:
    (directory / "c.yaml").write_text(f"targets:\n  - url: {url}\n    preset: {preset}\n{more}")
    return load({"config.file": "c.yaml"}, {"TOKEN": "abc123"}, directory).targets[0]


def loaded_target(directory: Path, target: dict[str, Any]) -> TargetConfig:
    """The target of a file with these keys."""
    (directory / "c.yaml").write_text(yaml.safe_dump({"targets": [target]}))
    return load({"config.file": "c.yaml"}, {}, directory).targets[0]


def reported(target: TargetConfig) -> ServerReport | Unavailable:
    async def read() -> ServerReport | Unavailable:
        assert target.url is not None
        client = TargetClient(target.url)
        source = statistics_source(target, client)
        assert source is not None
        reading = await source.read(lambda: 1.0)
        await client.aclose()
        return reading.report

    return asyncio.run(read())


def known(target: TargetConfig) -> ServerReport:
    report = reported(target)
    assert isinstance(report, ServerReport), report
    return report


def cleaned(target: TargetConfig, level: str, statistics: dict[str, Scalar] | None = None) -> Outcome:
    async def ask() -> Outcome:
        assert target.url is not None
        client = TargetClient(target.url)
        values = Placeholders("id-1", "used 80%", level, 5, statistics or {})
        outcome = await clean_up_in_steps(client, cleanup_requests(target)[level], values)
        await client.aclose()
        return outcome

    outcome = asyncio.run(ask())
    assert outcome.request_id == "id-1"
    assert 0 <= outcome.duration_seconds < 10
    return replace(outcome, duration_seconds=0)


def done(claimed: int | None = None, detail: str = "") -> Outcome:
    return Outcome("id-1", OutcomeKind.DONE, 0, None, detail, claimed)


def failed(reason: Reason, detail: str, kind: OutcomeKind = OutcomeKind.FAILED, claimed: int | None = None) -> Outcome:
    return Outcome("id-1", kind, 0, reason, detail, claimed)


def sent(server: AnsweringServer) -> list[tuple[str, str, Any]]:
    return [(asked.method, asked.path, json.loads(asked.body) if asked.body else None) for asked in server.asked]
