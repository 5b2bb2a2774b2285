"""The wire contract as pure functions."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit import (
    Cleaned,
    CleanupReport,
    ComponentCleanup,
    ComponentReport,
    Level,
    MemoryReport,
    Statistics,
)
from memory_watchdog_kit.web.contract import (
    LARGEST_COUNT,
    CleanupAsked,
    Unfit,
    cleanup_content,
    encoded,
    memory_content,
    parse_cleanup,
)


def report_of(*components: ComponentReport, **process: Any) -> MemoryReport:
    known: dict[str, Any] = {
        "pid": 7, "start_time_seconds": 1.5, "resident_bytes": 100, "allocator_free_bytes": None,
    }  # fmt: skip
    return MemoryReport(**(known | process), components=components)


def test_a_report_is_what_the_contract_shows() -> None:
    numbers = Statistics(bytes=10, items=2, max_bytes=20, hits=3, misses=4, refill_seconds=0.25)
    content = memory_content(report_of(ComponentReport("cache", numbers), allocator_free_bytes=5))
    assert content == {
        "schema": 1,
        "process": {"pid": 7, "start_time_seconds": 1.5, "resident_bytes": 100, "allocator_free_bytes": 5},
        "components": [
            {"name": "cache", "bytes": 10, "items": 2, "max_bytes": 20, "hits": 3, "misses": 4, "refill_seconds": 0.25}
        ],
    }


def test_what_is_not_known_is_left_out() -> None:
    content = memory_content(report_of(start_time_seconds=math.nan))
    assert content["process"] == {"pid": 7, "resident_bytes": 100}


def test_a_component_without_numbers_has_its_error() -> None:
    content = memory_content(report_of(ComponentReport("cache", None, "boom\nin line 3"), ComponentReport("b", None)))
    assert content["components"] == [
        {"name": "cache", "error": "boom in line 3"},
        {"name": "b", "error": "an error without a text"},
    ]


@pytest.mark.parametrize(
    ("statistics", "why"),
    [
        (Statistics(bytes=-1), "its statistics say bytes -1"),
        (Statistics(items=2**63), "its statistics say items 9223372036854775808"),
        (Statistics(bytes=1, hits=True), "its statistics say hits True"),
        (Statistics(bytes=1.5), "its statistics say bytes 1.5"),  # type: ignore[arg-type]
        (Statistics(items=1, refill_seconds=math.nan), "its statistics say refill_seconds nan"),
        (Statistics(items=1, refill_seconds="soon"), "its statistics say refill_seconds 'soon'"),  # type: ignore[arg-type]
        (Statistics(hits=3), "its statistics tell neither bytes nor items"),
    ],
)
def test_an_impossible_number_is_that_components_error_alone(statistics: Statistics, why: str) -> None:
    content = memory_content(report_of(ComponentReport("a", statistics), ComponentReport("b", Statistics(items=1))))
    assert content["components"] == [{"name": "a", "error": why}, {"name": "b", "items": 1}]


def test_numbers_of_numpy_are_numbers() -> None:
    numbers = Statistics(bytes=np.int64(3), items=np.uint8(1), refill_seconds=np.float32(0.5))  # type: ignore[arg-type]
    content = memory_content(report_of(ComponentReport("a", numbers)))
    assert json.loads(encoded(content))["components"] == [{"name": "a", "bytes": 3, "items": 1, "refill_seconds": 0.5}]


def test_a_cleanup_is_what_the_contract_shows() -> None:
    components = (ComponentCleanup("a", Cleaned(2, 30)), ComponentCleanup("b", Cleaned(), "boom"))
    content = cleanup_content(CleanupReport("id", Level.NORMAL, 25, 0.0410004, components))
    assert content == {
        "schema": 1, "request_id": "id", "level": "normal", "reclaimed_bytes": 25, "duration_seconds": 0.041,
        "components": [
            {"name": "a", "items_removed": 2, "bytes_freed": 30, "error": None},
            {"name": "b", "items_removed": 0, "bytes_freed": 0, "error": "boom"},
        ],
    }  # fmt: skip


def test_an_unknown_reclaim_and_pages_that_stay_are_told() -> None:
    report = CleanupReport("id", Level.AGGRESSIVE, None, math.inf, (), not_given_back="no malloc_trim here")
    content = cleanup_content(report)
    assert content["reclaimed_bytes"] is None
    assert content["duration_seconds"] is None
    assert content["not_given_back"] == "no malloc_trim here"


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text()


@given(
    st.lists(st.builds(ComponentReport, st.text(), st.none() | st.builds(Statistics, *[anything] * 10), st.text())),
    st.builds(CleanupReport, st.text(), st.sampled_from(Level), st.integers(), st.floats(), st.just(()), st.text()),
)
def test_any_report_is_json_that_every_reader_takes(components: list[ComponentReport], cleanup: CleanupReport) -> None:
    for content in (memory_content(report_of(*components)), cleanup_content(cleanup)):
        raw = encoded(content)
        assert json.loads(raw, parse_constant=pytest.fail) == content
    for told, one in zip(memory_content(report_of(*components))["components"], components, strict=True):  # type: ignore[arg-type]
        assert isinstance(told, dict)
        assert told["name"] == one.name
        assert told.keys() & {"bytes", "items", "error"}


def test_a_request_is_what_it_says() -> None:
    body = {"level": "normal", "reason": "over\nit", "request_id": "x", "target_bytes": 5.0, "unknown": [1]}
    assert parse_cleanup(json.dumps(body).encode()) == CleanupAsked(Level.NORMAL, "over it", "x", 5)
    assert parse_cleanup(b'\xef\xbb\xbf{"level": "aggressive", "target_bytes": null}') == CleanupAsked(Level.AGGRESSIVE)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body: found nothing, allowed: an object with level"),
        (b"[]", "the body: found a list, allowed: an object with level"),
        (b"null", "the body: found null, allowed: an object with level"),
        (b"{", "the body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"\xff", "the body is not UTF-8 at byte 0"),
        (b"[" * 100_000, "the body is nested too deeply"),
        (b"{}", "level: found nothing, allowed: normal or aggressive"),
        (b'{"level": null}', "level: found null, allowed: normal or aggressive"),
        (b'{"level": "Normal"}', "level: found 'Normal', allowed: normal or aggressive"),
        (b'{"level": {"a": 1}}', "level: found an object, allowed: normal or aggressive"),
        (b'{"level": "%s"}' % (b"x" * 61), "level: found a text of 61 characters, allowed: normal or aggressive"),
        (b'{"level": "normal", "reason": 3}', "reason: found 3, allowed: a text"),
        (b'{"level": "normal", "request_id": ""}', "request_id: found '', allowed: a text of 1 to 256 characters"),
        (
            b'{"level": "normal", "request_id": "%s"}' % (b"x" * 257),
            "request_id: found a text of 257 characters, allowed: a text of 1 to 256 characters",
        ),
        (b'{"level": "normal", "target_bytes": NaN}', "the body is not JSON: NaN is no number in JSON"),
        (b'{"level": "normal", "target_bytes": -Infinity}', "the body is not JSON: -Infinity is no number in JSON"),
    ],
)
def test_what_cannot_be_meant_is_said(body: bytes, why: str) -> None:
    assert parse_cleanup(body) == Unfit(why)


@pytest.mark.parametrize("value", ["true", "-1", "1.5", str(2**63), "1e400", '"5"', "[5]"])
def test_a_target_is_a_number_of_bytes(value: str) -> None:
    found = parse_cleanup(f'{{"level": "normal", "target_bytes": {value}}}'.encode())
    assert isinstance(found, Unfit)
    assert found.detail.startswith("target_bytes: found ")
    assert found.detail.endswith(f"allowed: a whole number from 0 to {LARGEST_COUNT}")


json_values = st.recursive(anything, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
keys = st.sampled_from(["level", "reason", "request_id", "target_bytes"])


@given(st.binary() | st.dictionaries(keys, json_values | st.sampled_from(Level)).map(lambda x: json.dumps(x).encode()))
def test_any_body_is_asked_for_or_unfit_in_one_line(body: bytes) -> None:
    found = parse_cleanup(body)
    if isinstance(found, Unfit):
        assert found.detail.isprintable()
        assert len(found.detail) < 300
    else:
        assert found.target_bytes is None or 0 <= found.target_bytes <= LARGEST_COUNT
