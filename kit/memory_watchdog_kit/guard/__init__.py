"""Whether two queries that an embedding finds alike must not share an answer. See `rules`."""

from memory_watchdog_kit.guard.rules import contradicts

__all__ = ["contradicts"]
