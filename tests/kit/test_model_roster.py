"""Who is loaded, who waits, who goes: the host's decisions alone, with a clock that is a number."""

from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from memory_watchdog_kit.model_host.errors import ModelCrashed, ModelError, ModelTimeout
from memory_watchdog_kit.model_host.roster import GRACE_SECONDS, Roster, Ticket
from memory_watchdog_kit.model_host.spec import Limits
from memory_watchdog_kit.model_host.workers import State, Worker

CRASH = partial(ModelCrashed, "it crashed")


def limits(**changed: float) -> Limits:
    numbers: dict[str, float] = {
        "max_loaded": 2,
        "idle_unload_seconds": 300.0,
        "request_timeout_seconds": 60.0,
        "load_timeout_seconds": 120.0,
        "backoff_seconds": 1.0,
        "max_backoff_seconds": 8.0,
        "max_request_bytes": 1,
        "max_answer_bytes": 1,
    }
    return Limits(**{**numbers, **changed})  # type: ignore[arg-type]


def is_in(worker: Worker, state: State) -> bool:
    """A function, since a type checker believes that an attribute stays as it was."""
    return worker.state is state


def killed_at_once(worker: Worker) -> bool:
    return not worker.gently


def loaded(roster: Roster, model: str, now: float) -> Worker:
    """A worker that is the caller's, started and made ready for it."""
    turn = roster.request(model, now, now + 60)
    if isinstance(turn, Worker):
        return turn
    for worker in roster.take_orders().start:
        roster.ready(worker, now)
    assert turn.worker is not None
    assert turn.settled.is_set()
    return turn.worker


def test_turns_come_in_the_order_of_asking() -> None:
    roster = Roster("a", limits())
    worker = loaded(roster, "a", 0)
    waiting = [roster.request("a", 0, 60) for _ in range(3)]
    for ticket in waiting:
        assert isinstance(ticket, Ticket)
        assert not ticket.settled.is_set()
        roster.release(worker, 1)
        assert ticket.worker is worker


def test_one_that_wants_a_place_is_not_overtaken_by_those_that_came_later() -> None:
    roster = Roster("ab", limits(max_loaded=1))
    worker = loaded(roster, "a", 0)
    other = roster.request("b", 1, 60)
    later = roster.request("a", 2, 60)
    roster.release(worker, 3)
    assert roster.take_orders().end == [worker]
    roster.gone(worker, 4, "ended")
    (started,) = roster.take_orders().start
    roster.ready(started, 5)
    assert isinstance(other, Ticket)
    assert other.worker is started
    assert isinstance(later, Ticket)
    assert not later.settled.is_set()


def test_the_least_recently_used_idle_one_makes_room_and_only_one() -> None:
    roster = Roster("abcd", limits(max_loaded=3))
    workers = {name: loaded(roster, name, 0) for name in "abc"}
    for now, name in enumerate("bca", 1):
        roster.release(workers[name], now)
    roster.request("d", 10, 60)
    roster.request("d", 10, 60)
    assert roster.take_orders().end == [workers["b"]]
    assert roster.counters.evictions == 1


def test_a_place_is_free_only_when_the_process_is_gone() -> None:
    roster = Roster("ab", limits(max_loaded=1))
    worker = loaded(roster, "a", 0)
    roster.release(worker, 0)
    roster.request("b", 1, 60)
    assert roster.take_orders().start == []
    roster.tick(1.5)
    assert roster.take_orders().start == []
    roster.gone(worker, 2, "ended")
    assert [started.model for started in roster.take_orders().start] == ["b"]


def test_an_unloaded_worker_that_does_not_end_is_killed_after_the_grace() -> None:
    roster = Roster("a", limits())
    worker = loaded(roster, "a", 0)
    roster.release(worker, 0)
    assert roster.unload(worker, 10)
    assert roster.take_orders().end == [worker]
    assert killed_at_once(worker) is False
    assert roster.due_at(10) == 10 + GRACE_SECONDS
    roster.tick(10 + GRACE_SECONDS)
    assert roster.take_orders().end == [worker]
    assert killed_at_once(worker)
    assert roster.due_at(20) == math.inf


def test_idle_unload_counts_from_the_last_use() -> None:
    roster = Roster("a", limits(idle_unload_seconds=10))
    worker = loaded(roster, "a", 0)
    assert roster.due_at(3) == 13, "busy: at the earliest"
    roster.release(worker, 5)
    assert roster.due_at(5) == 15
    roster.tick(14.9)
    assert is_in(worker, State.IDLE)
    roster.tick(15)
    assert is_in(worker, State.ENDING)
    assert roster.counters.expirations == 1


def test_the_back_off_doubles_up_to_its_most_and_an_answer_ends_it() -> None:
    roster = Roster("a", limits())
    now, waits = 0.0, []
    for _ in range(6):
        worker = loaded(roster, "a", now)
        roster.fail(worker, now, CRASH)
        roster.gone(worker, now, "was killed")
        ticket = roster.request("a", now, now + 100)
        assert roster.take_orders().start == []
        due_at = roster.due_at(now)
        waits.append(due_at - now)
        now = due_at
        roster.tick(now)
        assert isinstance(ticket, Ticket)
        for started in roster.take_orders().start:
            roster.ready(started, now)
        assert ticket.worker is not None
        roster.unused(ticket.worker, now)
    assert waits == [1, 2, 4, 8, 8, 8]
    roster.release(loaded(roster, "a", now), now)
    roster.fail(loaded(roster, "a", now), now, CRASH)
    assert roster.due_at(now) == math.inf
    worker = next(iter(roster.workers()))
    roster.gone(worker, now, "was killed")
    roster.request("a", now, now + 100)
    assert roster.due_at(now) == now + 1


def test_who_cannot_wait_for_the_back_off_is_told_at_once() -> None:
    roster = Roster("a", limits(backoff_seconds=8))
    worker = loaded(roster, "a", 0)
    hasty, patient = roster.request("a", 0, 5), roster.request("a", 0, 50)
    roster.fail(worker, 1, CRASH)
    assert isinstance(hasty, Ticket)
    assert isinstance(patient, Ticket)
    assert hasty.fault is not None
    assert str(hasty.fault()) == "model a: it crashed; started again in 8.0 s, after 1 such ends"
    assert not patient.settled.is_set()
    roster.gone(worker, 1, "was killed")
    with pytest.raises(ModelCrashed, match=r"started again in 7\.0 s"):
        roster.request("a", 2, 8)


def test_who_waits_for_the_loading_of_one_that_crashes_is_told_and_others_are_not() -> None:
    roster = Roster("ab", limits(max_loaded=2))
    mine, other = roster.request("a", 0, 60), roster.request("b", 0, 60)
    first, _ = roster.take_orders().start
    roster.gone(first, 1, "was killed by SIGKILL")
    assert isinstance(mine, Ticket)
    assert isinstance(other, Ticket)
    assert mine.fault is not None
    assert str(mine.fault()) == "model a: its process was killed by SIGKILL"
    assert not other.settled.is_set()


def test_limits_of_loading_and_of_one_that_is_late() -> None:
    roster = Roster("ab", limits(load_timeout_seconds=20))
    ticket = roster.request("a", 0, 60)
    late = loaded(roster, "b", 0)  # and makes a ready as well
    assert isinstance(ticket, Ticket)
    roster.late(late, 7, 1)
    assert roster.due_at(1) == 7
    roster.tick(7)
    assert is_in(late, State.ENDING)
    roster.gone(late, 8, "was killed")
    again = roster.request("b", 20, 90)
    (started,) = roster.take_orders().start
    roster.tick(40)
    assert is_in(started, State.ENDING)
    assert isinstance(again, Ticket)
    assert again.fault is not None
    assert isinstance(again.fault(), ModelTimeout)


MODELS = "abcd"


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: never too many, one caller a worker, nobody forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.roster = Roster(MODELS, limits(idle_unload_seconds=30, load_timeout_seconds=40))
        self.tickets: list[Ticket] = []
        self.callers: list[Worker] = []
        self.alive: set[int] = set()
        self.by_number: dict[int, Worker] = {}

    def _collect(self) -> None:
        orders = self.roster.take_orders()
        for worker in orders.start:
            assert worker.number not in self.by_number, "a number is used once"
            self.by_number[worker.number] = worker
            self.alive.add(worker.number)
        for ticket in [ticket for ticket in self.tickets if ticket.settled.is_set()]:
            self.tickets.remove(ticket)
            assert (ticket.worker is None) != (ticket.fault is None)
            if ticket.worker is not None:
                self.callers.append(ticket.worker)

    @rule(model=st.sampled_from(MODELS), patience=st.sampled_from([1.0, 50.0]))
    def ask(self, model: str, patience: float) -> None:
        try:
            turn = self.roster.request(model, self.now, self.now + patience)
        except ModelError:
            return
        if isinstance(turn, Ticket):
            self.tickets.append(turn)
        else:
            self.callers.append(turn)
        self._collect()

    @precondition(lambda self: self.callers)
    @rule(data=st.data(), how=st.sampled_from(["release", "late", "unused", "fail", "fail gently"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        worker = data.draw(st.sampled_from(self.callers))
        self.callers.remove(worker)
        match how:
            case "release":
                self.roster.release(worker, self.now)
            case "late":
                self.roster.late(worker, self.now + 10, self.now)
            case "unused":
                self.roster.unused(worker, self.now)
            case _:
                self.roster.fail(worker, self.now, CRASH, gently=how == "fail gently")
        self._collect()

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.tickets))
        self.tickets.remove(ticket)
        self.roster.withdraw(ticket, self.now)
        self._collect()

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), how=st.sampled_from(["ready", "answered late", "gone"]))
    def process(self, data: st.DataObject, how: str) -> None:
        worker = self.by_number[data.draw(st.sampled_from(sorted(self.alive)))]
        if how == "ready":
            self.roster.ready(worker, self.now)
        elif how == "answered late" and worker.state is State.LATE:
            self.roster.release(worker, self.now)
        elif how == "gone":
            self.alive.discard(worker.number)
            self.roster.gone(worker, self.now, "was killed")
        self._collect()

    @rule(model=st.sampled_from(MODELS))
    def unload(self, model: str) -> None:
        worker = self.roster.worker_of(model)
        if worker is not None:
            was_idle = worker.state is State.IDLE
            assert self.roster.unload(worker, self.now) == was_idle
        self._collect()

    @rule(seconds=st.sampled_from([0.5, 3.0, 31.0, 41.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.roster.tick(self.now)
        self._collect()

    @invariant()
    def never_too_many(self) -> None:
        assert len(self.alive) <= 2
        assert {worker.number for worker in self.roster.workers()} == self.alive

    @invariant()
    def one_caller_a_worker(self) -> None:
        numbers = [worker.number for worker in self.callers]
        assert len(numbers) == len(set(numbers))
        busy = {worker.number for worker in self.roster.workers() if worker.state is State.BUSY}
        assert busy <= set(numbers), "busy for nobody"

    @invariant()
    def nobody_waits_for_an_idle_worker(self) -> None:
        idle = {worker.model for worker in self.roster.workers() if worker.state is State.IDLE}
        assert not idle & {ticket.model for ticket in self.tickets}

    @invariant()
    def whoever_waits_waits_for_something(self) -> None:
        """A worker that works or ends, or a time at which something is due."""
        active = any(worker.state is not State.IDLE for worker in self.roster.workers())
        assert not self.tickets or active or self.roster.due_at(self.now) < math.inf

    @invariant()
    def the_keeper_never_spins(self) -> None:
        self.roster.tick(self.now)
        self._collect()
        assert self.roster.due_at(self.now) > self.now


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
