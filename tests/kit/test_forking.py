"""What each structure of the kit does in a process that was forked while others worked with it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
from memory_watchdog_kit import forking
from memory_watchdog_kit.forking import held_across_forks, renewed_in_child
from memory_watchdog_kit.locks import SharedLock
from memory_watchdog_kit.web.beside import Beside

from tests.kit.support.forkable import exit_code
from tests.kit.support.forking import STRUCTURES
from tests.support.wait import PATIENCE

# From Python 3.12 on a fork beside threads is warned of: it is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_server_that_forks_while_its_threads_work(structure: str, tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.kit.support.forking", structure, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complained = server.communicate(timeout=100 * PATIENCE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # a child that hangs, too
        server.communicate()
    assert (server.returncode, said.strip()) == (0, "as it should be"), complained


def test_a_fork_waits_for_a_lock_that_another_thread_holds() -> None:
    lock = held_across_forks(threading.Lock())
    state = {"half": False}
    over, began = threading.Event(), threading.Event()

    def change() -> None:
        while not over.is_set():
            with lock:
                state["half"] = True
                began.set()
                time.sleep(0.01)
                state["half"] = False
            time.sleep(0.001)  # a lock that is taken again at once may starve whoever waits

    thread = threading.Thread(target=change)
    thread.start()
    assert began.wait(20)
    try:
        for _ in range(5):
            assert in_child(lambda: not state["half"] and lock.acquire(timeout=0)) == 0
    finally:
        over.set()
        thread.join()
    assert lock.acquire(timeout=0), "the parent gives it back too"
    lock.release()


def test_readers_that_come_while_the_process_forks_do_not_lock_its_child() -> None:
    lock = SharedLock()
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            with lock.reading():
                pass

    def both_sides() -> bool:
        with lock.reading():
            pass
        with lock.writing():
            return True

    threads = [threading.Thread(target=read) for _ in range(6)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads are stopped everywhere: one fork in five found one inside of the condition
    for thread in threads:
        thread.start()
    try:
        for _ in range(40):
            assert in_child(both_sides) == 0
    finally:
        over.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
    with lock.writing():
        pass


def test_locks_that_are_taken_one_inside_the_other_do_not_stop_a_fork() -> None:
    locks = [held_across_forks(threading.Lock()) for _ in range(3)]
    over = threading.Event()

    def nest(order: list[threading.Lock]) -> None:
        while not over.is_set():
            with order[0]:
                time.sleep(0.0005)
                with order[1], order[2]:
                    pass
            time.sleep(0.0005)

    threads = [threading.Thread(target=nest, args=[order]) for order in [locks[::-1]] * 2]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert in_child(lambda: all(lock.acquire(timeout=0) for lock in locks)) == 0
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_a_thread_that_forks_while_it_holds_a_lock_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "PATIENCE_SECONDS", 0.1)
    lock = held_across_forks(threading.Lock())
    with lock:
        assert in_child(lock.locked) == 0
    assert not lock.locked()


def test_what_is_registered_is_not_kept_alive() -> None:
    class Renewing:
        def renew(self) -> None:
            raise AssertionError

    lock, renewing = held_across_forks(threading.Lock()), Renewing()
    renewed_in_child(renewing.renew)
    known = weakref.ref(lock), weakref.ref(renewing)
    del lock, renewing
    gc.collect()
    assert known[0]() is None
    assert known[1]() is None
    assert in_child(lambda: True) == 0


def test_calls_beside_the_loop_run_in_a_child_of_a_process_that_was_busy() -> None:
    beside: Beside[int] = Beside("mine", 1)
    over = threading.Event()
    first = beside.submit(lambda: int(over.wait(20)))
    waits = beside.submit(lambda: 2)
    assert in_child(lambda: beside.submit(lambda: 3).result(20) == 3) == 0
    over.set()
    assert (first.result(20), waits.result(20)) == (1, 2)


def in_child(check: Callable[[], bool]) -> int:
    """The exit status of a forked child that checks something; 0 where it is so, -9 where it hung."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return exit_code(pid, 30)
