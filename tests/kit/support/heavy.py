"""A library that takes memory when it is imported, as torch does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

KEPT = np.ones(50 * 2**20, np.uint8)


def make() -> Callable[[list[str]], NDArray[np.float32]]:
    return lambda texts: np.zeros((len(texts), 3), np.float32)
