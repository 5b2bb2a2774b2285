"""From the command to the first number on `/metrics`, with the options of the README and nothing else."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.support.target import free_port, running_target
from tests.support.wait import eventually
from tests.support.watchdog import ENVIRONMENT, PROGRAM, Metrics, fetch

GOAL_SECONDS = 1.5
BOUND_SECONDS = 10
"""What the goal is shows `benchmarks.footprint`; a machine that is busy with tests gets more."""


def test_the_first_observation_is_exported_soon(tmp_path: Path) -> None:
    port = free_port()
    options = ["--target.limit=1GB", f"--web.listen-address=127.0.0.1:{port}"]

    def seen() -> Metrics | None:
        try:
            metrics = Metrics.parsed(fetch(f"http://127.0.0.1:{port}/metrics").text)
        except OSError:
            assert process.poll() is None
            return None
        return metrics if metrics.value("target_used_bytes") else None

    with running_target() as target:
        started = time.monotonic()
        with subprocess.Popen(
            [*PROGRAM, "run", f"--target.url={target.url}", *options],
            env=ENVIRONMENT, cwd=tmp_path, stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            try:
                metrics = eventually(seen, BOUND_SECONDS + 10, "the first observation")
                took = time.monotonic() - started
                assert metrics is not None
                assert metrics.value("target_limit_bytes") == 10**9
                assert fetch(f"http://127.0.0.1:{port}/-/ready").status == 200
            finally:
                process.terminate()
                assert process.wait(10) == 0
    print(f"first observation after {took:.2f} s, goal {GOAL_SECONDS} s")
    assert took < BOUND_SECONDS
