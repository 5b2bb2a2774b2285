"""Whatever a server hands over, made small plain data: cut to size, or left out and counted.

Covers: texts, names, metadata of any shape, search results as mappings or objects.
Leaves to others: how it is held (`records`), what is counted where (`limits`).

What comes in may be hostile: 10 MB nested in lists, a property that raises, an iterator without an end. So only as
much is looked at as can be kept, and everything that is looked at costs at least one byte of the room there is.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
import os
from collections.abc import Iterable, Mapping, Sized
from enum import Enum
from itertools import islice
from typing import TypedDict

from memory_watchdog_kit.context_tracker.limits import ContextDropped

_MOST_DEPTH = 16  # deeper metadata is no metadata; well below what the JSON reader and the stack stand
_DIGEST_CHARACTERS = 16
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))  # making one takes as long as using it
_PATH_NAMES = ("file_path", "path")
_TYPE_NAMES = ("type", "chunk_type")
_INNER_NAMES = ("payload", "metadata")  # where vector databases and document stores put them


class SearchHit(TypedDict):
    """One result of a search: what could be read of it."""

    path: str | None
    score: float | None
    type: str | None


def written(value: object) -> bytes:
    """Plain data as compact JSON. Lone surrogates, which file names may have, are kept."""
    return _ENCODER.encode(value).encode("utf-8", "surrogatepass")


def read(data: bytes) -> object:
    """The opposite of `written`. Raises ValueError, and RecursionError for what is nested too deep."""
    return json.loads(data.decode("utf-8", "surrogatepass"))


def cut(text: str, most: int, dropped: ContextDropped) -> str:
    """The first `most` characters."""
    if len(text) > most:
        dropped.cut_texts += 1
    return text[:most]


def cut_name(text: str, most: int, dropped: ContextDropped) -> str:
    """A path or an id in `most` characters; a long one ends in a digest of the whole, so that two stay two."""
    if len(text) <= most:
        return text
    dropped.cut_texts += 1
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_CHARACTERS // 2).hexdigest()
    return (text[: max(0, most - len(digest) - 1)] + "…" + digest)[-most:]


def path_text(path: object) -> str:
    """Raises TypeError for what is no path."""
    if isinstance(path, str | bytes | os.PathLike):
        return os.fsdecode(path)
    raise TypeError(f"a path is a {type(path).__name__}: str, bytes or os.PathLike are taken")


def content_text(content: str | bytes, most: int, dropped: ContextDropped) -> tuple[str, int]:
    """The first `most` characters and the length of the whole: characters, or bytes where bytes were given.

    Raises TypeError for what is neither.
    """
    if isinstance(content, str):
        kept = content[:most]
    elif isinstance(content, bytes | bytearray | memoryview):
        kept = bytes(content[: 4 * most]).decode("utf-8", "replace")[:most]  # a character has at most 4 bytes
    else:
        raise TypeError(f"content is a {type(content).__name__}: str or bytes are taken")
    if len(content) > len(kept):
        dropped.cut_contents += 1
    return kept, len(content)


def plain_metadata(metadata: object, max_bytes: int, dropped: ContextDropped) -> object:
    """The metadata as plain data of at most `max_bytes` of JSON; None where nothing of it could be kept."""
    if metadata is None:
        return None
    shrinking = _Shrinking(max_bytes)
    kept = shrinking.plain(metadata)
    dropped.cut_metadata += shrinking.cut
    dropped.refused_metadata += shrinking.refused
    return None if kept is _NOTHING else kept


_NOTHING = object()
"""There was no room for it, or it is no plain data."""


class _Shrinking:
    """Copies what is plain data until its JSON has the size that there is room for."""

    def __init__(self, max_bytes: int) -> None:
        self.room = max_bytes
        self.cut = False
        self.refused = 0

    def plain(self, value: object, depth: int = 0) -> object:
        try:
            if value is None or value is True or value is False:
                return value if self._spend(5) else _NOTHING
            if isinstance(value, str):
                return self._text(value)
            if isinstance(value, os.PathLike):
                return self._text(os.fsdecode(value))
            if isinstance(value, numbers.Real):
                return self._number(value)
            if isinstance(value, Mapping) and depth < _MOST_DEPTH:
                return self._mapping(value, depth) if self._spend(2) else _NOTHING
            if isinstance(value, list | tuple) and depth < _MOST_DEPTH:
                return self._list(value, depth) if self._spend(2) else _NOTHING
        except Exception:  # noqa: BLE001 - foreign code runs in here; it is counted, and must not break the server's call
            return self._refuse()
        return self._refuse()

    def _mapping(self, value: Mapping[object, object], depth: int) -> dict[str, object]:
        kept: dict[str, object] = {}
        for name, part in value.items():
            if self.room <= 0:
                self.cut = True
                break
            if not isinstance(name, str | int):
                self._refuse()
                continue
            text = str.__str__(name) if isinstance(name, str) else str(int(name))
            if not self._spend(2) or not self._spend_text(text):  # 2: the colon and the comma
                break
            fitting = self.plain(part, depth + 1)
            if fitting is not _NOTHING:
                kept[text] = fitting
        return kept

    def _list(self, value: Iterable[object], depth: int) -> list[object]:
        kept: list[object] = []
        for part in value:
            if not self._spend(1):  # the comma
                break
            fitting = self.plain(part, depth + 1)
            if fitting is not _NOTHING:
                kept.append(fitting)
        return kept

    def _text(self, value: str) -> object:
        """The text, or the start of one that needs more than half of the room: one long text leaves room for others."""
        text = str.__str__(value)
        most = max(self.room // 2, min(self.room, 64))
        kept = text[:most]
        while (size := len(written(kept))) > most and kept:  # up to 4 bytes a character, 6 where JSON escapes it
            kept = kept[: min(len(kept) - 1, len(kept) * most // size)]
        if len(kept) < len(text):
            self.cut = True
            if not kept:
                return _NOTHING
        return kept if self._spend_text(kept) else _NOTHING

    def _number(self, value: numbers.Real) -> object:
        number = int(value) if isinstance(value, numbers.Integral) else float(value)
        if not -(2**63) <= number < 2**64 if isinstance(number, int) else not math.isfinite(number):
            return self._refuse()
        return number if self._spend(len(repr(number))) else _NOTHING

    def _spend_text(self, text: str) -> bool:
        return self._spend(len(text) + 2 if len(text) > self.room else len(written(text)))

    def _spend(self, cost: int) -> bool:
        if cost > self.room:
            self.cut = True
            return False
        self.room -= cost
        return True

    def _refuse(self) -> object:
        self.refused += 1
        self.room -= 1  # so that an endless iterator of them ends
        return _NOTHING


def search_hits(
    results: object, most: int, most_characters: int, dropped: ContextDropped
) -> tuple[list[SearchHit], int]:
    """Path, score and type of the first results, and how many results there were.

    `results` is any iterable of mappings, objects or paths, or a mapping that has one under `results`. Of an iterator
    no more is taken than is kept, and only that is counted.
    """
    hits: list[SearchHit] = []
    try:
        if isinstance(results, Mapping):
            results = results.get("results")
        if results is None:
            return hits, 0
        taken = 0
        for result in islice(results, most):  # type: ignore[call-overload]
            taken += 1
            hit = _search_hit(result, most_characters, dropped)
            if hit is None:
                dropped.refused_results += 1
            else:
                hits.append(hit)
        found = max(taken, len(results)) if isinstance(results, Sized) else taken
    except Exception:  # noqa: BLE001 - foreign code runs in here; it is counted, and must not break the server's search
        dropped.refused_results += 1
        return hits, len(hits)
    dropped.results += found - taken
    return hits, found


def _search_hit(result: object, most_characters: int, dropped: ContextDropped) -> SearchHit | None:
    """None where the result has none of the three, or raised."""
    try:
        if isinstance(result, str | os.PathLike):
            return SearchHit(path=cut_name(os.fsdecode(result), most_characters, dropped), score=None, type=None)
        path, score, kind = (_found(result, names) for names in (_PATH_NAMES, ("score",), _TYPE_NAMES))
        if path is None and score is None and kind is None:
            return None
        return SearchHit(
            path=None if path is None else cut_name(path_text(path), most_characters, dropped),
            score=_score(score),
            type=None if kind is None else cut(str(_value(kind)), most_characters, dropped),
        )
    except Exception:  # noqa: BLE001 - a property of a foreign object; the caller counts it
        return None


def _found(result: object, names: Iterable[str]) -> object:
    """The first of the names that the result has, or that its payload has."""
    for name in names:
        if (value := _get(result, name)) is not None:
            return value
    for inner in _INNER_NAMES:
        if (place := _get(result, inner)) is not None:
            for name in names:
                if (value := _get(place, name)) is not None:
                    return value
    return None


def _get(place: object, name: str) -> object:
    if type(place) is dict or isinstance(place, Mapping):  # a dict first: asking an abstract class takes 1 µs
        return place.get(name)
    return getattr(place, name, None)


def _value(kind: object) -> object:
    return kind.value if isinstance(kind, Enum) else kind


def _score(score: object) -> float | None:
    """None where there is none, and for NaN and infinity, which JSON cannot hold."""
    number = float(score) if isinstance(score, float | numbers.Real) else math.nan
    return number if math.isfinite(number) else None
