"""A small component that remembers how it was asked."""

from __future__ import annotations

from collections.abc import Iterator

from memory_watchdog_kit import Cleaned, Level, Statistics


class Shelf:
    """Items of 1,000 B each; a cleanup takes all of them, or as many as the target asks for."""

    def __init__(self, name: str = "shelf", items: int = 0, **statistics: float) -> None:
        self.name = name
        self.items = items
        self.asked: list[tuple[Level, int | None]] = []
        self._statistics = statistics

    def statistics(self) -> Statistics:
        return Statistics(bytes=self.items * 1000, items=self.items, **self._statistics)  # type: ignore[arg-type]

    def cleanup(self, level: Level, target_bytes: int | None) -> Cleaned | Iterator[Cleaned]:
        self.asked.append((level, target_bytes))
        gone = self.items if target_bytes is None else min(self.items, -(-target_bytes // 1000))
        self.items -= gone
        return Cleaned(gone, gone * 1000)
