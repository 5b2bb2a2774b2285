"""The routes: metrics, health, landing page.

Leaves to others: the collector (`web.metrics`), sockets and signals (`web.server`).
"""

from __future__ import annotations

import asyncio
import gzip
import html
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Protocol

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder, gzip_accepted

from memory_watchdog import __version__
from memory_watchdog.config_errors import escaped
from memory_watchdog.web.api import Program as ApiProgram
from memory_watchdog.web.api import create_router
from memory_watchdog.web.limits import Limits

SCRAPE_THREADS = 2
"""Rendering is pure Python and takes 3 ms: more threads make it no faster, and 40 of them, as the framework would start
for 50 scrapes side by side, cost 8 MiB that never come back."""

_READ = ["GET", "HEAD"]
_MISTAKES_SHOWN = 20


class Program(ApiProgram, Protocol):
    """What the routes ask of the running program."""

    def ready(self) -> bool:
        """Has each target's first tick finished, whatever it saw?"""

    def stalled(self) -> list[str]:
        """The targets whose ticks have stopped."""

    async def reload(self) -> str | None:
        """Read the config again; answers with what is wrong."""


def create_app(registry: CollectorRegistry, program: Program) -> FastAPI:
    """The application. An exposition is rendered in a thread, outside the event loop that ticks."""
    app = FastAPI(
        title="memory-watchdog", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )
    app.add_middleware(Limits, allows_loopback=program.allows_loopback_changes)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.include_router(create_router(program))
    threads = ThreadPoolExecutor(SCRAPE_THREADS, thread_name_prefix="scrape")

    @app.api_route("/metrics", methods=_READ, include_in_schema=False)
    async def metrics(request: Request, name: Annotated[list[str] | None, Query(alias="name[]")] = None) -> Response:
        """Text or OpenMetrics, as the client asks; `name[]` restricts it, as everywhere in this field."""
        accept, accept_encoding = (request.headers.get(header, "") for header in ("accept", "accept-encoding"))
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads, _exposition, registry, name, accept, accept_encoding)

    @app.api_route("/-/healthy", methods=_READ, include_in_schema=False)
    async def healthy() -> PlainTextResponse:
        """200 while every target's ticks go on."""
        stalled = program.stalled()
        if stalled:
            return PlainTextResponse(f"ticks have stopped: {', '.join(stalled)}\n", status_code=503)
        return PlainTextResponse("memory-watchdog is healthy.\n")

    @app.api_route("/-/ready", methods=_READ, include_in_schema=False)
    async def ready() -> PlainTextResponse:
        """200 as soon as each target was looked at once."""
        if program.ready():
            return PlainTextResponse("memory-watchdog is ready.\n")
        return PlainTextResponse("the first tick has not finished yet\n", status_code=503)

    @app.post("/-/reload", include_in_schema=False)
    async def reload() -> PlainTextResponse:
        """Read the config again. 500 with what is wrong; the old config then stays in force."""
        problem = await program.reload()
        if problem is not None:
            return PlainTextResponse(f"{problem}\n", status_code=500)
        return PlainTextResponse("reloaded\n")

    @app.api_route("/", methods=_READ, include_in_schema=False)
    async def landing() -> HTMLResponse:
        """A plain page with links."""
        return HTMLResponse(_LANDING)

    return app


async def _unfit(_: Request, error: Exception) -> JSONResponse:
    """422 without what was sent: JSON cannot repeat a lone surrogate or an infinity, and nobody needs to read it."""
    assert isinstance(error, RequestValidationError), "it is registered for these"
    detail = [
        {
            "loc": [part if isinstance(part, int) else escaped(str(part)) for part in one["loc"]],
            "msg": one["msg"],
            "type": one["type"],
        }
        for one in error.errors()[:_MISTAKES_SHOWN]
    ]
    return JSONResponse({"detail": detail}, 422)


def _exposition(registry: CollectorRegistry, names: list[str] | None, accept: str, accept_encoding: str) -> Response:
    encode, content_type = choose_encoder(accept)
    body = encode(registry.restricted_registry(names) if names else registry)
    headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
    if gzip_accepted(accept_encoding):
        # Level 1: 40 kB of exposition take 0.4 ms instead of 2 and come out a fifth larger.
        body = gzip.compress(body, compresslevel=1)
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers)


_LINKS = (
    ("/metrics", "Metrics", "for Prometheus"),
    ("/-/healthy", "Healthy", "the ticks go on"),
    ("/-/ready", "Ready", "each target was looked at once"),
    ("/api/v1/targets", "Targets", "as JSON"),
    ("/api/v1/openapi.json", "API", "its OpenAPI description"),
)
_ITEMS = "\n".join(
    f'<li><a href="{path.removeprefix("/")}">{html.escape(title)}</a>: {html.escape(text)}</li>'
    for path, title, text in _LINKS
)
_LANDING = f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>memory-watchdog</title></head>
<body>
<h1>memory-watchdog</h1>
<p>Version {html.escape(__version__)}</p>
<ul>
{_ITEMS}
</ul>
</body>
</html>
"""
