"""Results as a retrieval server has them: ten hits with path, score, type and a few hundred characters of this code."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

_SOURCES = Path(__file__).parent.parent.parent
_HITS = 10
_LINES = 14


def results(count: int, seed: int = 1) -> Iterator[list[dict[str, object]]]:
    """So many results; each is made new, as a search makes them."""
    choose = random.Random(seed)
    lines = [
        line
        for folder in ("watchdog", "kit")
        for path in sorted((_SOURCES / folder).rglob("*.py"))
        for line in path.read_text().splitlines()
    ]
    for _ in range(count):
        yield [_hit(choose, lines) for _ in range(_HITS)]


def _hit(choose: random.Random, lines: list[str]) -> dict[str, object]:
    first = choose.randrange(len(lines) - _LINES)
    return {
        "path": f"src/package_{choose.randrange(200)}/module_{choose.randrange(5000)}.py",
        "score": choose.random(),
        "type": choose.choice(("file", "class", "method", "function")),
        "content": "\n".join(lines[first : first + _LINES])[: choose.randrange(200, 1000)],
    }
