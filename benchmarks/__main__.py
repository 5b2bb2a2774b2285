"""`python -m benchmarks`: the names of the benchmarks, one a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_SHARED = frozenset({"__init__", "__main__", "report", "processes", "sampling_parts", "traces"})
"""Modules of this folder that are no benchmark."""


def names() -> Iterator[str]:
    """Every benchmark, in the order of the alphabet: a module, or a folder with a `__main__`."""
    here = Path(__file__).parent
    modules = {path.stem for path in here.glob("*.py")} - _SHARED
    return iter(sorted(modules | {path.parent.name for path in here.glob("*/__main__.py")}))


if __name__ == "__main__":
    for name in names():
        print(name)
