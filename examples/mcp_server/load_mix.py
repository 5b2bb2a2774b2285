"""What the load asks: searches that repeat as people's do and searches that are new, pages of files, contexts.

Covers: `Mix`, a stream of tool calls that is the same for the same seed and the same answers.
Leaves to others: sending them (`load`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

Json = dict[str, Any]

_WORDS = (
    *("open", "close", "read", "write", "parse", "encode", "decode", "compress", "copy", "move", "delete", "create"),
    *(
        "start",
        "stop",
        "wait",
        "send",
        "receive",
        "connect",
        "listen",
        "retry",
        "cancel",
        "schedule",
        "lock",
        "release",
    ),
    *(
        "sort",
        "merge",
        "split",
        "join",
        "match",
        "replace",
        "escape",
        "format",
        "print",
        "validate",
        "convert",
        "count",
    ),
    *("file", "directory", "path", "socket", "server", "client", "request", "response", "header", "body", "message"),
    *("queue", "thread", "process", "task", "event", "signal", "timeout", "buffer", "stream", "cache", "memory"),
    *("string", "bytes", "unicode", "number", "date", "time", "zone", "list", "dictionary", "tree", "table", "index"),
    *("config", "option", "argument", "environment", "module", "class", "method", "attribute", "exception", "warning"),
    *("password", "certificate", "hash", "random", "archive", "mail", "cookie", "html", "json", "xml", "csv", "sqlite"),
)

_COMMON_QUERIES = 1_000
_ZIPF_EXPONENT = 1.1
"""The query of rank r is asked r^-1.1 as often as the first: what query logs of search engines show, give or take."""

_KNOWN_PLACES = 500


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the load is what; the rest is `get_context`. `novel` is the share of the searches that are new."""

    search: float = 0.7
    read_file: float = 0.15
    novel: float = 0.4
    file_level: float = 0.2
    limit: int = 10


@dataclass
class Mix:
    """An endless stream of calls. Until a search has told of a file, everything is a search."""

    seed: int = 0
    shares: Shares = field(default_factory=Shares)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._common = [self._new_query() for _ in range(_COMMON_QUERIES)]
        self._cumulative = list(accumulate((rank + 1) ** -_ZIPF_EXPONENT for rank in range(_COMMON_QUERIES)))
        self._places: list[tuple[str, int]] = []
        self._asked = 0

    def next(self) -> tuple[str, Json]:
        """A tool's name and its arguments."""
        choice = self._random.random()
        if choice < self.shares.search or not self._places:
            return "search", self._search()
        path, line = self._random.choice(self._places)
        if choice < self.shares.search + self.shares.read_file:
            return "read_file", {"path": path, "first_line": max(1, line - 100), "max_lines": 400}
        return "get_context", {"path": path, "line": line}

    def learn(self, results: Sequence[Json]) -> None:
        """Files that a search found, to be read later; of many a random 500 are remembered."""
        for hit in results[:3]:
            place = (str(hit["path"]), int(hit["first_line"]))
            if len(self._places) < _KNOWN_PLACES:
                self._places.append(place)
            else:
                self._places[self._random.randrange(_KNOWN_PLACES)] = place

    def _search(self) -> Json:
        if self._random.random() < self.shares.novel:
            self._asked += 1
            query = f"{self._new_query()} {self.seed}-{self._asked}"
        else:
            (query,) = self._random.choices(self._common, cum_weights=self._cumulative)
        if self._random.random() < self.shares.file_level:
            level = "file"
        else:
            level = self._random.choice(("class", "method", "method"))
        return {"query": query, "level": level, "limit": self.shares.limit}

    def _new_query(self) -> str:
        return " ".join(self._random.choices(_WORDS, k=self._random.randint(2, 6)))
