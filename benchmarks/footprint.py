"""What the watchdog itself costs: start, CPU, memory, scrape, end.

Every number is of a real `memory-watchdog run` beside the demo's server, read from outside: CPU and memory from /proc,
the rest by the clock. Each watchdog watches one target with statistics every 15 s and is scraped every 15 s.

`at rest` is interval 1 s with memory far below the first threshold, `at the floor` is memory so close below a
threshold that ticks come at min_interval, 100 ms. Each is measured with a limit that is given, which costs nothing to
read, and with `limit: auto`, which is read from the cgroup at every tick.

Growth cannot be seen in minutes at one tick a second: a page is 4 KiB, and allocators take memory in steps. So it is
measured on a watchdog whose ticks and scrapes come 50 times as fast, its statistics 15 times, and given per hour of
ticks at 1 s.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Watchdog, demo_server, watchdog
from benchmarks.report import Row, progress, run

SCRAPE_SECONDS = 15.0
SIDE_BY_SIDE = 50
FAST = 50
"""How many times as fast the watchdog whose growth is measured ticks, asks and is scraped."""

WARM_UP_SHARE = 0.4
"""The part of the window in which caches of the interpreter and its libraries may still fill."""

_GROWTH_GOAL_MIB_PER_HOUR = 0.5
"""0.4 MiB is the history of an hour, which is bounded; a leak of 100 bytes a tick would be 0.34 on top of it."""

# Sizes, not shares of the limit: then the distance to the threshold, and so the interval, is the same with every limit.
_CONFIG = """\
targets:
  - name: demo
    url: http://127.0.0.1:{port}
    limit: {limit}
    interval: {interval}
    min_interval: {min_interval}
    stats: {{interval: {stats_interval}}}
    levels:
      - {{name: normal, enter: {enter}, exit: 90MB, cleanup: {{path: /memory/cleanup}}}}
      - {{name: aggressive, enter: 7GB, exit: 6GB, cleanup: {{path: /memory/cleanup}}}}
"""
_FAR, _NEAR = "6GB", "100MB"


@dataclass(slots=True)
class Watched:
    """A watchdog under measurement."""

    watchdog: Watchdog
    scrape_every: float = SCRAPE_SECONDS
    next_scrape: float = 0.0
    cpu_from: float = 0.0
    cpu_percent: float = 0.0
    scrape_seconds: list[float] = field(default_factory=list)
    resident: list[tuple[float, int]] = field(default_factory=list)


def _config(port: int, *, limit: str = "8GB", enter: str = _FAR, faster: int = 1) -> str:
    return _CONFIG.format(
        port=port,
        limit=limit,
        enter=enter,
        interval=f"{1000 // faster}ms",
        min_interval=f"{min(100, 1000 // faster)}ms",
        stats_interval=f"{max(1000, 15000 // faster)}ms",  # never more often than once a second
    )


def first_observation_seconds(started: Watchdog) -> float:
    """From exec to a scrape that shows an observation."""
    while started.observed_at() is None:
        pass  # a scrape takes a few milliseconds: that is the resolution
    return time.monotonic() - started.started_at


def watch(all_watched: Sequence[Watched], seconds: float) -> None:
    """Let them run for `seconds`, scrape them, and note CPU and memory."""
    started = time.monotonic()
    for watched in all_watched:
        watched.cpu_from = watched.watchdog.cpu_seconds()
        watched.next_scrape = started + watched.scrape_every / 2
    next_look = started
    while (now := time.monotonic()) < started + seconds:
        if now >= next_look:
            next_look += 0.5
            for watched in all_watched:
                watched.resident.append((now - started, watched.watchdog.resident_bytes()))
        for watched in all_watched:
            if now >= watched.next_scrape:
                watched.next_scrape += watched.scrape_every
                watched.scrape_seconds.append(watched.watchdog.scrape()[1])
        due = min(next_look, *(watched.next_scrape for watched in all_watched), started + seconds)
        time.sleep(max(0.0, due - time.monotonic()))
    lasted = time.monotonic() - started
    for watched in all_watched:
        watched.cpu_percent = 100 * (watched.watchdog.cpu_seconds() - watched.cpu_from) / lasted


def ticks_per_second(watched: Watched, seconds: float) -> float:
    """How often it looks at its target; close below a threshold a glance at one number comes every `min_interval`."""
    seen: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        at = watched.watchdog.observed_at()
        if at is not None and at not in seen[-1:]:
            seen.append(at)
        time.sleep(0.01)
    return (len(seen) - 1) / (seen[-1] - seen[0]) if len(seen) > 1 else 0.0


def scrape_side_by_side(watched: Watchdog) -> None:
    """SIDE_BY_SIDE scrapes at the same time."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        for scrape in [threads.submit(watched.scrape) for _ in range(SIDE_BY_SIDE)]:
            scrape.result()


def growth_mib_per_hour(watched: Watched, seconds: float) -> float:
    """Growth per 3600 ticks: median of the last fifth of the window less that of the first fifth after the warm-up."""
    fifth = seconds / 5
    begin = seconds * WARM_UP_SHARE
    first = statistics.median(size for at, size in watched.resident if begin <= at < begin + fifth)
    last = statistics.median(size for at, size in watched.resident if at >= seconds - fifth)
    ticks = FAST * (seconds - fifth - begin)  # between the middles of the two fifths
    return (last - first) / 2**20 / ticks * 3600


def measure(quick: bool) -> list[Row]:
    """All of it; 40 s quick, 2.5 minutes in full."""
    window = 30.0 if quick else 120.0
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memory-watchdog-footprint-")))
        port = stack.enter_context(demo_server())
        progress("starts")
        starts: list[float] = []

        def start(config: str, scrape_every: float = SCRAPE_SECONDS) -> Watched:
            started = stack.enter_context(watchdog(config, folder))
            starts.append(first_observation_seconds(started))
            return Watched(started, scrape_every)

        for _ in range(0 if quick else 10):
            start(_config(port)).watchdog.terminate()
        rest, rest_auto = start(_config(port)), start(_config(port, limit="auto"))
        floor, floor_auto = start(_config(port, enter=_NEAR)), start(_config(port, limit="auto", enter=_NEAR))
        fast = start(_config(port, faster=FAST), SCRAPE_SECONDS / FAST)
        everyone = (rest, rest_auto, floor, floor_auto, fast)
        progress(f"{window:g} s of watching")
        watch(everyone, window)
        rate = ticks_per_second(floor, 1.0 if quick else 5.0)
        scrape_side_by_side(rest.watchdog)
        crowded = rest.watchdog.resident_bytes()
        stops = [watched.watchdog.terminate() for watched in everyone]
    scrapes = [seconds for watched in (rest, rest_auto, floor, floor_auto) for seconds in watched.scrape_seconds]
    return [
        Row("start to first exported observation, median", statistics.median(starts), "s", 1.5),
        Row("CPU at rest, interval 1 s, limit given", rest.cpu_percent, "% of a core", 0.5),
        Row("CPU at rest, interval 1 s, limit auto", rest_auto.cpu_percent, "% of a core", 0.5),
        Row("CPU at the floor, 100 ms, limit given", floor.cpu_percent, "% of a core"),
        Row("CPU at the floor, 100 ms, limit auto", floor_auto.cpu_percent, "% of a core"),
        Row("looks at the floor, with glances between them", rate, "1/s"),
        Row("resident memory, largest of five", max(w.resident[-1][1] for w in everyone) / 2**20, "MiB", 64),
        Row(f"resident memory after {SIDE_BY_SIDE} scrapes side by side", crowded / 2**20, "MiB", 64),
        Row(
            f"memory growth, {FAST} times as fast, per hour of 1 s ticks",
            growth_mib_per_hour(fast, window),
            "MiB/h",
            _GROWTH_GOAL_MIB_PER_HOUR,
        ),
        Row("scrape, median", statistics.median(scrapes) * 1000, "ms"),
        Row("end after SIGTERM, slowest", max(stops), "s", 2.0),
    ]


if __name__ == "__main__":
    run("What the watchdog itself costs", measure)
