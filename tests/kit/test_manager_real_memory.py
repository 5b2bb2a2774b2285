"""The manager over real memory: what it says was reclaimed is what `statm` shows, under glibc and under jemalloc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

JEMALLOC = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "libjemalloc.so.2"

PROGRAM = """if True:
    import json, os, random
    from memory_watchdog_kit import MemoryManager, Statistics, release_in_steps

    def anonymous():
        with open("/proc/self/statm") as statm:
            resident, shared = map(int, statm.read().split()[1:3])
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE")

    rng = random.Random(1)
    class Pages:
        name = "pages"
        def __init__(self): self.kept, self.old = [], {}
        def fill(self):
            for number in range(15_000):  # 600 B and more: the allocator's, not pymalloc's
                self.old[number] = b"x" * rng.randrange(5_000, 15_000)
                if number % 20 == 0:
                    self.kept.append(b"y" * 600)  # so that no heap shrinks by itself
        def statistics(self): return Statistics(items=len(self.old))
        def cleanup(self, level, target_bytes):
            yield from release_in_steps(self.old, size_of=len)

    pages = Pages()
    manager = MemoryManager()
    manager.register(pages)
    fresh = anonymous()
    pages.fill()
    full = anonymous()
    report = manager.cleanup()
    print(json.dumps({
        "held": full - fresh,
        "fell": full - anonymous(),
        "reclaimed": report.reclaimed_bytes,
        "freed": report.components[0].cleaned.bytes_freed,
        "free": manager.report().allocator_free_bytes,
    }))
"""


@pytest.mark.parametrize("preload", [None, JEMALLOC], ids=["glibc", "jemalloc"])
def test_what_is_reclaimed_is_what_the_kernel_sees(preload: Path | None) -> None:
    assert preload is None or preload.exists(), f"{preload} is needed; tools/debian-packages installs it"
    environment = os.environ | ({} if preload is None else {"LD_PRELOAD": str(preload)})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, check=False, timeout=100, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["held"] > 120e6
    assert seen["freed"] > 120e6
    assert seen["reclaimed"] > 0.85 * seen["held"]
    assert seen["reclaimed"] == pytest.approx(seen["fell"], abs=4e6)
    assert seen["free"] < 0.1 * seen["held"]
