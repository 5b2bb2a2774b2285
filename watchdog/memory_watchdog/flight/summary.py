"""What a target was doing before it, or its watchdog, ended: the last minutes in one sentence.

Pure. Leaves to others: reading the file (`ring`), who is told (`recorder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from memory_watchdog.flight.ring import Flight, LookRecord
from memory_watchdog.quantities import format_bytes, format_seconds

MINUTE_SECONDS = 60.0
EVENTS_TOLD = 3


def summary(flight: Flight) -> str | None:
    """The last minutes as a sentence; None where there is no known reading."""
    known = [look for look in flight.looks if look.used >= 0]
    if not known:
        return None
    last = known[-1]
    when = f"{datetime.fromtimestamp(last.wall, UTC):%Y-%m-%d %H:%M:%S} UTC"
    share = f", {100 * last.used / last.limit:.1f}% of {format_bytes(last.limit)}" if last.limit > 0 else ""
    parts = [f"last seen at {when}: used {format_bytes(last.used)}{share}, level {_level(flight, last)}"]
    parts += [text for text in (_change(known), _components(known), _kills(known), _silence(last)) if text]
    for event in flight.events[-EVENTS_TOLD:]:
        parts.append(f"{event.kind} {format_seconds(max(0.0, last.wall - event.wall))} before: {event.text}")
    return "; ".join(parts)


def _level(flight: Flight, look: LookRecord) -> str:
    names = flight.about.get("levels")
    if look.level and isinstance(names, list) and look.level <= len(names):
        return str(names[look.level - 1])
    return str(look.level or "none")


def _change(known: Sequence[LookRecord]) -> str:
    last = known[-1]
    before = next((look for look in known if last.taken_at - look.taken_at <= MINUTE_SECONDS), last)
    seconds = last.taken_at - before.taken_at
    if seconds <= 0:
        return ""
    grown = last.used - before.used
    word = "rose by" if grown >= 0 else "fell by"
    return f"it {word} {format_bytes(abs(grown))} in the last {format_seconds(seconds)}"


def _components(known: Sequence[LookRecord]) -> str:
    last = known[-1]
    if last.components < 0:
        return ""
    return f"components reported {format_bytes(last.components)} of it"


def _kills(known: Sequence[LookRecord]) -> str:
    counts = [look.oom_kills for look in known if look.oom_kills >= 0]
    killed = counts[-1] - counts[0] if counts else 0
    return f"the kernel killed {killed} processes of it for memory" if killed > 0 else ""


def _silence(last: LookRecord) -> str:
    if last.answered_at < 0:
        return ""
    silent = last.taken_at - last.answered_at
    return f"the server had answered nothing for {format_seconds(silent)}" if silent > MINUTE_SECONDS / 2 else ""
