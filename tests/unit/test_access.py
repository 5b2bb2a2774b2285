"""Who may change something without credentials: the rule from every side."""

from __future__ import annotations

import pytest
from memory_watchdog.web.access import is_loopback_name, why_refused

HOST = {"host": "127.0.0.1:9847"}


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:9847", "localhost", "localhost:9847", "[::1]:9847"])
def test_loopback_may_change(peer: str, host: str) -> None:
    assert why_refused(peer, {"host": host}, allow_loopback=True) is None


def test_an_equal_origin_is_no_other_site() -> None:
    assert why_refused("127.0.0.1", HOST | {"origin": "http://127.0.0.1:9847"}, allow_loopback=True) is None


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("10.0.0.7", HOST),
        ("", HOST),
        ("fe80::1", HOST),
        ("::ffff:10.0.0.7", HOST),
        ("127.0.0.1", HOST | {"forwarded": "for=10.0.0.7"}),
        ("127.0.0.1", HOST | {"x-forwarded-for": "127.0.0.1"}),
        ("127.0.0.1", HOST | {"X-Forwarded-Host": "localhost"}),
        ("127.0.0.1", {"host": "evil.example:9847"}),
        ("127.0.0.1", {"host": "127.0.0.1.evil.example"}),
        ("127.0.0.1", {"host": "localhost.evil.example"}),
        ("127.0.0.1", {"host": "[::1"}),
        ("127.0.0.1", {"host": "evil.example@127.0.0.1/x"} | {"origin": "http://127.0.0.1"}),
        ("127.0.0.1", {}),
        ("127.0.0.1", HOST | {"origin": "http://evil.example"}),
        ("127.0.0.1", HOST | {"origin": "null"}),
        ("127.0.0.1", HOST | {"origin": ""}),
        ("127.0.0.1", HOST | {"origin": "http://127.0.0.1:80"}),
        ("127.0.0.1", HOST | {"origin": "http://localhost:9847"}),
    ],
)
def test_others_may_not(peer: str, headers: dict[str, str]) -> None:
    assert why_refused(peer, headers, allow_loopback=True)


def test_turned_off_means_off() -> None:
    assert "allow_loopback_changes" in (why_refused("127.0.0.1", HOST, allow_loopback=False) or "")


@pytest.mark.parametrize("host", ["", "localhost.", "127.0.0.1.", "0.0.0.0", "2130706433", "example.org"])
def test_what_only_looks_like_loopback_is_not(host: str) -> None:
    assert not is_loopback_name(host)
