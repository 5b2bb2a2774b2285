"""The saved state: what a restarted watchdog must remember so that it does not act more often than it may.

Covers: reading, atomic writing, moving times to this boot, setting a damaged file aside.
Leaves to others: what is in it (`policy.state`), when it is written (`supervisor`).
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from memory_watchdog.clock import Clock
from memory_watchdog.observation import ProcessIdentity, Reason, Unavailable
from memory_watchdog.policy.state import LadderState, shifted

VERSION = 1


@dataclass(frozen=True, slots=True)
class TargetState:
    """What is kept of one target."""

    ladder: LadderState
    identity: ProcessIdentity | None = None
    budget_per_seconds: float = 3600.0  # how long the budget remembers, should the target leave the config


@dataclass(frozen=True, slots=True)
class SavedState:
    """The file's content. `boottime` and `wall` are when it was written, so that another boot can work out the age."""

    version: int
    boot_id: str
    boottime: float
    wall: float
    targets: dict[str, TargetState] = field(default_factory=dict)


_ADAPTER = TypeAdapter(SavedState)


def load(path: Path, boot: str, clock: Clock) -> SavedState | Unavailable:
    """The saved state with its times on this boot's clock.

    NOT_FOUND is the first start; INVALID a damaged file, which the caller sets aside; UNREADABLE anything else.
    """
    try:
        # Opening a pipe would wait for a writer for ever, and a device must never be set aside as if it were damaged.
        if path.exists() and not (path.is_file() or path.is_dir()):
            return Unavailable(Reason.UNREADABLE, f"{path}: not a regular file")
        content = path.read_bytes()
    except FileNotFoundError:
        return Unavailable(Reason.NOT_FOUND, str(path))
    except OSError as error:
        return Unavailable(Reason.UNREADABLE, f"{path}: {error.strerror}")
    try:
        saved = _ADAPTER.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Unavailable(Reason.INVALID, f"{path}: {where}: {first['msg']}" if where else f"{path}: {first['msg']}")
    if saved.version != VERSION:
        return Unavailable(Reason.INVALID, f"{path}: version {saved.version}, this program writes {VERSION}")
    if saved.boot_id == boot:
        return saved
    # Another boot: its clock began anew. By the wall clock this much time has passed; a clock that went back counts as
    # none, which holds back longer rather than shorter.
    passed = max(0.0, clock.wall() - saved.wall)
    delta = clock.boottime() - passed - saved.boottime
    targets = {name: replace(target, ladder=shifted(target.ladder, delta)) for name, target in saved.targets.items()}
    return SavedState(saved.version, boot, clock.boottime(), clock.wall(), targets)


def dump(state: SavedState) -> bytes:
    """The file's content. Apart from writing it, since the state must not change while it is read."""
    return _ADAPTER.dump_json(state)


def write(path: Path, content: bytes) -> Unavailable | None:
    """Write the file so that at every moment it is either the old one or the new one, also after a power cut."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        return Unavailable(Reason.UNREADABLE, f"{path}: {error.strerror}")
    return None


def set_aside(path: Path) -> Path | Unavailable:
    """Move a damaged file out of the way, to be looked at; an earlier one set aside is overwritten."""
    aside = path.with_name(path.name + ".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        return Unavailable(Reason.UNREADABLE, f"{path}: {error.strerror}")
    return aside
