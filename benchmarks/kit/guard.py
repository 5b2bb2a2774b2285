"""False similar hits on reversed and negated queries, and what the guard costs in paraphrases.

"Alike" is either what a small hashing embedder says from a cosine of 0.5 on, or the worst case: everything is alike, so
that the guard alone decides. The held-out pairs were written after its rules and changed none of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from memory_watchdog_kit.guard import contradicts

from benchmarks.kit._embedder import embed
from benchmarks.kit._queries import pairs
from benchmarks.report import Row

ALIKE = 0.5


def rows(quick: bool) -> Sequence[Row]:  # noqa: ARG001 - every part is called with it
    """The rows; `quick` changes nothing, it takes a second."""
    wrong, held_out, same = pairs("contradicting"), pairs("held_out"), pairs("paraphrases")
    alike, alike_same = _alike(wrong), _alike(same)
    through = [not contradicts(*pair) for pair in wrong]
    through_held_out = [not contradicts(*pair) for pair in held_out]
    through_same = [not contradicts(*pair) for pair in same]
    started = time.perf_counter()
    for first, second in same:
        contradicts(first + " x", second + " x")
    each = 1e6 * (time.perf_counter() - started) / len(same)
    return [
        Row(f"false similar hits, {len(wrong)} pairs, everything alike", sum(through), "", 0),
        Row("the same without the guard", len(wrong), ""),
        Row("false similar hits, alike by the embedder", sum(map(bool, np.logical_and(through, alike))), "", 0),
        Row("the same without the guard, by the embedder", int(alike.sum()), ""),
        Row(f"false similar hits, {len(held_out)} held-out pairs", sum(through_held_out), ""),
        Row(f"paraphrases that stay hits, of {len(same)}", 100 * sum(through_same) / len(same), "%"),
        Row("the same among those alike by the embedder", _share(through_same, alike_same), "%"),
        Row("the guard on a pair that it has not seen", each, "µs"),
    ]


def _alike(some: Sequence[tuple[str, str]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    first, second = embed([pair[0] for pair in some]), embed([pair[1] for pair in some])
    return np.asarray(np.einsum("ij,ij->i", first, second) >= ALIKE)


def _share(through: Sequence[bool], alike: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    both = np.logical_and(through, alike).sum()
    return float(100 * both / max(1, alike.sum()))
