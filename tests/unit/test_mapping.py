"""A foreign answer to statistics, as a map says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from memory_watchdog.config import StatsConfig
from memory_watchdog.observation import Component, Reason, ServerReport, Unavailable
from memory_watchdog.outside_text import LARGEST_COUNT
from memory_watchdog.parts_mapping import statistics_map
from memory_watchdog.sources.mapping import MAX_ELEMENTS, map_statistics

from tests.unit.test_expressions import ANY_JSON

MIB = 2**20
EACH = {"each": "c", "name": "@key", "bytes": {"at": "mb", "unit": "MiB"}, "items": {"at": "n"}}


def mapped(mapping: dict[str, Any], answer: Any, form: str = "json") -> ServerReport | Unavailable:
    stats = StatsConfig.model_validate({"format": form, "map": mapping})
    compiled = statistics_map(stats)
    assert compiled is not None
    return map_statistics(compiled, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), 7.0)


def report(mapping: dict[str, Any], answer: Any, form: str = "json") -> ServerReport:
    found = mapped(mapping, answer, form)
    assert isinstance(found, ServerReport), found
    return found


def components(mapping: dict[str, Any], answer: Any) -> tuple[Component, ...]:
    return report({"components": [mapping]}, answer).components


def problem(mapping: dict[str, Any], answer: Any, form: str = "json") -> str:
    found = mapped(mapping, answer, form)
    assert isinstance(found, Unavailable), found
    assert found.reason is Reason.INVALID
    assert found.detail.isprintable()
    assert len(found.detail) <= 200
    return found.detail


def test_everything_of_a_report() -> None:
    mapping = {
        "resident": {"at": "p.rss", "unit": "MiB"},
        "allocator_free": {"sum": [{"at": "p.heap", "unit": "KB"}, {"at": "p.live", "unit": "KB", "times": -1}]},
        "values": {"revision": {"at": "r"}, "gone": {"at": "x"}},
        "components": [EACH, {"name": "vram", "bytes": {"at": "v"}}],
    }
    answer = {"p": {"rss": 2.5, "heap": 7, "live": "3"}, "r": "1234", "c": {"a": {"mb": 1, "n": 5}}, "v": [1, 2]}
    assert report(mapping, answer) == ServerReport(
        answered_at=7.0,
        resident_bytes=2621440,
        allocator_free_bytes=4000,
        components=(Component("a", bytes=MIB, items=5), Component("vram", bytes=3)),
        values={"revision": "1234"},
    )


def test_every_number_of_a_component() -> None:
    keys = ["bytes", "items", "max_bytes", "max_items", "hits", "misses", "evictions", "expirations"]
    mapping = {"name": "x"} | {key: {"at": f"k{index}"} for index, key in enumerate(keys)}
    (found,) = components(mapping, {f"k{index}": index for index in range(8)})
    expected: dict[str, Any] = {key: index for index, key in enumerate(keys)}
    assert found == Component("x", **expected)


def test_what_is_not_there_is_unknown_and_never_0() -> None:
    mapping = {
        "resident": {"at": "a"},
        "allocator_free": {"at": "b"},
        "values": {"v": {"at": "c"}},
        "components": [EACH],
    }
    assert report(mapping, {}) == ServerReport(answered_at=7.0)
    assert report(mapping, {"a": None, "b": None, "c": None}) == ServerReport(answered_at=7.0)
    assert report(mapping, None) == ServerReport(answered_at=7.0)


@pytest.mark.parametrize(
    ("mapping", "answer", "found"),
    [
        (EACH, {"c": {}}, ()),
        (EACH, {"c": []}, ()),
        (EACH, {"c": {"a": {}, "b": {"n": 0}}}, (Component("b", items=0),)),
        (EACH, {"c": {"a": None, "b": {"mb": -0.0}}}, (Component("b", bytes=0),)),
        (EACH, {"c": {"a": {"mb": "1.5"}, "b": {"n": "7"}}}, (Component("a", bytes=3 * MIB // 2), Component("b",
         items=7))),
        (EACH, {"c": [{"n": 1}, {"n": 2}]}, (Component("0", items=1), Component("1", items=2))),
        (EACH | {"each": "c[]", "name": "id"}, {"c": [{"id": "x", "n": 1}]}, (Component("x", items=1),)),
        (EACH | {"each": "c[]", "name": "id"}, {"c": [{"id": 5, "n": 1}]}, (Component("5", items=1),)),
        (EACH | {"name": "join('/', [a, b])"}, {"c": [{"a": "x", "b": "y", "n": 1}]}, (Component("x/y", items=1),)),
        (EACH, {"c": {" a\n": {"n": 1}}}, (Component("a_", items=1),)),
        (EACH | {"items": {"at": "@"}}, {"c": {"a": 1, "b": 2}}, (Component("a", items=1), Component("b", items=2))),
        ({"name": "x", "items": {"at": "n"}}, {}, ()),
    ],
)  # fmt: skip
def test_components(mapping: dict[str, Any], answer: Any, found: tuple[Component, ...]) -> None:
    assert components(mapping, answer) == found


@pytest.mark.parametrize(
    ("mapping", "answer", "detail"),
    [
        ({"resident": {"at": "a"}}, b"", "the answer is empty"),
        ({"resident": {"at": "a"}}, b"<html>", "not JSON: "),
        ({"resident": {"at": "a"}}, b"\xff", "not UTF-8 at byte 0"),
        ({"resident": {"at": "a"}}, b'{"a": NaN}',
         "map.resident: a yields the number nan, allowed: a number from 0 to"),
        ({"resident": {"at": "a"}}, {"a": "full"}, "map.resident: a yields the text 'full', allowed"),
        ({"allocator_free": {"at": "a"}}, {"a": -1}, "map.allocator_free: a yields the number -1, allowed"),
        ({"components": [EACH]}, {"c": 5},
         "map.components[0].each: c yields the number 5, allowed: an object or a list"),
        ({"components": [EACH]}, {"c": "x"}, "map.components[0].each: c yields the text 'x', allowed"),
        ({"components": [EACH]}, {"c": {"a": {"mb": "x"}}},
         "map.components[0].bytes of a: mb yields the text 'x', allowed"),
        ({"components": [EACH]}, {"c": {"a": {"n": 1.5}}},
         "map.components[0].items of a: n comes to 1.5, allowed: a whole"),
        ({"components": [{"name": "x", "bytes": {"at": "a"}}]}, {"a": True},
         "map.components[0].bytes: a yields the boolean"),
        ({"components": [EACH | {"name": "id"}]}, {"c": [{}]},
         "map.components[0].name of 0: id yields null, allowed: a text"),
        ({"components": [EACH | {"name": "id"}]}, {"c": [{"id": ""}]},
         "map.components[0].name of 0: id yields the text ''"),
        ({"components": [EACH | {"name": "id"}]}, {"c": [{"id": True}]},
         "map.components[0].name of 0: id yields the bool"),
        ({"components": [EACH]}, {"c": {"": {"n": 1}}},
         "map.components[0].name: found the text '', allowed: a text that is"),
        ({"components": [EACH, EACH]}, {"c": {"a": {"n": 1}}}, "map.components: the name 'a' stands there twice"),
        ({"components": [EACH]}, {"c": [{}] * (MAX_ELEMENTS + 1)},
         "map.components[0].each: c yields 10001 elements, at most"),
        ({"components": [EACH | {"each": "keys(c)"}]}, {"c": 5}, "map.components[0].each: keys(c): "),
        ({"components": [EACH | {"name": "abs(a)"}]}, {"c": [{"a": "x"}]}, "map.components[0].name of 0: abs(a): "),
        ({"values": {"v": {"at": "a"}}}, {"a": [1]}, "map.values.v: a yields a list, allowed: a text or a number"),
        ({"values": {"v": {"at": "a"}}}, b'{"a": Infinity}', "map.values.v: a yields the number inf, allowed"),
        ({"values": {"v": {"at": "a"}}}, {"a": "x" * 501},
         "map.values.v: a yields a text of 501 characters, allowed: at most"),
        ({"values": {"v": {"at": "abs(a)"}}}, {"a": "x"}, "map.values.v: abs(a): "),
    ],
)  # fmt: skip
def test_what_is_invalid_names_its_key(mapping: dict[str, Any], answer: Any, detail: str) -> None:
    assert problem(mapping, answer).startswith(detail)


@pytest.mark.parametrize("value", ["1234", "", 1234, 1.5, True, 2**70])
def test_values_keep_their_type(value: Any) -> None:
    found = report({"values": {"v": {"at": "a"}}}, {"a": value}).values["v"]
    assert found == value
    assert type(found) is type(value)


def test_components_beyond_64_are_folded() -> None:
    found = components(EACH, {"c": {f"k{index}": {"mb": 1, "n": 1} for index in range(100)}})
    assert len(found) == 64
    assert found[-1] == Component("other", bytes=37 * MIB, items=37)


TEXT = b"""\
process_resident_memory_bytes 1.30248704e+08
cache_bytes{cache="a"} 100
cache_bytes{cache="b"} 200
cache_hits{cache="a"} 7
cache_hits{cache="b"} 8.5
bad NaN
revision 1.234e+03
"""


def test_prometheus_text() -> None:
    mapping = {
        "resident": {"at": "process_resident_memory_bytes"},
        "allocator_free": {"at": "nowhere"},
        "values": {"revision": {"at": "revision"}, "hits": {"at": "cache_hits"}, "gone": {"at": "nowhere"}},
        "components": [
            {"name": "all", "bytes": {"at": "cache_bytes", "unit": "KiB"}},
            {"name": "a", "bytes": {"at": 'cache_bytes{cache="a"}'}, "hits": {"at": 'cache_hits{cache="a"}'}},
            {"name": "none", "items": {"at": 'cache_bytes{cache="c"}'}},
            {"name": "rest", "bytes": {"sum": [{"at": "cache_bytes"}, {"at": 'cache_bytes{cache="a"}', "times": -1}]}},
        ],
    }
    found = report(mapping, TEXT, "prometheus")
    assert found == ServerReport(
        answered_at=7.0,
        resident_bytes=130248704,
        components=(
            Component("all", bytes=300 * 1024),
            Component("a", bytes=100, hits=7),
            Component("rest", bytes=200),
        ),
        values={"revision": 1234, "hits": 15.5},
    )
    assert type(found.values["revision"]) is int


@pytest.mark.parametrize(
    ("mapping", "detail"),
    [
        ({"resident": {"at": "bad"}}, "map.resident: bad yields the number nan, allowed"),
        ({"values": {"v": {"at": "bad"}}}, "map.values.v: bad yields the number nan, allowed"),
        (
            {"components": [{"name": "x", "items": {"at": "cache_hits"}}]},
            "map.components[0].items: cache_hits comes to 15.5",
        ),
    ],
)
def test_prometheus_text_that_is_invalid(mapping: dict[str, Any], detail: str) -> None:
    assert problem(mapping, TEXT, "prometheus").startswith(detail)


@given(ANY_JSON)
def test_any_answer_gives_a_report_or_a_reason(answer: Any) -> None:
    mapping = {
        "resident": {"at": "a"},
        "values": {"v": {"at": "b"}},
        "components": [EACH, EACH | {"each": "@", "name": "a"}, {"name": "x", "items": {"at": "length(@)"}}],
    }
    found = mapped(mapping, answer)
    if isinstance(found, Unavailable):
        assert found.detail.isprintable()
        return
    for component in found.components:
        for number in (component.bytes, component.items):
            assert number is None or (type(number) is int and 0 <= number <= LARGEST_COUNT)
    assert len({component.name for component in found.components}) == len(found.components)
