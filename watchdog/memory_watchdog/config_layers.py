"""The layers of a config put on each other: option, environment, file, preset; and where each value came from.

Covers: laying options and environment over the file, presets under it, sending the reader of a mistake to the place
where the value was written.
Leaves to others: the defaults (`config_models`), what is right (`config_models`, `config_checks`).

A preset lies under a target's own keys, mapping by mapping; a list is replaced whole, and so is a mapping that is one
thing: a number's place in an answer, a body. Else `resident: {sum: …}` over a preset's `resident: {at: …}` would have
both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory_watchdog.config_errors import KeyPath, Mistake, Problem, key_text, shown
from memory_watchdog.options import OPTIONS, Given
from memory_watchdog.preset_files import preset_document, preset_names
from memory_watchdog.yaml_lines import Document

_FLAG_WORDS = {"true": True, "1": True, "false": False, "0": False}
_WHOLE: tuple[KeyPath, ...] = (
    ("process",),
    ("stats", "json"),
    ("stats", "map", "resident"),
    ("stats", "map", "allocator_free"),
)
_WHOLE_BENEATH: KeyPath = ("stats", "map", "values")


@dataclass
class Layers:
    """The data of the file with options and environment put in, where each value came from, and what is wrong."""

    document: Document
    mistakes: list[Mistake] = field(default_factory=list)
    _origins: dict[KeyPath, Given] = field(default_factory=dict)
    _presets: dict[KeyPath, str] = field(default_factory=dict)  # by path, the preset that the value there is from
    _preset_texts: dict[KeyPath, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.data = self.document.data
        self.mistakes += self.document.mistakes

    def put_in(self, given: Mapping[str, Given], directory: Path) -> None:
        """Lay options and environment over the file's data."""
        from_file = "targets" in self.data
        for setting in given.values():
            path = setting.option.path
            if setting.option.name == "dry-run" or path is None:
                continue
            if setting.option.is_target and from_file:
                line = self.document.line_of(("targets",))
                allowed = f"nothing beside a file with targets ({self.document.where}:{line})"
                self.mistakes.append(Mistake(setting.where, None, "", shown(path, setting.text), allowed))
                continue
            if setting.option.is_target:
                self.data.setdefault("targets", [{}])
            # An empty path stays empty, and so a mistake, instead of becoming the directory.
            is_path = setting.option.is_path and setting.text
            _put(self.data, path, str(directory / setting.text) if is_path else setting.text)
            self._origins[path] = setting
        if "dry-run" in given:
            self._put_dry_run(given["dry-run"])

    def _put_dry_run(self, setting: Given) -> None:
        if setting.text not in _FLAG_WORDS:
            found = shown((), setting.text)
            self.mistakes.append(Mistake(setting.where, None, "", found, "true, false, 1 or 0"))
            return
        for target in self._targets():
            if isinstance(target, dict):
                target["dry_run"] = _FLAG_WORDS[setting.text]

    def _targets(self) -> list[Any]:
        targets = self.data.get("targets")
        return targets if isinstance(targets, list) else []

    def put_presets_under(self) -> None:
        """Fill in what a target does not say itself from its preset. One that does not exist is told elsewhere."""
        for index, target in enumerate(self._targets()):
            name = target.get("preset") if isinstance(target, dict) else None
            if not isinstance(name, str) or name not in preset_names():
                continue
            preset = preset_document(name)
            self._merge(target, preset.data, ("targets", index), (), name)
            for path, text in preset.texts.items():
                self._preset_texts["targets", index, *path] = text

    def _merge(self, own: dict[str, Any], preset: dict[str, Any], base: KeyPath, path: KeyPath, name: str) -> None:
        for key, value in preset.items():
            place = (*path, key)
            whole = place in _WHOLE or path == _WHOLE_BENEATH
            if key not in own:
                own[key] = value
                self._note((*base, *place), value, name)
            elif isinstance(own[key], dict) and isinstance(value, dict) and not whole:
                self._merge(own[key], value, base, place, name)

    def _note(self, path: KeyPath, value: Any, name: str) -> None:
        self._presets[path] = name
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, part in parts:
            self._note((*path, key), part, name)

    def tell(self, problem: Problem) -> None:
        """Add the problem as a mistake, unless the value could not even be read, which is told already."""
        if any(problem.path[: len(path)] == path for path in self.document.unread):
            return
        where, line, key = self._place(problem.path)
        found = problem.found or self._found(problem.path)
        self.mistakes.append(Mistake(where, line, key, found, problem.allowed))

    def _place(self, path: KeyPath) -> tuple[str, int | None, str]:
        """Where to send the reader: option or variable, the preset, else file, line and key."""
        if path in self._origins:
            return self._origins[path].where, None, ""
        if preset := self._preset_of(path):
            return f"preset {preset}", None, key_text(path)
        beneath = [setting for place, setting in self._origins.items() if place[: len(path)] == path]
        if beneath and path not in self.document.lines:
            return beneath[-1].where, None, ""
        if path[0] == "targets" and any(setting.option.is_target for setting in self._origins.values()):
            return next((option.flag for option in OPTIONS if option.path == path), "--target"), None, ""
        return self.document.where, self.document.line_of(path), key_text(path)

    def _preset_of(self, path: KeyPath) -> str:
        """The preset that the value at the path is from; where nothing stands, that of what it is missing in."""
        while path:
            if path in self._presets:
                return self._presets[path]
            if path in self.document.lines:
                break
            path = path[:-1]
        return ""

    def _found(self, path: KeyPath) -> str:
        if path in self._origins:
            return shown(path, self._origins[path].text)
        value, present = _at(self.data, path)
        if not present:
            return "nothing"
        if isinstance(value, dict):
            return "a mapping" if value else "an empty mapping"
        if isinstance(value, list):
            return "a list" if value else "an empty list"
        texts = self._preset_texts if path in self._presets else self.document.texts
        return "null" if value is None else shown(path, texts.get(path, str(value)))


def _put(data: dict[str, Any], path: KeyPath, value: str) -> None:
    """Set the value, with the mappings that lead to it; where the file has something else, that stays, a mistake."""
    node: Any = data
    for part in path[:-1]:
        if isinstance(node, list) and isinstance(part, int):
            node = node[part] if part < len(node) else None
        elif isinstance(node, dict):
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
    if isinstance(node, dict):
        node[path[-1]] = value


def _at(data: Any, path: KeyPath) -> tuple[Any, bool]:
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None, False
    return data, True
