"""`memory-watchdog check`: what a valid config means, and what about it will surprise.

Leaves to others: what makes a config invalid (`config`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from memory_watchdog.config import Config, TargetConfig
from memory_watchdog.quantities import Size, format_bytes, format_seconds

SLOW_BYTES_PER_SECOND = 2 * 1024**2
"""12.5 % of the limit divided by a cleanup's timeout: the growth that a timed-out cleanup at 87.5 % survives."""


def check(config: Config) -> Iterator[str]:
    """Lines for the person who wrote the config: one that sums it up, then warnings."""
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


def _warnings(target: TargetConfig) -> Iterator[str]:
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
