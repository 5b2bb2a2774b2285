"""What is taken from a server's statistics, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.observation import Component, Reason, ServerReport, Unavailable
from memory_watchdog.outside_text import Json
from memory_watchdog.sources.stats import fold, parse_statistics

LARGEST = 2**63 - 1
COUNT_FORM = f"a whole number from 0 to {LARGEST}"


def parse(answer: Json) -> ServerReport | Unavailable:
    return parse_statistics(json.dumps(answer).encode(), 5.0)


def components(*items: Json) -> dict[str, Json]:
    return {"schema": 1, "components": list(items)}


def test_the_example_of_the_contract() -> None:
    report = parse(
        {
            "schema": 1,
            "process": {
                "pid": 4242,
                "start_time_seconds": 1795400000.5,
                "resident_bytes": 2621964288,
                "allocator_free_bytes": 52428800,
            },
            "components": [
                {
                    "name": "semantic_cache",
                    "bytes": 157810688,
                    "items": 78,
                    "max_bytes": 209715200,
                    "max_items": 100,
                    "hits": 1204,
                    "misses": 310,
                    "evictions": 55,
                    "expirations": 12,
                }
            ],
        }
    )
    assert report == ServerReport(
        answered_at=5.0,
        resident_bytes=2621964288,
        allocator_free_bytes=52428800,
        start_time_seconds=1795400000.5,
        components=(Component("semantic_cache", 157810688, 78, 209715200, 100, 1204, 310, 55, 12),),
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"schema": 1},
        {"schema": 1, "process": {}, "components": []},
        {"schema": 1, "process": None, "components": None},
        {"schema": 1.0, "process": {"pid": "whatever", "resident_bytes": None}, "news": [1, {"a": []}]},
    ],
)
def test_what_may_be_missing_is_unknown(answer: Json) -> None:
    assert parse(answer) == ServerReport(answered_at=5.0)


@pytest.mark.parametrize(
    ("component", "expected"),
    [
        ({"name": "a", "bytes": 0}, Component("a", bytes=0)),
        ({"name": "a", "items": 5.0}, Component("a", items=5)),
        ({"name": "a", "items": 1, "bytes": None, "hits": None}, Component("a", items=1)),
        ({"name": "a", "bytes": LARGEST}, Component("a", bytes=LARGEST)),
        ({"name": "a", "bytes": -0.0}, Component("a", bytes=0)),
        ({"name": "a", "bytes": 1, "unknown": "key"}, Component("a", bytes=1)),
        ({"name": "a\nb\x00\u202e\ud800", "bytes": 1}, Component("a_b___", bytes=1)),
        ({"name": "ü" * 300, "bytes": 1}, Component("ü" * 200, bytes=1)),
        ({"name": " a ", "bytes": 1}, Component("a", bytes=1)),
    ],
)
def test_a_component(component: Json, expected: Component) -> None:
    report = parse(components(component))
    assert isinstance(report, ServerReport)
    assert report.components == (expected,)


@pytest.mark.parametrize("key", ["bytes", "items", "max_bytes", "max_items", "hits", "misses", "evictions"])
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (-5, "-5"),
        (True, "true"),
        ("5", "'5'"),
        (5.5, "5.5"),
        (2**63, str(2**63)),
        (float(2**63), "9.223372036854776e+18"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (10**400, "1" + 58 * "0" + "…"),
        ([1], "a list"),
        ({}, "an object"),
        ("x" * 500, "a text of 500 characters"),
    ],
)
def test_a_number_that_is_none_is_refused_by_name(key: str, value: Json, found: str) -> None:
    good: dict[str, Json] = {"name": "a", "items": 1}
    report = parse(components(good, {"name": "b", "items": 1, key: value}))
    assert report == Unavailable(Reason.INVALID, f"components[1].{key}: found {found}, allowed: {COUNT_FORM}")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ({"schema": 2}, "schema: found 2, allowed: 1"),
        ({"schema": "1"}, "schema: found '1', allowed: 1"),
        ({"schema": True}, "schema: found true, allowed: 1"),
        ({"schema": None, "components": 3}, "schema: found null, allowed: 1"),
        ({}, "schema: found nothing, allowed: 1"),
        ([], "the answer: found a list, allowed: an object"),
        (None, "the answer: found null, allowed: an object"),
        ({"schema": 1, "process": []}, "process: found a list, allowed: an object"),
        ({"schema": 1, "components": {}}, "components: found an object, allowed: a list"),
        (components("a"), "components[0]: found 'a', allowed: an object"),
        (components({"bytes": 1}), "components[0].name: found nothing, allowed: a text that is not empty"),
        (components({"name": "", "bytes": 1}), "components[0].name: found '', allowed: a text that is not empty"),
        (components({"name": 7, "bytes": 1}), "components[0].name: found 7, allowed: a text that is not empty"),
        (
            components({"name": "a", "hits": 1}),
            "components[0]: found an object, allowed: bytes, items or both, or an error in their place",
        ),
        (
            components({"name": "a", "error": ""}),
            "components[0].error: found '', allowed: a text that is not empty, or null",
        ),
        (
            components({"name": "a", "error": 5}),
            "components[0].error: found 5, allowed: a text that is not empty, or null",
        ),
        (
            {"schema": 1, "process": {"resident_bytes": -1}},
            f"process.resident_bytes: found -1, allowed: {COUNT_FORM}",
        ),
        (
            {"schema": 1, "process": {"start_time_seconds": float("nan")}},
            "process.start_time_seconds: found nan, allowed: a number of seconds from 0",
        ),
        (
            {"schema": 1, "process": {"start_time_seconds": 10**400}},
            f"process.start_time_seconds: found {'1' + 58 * '0'}…, allowed: a number of seconds from 0",
        ),
        (
            components({"name": "a", "bytes": 1}, {"name": "b", "bytes": 1}, {"name": "a", "items": 1}),
            "components: the name 'a' stands there twice",
        ),
        # the same label, once made fit for one
        (
            components({"name": "a\n", "bytes": 1}, {"name": "a_", "bytes": 1}),
            "components: the name 'a_' stands there twice",
        ),
    ],
)
def test_what_is_no_statistics_is_refused(answer: Json, detail: str) -> None:
    assert parse(answer) == Unavailable(Reason.INVALID, detail)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the answer is empty"),
        (b" \n", "the answer is empty"),
        (b'{"schema": 1, "comp', "not JSON: Unterminated string starting at: line 1 column 15 (char 14)"),
        (b"<html>", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b'{"schema": 1, "x": "\xff"}', "not UTF-8 at byte 20"),
        ('{"schema": 1}'.encode("utf-16"), "not UTF-8 at byte 0"),
        (b"[" * 500_000, "JSON that is nested too deeply"),
        (b'{"schema":' * 100_000, "JSON that is nested too deeply"),
        (b'{"schema": 1' + b"0" * 5000 + b"}", None),
    ],
)
def test_what_is_no_json_is_refused(body: bytes, detail: str | None) -> None:
    report = parse_statistics(body, 5.0)
    assert isinstance(report, Unavailable)
    assert report.reason is Reason.INVALID
    assert detail is None or report.detail == detail


def test_nesting_that_json_bears_breaks_nothing_further_on() -> None:
    for depth in (400, 800, 950):
        deep = b"[" * depth + b"]" * depth
        for body in (
            b'{"schema": 1, "x": %b}' % deep,
            b'{"schema": %b}' % deep,
            b'{"schema":1,"components":%b}' % deep,
        ):
            assert isinstance(parse_statistics(body, 5.0), ServerReport | Unavailable)


def test_a_byte_order_mark_is_let_pass() -> None:
    assert parse_statistics(b'\xef\xbb\xbf{"schema": 1}', 5.0) == ServerReport(answered_at=5.0)


def numbered(count: int) -> list[Component]:
    return [Component(f"c{index}", bytes=10, items=None, hits=3) for index in range(count)]


def test_up_to_64_components_are_left_alone() -> None:
    assert fold(numbered(64)) == tuple(numbered(64))


def test_of_more_the_first_63_stay_and_the_rest_is_added_up() -> None:
    folded = fold([*numbered(65), Component("items_only", items=7)])
    assert folded == (*numbered(63), Component("other", bytes=20, items=7))


def test_a_component_called_other_joins_the_rest() -> None:
    folded = fold([Component("other", bytes=1, hits=9), *numbered(64)])
    assert folded == (*numbered(63), Component("other", bytes=11))


def test_the_sum_stays_a_count() -> None:
    full = [Component(f"c{index}", bytes=LARGEST) for index in range(70)]
    assert fold(full)[-1] == Component("other", bytes=LARGEST)


@given(
    st.lists(st.builds(Component, name=st.text(min_size=1), bytes=st.integers(0, 2**40) | st.none()), max_size=200).map(
        lambda found: list({component.name: component for component in found}.values())
    )
)
def test_folding_loses_no_byte_and_keeps_names_apart(found: list[Component]) -> None:
    folded = fold(found)
    assert len(folded) <= 64
    assert len({component.name for component in folded}) == len(folded)
    assert sum(component.bytes or 0 for component in folded) == sum(component.bytes or 0 for component in found)


@given(st.binary(max_size=300))
def test_no_bytes_raise(body: bytes) -> None:
    assert isinstance(parse_statistics(body, 5.0), ServerReport | Unavailable)


WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "bytes", "x"]), inner),
    max_leaves=8,
)
NEAR = st.fixed_dictionaries(
    {"schema": st.just(1) | WILD},
    optional={
        "process": WILD | st.dictionaries(st.sampled_from(["resident_bytes", "start_time_seconds"]), WILD),
        "components": WILD
        | st.lists(
            st.fixed_dictionaries(
                {"name": st.text() | WILD, "bytes": st.integers(0) | WILD}, optional={"items": WILD, "hits": WILD}
            )
        ),
    },
)


@given(NEAR)
def test_whatever_comes_near_the_contract_gives_labels_and_counts_or_a_reason(answer: dict[str, Json]) -> None:
    report = parse(answer)
    if isinstance(report, Unavailable):
        assert report.reason is Reason.INVALID
        assert report.detail.isprintable()
        assert 0 < len(report.detail) <= 200
        return
    names = [component.name for component in report.components]
    assert len(set(names)) == len(names) <= 64
    for component in report.components:
        assert component.name.isprintable()
        component.name.encode()
        assert component.bytes is not None or component.items is not None
        for count in (component.bytes, component.items, component.hits):
            assert count is None or (type(count) is int and 0 <= count <= LARGEST)


def test_a_component_that_could_not_tell_does_not_hide_the_others() -> None:
    raw = {"schema": 1, "components": [{"name": "a", "error": "it\nraised"}, {"name": "b", "bytes": 5, "error": None}]}
    report = parse_statistics(json.dumps(raw).encode(), 1.0)
    assert isinstance(report, ServerReport)
    assert report.components == (Component("a", error="it raised"), Component("b", bytes=5))
