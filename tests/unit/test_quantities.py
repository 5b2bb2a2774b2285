"""Quantities: what is parsed, what is refused, how numbers are shown."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.quantities import (
    DURATION_FORMS,
    PERCENT_FORMS,
    SIZE_FORMS,
    Percent,
    Size,
    format_bytes,
    format_seconds,
    parse_duration,
    parse_percent,
    parse_size,
    parse_threshold,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0B", 0),
        ("1B", 1),
        ("1kB", 1000),
        ("1KB", 1000),
        ("1KiB", 1024),
        ("512MiB", 512 * 2**20),
        ("512MB", 512 * 10**6),
        ("8GB", 8 * 10**9),
        ("8GiB", 8 * 2**30),
        ("1TB", 10**12),
        ("1TiB", 2**40),
        ("2PB", 2 * 10**15),
        ("2PiB", 2 * 2**50),
        ("1.5GiB", 3 * 2**29),
        (" 8 GiB ", 8 * 2**30),
    ],
)
def test_size(text: str, expected: int) -> None:
    assert parse_size(text) == Size(expected)


@pytest.mark.parametrize(
    "text", ["", "8", "8.5", "GiB", "8gib", "8G", "8Gi", "8KIB", "-8GiB", "8GiB8MiB", "8e3B", ".5GiB", "8.GiB", "٨GiB"]
)
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as") as error:
        parse_size(text)
    assert str(error.value) == SIZE_FORMS


@pytest.mark.parametrize(("text", "expected"), [("75%", 75), ("87.5 %", 87.5), ("100%", 100), (" 0.1% ", 0.1)])
def test_percent(text: str, expected: float) -> None:
    assert parse_percent(text) == Percent(expected)


@pytest.mark.parametrize("text", ["", "%", "75", "0%", "0.0%", "100.1%", "-1%", "1e1%", "75%%", "9" * 400 + "%"])
def test_no_percent(text: str) -> None:
    with pytest.raises(ValueError, match="a percentage") as error:
        parse_percent(text)
    assert str(error.value) == PERCENT_FORMS


def test_threshold_is_either() -> None:
    assert parse_threshold("75%") == Percent(75)
    assert parse_threshold("6GiB") == Size(6 * 2**30)


@pytest.mark.parametrize(("text", "forms"), [("0%", [PERCENT_FORMS]), ("6", [PERCENT_FORMS, SIZE_FORMS])])
def test_no_threshold(text: str, forms: list[str]) -> None:
    with pytest.raises(ValueError, match="a percentage") as error:
        parse_threshold(text)
    assert str(error.value) == ", or ".join(forms)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", 0),
        ("100ms", 0.1),
        ("5s", 5),
        ("1.5s", 1.5),
        ("2m", 120),
        ("1h30m", 5400),
        ("1d", 86400),
        ("1m500ms", 60.5),
        (" 5s ", 5),
    ],
)
def test_duration(text: str, expected: float) -> None:
    assert parse_duration(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "0", "s", "5 s", "-5s", "5S", "5sec", "1h 30m", "1:30", "5us", "5s,", "5.s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="a duration") as error:
        parse_duration(text)
    assert str(error.value) == DURATION_FORMS


def test_share_of_a_whole() -> None:
    assert Percent(75).of(1000) == 750
    assert Percent(39).of(10) == 3  # rounded down
    assert Percent(75).of(None) is None
    assert Size(5).of(None) == 5
    assert Size(5).of(1) == 5


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1.21 * 2**30, "1.21 GiB"),
        (12.3 * 2**20, "12.3 MiB"),
        (123 * 2**40, "123 TiB"),
        (2**60, "1024 PiB"),
        (-2048, "-2.00 KiB"),
    ],
)
def test_bytes_for_people(count: float, expected: str) -> None:
    assert format_bytes(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0ms"),
        (0.25, "250ms"),
        (1, "1s"),
        (12.5, "12.5s"),
        (60, "1m"),
        (90, "1m30s"),
        (5400, "1h30m"),
        (3601, "1h1s"),
    ],
)
def test_seconds_for_people(seconds: float, expected: str) -> None:
    assert format_seconds(seconds) == expected


def test_quantities_as_text() -> None:
    assert str(Size(2**30)) == "1.00 GiB"
    assert str(Percent(87.5)) == "87.5%"
    assert str(Percent(75.0)) == "75%"


@given(st.integers(0, 2**53))
def test_bytes_are_exact(count: int) -> None:
    assert parse_size(f"{count}B") == Size(count)


@given(st.text(max_size=30))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for parse in (parse_size, parse_percent, parse_threshold, parse_duration):
        with contextlib.suppress(ValueError):
            parse(text)


@given(st.integers(1, 10**7))
def test_whole_seconds_survive_formatting(seconds: int) -> None:
    assert parse_duration(format_seconds(seconds)) == seconds
