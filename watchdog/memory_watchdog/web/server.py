"""The listening socket and the server on it.

Leaves to others: routes (`web.app`), signals (`supervisor`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator

import anyio.to_thread
import uvicorn
from fastapi import FastAPI

HOUSEKEEPING_SECONDS = 1.0
"""How often uvicorn renews what it keeps: the Date header. Its own loop wakes ten times a second, and that alone costs
0.14 % of a core at rest, more than all ticks at one a second."""

HANDLER_THREADS = 2
"""For handlers that are plain functions. The framework would start up to 40, which cost 8 MiB that never come back."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the whole program ends on a signal, not only its web part."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End the main loop now."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """What uvicorn does until it is told to stop, less often."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HOUSEKEEPING_SECONDS):
                    await self._stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """The listening socket; an empty host is every interface, IPv6 included where there is any.

    Raises OSError when the address cannot be had.
    """
    if not host:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, backlog=512, dualstack_ipv6=dual)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=512)


class WebServer:
    """Serves an application on a socket until it is stopped."""

    def __init__(self, app: FastAPI, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,  # who may change something is judged by the socket's peer, never by a header
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._listener = listener

    async def run(self) -> None:
        """Serve until `stop`."""
        anyio.to_thread.current_default_thread_limiter().total_tokens = HANDLER_THREADS
        await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """Finish the requests at hand, for a second at most, and end."""
        self._server.stop()
