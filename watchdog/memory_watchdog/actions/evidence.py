"""What is kept of a process before it is ended: a bounded file for whoever looks for the cause afterwards.

Covers: the processes of the tree and the largest mappings of the largest, components, the last minutes and events; its
size, its time, how many are kept.
Leaves to others: ending the process (`restart`), full history (`recording`, `flight`).

The step waits `DEADLINE_SECONDS` for it at the most. /proc/PID/smaps of a large process takes seconds, even for one
line of a mapping of 200 GB, and holds its mmap lock meanwhile: so a file without it is written first, and replaced by
one with it where that comes in time. Command line and environment are left out: both may hold secrets.
"""

from __future__ import annotations

import contextlib
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
from memory_watchdog.sources.procfs import descendants, read
from memory_watchdog.worker import Worker

DEADLINE_SECONDS = 2.0
SMAPS_SECONDS = 1.0
MAX_PROCESSES = 20
MAX_MAPPINGS = 30
MAX_SAMPLES = 600
MAX_EVENTS = 100
MAX_FILES = 10
"""A target; the oldest goes."""

_HEAD = re.compile(r"^[0-9a-f]+-[0-9a-f]+ [rwxps-]{4} [0-9a-f]+ \S+ \d+ *(.*)$")
_SIZES = ("Rss", "Pss", "Anonymous", "Swap")
_STATUS = {
    "VmRSS": "resident_bytes",
    "RssAnon": "anonymous_bytes",
    "RssFile": "file_bytes",
    "RssShmem": "shared_bytes",
    "VmSwap": "swap_bytes",
}


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
    ends = time.monotonic() + DEADLINE_SECONDS
    path = folder / f"{file_stem}-{round(subject.wall * 1000)}.json"
    worker = Worker()
    first = await worker.run(DEADLINE_SECONDS, _begin, path, file_stem, subject)
    if isinstance(first, Unavailable):
        return f"no evidence: {first.detail}"
    if first.failure is not None:
        return f"no evidence: {first.failure}"
    second = await worker.run(max(0.0, ends - time.monotonic()), _complete, path, first.content)
    failure = second.detail if isinstance(second, Unavailable) else second
    told = f"evidence in {path}" + ("" if failure is None else f", without mappings: {failure}")
    return told if first.kept_too_many is None else f"{told}; older evidence is not removed: {first.kept_too_many}"


@dataclass(frozen=True, slots=True)
class _Begun:
    """The file without mappings: what it holds, why there is none, why old ones could not be removed."""

    content: dict[str, Any]
    failure: str | None = None
    kept_too_many: str | None = None


def _begin(path: Path, file_stem: str, subject: Subject) -> _Begun:
    content = _content(subject)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        for left in path.parent.glob(f"{file_stem}-*.tmp"):  # of a watchdog that was killed in the middle
            left.unlink(missing_ok=True)
    except OSError as error:
        return _Begun(content, f"{path.parent}: {error.strerror}")
    if (failure := _written(path, content)) is not None:
        return _Begun(content, failure)
    try:
        for old in sorted(path.parent.glob(f"{file_stem}-*.json"))[:-MAX_FILES]:
            old.unlink(missing_ok=True)
    except OSError as error:
        return _Begun(content, None, error.strerror)
    return _Begun(content)


def _complete(path: Path, content: dict[str, Any]) -> str | None:
    pid = content["mappings_of_pid"]
    content["mappings"], content["mappings_missing"] = largest_mappings(pid, time.monotonic() + SMAPS_SECONDS)
    return _written(path, content)


def _written(path: Path, content: Mapping[str, Any]) -> str | None:
    """Written whole or not at all: half a file on a full disk helps nobody. None, or why it was not."""
    unfinished = path.with_suffix(".tmp")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # it was never there, or the next evidence removes it
            unfinished.unlink()
        return f"{path}: {error.strerror}"
    return None


def _content(subject: Subject) -> dict[str, Any]:
    decision, report = subject.decision, subject.report
    processes = tree(decision.identity.pid)
    return {
        "target": subject.target,
        "time": subject.wall,
        "request_id": decision.request_id,
        "reason": decision.reason,
        "pid": decision.identity.pid,
        "used_bytes": decision.used_bytes,
        "limit_bytes": decision.limit_bytes,
        "processes": processes,
        "mappings_of_pid": processes[0]["pid"] if processes else decision.identity.pid,
        "mappings": [],
        "mappings_missing": "they were not read in time",
        "components": str(report) if isinstance(report, Unavailable) else [asdict(one) for one in report.components],
        "last_minutes": subject.samples[-MAX_SAMPLES:],
        "events": subject.events[-MAX_EVENTS:],
    }


def tree(pid: int, proc: Path = Path("/proc")) -> Sequence[Mapping[str, Any]]:
    """The processes of the tree by resident memory, the largest first, sizes in bytes; another user's are seen too."""
    below = descendants(proc, pid)
    found = []
    for one in (pid, *(() if isinstance(below, Unavailable) else below)):
        raw = read(proc / str(one) / "status")
        if isinstance(raw, Unavailable):
            continue
        fields = dict(line.partition(":")[::2] for line in os.fsdecode(raw).splitlines())
        sizes = {
            key: int(value[0]) * 1024
            for name, key in _STATUS.items()
            if (value := fields.get(name, "").split()) and value[0].isdigit()
        }
        found.append({"pid": one, "name": fields.get("Name", "").strip(), **sizes})
    return sorted(found, key=lambda one: -int(one.get("resident_bytes", 0)))[:MAX_PROCESSES]


def largest_mappings(
    pid: int, until: float, proc: Path = Path("/proc")
) -> tuple[Sequence[Mapping[str, Any]], str | None]:
    """Resident memory by what is mapped, the largest first, sizes in bytes; and why some or all are missing.

    `until` is on the monotonic clock.
    """
    sizes: dict[str, Counter[str]] = {}
    missing: str | None = None
    try:
        with (proc / str(pid) / "smaps").open(encoding="utf-8", errors="replace") as file:
            current: Counter[str] = Counter()
            for line in file:
                name, _, rest = line.partition(":")
                if name in _SIZES:
                    current[name] += int(rest.split()[0]) * 1024
                elif (head := _HEAD.match(line)) is not None:
                    if time.monotonic() > until:
                        missing = "reading them took too long: these are the first of them"
                        break
                    current = sizes.setdefault(head[1] or "[anonymous]", Counter())
                    current["count"] += 1
    except OSError as error:
        missing = f"smaps: {error.strerror}"
    largest = sorted(sizes.items(), key=lambda one: -one[1]["Rss"])[:MAX_MAPPINGS]
    shown = [
        {"mapped": name, "count": size["count"], **{f"{key.lower()}_bytes": size[key] for key in _SIZES}}
        for name, size in largest
    ]
    return shown, missing
