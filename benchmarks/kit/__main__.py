"""`python -m benchmarks.kit [--quick] [--json] [PART …]`: each part in a fresh process, their rows put together.

A part is a module of this folder with `rows(quick) -> Sequence[Row]`. Fresh processes, because most parts measure
memory.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks.kit._part import rows_of
from benchmarks.report import Row, progress, run


def parts() -> list[str]:
    """Every part, in the order of the alphabet."""
    return [path.stem for path in sorted(Path(__file__).parent.glob("*.py")) if not path.stem.startswith("_")]


def measure(quick: bool, chosen: Sequence[str] = ()) -> list[Row]:
    """The rows of the chosen parts, of all where none is."""
    rows: list[Row] = []
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=fresh, max_tasks_per_child=1) as processes:
        for part in chosen or parts():
            progress(f"{part} …")
            rows += processes.submit(rows_of, part, quick).result()
    return rows


if __name__ == "__main__":
    run("the kit's structures beside cachetools, cachebox and diskcache", measure, parts=parts())
