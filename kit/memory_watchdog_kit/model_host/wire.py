"""What goes over the socket between the host and a worker: a prefix, a JSON header, the raw bytes of an array.

    4 bytes "MWK1" | header length, u32 | body length, u64 | header, UTF-8 JSON | body

Covers: the messages, writing them, reading them piece by piece with bounded lengths, checking what they say.
Leaves to others: when what is sent (`host`, `keeper`, `worker`), deadlines (`channel`).

Nothing is unpickled: what a worker sends can be wrong, and is then a `WireError`, but it cannot run.
"""

from __future__ import annotations

import json
import math
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memory_watchdog_kit.model_host.errors import plain

PREFIX = struct.Struct("!4sIQ")
MAGIC = b"MWK1"
MAX_ANSWER_HEADER_BYTES = 16384
DTYPES: Mapping[str, np.dtype[np.float32]] = {"float32": np.dtype("<f4")}
"""What a body may be."""

_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_DECODE = json.JSONDecoder().decode
_FIRST_BYTES = 4096  # prefix and header of nearly every message in one recv


class WireError(ValueError):
    """The other end did not keep to the format."""


@dataclass(frozen=True, slots=True)
class Load:
    """To a worker, first of all: make this model."""

    model: str
    factory: str
    arguments: Mapping[str, object]
    max_answer_bytes: int


@dataclass(frozen=True, slots=True)
class Embed:
    """To a worker: vectors for these texts."""

    number: int
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: the model is made. `inherited_bytes` of its memory are the forkserver's, not its own."""

    inherited_bytes: int


@dataclass(frozen=True, slots=True)
class Vectors:
    """From a worker: the vectors, which are the body."""

    number: int
    array: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Failed:
    """From a worker: the factory (number 0) or the model raised."""

    number: int
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One message as it came, its header not looked at yet."""

    header: object
    body: NDArray[np.uint8]


def encode_load(load: Load) -> bytes:
    """The whole frame."""
    return _encode(
        {
            "op": "load",
            "model": load.model,
            "factory": load.factory,
            "arguments": dict(load.arguments),
            "max_answer_bytes": load.max_answer_bytes,
        }
    )


def encode_embed(embed: Embed) -> bytes:
    """The whole frame."""
    return _encode({"op": "embed", "number": embed.number, "texts": embed.texts})


def encode_ready(ready: Ready) -> bytes:
    """The whole frame."""
    return _encode({"op": "ready", "inherited_bytes": ready.inherited_bytes})


def encode_failed(failed: Failed) -> bytes:
    """The whole frame."""
    return _encode(
        {"op": "failed", "number": failed.number, "type": plain(failed.error_type), "message": plain(failed.message)}
    )


def encode_vectors(number: int, array: NDArray[np.float32]) -> bytes:
    """Prefix and header; the bytes of the array, which must be contiguous and little-endian, follow."""
    header = {"op": "vectors", "number": number, "dtype": "float32", "shape": list(array.shape)}
    return _encode(header, array.nbytes)


def _encode(header: Mapping[str, object], body_bytes: int = 0) -> bytes:
    text = _ENCODE(header).encode("utf-8", "surrogatepass")  # lone surrogates are legal in a str
    return PREFIX.pack(MAGIC, len(text), body_bytes) + text


def parse_request(frame: Frame) -> Load | Embed:
    """What the host wants of a worker. Raises WireError."""
    match frame.header:
        case {"op": "embed", "number": int(number), "texts": list(texts)} if set(map(type, texts)) <= {str}:
            return Embed(number, texts)
        case {
            "op": "load",
            "model": str(model),
            "factory": str(factory),
            "arguments": dict(arguments),
            "max_answer_bytes": int(most),
        }:
            return Load(model, factory, arguments, most)
    raise WireError("not a request")


def parse_answer(frame: Frame) -> Ready | Vectors | Failed:
    """What a worker answers. Raises WireError, also where the shape does not fit the body."""
    match frame.header:
        case {"op": "vectors", "number": int(number), "dtype": str(name), "shape": [int(rows), int(columns)]}:
            return Vectors(number, _array(frame.body, name, rows, columns))
        case {"op": "ready", "inherited_bytes": int(inherited)} if inherited >= 0 and not frame.body.size:
            return Ready(inherited)
        case {"op": "failed", "number": int(number), "type": str(kind), "message": str(text)} if not frame.body.size:
            return Failed(number, plain(kind), plain(text))
    raise WireError("not an answer")


def _array(body: NDArray[np.uint8], name: str, rows: int, columns: int) -> NDArray[np.float32]:
    dtype = DTYPES.get(name)
    if dtype is None:
        raise WireError("a dtype that is not among the known ones")
    if rows < 0 or columns < 1 or math.prod((rows, columns, dtype.itemsize)) != body.size:
        raise WireError(f"a shape that does not fit {body.size} bytes")
    return body.view(dtype).reshape(rows, columns)


class FrameReader:
    """Puts frames together from what a socket has; keeps a half one until the rest comes."""

    def __init__(self, max_header_bytes: int, max_body_bytes: int) -> None:
        self._max_header_bytes = max_header_bytes
        self._max_body_bytes = max_body_bytes
        self._start()

    def _start(self) -> None:
        self._head = bytearray(_FIRST_BYTES)
        self._filled = 0
        self._frame: Frame | None = None

    def advance(self, connection: socket.socket) -> Frame | None:
        """One `recv`; the frame if it is now whole.

        Raises EOFError at the other's end, WireError, and what `recv` raises (BlockingIOError where nothing is there).
        After a WireError the stream is of no more use.
        """
        target = memoryview(self._head) if self._frame is None else self._frame.body.data
        with target, target[self._filled :] as rest:
            count = connection.recv_into(rest)
        if count == 0:
            raise EOFError("the other end closed")
        self._filled += count
        if self._frame is None:
            self._frame = self._begun()
        if self._frame is None or self._filled < self._frame.body.size:
            return None
        frame = self._frame
        self._start()
        return frame

    def _begun(self) -> Frame | None:
        """The frame with as much of its body as is here, as soon as its header is complete."""
        if self._filled < PREFIX.size:
            return None
        magic, header_bytes, body_bytes = PREFIX.unpack_from(self._head)
        if magic != MAGIC:
            raise WireError("does not begin like a message")
        if header_bytes > self._max_header_bytes or body_bytes > self._max_body_bytes:
            raise WireError(f"a message of {header_bytes} + {body_bytes} bytes is larger than allowed")
        end = PREFIX.size + header_bytes
        if len(self._head) < end:
            self._head.extend(bytes(end - len(self._head)))
        if self._filled < end:
            return None
        here = self._filled - end
        if here > body_bytes:
            raise WireError("more bytes than the message has")
        header = _header(bytes(memoryview(self._head)[PREFIX.size : end]))
        body = np.empty(body_bytes, np.uint8)
        body[:here] = np.frombuffer(self._head, np.uint8, here, end)
        self._filled = here
        return Frame(header, body)


def _header(text: bytes) -> object:
    try:
        return _DECODE(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:  # bad UTF-8, bad JSON, endless digits, endless brackets
        raise WireError(f"a header that is not JSON: {type(error).__name__}") from None
