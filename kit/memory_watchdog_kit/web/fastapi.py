"""The endpoints as a FastAPI router, described in the server's OpenAPI.

Needs the extra `fastapi`. Covers: the shapes of requests and answers as models, for the description.
Leaves to others: the checks and the answers themselves (`endpoints`); the models validate nothing here.
"""

from __future__ import annotations

import os
from typing import Any, Literal

try:
    from fastapi import APIRouter, Request, Response
    from pydantic import BaseModel, ConfigDict, Field
except ImportError as missing:
    raise ImportError(
        "memory_watchdog_kit.web.fastapi needs FastAPI: install memory-watchdog-kit[fastapi]"
    ) from missing

from memory_watchdog_kit.web.asgi import answer_to, head_of
from memory_watchdog_kit.web.contract import LARGEST_COUNT, MAX_REQUEST_ID_CHARACTERS
from memory_watchdog_kit.web.endpoints import Endpoints, Manager, Route

_SCHEMA_1 = Field(alias="schema", description="Version of this form.")
_REFUSED = {
    401: "A bearer token is needed, or is another one",
    403: "Not from there",
}
_CLEANUP_FAILED = _REFUSED | {
    408: "The body did not arrive in time",
    409: "A cleanup is running",
    413: "Too large a body",
    422: "What the body asks for cannot be done",
}


class MemoryProcess(BaseModel):
    """The server's process. What is not known is left out."""

    pid: int
    start_time_seconds: float | None = Field(None, description="When it started, in seconds since 1970.")
    resident_bytes: int | None = None
    allocator_free_bytes: int | None = Field(None, description="Freed by the program, kept by its allocator.")


class MemoryComponent(BaseModel):
    """A cache or another part of the server that holds memory. What is not known is left out."""

    name: str
    bytes: int | None = None
    items: int | None = None
    max_bytes: int | None = None
    max_items: int | None = None
    hits: int | None = None
    misses: int | None = None
    evictions: int | None = None
    expirations: int | None = None
    file_bytes: int | None = Field(None, description="Memory maps of files, which the kernel takes back by itself.")
    refill_seconds: float | None = Field(None, description="How long getting one item again takes on average.")
    error: str | None = Field(None, description="Why its numbers cannot be had.")


class MemoryAnswer(BaseModel):
    """The server's memory at this moment."""

    schema_: Literal[1] = _SCHEMA_1
    process: MemoryProcess
    components: list[MemoryComponent]


class MemoryCleanupRequest(BaseModel):
    """What is to be cleaned up."""

    model_config = ConfigDict(extra="allow")

    level: Literal["normal", "aggressive"]
    reason: str | None = Field(None, description="For the log.")
    request_id: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_REQUEST_ID_CHARACTERS,
        description="A repeated one is answered from memory and not run again.",
    )
    target_bytes: int | None = Field(None, ge=0, le=LARGEST_COUNT, description="Stop when so much is gone.")


class MemoryComponentCleanup(BaseModel):
    """What a cleanup did to one component."""

    name: str
    items_removed: int | None
    bytes_freed: int | None
    error: str | None


class MemoryCleanupAnswer(BaseModel):
    """What a cleanup did. `reclaimed_bytes` is measured on the process."""

    schema_: Literal[1] = _SCHEMA_1
    request_id: str
    level: Literal["normal", "aggressive"]
    reclaimed_bytes: int | None
    duration_seconds: float | None
    components: list[MemoryComponentCleanup]
    not_given_back: str | None = Field(None, description="Why freed pages did not go back to the system.")


class MemoryProblem(BaseModel):
    """Why a request was not answered."""

    detail: str


def memory_router(
    manager: Manager,
    *,
    token_file: str | os.PathLike[str] | None = None,
    allow_loopback_changes: bool = True,
    prefix: str = "",
) -> APIRouter:
    """A router with `GET /memory` and `POST /memory/cleanup`: `app.include_router(memory_router(manager))`.

    `token_file` and `allow_loopback_changes` say who may clean up: see `web.access`. ValueError for a prefix that does
    not begin with a slash, or ends with one.
    """
    endpoints = Endpoints(manager, token_file=token_file, allow_loopback_changes=allow_loopback_changes, prefix=prefix)
    router = APIRouter(prefix=prefix, tags=["memory"])

    @router.get(
        Route.MEMORY.path,
        operation_id="get_memory",
        response_model=MemoryAnswer,
        responses=_described(_REFUSED),
    )
    async def memory(request: Request) -> Response:
        """The process and everything in it that holds memory, at this moment."""
        return await _answered(endpoints, Route.MEMORY, request)

    @router.post(
        Route.CLEANUP.path,
        operation_id="clean_up_memory",
        response_model=MemoryCleanupAnswer,
        responses=_described(_CLEANUP_FAILED),
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _REQUEST}}}},
    )
    async def clean_up(request: Request) -> Response:
        """Clean up now, one cleanup at a time, the cheapest memory first; then give freed pages back to the system."""
        return await _answered(endpoints, Route.CLEANUP, request)

    return router


_REQUEST = MemoryCleanupRequest.model_json_schema()


def _described(statuses: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": MemoryProblem, "description": text} for status, text in statuses.items()}


async def _answered(endpoints: Endpoints, route: Route, request: Request) -> Response:
    answer = await answer_to(endpoints, route, request.scope, request.receive)
    return Response(answer.body, answer.status, head_of(answer))
