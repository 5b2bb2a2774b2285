"""What the growth of real processes looks like: one for each cause, all watched by one watchdog."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.causes import KINDS
from tests.support.wait import eventually
from tests.support.watchdog import config, running_watchdog

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "component": "component semantic_cache grows",
    "leak": "no component explains it: a leak or an uncounted cache grows",
    "allocator": "freed but not returned: the allocator keeps it",
    "files": "file-backed memory grows",
    "calm": "it does not grow",
}


@contextmanager
def server(kind: str) -> Iterator[int]:
    """One of the servers, by its port."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.causes", kind],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(20)


def test_each_cause_is_named(tmp_path: Path) -> None:
    assert EXPECTED.keys() == KINDS.keys()
    with ExitStack() as stack:
        targets = [
            {
                "name": kind,
                "url": f"http://127.0.0.1:{stack.enter_context(server(kind))}",
                "measure": "rss" if kind == "files" else "anon",
                "limit": "8GiB",
                "stats": {"interval": "1s"},
            }
            for kind in EXPECTED
        ]
        watchdog = stack.enter_context(running_watchdog(tmp_path, config(None) | {"targets": targets}))

        def detail(kind: str) -> dict[str, Any]:
            answer: dict[str, Any] = json.loads(watchdog.get(f"/api/v1/targets/{kind}").body)
            return answer

        def told() -> dict[str, str]:
            return {kind: detail(kind)["cause"] or "" for kind in EXPECTED}

        def all_right() -> bool:
            return all(words in told()[kind] for kind, words in EXPECTED.items())

        try:
            eventually(all_right, seconds=60, what="the causes")
        except AssertionError:
            pytest.fail(f"the causes are {told()}")
        parts = {part["part"] for part in detail("component")["parts"]}
        assert parts == {"component semantic_cache", "component tracker", "allocator", "files", "unexplained"}
        series = 'memory_watchdog_target_unaccounted_growth_bytes_per_second{target="leak"} '
        (line,) = [line for line in watchdog.get("/metrics").text.splitlines() if line.startswith(series)]
        assert float(line.removeprefix(series)) > 1 << 20
