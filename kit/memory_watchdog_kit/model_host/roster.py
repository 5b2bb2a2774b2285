"""Who is loaded, who waits, who goes: the host's decisions, without a process, a socket or a clock of their own.

Covers: turns in the order of asking, places, the least recently used that makes room, idle unload, limits, back-off.
Leaves to others: doing it (`keeper`), talking to a worker (`host`), the lock that every call needs (`host`).

After every change `_schedule` gives each waiting request, oldest first, what it can have. So an idle worker is always
one that no waiting request can use, and a request that finds its model idle overtakes nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from memory_watchdog_kit.model_host.errors import ModelCrashed, ModelError, ModelTimeout
from memory_watchdog_kit.model_host.spec import Limits
from memory_watchdog_kit.model_host.workers import State, Worker

Fault = Callable[[], ModelError]
"""Makes the exception: one for each thread that raises it, since a raised one carries its traceback."""

GRACE_SECONDS = 2.0
"""How long an unloaded worker may take to end by itself before it is killed: its exit handlers run in it."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that waits for its turn; `settled` is set when it has a worker or a fault."""

    model: str
    deadline: float
    worker: Worker | None = None
    fault: Fault | None = None
    settled: Event = field(default_factory=Event)


@dataclass(slots=True)
class Orders:
    """What is to be done to processes."""

    start: list[Worker] = field(default_factory=list)
    end: list[Worker] = field(default_factory=list)


@dataclass(slots=True)
class _Model:
    worker: Worker | None = None
    streak: int = 0  # how often in a row it ended without an answer
    not_before: float = -math.inf
    last_fault: str = ""


@dataclass(slots=True)
class Counters:
    """Since the host was made. A hit is a request that found its model loaded."""

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    expirations: int = 0
    loads: int = 0
    load_seconds: float = 0.0


class Roster:
    """All models of one host. `now` and deadlines are seconds of one steady clock."""

    def __init__(self, models: Iterable[str], limits: Limits) -> None:
        self._limits = limits
        self._models = {name: _Model() for name in models}
        self._tickets: list[Ticket] = []
        self._orders = Orders()
        self._next_number = 1
        self.counters = Counters()

    def request(self, model: str, now: float, deadline: float) -> Worker | Ticket:
        """A worker that is now the caller's until `release`, `late` or `fail`; else a ticket to wait with.

        Raises ModelCrashed where the back-off ends after the deadline: waiting would be for nothing.
        """
        entry = self._models[model]
        worker = entry.worker
        if worker is not None and worker.is_loaded:
            self.counters.hits += 1
        else:
            self.counters.misses += 1
        if worker is not None and worker.state is State.IDLE:
            worker.state = State.BUSY
            return worker
        if worker is None and entry.not_before > deadline:
            raise self._not_yet(model, now)()
        ticket = Ticket(model, deadline)
        self._tickets.append(ticket)
        self._schedule(now)
        return ticket

    def withdraw(self, ticket: Ticket, now: float) -> None:
        """The caller waits no longer."""
        if ticket.worker is not None:
            self.unused(ticket.worker, now)
        elif ticket in self._tickets:
            self._tickets.remove(ticket)
            self._schedule(now)

    def ready(self, worker: Worker, now: float) -> None:
        """The model is loaded."""
        if worker.state is not State.STARTING:
            return
        self.counters.loads += 1
        self.counters.load_seconds += now - worker.began_at
        self._idle(worker, now)

    def release(self, worker: Worker, now: float) -> None:
        """It has answered, so that it works: the back-off begins anew."""
        if worker.state in (State.BUSY, State.LATE):
            self._models[worker.model].streak = 0
            self._idle(worker, now)

    def _idle(self, worker: Worker, now: float) -> None:
        worker.state = State.IDLE
        worker.used_at = now
        self._schedule(now)

    def unused(self, worker: Worker, now: float) -> None:
        """The caller left before it had sent anything."""
        if worker.state is State.BUSY:
            self._idle(worker, now)

    def late(self, worker: Worker, limit_at: float, _now: float) -> None:
        """The caller left before the answer, which `keeper` now awaits until `limit_at`."""
        if worker.state is State.BUSY:
            worker.state = State.LATE
            worker.limit_at = limit_at

    def fail(self, worker: Worker, now: float, fault: Fault, *, gently: bool = False) -> None:
        """It is of no more use. Who waited for it to load gets the fault; the back-off grows.

        `gently` where it seems to end by itself: killed at once, it could not tell how.
        """
        if worker.state in (State.ENDING, State.GONE):
            return
        loading = worker.state is State.STARTING
        self._end(worker, now, gently=gently)
        entry = self._models[worker.model]
        wait = min(self._limits.backoff_seconds * 2.0 ** min(entry.streak, 60), self._limits.max_backoff_seconds)
        entry.streak += 1
        entry.not_before = now + wait
        subject, text = f"model {worker.model}", str(fault())
        worker.why = entry.last_fault = text if text.startswith(subject) else f"{subject}: {text}"
        for ticket in [ticket for ticket in self._tickets if ticket.model == worker.model]:
            if loading:
                self._settle(ticket, fault=fault)
            elif entry.not_before > ticket.deadline:
                self._settle(ticket, fault=self._not_yet(ticket.model, now))
        self._schedule(now)

    def gone(self, worker: Worker, now: float, how: str, *, expected: bool = False) -> None:
        """The process has ended, in the way that `how` says; its place is free. Where nobody ended it, it failed."""
        if worker.state is State.GONE:
            return
        if worker.state is not State.ENDING and not expected:
            self.fail(worker, now, partial(ModelCrashed, f"model {worker.model}: its process {how}"))
        worker.state = State.GONE
        worker.how = how
        self._models[worker.model].worker = None
        self._schedule(now)

    def unload(self, worker: Worker, now: float) -> bool:
        """End an idle one; False where it is not idle."""
        if worker.state is not State.IDLE:
            return False
        self.counters.evictions += 1
        self._end(worker, now, gently=True)
        return True

    def worker_of(self, model: str) -> Worker | None:
        """The one of this model, whatever it does."""
        return self._models[model].worker

    def workers(self) -> list[Worker]:
        """All whose processes are not known to be gone."""
        return [entry.worker for entry in self._models.values() if entry.worker is not None]

    def loaded(self) -> list[Worker]:
        """The loaded ones, least recently used first; those that work are used now."""
        loaded = [worker for worker in self.workers() if worker.is_loaded]
        return sorted(loaded, key=lambda worker: (worker.state is not State.IDLE, worker.used_at))

    def tick(self, now: float) -> None:
        """What time alone brings: idle unload, limits that have passed, the ends of back-offs."""
        for worker in self.workers():
            if worker.state is State.IDLE and now - worker.used_at >= self._limits.idle_unload_seconds:
                self.counters.expirations += 1
                self._end(worker, now, gently=True)
            elif worker.state is State.ENDING and worker.gently and now >= worker.limit_at:
                worker.gently, worker.limit_at = False, math.inf
                self._orders.end.append(worker)
            elif worker.state is State.STARTING and now >= worker.limit_at:
                self.fail(worker, now, self._slow(worker, "was not loaded", self._limits.load_timeout_seconds))
            elif worker.state is State.LATE and now >= worker.limit_at:
                self.fail(worker, now, self._slow(worker, "did not answer", None))
        self._schedule(now)

    def due_at(self, now: float) -> float:
        """When `tick` has something to do, if nothing else happens; infinity where never."""
        times = [math.inf]
        for worker in self.workers():
            if worker.state is State.IDLE:
                times.append(worker.used_at + self._limits.idle_unload_seconds)
            elif worker.state is State.BUSY:  # at the earliest: nobody says when it becomes idle
                times.append(now + self._limits.idle_unload_seconds)
            else:
                times.append(worker.limit_at)
        waited_for = [self._models[ticket.model] for ticket in self._tickets]
        # Where the back-off has ended and nothing is started, a place is waited for: that is no matter of time.
        times += [entry.not_before for entry in waited_for if entry.worker is None and entry.not_before > now]
        return min(times)

    @property
    def has_orders(self) -> bool:
        """Whether `take_orders` has something."""
        return bool(self._orders.start or self._orders.end)

    def take_orders(self) -> Orders:
        """What has been decided since the last call."""
        orders, self._orders = self._orders, Orders()
        return orders

    def settle_all(self, fault: Fault) -> None:
        """Nobody waits any longer."""
        for ticket in list(self._tickets):
            self._settle(ticket, fault=fault)

    def _slow(self, worker: Worker, what: str, seconds: float | None) -> Fault:
        within = "in time" if seconds is None else f"within {seconds:g} s"
        return partial(ModelTimeout, f"model {worker.model} {what} {within}; its process is ended")

    def _not_yet(self, model: str, now: float) -> Fault:
        entry = self._models[model]
        text = f"{entry.last_fault}; started again in {entry.not_before - now:.1f} s, after {entry.streak} such ends"
        return partial(ModelCrashed, text)

    def _settle(self, ticket: Ticket, worker: Worker | None = None, fault: Fault | None = None) -> None:
        self._tickets.remove(ticket)
        ticket.worker, ticket.fault = worker, fault
        ticket.settled.set()

    def _end(self, worker: Worker, now: float, *, gently: bool) -> None:
        worker.state = State.ENDING
        worker.gently = gently
        worker.limit_at = now + GRACE_SECONDS if gently else math.inf
        self._orders.end.append(worker)

    def _schedule(self, now: float) -> None:
        without_place: set[str] = set()
        for ticket in list(self._tickets):
            entry = self._models[ticket.model]
            if entry.worker is not None:
                if entry.worker.state is State.IDLE:
                    entry.worker.state = State.BUSY
                    self._settle(ticket, worker=entry.worker)
            elif entry.not_before <= now and ticket.model not in without_place:
                if len(self.workers()) < self._limits.max_loaded:
                    entry.worker = self._started(ticket.model, now)
                else:
                    without_place.add(ticket.model)
                    self._make_room(len(without_place), now)

    def _started(self, model: str, now: float) -> Worker:
        worker = Worker(self._next_number, model, began_at=now, limit_at=now + self._limits.load_timeout_seconds)
        self._next_number += 1
        self._orders.start.append(worker)
        return worker

    def _make_room(self, places: int, now: float) -> None:
        """See to it that so many places become free, as far as there are idle workers."""
        coming = sum(worker.state is State.ENDING for worker in self.workers())
        idle = [worker for worker in self.loaded() if worker.state is State.IDLE]
        if coming < places and idle:
            self.unload(idle[0], now)
