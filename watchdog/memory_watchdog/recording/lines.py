"""The lines of a recording: one JSON object each, exact, so that the same ladder decides the same again.

Covers: the three kinds of line, writing and reading one.
Leaves to others: the files (`recorder`, `reader`), what follows from them (`replay`).

A recording begins each of its files with a checkpoint of every ladder: settings, state and what the forecast
remembers. After it come steps: an event, when it was taken, and the decision. Times are CLOCK_BOOTTIME in seconds; a
checkpoint has the wall clock beside it. Nothing secret is in any of it: neither header nor body of a request.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from memory_watchdog.observation import Observation, Outcome
from memory_watchdog.policy.events import (
    Decision,
    Event,
    Manual,
    NewProcess,
    Pause,
    Reloaded,
    Restart,
    RestartEnded,
    Resume,
)
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
    """One event that a ladder took, and what it decided; `restart` where that is the last step."""

    target: str
    now: float
    event: Event
    decision: Decision | None
    restart: Restart | None = None


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
    "restart_ended": RestartEnded,
}
_KINDS = {kind: name for name, kind in _EVENTS.items()}

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class _Written(Generic[E]):
    """A step as it stands in the file."""

    target: str
    now: float
    kind: str
    event: E
    decision: Decision | None
    restart: Restart | None = None


_KIND = re.compile(rb'"kind": ?"([a-z_]{1,20})"')


@dataclass(frozen=True, slots=True)
class _Adapters:
    """What turns values into JSON and back."""

    events: dict[str, TypeAdapter[Any]]
    steps: dict[bytes, TypeAdapter[Any]]
    decision: TypeAdapter[Decision | None]
    restart: TypeAdapter[Restart]
    checkpoint: TypeAdapter[Checkpoint]


@cache
def _adapters() -> _Adapters:
    """Made when first needed: they take 3 MiB, which a watchdog that records nothing need not have."""
    return _Adapters(
        {name: TypeAdapter(kind) for name, kind in _EVENTS.items()},
        {name.encode(): TypeAdapter(_Written[kind]) for name, kind in _EVENTS.items()},  # type: ignore[valid-type]
        TypeAdapter(Decision | None),
        TypeAdapter(Restart),
        TypeAdapter(Checkpoint),
    )


class NoLine(ValueError):
    """A line that is none of a recording; the text says what is wrong with it."""


def encode(line: Line) -> bytes:
    """The line, with its newline."""
    match line:
        case Checkpoint():
            return b'{"checkpoint":%b}\n' % _adapters().checkpoint.dump_json(line)
        case Gap():
            return b'{"gap":%d}\n' % line.lost
        case Step():
            name = _KINDS[type(line.event)]
            event, decision = (
                _adapters().events[name].dump_json(line.event),
                _adapters().decision.dump_json(line.decision),
            )
            head = json.dumps({"kind": name, "target": line.target, "now": line.now})[:-1].encode()
            last = b"" if line.restart is None else b',"restart":%b' % _adapters().restart.dump_json(line.restart)
            return b'%b,"event":%b,"decision":%b%b}\n' % (head, event, decision, last)


def decode(text: bytes) -> Line:
    """The line that was written. Raises NoLine."""
    try:
        kind = _KIND.search(text, 0, 40)
        if kind is not None and kind[1] in _adapters().steps:
            # strict: JSON's numbers, strings and enums mean one thing each, and a union takes the member that fits
            step = _adapters().steps[kind[1]].validate_json(text, strict=True)
            return Step(step.target, step.now, step.event, step.decision, step.restart)
        found = json.loads(text)
        if isinstance(found, dict) and "checkpoint" in found:
            return _checkpoint(found["checkpoint"])
        if isinstance(found, dict) and "gap" in found:
            return Gap(int(found["gap"]))
        raise NoLine(f"none of checkpoint, gap, or an event of kind {', '.join(_EVENTS)}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise NoLine(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NoLine(f"no line of a recording: {error}") from error


def _checkpoint(found: Any) -> Checkpoint:
    version = found.get("version") if isinstance(found, dict) else None
    if version != VERSION:
        raise NoLine(f"a recording of version {version!r}; this program reads {VERSION}")
    return _adapters().checkpoint.validate_json(json.dumps(found))
