"""One worker as the host sees it: a record, changed under the host's lock only.

Leaves to others: what its states lead to (`roster`), its process (`keeper`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from threading import Event

from memory_watchdog_kit.model_host.channel import Channel


class State(Enum):
    """What it does, and so who may use its channel: a caller while BUSY, the keeper while STARTING or LATE."""

    STARTING = auto()
    IDLE = auto()
    BUSY = auto()
    LATE = auto()  # works on a request whose caller has left
    ENDING = auto()
    GONE = auto()


@dataclass(slots=True, eq=False)
class Worker:
    """A model's process. `limit_at` is when STARTING, LATE or a gentle ENDING has lasted too long."""

    number: int
    model: str
    began_at: float
    limit_at: float
    state: State = State.STARTING
    used_at: float = -math.inf
    gently: bool = False
    pid: int | None = None
    inherited_bytes: int = 0
    why: str = ""  # it is ended although nobody wanted to unload it
    how: str = ""  # it ended
    channel: Channel | None = None
    silent: bool = False  # EOF was read from it
    held: bool = False  # a caller is in `channel`, which is closed when it has left
    gone: Event = field(default_factory=Event)

    @property
    def is_loaded(self) -> bool:
        """Its model can answer."""
        return self.state in (State.IDLE, State.BUSY, State.LATE)
