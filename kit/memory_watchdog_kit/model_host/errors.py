"""What can go wrong with a model that runs in a process of its own.

Covers: the exceptions of `ModelHost`. Leaves to others: when each is raised (`roster`, `host`).

No message carries a traceback; what the model's code said is cut to `MESSAGE_CHARACTERS`.
"""

from __future__ import annotations

import signal

MESSAGE_CHARACTERS = 300


class ModelError(RuntimeError):
    """The request got no vectors."""


class ModelTimeout(ModelError, TimeoutError):
    """No answer before the deadline: of the turn, of the loading, or of the model itself, which is then ended."""


class ModelCrashed(ModelError):
    """The model's process ended, or could not be started; it is started again, later each time that it ends so."""


class ModelFailed(ModelError):
    """The model's own code raised, or what it returned is not float32 of shape (n, d), finite and small enough.

    `error_type` is the name of the exception's class.
    """

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(f"{error_type}: {message}" if message else error_type)
        self.error_type = error_type


class ModelHostClosed(ModelError):
    """`close` was called."""


def plain(text: str) -> str:
    """One line of printable characters, cut: fit for a log and for an exception's message."""
    cut = text[: 2 * MESSAGE_CHARACTERS]
    line = "".join(character if character.isprintable() else " " for character in cut).rstrip()
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"


def how_it_ended(wait_status: int) -> str:
    """A status of waitpid in words."""
    if wait_status >= 0 and (wait_status & 0x7F) == 0:
        return f"ended with status {wait_status >> 8}"
    number = wait_status & 0x7F
    try:
        return f"was killed by {signal.Signals(number).name}"
    except ValueError:
        return f"was killed by signal {number}"
