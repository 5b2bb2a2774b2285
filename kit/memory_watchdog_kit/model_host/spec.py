"""What a model is, and the limits of the host that runs it; both checked when they are made.

Covers: the import path, the arguments, the limits. Leaves to others: importing anything (`worker`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

_FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")

MAX_ARGUMENTS_BYTES = 65536
"""They are sent before the worker reads: they must fit into the buffer of a socket, which is 208 KiB."""


LONGEST_SECONDS = 1e9
"""31 years: threading waits at most 292, and infinity is no number of seconds there."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """How to make a model: `factory` is "package.module:name"; the worker imports it and calls it with `arguments`.

    `factory(**arguments)` returns a callable that takes a list of n texts and returns float32 of shape (n, d). The
    arguments are what JSON can say, at most 64 KiB of it. Raises ValueError.
    """

    factory: str
    arguments: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _FACTORY.fullmatch(self.factory):
            raise ValueError(f"factory is {self.factory!r}: it must be 'package.module:name'")
        if self.factory.startswith("__main__:"):
            raise ValueError("factory is in __main__, which the worker does not run: it must be in a module of its own")
        try:
            size = len(json.dumps(dict(self.arguments), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"arguments of {self.factory}: JSON cannot say them: {error}") from None
        if not all(isinstance(name, str) for name in self.arguments):
            raise ValueError(f"arguments of {self.factory}: names must be text")
        if size > MAX_ARGUMENTS_BYTES:
            raise ValueError(f"arguments of {self.factory}: {size} bytes as JSON, at most {MAX_ARGUMENTS_BYTES}")


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a `ModelHost`, which documents them. Raises ValueError."""

    max_loaded: int
    idle_unload_seconds: float
    request_timeout_seconds: float
    load_timeout_seconds: float
    backoff_seconds: float
    max_backoff_seconds: float
    max_request_bytes: int
    max_answer_bytes: int

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            most = LONGEST_SECONDS if limit.name.endswith("_seconds") else 2**31  # which a worker would read, at most
            if not 0 < value <= most:
                raise ValueError(f"{limit.name} is {value}: it must be above 0, and at most {most:g}")
