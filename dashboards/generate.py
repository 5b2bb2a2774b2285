"""Writes the dashboards: `python -m dashboards.generate [FOLDER]`, what `make dashboards` runs."""

from __future__ import annotations

import sys
from pathlib import Path

from dashboards.board import Board
from dashboards.fleet import FLEET
from dashboards.target import TARGET
from dashboards.watchdog import WATCHDOG

HERE = Path(__file__).parent
BOARDS: tuple[Board, ...] = (FLEET, TARGET, WATCHDOG)


def written(folder: Path) -> list[Path]:
    """The JSON of each dashboard as a file; the files."""
    paths = []
    for board in BOARDS:
        path = folder / f"{board.name}.json"
        path.write_text(board.text())
        paths.append(path)
    return paths


if __name__ == "__main__":
    written(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
