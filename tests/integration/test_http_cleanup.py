"""The cleanup request, over real sockets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.actions.http import CleanupRequest, clean_up
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason

from tests.support.http import DEADLINE_SECONDS, HEAD, SECRET, VALUES, cleaned, run
from tests.support.servers import (
    Respond,
    answering,
    dripping,
    endless,
    hang,
    sending,
)

CLEANUP = CleanupRequest("/memory/cleanup", timeout_seconds=10)


def test_the_cleanup_that_goes_out(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("tok\n")
    request = CleanupRequest(
        "/memory/cleanup",
        has_body=True,
        body={"level": "{level}", "reason": "{reason}", "target_bytes": "{target_bytes}", "keep": [1, None]},
        headers={"X-Why": "{reason}"},
        token_file=token_file,
    )
    values = replace(VALUES, reason="über 80 %\r\nX-Injected: {level}")
    outcome, server = cleaned(answering(b'{"reclaimed_bytes": 5, "error": null}'), request, values)
    assert replace(outcome, duration_seconds=0) == Outcome("r-1", OutcomeKind.DONE, 0, claimed_bytes=5)
    (sent,) = server.requests
    assert (sent.method, sent.path) == ("POST", "/memory/cleanup")
    assert sent.headers["x-request-id"] == "r-1"
    assert sent.headers["authorization"] == "Bearer tok"
    assert sent.headers["x-why"] == "über 80 % X-Injected: {level}"
    assert "x-injected" not in sent.headers
    assert json.loads(sent.body) == {
        "level": "normal",
        "reason": values.reason,
        "target_bytes": 1000,
        "keep": [1, None],
    }


def test_a_cleanup_without_a_body_and_one_with_null() -> None:
    _, server = cleaned(answering(), CLEANUP)
    assert (server.requests[0].body, server.requests[0].headers.get("content-type")) == (b"", None)
    _, server = cleaned(answering(), replace(CLEANUP, has_body=True))
    assert (server.requests[0].body, server.requests[0].headers.get("content-type")) == (b"null", "application/json")
    only_unknown = replace(CLEANUP, has_body=True, body="{target_bytes}")
    _, server = cleaned(answering(), only_unknown, replace(VALUES, target_bytes=None))
    assert server.requests[0].body == b""


@pytest.mark.parametrize(
    ("body", "claimed_bytes"),
    [
        (b"", None),
        (b"done", None),
        (b"[1, 2]", None),
        (b'{"reclaimed_bytes": 104857600}', 104857600),
        (b'{"reclaimed_bytes": 1.5}', 1),
        (b'{"reclaimed_bytes": 0}', 0),
        (b'{"reclaimed_bytes": -1}', None),
        (b'{"reclaimed_bytes": NaN}', None),
        (b'{"reclaimed_bytes": Infinity}', None),
        (b'{"reclaimed_bytes": true}', None),
        (b'{"reclaimed_bytes": "5"}', None),
        (b'{"reclaimed_bytes": 1' + b"0" * 400 + b"}", None),
        (b'{"reclaimed_bytes": null, "components": [{"name": "a", "error": null}, 7, {}]}', None),
        (b'{"components": 7}', None),
        (b"[" * 100_000, None),
        (b'{"reclaimed_bytes": 5', None),
    ],
)
def test_a_2xx_without_an_error_is_done(body: bytes, claimed_bytes: int | None) -> None:
    outcome, _ = cleaned(answering(body, 202), CLEANUP)
    assert replace(outcome, duration_seconds=0) == Outcome("r-1", OutcomeKind.DONE, 0, claimed_bytes=claimed_bytes)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"error": "no\nway"}, "no way"),
        ({"error": ""}, "an error without a text"),
        ({"error": False}, "false"),
        ({"error": {"code": 5, "message": "busy"}}, "busy"),
        ({"error": {"code": 5}}, '{"code": 5}'),
        (
            {"error": None, "components": [{"name": "disk", "error": "full"}, {"error": "x"}]},
            "disk: full; components[1]: x",
        ),
        ({"error": "y" * 1000}, "y" * 199 + "…"),
        ({"error": f"bad key {SECRET}, bad password hunter2"}, "bad key ***, bad password ***"),
    ],
)
def test_a_2xx_with_an_error_inside_has_failed(body: dict[str, Any], detail: str) -> None:
    request = replace(CLEANUP, headers={"X-Key": SECRET}, has_body=True, body={"auth": [{"db_password": "hunter2"}]})
    outcome, _ = cleaned(answering(json.dumps({**body, "reclaimed_bytes": 3}).encode()), request)
    assert (outcome.kind, outcome.reason, outcome.detail) == (OutcomeKind.FAILED, Reason.ERROR_IN_ANSWER, detail)
    assert outcome.claimed_bytes == 3


def test_an_error_that_is_nested_deeply_raises_nothing() -> None:
    deep = b'{"error": ' + b"[" * 900 + b"]" * 900 + b"}"
    outcome, _ = cleaned(answering(deep), CLEANUP)
    assert outcome.kind in {OutcomeKind.FAILED, OutcomeKind.DONE}


@pytest.mark.parametrize(
    ("respond", "kind", "reason"),
    [
        (hang, OutcomeKind.TIMEOUT, Reason.TIMEOUT),
        (dripping(HEAD), OutcomeKind.TIMEOUT, Reason.TIMEOUT),
        (answering(b"unknown level", 422), OutcomeKind.FAILED, Reason.HTTP_STATUS),
        (answering(b"busy", 409), OutcomeKind.FAILED, Reason.HTTP_STATUS),
        (answering(b"", 303, "Location: /"), OutcomeKind.FAILED, Reason.REDIRECT),
        (answering(b"?", 200, "Content-Encoding: zstd"), OutcomeKind.FAILED, Reason.ENCODING),
        (sending(b""), OutcomeKind.FAILED, Reason.CLOSED),
    ],
)
def test_a_cleanup_that_fails(respond: Respond, kind: OutcomeKind, reason: Reason) -> None:
    outcome, server = cleaned(respond, replace(CLEANUP, timeout_seconds=DEADLINE_SECONDS))
    assert (outcome.kind, outcome.reason, outcome.claimed_bytes) == (kind, reason, None)
    assert outcome.detail
    assert len(server.requests) == 1  # never sent again on its own


def test_a_2xx_that_is_too_long_to_read_is_done() -> None:
    outcome, _ = cleaned(endless(HEAD), CLEANUP)
    assert (outcome.kind, outcome.reason, outcome.claimed_bytes) == (OutcomeKind.DONE, None, None)
    assert outcome.detail == "the answer is larger than 1.00 MiB; not read"


def test_a_cleanup_that_the_server_never_got(tmp_path: Path) -> None:
    async def work(request: CleanupRequest) -> Outcome:
        client = TargetClient(f"unix:{tmp_path}/none.sock")
        try:
            return await clean_up(client, request, VALUES)
        finally:
            await client.aclose()

    for request, reason in (
        (CLEANUP, Reason.CONNECTION),
        (replace(CLEANUP, token_file=tmp_path / "none"), Reason.NOT_SENT),
        (replace(CLEANUP, has_body=True, body=[float("nan")]), Reason.NOT_SENT),
        (replace(CLEANUP, headers={"X-Bad": "\n\x00"}), Reason.NOT_SENT),
    ):
        outcome = run(work(request))
        assert (outcome.kind, outcome.reason) == (OutcomeKind.UNREACHED, reason)
        assert outcome.detail
