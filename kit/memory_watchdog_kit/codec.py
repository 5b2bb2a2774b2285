"""Results as bytes: what a cache holds, so that their size is a fact and not an estimate.

Covers: JSON-like values to bytes and back, with orjson and zstandard where they are installed, else json and zlib.
Leaves to others: where the bytes lie (`segments`), which are kept (`semantic_cache`).

Every blob begins with one byte that says how the rest was written, so each form reads what the other wrote. What comes
back is what JSON makes of a value: tuples are lists, subclasses their base, UUIDs and members of enums their text or
value, NaN and infinities None.
"""

from __future__ import annotations

import json
import math
import zlib
from collections import deque
from enum import Enum
from types import ModuleType
from typing import Any
from uuid import UUID

try:
    import orjson as _orjson
except ImportError:
    _orjson = None  # type: ignore[assignment]
try:
    import zstandard as _zstandard
except ImportError:
    _zstandard = None  # type: ignore[assignment]

# The header: a sum of one of the first two (who reads it) and one of the other three (how it is packed).
_ORJSON, _JSON = 0, 1
_PLAIN, _ZLIB, _ZSTD = 0, 2, 4
_PACKING = 6

# Below this packing costs more than it gives: 200 B of results become 170 for 8 µs, 512 B become 340 for 10 µs, 6,000 B
# 2,580 for 34 µs. With zlib it is 30 µs at least.
_WORTH_PACKING_BYTES = 512

# Level 3 of zstd takes twice the time of level 1 for 2 %, zlib's 6 half as much again as 1 for 6 %.
_LEVEL = 1

# Contexts that are kept for the next call; a compressor and a decompressor hold 240 KB. While more threads are at it,
# more are made.
_KEPT_CONTEXTS = 4

_DEEPEST = 250  # orjson's limit is 254

_HEADERS = [bytes((header,)) for header in range((_JSON | _PACKING) + 1)]


class Codec:
    """Values to bytes and back. Safe from any thread; packing runs side by side, without the GIL.

    zstandard's contexts are not shareable, so a call takes one out of a small stock and puts it back. `orjson` and
    `zstandard` are the modules, None to do without; by default what is installed.
    """

    def __init__(self, *, orjson: ModuleType | None = _orjson, zstandard: ModuleType | None = _zstandard) -> None:
        self._orjson: Any = orjson
        self._zstandard: Any = zstandard
        self._options = 0
        if self._orjson is not None:
            # A dataclass or a datetime would come back as something else; so it is refused here as json refuses it.
            self._options = self._orjson.OPT_PASSTHROUGH_DATACLASS | self._orjson.OPT_PASSTHROUGH_DATETIME
        self._compressors: deque[Any] = deque(maxlen=_KEPT_CONTEXTS)
        self._decompressors: deque[Any] = deque(maxlen=_KEPT_CONTEXTS)

    def encode(self, value: object, name: str = "value", *, pack: bool = True) -> bytes:
        """The value's blob; without `pack` it is twice as large and takes a quarter of the time.

        Raises TypeError for what is not JSON, with the path to it, which begins with `name`: anything but None, bool,
        int, float, str, list, tuple and dict with str keys, or nested deeper than 250 levels.
        """
        written, reader = self._write(value, name)
        if pack and len(written) >= _WORTH_PACKING_BYTES:
            packed, packing = self._pack(written)
            if len(packed) < len(written):
                return _HEADERS[reader | packing] + packed
        return _HEADERS[reader | _PLAIN] + written

    def decode(self, blob: bytes) -> Any:
        """The value of a blob.

        Raises ValueError for what no codec wrote, and for zstandard's blobs where it is not installed.
        """
        if not blob or blob[0] > (_JSON | _PACKING):
            raise ValueError("not a blob of this codec")
        packing = blob[0] & _PACKING
        written: bytes | memoryview = memoryview(blob)[1:]
        if packing == _ZSTD:
            written = self._unpack(written)
        elif packing == _ZLIB:
            try:
                written = zlib.decompress(written)
            except zlib.error as error:
                raise ValueError(f"a damaged blob: {error}") from error
        if blob[0] & _JSON or self._orjson is None:
            return json.loads(bytes(written))
        return self._orjson.loads(written)

    def _write(self, value: object, name: str) -> tuple[bytes, int]:
        if self._orjson is not None:
            try:
                return self._orjson.dumps(value, option=self._options), _ORJSON
            except TypeError:
                # What it refuses and json takes: integers above 64 bits, lone surrogates. Else json's check says where.
                pass
        return json.dumps(_plain(value, name, 0), separators=(",", ":"), check_circular=False).encode(), _JSON

    def _pack(self, written: bytes) -> tuple[bytes, int]:
        if self._zstandard is None:
            return zlib.compress(written, _LEVEL), _ZLIB
        try:
            compressor = self._compressors.pop()
        except IndexError:
            compressor = self._zstandard.ZstdCompressor(level=_LEVEL)
        packed = compressor.compress(written)
        self._compressors.append(compressor)
        return packed, _ZSTD

    def _unpack(self, packed: bytes | memoryview) -> bytes:
        if self._zstandard is None:
            raise ValueError("a blob that was packed with zstandard, which is not installed here")
        try:
            decompressor = self._decompressors.pop()
        except IndexError:
            decompressor = self._zstandard.ZstdDecompressor()
        try:
            written: bytes = decompressor.decompress(packed)
        except self._zstandard.ZstdError as error:
            raise ValueError(f"a damaged blob: {error}") from error
        self._decompressors.append(decompressor)
        return written


def _plain(value: object, path: str, depth: int) -> object:
    """The value in the types that json writes, with None for NaN and infinities. Raises TypeError as `Codec.encode`."""
    if depth > _DEEPEST:
        raise TypeError(f"{path[:80]}… is nested deeper than {_DEEPEST} levels, or contains itself")
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Enum):
        return _plain(value.value, path, depth + 1)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}[{position}]", depth + 1) for position, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{path} has the key {key!r}, a {type(key).__name__}: keys are str")
        return {key: _plain(item, f"{path}[{key!r}]", depth + 1) for key, item in value.items()}
    raise TypeError(f"{path} is a {type(value).__name__}, which JSON cannot tell")
