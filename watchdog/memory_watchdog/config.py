"""The config: options, environment and file put together, validated, or every mistake told.

Covers: which file is read, precedence, turning what the models and checks refuse into mistakes with file, line and key.
Leaves to others: the command line (`cli`), what a file says (`yaml_lines`), what is right (`config_models`,
`config_checks`).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from memory_watchdog.config_addresses import ListenAddress
from memory_watchdog.config_checks import Problem, config_problems
from memory_watchdog.config_errors import ConfigError, KeyPath, Mistake, NoConfigError, key_text, shown
from memory_watchdog.config_models import (
    BudgetConfig,
    CleanupConfig,
    Config,
    LevelConfig,
    LogConfig,
    ProcessConfig,
    StatsConfig,
    TargetConfig,
    WebConfig,
)
from memory_watchdog.config_values import ABSENT, LEVEL_NAME_FORM, PATH_FORM, THRESHOLD_FORM, Absent
from memory_watchdog.options import OPTIONS, Given, given_options
from memory_watchdog.yaml_lines import Document, read_document

__all__ = [
    "ABSENT",
    "Absent",
    "BudgetConfig",
    "CleanupConfig",
    "Config",
    "ConfigError",
    "LevelConfig",
    "ListenAddress",
    "LogConfig",
    "Mistake",
    "NoConfigError",
    "ProcessConfig",
    "StatsConfig",
    "TargetConfig",
    "WebConfig",
    "load",
]

FILE_NAME = "memory-watchdog.yaml"
SYSTEM_FILE = Path("/etc/memory-watchdog") / FILE_NAME

_FLAG_WORDS = {"true": True, "1": True, "false": False, "0": False}
_REQUIRED_FORMS = {"name": LEVEL_NAME_FORM, "enter": THRESHOLD_FORM, "exit": THRESHOLD_FORM, "path": PATH_FORM}


def load(
    options: Mapping[str, str], environ: Mapping[str, str], directory: Path, system_file: Path = SYSTEM_FILE
) -> Config:
    """The config as options (by name: `target.pid-file`), environment and file give it.

    `directory` is the working directory. Raises ConfigError with everything that is wrong, ValueError for an option
    that does not exist.
    """
    given = given_options(options, environ)
    file, where = _config_file(given, directory, system_file)
    document = Document("", {}, {}, {}) if file is None else read_document(file, where, environ)
    sources = _Sources(document)
    sources.put_in(given, directory)
    context = {"base": directory if file is None else file.parent, "file": file}
    config: Config | None = None
    problems: list[Problem] = []
    try:
        config = Config.model_validate(sources.data, context=context)
    except ValidationError as error:
        problems = [problem for details in error.errors() if (problem := _problem(details)) is not None]
    refused = {problem.path for problem in problems}
    problems += [problem for problem in config_problems(sources.data) if problem.path not in refused]
    for problem in problems:
        sources.tell(problem)
    if config is None or sources.mistakes:
        raise ConfigError(sorted(dict.fromkeys(sources.mistakes), key=lambda mistake: mistake.line or 0))
    return config


def _config_file(given: Mapping[str, Given], directory: Path, system_file: Path) -> tuple[Path | None, str]:
    """The file to read and its name in mistakes; no file where the target comes from options.

    Raises ConfigError if there is nothing to go by.
    """
    if "config.file" in given:
        text = given["config.file"].text
        return directory / text, text
    if any(setting.option.is_target for setting in given.values()):
        return None, ""
    for file, where in ((directory / FILE_NAME, FILE_NAME), (system_file, str(system_file))):
        if os.path.lexists(file):
            return file, where
    allowed = f"{directory / FILE_NAME}, {system_file}, --config.file or --target.url"
    raise NoConfigError([Mistake(FILE_NAME, None, "", "no config", allowed)])


@dataclass
class _Sources:
    """The data of the file with options and environment put in, where each value came from, and what is wrong."""

    document: Document
    mistakes: list[Mistake] = field(default_factory=list)
    _origins: dict[KeyPath, Given] = field(default_factory=dict)

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
        targets = self.data.get("targets")
        for target in targets if isinstance(targets, list) else ():
            if isinstance(target, dict):
                target["dry_run"] = _FLAG_WORDS[setting.text]

    def tell(self, problem: Problem) -> None:
        """Add the problem as a mistake, unless the value could not even be read, which is told already."""
        if any(problem.path[: len(path)] == path for path in self.document.unread):
            return
        where, line, key = self._place(problem.path)
        found = problem.found or self._found(problem.path)
        self.mistakes.append(Mistake(where, line, key, found, problem.allowed))

    def _place(self, path: KeyPath) -> tuple[str, int | None, str]:
        """Where to send the reader: option or variable, else file, line and key."""
        if path in self._origins:
            return self._origins[path].where, None, ""
        beneath = [setting for place, setting in self._origins.items() if place[: len(path)] == path]
        if beneath and path not in self.document.lines:
            return beneath[-1].where, None, ""
        if path[0] == "targets" and any(setting.option.is_target for setting in self._origins.values()):
            return next((option.flag for option in OPTIONS if option.path == path), "--target"), None, ""
        return self.document.where, self.document.line_of(path), key_text(path)

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
        return "null" if value is None else shown(path, self.document.texts.get(path, str(value)))


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


def _problem(details: ErrorDetails) -> Problem | None:
    """Pydantic's finding in our words; None where it only follows from another."""
    path: KeyPath = tuple(part for part in details["loc"] if part != "[key]")
    match details["type"]:
        case "default_factory_not_called":
            return None
        case "value_error":
            return Problem(path, str(details["ctx"]["error"]))
        case "missing":
            return Problem(path, _REQUIRED_FORMS.get(str(path[-1]), "a list of targets"), "nothing")
        case "extra_forbidden":
            return Problem(path, _known_keys(path[:-1], str(path[-1])), "an unknown key")
        case "model_type":
            return Problem(path, f"a mapping with the keys {', '.join(_keys(path))}")
        case "tuple_type":
            return Problem(path, "a list")
        case "mapping_type" | "dict_type":
            return Problem(path, "a mapping of names to texts")
    return Problem(path, details["msg"])


def _known_keys(path: KeyPath, unknown: str) -> str:
    keys = _keys(path)
    closest = difflib.get_close_matches(unknown, keys, 1, cutoff=0.7)  # 0.6 takes restart for stats
    return ", ".join(keys) + (f" (did you mean {closest[0]}?)" if closest else "")


def _keys(path: KeyPath) -> list[str]:
    """The keys of the model at the path, as the file spells them."""
    model: type[BaseModel] = Config
    for part in path:
        if isinstance(part, str):
            fields = {info.alias or name: info for name, info in model.model_fields.items()}
            model = next(_models_in(fields[part].annotation))
    return [info.alias or name for name, info in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
