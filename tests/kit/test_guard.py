"""The guard against answers that belong to the opposite question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit.guard import contradicts
from memory_watchdog_kit.guard.rules import MAX_CHARACTERS, stem

from benchmarks.kit._queries import pairs


def test_none_of_the_contradicting_pairs_is_let_through() -> None:
    assert len(pairs("contradicting")) >= 200
    assert [pair for pair in pairs("contradicting") if not contradicts(*pair)] == []
    assert [pair for pair in pairs("contradicting") if not contradicts(*reversed(pair))] == []


def test_nearly_all_paraphrases_are_let_through() -> None:
    """Two of 150 are not, which costs a search: "unused" beside "that are unused", and "out of memory killer"."""
    assert sum(contradicts(*pair) for pair in pairs("paraphrases")) <= 2


@pytest.mark.parametrize(
    ("one", "other", "wrong"),
    [
        ("how to convert json to yaml", "convert json to yaml", False),
        ("parse json in python", "in python, parse json", False),
        ("copy from disk to memory", "copy to memory from disk", False),
        ("copy from disk to memory", "copy from memory to disk", True),
        ("is it thread-safe", "isn’t it thread-safe", True),
        ("not without a lock", "with a lock", False),
        ("retry twice", "retry 2 times", False),
        ("retry twice", "retry 3 times", True),
        ("python v3.12", "python 3.12", False),
        ("find 'foo' in the log", "find 'bar' in the log", True),
        ("the user's name", "the users name", False),
        ("http handler", "http 404 handler", False),
        ("installing the package", "uninstalled the package", True),
        ("input of the form", "put the form", False),
        ("a patch", "a dispatch", False),
    ],
)
def test_cases(one: str, other: str, wrong: bool) -> None:
    assert contradicts(one, other) is wrong
    assert contradicts(other, one) is wrong


@given(st.text(max_size=200), st.text(max_size=200))
def test_it_is_symmetric_and_takes_any_text(one: str, other: str) -> None:
    assert contradicts(one, other) == contradicts(other, one)
    assert not contradicts(one, one)


@given(st.text(alphabet="'\"`a. ,-_1", min_size=1, max_size=20), st.integers(1, 400))
def test_long_repetitions_take_no_longer_than_others(piece: str, times: int) -> None:
    """No pattern that goes back and forth: hypothesis' deadline of 200 ms is the bound."""
    contradicts(piece * times, piece * times + "x")


def test_what_is_too_long_must_be_equal_behind_the_bound() -> None:
    long = "word " * MAX_CHARACTERS
    assert contradicts(long + "a", long + "b")


@pytest.mark.parametrize(
    ("words", "same"),
    [(("disable", "disables", "disabled", "disabling"), "disabl"), (("stop", "stopping", "stopped"), "stop"),
     (("install", "installs", "installing"), "install"), (("https",), "https")],
)  # fmt: skip
def test_stems(words: tuple[str, ...], same: str) -> None:
    assert {stem(word) for word in words} == {same}
