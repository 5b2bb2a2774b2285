"""What the fresh process of one part runs; not in `__main__`, which a spawned process does not import."""

from __future__ import annotations

import importlib

from benchmarks.report import Row


def rows_of(part: str, quick: bool) -> list[Row]:
    """The rows of the module `part` of this folder."""
    return list(importlib.import_module(f"benchmarks.kit.{part}").rows(quick))
