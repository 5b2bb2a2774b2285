"""Cleanups of servers that do not know the contract: several requests, errors and claims anywhere in the answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from memory_watchdog.actions import http
from memory_watchdog.actions.http import CleanupRequest
from memory_watchdog.actions.steps import clean_up_in_steps
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.expressions import Quantity, Term, compile_expression
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason, Scalar
from memory_watchdog.outside_text import Json

from tests.support.answers import Answer, AnsweringServer, Asked, Respond, answering

MIB = 2**20
FREED = Quantity((Term(compile_expression("freed"), MIB),))
FULL_BODY: Json = {"id": "{request_id}", "rev": "{stats.rev}"}


def cleaned(server: AnsweringServer, *requests: CleanupRequest, statistics: dict[str, Scalar] | None = None) -> Outcome:
    async def ask() -> Outcome:
        client = TargetClient(server.url)
        values = Placeholders("id-1", "why", "normal", None, statistics or {})
        outcome = await clean_up_in_steps(client, requests, values)
        await client.aclose()
        return outcome

    outcome = asyncio.run(ask())
    assert outcome.request_id == "id-1"
    assert outcome.detail.isprintable()
    assert len(outcome.detail) <= 200
    return outcome


def judged(body: bytes, **keys: Any) -> tuple[OutcomeKind, Reason | None, str, int | None]:
    with answering({("POST", "/c"): Answer(body)}) as server:
        outcome = cleaned(server, CleanupRequest("/c", timeout_seconds=10, **keys))
    return outcome.kind, outcome.reason, outcome.detail, outcome.claimed_bytes


DONE, FAILED, IN_ANSWER = OutcomeKind.DONE, OutcomeKind.FAILED, Reason.ERROR_IN_ANSWER


@pytest.mark.parametrize(
    ("expression", "body", "judgement"),
    [
        ("status.error", b"{}", (DONE, None, "", None)),
        ("status.error", b'{"status":{"error":null}}', (DONE, None, "", None)),
        ("status.error", b'{"status":{"error":"no"}}', (FAILED, IN_ANSWER, "no", None)),
        ("status.error", b'{"status":{"error":""}}', (FAILED, IN_ANSWER, "an error without a text", None)),
        ("status.error", b'{"status":{"error":{"message":"busy"}}}', (FAILED, IN_ANSWER, "busy", None)),
        ("status.error", b'{"error":"native"}', (DONE, None, "", None)),  # the config says where errors are
        ("parts[].error", b'{"parts":[{},{"error":null}]}', (DONE, None, "", None)),
        ("parts[].error", b'{"parts":[{},{"error":"x"}]}', (FAILED, IN_ANSWER, '["x"]', None)),
        ("status.error", b"", (DONE, None, "", None)),
        ("status.error", b"\x00\xff binary", (DONE, None, "", None)),
        ("[0].error", b'[{"error":"in a list"}]', (FAILED, IN_ANSWER, "in a list", None)),
        ("sum(a)", b'{"a":["x"]}', (FAILED, Reason.INVALID, None, None)),
    ],
)
def test_where_an_error_is(
    expression: str, body: bytes, judgement: tuple[OutcomeKind, Reason | None, str | None, int | None]
) -> None:
    kind, reason, detail, claimed = judged(body, error=compile_expression(expression))
    assert (kind, reason, claimed) == (judgement[0], judgement[1], judgement[3])
    assert detail == judgement[2] or (judgement[2] is None and detail.startswith("error: sum(a): "))


@pytest.mark.parametrize(
    ("body", "claimed", "noted"),
    [
        (b'{"freed":1.5}', 3 * MIB // 2, False),
        (b'{"freed":"2"}', 2 * MIB, False),
        (b'{"freed":-0.0}', 0, False),
        (b'{"freed":null}', None, False),
        (b"{}", None, False),
        (b"", None, False),
        (b'{"reclaimed_bytes":5}', None, False),
        (b'{"freed":-1}', None, True),
        (b'{"freed":NaN}', None, True),
        (b'{"freed":"much"}', None, True),
    ],
)
def test_what_is_claimed(body: bytes, claimed: int | None, noted: bool) -> None:
    kind, reason, detail, found = judged(body, claimed=FREED)
    assert (kind, reason, found) == (DONE, None, claimed)
    assert detail.startswith("claimed: freed yields ") == noted
    assert bool(detail) == noted


def test_an_error_without_an_expression_is_the_native_one() -> None:
    assert judged(b'{"error":"no","freed":1}', claimed=FREED) == (FAILED, IN_ANSWER, "no", MIB)
    assert judged(b'{"error":null,"reclaimed_bytes":7}', error=compile_expression("x")) == (DONE, None, "", 7)


def slow(seconds: float, body: bytes = b"") -> Respond:
    def respond(_: Asked) -> Answer:
        time.sleep(seconds)
        return Answer(body)

    return respond


def test_steps_are_one_outcome() -> None:
    answers: dict[tuple[str, str], Answer | Respond] = {
        ("POST", "/one"): Answer(b'{"freed":1}'),
        ("GET", "/two"): slow(0.05, b'{"freed":"lots"}'),
        ("POST", "/three"): Answer(b'{"freed":2}'),
    }
    with answering(answers) as server:
        outcome = cleaned(
            server,
            CleanupRequest("/one", claimed=FREED, has_body=True, body=FULL_BODY),
            CleanupRequest("/two", "GET", claimed=FREED),
            CleanupRequest("/three", claimed=FREED, has_body=True, body=FULL_BODY, headers={"X-R": "{stats.rev}"}),
            statistics={"rev": 5},
        )
        assert [(asked.method, asked.path, asked.body) for asked in server.asked] == [
            ("POST", "/one", b'{"id": "id-1", "rev": 5}'),
            ("GET", "/two", b""),
            ("POST", "/three", b'{"id": "id-1-3", "rev": 5}'),
        ]
        assert [asked.headers["x-request-id"] for asked in server.asked] == ["id-1", "id-1-2", "id-1-3"]
        assert server.asked[2].headers["x-r"] == "5"
    assert outcome.duration_seconds > 0.05
    assert replace(outcome, duration_seconds=0, detail="") == Outcome("id-1", DONE, 0, claimed_bytes=3 * MIB)
    assert outcome.detail.startswith("step 2 of 3, GET /two: claimed: freed yields the text 'lots'")


def test_a_step_that_fails_ends_it_and_is_named() -> None:
    answers = {
        ("POST", "/one"): Answer(b'{"freed":1}'),
        ("POST", "/two"): Answer(b'{"error":"disk full","freed":1}'),
    }
    three = CleanupRequest("/three")
    with answering(dict(answers)) as server:
        outcome = cleaned(server, CleanupRequest("/one", claimed=FREED), CleanupRequest("/two", claimed=FREED), three)
        assert [asked.path for asked in server.asked] == ["/one", "/two"]
        detail = "step 2 of 3, POST /two: disk full"
        assert replace(outcome, duration_seconds=0) == Outcome("id-1", FAILED, 0, IN_ANSWER, detail, 2 * MIB)
        outcome = cleaned(server, three, CleanupRequest("/one"))
        assert (outcome.kind, outcome.reason) == (FAILED, Reason.HTTP_STATUS)
        assert outcome.detail == "step 1 of 2, POST /three: 404: no such path"
        assert len(server.asked) == 3


def test_a_later_step_that_times_out_is_a_timeout() -> None:
    with answering({("POST", "/one"): Answer(), ("POST", "/two"): slow(0.5)}) as server:
        outcome = cleaned(server, CleanupRequest("/one"), CleanupRequest("/two", timeout_seconds=0.05))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.TIMEOUT, Reason.TIMEOUT)
    assert outcome.detail == "step 2 of 2, POST /two: no answer within 50ms"


def test_a_later_step_that_cannot_be_sent_has_failed_since_the_server_got_the_first() -> None:
    broken = CleanupRequest("/two", has_body=True, body=float("nan"))
    with answering({("POST", "/one"): Answer()}) as server:
        outcome = cleaned(server, CleanupRequest("/one"), broken)
        assert (outcome.kind, outcome.reason) == (FAILED, Reason.NOT_SENT)
        outcome = cleaned(server, broken, CleanupRequest("/one"))
        assert (outcome.kind, outcome.reason) == (OutcomeKind.UNREACHED, Reason.NOT_SENT)


def test_nothing_is_sent_when_any_step_lacks_a_value() -> None:
    with answering({("POST", "/one"): Answer()}) as server:
        needs = CleanupRequest("/two", headers={"X-R": "{stats.rev}"})
        outcome = cleaned(server, CleanupRequest("/one"), needs)
        detail = "step 2 of 2, POST /two: not known from the statistics: rev"
        assert outcome == Outcome("id-1", OutcomeKind.UNREACHED, 0, Reason.NOT_SENT, detail)
        outcome = cleaned(server, needs)
        assert replace(outcome, duration_seconds=0) == Outcome(
            "id-1", OutcomeKind.UNREACHED, 0, Reason.NOT_SENT, "not known from the statistics: rev"
        )
        assert server.asked == []


def test_an_answer_that_takes_too_long_to_look_through_leaves_the_claim_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "READING_SECONDS", 0.0)
    elements = b'{"freed":[' + b"1," * 100_000 + b"1]}"
    assert judged(elements, claimed=FREED) == (DONE, None, "more than 0ms of work on the answer", None)
