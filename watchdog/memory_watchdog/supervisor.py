"""All targets: started, reloaded, saved, stopped; and the questions that the web server asks of them.

Covers: one watcher a target, the state file, readiness, whose process is whose.
Leaves to others: one target (`watcher`), routes and sockets (`web`), signals and the config's sources (`run`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memory_watchdog import logs, state_file
from memory_watchdog.clock import Clock, boot_id
from memory_watchdog.config import Config, TargetConfig
from memory_watchdog.flight.recorder import FlightRecorder
from memory_watchdog.flight.writer import FlightWriter
from memory_watchdog.ledger import Snapshot, TargetLedger
from memory_watchdog.observation import ProcessIdentity, Reason, Unavailable
from memory_watchdog.recording.lines import Checkpoint, Step
from memory_watchdog.recording.recorder import Recorder
from memory_watchdog.reporting import Reporter
from memory_watchdog.shared import Shared
from memory_watchdog.sources.triggers import MachinePressure
from memory_watchdog.state_file import SavedState, TargetState
from memory_watchdog.watcher import Watcher

SAVE_DEADLINE_SECONDS = 0.6
"""A cleanup that cannot wait, and the end of the program, wait so long for a slow disk; fsync takes 1 to 20 ms."""

SAVE_SECONDS = 1.0
"""State that no request waits for is written at most this often."""


class StartError(Exception):
    """The program cannot start; the text says why, in one line. `is_config`: because of what the config asks for."""

    def __init__(self, text: str, *, is_config: bool = False) -> None:
        super().__init__(text)
        self.is_config = is_config


@dataclass(frozen=True, slots=True)
class Running:
    """A watcher and the task that it runs in."""

    watcher: Watcher
    task: asyncio.Task[None]


class Supervisor:
    """Runs the watchers of a config, and of the configs that take its place."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._log = logs.get()
        self._boot = boot_id()
        self._running: dict[str, Running] = {}
        self._removed: dict[str, TargetState] = {}  # targets that left the config, while their budget remembers
        self._claims: dict[ProcessIdentity, str] = {}
        self._state_file: Path | None = None
        self._dirty = asyncio.Event()
        self._saving = asyncio.Lock()
        self._writing: asyncio.Task[Unavailable | None] | None = None
        self._stopping = False
        self._leaving: set[asyncio.Task[None]] = set()
        self._was_ready = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._recorder: Recorder | None = None
        self._machine_pressure = MachinePressure()
        self._flights = FlightWriter()
        self.save_failures = 0

    # ---- what the web server asks

    def watchers(self) -> list[Watcher]:
        """Every watcher at this moment, in the order of the config. Safe from other threads: the dict is replaced."""
        return [running.watcher for running in self._running.values()]

    def watcher(self, name: str) -> Watcher | None:
        """The watcher of a target."""
        running = self._running.get(name)
        return None if running is None else running.watcher

    def snapshots(self) -> list[Snapshot]:
        """Every target at this moment."""
        return [watcher.ledger.snapshot() for watcher in self.watchers()]

    def ready(self) -> bool:
        """Has each target's first tick finished, whatever it saw? Once said it stays, also while a reload adds some."""
        self._was_ready = self._was_ready or (bool(self._running) and all(watcher.ready for watcher in self.watchers()))
        return self._was_ready

    def stalled(self) -> list[str]:
        """The targets whose ticks have stopped."""
        return [watcher.target.name for watcher in self.watchers() if watcher.stalled()]

    # ---- running

    async def prepare(self, config: Config) -> None:
        """Read the saved state. Raises StartError when the state file can neither be read nor written."""
        self._removed = dict(await self._load(config.state_file))
        self._state_file = config.state_file
        unwritable = await self.write_to(config.state_file)
        if unwritable is not None:
            raise StartError(f"the state file cannot be written: {unwritable.detail}", is_config=True)
        if config.record is not None:
            try:
                config.record.open("ab").close()
            except OSError as error:
                raise StartError(
                    f"the recording cannot be written: {config.record}: {error.strerror}", is_config=True
                ) from error

    async def run(self, config: Config, stop: asyncio.Event) -> None:
        """Watch until `stop` is set. What nobody planned ends it with that exception."""
        if config.state_file is None:
            self._log.info(
                "no state_file: a restarted watchdog will not remember cooldown, budget and pause; "
                "flight recorder, evidence and incidents are off"
            )
        saver = asyncio.create_task(self._save_when_changed())
        saver.add_done_callback(self._ended)
        stopping = asyncio.create_task(stop.wait())
        try:
            await self.apply(config)
            until: list[asyncio.Future[Any]] = [stopping, self._failed]
            await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping = True
            stopping.cancel()
            saver.cancel()
            for running in self._running.values():
                running.task.cancel()
            await asyncio.gather(*(running.task for running in self._running.values()), return_exceptions=True)
            await self.save()
            await self._stop_recording()
            await asyncio.to_thread(self._flights.close)
        if self._failed.done():
            self._failed.result()

    async def apply(self, config: Config) -> None:
        """Watch what the config says from now on. What did not change does not notice."""
        if self._recorder is not None and self._recorder.path != config.record:
            await self._stop_recording()
        self._state_file = config.state_file  # in its folder new targets keep their flight recorder
        targets = {target.name: target for target in config.targets}
        for name in [name for name in self._running if name not in targets]:
            await self._remove(name)
        ordered: dict[str, Running] = {}
        for name, target in targets.items():
            running = self._running.get(name)
            if running is None:
                running = self._start(target)
            elif running.watcher.target != target:
                running.watcher.reload(target)
            ordered[name] = running
        self._running = ordered
        if config.record is not None and self._recorder is None:
            self._start_recording(config.record)
        now = self._clock.boottime()
        self._removed = {name: state for name, state in self._removed.items() if _is_needed(state, now)}
        await self.save()

    def _start(self, target: TargetConfig) -> Running:
        ledger = TargetLedger(target.name)
        watcher = Watcher(
            target,
            ledger=ledger,
            reporter=Reporter(logs.get(target=target.name), ledger, self._clock),
            clock=self._clock,
            saved=self._removed.pop(target.name, None),
            shared=Shared(
                self._claims,
                self.save,
                self._dirty.set,
                self._record,
                self._state_folder,
                self._machine_pressure,
                self._flight,
            ),
        )
        if self._recorder is not None:
            self._recorder.begin(watcher.checkpoint(str(self._boot)))
        task = asyncio.create_task(watcher.run())
        task.add_done_callback(self._ended)
        return Running(watcher, task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task of ours ends when we cancel it; anything else is a fault that must end the program, not hide in it."""
        asked = self._stopping or task in self._leaving
        if task.cancelled():
            error: BaseException | None = None if asked else RuntimeError("a task was cancelled by nobody of ours")
        else:
            error = task.exception() or RuntimeError("a task ended by itself")
        if error is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def _remove(self, name: str) -> None:
        running = self._running[name]
        self._leaving.add(running.task)
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        self._leaving.discard(running.task)
        self._removed[name] = running.watcher.state()
        self._running = {other: known for other, known in self._running.items() if other != name}

    def _state_folder(self) -> Path | None:
        return None if self._state_file is None else self._state_file.parent

    def _flight(self, target: str, levels: list[str]) -> FlightRecorder | None:
        if self._state_file is None:
            return None
        flight = FlightRecorder(self._state_file.parent, target, levels, self._flights)
        flight.begin()
        return flight

    # ---- the recording

    def recording_lost(self) -> int | None:
        """Lines that are missing in the recording; None where there is none."""
        return None if self._recorder is None else self._recorder.lost

    def _start_recording(self, path: Path) -> None:
        """Record from now on. That it cannot be begun is said; watching and acting go on."""
        try:
            self._recorder = Recorder(path, self._checkpoints, self._log)
        except OSError as error:
            self._log.error("the recording cannot be begun", path=str(path), detail=error.strerror)
            return
        for checkpoint in self._checkpoints():
            self._recorder.begin(checkpoint)

    def _checkpoints(self) -> list[Checkpoint]:
        return [watcher.checkpoint(str(self._boot)) for watcher in self.watchers()]

    def _record(self, step: Step) -> None:
        if self._recorder is not None:
            self._recorder.step(step)

    async def _stop_recording(self) -> None:
        if self._recorder is not None:
            recorder, self._recorder = self._recorder, None
            await asyncio.to_thread(recorder.close)

    # ---- the state file

    async def _load(self, path: Path | None) -> Mapping[str, TargetState]:
        if path is None:
            return {}
        if isinstance(self._boot, Unavailable):
            raise StartError(f"the boot id cannot be read: {self._boot.detail}")
        saved = state_file.load(path, self._boot, self._clock)
        if isinstance(saved, SavedState):
            return saved.targets
        if saved.reason is Reason.NOT_FOUND:
            return {}
        if saved.reason is not Reason.INVALID:
            raise StartError(f"the state file cannot be read: {saved.detail}", is_config=True)
        aside = state_file.set_aside(path)
        if isinstance(aside, Unavailable):
            raise StartError(f"the state file is damaged and cannot be set aside: {aside.detail}")
        self._log.warning("the state file is damaged and was set aside", detail=saved.detail, path=str(aside))
        return {}

    async def save(self) -> None:
        """Write the state of all targets. A failure is logged and counted; watching and acting go on."""
        failure = await self.write_to(self._state_file)
        if failure is not None:
            self.save_failures += 1
            self._log.error("the state cannot be saved", reason=failure.reason, detail=failure.detail)

    async def write_to(self, path: Path | None) -> Unavailable | None:
        """Write the state of all targets to a file; why it could not be written."""
        if path is None or isinstance(self._boot, Unavailable):
            return None
        async with self._saving:
            if self._writing is not None and not await _within(self._writing, SAVE_DEADLINE_SECONDS):
                return Unavailable(Reason.TIMEOUT, f"{path}: an earlier write has not ended")
            self._dirty.clear()
            now = self._clock.boottime()
            states = self._removed | {name: running.watcher.state() for name, running in self._running.items()}
            state = SavedState(state_file.VERSION, self._boot, now, self._clock.wall(), states)
            self._writing = asyncio.create_task(asyncio.to_thread(state_file.write, path, state_file.dump(state)))
            if not await _within(self._writing, SAVE_DEADLINE_SECONDS):
                return Unavailable(Reason.TIMEOUT, f"{path}: not written within {SAVE_DEADLINE_SECONDS:g}s")
            return self._writing.result()

    async def _save_when_changed(self) -> None:
        while True:
            await self._dirty.wait()
            await self.save()
            await asyncio.sleep(SAVE_SECONDS)


async def _within(task: asyncio.Task[Unavailable | None], seconds: float) -> bool:
    """Is the task done within so many seconds? It goes on if not."""
    done, _ = await asyncio.wait({task}, timeout=seconds)
    return bool(done)


def _is_needed(state: TargetState, now: float) -> bool:
    """Would it matter if the target came back: is something in its budget, or is it paused?"""
    ladder = state.ladder
    remembered = ladder.last_sent_at is not None and now - ladder.last_sent_at < state.budget_per_seconds
    return remembered or (ladder.paused_until is not None and ladder.paused_until > now)
