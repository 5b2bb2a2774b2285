"""The memory manager of a server: it knows what holds memory, reports it, cleans it and gives the pages back.

Covers: registry, reports, cleanups by request and by time, health.
Leaves to others: the components (`SemanticCache`, …), the wire (`web`), deciding under pressure (the watchdog).
"""

from memory_watchdog_kit.manager.manager import CleanupBusy, MemoryManager

__all__ = ["CleanupBusy", "MemoryManager"]
