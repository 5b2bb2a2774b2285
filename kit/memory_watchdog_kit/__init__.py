"""What a Python server imports so that its caches are bounded, observable and cleanable."""

from memory_watchdog_kit.allocator import Allocator, find_allocator, return_large_blocks
from memory_watchdog_kit.array_files import ArrayFileError, MappedArrays, open_array, save_array
from memory_watchdog_kit.byte_store import ByteStore
from memory_watchdog_kit.codec import Codec
from memory_watchdog_kit.component import (
    Cleaned,
    CleanupReport,
    Component,
    ComponentCleanup,
    ComponentReport,
    Expiring,
    Level,
    MemoryReport,
    Statistics,
)
from memory_watchdog_kit.context_tracker import Context, ContextDropped, ContextLoaded, ContextTracker
from memory_watchdog_kit.embedding_store import EmbeddingStore, StoreError, StoreInUseError, StoreStatistics
from memory_watchdog_kit.manager import CleanupBusy, MemoryManager
from memory_watchdog_kit.model_host import (
    ModelCrashed,
    ModelError,
    ModelFailed,
    ModelHost,
    ModelHostClosed,
    ModelSpec,
    ModelTimeout,
)
from memory_watchdog_kit.own_memory import OwnMemory, read_own_memory
from memory_watchdog_kit.pacing import release_in_steps, settle_heap
from memory_watchdog_kit.semantic_cache import SemanticCache, SemanticCacheStatistics
from memory_watchdog_kit.settings import (
    ContextTrackerSettings,
    KitSettings,
    MemoryManagerSettings,
    SemanticCacheSettings,
    SettingsError,
    SettingsMistake,
)
from memory_watchdog_kit.streaming import (
    NotAFileError,
    Page,
    Unreadable,
    page_of,
    pages,
    read_chunks,
    read_text_chunks,
    walk_files,
)
from memory_watchdog_kit.vectors import VectorTable

__version__ = "0.1.0"

__all__ = [
    "Allocator",
    "ArrayFileError",
    "ByteStore",
    "Cleaned",
    "CleanupBusy",
    "CleanupReport",
    "Codec",
    "Component",
    "ComponentCleanup",
    "ComponentReport",
    "Context",
    "ContextDropped",
    "ContextLoaded",
    "ContextTracker",
    "ContextTrackerSettings",
    "EmbeddingStore",
    "Expiring",
    "KitSettings",
    "Level",
    "MappedArrays",
    "MemoryManager",
    "MemoryManagerSettings",
    "MemoryReport",
    "ModelCrashed",
    "ModelError",
    "ModelFailed",
    "ModelHost",
    "ModelHostClosed",
    "ModelSpec",
    "ModelTimeout",
    "NotAFileError",
    "OwnMemory",
    "Page",
    "SemanticCache",
    "SemanticCacheSettings",
    "SemanticCacheStatistics",
    "SettingsError",
    "SettingsMistake",
    "Statistics",
    "StoreError",
    "StoreInUseError",
    "StoreStatistics",
    "Unreadable",
    "VectorTable",
    "find_allocator",
    "open_array",
    "page_of",
    "pages",
    "read_chunks",
    "read_own_memory",
    "read_text_chunks",
    "release_in_steps",
    "return_large_blocks",
    "save_array",
    "settle_heap",
    "walk_files",
]
