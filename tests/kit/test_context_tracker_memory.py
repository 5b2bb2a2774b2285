"""The context tracker's memory, measured on real processes: what it says against what the process grew by."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

MEASURE = """
import ctypes, gc, json, sys
from memory_watchdog_kit import ContextTracker, Level

LIBC = ctypes.CDLL(None)

def anonymous_bytes():
    gc.collect()
    LIBC.malloc_trim(0)
    with open("/proc/self/smaps_rollup") as rollup:
        return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Anonymous:"))

def load(tracker, numbers):
    for number in numbers:
        session = f"session {number % 7}" if number % 3 else None
        tracker.track_file_read(f"/src/package/module_{number}.py", f"{number} " * 200, {"language": "python"},
                                session_id=session)
        tracker.track_search(f"how does {number} work", [
            {"file_path": f"/src/package/module_{number + rank}.py", "score": 0.9 - rank / 100, "type": "code",
             "content": "x" * 2000} for rank in range(number % 13)], session_id=session)
"""


def measured(code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + code], capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_it_says_is_what_the_process_grew_by_and_what_goes_is_given_back() -> None:
    told = measured("""
load(ContextTracker(), range(50))  # imports, free lists, arenas
many = 100_000
tracker = ContextTracker(max_files=many, max_searches=many, max_events=many, max_bytes=2**30)
anonymous = [anonymous_bytes()]
said = [tracker.statistics().bytes]
load(tracker, range(12_000))
anonymous.append(anonymous_bytes()); said.append(tracker.statistics().bytes)
while tracker.statistics().items > 2_000:
    tracker.cleanup(Level.AGGRESSIVE)
anonymous.append(anonymous_bytes()); said.append(tracker.statistics().bytes)
print(json.dumps([anonymous, said]))
""")
    (start, full, left), (nothing, said_full, said_left) = told
    assert nothing == 0
    grown = full - start
    assert grown > 15 * 2**20
    assert abs(said_full - grown) <= 0.1 * grown, told
    assert said_left < said_full / 10
    assert left - start < grown / 4, told  # the allocator's arenas that a survivor pins stay


def test_under_an_endless_load_memory_is_flat() -> None:
    told = measured("""
tracker = ContextTracker()
load(tracker, range(1_000))
anonymous = [anonymous_bytes()]
for part in range(1, 6):
    load(tracker, range(part * 10_000, (part + 1) * 10_000))
    anonymous.append(anonymous_bytes())
print(json.dumps([anonymous, tracker.statistics().bytes, tracker.dropped().events]))
""")
    anonymous, said, dropped_events = told
    assert dropped_events > 100_000
    assert said < 2**20
    assert max(anonymous) - anonymous[0] < 2**20, anonymous
