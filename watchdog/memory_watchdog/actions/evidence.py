"""What is kept of a process before it is ended: a bounded file for whoever looks for the cause afterwards.

Covers: the largest mappings, the components, the last minutes and events; its size, its time, how many are kept.
Leaves to others: ending the process (`actions.restart`), full history (`recording`, `flight`).

It is written within `DEADLINE_SECONDS` or not at all as far as the restart is concerned: /proc/PID/smaps of a large
process takes seconds and holds its mmap lock meanwhile, so reading it ends when its time is over, and says so. Command
line and environment are left out: both may hold secrets.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memory_watchdog.observation import ServerReport, Unavailable
from memory_watchdog.policy.events import Restart
from memory_watchdog.worker import Worker

DEADLINE_SECONDS = 2.0
SMAPS_SECONDS = 1.2
MAX_MAPPINGS = 30
MAX_SAMPLES = 600
MAX_EVENTS = 100
MAX_FILES = 10
"""A target; the oldest goes."""

_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ [rwxps-]{4} [0-9a-f]+ \S+ \d+ *(.*)$")
_SIZES = ("Rss", "Pss", "Anonymous", "Swap")


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose evidence it is, and what was known of it at that moment."""

    target: str
    wall: float
    decision: Restart
    report: ServerReport | Unavailable
    samples: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]


async def keep(folder: Path | None, file_stem: str, subject: Subject) -> str:
    """Write the file; answers with what became of it, for the log. Takes `DEADLINE_SECONDS` at the most."""
    if folder is None:
        return "no evidence: there is no state_file"
    kept = await Worker().run(DEADLINE_SECONDS, _written, folder, file_stem, subject)
    return f"no evidence: {kept.detail}" if isinstance(kept, Unavailable) else kept


def _written(folder: Path, file_stem: str, subject: Subject) -> str:
    path = folder / f"{file_stem}-{round(subject.wall * 1000)}.json"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        for old in sorted(folder.glob(f"{file_stem}-*.json"))[: -(MAX_FILES - 1)]:
            old.unlink()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(_content(subject), file, indent=1)
            file.write("\n")
    except OSError as error:
        return f"no evidence: {path}: {error.strerror}"
    return f"evidence in {path}"


def _content(subject: Subject) -> dict[str, Any]:
    decision, report = subject.decision, subject.report
    mappings, whole = largest_mappings(decision.identity.pid, time.monotonic() + SMAPS_SECONDS)
    return {
        "target": subject.target,
        "time": subject.wall,
        "request_id": decision.request_id,
        "reason": decision.reason,
        "pid": decision.identity.pid,
        "used_bytes": decision.used_bytes,
        "limit_bytes": decision.limit_bytes,
        "mappings": mappings,
        "mappings_are_whole": whole,
        "components": str(report) if isinstance(report, Unavailable) else [asdict(one) for one in report.components],
        "last_minutes": subject.samples[-MAX_SAMPLES:],
        "events": subject.events[-MAX_EVENTS:],
    }


def largest_mappings(pid: int, until: float, proc: Path = Path("/proc")) -> tuple[Sequence[Mapping[str, Any]], bool]:
    """Resident memory by what is mapped, the largest first, sizes in bytes; and whether all of it was read in time.

    `until` is on the monotonic clock. Without permission there is nothing, and it is not whole.
    """
    sizes: dict[str, Counter[str]] = {}
    whole = True
    try:
        with (proc / str(pid) / "smaps").open(encoding="utf-8", errors="replace") as file:
            current: Counter[str] = Counter()
            for line in file:
                name, _, rest = line.partition(":")
                if name in _SIZES:
                    current[name] += int(rest.split()[0]) * 1024
                elif (head := _HEAD.match(line)) is not None:
                    current = sizes.setdefault(head[1] or "[anonymous]", Counter())
                    current["count"] += 1
                    if time.monotonic() > until:
                        whole = False
                        break
    except OSError:
        whole = False
    largest = sorted(sizes.items(), key=lambda one: -one[1]["Rss"])[:MAX_MAPPINGS]
    shown = [
        {"mapped": name, "count": size["count"], **{f"{key.lower()}_bytes": size[key] for key in _SIZES}}
        for name, size in largest
    ]
    return shown, whole
