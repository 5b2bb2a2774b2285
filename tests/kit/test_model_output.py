"""What workers print, as lines of a log."""

from __future__ import annotations

import logging
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit.model_host.output import LINES_PER_SECOND, Output

LOG = logging.getLogger("memory_watchdog_kit.model_host")


@pytest.fixture
def output() -> Output:
    reading, writing = os.pipe()
    os.close(writing)
    return Output(reading, LOG, "models: model a")


def test_lines_are_put_together_from_pieces(output: Output, caplog: pytest.LogCaptureFixture) -> None:
    for piece in (b"one\ntw", b"", b"o\r\n\n  three", b"\xff\x1b[1m"):
        output.feed(piece, 0.0)
    assert caplog.messages == ["models: model a: one", "models: model a: two"]
    output.close()
    assert caplog.messages[2] == "models: model a:   three� [1m"


def test_more_than_a_second_allows_is_counted(output: Output, caplog: pytest.LogCaptureFixture) -> None:
    output.feed(b"x\n" * (LINES_PER_SECOND + 3), 1.0)
    output.feed(b"y\n", 1.9)
    output.feed(b"z\n", 2.0)
    output.close()
    assert caplog.messages[-2:] == ["models: model a: … and 4 more lines", "models: model a: z"]
    assert len(caplog.messages) == LINES_PER_SECOND + 2


@given(st.lists(st.binary(max_size=9000), max_size=5))
def test_whatever_is_printed_lines_are_short_and_printable(pieces: list[bytes]) -> None:
    records: list[str] = []
    log = logging.Logger("mine")
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    reading, writing = os.pipe()
    os.close(writing)
    output = Output(reading, log, "a")
    for now, piece in enumerate(pieces):
        output.feed(piece, float(now))
    output.close()
    assert all(message.isprintable() and len(message) < 400 for message in records)
