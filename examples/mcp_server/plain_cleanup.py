"""The least that a server without the kit needs to be guarded: `GET /memory` and `POST /memory/cleanup`, by hand.

Covers: `PlainCleanup`: the statistics and the cleanup of `without_kit`, the oldest first and in small steps, pages
back to the system by `malloc_trim`; the two endpoints of the wire contract.
Leaves to others: what is kept (`without_kit`), who may call from where: the endpoints answer loopback only.

It knows the number of things and not their bytes: sizing live objects would take longer than dropping them.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psutil
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from examples.mcp_server.keeping import BusyError, Json

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

    from examples.mcp_server.without_kit import KeepingWithoutKit

log = logging.getLogger(__name__)

SHARES = {"normal": 0.2, "aggressive": 0.5}
_STEP_ITEMS = 200
"""So many are dropped under the lock before the others may have it: below a millisecond."""

_STEPS_A_ROUND = 10
"""Before a target is compared: pages must be given back for that, which takes 40 ms and more."""

_REMEMBERED_ANSWERS = 100
_MAX_BODY_BYTES = 64 * 1024


class PlainCleanup:
    """Statistics and cleanup of a server that keeps everything."""

    def __init__(self, keeping: KeepingWithoutKit) -> None:
        self._keeping = keeping
        self._running = threading.Lock()
        self._answers: OrderedDict[str, Json] = OrderedDict()
        self._process = psutil.Process()

    def memory(self) -> Json:
        """The process and how many things there are."""
        return {
            "schema": 1,
            "process": {
                "pid": os.getpid(),
                "start_time_seconds": self._process.create_time(),
                "resident_bytes": self._process.memory_info().rss,
            },
            "components": [{"name": name, "items": len(held)} for name, held in self._parts()],
        }

    def run(self, level: str, reason: str, request_id: str | None, target_bytes: int | None) -> Json:
        """Drop the oldest fifth of everything, or half of it; with a target, in rounds until that is reached.

        A known `request_id` is answered from memory. Raises ValueError for an unknown level, BusyError while another
        cleanup runs.
        """
        if level not in SHARES:
            raise ValueError(f"{level!r:.100} is no level: {', '.join(SHARES)}")
        log.info("cleanup %s: %.200r", level, reason)
        asked = request_id or uuid.uuid4().hex
        if not self._running.acquire(blocking=False):
            raise BusyError("a cleanup is running")
        try:
            if asked not in self._answers:
                self._answers[asked] = self._clean(level, asked, target_bytes)
                if len(self._answers) > _REMEMBERED_ANSWERS:
                    self._answers.popitem(last=False)
            return self._answers[asked]
        finally:
            self._running.release()

    def _clean(self, level: str, request_id: str, target_bytes: int | None) -> Json:
        started, before = time.monotonic(), self._process.memory_info().rss
        removed = {name: 0 for name, _ in self._parts()}
        left = {name: int(len(held) * SHARES[level]) for name, held in self._parts()}
        while any(left.values()) and (target_bytes is None or self._gone(before) < target_bytes):
            for _ in range(_STEPS_A_ROUND):
                for name, held in self._parts():
                    count = min(left[name], _STEP_ITEMS)
                    self._drop(held, count)
                    left[name] -= count
                    removed[name] += count
        return {
            "schema": 1,
            "request_id": request_id,
            "level": level,
            "reclaimed_bytes": max(0, self._gone(before)),
            "duration_seconds": time.monotonic() - started,
            "components": [{"name": name, "items_removed": count, "error": None} for name, count in removed.items()],
        }

    def _gone(self, before: int) -> int:
        _give_back()
        return before - self._process.memory_info().rss

    def _parts(self) -> Sequence[tuple[str, Any]]:
        keeping = self._keeping
        return (
            ("query_cache", keeping.results),
            ("embedding_cache", keeping.embeddings),
            ("tracked_files", keeping.files),
            ("tracked_searches", keeping.searches),
            ("timeline", keeping.timeline),
        )

    def _drop(self, held: OrderedDict[Any, Any] | list[Any], count: int) -> None:
        with self._keeping.lock:
            if isinstance(held, list):
                del held[:count]
            else:
                for _ in range(count):
                    held.popitem(last=False)


def _give_back() -> None:
    """Free pages to the system. Through `CDLL` other threads run meanwhile; without glibc there is nothing to call."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def add_plain_endpoints(server: MCPServer, cleanup: PlainCleanup) -> None:
    """`GET /memory` and `POST /memory/cleanup`, for loopback only."""

    async def memory(request: Request) -> Response:
        return _refused(request) or JSONResponse(await asyncio.to_thread(cleanup.memory))

    async def clean(request: Request) -> Response:
        return _refused(request) or await _answer(request, cleanup)

    server.custom_route("/memory", methods=["GET"])(memory)
    server.custom_route("/memory/cleanup", methods=["POST"])(clean)


def _refused(request: Request) -> Response | None:
    """Loopback, no proxy, no page of another site: what the kit's endpoints look at too."""
    host = (request.url.hostname or "").lower()
    is_local = request.client is not None and request.client.host in {"127.0.0.1", "::1"}
    is_direct = not any(name == "forwarded" or name.startswith("x-forwarded-") for name in request.headers)
    if is_local and is_direct and host in {"127.0.0.1", "::1", "localhost"} and "origin" not in request.headers:
        return None
    return JSONResponse({"detail": "only for loopback, and not through a proxy or a browser's page"}, 403)


async def _answer(request: Request, cleanup: PlainCleanup) -> Response:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_BODY_BYTES:
            return JSONResponse({"detail": f"a body of at most {_MAX_BODY_BYTES} bytes"}, 413)
    try:
        asked = json.loads(body)
        target, request_id = asked.get("target_bytes"), asked.get("request_id")
        if not (target is None or type(target) is int) or not (request_id is None or isinstance(request_id, str)):
            raise ValueError("target_bytes is a number of bytes, request_id a text")
        reason = str(asked.get("reason", ""))
        answer = await asyncio.to_thread(cleanup.run, str(asked["level"]), reason, request_id, target)
    except BusyError as error:
        return JSONResponse({"detail": str(error)}, 409)
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        return JSONResponse({"detail": f"not a cleanup request: {error!r:.200}"}, 422)
    return JSONResponse(answer)
