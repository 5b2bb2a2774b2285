"""Changes each threshold and each time of the alert rules in turn: `python -m tools.mutate_rules [ALERT …]`.

Covers: what is changed by how much, a run of `promtool test rules` for each, those that no test notices.
Leaves to others: the rules and their tests (`alerts`).

A mutant is judged by the tests of its own alert alone, beside the recording rules that it asks for and no others. The
case that is likely to notice comes first. All of them take 15 s of CPU time; whole groups by all cases took 80.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tools.monitoring_manifests import ROOT

ALERTS = ROOT / "alerts"
FIRES, BELOW, RESOLVES, SURVIVES = CASES = (
    "fires", "does not fire just below", "resolves", "survives one missed scrape",
)  # fmt: skip
"""The cases that each alert has tests of, by how their names begin."""

TIMES = {"for": FIRES, "keep_firing_for": RESOLVES}
AT_ONCE = 2
NEVER_ENDS = "MemoryWatchdogDeadMansSwitch"

GUARD = re.compile(r"/ \(last_over_time\([^()]*\) > 0\)")
"""What keeps a division from NaN: no limit is negative, so that there is nothing to be noticed between 0 and it."""

NUMBER = re.compile(r"(?<![\w.:\[])\d+(?:\.\d+)?(?![\w.:\]])")
RANGE = re.compile(r"\[(\d+)([smhd])\]")
DURATION = re.compile(r"(\d+)([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


Change = tuple[str, str, dict[str, Any]]
"""What is changed, the case that is likely to notice, and the changed rule."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule with one number changed, the rules that it needs beside it, and which case is likely to notice."""

    alert: str
    change: str
    likely: str
    rule: dict[str, Any]
    records: tuple[dict[str, Any], ...]


def rule_files() -> dict[str, list[dict[str, Any]]]:
    """The rules of each file, in their order."""
    files = {}
    for path in sorted(ALERTS.glob("*.yaml")):
        files[path.name] = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    return files


def mutants() -> Iterator[Mutant]:
    """All of them, alert by alert."""
    for rules in rule_files().values():
        for rule in rules:
            if "alert" not in rule:
                continue
            records = _needed(rule["expr"], [each for each in rules if "record" in each])
            step = _evaluation_seconds(rule["alert"])
            for change, likely, changed in (*_numbers(rule), *_ranges(rule, step), *_times(rule, step)):
                yield Mutant(rule["alert"], change, likely, changed, records)


def _needed(expr: str, records: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """The recording rules that an expression asks for, and those that they ask for."""
    needed: list[dict[str, Any]] = []
    for record in reversed(records):
        if any(record["record"] in text for text in (expr, *(each["expr"] for each in needed))):
            needed.insert(0, record)
    return tuple(needed)


def _numbers(rule: dict[str, Any]) -> Iterator[Change]:
    """Each number of the expression, a little lower and a little higher."""
    guarded = [range(*found.span()) for found in GUARD.finditer(rule["expr"])]
    for found in NUMBER.finditer(rule["expr"]):
        if any(found.start() in span for span in guarded):
            continue
        for other in _neighbours(found[0], is_count="round(" in rule["expr"]):
            expr = rule["expr"][: found.start()] + other + rule["expr"][found.end() :]
            likely = FIRES if float(other) > float(found[0]) else BELOW
            yield f"{found[0]} -> {other} in expr", likely, {**rule, "expr": expr}


def _neighbours(number: str, *, is_count: bool) -> tuple[str, str]:
    """Of a count the next ones; 0 has none below it but -1; else 2 % less and more."""
    if is_count:
        return str(int(number) - 1), str(int(number) + 1)
    if float(number) == 0:
        return "-1", "1.5"
    return f"{float(number) * 0.98:g}", f"{float(number) * 1.02:g}"


def _ranges(rule: dict[str, Any], step: int) -> Iterator[Change]:
    """Each range too short for a missed scrape. One of a whole step would take the sample at its very beginning."""
    for found in RANGE.finditer(rule["expr"]):
        short = f"[{step - 1}s]"
        expr = rule["expr"][: found.start()] + short + rule["expr"][found.end() :]
        yield f"{found[0]} -> {short} in expr", SURVIVES, {**rule, "expr": expr}


def _times(rule: dict[str, Any], step: int) -> Iterator[Change]:
    """`for` and `keep_firing_for` one evaluation shorter and longer, and some where there was none."""
    for key, likely in TIMES.items():
        seconds = _seconds(rule.get(key, "0s"))
        for other in (seconds - step, seconds + step):
            if other >= 0 and not (key == "keep_firing_for" and rule["alert"] == NEVER_ENDS):
                yield f"{key}: {seconds}s -> {other}s", likely, {**rule, key: f"{other}s"}


def _seconds(duration: str) -> int:
    return sum(int(count) * SECONDS[unit] for count, unit in DURATION.findall(duration))


def _evaluation_seconds(alert: str) -> int:
    return _seconds(_tests(alert)["evaluation_interval"])


def file_of_tests(alert: str) -> Path:
    """The file with the tests of an alert."""
    return ALERTS / "tests" / f"{alert}.yaml"


@cache
def _tests(alert: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file_of_tests(alert).read_text())
    return content


def is_noticed(mutant: Mutant, folder: Path) -> bool:
    """Does a test of the alert fail? Raises AssertionError where promtool does not get so far as to judge."""
    rules = [*mutant.records, mutant.rule]
    (folder / "rules.yaml").write_text(yaml.dump({"groups": [{"name": "mutant", "rules": rules}]}))
    tests = _tests(mutant.alert)
    groups = sorted(tests["tests"], key=lambda group: not group["name"].startswith(mutant.likely))
    return any(_fails({**tests, "rule_files": ["rules.yaml"], "tests": [group]}, folder, mutant) for group in groups)


def _fails(tests: dict[str, Any], folder: Path, mutant: Mutant) -> bool:
    (folder / "tests.yaml").write_text(yaml.dump(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", folder / "tests.yaml"], capture_output=True, text=True, timeout=60, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0 or "exp:" in said, f"{mutant.alert}, {mutant.change}: {said}"
    return done.returncode != 0


def unnoticed(wanted: list[Mutant]) -> list[Mutant]:
    """Those of the mutants that no test notices."""

    def judge(numbered: tuple[int, Mutant]) -> bool:
        folder = root / str(numbered[0])
        folder.mkdir()
        return is_noticed(numbered[1], folder)

    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(AT_ONCE) as pool:
        root = Path(name)
        judged = list(pool.map(judge, enumerate(wanted)))
    return [mutant for mutant, noticed in zip(wanted, judged, strict=True) if not noticed]


def main(names: list[str]) -> int:
    """Judge the mutants of the alerts that are named, else all; the exit status."""
    wanted = [mutant for mutant in mutants() if not names or mutant.alert in names]
    left = unnoticed(wanted)
    for mutant in left:
        print(f"no test notices {mutant.alert}: {mutant.change}")
    print(f"{len(wanted) - len(left)} of {len(wanted)} changes make a test fail")
    return 1 if left or not wanted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
