"""`memory-watchdog check`: what a valid config means, and what about it will surprise.

Covers: the files that a config names; a state file that `run` could not use is an error, as it is there.
Leaves to others: what makes a config invalid in itself (`config`). Nothing is created or changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from memory_watchdog.config import Config, ConfigError, TargetConfig
from memory_watchdog.config_errors import Mistake, escaped
from memory_watchdog.config_models import RequestConfig
from memory_watchdog.http_request import NotSent, read_token
from memory_watchdog.outside_text import one_line
from memory_watchdog.quantities import Size, format_bytes, format_seconds

SLOW_BYTES_PER_SECOND = 2 * 1024**2
"""12.5 % of the limit divided by a cleanup's timeout: the growth that a timed-out cleanup at 87.5 % survives."""


def check(config: Config) -> Iterator[str]:
    """Lines for the person who wrote the config: one that sums it up, then warnings.

    Raises ConfigError for a state file that cannot be used.
    """
    problem = None if config.state_file is None else _unusable(config.state_file)
    if problem is not None:
        where = str(config.file or "options")
        found = f"'{escaped(str(config.state_file))}' ({problem})"
        allowed = "a file in a folder that exists and can be written"
        raise ConfigError([Mistake(where, None, "state_file", found, allowed)])
    names = ", ".join(target.name for target in config.targets)
    yield f"{config.file or 'options'}: valid; targets: {names}"
    if config.state_file is None:
        yield (
            "warning: no state_file: a restarted watchdog will not remember cooldown, budget and pause; "
            "flight recorder, evidence and incidents are off"
        )
    for target in config.targets:
        for warning in _warnings(target):
            yield f"warning: target {target.name}: {warning}"


def _unusable(path: Path) -> str | None:
    """Why `run` could not read the file, or replace it by a new one beside it."""
    folder = path.parent
    try:
        if not folder.is_dir():
            return "its folder is none" if folder.exists() else "its folder does not exist"
        # The file itself need not be writable: it is replaced.
        if not os.access(folder, os.W_OK | os.X_OK):
            return "its folder cannot be written"
        if path.exists() and not path.is_file():
            return "not a regular file"
        if path.exists() and not os.access(path, os.R_OK):
            return "it cannot be read"
    except (OSError, ValueError) as error:  # a name that is too long, or holds a NUL
        return one_line(getattr(error, "strerror", None) or str(error))
    return None


def _token_warnings(target: TargetConfig) -> Iterator[str]:
    requests: list[tuple[str, RequestConfig]] = [] if target.stats is None else [("stats", target.stats)]
    for level in target.levels:
        requests += [(f"cleanup of level {level.name}", request) for request in level.cleanup or ()]
    if target.restart is not None and target.restart.drain is not None:
        requests.append(("drain", target.restart.drain))
    for what, request in requests:
        token = None if request.bearer_token_file is None else read_token(request.bearer_token_file)
        if isinstance(token, NotSent):
            yield f"{what}: bearer_token_file: until this is mended no such request is sent: {one_line(token.detail)}"


def _warnings(target: TargetConfig) -> Iterator[str]:
    yield from _token_warnings(target)
    for level in target.levels:
        if level.cleanup_timeout is not None and isinstance(target.limit, Size):
            survived = 0.125 * target.limit.bytes / level.cleanup_timeout
            if survived < SLOW_BYTES_PER_SECOND:
                yield (
                    f"a cleanup at level {level.name} may take {format_seconds(level.cleanup_timeout)}: from 87.5% of "
                    f"{target.limit} only growth below {format_bytes(survived)}/s is survived meanwhile"
                )
    for lower, higher in pairwise(target.levels):
        if lower.cleanup is not None and higher.cleanup is None:
            yield f"while level {higher.name} is held nothing is sent: it has no cleanup, and {lower.name} is below it"
    if not any(level.cleanup for level in target.levels):
        yield "no level has a cleanup: it is watched and shown, nothing is sent"
    if isinstance(target.limit, Size):
        for level in target.levels:
            if isinstance(level.enter, Size) and level.enter.bytes >= target.limit.bytes:
                yield f"level {level.name} is entered at {level.enter}, not below the limit of {target.limit}"
    if target.dry_run:
        yield "dry run: nothing is sent"
    if target.restart is not None:
        yield "restart: the process is ended as the last step; its own supervisor must start it again"
