"""What is wrong in a config, in words: the mistake and the error that carries all of them.

Covers: key paths and how they are written, how a found value is shown (escaped, shortened, secrets hidden).
Leaves to others: finding mistakes (`yaml_lines`, `config_values`, `config_checks`), putting them together (`config`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""The way to a value: `("targets", 0, "levels", 1, "exit")`."""

HIDDEN = "<hidden>"
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, token

_SHOWN_CHARACTERS = 80  # enough to recognise a value; a pasted file must not fill the log
_PATH_CHARACTERS = 4096  # PATH_MAX: the name of a file is shown whole
_USER_IN_URL = re.compile(r"//.*@", re.DOTALL)  # greedy: a password may contain `/` and `@`
_QUERY_IN_URL = re.compile(r"[?#].*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong.

    `where` is a file, an option (`--target.limit`) or an environment variable; `line` and `key` are only known for
    files. `found` is ready to be shown: a value in quotes or a description without.
    """

    where: str
    line: int | None
    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        where = escaped(self.where, most=_PATH_CHARACTERS)
        place = where if self.line is None else f"{where}:{self.line}"
        key = f" {self.key}:" if self.key else ""
        return f"{place}:{key} found {self.found}, allowed: {self.allowed}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at a path; `found` is None where the value that stands there says it."""

    path: KeyPath
    allowed: str
    found: str | None = None


class ConfigError(Exception):
    """Everything that is wrong with the config; its text is one line per mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class NoConfigError(ConfigError):
    """There is no config at all: neither a file nor options."""


def did_you_mean(found: object, known: Iterable[str]) -> str:
    """The known word that is closest, ready to be appended; nothing where none is close."""
    # 0.6 takes restart for stats
    closest = difflib.get_close_matches(found, list(known), 1, cutoff=0.7) if isinstance(found, str) else []
    return f" (did you mean {closest[0]}?)" if closest else ""


def key_text(path: KeyPath) -> str:
    """The path as people write it: `targets[0].levels[1].exit`."""
    text = ""
    for index, part in enumerate(path):
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        name = part
        # `{Authorization:Bearer abc}` without the space is a key that holds the secret.
        if index and path[index - 1] == "headers" and not HEADER_NAME.fullmatch(part):
            name = HIDDEN
        text += ("." if text else "") + escaped(name)
    return text


def escaped(text: str, most: int = _SHOWN_CHARACTERS) -> str:
    """The text on one line, printable and not long."""
    short = text if len(text) <= most else text[:most] + "…"
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in short)


def shown(path: KeyPath, text: str) -> str:
    """A scalar that stands at `path`, in quotes; the values of headers and what is secret in a url are hidden."""
    if "headers" in path:
        return f"'{HIDDEN}'"
    if path and path[-1] == "url":
        text = _QUERY_IN_URL.sub(lambda match: match[0][0] + HIDDEN, _USER_IN_URL.sub(f"//{HIDDEN}@", text))
    return f"'{escaped(text)}'"
