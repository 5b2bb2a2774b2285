"""A real Prometheus on a free port, with a past of its own making."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.target import free_port
from tests.support.wait import eventually
from tests.support.watchdog import fetch


def backfill(folder: Path, openmetrics: str) -> None:
    """Write samples with timestamps as blocks of the database in `folder`/data."""
    source = folder / "past.om"
    source.write_text(openmetrics)
    done = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", source, folder / "data"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@contextmanager
def running_prometheus(folder: Path, config: str = "", *options: str) -> Iterator[str]:
    """Prometheus over `folder`/data; its address."""
    (folder / "prometheus.yml").write_text(config or "scrape_configs: []\n")
    port = free_port()
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y",
                "--storage.tsdb.allow-overlapping-blocks", "--log.level=warn",
                *options,
            ],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, (folder / "prometheus.log").read_text()
        try:
            return fetch(f"{url}/-/ready").status == 200
        except OSError:
            return False

    try:
        eventually(ready, seconds=40, what="Prometheus")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
