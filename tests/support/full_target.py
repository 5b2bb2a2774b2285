"""A target of which everything is known, as the real collector shows it: what takes minutes, or a cgroup of version 2.

Covers: one snapshot with a value for every family, served as `/metrics` on a free port.
Leaves to others: how a watchdog comes to know it (`scenarios`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from memory_watchdog.counters import Counters
from memory_watchdog.ledger import Snapshot, Standing, Statistics
from memory_watchdog.observation import (
    CgroupMemory,
    Component,
    Limit,
    LimitSource,
    Measure,
    Observation,
    ProcessIdentity,
    ProcessMemory,
    ServerReport,
)
from memory_watchdog.policy.causes import Picture, Split
from memory_watchdog.policy.thresholds import Edges
from memory_watchdog.web.metrics import ReloadState, WatchdogCollector, registry_of
from prometheus_client import generate_latest

MIB = 1 << 20
WALL = 1.79e9


def everything(name: str) -> Snapshot:
    """A target of 150 MiB of 200, growing."""
    counters = Counters()
    counters.know(["normal", "aggressive"], ["normal", "aggressive"], statistics=True)
    report = ServerReport(answered_at=9.0, components=(Component("semantic_cache", bytes=60 * MIB, items=1),))
    seen = Observation(
        taken_at=10.0,
        measure=Measure.ANON,
        used=150 * MIB,
        limit=Limit(200 * MIB, LimitSource.CGROUP),
        identity=ProcessIdentity(7, 700),
        memory=ProcessMemory(160 * MIB, 150 * MIB, 1, 0, 0, 0, 155 * MIB),
        report=report,
        cgroup=CgroupMemory(180 * MIB, 150 * MIB, 0, 2_000_000, 1_000_000),
    )
    standing = Standing(
        level="normal",
        levels=("normal", "aggressive"),
        edges=(Edges(110 * MIB, 90 * MIB), Edges(160 * MIB, 140 * MIB)),
        cooldown_seconds={"normal": 60.0, "aggressive": 30.0},
        budget_remaining=29,
        growth_bytes_per_second=1e5,
        time_to_limit_seconds=500.0,
        picture=Picture(
            Split(150 * MIB, {"semantic_cache": 60 * MIB}, 0, 0, True), unaccounted_growth_bytes_per_second=1e5
        ),
    )
    return Snapshot(
        name=name,
        measure=Measure.ANON,
        process_view="process",
        seen=seen,
        seen_wall=WALL,
        start_time_seconds=WALL - 900,
        up=True,
        standing=standing,
        statistics=Statistics(True, 0.01, report, WALL),
        peak_bytes=155 * MIB,
        trough_bytes=120 * MIB,
        tick_duration_seconds=0.001,
        counters=counters,
    )


@contextlib.contextmanager
def serving_everything(name: str) -> Iterator[str]:
    """The address where it can be scraped."""
    snapshot = everything(name)
    state = ReloadState(successful=True, success_wall=WALL)
    registry = registry_of(WatchdogCollector(lambda: [replace(snapshot)], lambda: 0, lambda: state))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = generate_latest(registry)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
