"""The sentences in which the ladder gives its reasons.

Leaves to others: everything but the wording.
"""

from __future__ import annotations

from memory_watchdog.policy.events import Trigger
from memory_watchdog.policy.settings import LevelSettings
from memory_watchdog.policy.thresholds import Edges
from memory_watchdog.quantities import Threshold, format_bytes, format_seconds


def used_words(used: int, limit_bytes: int | None) -> str:
    """`used 6.10 GiB (76.3% of 8.00 GiB)`."""
    share = f" ({100 * used / limit_bytes:.1f}% of {format_bytes(limit_bytes)})" if limit_bytes else ""
    return f"used {format_bytes(used)}{share}"


def rise_words(level: LevelSettings, edge: Edges, used: int) -> str:
    """Why the held level rose to `level`."""
    lasted = f" for {format_seconds(level.sustain_seconds)}" if level.sustain_seconds else ""
    enter = edge_words(level.enter, edge.enter)
    return f"used {format_bytes(used)} at or above enter of {level.name}, {enter}{lasted}"


def fall_words(level: LevelSettings, edge: Edges | None, used: int) -> str:
    """Why the held level fell from `level`."""
    if edge is None:
        return f"used {format_bytes(used)}; the thresholds of {level.name} no longer ascend under this limit"
    return f"used {format_bytes(used)} below exit of {level.name}, {edge_words(level.exit, edge.exit)}"


def edge_words(threshold: Threshold, in_bytes: int) -> str:
    """`6.00 GiB (75%)`."""
    text = format_bytes(in_bytes)
    return text if text == str(threshold) else f"{text} ({threshold})"


def request_words(
    trigger: Trigger,
    held: LevelSettings,
    edge: Edges,
    used: int,
    limit_bytes: int | None,
    streak: int,
    foreseen: str = "",
) -> str:
    """Why a request is sent. `foreseen` is what the forecast says, where it is the trigger."""
    seen = used_words(used, limit_bytes)
    if trigger is Trigger.FORECAST:
        return f"{seen}; {foreseen}"
    if trigger is Trigger.ESCALATION:
        return f"{seen}; {streak} cleanups in a row at level {held.name} failed or reclaimed too little"
    if used < edge.enter:
        return (
            f"{seen} still above exit of {held.name}, {edge_words(held.exit, edge.exit)}, and the last cleanup helped"
        )
    return f"{seen} at or above enter of {held.name}, {edge_words(held.enter, edge.enter)}"
