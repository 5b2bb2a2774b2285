"""What the tests of `SemanticCache` share; the fixture `make_cache` is in the folder's conftest."""

from __future__ import annotations

import random
from collections.abc import Callable

from memory_watchdog_kit import SemanticCache

MakeCache = Callable[..., SemanticCache]

MIB = 2**20
QUERY = "find the parser of the configuration file"
ALIKE = "find the parser of the configuration files"  # cosine about 0.9
THRESHOLD = 0.8
SCOPE = {"level": "class", "tenant": "a", "model": "a", "index_version": "1"}
OTHER_SCOPES = [{"level": "field"}, {"tenant": "b"}, {"model": "b"}, {"index_version": "2"}]


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def hits(name: str, size: int = 100) -> list[dict[str, object]]:
    """A result of one hit."""
    return [{"path": f"{name}.py", "score": 0.5, "type": "class", "text": "x" * size}]


def noise(seed: int, size: int) -> str:
    """Text that no packing makes smaller than half."""
    return random.Random(seed).randbytes(size // 2).hex()
