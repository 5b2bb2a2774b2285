"""`{stats.NAME}` in JSON and headers, filled in from the server's own statistics."""

from __future__ import annotations

from dataclasses import replace

import pytest
from memory_watchdog.actions.http import CleanupRequest
from memory_watchdog.actions.template import Placeholders, fill_headers, fill_json, statistics_in, unknown_statistics
from memory_watchdog.outside_text import Json

VALUES = Placeholders(
    "r-1", "why", "normal", 5, {"rev": "1234", "n": 7, "f": 1.5, "b": True, "empty": "", "l": "{level}"}
)


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{stats.rev}", "1234"),
        ("{stats.n}", 7),
        ("{stats.f}", 1.5),
        ("{stats.b}", True),
        ("{stats.empty}", ""),
        ("r{stats.rev}-{stats.n}-{stats.b}-{level}", "r1234-7-true-normal"),
        ("{stats.l}", "{level}"),  # put in once
        ("{stats.}{stats}{stats.a-b}{stats.1}{Stats.rev}", "{stats.}{stats}{stats.a-b}{stats.1}{Stats.rev}"),
        ({"{stats.rev}": ["{stats.rev}"]}, {"{stats.rev}": ["1234"]}),
    ],
)
def test_json(template: Json, filled: Json) -> None:
    result = fill_json(template, VALUES)
    assert result == filled
    assert type(result) is type(filled)


def test_headers() -> None:
    values = replace(VALUES, statistics={"rev": "12\r\nX-Injected: 1", "b": False})
    filled = fill_headers({"X-Rev": "{stats.rev}", "X-B": "{stats.b}"}, values)
    assert filled == {"X-Rev": "12 X-Injected: 1", "X-B": "false", "X-Request-Id": "r-1"}


def test_which_statistics_a_template_needs() -> None:
    template: Json = {"a": ["{stats.x} {stats.y}", 5, None], "{stats.z}": {"b": "{stats.x}"}, "c": "{level} {stats.}"}
    assert list(statistics_in(template)) == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("request_", "missing"),
    [
        (CleanupRequest("/"), ""),
        (CleanupRequest("/", has_body=True, body={"r": "{stats.rev}"}), ""),
        (CleanupRequest("/", has_body=True, body={"r": "{stats.gone}"}), "not known from the statistics: gone"),
        (CleanupRequest("/", has_body=False, body={"r": "{stats.gone}"}), ""),
        (CleanupRequest("/", has_body=True, body="{stats.z}", headers={"A": "{stats.a} {stats.z}"}),
         "not known from the statistics: a, z"),
        (CleanupRequest("/", has_body=True, body="{stats.empty}"), ""),
    ],
)  # fmt: skip
def test_what_is_unknown(request_: CleanupRequest, missing: str) -> None:
    assert unknown_statistics(request_.templates, VALUES) == missing
