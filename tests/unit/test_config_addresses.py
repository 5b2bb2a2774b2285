"""Addresses in a config: the one spelling they get, the name they give, what is no address."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_watchdog.config import Config, ConfigError, load

URL = "http://HOST:PORT, https://HOST:PORT or unix:/PATH"
PORT_URL = f"{URL}, the port from 1 to 65535"
LISTEN = "HOST:PORT, :PORT for all interfaces, or [IPV6]:PORT, the port from 0 to 65535"


def loaded(directory: Path, text: str) -> Config:
    (directory / "memory-watchdog.yaml").write_text(text)
    return load({}, {}, directory)


def told_of(directory: Path, text: str) -> tuple[int | None, str, str, str]:
    with pytest.raises(ConfigError) as error:
        loaded(directory, text)
    assert "cr3t" not in str(error.value)
    (mistake,) = error.value.mistakes
    return mistake.line, mistake.key, mistake.found, mistake.allowed


@pytest.mark.parametrize(
    ("url", "normal", "name"),
    [
        ("http://127.0.0.1:8081", "http://127.0.0.1:8081", "127.0.0.1:8081"),
        ("http://127.0.0.1:8081/", "http://127.0.0.1:8081", "127.0.0.1:8081"),
        ("HTTP://Server/base/", "http://server/base", "server:80"),
        ("https://server", "https://server", "server:443"),
        ("https://server:80//", "https://server:80", "server:80"),
        ("http://[0:0::1]:81/x", "http://[::1]:81/x", "[::1]:81"),
        ("unix:/run/x.sock", "unix:/run/x.sock", "/run/x.sock"),
        ("unix:///run/x.sock/", "unix:/run/x.sock", "/run/x.sock"),
        (f"http://{'h' * 250}:8081", f"http://{'h' * 250}:8081", f"{'h' * 190}:8081"),
    ],
)
def test_url_and_the_name_it_gives(tmp_path: Path, url: str, normal: str, name: str) -> None:
    (only,) = loaded(tmp_path, f"targets: [{{url: '{url}'}}]\n").targets
    assert (only.url, only.name) == (normal, name)


@pytest.mark.parametrize(
    ("written", "host", "port", "text"),
    [
        (":9847", "", 9847, ":9847"),
        ("0.0.0.0:1", "0.0.0.0", 1, "0.0.0.0:1"),
        ("localhost:65535", "localhost", 65535, "localhost:65535"),
        ("[::1]:9847", "::1", 9847, "[::1]:9847"),
        ("127.0.0.1:0", "127.0.0.1", 0, "127.0.0.1:0"),
    ],
)
def test_listen_address(tmp_path: Path, written: str, host: str, port: int, text: str) -> None:
    address = loaded(
        tmp_path, f"targets: [{{url: 'http://h'}}]\nweb: {{listen_address: '{written}'}}\n"
    ).web.listen_address
    assert (address.host, address.port, str(address)) == (host, port, text)


URLS: list[tuple[str, str, str]] = [
    ("127.0.0.1:8081", "127.0.0.1:8081", PORT_URL),
    ("ftp://h", "ftp://h", PORT_URL),
    ("http://", "http://", PORT_URL),
    ("http://:80", "http://:80", PORT_URL),
    ("http://h:0", "http://h:0", PORT_URL),
    ("http://h:65536", "http://h:65536", PORT_URL),
    ("http://h:x", "http://h:x", PORT_URL),
    ("http://[::1", "http://[::1", PORT_URL),
    ("http://[::g]:80", "http://[::g]:80", PORT_URL),
    ("http://h{x}", "http://h{x}", PORT_URL),
    ("http://h h", "http://h h", URL),
    ("http://hé", "http://hé", URL),
    ("http://h?a=s3cr3t", "http://h?<hidden>", f"{URL}, without ? and #"),
    ("http://h#s3cr3t", "http://h#<hidden>", f"{URL}, without ? and #"),
    ("http://u:s3@cr3t@h", "http://<hidden>@h", "a url without user and password; use bearer_token_file or headers"),
    ("http://u@h:x", "http://<hidden>@h:x", PORT_URL),
    ("unix:run/x", "unix:run/x", "unix:/PATH with a path of at most 107 characters"),
    ("unix:/", "unix:/", "unix:/PATH with a path of at most 107 characters"),
    (f"unix:/{'x' * 107}", f"unix:/{'x' * 74}…", "unix:/PATH with a path of at most 107 characters"),
    ("", "", PORT_URL),
]
ADDRESSES = ["", "9847", "host", "host:", ":", ":65536", ":-1", "host:http", "::1:80", "[::1]", "[host]:80", "a b:80"]


@pytest.mark.parametrize(("url", "found", "allowed"), URLS)
def test_in_a_url(url: str, found: str, allowed: str, tmp_path: Path) -> None:
    told = told_of(tmp_path, f"targets:\n  - name: x\n    url: '{url}'\n")
    assert told == (3, "targets[0].url", f"'{found}'", allowed)


@pytest.mark.parametrize("address", ADDRESSES)
def test_in_a_listen_address(address: str, tmp_path: Path) -> None:
    told = told_of(tmp_path, f"targets: [{{url: 'http://h'}}]\nweb:\n  listen_address: '{address}'\n")
    assert told == (3, "web.listen_address", f"'{address}'", LISTEN)
