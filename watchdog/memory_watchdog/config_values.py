"""The single values of the config: from what stands in the file to what the program works with.

Covers: one function per form, each raising ValueError whose text says what is allowed.
Leaves to others: which key has which form (`config_models`), values that must fit each other (`config_checks`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import PlainValidator, ValidationInfo

from memory_watchdog.config_addresses import ListenAddress, listen_address, url
from memory_watchdog.config_errors import HEADER_NAME, did_you_mean
from memory_watchdog.observation import Measure
from memory_watchdog.policy.settings import NONE
from memory_watchdog.preset_files import preset_names
from memory_watchdog.quantities import (
    DURATION_FORMS,
    PERCENT_FORMS,
    SIZE_FORMS,
    Size,
    Threshold,
    format_seconds,
    parse_duration,
    parse_size,
    parse_threshold,
    parse_unit,
)

NAME_FORM = "text of 1 to 200 printable characters (a number or yes/no needs quotes)"
LEVEL_NAME_FORM = f"{NAME_FORM}, except {NONE}"
THRESHOLD_FORM = f"{PERCENT_FORMS}, or {SIZE_FORMS}, above 0"
PATH_FORM = "a path that starts with / and has no blanks and no #, such as /memory"

MEASURES = ("auto", "rss", "anon", "pss", "unreclaimable", "reported")
MAX_SECONDS = 365 * 86400.0  # longer than any use; keeps sums and clocks far from their ends
MAX_BYTES = 2**63 - 1  # what the kernel and a Prometheus client in Go can hold
MAX_FACTOR = 1e15
VALUE_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,99}"
MAX_PID = 2**22  # the kernel's own upper bound
_HEADER_VALUE = re.compile(r"(?:[!-~](?:[ -~\t]*[!-~])?)?")


class Absent(Enum):
    """No value at all, which is not the value null."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT


def choice(*names: str) -> Callable[[object], str]:
    """One of a few words."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"{', '.join(names[:-1])} or {names[-1]}")
        return value

    return parse


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """A whole number, also as text: that is how options and variables bring it."""

    def parse(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}", value):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return parse


def duration(at_least: float | None = None) -> Callable[[object], float]:
    """A duration in seconds; above zero where no least one is given."""
    lowest = "above 0s" if at_least is None else f"at least {format_seconds(at_least)}" if at_least else "0s or more"
    allowed = f"{DURATION_FORMS}, {lowest} and at most 365d"

    def parse(value: object) -> float:
        try:
            seconds = parse_duration(value) if isinstance(value, str) else -1.0
        except ValueError:
            raise ValueError(allowed) from None
        low_enough = seconds >= at_least if at_least is not None else seconds > 0
        if not low_enough or seconds > MAX_SECONDS:
            raise ValueError(allowed)
        return seconds

    return parse


def threshold(value: object) -> Threshold:
    """A percentage of the limit or a size."""
    parsed = _checked(parse_threshold, value)
    if parsed is None:
        raise ValueError(THRESHOLD_FORM)
    return parsed


def limit(value: object) -> Size | Literal["auto", "machine"]:
    """`auto`, `machine` or a size."""
    if value == "auto":
        return "auto"
    if value == "machine":
        return "machine"
    size = _checked(parse_size, value)
    if size is None:
        raise ValueError(f"auto, machine, or {SIZE_FORMS}, above 0 and never a percentage")
    return size


_Quantity = TypeVar("_Quantity", bound=Threshold)


def _checked(parse: Callable[[str], _Quantity], value: object) -> _Quantity | None:
    """The quantity, or None where it is none, is zero or is more than any machine has."""
    try:
        parsed = parse(value) if isinstance(value, str) else None
    except (ValueError, OverflowError):  # OverflowError: four hundred digits are infinitely many bytes
        return None
    if isinstance(parsed, Size) and not 0 < parsed.bytes <= MAX_BYTES:
        return None
    return parsed


def flag(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false, without quotes")
    return value


def name(value: object) -> str:
    """The name of a target: it becomes a label."""
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.strip() or not value.isprintable():
        raise ValueError(NAME_FORM)
    return value


def level_name(value: object) -> str:
    """The name of a level."""
    try:
        text = name(value)
    except ValueError:
        raise ValueError(LEVEL_NAME_FORM) from None
    if text == NONE:
        raise ValueError(f"another name: {NONE} is what no level is called")
    return text


def text(value: object) -> str:
    """Any text that is not empty."""
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("text of printable characters, not empty")
    return value


def file_path(value: object, info: ValidationInfo) -> Path:
    """A path; a relative one starts at the folder that the validation's context names as `base`."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("the path of a file")
    base: Path = (info.context or {}).get("base", Path())
    return base / value


def regex(value: object) -> str:
    """A regular expression that compiles and is not empty, for that would match every process."""
    if not isinstance(value, str) or not value:
        raise ValueError("a regular expression, not empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set" is about a future Python
            re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"a regular expression of Python ({error})") from None
    return value


def request_path(value: object) -> str:
    """The path of a request, a query included."""
    if not isinstance(value, str) or not value.startswith("/") or not value.isprintable() or re.search(r"[\s#]", value):
        raise ValueError(PATH_FORM)
    return value


def header_name(value: object) -> str:
    """The name of a header."""
    if not isinstance(value, str) or not HEADER_NAME.fullmatch(value):
        raise ValueError("the name of a header: letters, digits and -")
    return value


def header_value(value: object) -> str:
    """The value of a header, as HTTP can carry it."""
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        raise ValueError("text (a number needs quotes) of ASCII characters, on one line, without blanks at its ends")
    return value


def unit(value: object) -> int:
    """How many bytes one is."""
    return parse_unit(value if isinstance(value, str) else "")


def factor(value: object) -> float:
    """What a number is multiplied with."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < abs(value) <= MAX_FACTOR:
        raise ValueError("a number that is not 0, such as -1 or 0.5")
    return value


def value_name(value: object) -> str:
    """The NAME of `{stats.NAME}`."""
    if not isinstance(value, str) or not re.fullmatch(VALUE_NAME, value):
        raise ValueError("a name of letters, digits and _, not beginning with a digit")
    return value


def preset(value: object) -> str:
    """The name of a preset."""
    known = preset_names()
    if not isinstance(value, str) or value not in known:
        raise ValueError(", ".join(known) + did_you_mean(value, known))
    return value


Name = Annotated[str, PlainValidator(name)]
LevelName = Annotated[str, PlainValidator(level_name)]
Text = Annotated[str, PlainValidator(text)]
Flag = Annotated[bool, PlainValidator(flag)]
Positive = Annotated[int, PlainValidator(whole_number(1, 1_000_000))]
Port = Annotated[int, PlainValidator(whole_number(1, 65535))]
Pid = Annotated[int, PlainValidator(whole_number(1, MAX_PID))]
Duration = Annotated[float, PlainValidator(duration())]
DurationOrZero = Annotated[float, PlainValidator(duration(0))]
TickDuration = Annotated[float, PlainValidator(duration(0.01))]  # a tick costs a few ms at worst
StatsDuration = Annotated[float, PlainValidator(duration(1))]  # an answer costs the server far more than us
ThresholdValue = Annotated[Threshold, PlainValidator(threshold)]
LimitValue = Annotated[Size | Literal["auto", "machine"], PlainValidator(limit)]
FilePath = Annotated[Path, PlainValidator(file_path)]
Regex = Annotated[str, PlainValidator(regex)]
RequestPath = Annotated[str, PlainValidator(request_path)]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"], PlainValidator(choice("debug", "info", "warning", "error"))
]
LogFormat = Annotated[Literal["logfmt", "json"], PlainValidator(choice("logfmt", "json"))]
StatsFormat = Annotated[Literal["json", "prometheus"], PlainValidator(choice("json", "prometheus"))]
Unit = Annotated[int, PlainValidator(unit)]
Factor = Annotated[float, PlainValidator(factor)]
ValueName = Annotated[str, PlainValidator(value_name)]
PresetName = Annotated[str, PlainValidator(preset)]
Method = Annotated[str, PlainValidator(choice("GET", "POST", "PUT", "PATCH", "DELETE"))]
HeaderName = Annotated[str, PlainValidator(header_name)]
HeaderValue = Annotated[str, PlainValidator(header_value)]
Url = Annotated[str, PlainValidator(url)]
Listen = Annotated[ListenAddress, PlainValidator(listen_address)]
MeasureValue = Annotated[Measure, PlainValidator(lambda value: Measure(choice(*MEASURES)(value)))]
