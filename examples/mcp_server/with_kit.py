"""Keeping within bounds: every cache of the server is one of the kit, and the kit's manager cleans them.

Covers: `KeepingWithKit`: which structure keeps what, within which bounds, and that all of them are registered.
Leaves to others: the index (`kit_index`), who asks for a cleanup over which wire (`server`, the kit's `web`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from memory_watchdog_kit import (
    ByteStore,
    CleanupBusy,
    Component,
    ContextTracker,
    EmbeddingStore,
    KitSettings,
    MemoryManager,
    SemanticCache,
)
from memory_watchdog_kit.web.contract import cleanup_content, memory_content

from examples.mcp_server.embedders import ModelEmbedder
from examples.mcp_server.keeping import BusyError, Embedder, Floats, Json
from examples.mcp_server.kit_index import KitIndex
from examples.mcp_server.options import Options


class KeepingWithKit:
    """See `Keeping`. `manager` is what a watchdog asks."""

    def __init__(self, embedder: Embedder, options: Options) -> None:
        """Raises SettingsError for a settings file that is wrong, StoreError for a state directory in use."""
        settings = KitSettings() if options.config is None else KitSettings.from_file(options.config)
        self.index = KitIndex(embedder.dimensions, options.index_max_bytes)
        self._embedder = embedder
        self._embeddings = ByteStore(options.embeddings_max_bytes, name="embeddings")
        self._on_disk = None if options.state_dir is None else _store(options.state_dir)
        self._results = SemanticCache(
            settings.semantic_cache,
            self.embed,
            max_bytes=options.cache_max_bytes,
            max_results=options.cache_max_results,
            model=embedder.name,
        )
        self._tracker = ContextTracker(settings.context_tracker)
        self.manager = MemoryManager(config=settings.memory_manager)
        for component in self._components():
            self.manager.register(component)
        self.manager.start()

    def _components(self) -> list[Component]:
        components: list[Component] = [self._results, self._embeddings, self._tracker, self.index]
        if self._on_disk is not None:
            components.append(self._on_disk)
        if isinstance(self._embedder, ModelEmbedder):
            components.append(self._embedder.host)
        return components

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `Keeping`: from memory, else from disk, else computed; what is computed is kept in both."""
        keys = [blake2b(f"{self._embedder.name}\0{text}".encode("utf-8", "replace"), digest_size=16) for text in texts]
        known = [self._known(key.digest()) for key in keys]
        missing = [number for number, vector in enumerate(known) if vector is None]
        computed = self._embedder.embed([texts[number] for number in missing]) if missing else ()
        for number, vector in zip(missing, computed, strict=True):
            known[number] = vector
            self._embeddings.put(keys[number].digest(), vector.tobytes())
            if self._on_disk is not None:
                self._on_disk.put(keys[number].hexdigest(), vector)
        if not known:
            return np.empty((0, self._embedder.dimensions), np.float32)
        return np.stack([vector for vector in known if vector is not None])

    def _known(self, key: bytes) -> Floats | None:
        held = self._embeddings.get(key)
        if held is not None:
            return np.frombuffer(held, np.float32)
        stored = None if self._on_disk is None else self._on_disk.get(key.hex())
        if stored is None or stored.shape != (self._embedder.dimensions,):
            return None
        vector = np.asarray(stored, np.float32)
        self._embeddings.put(key, vector.tobytes())
        return vector

    def result(self, query: str, level: str) -> Json | None:
        """See `Keeping`. A result of an older index is none."""
        found: Json | None = self._results.get_similar(query, level, index_version=str(self.index.version))
        return found

    def add_result(self, query: str, level: str, result: Json) -> None:
        """See `Keeping`."""
        self._results.add(query, level, result, index_version=str(self.index.version))

    def track_file(self, path: str, content: str, metadata: Mapping[str, Any]) -> None:
        """See `Keeping`."""
        self._tracker.track_file_read(path, content, metadata)

    def track_search(self, query: str, result: Json, search_type: str) -> None:
        """See `Keeping`."""
        self._tracker.track_search(query, result["results"], search_type)

    def memory(self) -> Json:
        """See `Keeping`."""
        return memory_content(self.manager.report())

    def health(self) -> Json:
        """See `Keeping`."""
        files, chunks = self.index.counts()
        memory = self.manager.health()
        status = "ok" if memory["status"] in {"ok", "high"} else memory["status"]
        return {"status": status, "kit": "on", "index": {"files": files, "chunks": chunks}, "memory": memory}

    def cleanup(self, level: str, reason: str, request_id: str | None, target_bytes: int | None) -> Json:
        """See `Keeping`."""
        try:
            report = self.manager.cleanup(
                level, reason=reason, request_id=request_id, target_bytes=target_bytes, by_watchdog=True
            )
        except CleanupBusy as error:
            raise BusyError(str(error)) from error
        return cleanup_content(report)

    def close(self) -> None:
        """See `Keeping`. Twice is once."""
        self.manager.stop()
        self._embedder.close()
        if self._on_disk is not None:
            self._on_disk.close()


def _store(folder: Path) -> EmbeddingStore:
    folder.mkdir(parents=True, exist_ok=True)
    return EmbeddingStore(folder / "embeddings", name="embeddings_on_disk")
