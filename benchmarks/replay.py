"""`benchmarks.replay`: how long a month of looks at 15 s takes, as it was and under other settings.

Covers: reading, deciding again, other settings, suggesting. Leaves to others: whether it is right (the tests).

The recording is made here: growth with noise, a cleanup an hour, 172,800 looks (`--quick`: 10,000, whose times are
scaled up). Its decisions must come again bit for bit, or there is no number.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from memory_watchdog.observation import (
    Limit,
    LimitSource,
    Measure,
    Observation,
    Outcome,
    OutcomeKind,
    ProcessIdentity,
    ProcessMemory,
    Reason,
    Unavailable,
)
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.policy.settings import LadderSettings, LevelSettings
from memory_watchdog.quantities import Percent
from memory_watchdog.recording.lines import VERSION, Checkpoint, Step, encode
from memory_watchdog.recording.reader import read
from memory_watchdog.replay.model import with_settings
from memory_watchdog.replay.suggest import suggest
from memory_watchdog.replay.tape import tapes

from benchmarks.report import BenchmarkError, Row, progress, run

MONTH_LOOKS, QUICK_LOOKS = 172_800, 10_000
EVERY_SECONDS = 15.0
LIMIT = Limit(8 * 2**30, LimitSource.CGROUP)
SETTINGS = LadderSettings(
    (
        LevelSettings("normal", Percent(75), Percent(70), sustain_seconds=10),
        LevelSettings("aggressive", Percent(87.5), Percent(80), cooldown_seconds=30),
    )
)
LATER = replace(SETTINGS, levels=(replace(SETTINGS.levels[0], enter=Percent(80)), SETTINGS.levels[1]))


def record(path: Path, looks: int) -> None:
    """A server that fills up in an hour and is cleaned."""
    pick, share, ladder = random.Random(1), 40.0, Ladder(SETTINGS, "bench")
    identity = ProcessIdentity(4242, 1)
    with path.open("wb") as file:
        file.write(encode(Checkpoint(VERSION, "server", "boot", 0.0, 1.79e9, SETTINGS, ladder.state, ladder.outlook)))
        for number in range(looks):
            at = number * EVERY_SECONDS
            share = min(95.0, share + pick.gauss(0.14, 0.2))
            used = int(LIMIT.bytes * share / 100)
            unknown = Unavailable(Reason.NOT_CONFIGURED)
            memory = ProcessMemory(used, used, 3, 0, 0, 0, unknown)
            seen = Observation(at, Measure.UNRECLAIMABLE, used, LIMIT, identity, memory, unknown)
            decision = ladder.step(seen, at + 0.01)
            file.write(encode(Step("server", at + 0.01, seen, decision)))
            if decision is not None:
                share -= 30
                outcome = Outcome(decision.request_id, OutcomeKind.DONE, 2.0)
                file.write(encode(Step("server", at + 2.0, outcome, ladder.step(outcome, at + 2.0))))


def measure(quick: bool) -> Sequence[Row]:
    """The rows."""
    looks = QUICK_LOOKS if quick else MONTH_LOOKS
    scale = MONTH_LOOKS / looks
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "month.jsonl"
        progress("recording …")
        record(path, looks)
        size = path.stat().st_size
        progress("replaying …")
        started = time.perf_counter()
        tape = tapes(read(path))["server"]
        again = time.perf_counter() - started
        if tape.differing or len(tape.looks) != looks:
            raise BenchmarkError("the recording does not give its own decisions again")
        started = time.perf_counter()
        with_settings(tape, LATER)
        other = time.perf_counter() - started
        progress("suggesting …")
        started = time.perf_counter()
        suggest(tape, SETTINGS)
        suggested = time.perf_counter() - started
    note = ", from 10,000 looks" if quick else ""
    return [
        Row(f"replay of a month at 15 s, bit for bit{note}", again * scale, "s", 30),
        Row(f"the same under other settings, besides{note}", other * scale, "s"),
        Row("both", (again + other) * scale, "s", 30),
        Row("--suggest, besides" + (" (of these looks)" if quick else ""), suggested, "s"),
        Row("size of the recording", size * scale / 2**20, "MiB"),
        Row("CPUs here", os.cpu_count() or 0, ""),
    ]


if __name__ == "__main__":
    run("Replay", measure)
