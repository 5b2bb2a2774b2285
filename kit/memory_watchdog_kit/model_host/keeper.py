"""The thread of a host that has to do with processes: it carries out what the roster has decided.

Covers: starting and ending the forkserver and the workers, hearing of their ends, loading, answers that come too late,
the workers' output, waiting for what time alone brings.
Leaves to others: deciding (`roster`), requests and their answers (`host`: in the caller's thread, since handing an
answer from one thread to another costs more than the socket does).

A crash is known when the worker's socket reads EOF, which a caller sees itself, or when the forkserver has reaped the
worker; the latter shuts the socket down, in case something else still holds its other end.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from memory_watchdog_kit.model_host import wire
from memory_watchdog_kit.model_host.channel import Channel
from memory_watchdog_kit.model_host.errors import ModelCrashed, ModelFailed, ModelHostClosed, how_it_ended
from memory_watchdog_kit.model_host.launch import Forkserver
from memory_watchdog_kit.model_host.output import Output
from memory_watchdog_kit.model_host.roster import Roster
from memory_watchdog_kit.model_host.spec import Limits
from memory_watchdog_kit.model_host.workers import State, Worker

_PATIENCE_SECONDS = 3.0  # for the forkserver to end its workers, for which it takes 1 s, and itself

_LONGEST_WAIT_SECONDS = 3600.0  # poll overflows from 24 days on


class Keeper:
    """One forkserver and its workers. `lock` guards the roster and every `Worker`."""

    def __init__(
        self,
        name: str,
        roster: Roster,
        lock: threading.Lock,
        limits: Limits,
        loads: Mapping[str, bytes],
        preload: Sequence[str],
    ) -> None:
        self._log = logging.getLogger("memory_watchdog_kit.model_host")
        self._name = name
        self._roster = roster
        self._lock = lock
        self._limits = limits
        self._loads = loads
        self._preload = preload
        self._forkserver: Forkserver | None = None
        self._closing = False
        self._retiring: threading.Event | None = None
        self._workers: dict[int, Worker] = {}  # that a forkserver has been told of, by number
        self._watched: dict[int, Worker] = {}  # whose channel is this thread's at the moment
        self._outputs: dict[int, Output] = {}  # by number of the worker
        self._selector = selectors.PollSelector()  # epoll would be a descriptor that a forked child shares
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._watch(self._woken, self._drain)
        self._thread = threading.Thread(target=self._run, name=f"{name} keeper", daemon=True)
        self._thread.start()

    @property
    def forkserver_pid(self) -> int | None:
        """None while there is none."""
        forkserver = self._forkserver
        return None if forkserver is None else forkserver.process.pid

    @property
    def is_closed(self) -> bool:
        """By `close`, or because its thread failed, which it has logged."""
        return self._closing

    def wake(self) -> None:
        """There are orders, or a limit is nearer than it was."""
        try:
            self._wake.send(b"\0")
        except OSError:  # full, so that it wakes anyway, or closed
            return

    def retire(self) -> bool:
        """End the forkserver too, if nothing is loaded; it is started again when a model is wanted. True when done."""
        retired = threading.Event()
        self._retiring = retired
        self.wake()
        return retired.wait(2 * _PATIENCE_SECONDS)

    def close(self) -> None:
        """End all processes and the thread. Every worker is gone afterwards."""
        self._closing = True
        self.wake()
        self._thread.join()
        self._wake.close()
        self._woken.close()

    def forget(self) -> None:
        """In a forked child, where the thread does not run: close the copies of the parent's descriptors."""
        for worker in self._workers.values():
            if worker.channel is not None:
                worker.channel.close()
        for output in self._outputs.values():
            os.close(output.descriptor)
        if self._forkserver is not None:
            self._forkserver.forget()
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        except Exception:  # noqa: BLE001 - whatever it is, whoever asks must hear that nobody keeps the models
            self._log.exception("%s: the thread that keeps the model processes failed", self._name)
        finally:
            self._closing = True
            with self._lock:
                self._roster.settle_all(partial(ModelHostClosed, f"{self._name} was closed"))
            self._end_forkserver("was ended by close")

    def _turn(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._roster.tick(now)
            orders = self._roster.take_orders()
        for worker in orders.start:
            self._start(worker)
        for worker in orders.end:
            self._end(worker)
        retired, self._retiring = self._retiring, None
        if retired is not None:
            if not self._workers:
                self._end_forkserver("was unloaded")
            retired.set()
        self._watch_channels()
        with self._lock:
            due_at = self._roster.due_at(now)  # as `tick` had it: what has become due since then is not to be missed
        wait = min(max(0.0, due_at - time.monotonic()), _LONGEST_WAIT_SECONDS)
        for key, _ in self._selector.select(wait):
            if key.fd in self._selector.get_map():  # an earlier one of this round may have ended it
                key.data()

    def _start(self, worker: Worker) -> None:
        """Ask for the process and send it what to load. Where that cannot be done, it is as if it had crashed."""
        try:
            forkserver = self._forkserver or self._new_forkserver()
            ours, theirs = socket.socketpair()
        except OSError as error:
            self._over(worker, f"could not be started: {error}")
            return
        worker.channel = Channel(ours, self._limits.max_answer_bytes)
        self._workers[worker.number] = worker
        try:
            reading, writing = os.pipe()
            output = Output(reading, self._log, f"{self._name}: model {worker.model}")
            self._outputs[worker.number] = output
            self._watch_output(output)
            try:
                forkserver.start(worker.number, worker.model, theirs, writing)
            finally:
                os.close(writing)
            ours.sendall(self._loads[worker.model])
        except OSError as error:
            self._over(worker, f"could not be started: {error}")
        finally:
            theirs.close()

    def _new_forkserver(self) -> Forkserver:
        forkserver = Forkserver(self._preload, self._log, f"{self._name}: forkserver")
        self._forkserver = forkserver
        self._watch(forkserver.control, self._hear)
        self._watch_output(forkserver.output)
        return forkserver

    def _end(self, worker: Worker) -> None:
        """Gently: the worker reads EOF. Else it is killed, with the forkserver where that hangs in a preload."""
        if worker.channel is not None:
            worker.channel.shutdown()
        if worker.gently or worker.gone.is_set():
            return
        if self._forkserver is not None and not self._forkserver.is_up:
            self._end_forkserver("was killed: the forkserver hangs in a preload")
        else:
            self._kill(worker)

    def _kill(self, worker: Worker) -> None:
        try:
            if self._forkserver is not None:
                self._forkserver.kill(worker.number)
        except OSError as error:
            self._log.warning("%s: the forkserver does not listen (%s) and is ended", self._name, error)
            self._end_forkserver("was killed with the forkserver")

    def _watch_channels(self) -> None:
        """Listen to the workers that are loading or late, and to no other."""
        with self._lock:
            ours = (State.STARTING, State.LATE)
            wanted = {w.number: w for w in self._workers.values() if w.state in ours and not w.silent}
        for number in self._watched.keys() - wanted.keys():
            self._unwatch_channel(self._watched[number])
        for number in wanted.keys() - self._watched.keys():
            channel = wanted[number].channel
            if channel is not None:
                self._watched[number] = wanted[number]
                self._watch(channel.connection, partial(self._listen, wanted[number]))

    def _unwatch_channel(self, worker: Worker) -> None:
        if self._watched.pop(worker.number, None) is not None and worker.channel is not None:
            self._selector.unregister(worker.channel.connection)

    def _listen(self, worker: Worker) -> None:
        """A part of what a loading or late worker has to say."""
        if worker.channel is None:
            return
        try:
            frame = worker.channel.receive_some()
            answer = None if frame is None else wire.parse_answer(frame)
        except (EOFError, OSError):  # how it ended is heard in a moment; if it has not, its limit passes
            worker.silent = True
            self._unwatch_channel(worker)
            return
        except wire.WireError as error:
            text = f"model {worker.model}: its process sent {error}; it is ended"
            with self._lock:
                self._roster.fail(worker, time.monotonic(), partial(ModelCrashed, text))
            return
        with self._lock:
            self._take(worker, answer)

    def _take(self, worker: Worker, answer: wire.Ready | wire.Vectors | wire.Failed | None) -> None:
        now = time.monotonic()
        if isinstance(answer, wire.Ready):
            worker.inherited_bytes = answer.inherited_bytes
            self._roster.ready(worker, now)
        elif isinstance(answer, wire.Failed) and worker.state is State.STARTING:
            self._roster.fail(worker, now, partial(ModelFailed, answer.error_type, answer.message), gently=True)
        elif answer is not None:
            self._roster.release(worker, now)

    def _hear(self) -> None:
        """What the forkserver says: all of it."""
        while self._forkserver is not None:
            try:
                message = self._forkserver.receive()
            except EOFError:
                self._log.warning("%s: the forkserver ended", self._name)
                self._end_forkserver("ended with the forkserver")
                return
            if message is None:
                return
            self._heard(message)

    def _heard(self, message: Mapping[str, object]) -> None:
        match message:
            case {"op": "up", "failures": list(failures)}:
                if self._forkserver is not None:
                    self._forkserver.is_up = True
                for failure in failures:
                    self._log.warning("%s: cannot preload %s", self._name, failure)
            case {"number": int(number)} if number not in self._workers:
                return  # given up while it was being started; it has read EOF by now
            case {"op": "started", "number": int(number), "pid": int(pid)}:
                worker = self._workers[number]
                with self._lock:
                    worker.pid = pid
                    if worker.state is State.STARTING:
                        worker.limit_at = time.monotonic() + self._limits.load_timeout_seconds
            case {"op": "ended", "number": int(number), "status": int(status)}:
                self._over(self._workers[number], how_it_ended(status))
            case {"op": "refused", "number": int(number), "reason": str(reason)}:
                self._over(self._workers[number], f"could not be started: {reason}")

    def _over(self, worker: Worker, how: str, *, expected: bool = False) -> None:
        """Its process is gone: free its place, tell who waits for it, close what belonged to it."""
        self._unwatch_channel(worker)
        self._workers.pop(worker.number, None)
        output = self._outputs.pop(worker.number, None)
        if output is not None:
            self._unwatch_output(output)
            output.close()
        with self._lock:
            self._roster.gone(worker, time.monotonic(), how, expected=expected)
            held = worker.held
        if worker.why:
            self._log.warning("%s: %s (pid %s %s)", self._name, worker.why, worker.pid, how)
        if worker.channel is not None:
            worker.channel.shutdown()
            if not held:
                worker.channel.close()
        worker.gone.set()

    def _end_forkserver(self, how: str) -> None:
        """With all its workers, which cannot live without it."""
        forkserver, self._forkserver = self._forkserver, None
        if forkserver is None:
            return
        for worker in self._workers.values():
            if worker.channel is not None:
                worker.channel.shutdown()
        self._selector.unregister(forkserver.control)
        self._unwatch_output(forkserver.output)
        forkserver.end(_PATIENCE_SECONDS if forkserver.is_up else 0.0)  # before that it listens to nobody
        for worker in list(self._workers.values()):
            self._over(worker, how, expected=self._closing)

    def _watch(self, source: socket.socket | int, callback: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, callback)

    def _drain(self) -> None:
        self._woken.recv(4096)

    def _watch_output(self, output: Output) -> None:
        def read() -> None:
            if not output.read():
                self._unwatch_output(output)

        self._watch(output.descriptor, read)

    def _unwatch_output(self, output: Output) -> None:
        if output.descriptor in self._selector.get_map():
            self._selector.unregister(output.descriptor)
