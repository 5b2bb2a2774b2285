"""The config: options, environment, file and presets put together, validated, or every mistake told.

Covers: which file is read, turning what the models and checks refuse into mistakes.
Leaves to others: the command line (`cli`), what a file says (`yaml_lines`), which layer goes first and where a value
came from (`config_layers`), what is right (`config_models`, `config_checks`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from memory_watchdog.config_addresses import URL_FORM, ListenAddress
from memory_watchdog.config_checks import config_problems
from memory_watchdog.config_errors import ConfigError, KeyPath, Mistake, NoConfigError, Problem, did_you_mean
from memory_watchdog.config_layers import Layers
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
from memory_watchdog.options import Given, given_options
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

_AT_FORM = "where in the answer it stands"
_REQUIRED_FORMS = {
    "targets": "a list of targets",
    "name": LEVEL_NAME_FORM,
    "enter": THRESHOLD_FORM,
    "exit": THRESHOLD_FORM,
    "url": URL_FORM,
    "tool": "the name of a tool",
    "path": PATH_FORM,
    "at": _AT_FORM,
}


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
    layers = Layers(document)
    layers.put_in(given, directory)
    layers.put_presets_under()
    context = {"base": directory if file is None else file.parent, "file": file}
    config: Config | None = None
    problems: list[Problem] = []
    try:
        config = Config.model_validate(layers.data, context=context)
    except ValidationError as error:
        problems = [problem for details in error.errors() if (problem := _problem(details, layers.data)) is not None]
    refused = {problem.path for problem in problems}
    problems += [problem for problem in config_problems(layers.data) if problem.path not in refused]
    for problem in problems:
        layers.tell(problem)
    if config is None or layers.mistakes:
        raise ConfigError(sorted(dict.fromkeys(layers.mistakes), key=lambda mistake: mistake.line or 0))
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


def _problem(details: ErrorDetails, data: Mapping[str, Any]) -> Problem | None:
    """Pydantic's finding in our words; None where it only follows from another."""
    path = _written(tuple(part for part in details["loc"] if part != "[key]"), data)
    match details["type"]:
        case "default_factory_not_called":
            return None
        case "value_error":
            return Problem(path, str(details["ctx"]["error"]))
        case "missing":
            return Problem(path, _required_form(path), "nothing")
        case "extra_forbidden":
            return Problem(path, _known_keys(path[:-1], str(path[-1])), "an unknown key")
        case "model_type":
            return Problem(path, f"a mapping with the keys {', '.join(_keys(path))}")
        case "tuple_type":
            return Problem(path, "a list")
        case "mapping_type" | "dict_type":
            return Problem(path, f"a mapping of names to {'texts' if path[-1] == 'headers' else 'values'}")
    return Problem(path, details["msg"])


def _required_form(path: KeyPath) -> str:
    if "components" in path:
        return "the name of the component; with each an expression, or @key" if path[-1] == "name" else _AT_FORM
    return _REQUIRED_FORMS[str(path[-1])]


def _written(path: KeyPath, data: Any) -> KeyPath:
    """The path as it is in the data: one request in place of a list of them has no index there."""
    written: list[str | int] = []
    for part in path:
        if isinstance(part, int) and not isinstance(data, list):
            continue
        written.append(part)
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            data = None
    return tuple(written)


def _known_keys(path: KeyPath, unknown: str) -> str:
    keys = _keys(path)
    return ", ".join(keys) + did_you_mean(unknown, keys)


def _keys(path: KeyPath) -> list[str]:
    """The keys of the model at the path, as the file spells them."""
    model: type[BaseModel] = Config
    is_name = False  # the next part is a key of the user's own, of a mapping of names to models
    for part in path:
        if isinstance(part, str) and not is_name:
            fields = {info.alias or name: info for name, info in model.model_fields.items()}
            annotation = fields[part].annotation
            model = next(_models_in(annotation))
            is_name = get_origin(annotation) is Mapping
        elif isinstance(part, str):
            is_name = False
    return [info.alias or name for name, info in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
