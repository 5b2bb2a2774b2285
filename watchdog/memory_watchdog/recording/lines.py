"""The lines of a recording: one JSON object each, exact, so that the same ladder decides the same again.

Covers: the three kinds of line, writing and reading one.
Leaves to others: the files (`recorder`, `reader`), what follows from them (`replay`).

A recording begins each of its files with a checkpoint of every ladder: settings, state and what the forecast
remembers. After it come steps: an event, when it was taken, and the decision. Times are CLOCK_BOOTTIME in seconds; a
checkpoint has the wall clock beside it. Nothing secret is in any of it: neither header nor body of a request.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from memory_watchdog.observation import Observation, Outcome
from memory_watchdog.policy.events import Decision, Event, Manual, NewProcess, Pause, Reloaded, Resume
from memory_watchdog.policy.foresight import Outlook
from memory_watchdog.policy.settings import LadderSettings
from memory_watchdog.policy.state import LadderState

VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A ladder as it stood; `boottime` and `wall` are the same moment on both clocks."""

    version: int
    target: str
    boot_id: str
    boottime: float
    wall: float
    settings: LadderSettings
    state: LadderState
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Step:
    """One event that a ladder took, and what it decided."""

    target: str
    now: float
    event: Event
    decision: Decision | None


@dataclass(frozen=True, slots=True)
class Gap:
    """So many lines were lost here: the disk was too slow. What follows begins with checkpoints again."""

    lost: int


Line = Checkpoint | Step | Gap

_EVENTS: dict[str, type[Any]] = {
    "observation": Observation,
    "outcome": Outcome,
    "new_process": NewProcess,
    "pause": Pause,
    "resume": Resume,
    "manual": Manual,
    "reloaded": Reloaded,
}
_KINDS = {kind: name for name, kind in _EVENTS.items()}
_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in _EVENTS.items()}
_DECISION: TypeAdapter[Decision | None] = TypeAdapter(Decision | None)
_CHECKPOINT: TypeAdapter[Checkpoint] = TypeAdapter(Checkpoint)


class NoLine(ValueError):
    """A line that is none of a recording; the text says what is wrong with it."""


def encode(line: Line) -> bytes:
    """The line, with its newline."""
    match line:
        case Checkpoint():
            return b'{"checkpoint":%b}\n' % _CHECKPOINT.dump_json(line)
        case Gap():
            return b'{"gap":%d}\n' % line.lost
        case Step():
            name = _KINDS[type(line.event)]
            event, decision = _ADAPTERS[name].dump_json(line.event), _DECISION.dump_json(line.decision)
            head = json.dumps({"target": line.target, "now": line.now})[:-1].encode()
            return b'%b,"%b":%b,"decision":%b}\n' % (head, name.encode(), event, decision)


def decode(text: bytes) -> Line:
    """The line that was written. Raises NoLine."""
    try:
        found = json.loads(text)
        if not isinstance(found, dict):
            raise NoLine("not an object")
        if "checkpoint" in found:
            return _checkpoint(found["checkpoint"])
        if "gap" in found:
            return Gap(int(found["gap"]))
        name = next((name for name in _EVENTS if name in found), None)
        if name is None:
            raise NoLine(f"none of checkpoint, gap, {', '.join(_EVENTS)} is in it")
        # strict: JSON's numbers, strings and enums mean one thing each, and a union takes the member that fits exactly
        event = _ADAPTERS[name].validate_json(json.dumps(found[name]), strict=True)
        decision = _DECISION.validate_json(json.dumps(found.get("decision")), strict=True)
        return Step(str(found["target"]), float(found["now"]), event, decision)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise NoLine(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise NoLine(f"no line of a recording: {error}") from error


def _checkpoint(found: Any) -> Checkpoint:
    version = found.get("version") if isinstance(found, dict) else None
    if version != VERSION:
        raise NoLine(f"a recording of version {version!r}; this program reads {VERSION}")
    return _CHECKPOINT.validate_json(json.dumps(found))
