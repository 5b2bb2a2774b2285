"""The log: one line an event, logfmt or JSON, on standard error; repeated lines are rate-limited.

Leaves to others: what is worth a line (the callers). Libraries that use `logging` come out in the same form.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import time
from collections.abc import Callable
from typing import Literal, TextIO, cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

REPEAT_SECONDS = 60.0
"""The same line of the same target comes at most once in this time; the next one says how many were left out."""

_MAX_REMEMBERED = 1024  # bounded: keys carry names of targets and of failures, and both can change with a reload


class RepeatLimiter:
    """Drops lines that say what was just said.

    Two lines are the same when message, target, reason, level of the target and source are. Decisions and their
    outcomes carry a request id, and `change=True` marks what is new by nature: those are never dropped; who asks for
    `debug` wants every line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: dict[tuple[object, ...], tuple[float, int]] = {}

    def __call__(self, logger: object, method: str, line: EventDict) -> EventDict:  # noqa: ARG002 - structlog's shape
        """Pass a line on, or raise structlog.DropEvent."""
        if line.pop("change", False) or "request_id" in line or method == "debug":
            return line
        key = tuple(str(line.get(name)) for name in ("event", "target", "reason", "target_level", "source", "path"))
        now = self._clock()
        said_at, left_out = self._said.pop(key, (float("-inf"), 0))
        if now - said_at < REPEAT_SECONDS:
            self._said[key] = (said_at, left_out + 1)
            raise structlog.DropEvent
        if len(self._said) >= _MAX_REMEMBERED:
            self._said.pop(next(iter(self._said)))
        self._said[key] = (now, 0)
        if left_out:
            line["repeated"] = left_out
        return line


class _RepeatFilter(logging.Filter):
    """The same for `logging`: a client that sends nonsense makes uvicorn say so each time."""

    def __init__(self, limiter: RepeatLimiter) -> None:
        super().__init__()
        self._limiter = limiter

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record goes out."""
        try:
            line = self._limiter(None, "", {"event": record.getMessage(), "source": record.name})
        except structlog.DropEvent:
            return False
        if "repeated" in line:
            record.repeated = line["repeated"]
        return True


class _StandardError:
    """Where the lines go. One that cannot be written is lost: a full disk or pipe must not end the watching.

    Written without a buffer, for what stays in one would fail again when the program ends.
    """

    def __init__(self) -> None:
        self._is_cut = False  # the last line went out in part: the next one begins on a line of its own

    def write(self, text: str) -> int:
        """Write a line, or lose it."""
        if sys.__stderr__ is None:  # where it was closed: its number may now be another file's
            return len(text)
        descriptor, rest = sys.__stderr__.fileno(), text.encode(errors="backslashreplace")
        with contextlib.suppress(OSError, ValueError):
            # Never more than PIPE_BUF at a time, and only where that fits: a pipe that nobody empties would else stop
            # the event loop, and with it the watching.
            rest = b"\n" * self._is_cut + rest
            while rest and select.select((), (descriptor,), (), 0)[1]:
                rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]
                self._is_cut = bool(rest)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def configure(level: str, form: Literal["logfmt", "json"]) -> None:
    """Set up structlog, and `logging` behind it. May be called again after a reload."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.processors.LogfmtRenderer(key_order=["ts", "level", "msg"], bool_as_flag=False)
    )
    tidy: list[Processor] = [
        structlog.processors.format_exc_info,
        _on_one_line,
        structlog.processors.EventRenamer("msg"),
        renderer,
    ]
    limiter, stream = RepeatLimiter(), _StandardError()
    structlog.configure(
        processors=[*shared, limiter, *tidy],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, stream)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(_RepeatFilter(limiter))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tidy],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)


def _on_one_line(logger: object, method: str, line: EventDict) -> EventDict:  # noqa: ARG001 - structlog's shape
    """No value breaks a line, whatever a server or an exception put into it."""
    for key, value in list(line.items()):
        if value is None:
            del line[key]  # unknown: absent, as in the metrics
        elif isinstance(value, str) and not value.isprintable():
            line[key] = "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)
        elif not isinstance(value, str | int | float | bool):
            line[key] = str(value)
    return line


def shows_debug() -> bool:
    """Does a line of level `debug` go out? To ask costs 1 µs, to write one that does not 40, at every tick."""
    return structlog.get_config()["wrapper_class"] is structlog.make_filtering_bound_logger(logging.DEBUG)


def get(**values: object) -> FilteringBoundLogger:
    """A logger whose lines carry `values`."""
    logger: FilteringBoundLogger = structlog.get_logger(**values)
    return logger
