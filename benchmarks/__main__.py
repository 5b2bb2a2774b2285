"""`python -m benchmarks`: the names of the benchmarks, one a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_SHARED = frozenset({"__init__", "__main__", "report", "processes", "sampling_parts"})
"""Modules of this folder that are no benchmark."""


def names() -> Iterator[str]:
    """Every benchmark, in the order of the alphabet."""
    return (path.stem for path in sorted(Path(__file__).parent.glob("*.py")) if path.stem not in _SHARED)


if __name__ == "__main__":
    for name in names():
        print(name)
