"""A cleanup with a target: the cheapest first, no more than is asked for, what was free anyway before all."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog_kit import Cleaned, MemoryManager, OwnMemory
from memory_watchdog_kit.manager.cleanup import TrimBetween

from tests.support.components import Shelf

MIB = 2**20


class Pages:
    """An allocator that holds so much free, in a process of 100 MiB."""

    name = "pages"

    def __init__(self, free_bytes: int | None = None, cannot: str | None = None) -> None:
        self.held_bytes = free_bytes
        self.own_bytes = 100 * MIB
        self.trims = 0
        self._cannot = cannot

    def free_bytes(self) -> int | None:
        return self.held_bytes

    def give_back(self) -> str | None:
        self.trims += 1
        if self._cannot is None:
            self.own_bytes -= self.held_bytes or 0
            self.held_bytes = self.held_bytes and 0
        return self._cannot

    def own_memory(self) -> OwnMemory:
        return OwnMemory(self.own_bytes, self.own_bytes)

    def manager(self, *shelves: Shelf) -> MemoryManager:
        manager = MemoryManager(allocator=self, own_memory=self.own_memory)
        for shelf in shelves:
            manager.register(shelf)
        return manager


def test_what_is_left_of_the_target_is_passed_on() -> None:
    shelves = [Shelf("dear", 5, refill_seconds=9), Shelf("cheap", 2, refill_seconds=1), Shelf("unknown", 2)]
    report = Pages().manager(*shelves).cleanup(target_bytes=5500)
    assert [(one.name, one.cleaned) for one in report.components] == [
        ("cheap", Cleaned(2, 2000)),
        ("unknown", Cleaned(2, 2000)),
        ("dear", Cleaned(2, 2000)),
    ]
    assert [shelf.asked[0][1] for shelf in shelves] == [1500, 5500, 3500]


def test_what_is_not_needed_is_not_asked_and_still_reported() -> None:
    cheap, dear = Shelf("cheap", 2, refill_seconds=1), Shelf("dear", 5, refill_seconds=9)
    report = Pages().manager(dear, cheap).cleanup(target_bytes=2000)
    assert [(one.name, one.cleaned.items_removed) for one in report.components] == [("cheap", 2), ("dear", 0)]
    assert dear.asked == []


def test_what_the_allocator_holds_goes_before_any_component() -> None:
    shelf = Shelf("shelf", 100_000)
    pages = Pages(free_bytes=30 * MIB)
    report = pages.manager(shelf).cleanup(target_bytes=20 * MIB)
    assert (shelf.asked, report.reclaimed_bytes) == ([], 30 * MIB)

    pages = Pages(free_bytes=30 * MIB)
    pages.manager(shelf).cleanup(target_bytes=50 * MIB)
    assert shelf.asked[-1][1] == 20 * MIB


def test_pages_go_first_only_where_that_is_worth_a_trim() -> None:
    shelf = Shelf("shelf", 100)
    for free_bytes, target_bytes in ((None, 50 * MIB), (MIB - 1, 50 * MIB), (30 * MIB, MIB - 1), (30 * MIB, None)):
        Pages(free_bytes).manager(shelf).cleanup(target_bytes=target_bytes)
        assert shelf.asked[-1][1] == target_bytes


def test_where_pages_cannot_be_given_back_the_answer_says_why() -> None:
    report = Pages(30 * MIB, cannot="cannot give pages back: musl").manager(Shelf("shelf", 1)).cleanup()
    assert (report.not_given_back, report.reclaimed_bytes) == ("cannot give pages back: musl", 0)


def test_memory_that_grew_meanwhile_is_nothing_reclaimed() -> None:
    pages = Pages()

    class Growing(Shelf):
        def cleanup(self, level: object, target_bytes: int | None) -> Cleaned:
            pages.own_bytes += MIB
            return Cleaned(1, 1)

    assert pages.manager(Growing()).cleanup().reclaimed_bytes == 0


@settings(deadline=None, max_examples=50)  # threads start in each
@given(
    shelves=st.lists(st.tuples(st.integers(0, 20), st.none() | st.floats(0.01, 10)), max_size=5),
    target_bytes=st.none() | st.integers(0, 60_000),
)
def test_enough_goes_and_the_cheapest_of_it(shelves: list[tuple[int, float | None]], target_bytes: int | None) -> None:
    made = [
        Shelf(str(number), items, **({} if seconds is None else {"refill_seconds": seconds}))
        for number, (items, seconds) in enumerate(shelves)
    ]
    held = sum(items for items, _ in shelves)
    report = Pages().manager(*made).cleanup(target_bytes=target_bytes)
    removed = sum(one.cleaned.items_removed for one in report.components)
    assert removed == (held if target_bytes is None else min(held, -(-target_bytes // 1000)))
    assert {one.name for one in report.components} == {shelf.name for shelf in made}
    # In the order of the report each is emptied before the next is touched.
    left = [made[int(one.name)].items for one in report.components]
    touched = [one.cleaned.items_removed > 0 for one in report.components]
    for at in range(len(left) - 1):
        assert left[at] == 0 or not any(touched[at + 1 :])


def test_pages_go_between_steps_while_that_is_quick() -> None:
    now = [0.0]
    pages = Pages()
    between = TrimBetween(pages, lambda: now[0])
    for _ in range(50):
        now[0] += 0.03
        between()
    assert pages.trims == 12  # 1.5 s, every 0.12


def test_pages_stay_until_the_end_once_that_takes_long() -> None:
    now = [0.0]

    class Slow(Pages):
        def give_back(self) -> str | None:
            now[0] += 0.02
            return super().give_back()

    pages = Slow()
    between = TrimBetween(pages, lambda: now[0])
    for _ in range(50):
        now[0] += 0.03
        between()
    assert pages.trims == 1
