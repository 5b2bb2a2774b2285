"""A file of fixed size that holds the last looks and events of one target, written over from the beginning again.

Covers: the layout, packing a record, reading what is whole.
Leaves to others: writing beside the loop (`writer`), what is written when (`recorder`), what it means (`summary`).

Layout, little endian: a header of 4,096 bytes (magic, version, number of slots, a JSON text), then `LOOKS` slots of 100
bytes and `EVENTS` slots of 512. Each slot begins with its number, counted from 1, and ends with the CRC-32 of what is
before it: a slot whose writer was killed in the middle is not whole and is passed over.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

MAGIC = b"MWFLIGHT"
VERSION = 1
HEADER_BYTES = 4096
LOOKS = 6000
"""Ten minutes at the floor of 100 ms."""

EVENTS = 256
EVENT_BYTES = 512
UNKNOWN = -1

_HEAD = struct.Struct("<8sIIII")
_LOOK = struct.Struct("<Qddqqqqqqqdh6x")
_EVENT = struct.Struct("<Qd16sH")
_CRC = struct.Struct("<I")
LOOK_BYTES = _LOOK.size + _CRC.size
_LOOKS_AT = HEADER_BYTES
_EVENTS_AT = _LOOKS_AT + LOOKS * LOOK_BYTES
FILE_BYTES = _EVENTS_AT + EVENTS * EVENT_BYTES


class LookRecord(NamedTuple):
    """One look; sizes in bytes, −1 where unknown. `level` counts the configured levels from 1, 0 is none.

    `taken_at` is CLOCK_BOOTTIME, `wall` since the epoch; `answered_at` is when the server last answered, −1 if never.
    """

    taken_at: float
    wall: float
    used: int
    limit: int
    resident: int
    anonymous: int
    components: int
    allocator_free: int
    oom_kills: int
    answered_at: float
    level: int


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One event, its text cut to what fits."""

    wall: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Flight:
    """What a file holds: its header's text, looks and events, oldest first."""

    about: dict[str, Any]
    looks: tuple[LookRecord, ...]
    events: tuple[EventRecord, ...]


class NoFlight(Exception):
    """The file is none of ours, or cannot be read; the text says why."""


class Slots:
    """Which slot is next, and what goes into it. Each answer is the bytes and where in the file they belong."""

    def __init__(self) -> None:
        self._looks = 0
        self._events = 0

    def look(self, record: LookRecord) -> tuple[bytes, int]:
        """One look, over the oldest."""
        self._looks += 1
        return _closed(_LOOK.pack(self._looks, *record)), _LOOKS_AT + (self._looks - 1) % LOOKS * LOOK_BYTES

    def event(self, record: EventRecord) -> tuple[bytes, int]:
        """One event, over the oldest."""
        self._events += 1
        room = EVENT_BYTES - _EVENT.size - _CRC.size
        text = record.text.encode(errors="replace")[:room]
        kind = record.kind.encode(errors="replace")[:16]
        packed = _EVENT.pack(self._events, record.wall, kind, len(text)) + text.ljust(room, b"\0")
        return _closed(packed), _EVENTS_AT + (self._events - 1) % EVENTS * EVENT_BYTES


def header(about: dict[str, Any]) -> bytes:
    """The first 4,096 bytes. What is too long is left out: sixty levels with long names."""
    text = json.dumps(about).encode()
    if len(text) > HEADER_BYTES - _HEAD.size:
        text = b"{}"
    return (_HEAD.pack(MAGIC, VERSION, LOOKS, EVENTS, len(text)) + text).ljust(HEADER_BYTES, b"\0")


def _closed(packed: bytes) -> bytes:
    return packed + _CRC.pack(zlib.crc32(packed))


def is_flight(path: Path) -> bool:
    """Does the file begin as ours do? False also where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_flight(path: Path) -> Flight:
    """What is whole in a file. Raises NoFlight."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError as error:
        raise NoFlight(f"{path}: {error.strerror}") from error
    if len(content) < HEADER_BYTES or not content.startswith(MAGIC):
        raise NoFlight(f"{path}: not a flight recorder's file")
    _, version, looks, events, length = _HEAD.unpack_from(content)
    if (version, looks, events) != (VERSION, LOOKS, EVENTS):
        raise NoFlight(
            f"{path}: version {version} with {looks} looks and {events} events, this program writes {VERSION}"
        )
    try:
        about = json.loads(content[_HEAD.size : _HEAD.size + min(length, HEADER_BYTES)])
    except ValueError:
        about = {}
    found_looks = sorted(_whole(content, _LOOKS_AT, LOOKS, LOOK_BYTES))
    found_events = sorted(_whole(content, _EVENTS_AT, EVENTS, EVENT_BYTES))
    return Flight(
        about if isinstance(about, dict) else {},
        tuple(LookRecord(*_LOOK.unpack_from(slot)[1:]) for _, slot in found_looks),
        tuple(_event(slot) for _, slot in found_events),
    )


def _event(slot: bytes) -> EventRecord:
    _, wall, kind, length = _EVENT.unpack_from(slot)
    text = slot[_EVENT.size : _EVENT.size + min(length, EVENT_BYTES)]
    return EventRecord(wall, kind.rstrip(b"\0").decode(errors="replace"), text.decode(errors="replace"))


def _whole(content: bytes, at: int, count: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The slots whose checksum holds, with their number."""
    for index in range(count):
        slot = content[at + index * size : at + (index + 1) * size]
        if len(slot) < size:
            return
        (number,) = struct.unpack_from("<Q", slot)
        if number and _CRC.unpack_from(slot, size - _CRC.size)[0] == zlib.crc32(slot[: -_CRC.size]):
            yield number, slot
