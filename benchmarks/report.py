"""What every benchmark shares: its two options, its rows, and how they are printed.

Covers: `--quick` and `--json`, a row with or without a goal, the table, the JSON object.
Leaves to others: measuring (the benchmarks), which benchmarks there are (`__main__`).

A missed goal is said, and is no failure: the exit status is 0 whenever the measuring itself worked.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


class BenchmarkError(Exception):
    """The measuring itself failed; the text says how."""


@dataclass(frozen=True, slots=True)
class Row:
    """One number. `goal` is the most it may be, or with `at_least` the least; None where nothing was promised."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


def run(
    description: str,
    measure: Callable[..., Sequence[Row]],
    arguments: Sequence[str] | None = None,
    *,
    parts: Sequence[str] = (),
) -> None:
    """The whole command: parse, `measure(quick)` or with `parts` to choose from `measure(quick, chosen)`, print."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="end within 45 s; the numbers are rougher")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    if parts:
        parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART", help=", ".join(parts))
    parsed = parser.parse_args(arguments)
    try:
        rows = measure(parsed.quick, parsed.parts) if parts else measure(parsed.quick)
    except BenchmarkError as error:
        sys.exit(f"{parser.prog}: {error}")
    if parsed.json:
        print(json.dumps(as_json(rows)))
    else:
        print_table(description, rows)


def as_json(rows: Sequence[Row]) -> dict[str, list[dict[str, str | float | bool | None]]]:
    """The object that `--json` prints."""
    return {
        "rows": [
            {"name": row.name, "value": round(row.value, 6), "unit": row.unit, "goal": row.goal, "met": row.met}
            for row in rows
        ]
    }


def print_table(title: str, rows: Sequence[Row]) -> None:
    """A table for people, and below it in plain words which goals were missed."""
    table = Table("what", "value", "unit", "goal", "met", title=title, title_justify="left")
    table.columns[1].justify = table.columns[3].justify = "right"
    for row in rows:
        goal = "" if row.goal is None else f"{'≥' if row.at_least else '≤'} {row.goal:g}"
        met = {None: "", True: "yes", False: "MISSED"}[row.met]
        table.add_row(row.name, f"{row.value:.3g}", row.unit, goal, met)
    # A pipe has no width: without one rich would assume 80 columns and break the names.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120)
    console.print(table)
    missed = [row.name for row in rows if row.met is False]
    goals = sum(row.goal is not None for row in rows)
    console.print(f"{len(missed)} of {goals} goals missed: {'; '.join(missed)}" if missed else f"all {goals} goals met")
    console.print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}")


def progress(text: str) -> None:
    """Say on standard error what goes on: a full run takes minutes."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
