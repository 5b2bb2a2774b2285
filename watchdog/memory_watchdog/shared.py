"""What the watchers of all targets have in common, as each of them is given it.

Leaves to others: making it (`supervisor`), using it (`watcher`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog.flight.recorder import FlightRecorder
from memory_watchdog.observation import ProcessIdentity
from memory_watchdog.recording.lines import Step
from memory_watchdog.sources.triggers import MachinePressure


@dataclass(frozen=True, slots=True)
class Shared:
    """What a watcher has in common with all the others.

    `claims` says which target has which process, among all targets. `save` writes the state of all targets and is
    awaited before a request goes out; `changed` says that the state is worth writing soon; `record` takes every event
    with its decision; `state_folder` is where evidence is kept; `machine_pressure` tells all of the machine's; `flight`
    makes the flight recorder of a target, if there is a place for one.
    """

    claims: dict[ProcessIdentity, str]
    save: Callable[[], Awaitable[None]]
    changed: Callable[[], None]
    record: Callable[[Step], None]
    state_folder: Callable[[], Path | None]
    machine_pressure: MachinePressure
    flight: Callable[[str, list[str]], FlightRecorder | None]
