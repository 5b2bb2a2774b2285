"""Who may read and who may clean up: the rule without a server."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit.web.access import Access, Caller, is_loopback_name, why_not_local
from memory_watchdog_kit.web.asgi import caller_of

HOST = ("host", "127.0.0.1:80")


def local(*headers: tuple[str, str], host: tuple[str, str] = HOST) -> Caller:
    return Caller(True, (host, *headers))


def remote(*headers: tuple[str, str]) -> Caller:
    return Caller(False, (HOST, *headers))


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")


def test_loopback_may_do_both_without_a_token() -> None:
    access = Access(None, allow_loopback_changes=True)
    assert access.why_reading_refused(local()) is None
    assert access.why_change_refused(local()) is None
    for refusal in (access.why_reading_refused(remote()), access.why_change_refused(remote(bearer("x")))):
        assert refusal is not None
        assert refusal.status == 403


def test_loopback_may_only_read_where_changes_are_turned_off() -> None:
    access = Access(None, allow_loopback_changes=False)
    assert access.why_reading_refused(local()) is None
    refusal = access.why_change_refused(local())
    assert refusal is not None
    assert "token_file" in refusal.detail


@pytest.mark.parametrize(
    "headers",
    [
        (("forwarded", "for=1.2.3.4"),),
        (("X-Forwarded-For", "127.0.0.1"),),
        (("x-forwarded-host", "localhost"),),
        (("origin", "http://evil.example"),),
        (("origin", "null"),),
        (("origin", "http://127.0.0.1:80"), ("origin", "http://evil.example")),
        (("host", "127.0.0.1:80"),),  # twice
    ],
)
def test_a_proxy_or_a_page_is_not_local(headers: tuple[tuple[str, str], ...]) -> None:
    assert why_not_local(local(*headers)) is not None


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "127.0.0.1@evil.example", "localhost/x", "[::1", "::1", "0"]
)
def test_a_host_that_is_not_loopback(host: str) -> None:
    assert why_not_local(local(host=("host", host))) is not None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.3.2.1", "[::1]:8081", "[::ffff:127.0.0.1]"])
def test_a_host_that_is_loopback(host: str) -> None:
    assert why_not_local(local(("origin", f"http://{host}"), host=("Host", host))) is None


def test_a_request_without_a_host_is_not_local() -> None:
    assert why_not_local(Caller(True, ())) is not None


@given(st.text())
def test_any_name_is_loopback_or_not(name: str) -> None:
    assert is_loopback_name(name) in (True, False)
    assert why_not_local(local(host=("host", f"{name}.example"))) is not None


class TestToken:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "token"
        path.write_text("s3cret-one\n")
        return path

    def test_it_is_the_only_credential_for_a_cleanup(self, file: Path) -> None:
        access = Access(file, allow_loopback_changes=True)
        assert access.why_change_refused(remote(bearer("s3cret-one"))) is None
        assert access.why_change_refused(remote(("Authorization", "bEARER  s3cret-one "))) is None
        for caller in (local(), local(bearer("s3cret-two")), remote(), local(("authorization", "Basic s3cret-one"))):
            refusal = access.why_change_refused(caller)
            assert refusal is not None
            assert refusal.status == 401

    def test_two_credentials_are_none(self, file: Path) -> None:
        access = Access(file, allow_loopback_changes=True)
        assert access.why_change_refused(local(bearer("s3cret-one"), bearer("s3cret-one"))) is not None

    def test_reading_takes_loopback_or_the_token(self, file: Path) -> None:
        access = Access(file, allow_loopback_changes=False)
        assert access.why_reading_refused(local()) is None
        assert access.why_reading_refused(local(("authorization", "Basic abc"))) is None
        assert access.why_reading_refused(remote(bearer("s3cret-one"))) is None
        for caller in (remote(), remote(bearer("no")), local(bearer("no"))):
            refusal = access.why_reading_refused(caller)
            assert refusal is not None
            assert refusal.status == 401

    def test_it_is_read_again(self, file: Path) -> None:
        access = Access(str(file), allow_loopback_changes=True)
        times = file.stat()
        file.write_text("s3cret-two\n")
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as if within one tick of the file system's clock
        assert access.why_change_refused(local(bearer("s3cret-one"))) is not None
        assert access.why_change_refused(local(bearer("s3cret-two"))) is None

    @pytest.mark.parametrize("content", ["", " \n", "two tokens", "ümlaut", "x" * 70_000])
    def test_a_file_without_a_token_opens_nothing(
        self, file: Path, content: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        access = Access(file, allow_loopback_changes=True)
        file.write_text(content)
        with caplog.at_level(logging.INFO):
            for presented in ("", "s3cret-one", content, " "):
                refusal = access.why_change_refused(local(bearer(presented)))
                assert refusal is not None
                assert refusal.status == 403
                assert str(file) not in refusal.detail
        assert len(caplog.records) == 1, "said once, not at each request"
        assert str(file) in caplog.text
        assert access.why_reading_refused(local()) is None
        assert access.why_reading_refused(remote(bearer("s3cret-one"))) is not None
        file.write_text("s3cret-one")
        assert access.why_change_refused(local(bearer("s3cret-one"))) is None

    def test_a_file_that_cannot_be_read_is_said_at_the_start(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        os.mkfifo(tmp_path / "pipe")
        for name, why in (("none", "No such file"), ("pipe", "not a regular file"), (".", "not a regular file")):
            caplog.clear()
            access = Access(tmp_path / name, allow_loopback_changes=True)
            assert why in caplog.text
            assert access.why_change_refused(local(bearer("x"))) is not None

    def test_its_content_is_in_no_log(self, file: Path, caplog: pytest.LogCaptureFixture) -> None:
        file.write_text("s3cret one")
        Access(file, allow_loopback_changes=True)
        assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (("127.0.0.1", 5), ("127.0.0.1", 80), True),
        (("::ffff:127.0.0.1", 5), None, True),
        (("10.0.0.1", 5), ("127.0.0.1", 80), False),
        (("testclient", 5), ("testserver", 80), False),
        (None, ("/run/a.sock", None), True),
        (None, ("10.0.0.1", 80), False),  # a TCP peer that has reset its connection
        (None, None, False),
    ],
)
def test_who_is_local_over_asgi(
    client: tuple[str, int] | None, server: tuple[str, int | None] | None, expected: bool
) -> None:
    assert caller_of({"client": client, "server": server, "headers": [(b"host", b"x")]}).local is expected
