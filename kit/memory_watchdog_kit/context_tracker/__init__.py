"""What a server's clients have read and searched, bounded in number and bytes.

Covers: `ContextTracker` and the plain data that it tells; the parts are `tracker` (the public class), `limits`, `plain`
(making what comes in small), `records` (what is held), `shelves` and `store` (bounds and sizes), `disk` (the file).
Leaves to others: when it is cleaned (the manager), which settings a server's file gives (`settings`).
"""

from memory_watchdog_kit.context_tracker.limits import ContextDropped
from memory_watchdog_kit.context_tracker.plain import SearchHit
from memory_watchdog_kit.context_tracker.records import Context, FileRead, Search, SessionSummary, TimelineEvent
from memory_watchdog_kit.context_tracker.tracker import ContextLoaded, ContextTracker

__all__ = [
    "Context",
    "ContextDropped",
    "ContextLoaded",
    "ContextTracker",
    "FileRead",
    "Search",
    "SearchHit",
    "SessionSummary",
    "TimelineEvent",
]
