"""The interface that every component has."""

from __future__ import annotations

from memory_watchdog_kit import Cleaned, Component, Level, Statistics


class Shelf:
    """The smallest component there is."""

    name = "shelf"

    def __init__(self) -> None:
        self.books = ["a", "b"]

    def statistics(self) -> Statistics:
        return Statistics(items=len(self.books))

    def cleanup(self, level: Level, target_bytes: int | None) -> Cleaned:
        self.books.pop()
        return Cleaned(items_removed=1, bytes_freed=1)


def test_a_class_with_name_statistics_and_cleanup_is_a_component() -> None:
    shelf: Component = Shelf()
    assert isinstance(shelf, Component)
    assert not isinstance(object(), Component)


def test_steps_add_up() -> None:
    assert Cleaned(1, 10) + Cleaned(2, 5) == Cleaned(3, 15)
