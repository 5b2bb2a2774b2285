"""What a Python server imports so that its caches are bounded, observable and cleanable."""

from memory_watchdog_kit.component import (
    Cleaned,
    CleanupReport,
    Component,
    ComponentCleanup,
    ComponentReport,
    Level,
    MemoryReport,
    Statistics,
)
from memory_watchdog_kit.settings import (
    ContextTrackerSettings,
    KitSettings,
    MemoryManagerSettings,
    SemanticCacheSettings,
    SettingsError,
    SettingsMistake,
)

__version__ = "0.1.0"

__all__ = [
    "Cleaned",
    "CleanupReport",
    "Component",
    "ComponentCleanup",
    "ComponentReport",
    "ContextTrackerSettings",
    "KitSettings",
    "Level",
    "MemoryManagerSettings",
    "MemoryReport",
    "SemanticCacheSettings",
    "SettingsError",
    "SettingsMistake",
    "Statistics",
]
