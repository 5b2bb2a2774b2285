"""Embeddings of queries in memory, the least recently used out first, and the results that they lead to.

Covers: which query has which rows in its model's `VectorTable`, groups by scope, what all of it occupies.
Leaves to others: where a vector comes from (`embedding_source`), the search itself (`vectors`), the results
(`bounded_results`), the lock (`semantic_cache`).

An embedding has a row for each scope in which its query has a result, in that scope's group, and if there is none, one
row in group 0, where nobody searches. So a query that is asked again, at another level too, needs no model.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from memory_watchdog_kit.scopes import Scope
from memory_watchdog_kit.vectors import VectorTable

Vector = npt.NDArray[np.float32]

# Per embedding: its key 64 bytes, the object 64, the tuple of its rows 48, the time of its last use 32, and 8 that the
# ordered dict does not count. Per row: its number 32 and the object 64.
_EMBEDDING_BYTES = 216
_ROW_BYTES = 96
_PARKED = 0

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Group:
    """The rows of one scope; its number is used again after it, the object is not."""

    scope: Scope
    number: int
    rows: int = 0


@dataclass(slots=True, eq=False)
class _Embedding:
    model: str
    rows: tuple[int, ...]
    used_at: float


@dataclass(slots=True, eq=False)
class _Row:
    embedding: bytes
    group: Group | None
    result: bytes | None


class QueryEmbeddings:
    """At most `max_items` embeddings by key. Not locked; only a search in a table that it gave out may run beside it.

    The number of a row is never used again, so whoever keeps one that is gone does no harm with it.
    """

    def __init__(self, max_items: int) -> None:
        self._max_items = max_items
        self._embeddings: OrderedDict[bytes, _Embedding] = OrderedDict()
        self._rows: dict[int, _Row] = {}
        self._tables: dict[str, VectorTable] = {}
        self._groups: dict[Scope, Group] = {}
        self._free_groups: list[int] = []
        self._next_row = 1
        self._empty_bytes = self._embeddings.__sizeof__() + self._rows.__sizeof__()

    def __len__(self) -> int:
        return len(self._embeddings)

    @property
    def held_bytes(self) -> int:
        """Vectors, and what is kept beside them."""
        if not self._embeddings:
            return 0
        beside = self._embeddings.__sizeof__() + self._rows.__sizeof__() - self._empty_bytes
        beside += len(self._embeddings) * _EMBEDDING_BYTES + len(self._rows) * _ROW_BYTES
        return beside + sum(table.bytes for table in self._tables.values())

    def dimensions(self, model: str) -> int | None:
        """Of the vectors of this model; None while there is none."""
        table = self._tables.get(model)
        return None if table is None else table.dimensions

    def vector(self, key: bytes, now: float) -> Vector | None:
        """The embedding, with length 1; that is a use."""
        embedding = self._embeddings.get(key)
        if embedding is None:
            return None
        self._use(key, embedding, now)
        return self._tables[embedding.model].vector(embedding.rows[0])

    def use(self, row: int, now: float) -> None:
        """The result of this row was asked for."""
        found = self._rows.get(row)
        if found is not None:
            self._use(found.embedding, self._embeddings[found.embedding], now)

    def add(self, key: bytes, model: str, vector: Vector, now: float) -> bool:
        """Keep an embedding, neither zero nor infinite; False if the system has no memory for it.

        Other dimensions than before mean another model under the same name: what was there is then forgotten.
        """
        if key in self._embeddings:
            self._drop(key)
        table = self._tables.get(model)
        if table is not None and table.dimensions != len(vector):
            _log.warning(
                "the embeddings of model %r had %d dimensions and now have %d: those before are forgotten",
                model,
                table.dimensions,
                len(vector),
            )
            for other in [other for other, embedding in self._embeddings.items() if embedding.model == model]:
                self._drop(other)
        while len(self._embeddings) >= self._max_items:
            self.drop_oldest()
        table = self._tables.get(model)
        if table is None:
            table = self._tables[model] = VectorTable(len(vector))
        row = self._put(table, vector, _Row(key, None, None))
        if row is None:
            if not len(table):
                del self._tables[model]
            return False
        self._embeddings[key] = _Embedding(model, (row,), now)
        return True

    def link(self, key: bytes, scope: Scope, result: bytes) -> int | None:
        """Let the embedding lead to a result of this scope; the number of its row, None without the embedding."""
        embedding = self._embeddings.get(key)
        if embedding is None:
            return None
        table = self._tables[embedding.model]
        first = embedding.rows[0]
        group = self._groups.get(scope) or self._new_group(scope)
        row: int | None
        if self._rows[first].group is None:
            row = first if self._move(table, first, group.number) else None
        else:
            row = self._put(table, table.vector(first), _Row(key, group, result))
            if row is not None:
                embedding.rows += (row,)
        if row is None:
            self._count_row(group, 0)
            return None
        self._rows[row] = _Row(key, group, result)
        self._count_row(group, 1)
        return row

    def unlink(self, row: int) -> None:
        """The row's result is gone; the embedding stays."""
        found = self._rows.get(row)
        if found is None or found.group is None:
            return
        embedding = self._embeddings[found.embedding]
        table = self._tables[embedding.model]
        if len(embedding.rows) > 1:
            embedding.rows = tuple(other for other in embedding.rows if other != row)
            table.remove(row)
            del self._rows[row]
        elif self._move(table, row, _PARKED):
            self._rows[row] = _Row(found.embedding, None, None)
        else:
            self._drop(found.embedding)
            return
        self._count_row(found.group, -1)

    def place_of(self, scope: Scope, dimensions: int) -> tuple[VectorTable, Group] | None:
        """Where to search for what is alike in a scope; None if there is nothing."""
        group = self._groups.get(scope)
        table = self._tables.get(scope.model)
        if group is None or table is None or table.dimensions != dimensions:
            return None
        return table, group

    def result_of(self, row: int, group: Group) -> bytes | None:
        """The result that a row found in a group leads to; None if it is gone meanwhile."""
        found = self._rows.get(row)
        return found.result if found is not None and found.group is group else None

    def drop_oldest(self) -> None:
        """Forget the least recently used one; its results can be found exactly only."""
        self._drop(next(iter(self._embeddings)))

    def drop_unused(self, since: float, most: int) -> int:
        """Forget those not used since then, at most so many, and tell how many they were."""
        dropped = 0
        while dropped < most and self._embeddings and next(iter(self._embeddings.values())).used_at <= since:
            self.drop_oldest()
            dropped += 1
        return dropped

    def _use(self, key: bytes, embedding: _Embedding, now: float) -> None:
        embedding.used_at = now
        self._embeddings.move_to_end(key)

    def _drop(self, key: bytes) -> None:
        embedding = self._embeddings.pop(key)
        table = self._tables[embedding.model]
        for row in embedding.rows:
            table.remove(row)
            group = self._rows.pop(row).group
            if group is not None:
                self._count_row(group, -1)
        if not len(table):
            del self._tables[embedding.model]
        # A dict does not shrink by itself.
        if not self._embeddings:
            self._embeddings, self._rows = OrderedDict(), {}

    def _put(self, table: VectorTable, vector: Vector, row: _Row) -> int | None:
        number = self._next_row
        try:
            table.put(number, vector, _PARKED if row.group is None else row.group.number)
        except OSError:
            return None
        self._next_row += 1
        self._rows[number] = row
        return number

    @staticmethod
    def _move(table: VectorTable, row: int, group: int) -> bool:
        try:
            table.put(row, table.vector(row), group)
        except OSError:
            return False
        return True

    def _new_group(self, scope: Scope) -> Group:
        number = self._free_groups.pop() if self._free_groups else len(self._groups) + 1
        group = self._groups[scope] = Group(scope, number)
        return group

    def _count_row(self, group: Group, more: int) -> None:
        group.rows += more
        if not group.rows:
            del self._groups[group.scope]
            self._free_groups.append(group.number)
