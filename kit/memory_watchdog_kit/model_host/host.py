"""Embedding models, each in a process of its own, so that unloading one gives all its memory back.

Covers: the public face: checking what is asked and what is answered, statistics, cleanup, what a forked child gets.
Leaves to others: asking (`requests`), who is loaded (`roster`), processes (`keeper`, `forkserver`, `worker`).

Why processes: after importing torch and dropping a 745 MB model, 232 to 624 MB stay with the process; only its end
gives them back. A worker costs 33 to 82 ms to start and 3 MB of its own, because it is forked from a process that has
imported the library already.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from memory_watchdog_kit.component import Cleaned, Level, Statistics
from memory_watchdog_kit.forking import renewed_in_child
from memory_watchdog_kit.model_host import wire
from memory_watchdog_kit.model_host.errors import ModelFailed
from memory_watchdog_kit.model_host.keeper import Keeper
from memory_watchdog_kit.model_host.memory import own_bytes
from memory_watchdog_kit.model_host.requests import Requests
from memory_watchdog_kit.model_host.roster import GRACE_SECONDS
from memory_watchdog_kit.model_host.spec import LONGEST_SECONDS, Limits, ModelSpec
from memory_watchdog_kit.model_host.workers import Worker

_UNLOAD_SECONDS = GRACE_SECONDS + 3.0


class ModelHost:
    """Runs each of `models` in a process of its own and asks it for vectors. A `Component`; safe from any thread.

    A worker is started when its model is first wanted, and answers one request at a time. At most `max_loaded` exist:
    the least recently used idle one ends when another model is wanted; while all are busy, requests wait, in the order
    in which they came, each until its own deadline. A worker that was not used for `idle_unload_seconds` ends.

    `request_timeout_seconds` is a request's time from the call on, waiting and loading included; `embed` takes another.
    A worker that has worked on one request for the whole of that time is taken to be stuck and ended. Loading has
    `load_timeout_seconds`, and goes on when the request that wanted it has given up.

    A worker that ends unasked is an error for the request that it worked on, or for those that waited for it to load.
    It is started again for the next one, after `backoff_seconds`, doubled each time that it ends so without having
    answered in between, up to `max_backoff_seconds`; a request whose deadline is nearer fails at once.

    `preload` names modules that are imported before the workers are forked ("torch"), so that they start at once and
    share that memory. They must not start threads. What the models print goes to the log as warnings.

    In a process that was forked from this one the host is empty and starts processes of its own.

    Raises ValueError where an argument makes no sense.
    """

    def __init__(  # noqa: PLR0913 - each limit is a keyword with its unit in the name
        self,
        models: Mapping[str, ModelSpec],
        *,
        max_loaded: int = 2,
        idle_unload_seconds: float = 300.0,
        request_timeout_seconds: float = 60.0,
        load_timeout_seconds: float = 120.0,
        backoff_seconds: float = 0.5,
        max_backoff_seconds: float = 30.0,
        max_request_bytes: int = 64 * 2**20,
        max_answer_bytes: int = 256 * 2**20,
        preload: Sequence[str] = (),
        name: str = "models",
    ) -> None:
        self._limits = Limits(
            max_loaded=max_loaded,
            idle_unload_seconds=idle_unload_seconds,
            request_timeout_seconds=request_timeout_seconds,
            load_timeout_seconds=load_timeout_seconds,
            backoff_seconds=backoff_seconds,
            max_backoff_seconds=max_backoff_seconds,
            max_request_bytes=max_request_bytes,
            max_answer_bytes=max_answer_bytes,
        )
        if isinstance(preload, str):
            raise ValueError("preload is a text: it must be a list of modules")
        self._name = name
        self._loads = {
            model: wire.encode_load(wire.Load(model, spec.factory, spec.arguments, max_answer_bytes))
            for model, spec in models.items()
        }
        self._numbers = itertools.count(1)
        self._dimensions: dict[str, int] = {}
        self._requests = Requests(name, self._limits, self._loads, tuple(preload))
        atexit.register(self.close)
        renewed_in_child(self._renew)

    @property
    def name(self) -> str:
        """What it is called in statistics, metrics and logs."""
        return self._name

    def embed(self, model: str, texts: Sequence[str], timeout_seconds: float | None = None) -> NDArray[np.float32]:
        """The vectors of n texts: float32 of shape (n, d), finite. Without texts, nobody is asked: shape (0, d).

        Raises ModelTimeout, ModelCrashed, ModelFailed and ModelHostClosed, all of them ModelError; KeyError for a model
        that there is not, TypeError for texts that are none, ValueError for more than `max_request_bytes` and for a
        timeout that is no number of seconds; one that is 0 or less has passed.
        """
        if model not in self._loads:
            raise KeyError(f"no model {model!r}; there are {', '.join(sorted(self._loads))}")
        listed = list(texts)
        if isinstance(texts, str) or not all(isinstance(text, str) for text in listed):
            raise TypeError("texts must be a sequence of str")
        timeout = self._limits.request_timeout_seconds if timeout_seconds is None else timeout_seconds
        if not timeout <= LONGEST_SECONDS:
            raise ValueError(f"timeout_seconds is {timeout}: it must be a number up to {LONGEST_SECONDS:g}")
        if not listed:
            return np.empty((0, self._dimensions.get(model, 0)), np.float32)
        request = wire.Embed(next(self._numbers), listed)
        message = wire.encode_embed(request)
        if len(message) > self._limits.max_request_bytes:
            raise ValueError(
                f"the texts take {len(message)} bytes, at most {self._limits.max_request_bytes} are allowed"
            )
        return self._checked(model, len(listed), self._requests.ask(model, request.number, message, timeout))

    def embedder(self, model: str) -> Callable[[Sequence[str]], NDArray[np.float32]]:
        """`embed` of one model: what `SemanticCache` takes as `embedding_model`. Raises KeyError."""
        if model not in self._loads:
            raise KeyError(f"no model {model!r}; there are {', '.join(sorted(self._loads))}")
        return functools.partial(self.embed, model)

    def unload(self, model: str) -> bool:
        """End the idle worker of `model` and wait until it is gone; False where it is not loaded or busy. KeyError."""
        if model not in self._loads:
            raise KeyError(f"no model {model!r}; there are {', '.join(sorted(self._loads))}")
        with self._requests.lock:
            worker = self._requests.roster.worker_of(model)
        return worker is not None and self._unload(worker).items_removed == 1

    def loaded(self) -> tuple[str, ...]:
        """The models that are loaded, least recently used first; one that works is used now."""
        with self._requests.lock:
            return tuple(worker.model for worker in self._requests.roster.loaded())

    def statistics(self) -> Statistics:
        """`bytes` is what the processes have for themselves: resident − shared from /proc/PID/statm, 30 µs each.

        Of the forkserver all, of each worker what it did not inherit from the forkserver. In the sidecar's view these
        are children of the server: this says what a part of the tree's memory is for. `items` are loaded models, a hit
        is a request that found its model loaded, `evictions` were unloaded to make room, by a cleanup or by `unload`,
        `expirations` after `idle_unload_seconds`; `refill_seconds` is the mean of the loads so far.
        """
        with self._requests.lock:
            sizes = [(worker.pid, worker.inherited_bytes) for worker in self._requests.roster.workers()]
            items = len(self._requests.roster.loaded())
            counters = self._requests.roster.counters
            numbers = (counters.hits, counters.misses, counters.evictions, counters.expirations)
            refill_seconds = counters.load_seconds / counters.loads if counters.loads else None
            keeper = self._requests.keeper
        if keeper is not None:
            sizes.append((keeper.forkserver_pid, 0))
        known = [own_bytes(pid, inherited) for pid, inherited in sizes if pid is not None]
        total = None if None in known else sum(size for size in known if size is not None)
        hits, misses, evictions, expirations = numbers
        return Statistics(
            bytes=total,
            items=items,
            max_items=self._limits.max_loaded,
            hits=hits,
            misses=misses,
            evictions=evictions,
            expirations=expirations,
            refill_seconds=refill_seconds,
        )

    def cleanup(self, level: Level, target_bytes: int | None) -> Iterator[Cleaned]:
        """Unload idle models, least recently used first: all but the last used, or aggressively all.

        Each step waits for a process to be gone, and its bytes are what that process had. The aggressive one then ends
        the forkserver too, if nothing is loaded any more: the next start imports what is to be preloaded again.
        """
        freed = 0
        with self._requests.lock:
            candidates = self._requests.roster.loaded()
        if level is Level.NORMAL:
            candidates = candidates[:-1]
        for worker in candidates:
            if target_bytes is not None and freed >= target_bytes:
                return
            cleaned = self._unload(worker)
            freed += cleaned.bytes_freed
            yield cleaned
        keeper = self._requests.keeper
        if level is Level.AGGRESSIVE and keeper is not None and (target_bytes is None or freed < target_bytes):
            yield Cleaned(bytes_freed=self._retire(keeper))

    def close(self) -> None:
        """End all processes; requests that wait or are worked on raise ModelHostClosed. Again: nothing."""
        self._requests.close()
        atexit.unregister(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _checked(self, model: str, rows: int, answer: wire.Vectors | wire.Failed) -> NDArray[np.float32]:
        if isinstance(answer, wire.Failed):
            raise ModelFailed(answer.error_type, answer.message)
        array = answer.array
        columns = self._dimensions.setdefault(model, array.shape[1])
        if array.shape != (rows, columns):
            raise ModelFailed("InvalidAnswer", f"shape {array.shape} for {rows} texts of {columns} dimensions")
        if not np.isfinite(array).all():
            raise ModelFailed("InvalidAnswer", "the model returned numbers that are not finite")
        return array

    def _unload(self, worker: Worker) -> Cleaned:
        """What it gave back; nothing where it is not idle any more."""
        size = own_bytes(worker.pid, worker.inherited_bytes) if worker.pid is not None else None
        with self._requests.lock:
            unloading = self._requests.roster.unload(worker, time.monotonic())
        if not unloading:
            return Cleaned()
        self._requests.wake()
        gone = worker.gone.wait(_UNLOAD_SECONDS)
        return Cleaned(items_removed=1, bytes_freed=(size or 0) if gone else 0)

    def _retire(self, keeper: Keeper) -> int:
        with self._requests.lock:
            pid = None if self._requests.roster.workers() else keeper.forkserver_pid
        size = None if pid is None else own_bytes(pid, 0)
        return (size or 0) if keeper.retire() else 0

    def _renew(self) -> None:
        """In a forked child."""
        self._requests = self._requests.renewed()
