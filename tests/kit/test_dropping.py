"""Dropping in steps: how much goes, and what the steps say of it."""

from __future__ import annotations

from memory_watchdog_kit.dropping import Droppable, drop_in_steps


class Pile:
    """Entries of 100 bytes whose memory comes back only in a second step of moving; the first one takes 30 more."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.dead_bytes = 0
        self.extra_bytes = 0
        self.drops: list[int] = []

    def drop(self, count: int) -> int:
        count = min(count, self.entries)
        self.drops.append(count)
        self.entries -= count
        self.dead_bytes += 100 * count
        return count

    def compact(self) -> bool:
        if not self.dead_bytes:
            return False
        if not self.extra_bytes:
            self.extra_bytes = 30
            return True
        self.dead_bytes = self.extra_bytes = 0
        return True

    def held_bytes(self) -> int:
        return self.live_bytes() + self.dead_bytes + self.extra_bytes

    def live_bytes(self) -> int:
        return 100 * self.entries

    def __call__(self) -> Droppable:
        return Droppable(self.drop, self.compact, self.held_bytes, self.live_bytes)


def test_without_a_target_all_of_them_go() -> None:
    pile = Pile(500)
    steps = list(drop_in_steps(pile(), 200, None))
    assert pile.entries == 300
    assert pile.drops == [64, 64, 64, 8]
    assert sum(step.items_removed for step in steps) == 200


def test_what_the_steps_say_adds_up_to_what_went() -> None:
    pile = Pile(500)
    before = pile.held_bytes()
    steps = list(drop_in_steps(pile(), 200, None))
    assert sum(step.bytes_freed for step in steps) == before - pile.held_bytes() == 20_000


def test_with_a_target_only_as_many_as_it_needs() -> None:
    pile = Pile(500)
    steps = list(drop_in_steps(pile(), 200, 1_000))
    assert sum(step.items_removed for step in steps) == 12  # in strides of four
    assert sum(step.bytes_freed for step in steps) == 1_200


def test_a_target_that_is_out_of_reach_takes_the_share_and_no_more() -> None:
    pile = Pile(500)
    list(drop_in_steps(pile(), 200, 10**9))
    assert pile.entries == 300


def test_it_ends_when_there_are_fewer_than_thought() -> None:
    pile = Pile(3)
    assert sum(step.items_removed for step in drop_in_steps(pile(), 200, 10**9)) == 3
