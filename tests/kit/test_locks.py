"""The lock of many readers or one writer: who waits for whom, and that nobody waits for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from memory_watchdog_kit.locks import SharedLock

from tests.support.wait import eventually


@contextmanager
def held(side: Callable[[], AbstractContextManager[None]]) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A thread that takes a side and keeps it until the end or until `let_go`: (has it, let_go)."""
    has_it, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with side():
            has_it.set()
            assert let_go.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield has_it, let_go
    finally:
        let_go.set()
        thread.join()


def waiting(lock: SharedLock) -> int:
    """How many writers stand at the door."""
    return lock._waiting_writers


def test_readers_hold_it_together_and_a_writer_alone() -> None:
    lock = SharedLock()
    with held(lock.reading) as (first, _), held(lock.reading) as (second, _):
        assert first.wait(30)
        assert second.wait(30)
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.01)
    with held(lock.writing) as (first, _):
        assert first.wait(30)
        assert not lock.acquire(blocking=False)
    assert lock.acquire(blocking=False)
    lock.release()


def test_a_waiting_writer_goes_before_readers_that_come_later() -> None:
    lock = SharedLock()
    with held(lock.reading) as (reads, stop_reading):
        assert reads.wait(30)
        with held(lock.writing) as (writes, stop_writing):
            eventually(lambda: waiting(lock) == 1)
            with held(lock.reading) as (reads_later, _):
                assert not reads_later.wait(0.05)
                assert not writes.is_set()
                stop_reading.set()
                assert writes.wait(30)
                assert not reads_later.is_set()
                stop_writing.set()
                assert reads_later.wait(30)


def test_a_writer_that_gave_up_keeps_no_reader_out() -> None:
    lock = SharedLock()
    with held(lock.reading) as (reads, _):
        assert reads.wait(30)
        gave_up = threading.Thread(target=lock.acquire, kwargs={"timeout": 0.2})
        gave_up.start()
        eventually(lambda: waiting(lock) == 1)
        with held(lock.reading) as (reads_later, _):
            assert reads_later.wait(30)
        gave_up.join()


def test_it_is_given_back_when_the_body_raises() -> None:
    lock = SharedLock()
    for side in (lock.reading, lock.writing):
        with pytest.raises(KeyError), side():
            raise KeyError
    assert lock.acquire(blocking=False)
    lock.release()


def test_no_thread_is_inside_while_a_fork_holds_it() -> None:
    """Not even half-way: a mutex that another thread holds in the moment of a fork stays held in the child for ever."""
    lock = SharedLock()
    assert lock.acquire()
    assert not lock._mutex.acquire(blocking=False)
    lock.release()
    assert lock._mutex.acquire(blocking=False)
    lock._mutex.release()


@pytest.mark.parametrize("readers", [1, 4])
def test_what_it_protects_is_never_seen_half_changed(readers: int) -> None:
    lock = SharedLock()
    pair = [0, 0]
    broken: list[tuple[int, int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with lock.reading():
                first = pair[0]
                second = pair[1]
            if first != second:
                broken.append((first, second))

    def write() -> None:
        for _ in range(2_000):
            with lock.writing():
                pair[0] += 1
                pair[1] += 1

    reading = [threading.Thread(target=read) for _ in range(readers)]
    writing = [threading.Thread(target=write) for _ in range(2)]
    for thread in reading + writing:
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    for thread in reading:
        thread.join()
    assert broken == []
    assert pair == [4_000, 4_000]
