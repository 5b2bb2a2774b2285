"""`memory-watchdog run`: supervisor and web server together, until a signal.

Leaves to others: the command line (`cli`), what is watched (`supervisor`), what is served (`web`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

from prometheus_client import ProcessCollector

from memory_watchdog import logs
from memory_watchdog.clock import Clock
from memory_watchdog.config import Config, ListenAddress
from memory_watchdog.sources.process import raise_descriptor_limit
from memory_watchdog.supervisor import StartError, Supervisor
from memory_watchdog.web.app import create_app
from memory_watchdog.web.metrics import WatchdogCollector, registry_of
from memory_watchdog.web.server import WebServer, listen

_EXECUTOR_SECONDS = 0.5


async def run(config: Config) -> None:
    """Run until SIGTERM or SIGINT. Raises StartError with one line when something needed cannot be had."""
    logs.configure(config.log.level, config.log.format)
    raise_descriptor_limit()
    address = config.web.listen_address
    try:
        listener = listen(address.host, address.port)
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name whose labels are too long or empty
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StartError(f"cannot listen on {address}: {reason}") from error
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    supervisor = Supervisor(config, Clock())
    collector = WatchdogCollector(supervisor.snapshots, lambda: supervisor.save_failures)
    registry = registry_of(collector, lambda registry: ProcessCollector(registry=registry))
    web = WebServer(create_app(registry, supervisor), listener)
    serving = asyncio.create_task(web.run())
    logs.get().info("listening", address=_bound(listener), change=True)
    serving.add_done_callback(lambda _: stop.set())
    try:
        await supervisor.run(stop)
    finally:
        web.stop()
        await serving
        listener.close()
    await _end_threads()


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
