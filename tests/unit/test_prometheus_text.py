"""The samples of a few metrics out of Prometheus' text format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.sources.prometheus_text import (
    MAX_LINE_CHARACTERS,
    MAX_SERIES,
    SELECTOR_FORM,
    parse_selector,
    read_samples,
)
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

TEXT = b"""\
# HELP process_resident_memory_bytes Resident memory size in bytes.
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.30248704e+08
# TYPE hits counter
hits{cache="a",shard="1"} 3
hits{cache="a",shard="2"} 4
hits{cache="b\\"\\\\\\n}",shard="1"} 5 1395066363000
hits_total{cache="a"} 100
  spaced  {cache = "x"}\t7
{"in quotes",cache="q"} 9
half NaN
"""


def read(text: bytes, selector: str) -> list[float] | Unavailable | None:
    compiled = parse_selector(selector)
    samples = read_samples(text, [compiled.name])
    return samples if isinstance(samples, Unavailable) else compiled.find(samples)


@pytest.mark.parametrize(
    ("selector", "values"),
    [
        ("process_resident_memory_bytes", [130248704]),
        ("process_resident_memory", None),
        ("hits", [3, 4, 5]),
        ('hits{cache="a"}', [3, 4]),
        (' hits { shard = "2" , cache="a", } ', [4]),
        ('hits{cache="b\\"\\\\\\n}"}', [5]),
        ('hits{cache="c"}', None),
        ('hits{other=""}', [3, 4, 5]),
        ('hits{cache=""}', None),
        ("hits{}", [3, 4, 5]),
        ("hits_total", [100]),
        ("spaced", [7]),
        ("HELP", None),
    ],
)
def test_what_a_selector_finds(selector: str, values: list[float] | None) -> None:
    assert read(TEXT, selector) == values


def test_nan_is_found_and_not_hidden() -> None:
    values = read(TEXT, "half")
    assert isinstance(values, list)
    assert str(values) == "[nan]"


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "5a", "a{", "a}", 'a{b="c"', "a{b=c}", 'a{b=~"c"}', 'a{b!="c"}', 'a{b="c"d="e"}', 'a{b="\\x"}',
    "a-b",
     'a{,}', '{b="c"}', "sum(a)", 'a{b="c"}[5m]', "ä"],
)  # fmt: skip
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(ValueError, match="the name of a metric") as error:
        parse_selector(text)
    assert str(error.value) == SELECTOR_FORM


def test_a_label_twice_is_no_selector() -> None:
    with pytest.raises(ValueError, match="each label once"):
        parse_selector('a{b="c",b="d"}')


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        (b"", "the answer is empty"),
        (b" \n\n", "the answer is empty"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"<!DOCTYPE html>\n<p>a 5</p>\n", "<!DOCTYPE: no line of Prometheus' text format"),
        (b'{"a": 5}', '{"a": 5}: no line of Prometheus'),
        (b"a\n", "a: no line of Prometheus"),
        (b"b 1\na five\n", "a: no line of Prometheus"),
        (b'b 1\na{x="1} 5\n', "a: no line of Prometheus"),
        (b'b 1\na{x="' + b"y" * MAX_LINE_CHARACTERS + b'"} 5\n', "a: a line of more than 16384 characters"),
        (b"a 1\n" * (MAX_SERIES + 1), "a: more than 10000 series"),
    ],
)
def test_what_is_no_exposition(text: bytes, detail: str) -> None:
    found = read(text, "a")
    assert isinstance(found, Unavailable)
    assert found.reason is Reason.INVALID
    assert found.detail.startswith(detail)
    assert found.detail.isprintable()


def test_a_bad_line_of_a_metric_that_is_not_wanted_does_no_harm() -> None:
    assert read(b"b 1\nc five\na 5\n", "a") == [5]
    assert read(b"# only comments\n", "a") is None


def test_one_line_of_a_megabyte_does_not_stall() -> None:
    found = read(b'b 1\na{x="' + b'\\"' * 500_000 + b'"} 5\n', "a")  # 6 s in the parser itself
    assert isinstance(found, Unavailable)


@given(
    series=st.dictionaries(st.text(max_size=10), st.floats(allow_nan=False, min_value=0), min_size=1, max_size=5),
    count=st.integers(0, 10**6),
)
def test_what_the_client_library_writes_is_read(series: dict[str, float], count: int) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("cache_bytes", "Size.\nTwo lines.", ["cache"], registry=registry)
    for label, value in series.items():
        gauge.labels(label).set(value)
    Counter("cache_hits", "Hits", registry=registry).inc(count)
    text = generate_latest(registry)
    assert read(text, "cache_bytes") == list(series.values())
    assert read(text, "cache_hits_total") == [count]
    for label, value in series.items():
        written = label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        if label:
            assert read(text, f'cache_bytes{{cache="{written}"}}') == [value]


@given(st.binary(max_size=60) | st.text('a{}="\\, 1.e#\n\tNaI', max_size=40).map(str.encode))
def test_any_bytes_give_samples_or_a_reason(text: bytes) -> None:
    found = read(b"a 1\n" + text, "a")
    assert isinstance(found, list) or (isinstance(found, Unavailable) and found.detail.isprintable())
    read(text, "a")
