"""How benchmarks print. What they measure is never asserted: numbers of a busy machine fail nobody's tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.__main__ import names
from benchmarks.report import Row, run

ROOT = Path(__file__).parents[2]
ROWS = (
    Row("a number", 1.23456789, "s"),
    Row("reached", 1, "ms", 2),
    Row("missed", 3.0, "%", 2.0),
    Row("at least", 3.0, "x", 2.0, at_least=True),
    Row("too few", 1.0, "x", 2.0, at_least=True),
)


def measured(quick: bool) -> Sequence[Row]:
    return ROWS[:1] if quick else ROWS


def test_json_is_one_object_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    run("trivial", measured, ["--json"])
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "rows": [
            {"name": "a number", "value": 1.234568, "unit": "s", "goal": None, "met": None},
            {"name": "reached", "value": 1, "unit": "ms", "goal": 2, "met": True},
            {"name": "missed", "value": 3.0, "unit": "%", "goal": 2.0, "met": False},
            {"name": "at least", "value": 3.0, "unit": "x", "goal": 2.0, "met": True},
            {"name": "too few", "value": 1.0, "unit": "x", "goal": 2.0, "met": False},
        ]
    }
    assert printed.out.count("\n") == 1
    assert printed.err == ""


def test_quick_reaches_the_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    run("trivial", measured, ["--json", "--quick"])
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 1


def test_the_table_says_which_goals_were_missed(capsys: pytest.CaptureFixture[str]) -> None:
    run("trivial", measured, [])
    printed = capsys.readouterr().out
    assert all(row.name in printed for row in ROWS)
    assert "2 of 4 goals missed: missed; too few" in printed
    run("trivial", measured, ["--quick"])
    assert "missed" not in capsys.readouterr().out


def test_the_names_are_those_of_runnable_modules() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "benchmarks"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert listed == list(names())
    assert {"footprint", "kit"} <= set(listed)
    for path in (ROOT / "benchmarks").glob("*.py"):
        is_command = 'if __name__ == "__main__":' in path.read_text(encoding="utf-8") and path.stem != "__main__"
        assert (path.stem in listed) == is_command, path.stem
