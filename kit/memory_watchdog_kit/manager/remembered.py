"""The answers that were given lately, so that a repeated request is not run again.

Covers: bounded memory of reports by request id.
Leaves to others: running cleanups (`cleanup`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from memory_watchdog_kit.component import CleanupReport


class Remembered:
    """At most `max_items` reports, none older than `ttl_seconds`. Not thread-safe: the manager holds its lock."""

    def __init__(self, max_items: int, ttl_seconds: float, clock: Callable[[], float]) -> None:
        self._max_items = max_items
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._reports: OrderedDict[str, tuple[float, CleanupReport]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._reports)

    def get(self, request_id: str) -> CleanupReport | None:
        """The answer to that request, if it is still remembered."""
        self._expire()
        found = self._reports.get(request_id)
        return found and found[1]

    def put(self, report: CleanupReport) -> None:
        """Remember an answer, and forget the oldest."""
        self._expire()
        self._reports[report.request_id] = (self._clock(), report)
        while len(self._reports) > self._max_items:
            self._reports.popitem(last=False)

    def _expire(self) -> None:
        oldest_allowed = self._clock() - self._ttl_seconds
        while self._reports and next(iter(self._reports.values()))[0] < oldest_allowed:
            self._reports.popitem(last=False)
