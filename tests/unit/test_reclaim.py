"""Asking the kernel to reclaim: what is written where, and what its answers mean."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.actions.reclaim import FILE, Reclaim, no_home, reclaim
from memory_watchdog.actions.steps import clean_up_in_steps
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.config import ConfigError, load
from memory_watchdog.observation import Outcome, OutcomeKind, Reason, Unavailable
from memory_watchdog.parts import cleanup_requests

VALUES = Placeholders("id-1", "because", "high", target_bytes=4096)


def asked(home: Path | Unavailable, values: Placeholders = VALUES, **keys: Any) -> Outcome:
    return asyncio.run(reclaim(lambda: home, Reclaim(**keys), values))


def test_the_amount_is_written_and_claimed(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("")
    outcome = asked(tmp_path)
    assert (outcome.kind, outcome.claimed_bytes, outcome.request_id) == (OutcomeKind.DONE, 4096, "id-1")
    assert (tmp_path / FILE).read_text() == "4096"


def test_without_an_amount_or_a_cgroup_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("")
    outcome = asked(tmp_path, replace(VALUES, target_bytes=None))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.UNREACHED, Reason.NOT_SENT)
    assert (tmp_path / FILE).read_text() == ""
    gone = asked(Unavailable(Reason.GONE, "moved"))
    assert (gone.kind, gone.reason, gone.detail) == (OutcomeKind.UNREACHED, Reason.GONE, "moved")
    assert isinstance(no_home(), Unavailable)


def test_what_the_kernel_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = asked(tmp_path)
    assert (missing.kind, missing.reason) == (OutcomeKind.UNREACHED, Reason.UNSUPPORTED)
    assert "since 5.19" in missing.detail

    def answers(error: int) -> Outcome:
        def write(*_: object) -> int:
            raise OSError(error, os.strerror(error))

        (tmp_path / FILE).write_text("")
        monkeypatch.setattr(os, "write", write)
        return asked(tmp_path)

    some = answers(errno.EAGAIN)
    assert (some.kind, some.claimed_bytes) == (OutcomeKind.DONE, None)
    assert some.detail == "less than 4.00 KiB was to be had"
    assert answers(errno.EACCES).reason is Reason.PERMISSION
    assert answers(errno.ENODEV).reason is Reason.GONE
    broken = answers(errno.EIO)
    assert (broken.kind, broken.reason) == (OutcomeKind.FAILED, Reason.UNREADABLE)


def test_a_kernel_that_takes_long_is_a_timeout(tmp_path: Path) -> None:
    """A pipe that nobody reads: opening it waits, as a write to the file may."""
    os.mkfifo(tmp_path / FILE)

    async def ask() -> Outcome:
        outcome = await reclaim(lambda: tmp_path, Reclaim(0.2), VALUES)
        # let the thread end, or the loop would wait for it
        threading.Thread(target=(tmp_path / FILE).read_bytes, daemon=True).start()
        return outcome

    outcome = asyncio.run(ask())
    assert (outcome.kind, outcome.reason) == (OutcomeKind.TIMEOUT, Reason.TIMEOUT)


def test_it_is_a_step_like_others_and_needs_no_url(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("")
    outcome = asyncio.run(clean_up_in_steps(None, [Reclaim(), Reclaim()], VALUES, home=lambda: tmp_path))
    assert (outcome.kind, outcome.claimed_bytes) == (OutcomeKind.DONE, 8192)


HEAD = "targets:\n  - {name: a, process: {pid: 1}, levels: [{name: x, enter: 50%, exit: 40%, cleanup: %s}]}\n"


@pytest.mark.parametrize(
    ("cleanup", "said"),
    [
        ("{reclaim: {}, path: /x}", "allowed: nothing beside reclaim but timeout"),
        ("{reclaim: {amount: 1}}", "amount"),
        ("[{reclaim: {}}, {path: /x}]", "allowed: nothing, or reclaim, where the target has no url"),
    ],
)
def test_mistakes_in_the_config(tmp_path: Path, cleanup: str, said: str) -> None:
    (tmp_path / "c.yaml").write_text(HEAD.replace("%s", cleanup))
    with pytest.raises(ConfigError, match=said):
        load({"config.file": "c.yaml"}, {}, tmp_path)


def test_the_config_without_a_url(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(HEAD.replace("%s", "{reclaim: {}, timeout: 3s}"))
    (target,) = load({"config.file": "c.yaml"}, {}, tmp_path).targets
    assert cleanup_requests(target) == {"x": (Reclaim(3.0),)}
