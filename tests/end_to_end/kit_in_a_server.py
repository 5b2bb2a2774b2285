"""Uses all of the kit in an environment that has nothing else: `python -I kit_in_a_server.py FOLDER`, run by a test.

Covers: every module and every name of `__all__` can be imported and says what it is; each structure works in a manager.
Leaves to others: the environment (`test_kit_wheel`), what each structure does in depth (`tests/kit`).

Tells as JSON what it found. A structure that cannot be made without arguments is made in `MAKE`.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import memory_watchdog_kit as kit
import numpy
import psutil

FOLDER = Path(sys.argv[1])

MAKE: dict[str, Callable[[], Any]] = {
    "ByteStore": lambda: kit.ByteStore(100_000),
    "EmbeddingStore": lambda: kit.EmbeddingStore(FOLDER / "embeddings"),
    "ModelHost": lambda: kit.ModelHost({}),
}


def modules() -> tuple[list[str], dict[str, str]]:
    """The modules that can be imported, and why the others cannot."""
    imported, refused = ["memory_watchdog_kit"], {}
    for found in pkgutil.walk_packages(kit.__path__, "memory_watchdog_kit."):
        if found.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(found.name)
            imported.append(found.name)
        except ImportError as error:
            refused[found.name] = str(error)
    return imported, refused


def structures() -> dict[str, kit.Component]:
    """One of each class that is a component."""
    made: dict[str, kit.Component] = {}
    for name in kit.__all__:
        what = getattr(kit, name)
        protocol = getattr(what, "_is_protocol", False)
        if not inspect.isclass(what) or protocol or not (hasattr(what, "statistics") and hasattr(what, "cleanup")):
            continue
        try:
            made[name] = MAKE.get(name, what)()
        except TypeError as error:
            sys.exit(f"say in MAKE how {name} is made: {error}")
    return made


def use(made: dict[str, kit.Component]) -> None:
    """A little of what each is for, where it takes arguments."""
    array = numpy.arange(8, dtype=numpy.float32)
    if isinstance(store := made.get("EmbeddingStore"), kit.EmbeddingStore):
        assert store.put("a", array)
        kept = store.get("a")
        assert kept is not None
        assert (kept == array).all()
    tracker = made["ContextTracker"]
    assert isinstance(tracker, kit.ContextTracker)
    tracker.track_file_read("/a", "x" * 1000, {"language": "python"})
    tracker.track_search("how", [{"path": "/a", "score": numpy.float32(0.5)}])
    tracker.save(FOLDER / "context")
    assert kit.ContextTracker().load(FOLDER / "context").items == 4
    if cache := made.get("SemanticCache"):
        cache.add("how", "file", [{"path": "/a"}])  # type: ignore[attr-defined]
        assert cache.get_similar("how", "file") == [{"path": "/a"}]  # type: ignore[attr-defined]


def main() -> None:
    importlib.import_module("watchdog.observers")  # the one that watches files, which servers have
    imported, refused = modules()
    made = structures()
    use(made)
    manager = kit.MemoryManager(config=kit.KitSettings.from_mapping({}).memory_manager)
    for component in made.values():
        assert isinstance(component, kit.Component)
        manager.register(component)
    manager.start()
    reported = {component.name: component.error for component in manager.report().components}
    cleaned = [
        {component.name: component.error for component in manager.cleanup(level).components} for level in kit.Level
    ]
    manager.stop()
    for component in made.values():
        if close := getattr(component, "close", None):
            close()
    told = {
        "installed": [distribution.name for distribution in distributions()],
        "psutil": psutil.__version__,
        "imported": imported,
        "refused": refused,
        "made": sorted(made),
        "names": sorted(component.name for component in made.values()),
        "reported": reported,
        "cleaned": cleaned,
        "undocumented": [name for name in kit.__all__ if not (getattr(kit, name).__doc__ or "").strip()],
        "missing": [name for name in kit.__all__ if not hasattr(kit, name)],
    }
    print(json.dumps(told))


if __name__ == "__main__":  # workers of the model host import it again
    main()
