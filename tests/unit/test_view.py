"""The view of a process while things change under it: closed by a reload, a Pss that comes too late."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import psutil
import pytest
from memory_watchdog.observation import Measure, ProcessIdentity, ProcessMemory, Reading, Reason, Unavailable
from memory_watchdog.sources import view as module
from memory_watchdog.sources.discovery import ByPid, ByPort, Finder
from memory_watchdog.sources.process import ProcessTree, measured
from memory_watchdog.sources.view import ProcessView


def test_a_view_that_is_closed_while_it_looks_ends_as_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload does that. The tick that waits must get a value, not an exception that ends the watching."""
    entered, go_on = threading.Event(), threading.Event()

    def slow(finder: Finder, proc: object) -> ProcessIdentity | Unavailable:
        entered.set()
        go_on.wait(10)
        return ProcessIdentity(os.getpid(), 1)

    monkeypatch.setattr(module, "find", slow)

    async def look() -> None:
        view = ProcessView(ByPid(os.getpid()))
        looking = asyncio.create_task(view.read(0.0, 5.0))
        await asyncio.to_thread(entered.wait, 10)
        view.close()
        go_on.set()
        seen = await looking
        assert isinstance(seen.identity, Unavailable)
        assert seen.identity.reason is Reason.PENDING

    asyncio.run(look())


def test_a_pss_that_comes_late_is_no_reading_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()

    def slow(tree: ProcessTree) -> Reading:
        go_on.wait(10)
        return 12345

    monkeypatch.setattr(module, "PSS_DEADLINE_SECONDS", 0.05)
    monkeypatch.setattr(ProcessTree, "proportional", slow)

    async def look() -> None:
        view = ProcessView(ByPid(os.getpid()))
        await view.read(0.0, 5.0)
        reading, rest = await view.proportional()
        assert isinstance(reading, Unavailable)
        assert reading.reason is Reason.TIMEOUT
        assert rest == pytest.approx(0.05 / module.PSS_SHARE)
        go_on.set()
        monkeypatch.setattr(module, "PSS_DEADLINE_SECONDS", 5.0)
        late, rest = await view.proportional()
        assert isinstance(late, Unavailable), "it is 0.05 s old at least, with real values minutes"
        assert rest >= 0.05 / module.PSS_SHARE / 2, "the time that it really took counts in the budget"
        again, _ = await view.proportional()
        assert again == 12345
        view.close()

    asyncio.run(look())


def test_without_proc_psutil_reads_what_it_can(tmp_path: Path) -> None:
    async def look() -> None:
        view = ProcessView(ByPid(os.getpid()), tmp_path / "no proc")
        seen = await view.read(0.0, 5.0)
        assert isinstance(seen.memory, ProcessMemory)
        assert seen.memory.resident_bytes > 0
        assert isinstance(seen.memory.anonymous_bytes, Unavailable)
        assert measured(seen.memory, Measure.RSS) == seen.memory.resident_bytes
        assert isinstance(measured(seen.memory, Measure.ANON), Unavailable)
        assert view.start_time_seconds == pytest.approx(psutil.Process().create_time(), abs=0.02)
        view.close()
        other = await ProcessView(ByPort(1), tmp_path / "no proc").read(0.0, 5.0)
        assert isinstance(other.identity, Unavailable)
        assert other.identity.reason is Reason.UNSUPPORTED

    asyncio.run(look())
