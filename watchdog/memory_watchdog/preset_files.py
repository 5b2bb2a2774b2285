"""The presets: ready settings for known servers, one YAML file each in `presets/`, part of the package.

Covers: which there are, what their header comments say, a config to start from.
Leaves to others: laying one under a target's own keys (`config_layers`).

A file is the part of a target that a preset fills in. Its header comment says what it was seen with, what its cleanup
costs the users, what it cannot do, and the address that such a server usually has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from memory_watchdog.config_errors import did_you_mean
from memory_watchdog.yaml_lines import Document, parse_document

HEADINGS = ("Seen with", "Cleanup", "Limits", "Address")

_FOLDER = files("memory_watchdog") / "presets"
_ENDING = ".yaml"


class UnknownPreset(Exception):
    """There is no such preset; the text says which there are."""


def preset_names() -> tuple[str, ...]:
    """All presets, in the order of the alphabet."""
    names = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING)))


def preset_document(name: str) -> Document:
    """What a preset says. Raises UnknownPreset."""
    return parse_document(_text(name), f"preset {name}", {})


def preset_header(name: str) -> dict[str, str]:
    """What the header comment says under each of the headings. Raises UnknownPreset."""
    header: dict[str, str] = {}
    heading = ""
    for line in _header_lines(_text(name)):
        if match := re.fullmatch(rf"# ({'|'.join(HEADINGS)}): (.+)", line):
            heading = match[1]
            header[heading] = match[2]
        elif heading and line.startswith("#   "):
            header[heading] += " " + line[1:].strip()
        else:
            heading = ""
    return header


def preset_list() -> Iterator[str]:
    """A line for each preset: its name and what it was seen with."""
    names = preset_names()
    for name in names:
        yield f"{name:{max(map(len, names))}}  {preset_header(name)['Seen with']}"


def starting_config(name: str) -> str:
    """A config file with everything that the preset says, to be edited. Raises UnknownPreset."""
    text = _text(name)
    header = list(_header_lines(text))
    settings = text.splitlines()[len(header) :]
    lines = [
        *header,
        "#",
        f"# Everything below `url` is what `preset: {name}` would fill in; written out, it can be changed.",
        "",
        "targets:",
        f"  - url: {preset_header(name)['Address']}  # where your server is",
        *(f"    {line}".rstrip() for line in settings if line),
    ]
    return "\n".join(lines)


def _header_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line


def _text(name: str) -> str:
    known = preset_names()
    if name not in known:
        raise UnknownPreset(f"no preset {name!r}; there are {', '.join(known)}{did_you_mean(name, known)}")
    return (_FOLDER / f"{name}{_ENDING}").read_text(encoding="utf-8")
