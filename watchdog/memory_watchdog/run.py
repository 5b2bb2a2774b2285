"""`memory-watchdog run`: supervisor and web server together, reloaded by SIGHUP, ended by SIGTERM.

Leaves to others: the command line (`cli`), what is watched (`supervisor`), what is served (`web`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable

from fastapi import FastAPI
from prometheus_client import ProcessCollector

from memory_watchdog import __version__, logs
from memory_watchdog.clock import Clock
from memory_watchdog.config import Config, ConfigError, ListenAddress
from memory_watchdog.ledger import Snapshot
from memory_watchdog.sources.process import raise_descriptor_limit
from memory_watchdog.supervisor import StartError, Supervisor
from memory_watchdog.watcher import Watcher
from memory_watchdog.web.app import create_app
from memory_watchdog.web.metrics import ReloadState, WatchdogCollector, registry_of
from memory_watchdog.web.server import WebServer, listen

_EXECUTOR_SECONDS = 0.5


async def run(load: Callable[[], Config]) -> None:
    """Run until SIGTERM or SIGINT. `load` reads the config, now and at every reload.

    Raises ConfigError for a bad config and StartError, with one line, when something else that is needed cannot be had.
    """
    config = load()
    logs.configure(config.log.level, config.log.format)
    raise_descriptor_limit()
    await _Program(config, load).run()
    await _end_threads()


class _Program:
    """One running watchdog. It is what the web server sees."""

    def __init__(self, config: Config, load: Callable[[], Config]) -> None:
        self._config = config
        self._load = load
        self._clock = Clock()
        self._log = logs.get()
        self._supervisor = Supervisor(self._clock)
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._reloads: set[asyncio.Task[str | None]] = set()
        self._reload_state = ReloadState(successful=True, success_wall=self._clock.wall())
        self._app = self._create_app()
        self._web_ended = False
        self._web: tuple[WebServer, asyncio.Task[None]] | None = None

    def _create_app(self) -> FastAPI:
        supervisor = self._supervisor
        collector = WatchdogCollector(
            supervisor.snapshots, lambda: supervisor.save_failures, lambda: self._reload_state
        )
        registry = registry_of(collector, lambda registry: ProcessCollector(registry=registry))
        return create_app(registry, self)

    # ---- what the routes ask

    def ready(self) -> bool:
        """Has each target's first tick finished?"""
        return self._supervisor.ready()

    def stalled(self) -> list[str]:
        """The targets whose ticks have stopped."""
        return self._supervisor.stalled()

    def snapshots(self) -> list[Snapshot]:
        """Every target at this moment."""
        return self._supervisor.snapshots()

    def watcher(self, name: str) -> Watcher | None:
        """One target."""
        return self._supervisor.watcher(name)

    def watchers(self) -> list[Watcher]:
        """All targets."""
        return self._supervisor.watchers()

    def allows_loopback_changes(self) -> bool:
        """May whoever comes over loopback change something without credentials?"""
        return self._config.web.allow_loopback_changes

    async def reload(self) -> str | None:
        """Read the config again and follow it. Answers with what is wrong; then everything goes on as before."""
        async with self._reloading:
            problem = await self._follow()
            if problem is None:
                self._reload_state = ReloadState(successful=True, success_wall=self._clock.wall())
                self._log.info("config reloaded", change=True)
            else:
                self._reload_state = ReloadState(successful=False, success_wall=self._reload_state.success_wall)
                for line in problem.splitlines():
                    self._log.error("the config was not reloaded", detail=line, change=True)
            return problem

    async def _follow(self) -> str | None:
        try:
            config = await asyncio.to_thread(self._load)
        except ConfigError as error:
            return str(error)
        unwritable = await self._supervisor.write_to(config.state_file)
        if unwritable is not None:
            return f"the state file cannot be written: {unwritable.detail}"
        listener: socket.socket | None = None
        if config.web.listen_address != self._config.web.listen_address:
            try:
                listener = _listen(config.web.listen_address)
            except StartError as error:
                return str(error)
        if config.log != self._config.log:
            logs.configure(config.log.level, config.log.format)
        before, self._config = self._config, config
        await self._supervisor.apply(config)
        if listener is not None:
            self._log.info("no longer listening", address=str(before.web.listen_address), change=True)
            old, self._web = self._web, self._serve(listener)
            if old is not None:
                old[0].stop()
        return None

    # ---- running

    async def run(self) -> None:
        await self._supervisor.prepare(self._config)
        listener = _listen(self._config.web.listen_address)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self._web = self._serve(listener)
        targets = len(self._config.targets)
        self._log.info("started", version=__version__, targets=targets, change=True)
        try:
            await self._supervisor.run(self._config, self._stop)
        finally:
            server, serving = self._web
            server.stop()
            await serving
        if self._web_ended:
            raise StartError("the web server ended by itself")
        self._log.info("stopped", change=True)

    def _hang_up(self) -> None:
        task = asyncio.create_task(self.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    def _serve(self, listener: socket.socket) -> tuple[WebServer, asyncio.Task[None]]:
        server = WebServer(self._app, listener)
        serving = asyncio.create_task(server.run())
        serving.add_done_callback(lambda _: listener.close())
        serving.add_done_callback(self._served)
        self._log.info("listening", address=_bound(listener), change=True)
        return server, serving

    def _served(self, ended: asyncio.Task[None]) -> None:
        """Without a web server nobody would see us: the program ends, and its own supervisor notices."""
        if self._web is not None and self._web[1] is ended and not self._stop.is_set():
            self._web_ended = True
            self._stop.set()


def _listen(address: ListenAddress) -> socket.socket:
    try:
        return listen(address.host, address.port)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name whose labels are too long or empty
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StartError(f"cannot listen on {address}: {reason}") from error


def _bound(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return str(ListenAddress(host, port))


async def _end_threads() -> None:
    """Let the threads end. One that is stuck in the kernel (a hung /proc read) cannot be joined: leave without it."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_EXECUTOR_SECONDS):
            await loop.shutdown_default_executor()
    except TimeoutError:
        logs.get().warning("a thread is stuck in a read; ending without it")
        sys.stderr.flush()
        os._exit(0)
