"""Values out of JSON, checked: numbers, sections, key names; what is wrong with them in words.

Covers: reading the file, keys given twice, the kinds of number, unknown keys and what was probably meant.
Leaves to others: which sections and keys there are and their defaults (`settings`).
"""

from __future__ import annotations

import difflib
import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_BYTES = 16 * 2**20
"""A settings file has kilobytes; what is larger is not one, and would cost its tenfold in memory when parsed."""

_MOST = 2**63 - 1  # what a signed 64-bit number holds: no machine has more bytes, results or seconds
_SHOWN_CHARACTERS = 80

KeyPath = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsMistake:
    """One thing that is wrong: where (a file, `settings`, or a class), at which key, what stands there, what may."""

    where: str
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.where}:{f' {self.key}:' if self.key else ''} found {self.found}, allowed: {self.allowed}"


class SettingsError(ValueError):
    """Everything that is wrong with settings, as `mistakes`; its text is one line per mistake."""

    def __init__(self, mistakes: Iterable[SettingsMistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value: what is allowed, in words, and its reading; None from `read` means refused."""

    allowed: str
    read: Callable[[object], float | None]
    or_none: bool = False

    def accepts(self, value: object) -> bool:
        return (value is None and self.or_none) or self.read(value) is not None


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a section: the field it fills, its kind in JSON, and the kind that the field itself has."""

    field: str
    written: Kind
    held: Kind


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST else None


def _positive(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 < value <= _MOST else None  # NaN compares false


def _mebibytes(value: object) -> int | None:
    number = _positive(value)
    return None if number is None else _whole(math.floor(number * 2**20))


COUNT = Kind("a whole number above 0", _whole)
BYTES = Kind("a whole number of bytes above 0", _whole)
OPTIONAL_BYTES = Kind("a whole number of bytes above 0, or None", _whole, or_none=True)
SECONDS = Kind("a number of seconds above 0", _positive)
MEBIBYTES = Kind("a number of MiB above 0", _mebibytes)
OPTIONAL_MEBIBYTES = Kind("a number of MiB above 0, or null", _mebibytes, or_none=True)


class _Object(dict[str, object]):
    """A JSON object that knows which of its keys were given more than once."""

    twice: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, object]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.twice = tuple(name for name in made if names.count(name) > 1)
    return made


def read_object(path: str | os.PathLike[str]) -> Mapping[str, object]:
    """The object in a JSON file. Raises SettingsError where there is none."""
    where, allowed = os.fspath(path), "a file with a JSON object"
    try:
        with Path(path).open("rb") as file:
            written = file.read(MAX_FILE_BYTES + 1)
        if len(written) > MAX_FILE_BYTES:
            raise SettingsError([SettingsMistake(where, "", "more than 16 MiB", allowed)])
        found: object = json.loads(written.decode("utf-8-sig"), object_pairs_hook=_object)
    except OSError as error:
        raise SettingsError([SettingsMistake(where, "", error.strerror or str(error), allowed)]) from error
    except json.JSONDecodeError as error:
        place = f"{where}:{error.lineno}:{error.colno}"
        raise SettingsError([SettingsMistake(place, "", f"no JSON ({error.msg})", allowed)]) from error
    except SettingsError:
        raise
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5,000 digits; nested 1,000 deep
        raise SettingsError([SettingsMistake(where, "", f"no JSON ({error})", allowed)]) from error
    if not isinstance(found, _Object):
        raise SettingsError([SettingsMistake(where, "", _shown(found), allowed)])
    return found


def sections_of(
    settings: object, paths: Collection[KeyPath], where: str, mistakes: list[SettingsMistake]
) -> dict[KeyPath, object]:
    """What stands at those of the paths where anything stands; what is wrong on the way to them is added."""
    found: dict[KeyPath, object] = {}
    for path in paths:
        at: object = settings
        for depth, name in enumerate(path):
            if not isinstance(at, Mapping):
                _tell(mistakes, where, path[:depth], _shown(at), "an object")
                break
            if name in getattr(at, "twice", ()):
                _tell(mistakes, where, path[: depth + 1], "the key more than once", "once")
            if name not in at:
                break
            at = at[name]
        else:
            found[path] = at
    return found


def section_fields(
    section: object, keys: Mapping[str, Key], where: str, path: KeyPath
) -> tuple[dict[str, float | None], list[SettingsMistake]]:
    """What the keys of a section fill, and every mistake in it."""
    fields: dict[str, float | None] = {}
    mistakes: list[SettingsMistake] = []
    if not isinstance(section, Mapping):
        _tell(mistakes, where, path, _shown(section), "an object")
        return fields, mistakes
    for name in getattr(section, "twice", ()):
        _tell(mistakes, where, (*path, name), "the key more than once", "once")
    for name, value in section.items():
        key = keys.get(name)
        if key is None:
            close = difflib.get_close_matches(str(name), keys, 1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            _tell(mistakes, where, (*path, name), f"an unknown key{meant}", ", ".join(keys))
        elif key.written.accepts(value):
            fields[key.field] = key.written.read(value)
        else:
            _tell(mistakes, where, (*path, name), _shown(value), key.written.allowed)
    return fields, mistakes


def field_mistakes(made: object, keys: Mapping[str, Key]) -> list[SettingsMistake]:
    """What is wrong with the fields of settings that were made in code."""
    values = [(key.field, getattr(made, key.field), key.held) for key in keys.values()]
    return [
        SettingsMistake(type(made).__name__, name, _shown(value), kind.allowed)
        for name, value, kind in values
        if not kind.accepts(value)
    ]


def _tell(mistakes: list[SettingsMistake], where: str, path: KeyPath, found: str, allowed: str) -> None:
    mistake = SettingsMistake(where, ".".join(_escaped(str(name)) for name in path), found, allowed)
    if mistake not in mistakes:  # two sections may stand behind the same wrong key
        mistakes.append(mistake)


def _shown(value: object) -> str:
    """A value as it would stand in JSON, short; containers by kind only."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    try:
        text = f"'{_escaped(value)}'" if isinstance(value, str) else repr(value)
    except ValueError:  # an int of more digits than Python writes out
        return "a number of thousands of digits"
    return text if len(text) <= _SHOWN_CHARACTERS + 4 else text[:_SHOWN_CHARACTERS] + "…"


def _escaped(text: str) -> str:
    short = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in short)
