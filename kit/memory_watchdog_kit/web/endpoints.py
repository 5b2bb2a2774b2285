"""What every way in shares: the two endpoints, from the head of a request to the answer.

Covers: paths and methods, the order of the checks, running the manager, every failure as an answer.
Leaves to others: HTTP itself (`app`, `fastapi`, `starlette`, `listener`), the rule (`access`), the shapes (`contract`).

The head alone decides whether a body is read at all: 300 MB of somebody who may not clean up are never looked at.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from memory_watchdog_kit.component import CleanupReport, Level, MemoryReport
from memory_watchdog_kit.manager import CleanupBusy
from memory_watchdog_kit.web.access import Access, Caller, Refusal
from memory_watchdog_kit.web.beside import Beside
from memory_watchdog_kit.web.contract import (
    Json,
    Unfit,
    cleanup_content,
    encoded,
    memory_content,
    parse_cleanup,
    problem,
)

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
"""A cleanup request is a level, a reason, an id and a number: a kilobyte."""

BODY_SECONDS = 10.0
"""For the whole body to arrive. A watchdog sends it with the head."""

_READING_THREADS = 2
_CLEANING_THREADS = 4  # one cleans; the others say that it is busy, or answer a repeated request


class Manager(Protocol):
    """What the endpoints ask of a `MemoryManager`."""

    def report(self) -> MemoryReport:
        """The numbers of the moment."""

    def cleanup(
        self, level: Level, *, reason: str, request_id: str | None, target_bytes: int | None, by_watchdog: bool
    ) -> CleanupReport:
        """Clean now. Raises CleanupBusy while another cleanup runs, ValueError for what it cannot be asked."""


class Route(Enum):
    """What can be asked for, by method and path below the prefix."""

    MEMORY = ("GET", "/memory")
    CLEANUP = ("POST", "/memory/cleanup")

    @property
    def method(self) -> str:
        """The only one that it takes."""
        return self.value[0]

    @property
    def path(self) -> str:
        """Where it stands, below the prefix."""
        return self.value[1]


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and its JSON; `headers` are beyond the type and the length. `closes` ends the connection."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    closes: bool = False


def answer(status: int, content: Json, *headers: tuple[str, str], closes: bool = False) -> Answer:
    """The answer that carries `content`. Nothing may keep it: it is true for this moment only."""
    return Answer(status, encoded(content), (("Cache-Control", "no-store"), *headers), closes)


def refused(status: int, detail: str, *headers: tuple[str, str]) -> Answer:
    """An answer that is not 200, after which the connection ends: what is still on its way is never read."""
    return answer(status, problem(detail), *headers, closes=True)


TOO_LARGE = refused(413, f"a body of more than {MAX_BODY_BYTES // 1024} KiB")
TOO_SLOW = refused(408, f"the body did not arrive within {BODY_SECONDS:g} s")


class Endpoints:
    """Both endpoints of one manager. What blocks is run in threads of its own by the `…_beside` methods."""

    def __init__(
        self,
        manager: Manager,
        *,
        token_file: str | os.PathLike[str] | None = None,
        allow_loopback_changes: bool = True,
        prefix: str = "",
    ) -> None:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ValueError(f"prefix {prefix!r}: it begins with a slash and does not end with one, or is empty")
        self._manager = manager
        self._access = Access(token_file, allow_loopback_changes=allow_loopback_changes)
        self._paths = {prefix + route.path: route for route in Route}
        self._reading: Beside[Answer] = Beside("memory-endpoint", _READING_THREADS)
        self._cleaning: Beside[Answer] = Beside("memory-cleanup", _CLEANING_THREADS)

    def route(self, method: str, path: str) -> Route | Answer:
        """What is asked for, or 404 or 405."""
        route = self._paths.get(path)
        if route is None:
            return refused(404, f"there is {' and '.join(self._paths)}")
        if method != route.method:
            return refused(405, f"allowed: {route.method}", ("Allow", route.method))
        return route

    def why_not(self, route: Route, caller: Caller, announced_bytes: int = 0) -> Answer | None:
        """The answer to a request that the head of it already decides; None for one that may go on."""
        reading = route is Route.MEMORY
        refusal = self._access.why_reading_refused(caller) if reading else self._access.why_change_refused(caller)
        if refusal is not None:
            return _refusal(refusal)
        return TOO_LARGE if announced_bytes > MAX_BODY_BYTES else None

    async def run(self, route: Route, body: bytes) -> Answer:
        """`answer` beside the event loop. A cleanup goes on when its caller has left."""
        threads = self._reading if route is Route.MEMORY else self._cleaning
        return await threads.run(lambda: self.answer(route, body))

    def answer(self, route: Route, body: bytes) -> Answer:
        """The endpoint itself: blocks while it runs, and raises nothing."""
        call: Callable[[], Answer] = self._memory if route is Route.MEMORY else lambda: self._clean_up(body)
        try:
            return call()
        except Exception:
            log.exception("%s %s failed", route.method, route.path)
            return answer(500, problem("it failed; the server's log says how"))

    def _memory(self) -> Answer:
        return answer(200, memory_content(self._manager.report()))

    def _clean_up(self, body: bytes) -> Answer:
        asked = parse_cleanup(body)
        if isinstance(asked, Unfit):
            return answer(422, problem(asked.detail))
        try:
            report = self._manager.cleanup(
                asked.level,
                reason=asked.reason,
                request_id=asked.request_id,
                target_bytes=asked.target_bytes,
                by_watchdog=True,
            )
        except CleanupBusy:
            return answer(409, problem("a cleanup is running"))
        except ValueError as error:
            return answer(422, problem(str(error)))
        return answer(200, cleanup_content(report))


def _refusal(refusal: Refusal) -> Answer:
    headers = (("WWW-Authenticate", "Bearer"),) if refusal.status == 401 else ()
    return refused(refusal.status, refusal.detail, *headers)
