"""What `{placeholders}` become in JSON and in headers."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.actions.template import DROPPED, Placeholders, fill_headers, fill_json
from memory_watchdog.outside_text import Json

VALUES = Placeholders(request_id="r-1", reason="used 80%", level="normal", target_bytes=1000)
UNKNOWN = Placeholders(request_id="r-1", reason="used 80%", level="normal", target_bytes=None)
JSON: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{level}", "normal"),
        ("{target_bytes}", 1000),  # its own type
        ("{target_bytes} bytes", "1000 bytes"),
        (" {target_bytes}", " 1000"),
        ("{level}:{reason}:{request_id}", "normal:used 80%:r-1"),
        ({"a": ["{level}", {"b": "{target_bytes}"}]}, {"a": ["normal", {"b": 1000}]}),
        ({"{level}": "{level}"}, {"{level}": "normal"}),  # keys are left alone
        ("{}", "{}"),
        ("{other} {stats.} {{level}}", "{other} {stats.} {normal}"),
        ("{LEVEL} { level } {level", "{LEVEL} { level } {level"),
        (5, 5),
        (None, None),
        (True, True),
        (1.5, 1.5),
    ],
)
def test_json_is_filled(template: Json, filled: Json) -> None:
    result = fill_json(template, VALUES)
    assert result == filled
    assert type(result) is type(filled)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ({"level": "{level}", "target_bytes": "{target_bytes}"}, {"level": "normal"}),
        ({"note": "free {target_bytes} of {level}", "a": 1}, {"a": 1}),
        (["{target_bytes}", "{level}", None], ["normal", None]),
        ({"inner": {"target": "{target_bytes}"}}, {"inner": {}}),
        ({"null": None}, {"null": None}),
    ],
)
def test_an_unknown_target_drops_what_holds_it(template: Json, filled: Json) -> None:
    assert fill_json(template, UNKNOWN) == filled


def test_a_body_that_is_only_an_unknown_target_is_dropped() -> None:
    assert fill_json("{target_bytes}", UNKNOWN) is DROPPED


def test_zero_is_not_unknown() -> None:
    values = Placeholders("r", "why", "normal", 0)
    assert fill_json({"target": "{target_bytes}"}, values) == {"target": 0}
    assert fill_headers({"X-Target": "{target_bytes}"}, values)["X-Target"] == "0"


def test_every_value_is_put_in_once() -> None:
    values = Placeholders("r-1", "{level} {target_bytes}", "{request_id}", 7)
    assert fill_json("{reason} {level}", values) == "{level} {target_bytes} {request_id}"
    assert fill_headers({"X-Why": "{reason} {level}"}, values)["X-Why"] == "{level} {target_bytes} {request_id}"


@given(JSON)
def test_json_without_placeholders_goes_out_as_written(template: Json) -> None:
    # hypothesis finds no "{level}" by chance; what it does find are braces, empty texts and odd nestings
    assert fill_json(template, UNKNOWN) == template


def test_headers_are_filled_and_the_request_id_is_always_there() -> None:
    assert fill_headers({"X-Level": "l={level}", "X-Fixed": "{}"}, VALUES) == {
        "X-Level": "l=normal",
        "X-Fixed": "{}",
        "X-Request-Id": "r-1",
    }


@pytest.mark.parametrize("name", ["X-Request-Id", "x-request-id"])
def test_a_request_id_header_of_the_config_is_kept(name: str) -> None:
    assert fill_headers({name: "wd-{request_id}"}, VALUES) == {name: "wd-r-1"}


def test_a_header_with_an_unknown_target_is_dropped() -> None:
    headers = {"X-Target": "{target_bytes}", "X-Both": "{level} {target_bytes}", "X-Request-Id": "{target_bytes}"}
    assert fill_headers(headers, UNKNOWN) == {"X-Request-Id": "r-1"}


@given(st.text())
def test_whatever_the_reason_holds_the_header_can_be_sent(reason: str) -> None:
    values = Placeholders("r\r\nX-Injected: 1", reason, "normal", None)
    headers = fill_headers({"X-Why": "because {reason}!"}, values)
    wire = [(b"Host", b"h")] + [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    sent = h11.Connection(h11.CLIENT).send(h11.Request(method="POST", target="/", headers=wire))
    assert sent is not None
    assert sent.count(b"\r\n") == len(wire) + 2
