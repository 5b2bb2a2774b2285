"""Sizes, shares and durations as people write them in a config: parse and format.

Covers: `8GiB`, `75%`, `1h30m`; a threshold, which is a size or a share of the limit.
Leaves to others: where in a file a quantity stood (`config`), what a limit is (`sources.cgroup`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

SIZE_FORMS = "a size such as 512MiB, 8GiB (powers of 1024) or 8GB (powers of 1000)"
PERCENT_FORMS = "a percentage above 0% and at most 100%, such as 75%"
DURATION_FORMS = "a duration such as 100ms, 5s, 1h30m"

_SIZE_UNITS: dict[str, int] = {"B": 1} | {
    prefix + suffix: base**power
    for suffix, base in (("B", 1000), ("iB", 1024))
    for power, prefix in enumerate("KMGTP", start=1)
}
UNIT_FORMS = ", ".join(sorted(_SIZE_UNITS, key=lambda unit: (_SIZE_UNITS[unit], unit)))
_SIZE_UNITS["kB"] = 1000  # the SI spelling
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_NUMBER = r"\d+(?:\.\d+)?"
_SIZE = re.compile(rf"({_NUMBER})\s*([A-Za-z]+)", re.ASCII)
_PERCENT = re.compile(rf"({_NUMBER})\s*%", re.ASCII)
_DURATION = re.compile(rf"(?:{_NUMBER}(?:ms|s|m|h|d))+", re.ASCII)
_DURATION_PART = re.compile(rf"({_NUMBER})(ms|s|m|h|d)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Size:
    """An absolute number of bytes."""

    bytes: int

    def of(self, whole_bytes: int | None) -> int:  # noqa: ARG002 - the same question is put to a Percent
        """The size itself: it needs no whole."""
        return self.bytes

    def __str__(self) -> str:
        return format_bytes(self.bytes)


@dataclass(frozen=True, slots=True)
class Percent:
    """A share of a whole, in percent of it."""

    percent: float

    def of(self, whole_bytes: int | None) -> int | None:
        """The share in bytes, rounded down; None without a whole."""
        return None if whole_bytes is None else int(whole_bytes * self.percent / 100)

    def __str__(self) -> str:
        return f"{self.percent:g}%"


Threshold = Size | Percent


def parse_size(text: str) -> Size:
    """`8GiB` to a Size.

    Raises ValueError, whose text says what is allowed.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError(SIZE_FORMS)
    count = float(match[1]) * _SIZE_UNITS[match[2]]
    if not math.isfinite(count):  # four hundred digits
        raise ValueError(SIZE_FORMS)
    return Size(int(count))


def parse_unit(text: str) -> int:
    """How many bytes one `MiB` is.

    Raises ValueError, whose text says what is allowed.
    """
    if text not in _SIZE_UNITS:
        raise ValueError(UNIT_FORMS)
    return _SIZE_UNITS[text]


def parse_percent(text: str) -> Percent:
    """`75%` to a Percent. Raises ValueError, whose text says what is allowed."""
    match = _PERCENT.fullmatch(text.strip())
    if match is None or not 0 < float(match[1]) <= 100:
        raise ValueError(PERCENT_FORMS)
    return Percent(float(match[1]))


def parse_threshold(text: str) -> Threshold:
    """`75%` or `8GiB`. Raises ValueError, whose text says what is allowed."""
    if "%" in text:
        return parse_percent(text)
    try:
        return parse_size(text)
    except ValueError:
        raise ValueError(f"{PERCENT_FORMS}, or {SIZE_FORMS}") from None


def parse_duration(text: str) -> float:
    """`1h30m` to seconds. Raises ValueError, whose text says what is allowed."""
    compact = text.strip()
    if not _DURATION.fullmatch(compact):
        raise ValueError(DURATION_FORMS)
    seconds = sum(float(number) * _DURATION_UNITS[unit] for number, unit in _DURATION_PART.findall(compact))
    if not math.isfinite(seconds):
        raise ValueError(DURATION_FORMS)
    return seconds


def format_bytes(count: float) -> str:
    """Bytes for people, in powers of 1024 with three significant digits: `1.21 GiB`."""
    size, sign = abs(count), "-" if count < 0 else ""
    if size < 1023.5:
        return f"{sign}{size:.0f} B"
    power = min(max(1, int(math.log(size, 1024))), 5)
    scaled = size / 1024**power
    digits = 2 if scaled < 10 else 1 if scaled < 100 else 0
    return f"{sign}{scaled:.{digits}f} {' KMGTP'[power]}iB"


def format_seconds(seconds: float) -> str:
    """Seconds for people: `250ms`, `12.5s`, `1h30m`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.3g}s"
    whole = round(seconds)
    parts = [(whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s")]
    return "".join(f"{count}{unit}" for count, unit in parts if count)
