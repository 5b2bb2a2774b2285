"""The processes of the demo: the server, and a real `memory-watchdog run` beside it.

Covers: starting them, ending them whatever happens, the watchdog's log; the example server's demo uses it too.
Leaves to others: what is asked of them and shown (`show`, `story`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory_watchdog.options import ENVIRONMENT_PREFIX

LIMIT = "256MiB"
START_SECONDS = 15.0

# The shipped defaults with shorter times: a person watches this.
_CONFIG = """\
web: {{listen_address: "127.0.0.1:0"}}
log: {{format: json}}
state_file: {state_file}
targets:
  - name: demo
    url: http://127.0.0.1:{port}
    limit: {limit}
    interval: 500ms
    stats: {{interval: 1s}}
    settle: 3s
    levels:
      - {{name: normal, enter: 75%, exit: 70%, sustain: 1s, cooldown: 20s, cleanup: {cleanup}}}
      - {{name: aggressive, enter: 87.5%, exit: 80%, cooldown: 5s, cleanup: {cleanup}}}
"""
_CLEANUP = (
    '{path: /memory/cleanup, timeout: 10s, json: {level: "{level}", reason: "{reason}", request_id: "{request_id}"}}'
)


class DemoError(Exception):
    """The demo cannot go on; the text says why, in one line."""


@dataclass
class Watching:
    """The watchdog beside a server. `events` is its log, as it comes."""

    server_url: str
    watchdog_url: str
    events: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Watching]:
    """Start both; end both, whatever happens. Raises DemoError when one does not come up."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memory-watchdog-demo-")))
        server = await stack.enter_async_context(child("memory_watchdog.demo.server", stdout=True))
        port = await first_line(server, START_SECONDS)
        if not port.isdigit():
            raise DemoError("the demo's server did not start")
        text = _CONFIG.format(port=port, limit=LIMIT, cleanup=_CLEANUP, state_file=folder / "state.json")
        yield await stack.enter_async_context(watchdog_beside(f"http://127.0.0.1:{port}", folder, text))


@contextlib.asynccontextmanager
async def watchdog_beside(server_url: str, folder: Path, config_text: str) -> AsyncIterator[Watching]:
    """A real `memory-watchdog run` with this config, which is written into the folder and logs as JSON.

    Raises DemoError when it does not come up.
    """
    config = folder / "memory-watchdog.yaml"
    config.write_text(config_text, encoding="utf-8")
    async with child("memory_watchdog", "run", f"--config.file={config}") as watchdog:
        watching = Watching(server_url, await _address(watchdog))
        reader = asyncio.create_task(_pass_on(watchdog, watching.events))
        try:
            yield watching
        finally:
            reader.cancel()


async def first_line(process: asyncio.subprocess.Process, seconds: float) -> str:
    """What a child prints first; empty where it ends, or says nothing for so long."""
    assert process.stdout is not None, "asked for"
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return (await process.stdout.readline()).decode().strip()
    return ""


@contextlib.asynccontextmanager
async def child(*arguments: str, stdout: bool = False) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m …` until the block ends. Its standard output can be read, or else its standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        stdout=asyncio.subprocess.PIPE if stdout else asyncio.subprocess.DEVNULL,
        stderr=None if stdout else asyncio.subprocess.PIPE,
        # what is set for a watchdog of the user's own is not meant for this one
        env={name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)},
        start_new_session=True,  # Ctrl-C is for the demo, which ends its children itself
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(3):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _address(watchdog: asyncio.subprocess.Process) -> str:
    """Wait for the line in which the watchdog says where it listens."""
    assert watchdog.stderr is not None, "asked for"
    last: deque[str] = deque(maxlen=1)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            async for line in watchdog.stderr:
                last.append(line.decode(errors="replace").strip())
                event = _parse(line)
                if event.get("msg") == "listening":
                    return f"http://{event['address']}"
    raise DemoError(f"the watchdog did not start: {last[0] if last else 'it said nothing'}")


async def _pass_on(watchdog: asyncio.subprocess.Process, events: asyncio.Queue[dict[str, Any]]) -> None:
    assert watchdog.stderr is not None, "asked for"
    async for line in watchdog.stderr:
        await events.put(_parse(line))


def _parse(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {"msg": line.decode(errors="replace").strip()}
    return event if isinstance(event, dict) else {"msg": str(event)}
