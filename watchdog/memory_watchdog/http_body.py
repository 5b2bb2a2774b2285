"""The body of an answer, decompressed and bounded: neither an endless body nor a bomb is ever held in memory.

Covers: the limit, gzip and deflate, which a server may send although nobody asked.
Leaves to others: reading it from the wire (`http_client`), what it says (`outside_text` and its users).
"""

from __future__ import annotations

import zlib

from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.quantities import format_bytes

_WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class BoundedBody:
    """Collects a body. `feed` and `finish` answer None, or why the body is of no use; then feeding must end."""

    def __init__(self, content_encoding: str, limit_bytes: int) -> None:
        self.bytes = bytearray()
        self._limit_bytes = limit_bytes
        self._raw_bytes = 0
        codings = [coding.strip().lower() for coding in content_encoding.split(",")]
        self._codings = [coding for coding in codings if coding not in {"", "identity"}]
        known = len(self._codings) == 1 and self._codings[0] in _WINDOW
        self._inflater = zlib.decompressobj(_WINDOW[self._codings[0]]) if known else None
        self._may_be_bare = self._codings == ["deflate"]

    def feed(self, chunk: bytes) -> Unavailable | None:
        """One piece as it came from the wire."""
        self._raw_bytes += len(chunk)
        if not self._codings:
            self.bytes += chunk[: self._limit_bytes + 1 - len(self.bytes)]
        elif self._inflater is None:
            return Unavailable(Reason.ENCODING, f"Content-Encoding {', '.join(self._codings)} was not asked for")
        elif problem := self._inflate(chunk):
            return problem
        # the raw bytes count too: compressed data that stands for nothing could go on for ever
        if max(len(self.bytes), self._raw_bytes) > self._limit_bytes:
            return Unavailable(Reason.TOO_LARGE, f"the answer is larger than {format_bytes(self._limit_bytes)}")
        return None

    def finish(self) -> Unavailable | None:
        """The body has ended."""
        if self._inflater is not None and self._raw_bytes and not self._inflater.eof:
            return Unavailable(Reason.INVALID, f"the {self._codings[0]} data are cut short")
        return None

    def _inflate(self, chunk: bytes) -> Unavailable | None:
        try:
            return self._decompress(chunk)
        except zlib.error as error:
            # "deflate" means zlib data, and some servers send the bare stream: seen at its first bytes
            if self._may_be_bare and self._raw_bytes == len(chunk):
                self._may_be_bare = False
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
                return self._inflate(chunk)
            return Unavailable(Reason.INVALID, f"the {self._codings[0]} data cannot be read: {error}")

    def _decompress(self, chunk: bytes) -> Unavailable | None:
        assert self._inflater is not None
        # max_length 0 would mean no limit: feed ends before that, since it allows one byte more than the limit
        room = self._limit_bytes + 1 - len(self.bytes)
        self.bytes += self._inflater.decompress(chunk, room)
        if self._inflater.unused_data:
            return Unavailable(Reason.INVALID, f"something follows the end of the {self._codings[0]} data")
        return None
