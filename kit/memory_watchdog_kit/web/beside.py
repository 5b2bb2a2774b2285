"""Blocking calls in threads of their own, for an event loop that must go on.

Covers: at most so many at once, the others in order; none of them holds up the end of the process.
Leaves to others: what is called (`endpoints`).

Not `asyncio.to_thread`: the server's own work may have filled that pool, and a memory endpoint is asked exactly then.
Not `ThreadPoolExecutor`: at exit Python waits for its threads, and a cleanup may hang. A thread here ends when nothing
is left to do, so a server that is asked every 15 s has none between; starting one takes 0.1 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from memory_watchdog_kit.forking import held_across_forks, renewed_in_child

T = TypeVar("T")


class Beside(Generic[T]):
    """Runs calls in daemon threads, `max_threads` at the most."""

    def __init__(self, name: str, max_threads: int) -> None:
        self._name = name
        self._max_threads = max_threads
        self._threads = 0
        self._waiting: deque[tuple[Future[T], Callable[[], T]]] = deque()
        self._lock = held_across_forks(threading.Lock())
        renewed_in_child(self._renew)

    def _renew(self) -> None:
        """In a forked child, where none of the threads is, nor those who wait for them."""
        self._threads = 0
        self._waiting.clear()

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. If the caller is cancelled, the call runs on, or still will."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()

        def tell(future: Future[T]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, ended, future)

        self.submit(call).add_done_callback(tell)
        return await ended

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """The same for a thread that waits."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.append((future, call))
            if self._threads == self._max_threads:
                return future
            self._threads += 1
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as error:  # the system has no thread for us: a running one takes the call, else it fails
            with self._lock:
                self._threads -= 1
                if self._threads == 0 and (future, call) in self._waiting:
                    self._waiting.remove((future, call))
                    future.set_exception(error)
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                future, call = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it, whatever it is
                future.set_exception(error)
            else:
                future.set_result(result)


def _settle(ended: asyncio.Future[T], future: Future[T]) -> None:
    if ended.done():
        return  # the caller was cancelled
    error = future.exception()
    if error is not None:
        ended.set_exception(error)
    else:
        ended.set_result(future.result())
