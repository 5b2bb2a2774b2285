"""The pairs of queries that the repository carries."""

from __future__ import annotations

from pathlib import Path

_DATA = Path(__file__).parent / "data"


def pairs(name: str) -> list[tuple[str, str]]:
    """`contradicting`, `held_out` (contradicting, written after the guard's rules) or `paraphrases`."""
    lines = (_DATA / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    found = [tuple(line.split("\t")) for line in lines]
    assert all(len(pair) == 2 for pair in found), name
    return found  # type: ignore[return-value]
