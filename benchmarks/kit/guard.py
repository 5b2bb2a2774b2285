"""False similar hits on reversed and negated queries, and what the guard costs in paraphrases.

"Alike" is either what a small hashing embedder says from a cosine of 0.5 on, or the worst case: everything is alike, so
that the guard alone decides. The held-out pairs were written after its rules and changed none of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import numpy as np
from memory_watchdog_kit.guard import contradicts
from numpy.typing import NDArray

from benchmarks.kit._embedder import embed
from benchmarks.kit._queries import pairs
from benchmarks.report import Row

ALIKE = 0.5


def rows(quick: bool) -> Sequence[Row]:  # noqa: ARG001 - it takes a second either way
    """The rows; `quick` changes nothing."""
    wrong, held_out = pairs("contradicting"), pairs("held_out")
    through, alike = _let_through(wrong), _alike(wrong)
    return [
        Row(f"false similar hits, {len(wrong)} pairs, everything alike", int(through.sum()), "", 0),
        Row("the same without the guard", len(wrong), ""),
        Row("false similar hits, alike by the embedder", int((through & alike).sum()), "", 0),
        Row("the same without the guard, by the embedder", int(alike.sum()), ""),
        Row(f"false similar hits, {len(held_out)} held-out pairs", int(_let_through(held_out).sum()), ""),
        *_paraphrases("paraphrases", ""),
        *_paraphrases("held_out_paraphrases", " held-out"),
        Row("the guard on one pair, CPU", median(_microseconds(*pair) for pair in wrong), "µs"),
    ]


def _paraphrases(name: str, which: str) -> Sequence[Row]:
    same = pairs(name)
    through, alike = _let_through(same), _alike(same)
    return [
        Row(f"paraphrases that stay hits, of {len(same)}{which}", 100 * float(through.mean()), "%"),
        Row(
            f"the same of the {int(alike.sum())} that the embedder finds alike", 100 * float(through[alike].mean()), "%"
        ),
    ]


def _let_through(some: Sequence[tuple[str, str]]) -> NDArray[np.bool_]:
    return np.array([not contradicts(*pair) for pair in some])


def _alike(some: Sequence[tuple[str, str]]) -> NDArray[np.bool_]:
    first, second = embed([pair[0] for pair in some]), embed([pair[1] for pair in some])
    return np.asarray(np.einsum("ij,ij->i", first, second) >= ALIKE)


def _microseconds(one: str, other: str) -> float:
    began = time.thread_time_ns()
    contradicts(one, other)
    return (time.thread_time_ns() - began) / 1e3
