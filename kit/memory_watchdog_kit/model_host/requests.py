"""Requests to models: a turn, the question, the answer, in the thread of whoever asks.

Covers: waiting for a worker, sending and receiving before a deadline, what each way of going wrong leads to; the lock,
the roster and the keeper, which belong together and are made anew in a forked child.
Leaves to others: who gets which turn (`roster`), what the answer is worth (`host`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from memory_watchdog_kit.model_host import wire
from memory_watchdog_kit.model_host.channel import Late, NothingSent
from memory_watchdog_kit.model_host.errors import ModelCrashed, ModelError, ModelHostClosed, ModelTimeout
from memory_watchdog_kit.model_host.keeper import Keeper
from memory_watchdog_kit.model_host.roster import Roster, Ticket
from memory_watchdog_kit.model_host.spec import Limits
from memory_watchdog_kit.model_host.workers import State, Worker

_STATUS_SECONDS = 0.25  # from the socket's EOF until it is known how the process ended: a millisecond, as a rule


class Requests:
    """`lock` guards `roster` and every `Worker`. The keeper is made when it is first needed."""

    def __init__(self, name: str, limits: Limits, loads: Mapping[str, bytes], preload: Sequence[str]) -> None:
        self._name = name
        self._limits = limits
        self._loads = loads
        self._preload = preload
        self._closed = False
        self.lock = threading.Lock()
        self.roster = Roster(loads, limits)
        self.keeper: Keeper | None = None

    def ask(self, model: str, number: int, message: bytes, timeout_seconds: float) -> wire.Vectors | wire.Failed:
        """The answer to one request. Raises ModelTimeout, ModelCrashed, ModelHostClosed; ModelFailed of the factory."""
        deadline = time.monotonic() + timeout_seconds
        answer = None
        while answer is None:
            worker = self._take_turn(model, deadline)
            try:
                answer = self._ask(worker, number, message, deadline, timeout_seconds)
            except EOFError:
                raise self._ended(worker) from None
        return answer

    def wake(self) -> None:
        """The roster has orders, or a limit is nearer than it was."""
        keeper = self.keeper
        if keeper is not None:
            keeper.wake()

    def close(self) -> None:
        """End all processes; whoever waits gets ModelHostClosed."""
        with self.lock:
            self._closed = True
            keeper, self.keeper = self.keeper, None
        if keeper is not None:
            keeper.close()

    def renewed(self) -> Requests:
        """For a forked child: the processes are the parent's, and its lock may have been held by another thread."""
        if self.keeper is not None:
            self.keeper.forget()
        new = Requests(self._name, self._limits, self._loads, self._preload)
        new._closed = self._closed
        return new

    def _running_keeper(self) -> Keeper:
        with self.lock:
            if self._closed:
                raise self._was_closed()
            if self.keeper is None:
                self.keeper = Keeper(self._name, self.roster, self.lock, self._limits, self._loads, self._preload)
            if self.keeper.is_closed:
                raise self._was_closed()
            return self.keeper

    def _was_closed(self) -> ModelHostClosed:
        return ModelHostClosed(f"{self._name} was closed")

    def _take_turn(self, model: str, deadline: float) -> Worker:
        keeper = self._running_keeper()
        with self.lock:
            turn = self.roster.request(model, time.monotonic(), deadline)
            if isinstance(turn, Worker):
                turn.held = True
                return turn
        keeper.wake()
        try:
            turn.settled.wait(max(0.0, deadline - time.monotonic()))
        except BaseException:  # Ctrl-C: the turn is the next one's
            self._give_up(turn, keeper)
            raise
        with self.lock:
            if turn.worker is not None:  # granted at the last moment counts
                turn.worker.held = True
                return turn.worker
        if turn.fault is not None:
            raise turn.fault()
        self._give_up(turn, keeper)
        raise ModelTimeout(f"model {model}: its turn did not come in time")

    def _give_up(self, ticket: Ticket, keeper: Keeper) -> None:
        with self.lock:
            self.roster.withdraw(ticket, time.monotonic())
        keeper.wake()

    def _ask(
        self, worker: Worker, number: int, message: bytes, deadline: float, timeout_seconds: float
    ) -> wire.Vectors | wire.Failed | None:
        """None where the worker ended before it had got the request: another is to be asked. EOFError: it crashed."""
        channel, roster = worker.channel, self.roster
        assert channel is not None, "it has been loaded through it"
        subject = f"model {worker.model}"
        fate: Callable[[float], None] = partial(roster.late, worker, time.monotonic() + timeout_seconds)  # Ctrl-C, too
        try:
            channel.send(message, deadline)
            answer = wire.parse_answer(channel.receive(deadline))
            if isinstance(answer, wire.Ready) or answer.number != number:
                raise wire.WireError("the answer to another request")
            fate = partial(roster.release, worker)
            return answer
        except NothingSent:
            fate = partial(roster.unused, worker)
            raise ModelTimeout(f"{subject}: its turn came too late") from None
        except Late:  # also where only a part was sent: then it is the worker that does not read
            raise ModelTimeout(f"{subject} did not answer in time") from None
        except wire.WireError as error:
            fault = partial(ModelCrashed, f"{subject}: its process sent {error}; it is ended")
            fate = partial(roster.fail, worker, fault=fault)
            raise fault() from None
        except EOFError:
            fate = partial(
                roster.fail, worker, fault=partial(ModelCrashed, f"{subject}: its process ended"), gently=True
            )
            raise
        except OSError:  # nobody reads at the other end: EPIPE; or what was sent was not read: ECONNRESET
            fate = partial(roster.fail, worker, fault=partial(ModelCrashed, f"{subject}: its process ended while idle"))
            return None
        finally:
            self._leave(worker, fate)

    def _leave(self, worker: Worker, fate: Callable[[float], None]) -> None:
        """In one step, since after it the worker may be another caller's."""
        with self.lock:
            worker.held = False
            fate(time.monotonic())
            if worker.state is State.GONE and worker.channel is not None:
                worker.channel.close()
            wake = self.roster.has_orders or worker.state is State.LATE
        if wake:
            self.wake()

    def _ended(self, worker: Worker) -> ModelError:
        worker.gone.wait(_STATUS_SECONDS)
        if self._closed:
            return self._was_closed()
        return ModelCrashed(f"model {worker.model}: its process {worker.how or 'ended'} while it worked on a request")
