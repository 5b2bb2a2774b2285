"""Embeddings on disk: `EmbeddingStore`, a least-recently-used tier in SQLite under a cache in memory."""

from memory_watchdog_kit.embedding_store.files import StoreError, StoreInUseError
from memory_watchdog_kit.embedding_store.store import EmbeddingStore, StoreStatistics

__all__ = ["EmbeddingStore", "StoreError", "StoreInUseError", "StoreStatistics"]
