"""The pairs of queries that the repository carries."""

from __future__ import annotations

from pathlib import Path

_DATA = Path(__file__).parent / "data"


def pairs(name: str) -> list[tuple[str, str]]:
    """`contradicting`, `paraphrases`, or `held_out` and `held_out_paraphrases`, which the guard's rules never saw."""
    lines = (_DATA / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    found = [tuple(line.split("\t")) for line in lines]
    assert all(len(pair) == 2 for pair in found), name
    return found  # type: ignore[return-value]
