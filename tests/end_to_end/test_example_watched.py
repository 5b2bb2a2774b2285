"""The example server under load: bounded with the kit and growing without, and cleaned up by a watchdog beside it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from mcp import Client

from examples.mcp_server.load import Load
from examples.mcp_server.load_mix import Mix, Shares
from tests.support.example_server import (
    REPOSITORY,
    Example,
    call,
    connected,
    over_stdio,
    running_example,
)
from tests.support.target import free_port
from tests.support.wait import eventually
from tests.support.watchdog import NATIVE_BODY, Watchdog, config, level, running_watchdog

MIB = 2**20
SOURCES = REPOSITORY / "watchdog"
WHOLE_FILES = Shares(search=0.9, read_file=0.05, novel=1.0, file_level=1.0, limit=25)
"""New questions with whole files as answers: 100 KB each."""


def anonymous_bytes(pid: int) -> int:
    memory = psutil.Process(pid).memory_info()
    return int(memory.rss - memory.shared)


def parts(memory: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in memory["components"]}


async def load_until(client: Client, done: Callable[[Load], bool], seconds: float = 60) -> Load:
    """As many calls as the server takes, until it is enough. Every one of them must work."""
    load = Load(client, Mix(1, WHOLE_FILES), rate=200.0, calls_at_once=4)
    running = asyncio.create_task(load.run(seconds))
    while not await asyncio.to_thread(done, load):
        assert not running.done(), f"not within {seconds:g} s"
        await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not load.report.errors
    assert not load.report.failures
    return load


@pytest.mark.parametrize("kit", ["on", "off"])
def test_it_stays_within_its_bounds_with_the_kit_and_grows_without(tmp_path: Path, kit: str) -> None:
    bounds = ("--cache-max-bytes", str(2 * MIB), "--cache-max-results", "1000", "--embeddings-max-bytes", str(MIB))

    async def play(example: Example) -> None:
        async with connected(example.mcp_url) as client:
            await call(client, "index_directory", path="memory_watchdog/sources")
            await load_until(client, lambda load: load.report.calls["search"] >= 30)
            before = anonymous_bytes(example.process.pid)
            load = await load_until(client, lambda load: load.report.calls["search"] >= 150)
            growth = anonymous_bytes(example.process.pid) - before
            held = parts(await call(client, "memory_status"))
            if kit == "off":
                # calls of the second load that were under way when it was stopped may be in it, or not
                assert held["query_cache"]["items"] >= load.report.calls["search"] - 10
                assert held["tracked_searches"]["items"] >= load.report.calls["search"] - 10
                assert growth > 8 * MIB, growth
                return
            for one in held.values():
                assert one["bytes"] <= one.get("max_bytes", 16 * MIB), one
                assert one["items"] <= one.get("max_items", 10**9), one
            assert held["semantic_cache"]["evictions"] > 0, "the bound was reached"
            assert growth < 8 * MIB, growth

    with running_example(SOURCES, tmp_path, "--kit", kit, *bounds) as example:
        asyncio.run(play(example))


def watched(url: str, used_bytes: int, **keys: Any) -> dict[str, Any]:
    """A config whose normal level is near, and needs a real reclaim to be called effective."""
    enter, leave = used_bytes + 12 * MIB, used_bytes + 6 * MIB
    normal = level("normal", f"{enter}B", f"{leave}B", min_reclaim="1MiB", **keys)
    return config(url, preset="native", limit=f"{enter + 256 * MIB}B", levels=[normal], settle="1s")


def worked(watchdog: Watchdog) -> bool:
    return bool(watchdog.said("verdict", verdict="effective"))


@pytest.mark.parametrize("way", ["native", "mcp"])
def test_a_watchdog_beside_it_cleans_it_up(tmp_path: Path, way: str) -> None:
    """Through the native contract, and by calling the server's own tool."""
    generous = ("--cache-max-bytes", str(1024 * MIB), "--cache-max-results", "100000")

    def keys(example: Example) -> dict[str, Any]:
        if way == "native":
            return {}
        tool = {"url": example.mcp_url, "tool": "cleanup_memory", "arguments": NATIVE_BODY}
        return {"cleanup": {"mcp": tool, "timeout": "10s"}}

    async def play(example: Example) -> None:
        async with connected(example.mcp_url) as client:
            await call(client, "index_directory", path="memory_watchdog/sources")
            used = anonymous_bytes(example.process.pid)
            with running_watchdog(tmp_path, watched(example.url, used, **keys(example))) as watchdog:
                await load_until(client, lambda _: worked(watchdog), seconds=90)
                metrics = watchdog.metrics()
                assert metrics.total("cleanup_reclaimed_bytes_total", level="normal") > MIB
                assert metrics.total("cleanup_failures_total") == 0
                assert metrics.value("component_evictions_total", component="semantic_cache") is not None
            held = parts(await call(client, "memory_status"))
            assert held["semantic_cache"]["evictions"] > 0

    with running_example(SOURCES, tmp_path, *generous) as example:
        asyncio.run(play(example))


def test_a_server_on_stdio_is_watched_through_its_socket(tmp_path: Path) -> None:
    socket = tmp_path / "memory.sock"
    options = ("--unix-socket", str(socket), "--cache-max-bytes", str(1024 * MIB), "--cache-max-results", "100000")

    async def play() -> None:
        async with connected(over_stdio(SOURCES, *options)) as client:
            await call(client, "index_directory", path="memory_watchdog/sources")
            used = anonymous_bytes(await asyncio.to_thread(_pid_behind, socket))
            with running_watchdog(tmp_path, watched(f"unix:{socket}", used)) as watchdog:
                await load_until(client, lambda _: worked(watchdog), seconds=90)
                assert watchdog.metrics().total("cleanup_reclaimed_bytes_total", level="normal") > MIB

    asyncio.run(play())
    eventually(lambda: not socket.exists(), what="the end of its socket")


def _pid_behind(socket: Path) -> int:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
        return int(client.get("http://localhost/memory").json()["process"]["pid"])


def test_the_load_generator_reports_what_became_of_its_calls(tmp_path: Path) -> None:

    command = [sys.executable, "-m", "examples.mcp_server.load", "--rate", "40", "--seconds", "4", "--json"]
    with running_example(SOURCES, tmp_path) as example:
        done = subprocess.run(
            [*command, "--url", example.mcp_url, "--index", "memory_watchdog/policy"],
            cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(report["calls"]) == {"search", "read_file", "get_context"}
    assert sum(report["calls"].values()) >= 20
    assert report["errors"] == report["failures"] == {}
    assert 0 < report["p50_ms"] <= report["p99_ms"]


def test_a_load_without_a_server_says_so_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.mcp_server.load", "--url", f"http://127.0.0.1:{free_port()}/mcp"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("the load has ended: ")
    assert done.stderr.count("\n") == 1
