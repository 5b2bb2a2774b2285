"""The log: every line parses in both forms, repeated lines are held back, nothing breaks a line."""

from __future__ import annotations

import json
import logging
import re
import shlex
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog import logs
from memory_watchdog.logs import RepeatLimiter
from memory_watchdog.observation import Reason

HOSTILE = 'a "b" \\ = \n{"x": 1}\r\x1b[31m\x00\u2028\ud800ü'


def logfmt(line: str) -> dict[str, str]:
    """A reader of logfmt of our own: key=value, a value in quotes where it needs them."""
    parsed, rest = {}, line
    while rest:
        match = re.match(r'([A-Za-z_]+)=("(?:[^"\\]|\\.)*"|[^" ]*)(?: |$)', rest)
        assert match, rest
        key, value = match.groups()
        assert key not in parsed
        parsed[key] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        rest = rest[match.end() :]
    return parsed


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    captured = capfd.readouterr()
    assert captured.out == ""
    assert not captured.err or captured.err.endswith("\n")
    return captured.err.splitlines()


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_whatever_is_said_is_one_line_that_parses(capfd: pytest.CaptureFixture[str], form: Any) -> None:
    logs.configure("info", form)
    log = logs.get(target=HOSTILE)
    log.info("said", detail=HOSTILE, number=1.5, nothing=None, flag=True, reason=Reason.TIMEOUT, several=[HOSTILE])
    log.warning(HOSTILE)
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.exception("failed")
    logging.getLogger("uvicorn.error").warning("from a %s", HOSTILE, extra={"more": HOSTILE})
    written = lines(capfd)
    assert len(written) == 4
    assert all(line.isprintable() for line in written)
    parsed: list[dict[str, Any]] = [json.loads(line) if form == "json" else logfmt(line) for line in written]
    for line in parsed:
        assert {"ts", "level", "msg"} <= line.keys()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["ts"])
    assert [line["level"] for line in parsed] == ["info", "warning", "error", "warning"]
    assert parsed[0]["reason"] == "timeout"
    assert parsed[0]["flag"] == (True if form == "json" else "true")
    assert 'a "b"' in parsed[0]["detail"]
    assert "ValueError" in parsed[2]["exception"]
    assert parsed[3]["msg"].startswith("from a")
    if form == "logfmt":
        assert [line.split("=", 1)[0] for line in shlex.split(written[0].split(" target=")[0])] == [
            "ts",
            "level",
            "msg",
        ]


@given(st.text(max_size=60))
def test_any_text_survives_logfmt_as_one_printable_value(text: str) -> None:
    line = logs._on_one_line(None, "info", {"detail": text})
    assert line["detail"].isprintable()
    rendered = structlog.processors.LogfmtRenderer()(None, "info", line)
    assert logfmt(rendered)["detail"] == (line["detail"])


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_decides_what_is_heard(capfd: pytest.CaptureFixture[str], level: str, heard: int) -> None:
    logs.configure(level, "json")
    log = logs.get()
    log.debug("d")
    log.info("i")
    log.warning("w")
    log.error("e")
    assert len(lines(capfd)) == heard
    logging.getLogger("httpx").info("a library's chatter")
    assert lines(capfd) == []


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def passed(limiter: RepeatLimiter, method: str = "info", **line: Any) -> dict[str, Any] | None:
    try:
        return dict(limiter(None, method, dict(line)))
    except structlog.DropEvent:
        return None


def test_the_same_line_comes_once_a_minute_and_then_says_how_many_were_left_out(time: Time) -> None:
    limiter = RepeatLimiter(time)
    assert passed(limiter, event="x", target="t", reason="r", detail="1") == {
        "event": "x", "target": "t", "reason": "r", "detail": "1",
    }  # fmt: skip
    for second in (1, 30, 59.9):
        time.now = second
        assert passed(limiter, event="x", target="t", reason="r", detail=str(second)) is None
    time.now = 60
    again = passed(limiter, event="x", target="t", reason="r", detail="4")
    assert again is not None
    assert again["repeated"] == 3
    time.now = 130
    assert "repeated" not in (passed(limiter, event="x", target="t", reason="r") or {"repeated": 1})


@pytest.mark.parametrize(
    "other", [{"target": "u"}, {"reason": "s"}, {"source": "b"}, {"target_level": "y"}, {"path": "/"}]
)
def test_another_target_reason_or_source_is_another_line(time: Time, other: dict[str, str]) -> None:
    limiter = RepeatLimiter(time)
    line = {"event": "x", "target": "t", "reason": "r"}
    assert passed(limiter, **line)
    assert passed(limiter, **line) is None
    assert passed(limiter, **line | other)


def test_decisions_changes_and_debug_are_never_left_out(time: Time) -> None:
    limiter = RepeatLimiter(time)
    for _ in range(3):
        assert passed(limiter, event="x", request_id="1")
        assert passed(limiter, event="x", change=True)
        assert passed(limiter, "debug", event="x")


def test_what_is_remembered_is_bounded(time: Time) -> None:
    limiter = RepeatLimiter(time)
    for number in range(5000):
        time.now = number / 1000
        assert passed(limiter, event="x", reason=str(number))
    assert len(limiter._said) == logs._MAX_REMEMBERED
    assert passed(limiter, event="x", reason="4999") is None, "the young ones are kept"


def test_the_lines_of_libraries_are_limited_too(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    for number in range(5):
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("other").warning("number %d", number)
    assert sorted(json.loads(line)["msg"] for line in lines(capfd)) == [
        "Invalid HTTP request received.", *(f"number {number}" for number in range(5)),
    ]  # fmt: skip
