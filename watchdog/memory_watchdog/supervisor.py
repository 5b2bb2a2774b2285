"""All targets: started, saved, stopped; and the questions that the web server asks of them.

Covers: the state file, one watcher a target, readiness, the end on a signal.
Leaves to others: one target (`watcher`), routes and sockets (`web`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from memory_watchdog import __version__, logs, state_file
from memory_watchdog.clock import Clock, boot_id
from memory_watchdog.config import Config
from memory_watchdog.ledger import Snapshot, TargetLedger
from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.reporting import Reporter
from memory_watchdog.state_file import SavedState, TargetState
from memory_watchdog.watcher import Watcher

SAVE_SECONDS = 1.0
"""State that no request waits for is written at most this often."""


class StartError(Exception):
    """The program cannot start; the text says why, in one line. `is_config`: because of what the config asks for."""

    def __init__(self, text: str, *, is_config: bool = False) -> None:
        super().__init__(text)
        self.is_config = is_config


class Supervisor:
    """Runs the watchers of a config."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._log = logs.get()
        self._boot = boot_id()
        self._watchers: list[Watcher] = []
        self._dirty = asyncio.Event()
        self._saving = asyncio.Lock()
        self.save_failures = 0

    # ---- what the web server asks

    def snapshots(self) -> list[Snapshot]:
        """Every target at this moment."""
        return [watcher.ledger.snapshot() for watcher in self._watchers]

    def ready(self) -> bool:
        """Has each target's first tick finished, whatever it saw?"""
        return bool(self._watchers) and all(watcher.ready for watcher in self._watchers)

    def stalled(self) -> list[str]:
        """The targets whose ticks have stopped."""
        return [watcher.target.name for watcher in self._watchers if watcher.stalled()]

    # ---- running

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set. Raises StartError when the state file can neither be read nor written."""
        saved = await self._load(self._config.state_file)
        self._watchers = [
            self._watcher(index, saved.get(target.name)) for index, target in enumerate(self._config.targets)
        ]
        await self._prove_writable()
        self._log.info("started", version=__version__, targets=len(self._watchers), change=True)
        tasks = [asyncio.create_task(watcher.run()) for watcher in self._watchers]
        tasks.append(asyncio.create_task(self._save_when_changed()))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            await self.save()
        for result in results:
            if isinstance(result, Exception):
                raise result
        self._log.info("stopped", change=True)

    def _watcher(self, index: int, saved: TargetState | None) -> Watcher:
        target = self._config.targets[index]
        ledger = TargetLedger(target.name)
        return Watcher(
            target,
            ledger=ledger,
            reporter=Reporter(logs.get(target=target.name), ledger, self._clock),
            clock=self._clock,
            saved=saved,
            save=self.save,
            changed=self._dirty.set,
        )

    # ---- the state file

    async def _load(self, path: Path | None) -> Mapping[str, TargetState]:
        if path is None:
            self._log.info("no state_file: a restarted watchdog will not remember cooldown, budget and pause")
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

    async def _prove_writable(self) -> None:
        failure = await self._write()
        if failure is not None:
            raise StartError(f"the state file cannot be written: {failure.detail}", is_config=True)

    async def save(self) -> None:
        """Write the state of all targets. A failure is logged and counted; watching and acting go on."""
        failure = await self._write()
        if failure is not None:
            self.save_failures += 1
            self._log.error("the state cannot be saved", reason=failure.reason, detail=failure.detail)

    async def _write(self) -> Unavailable | None:
        path = self._config.state_file
        if path is None or isinstance(self._boot, Unavailable):
            return None
        async with self._saving:
            self._dirty.clear()
            state = SavedState(
                state_file.VERSION,
                self._boot,
                self._clock.boottime(),
                self._clock.wall(),
                {watcher.target.name: watcher.state() for watcher in self._watchers},
            )
            return await asyncio.to_thread(state_file.write, path, state_file.dump(state))

    async def _save_when_changed(self) -> None:
        while True:
            await self._dirty.wait()
            await self.save()
            await asyncio.sleep(SAVE_SECONDS)
