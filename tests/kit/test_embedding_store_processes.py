"""The embedding store in processes that are killed, forked, end without closing it, or whose disk is full."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from memory_watchdog_kit import EmbeddingStore

from tests.support import embedding_filler, embedding_writer

MiB = 1 << 20


def killed_at(folder: Path, first: int, lines: int, max_bytes: int) -> int:
    """Start the writer, kill it after so many lines; the last number that it said."""
    command = [sys.executable, "-P", embedding_writer.__file__, str(folder), str(first), str(max_bytes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline(), "the writer ended by itself"
        process.kill()
        rest = process.stdout.read().splitlines()
    said = [line for line in rest if line]
    # The pipe may hold the beginning of a last line.
    return max(first + lines - 1, *(int(line) for line in said[:-1]), first)


def check(folder: Path, lasts: list[int], max_bytes: int) -> None:
    """Everything but the last batch of each process is there, whole, within the bounds."""
    evicts = max_bytes < 8 * MiB
    lost = {number for last in lasts for number in range(last - embedding_writer.BATCH_ITEMS + 1, last + 2)}
    # With evictions what was put last is there; without, all that no later vector has replaced.
    since = max(0, lasts[-1] - (400 if evicts else embedding_writer.ROOM - 100))
    with EmbeddingStore(folder, max_bytes=max_bytes) as store:
        for number in range(since, lasts[-1] + 2):
            got = store.get(embedding_writer.key(number))
            if got is None or got[0] != number:
                assert number in lost, f"{number} is lost, the processes came to {lasts}"
                # What was under this key before, or nothing.
                assert got is None or got[0] % embedding_writer.ROOM == number % embedding_writer.ROOM
            if got is not None:
                assert got.tobytes() == embedding_writer.vector(int(got[0])).tobytes()
        statistics = store.statistics()
        assert (statistics.damaged_rows, statistics.files_set_aside, statistics.failures) == (0, 0, 0)
        assert statistics.disk_bytes <= max_bytes
    connection = sqlite3.connect(folder / "embeddings.sqlite3")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    (orphans,) = connection.execute("SELECT (SELECT count(*) FROM entry) - (SELECT count(*) FROM embedding)").fetchone()
    connection.close()
    assert orphans == 0


def kill_again_and_again(tmp_path: Path, kills: int, seed: int) -> None:
    rng = random.Random(seed)
    for max_bytes in (64 * MiB, 4 * MiB):
        lasts: list[int] = []
        for _ in range(kills // 2):
            first = lasts[-1] + 1 if lasts else 0
            lines = rng.choice([1, 40, 400, 4000]) + rng.randrange(300)
            lasts.append(killed_at(tmp_path / str(max_bytes), first, lines, max_bytes))
            check(tmp_path / str(max_bytes), lasts, max_bytes)


def test_kill_9_loses_at_most_the_last_batch(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, kills=8, seed=1)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_kill_9_a_hundred_times(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, kills=100, seed=2)


def run(program: str) -> str:
    # From Python 3.12 on os.fork warns where there are threads; what comes of it is what is tested.
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_process_that_ends_without_closing_loses_nothing(tmp_path: Path) -> None:
    run(
        "import numpy as np; from memory_watchdog_kit import EmbeddingStore\n"
        f"store = EmbeddingStore({str(tmp_path / 'store')!r}, batch_seconds=1000)\n"
        "store.put('key', np.ones(768, np.float32))"
    )
    with EmbeddingStore(tmp_path / "store") as store:
        assert store.get("key") is not None


FORKS = """
import os, sys
import numpy as np
from memory_watchdog_kit import EmbeddingStore, StoreError
store = EmbeddingStore({folder!r}, batch_seconds=1000)
store.put("key", np.ones(768, np.float32))
store._lock.acquire()  # as if another thread held it at that moment
pid = os.fork()
if pid == 0:
    for call in (lambda: store.get("key"), lambda: store.put("key", np.ones(1)), store.flush, store.statistics,
                 lambda: next(store.cleanup("normal", None)), lambda: store.delete("key"),
                 lambda: EmbeddingStore({folder!r})):
        try:
            call()
        except StoreError as error:
            print(error, flush=True)
    store.close()
    sys.exit()
store._lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
store.put("more", np.ones(768, np.float32))
store.close()
with EmbeddingStore({folder!r}) as store:
    print(store.statistics().items)
"""


def test_a_forked_child_is_told_and_does_no_harm(tmp_path: Path) -> None:
    *told, opened, items = run(FORKS.format(folder=str(tmp_path / "store"))).splitlines()
    assert len(told) == 6
    assert all("open one after the fork" in line for line in told)
    assert opened.endswith("is already open in this process")
    assert items == "2"


def test_a_worker_that_outlives_a_killed_server_does_not_keep_the_next_one_out(tmp_path: Path) -> None:
    program = (
        "import os, sys, time; from memory_watchdog_kit import EmbeddingStore\n"
        f"store = EmbeddingStore({str(tmp_path / 'store')!r})\n"
        "pid = os.fork()\n"
        "if pid == 0: sys.stdin.read(); os._exit(0)\n"
        "print(pid, flush=True); time.sleep(1000)"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.kill()
        process.wait()
        assert Path(f"/proc/{worker}").exists()
        EmbeddingStore(tmp_path / "store").close()
    # Closing its standard input has ended the worker.


BEGINS_WITHOUT_ROOM = """
import resource
import numpy as np
from memory_watchdog_kit import EmbeddingStore
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
with EmbeddingStore({folder!r}) as store:
    assert store.put("key", np.ones(768, np.float32))
    assert store.get("key") is not None  # it waits
    assert not store.flush()
    assert store.get("key") is None
    assert store.statistics().failures >= 2
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert store.put("key", np.ones(768, np.float32))
    assert store.flush()
    assert store.get("key") is not None
    print(store.statistics().items)
"""


def test_it_can_begin_on_a_full_disk(tmp_path: Path) -> None:
    program = BEGINS_WITHOUT_ROOM.format(folder=str(tmp_path / "store"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"


def filled(command: list[str], folder: Path, limit: int) -> dict[str, object]:
    command = [*command, sys.executable, "-P", embedding_filler.__file__, str(folder), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    warnings = done.stderr.splitlines()
    assert 1 <= len(warnings) <= 2  # one a minute
    assert all("failed, what it was about is lost" in line for line in warnings)
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


def judge(report: dict[str, object]) -> None:
    assert report["flushed"] is False
    assert isinstance(report["failures"], int)
    assert report["failures"] > 0
    assert report["set_aside"] == 0
    assert isinstance(report["readable"], int)
    assert 200 < report["readable"] < embedding_filler.COUNT
    assert report["stale"] == []
    assert report["recovered"] is True
    assert report["new"] is True


def test_a_file_that_may_not_grow_is_a_counted_failure(tmp_path: Path) -> None:
    judge(filled([], tmp_path / "store", 6 * MiB))


def test_a_full_disk_is_a_counted_failure(tmp_path: Path) -> None:
    small = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=12m none {tmp_path}"
    if subprocess.run([*small, mount], check=False, capture_output=True).returncode != 0:
        pytest.skip("the kernel lets nobody mount a small disk here")
    judge(filled([*small, f'{mount} && exec "$@"', "sh"], tmp_path / "store", 0))
