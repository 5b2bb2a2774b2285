"""Wait for a condition with a deadline: what tests with real processes do in place of sleeping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 20 if os.environ.get("CGROUP2_VM") == "1" else 1
"""How many times longer a deadline is: in the virtual machine of `make test-cgroup2` code is 13 to 30 times slower."""


def eventually(probe: Callable[[], T], seconds: float = 20.0, what: str = "") -> T:
    """The first true answer of `probe`. Raises AssertionError when none came in time."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what or probe}; last answer {answer!r}")
        time.sleep(0.005)  # between two looks, so that the other process gets the processor
