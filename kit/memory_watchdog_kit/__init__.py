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

__version__ = "0.1.0"

__all__ = [
    "Cleaned",
    "CleanupReport",
    "Component",
    "ComponentCleanup",
    "ComponentReport",
    "Level",
    "MemoryReport",
    "Statistics",
]
