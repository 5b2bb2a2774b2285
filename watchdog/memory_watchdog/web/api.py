"""The API under /api/v1: targets, their history and events, cleanup and pause.

Handlers that only read are plain functions and run in threads; those that change something run in the event loop, where
the ladders live. Leaves to others: shapes (`web.schemas`), who may change something and how much they send
(`web.limits`).
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, HTTPException, Query, Response

from memory_watchdog.policy.events import Suppressed
from memory_watchdog.policy.settings import NONE
from memory_watchdog.watcher import Watcher
from memory_watchdog.web.schemas import (
    CleanupAnswer,
    CleanupRequest,
    EventView,
    PauseAnswer,
    PauseRequest,
    Problem,
    TargetDetail,
    TargetSummary,
    detail_of,
    event_of,
    summary_of,
)

MAX_EVENTS = 1000

_NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "No such target"}}
_FORBIDDEN: dict[int | str, dict[str, Any]] = {403: {"model": Problem, "description": "Not from there"}}
_TOO_LARGE: dict[int | str, dict[str, Any]] = {413: {"model": Problem, "description": "Too large a body"}}
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": Problem, "description": "Held back, and why"}}


class Program(Protocol):
    """What the routes ask of the running program."""

    def watcher(self, name: str) -> Watcher | None:
        """One target."""

    def watchers(self) -> list[Watcher]:
        """All targets."""

    def allows_loopback_changes(self) -> bool:
        """May whoever comes over loopback change something without credentials?"""


def create_router(program: Program) -> APIRouter:
    """The routes. Names of targets may hold slashes (a target on a Unix socket is called by its path)."""
    router = APIRouter(prefix="/api/v1")

    def watcher_of(name: str) -> Watcher:
        watcher = program.watcher(name)
        if watcher is None:
            known = ", ".join(other.target.name for other in program.watchers()[:10])
            raise HTTPException(404, f"no target {name[:200]!r}; there are: {known}")
        return watcher

    @router.get("/targets", operation_id="list_targets")
    def targets() -> list[TargetSummary]:
        """Every target in a line."""
        return [summary_of(watcher.ledger.snapshot()) for watcher in program.watchers()]

    @router.get("/events", operation_id="list_events")
    def events(target: str | None = None, limit: Annotated[int, Query(ge=1, le=MAX_EVENTS)] = 100) -> list[EventView]:
        """What happened, newest first."""
        watchers = program.watchers()
        found = [
            event_of(watcher.target.name, happening)
            for watcher in watchers
            if target is None or watcher.target.name == target
            for happening in watcher.ledger.events()
        ]
        found.sort(key=lambda event: event.timestamp_seconds, reverse=True)
        return found[:limit]

    @router.post(
        "/targets/{name:path}/cleanup", operation_id="clean_up", status_code=202,
        responses=_NOT_FOUND | _FORBIDDEN | _TOO_LARGE | _CONFLICT,
    )  # fmt: skip
    async def clean_up(name: str, body: CleanupRequest) -> CleanupAnswer:
        """Send a cleanup now. It skips cooldown, budget and pause; never a request in flight, never dry run."""
        watcher = watcher_of(name)
        level = body.level or _default_level(watcher)
        try:
            sent = watcher.clean_up(level, body.reason)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        if isinstance(sent, Suppressed):
            raise HTTPException(409, _held_back(sent))
        return CleanupAnswer(request_id=sent.request_id, level=sent.level, target_bytes=sent.target_bytes)

    @router.post(
        "/targets/{name:path}/pause", operation_id="pause", responses=_NOT_FOUND | _FORBIDDEN | _TOO_LARGE
    )  # fmt: skip
    async def pause(name: str, body: PauseRequest) -> PauseAnswer:
        """Send nothing for a while, except by hand. A new pause takes the place of the old one."""
        return PauseAnswer(paused_until_timestamp_seconds=await watcher_of(name).pause(body.seconds))

    @router.delete(
        "/targets/{name:path}/pause", operation_id="resume", status_code=204,
        responses=_NOT_FOUND | _FORBIDDEN,
    )  # fmt: skip
    async def resume(name: str) -> Response:
        """End the pause."""
        await watcher_of(name).resume()
        return Response(status_code=204)

    # Last: its path would take the others', since a name may hold slashes.
    @router.get("/targets/{name:path}", operation_id="get_target", responses=_NOT_FOUND)
    def target(name: str) -> TargetDetail:
        """One target with its components and the history of the last hour."""
        watcher = watcher_of(name)
        return detail_of(watcher.ledger.snapshot(), watcher.ledger.samples())

    return router


def _held_back(note: Suppressed) -> str:
    """Reason and detail, once each: some details begin with the reason in words."""
    words = str(note.reason).replace("_", " ")
    return note.detail if note.detail.startswith(words) else f"{note.reason}: {note.detail}"


def _default_level(watcher: Watcher) -> str:
    sending = [level.name for level in watcher.target.levels if level.cleanup is not None]
    held = watcher.ledger.snapshot().standing.level
    if held != NONE and held in sending:
        return held
    return sending[0] if sending else NONE
