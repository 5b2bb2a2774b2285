"""Keeps the flight recorder of one target: tells what the last one saw, and goes on with a new one.

Covers: the file's name and place, the one kept from before, what goes into it.
Leaves to others: its layout (`ring`), the words (`summary`), whose turn it is (`watcher`).

Without a state file there is no place for it, and it is off. A file that cannot be written is said once; watching and
acting go on.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from memory_watchdog.flight.ring import UNKNOWN, EventRecord, LookRecord, NoFlight, Slots, header, read_flight
from memory_watchdog.flight.summary import summary
from memory_watchdog.flight.writer import File, FlightWriter
from memory_watchdog.ledger import Happening
from memory_watchdog.observation import Limit, Observation, ProcessMemory, Reading, ServerReport

MOST = 2**62  # what a server says of itself may be anything
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class FlightRecorder:
    """The recorder of one target."""

    def __init__(self, folder: Path, target: str, levels: list[str], writer: FlightWriter) -> None:
        self.last = folder / file_name(target).replace(".ring", ".last")
        self._file = File(folder / file_name(target))
        self._target = target
        self._levels = levels
        self._writer = writer
        self._slots = Slots()

    @property
    def problem(self) -> str | None:
        """Why nothing is written; None while all is well."""
        return self._file.problem

    def begin(self) -> None:
        """Begin a new file; the one before is kept beside it."""
        path = self._file.path
        try:
            if path.exists():
                path.replace(self.last)
        except OSError as error:
            self._file.problem = f"{path}: {error.strerror}"
        self._writer.write(self._file, header({"target": self._target, "levels": self._levels}), 0)

    def told(self) -> str | None:
        """What the file before says of how it ended; None where there is none or it says nothing. Takes 25 ms."""
        if not self.last.exists():
            return None
        try:
            return summary(read_flight(self.last))
        except NoFlight as error:
            return f"the flight recorder's file cannot be read: {error}"

    def look(self, seen: Observation, wall: float, level: str) -> None:
        """One look, with the level that is held after it."""
        memory = seen.memory if isinstance(seen.memory, ProcessMemory) else None
        report = seen.report if isinstance(seen.report, ServerReport) else None
        sizes = [] if report is None else [one.bytes for one in report.components if one.bytes is not None]
        record = LookRecord(
            taken_at=seen.taken_at,
            wall=wall,
            used=_known(seen.used),
            limit=seen.limit.bytes if isinstance(seen.limit, Limit) else UNKNOWN,
            resident=UNKNOWN if memory is None else memory.resident_bytes,
            anonymous=UNKNOWN if memory is None else _known(memory.anonymous_bytes),
            components=min(sum(sizes), MOST) if sizes else UNKNOWN,
            allocator_free=UNKNOWN
            if report is None or report.allocator_free_bytes is None
            else min(report.allocator_free_bytes, MOST),
            oom_kills=_known(seen.cgroup.oom_kills),
            answered_at=float(UNKNOWN) if seen.server_answered_at is None else seen.server_answered_at,
            level=self._levels.index(level) + 1 if level in self._levels else 0,
        )  # fmt: skip
        self._writer.write(self._file, *self._slots.look(record))

    def event(self, happening: Happening) -> None:
        """One event of the ledger."""
        record = EventRecord(happening.wall, happening.kind, happening.text)
        self._writer.write(self._file, *self._slots.event(record))

    def close(self) -> None:
        """Let go of the file, which stays for the next start."""
        self._writer.close_file(self._file)


def file_name(target: str) -> str:
    """The file of a target: its name where that can be one, with a digest so that no two are the same."""
    digest = hashlib.sha256(target.encode()).hexdigest()[:8]
    return f"flight-{_NOT_IN_A_NAME.sub('-', target)[:80]}-{digest}.ring"


def _known(reading: Reading) -> int:
    return min(reading, MOST) if isinstance(reading, int) else UNKNOWN
