"""Within what results are shared, and the keys under which results and embeddings are kept.

Covers: `Scope`, both kinds of keys. Pure functions.
Leaves to others: what is kept under them (`bounded_results`, `query_embeddings`).
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple


class Scope(NamedTuple):
    """Nothing ever crosses one of these."""

    tenant: str
    model: str
    index_version: str
    level: str


def result_key(scope: Scope, query: str) -> bytes:
    """128 bits, of which nobody finds two alike: an object of 64 bytes, however long the query is."""
    tenant, model, version, level = scope
    # The lengths keep ("a", "bc") and ("ab", "c") apart.
    text = f"{len(tenant)},{len(model)},{len(version)},{len(level)}:{tenant}{model}{version}{level}{query}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def embedding_key(model: str, query: str) -> bytes:
    """As `result_key`: an embedding depends on nothing else, and is shared by all tenants."""
    return blake2b(f"{len(model)}:{model}{query}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
