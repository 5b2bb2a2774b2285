"""The part of the config that maps a foreign server: what it becomes, and every mistake in it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog.actions.http import CleanupRequest
from memory_watchdog.config import TargetConfig, load
from memory_watchdog.config_mapping import (
    ComponentConfig,
    CountConfig,
    CountTermConfig,
    MapConfig,
    SizeConfig,
    TermConfig,
    ValueConfig,
)
from memory_watchdog.parts import cleanup_requests, ladder_settings
from memory_watchdog.quantities import UNIT_FORMS

from tests.unit.test_config import target
from tests.unit.test_config_any_input import VALUES, assert_only_config_errors
from tests.unit.test_config_mistakes import mistakes, only

QUANTITY = {"at": "a", "unit": "MiB", "times": -0.5}


def mapped(directory: Path, stats: dict[str, Any]) -> TargetConfig:
    return target(directory, f"stats: {yaml.safe_dump(stats, default_flow_style=True, width=10**6)}")


def test_a_map_with_every_key(tmp_path: Path) -> None:
    settings = {
        "path": "/s", "method": "POST", "json": {}, "format": "json",
        "map": {
            "resident": QUANTITY,
            "allocator_free": {"sum": [QUANTITY, {"at": "b"}]},
            "values": {"revision": {"at": "header.revision"}},
            "components": [
                {"each": "c", "name": "@key", "bytes": {"at": "mb", "unit": "kB"}, "items": {"sum": [{"at": "n",
                 "times": 2}]}},
                {"name": "one two", **{key: {"at": "x"} for key in ("items", "max_bytes", "max_items", "hits", "misses",
                                                                    "evictions", "expirations")}},
            ],
        },
    }  # fmt: skip
    stats = mapped(tmp_path, settings).stats
    assert stats is not None
    assert (stats.path, stats.method, stats.body, stats.format) == ("/s", "POST", {}, "json")
    count = CountConfig(at="x")
    term = {"at": "a", "times": -0.5}
    assert stats.map == MapConfig(
        resident=SizeConfig.model_validate(term | {"unit": "MiB"}),
        allocator_free=SizeConfig(sum=(TermConfig.model_validate(term | {"unit": "MiB"}), TermConfig(at="b"))),
        values={"revision": ValueConfig(at="header.revision")},
        components=(
            ComponentConfig(
                each="c",
                name="@key",
                bytes=SizeConfig.model_validate({"at": "mb", "unit": "KB"}),
                items=CountConfig(sum=(CountTermConfig(at="n", times=2),)),
            ),
            ComponentConfig(
                name="one two", items=count, max_bytes=SizeConfig(at="x"), max_items=count, hits=count, misses=count,
                evictions=count, expirations=count,
            ),
        ),
    )  # fmt: skip
    assert stats.map.resident is not None
    assert (stats.map.resident.unit, stats.map.resident.times) == (2**20, -0.5)
    assert copy.deepcopy(stats) == stats


@pytest.mark.parametrize(
    ("unit", "count"),
    [("B", 1), ("KB", 1000), ("kB", 1000), ("KiB", 1024), ("MB", 10**6), ("MiB", 2**20), ("GB", 10**9), ("GiB", 2**30),
     ("TB", 10**12), ("TiB", 2**40), ("PB", 10**15), ("PiB", 2**50)],
)  # fmt: skip
def test_units(unit: str, count: int, tmp_path: Path) -> None:
    stats = mapped(tmp_path, {"map": {"resident": {"at": "a", "unit": unit}}}).stats
    assert stats is not None
    assert stats.map is not None
    assert stats.map.resident == SizeConfig.model_validate({"at": "a", "unit": unit})
    assert stats.map.resident.unit == count


def test_cleanups_in_steps(tmp_path: Path) -> None:
    only_target = target(
        tmp_path,
        """\
stats: {map: {values: {rev: {at: r}}}}
levels:
  - name: a
    enter: 2%
    exit: 1%
    cleanup:
      - {path: /one, timeout: 10s, json: {r: "{stats.rev}", other: "{stats.}"}, headers: {X-R: "{stats.rev}"}}
      - {path: /two, method: GET, timeout: 1m, error: error, claimed: {at: mb, unit: MiB}}
  - {name: b, enter: 4%, exit: 1%, cleanup: {path: /three, timeout: 5s}}
  - {name: c, enter: 8%, exit: 1%}""",
    )
    assert [level.cleanup_timeout for level in only_target.levels] == [70, 5, None]
    assert [level.cleanup_timeout_seconds for level in ladder_settings(only_target).levels] == [70, 5, None]
    requests = cleanup_requests(only_target)
    paths = {level: [getattr(step, "path", None) for step in steps] for level, steps in requests.items()}
    assert paths == {"a": ["/one", "/two"], "b": ["/three"]}
    one, two = requests["a"]
    assert isinstance(one, CleanupRequest)
    assert (one.timeout_seconds, one.error, one.claimed) == (10, None, None)
    assert isinstance(two, CleanupRequest)
    assert (two.method, two.timeout_seconds, two.has_body) == ("GET", 60, False)
    assert two.error is not None
    assert two.error.text == "error"
    assert two.claimed is not None
    assert two.claimed.read({"mb": 2}, "") == 2**21


AT = "a JMESPath expression ("
NAME_EXPECTED = "Expecting: ['quoted_identifier', 'unquoted_identifier', 'lbracket', 'lbrace'], got: "
EOF = NAME_EXPECTED + 'eof: Parse error at column 2, token "" (EOF))'
INCOMPLETE = "Invalid jmespath expression: Incomplete expression)"
SELECTOR = 'the name of a metric, with labels or without, such as cache_bytes{cache="a"}'
MAP_KEYS = "resident, allocator_free, values, components"
QUANTITY_KEYS = "at, unit, times, sum"
COMPONENT_KEYS = "each, name, bytes, items, max_bytes, max_items, hits, misses, evictions, expirations"
TEXT = "text of printable characters, not empty"
FACTOR = "a number that is not 0, such as -1 or 0.5"
Row = tuple[str, str, str, str]

# What stands under `map:`, the key within it, found, allowed.
IN_MAP: list[Row] = [
    ("{}", "", "an empty mapping", f"at least one of {MAP_KEYS}"),
    ("{components: []}", "", "a mapping", f"at least one of {MAP_KEYS}"),
    ("5", "", "'5'", f"a mapping with the keys {MAP_KEYS}"),
    ("{residant: {at: a}}", ".residant", "an unknown key", f"{MAP_KEYS} (did you mean resident?)"),
    ("{resident: rss}", ".resident", "'rss'", f"a mapping with the keys {QUANTITY_KEYS}"),
    ("{resident: {}}", ".resident", "neither at nor sum", "exactly one of at, sum"),
    ("{resident: {unit: MiB}}", ".resident", "neither at nor sum", "exactly one of at, sum"),
    ("{resident: {at: a, sum: [{at: a}]}}", ".resident", "at",
     "nothing beside sum: each of its parts has its own at, unit, times"),
    ("{resident: {unit: B, times: 2, sum: [{at: a}]}}", ".resident", "unit and times",
     "nothing beside sum: each of its parts has its own at, unit, times"),
    ("{resident: {sum: []}}", ".resident.sum", "an empty list", "at least one part"),
    ("{resident: {sum: {at: a}}}", ".resident.sum", "a mapping", "a list"),
    ("{resident: {sum: [{unit: B}]}}", ".resident.sum[0].at", "nothing", "where in the answer it stands"),
    ("{resident: {sum: [{at: a}, {at: a.}]}}", ".resident.sum[1].at", "'a.'", AT + EOF),
    ("{resident: {at: ''}}", ".resident.at", "''", TEXT),
    ("{resident: {at: 5}}", ".resident.at", "'5'", TEXT),
    ("{resident: {at: 'size(a)'}}", ".resident.at", "'size(a)'", AT + "there is no function size())"),
    ("{resident: {at: 'join(a, b)'}}", ".resident.at", "'join(a, b)'",
     AT + "the separator of join() must be a literal: one from the answer could make a text without bound)"),
    ("{resident: {at: a, unit: mb}}", ".resident.unit", "'mb'", UNIT_FORMS),
    ("{resident: {at: a, unit: 5}}", ".resident.unit", "'5'", UNIT_FORMS),
    ("{resident: {at: a, times: 0}}", ".resident.times", "'0'", FACTOR),
    ("{resident: {at: a, times: '2'}}", ".resident.times", "'2'", FACTOR),
    ("{resident: {at: a, times: true}}", ".resident.times", "'true'", FACTOR),
    ("{resident: {at: a, times: .nan}}", ".resident.times", "'.nan'", FACTOR),
    ("{resident: {at: a, times: 1e300}}", ".resident.times", "'1e300'", FACTOR),
    ("{resident: {at: a, unitt: MiB}}", ".resident.unitt", "an unknown key", f"{QUANTITY_KEYS} (did you mean unit?)"),
    ("{allocator_free: {at: '['}}", ".allocator_free.at", "'['", AT + INCOMPLETE),
    ("{values: [a]}", ".values", "a list", "a mapping of names to values"),
    ("{values: {a: r}}", ".values.a", "'r'", "a mapping with the keys at"),
    ("{values: {a: {at: r, unit: B}}}", ".values.a.unit", "an unknown key", "at"),
    ("{values: {a: {}}}", ".values.a.at", "nothing", "where in the answer it stands"),
    ("{values: {a: {at: 'b..c'}}}", ".values.a.at", "'b..c'",
     AT + NAME_EXPECTED + 'dot: Parse error at column 2, token "." (DOT))'),
    ("{values: {'a-b': {at: r}}}", ".values.a-b", "a mapping",
     "a name of letters, digits and _, not beginning with a digit"),
    ("{components: {name: a}}", ".components", "a mapping", "a list"),
    ("{components: [5]}", ".components[0]", "'5'", f"a mapping with the keys {COMPONENT_KEYS}"),
    ("{components: [{name: a, size: {at: b}, bytes: {at: a}}]}", ".components[0].size", "an unknown key",
     COMPONENT_KEYS),
    ("{components: [{bytes: {at: a}}]}", ".components[0].name", "nothing",
     "the name of the component; with each an expression, or @key"),
    ("{components: [{name: a}]}", ".components[0]", "neither bytes nor items", "bytes, items or both"),
    ("{components: [{name: a, hits: {at: a}}]}", ".components[0]", "neither bytes nor items", "bytes, items or both"),
    ("{components: [{name: '@key', bytes: {at: a}}]}", ".components[0].name", "'@key'", "a name; @key needs each"),
    ("{components: [{name: a, items: {at: a, unit: MiB}}]}", ".components[0].items.unit", "an unknown key",
     "at, times, sum"),
    ("{components: [{each: 'a.', name: '@key', items: {at: a}}]}", ".components[0].each", "'a.'",
     AT + EOF),
    ("{components: [{each: a, name: '@ke', items: {at: a}}]}", ".components[0].name", "'@ke'",
     AT + 'Unexpected token: ke: Parse error at column 1, token "ke" (UNQUOTED_IDENTIFIER))'),
    ("{components: [{name: a, items: {at: a}}, {name: a, bytes: {at: a}}]}", ".components[1].name", "'a'",
     "a name that components[0] does not have"),
    ("{components: [{name: a, bytes: {at: a}, evictions: {at: '*x'}}]}", ".components[0].evictions.at", "'*x'",
     AT + 'Unexpected token: x: Parse error at column 1, token "x" (UNQUOTED_IDENTIFIER))'),
]  # fmt: skip

IN_PROMETHEUS: list[Row] = [
    ("{resident: {at: a.b}}", ".resident.at", "'a.b'", SELECTOR),
    ("{resident: {at: 'sum(a)'}}", ".resident.at", "'sum(a)'", SELECTOR),
    ("{values: {v: {at: 'a{b=c}'}}}", ".values.v.at", "'a{b=c}'", SELECTOR),
    ("{components: [{each: a, name: '@key', bytes: {at: a}}]}", ".components[0].each", "'a'",
     "nothing with format prometheus, where each component is named by itself"),
    ("{components: [{name: a, bytes: {sum: [{at: a}, {at: '-'}]}}]}", ".components[0].bytes.sum[1].at", "'-'",
     SELECTOR),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "found", "allowed"), IN_MAP)
def test_in_a_map(text: str, key: str, found: str, allowed: str, tmp_path: Path) -> None:
    told = mistakes(f"targets:\n  - url: http://h\n    stats:\n      map: {text}\n", tmp_path)
    assert only(told) == ("memory-watchdog.yaml", 4, f"targets[0].stats.map{key}", found, allowed)


@pytest.mark.parametrize(("text", "key", "found", "allowed"), IN_PROMETHEUS)
def test_in_a_map_of_prometheus_text(text: str, key: str, found: str, allowed: str, tmp_path: Path) -> None:
    told = mistakes(f"targets:\n  - url: http://h\n    stats:\n      format: prometheus\n      map: {text}\n", tmp_path)
    assert only(told) == ("memory-watchdog.yaml", 5, f"targets[0].stats.map{key}", found, allowed)


NAMES = "{stats.NAME} with a name from stats.map.values: "


@pytest.mark.parametrize(
    ("settings", "line", "key", "found", "allowed"),
    [
        ("stats: {format: xml}", 3, "stats.format", "'xml'", "json or prometheus"),
        ("stats: {format: prometheus}", 3, "stats.map", "nothing",
         f"a mapping with the keys {MAP_KEYS}: format prometheus needs one"),
        ("stats:\n  format: prometheus\n  map: null", 5, "stats.map", "null",
         f"a mapping with the keys {MAP_KEYS}: format prometheus needs one"),
        ("measure: reported\nstats: {map: {values: {a: {at: a}}}}", 3, "measure", "'reported'",
         "a measure other than reported where stats.map has no resident"),
        ("levels:\n  - name: a\n    enter: 2%\n    exit: 1%\n    cleanup:\n      path: /\n      error: 'a.'", 9,
         "levels[0].cleanup.error", "'a.'", AT + EOF),
        ("levels:\n  - {name: a, enter: 2%, exit: 1%, cleanup: {path: /, claimed: {}}}", 4, "levels[0].cleanup.claimed",
         "neither at nor sum", "exactly one of at, sum"),
        ("levels:\n  - {name: a, enter: 2%, exit: 1%, cleanup: {path: /, claimed: {at: a, unit: M}}}", 4,
         "levels[0].cleanup.claimed.unit", "'M'", UNIT_FORMS),
        ("levels:\n  - {name: a, enter: 2%, exit: 1%, cleanup: [{path: /}, {path: /, claimed: {at: '['}}]}", 4,
         "levels[0].cleanup[1].claimed.at", "'['", AT + INCOMPLETE),
        ("levels:\n  - name: a\n    enter: 2%\n    exit: 1%\n    cleanup:\n      - path: /\n        json:\n"
         "          - {r: 'x{stats.rev}'}", 10, "levels[0].cleanup[0].json[0].r", "{stats.rev}",
         NAMES + "there are none"),
        ("stats: {map: {values: {revision: {at: a}, b: {at: b}}}}\n"
         "levels:\n  - {name: a, enter: 2%, exit: 1%, cleanup: {path: /, json: '{stats.rev}'}}", 5,
         "levels[0].cleanup.json", "{stats.rev}", NAMES + "one of b, revision"),
        ("levels:\n  - {name: a, enter: 2%, exit: 1%, cleanup: {path: /, headers: {X-R: 's3cr3t {stats.rev}'}}}", 4,
         "levels[0].cleanup.headers.X-R", "'<hidden>'", NAMES + "there are none"),
    ],
)  # fmt: skip
def test_beside_a_map(settings: str, line: int, key: str, found: str, allowed: str, tmp_path: Path) -> None:
    lines = "".join(f"    {setting}\n" for setting in settings.splitlines())
    told = mistakes(f"targets:\n  - url: http://h\n{lines}", tmp_path)
    assert only(told) == ("memory-watchdog.yaml", line, f"targets[0].{key}", found, allowed)


@given(stats=VALUES, mapping=VALUES, part=VALUES, steps=st.lists(VALUES, max_size=3))
@settings(deadline=None)  # four files are written and read, which a busy machine makes last
def test_any_map_is_taken_or_told(
    stats: Any, mapping: Any, part: Any, steps: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.getbasetemp()
    level = {"name": "a", "enter": "2%", "exit": "1%", "cleanup": steps}
    for one in (
        stats,
        {"map": mapping},
        {"map": {"resident": part, "values": {"v": part}, "components": [part, {"name": "x", "bytes": part}]}},
        {"format": "prometheus", "map": {"resident": part, "values": part, "components": [part]}},
    ):
        data = {"targets": [{"url": "http://h", "stats": one, "levels": [level]}]}
        assert_only_config_errors(yaml.safe_dump(data, allow_unicode=True), directory)


def test_what_a_map_says_does_not_outlive_the_load(tmp_path: Path) -> None:
    first = mapped(tmp_path, {"map": {"resident": {"at": "a"}}})
    assert load({"target.url": "http://h"}, {}, tmp_path).targets[0] != first
