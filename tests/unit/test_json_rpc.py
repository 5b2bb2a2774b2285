"""One answer heard in JSON and in event streams, however they are cut."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.actions.json_rpc import AnswerListener

ANSWER = {"jsonrpc": "2.0", "id": 2, "result": {"a": "é\u2028"}}
PROGRESS = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
"""Asked by the server, with the id that is ours by chance."""

OTHER = {"jsonrpc": "2.0", "id": 1, "result": {}}
JSON, EVENTS = "application/json", "text/event-stream; charset=utf-8"


def text(*messages: object) -> list[str]:
    return [json.dumps(message, ensure_ascii=False) for message in messages]


def heard(content_type: str, body: bytes, pieces: list[int] | None = None) -> tuple[Any, str]:
    listener = AnswerListener(2)
    listener.begin(content_type)
    places = [0, *sorted(place % (len(body) + 1) for place in pieces or []), len(body)]
    for begin, end in pairwise(places):
        if listener.feed(body[begin:end]):
            break
    return listener.end(body), listener.problem


@pytest.mark.parametrize("batch", [[ANSWER], [PROGRESS, ANSWER], [OTHER, ANSWER, PING]])
def test_json_alone_or_in_a_batch(batch: list[Any]) -> None:
    assert heard(JSON, json.dumps(batch).encode()) == (ANSWER, heard(JSON, json.dumps(batch).encode())[1])
    assert heard(JSON, json.dumps(ANSWER).encode()) == (ANSWER, "")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "the answer is empty"),
        (b"<html>", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[]", "the answer ended without an answer to the request"),
        (b"5", "not a JSON-RPC message"),
        (b"{}", "an answer to request null, not to ours"),
        (b'{"id": 2}', "an answer to request 2, not to ours"),
        (b'{"id": 2, "result": {}, "error": {}}', "an answer to request 2, not to ours"),
        (b'{"id": "2", "result": {}}', 'an answer to request "2", not to ours'),
        (b'{"id": 1, "result": {}}', "an answer to request 1, not to ours"),
        (b'{"id": true, "result": {}}', "an answer to request true, not to ours"),
        (b'{"id": 2, "method": "ping", "result": {}}', "the answer ended without an answer to the request"),
        (json.dumps(PING).encode(), "the answer ended without an answer to the request"),
    ],
)
def test_what_is_no_answer(body: bytes, problem: str) -> None:
    assert heard(JSON, body) == (None, problem)
    if body:
        assert heard(EVENTS, b"data: " + body + b"\n\n") == (None, problem)


def test_true_is_no_number() -> None:
    listener = AnswerListener(1)
    listener.begin(JSON)
    assert listener.end(b'{"id": true, "result": {}}') is None
    assert listener.end(b'{"id": 1, "result": {}}') is not None


def test_an_error_without_an_id_is_ours() -> None:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no"}}
    assert heard(JSON, json.dumps(error).encode()) == (error, "")


LINES = st.lists(
    st.sampled_from(
        [": a comment", "event: message", "id: 7", "retry: 5", "data", "nonsense", "", "data: not json", *(
            f"data: {message}" for message in text(PROGRESS, PING, OTHER)
        )]
    )
)  # fmt: skip


@given(
    before=LINES,
    after=LINES,
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    mark=st.booleans(),
    split=st.booleans(),
    pieces=st.lists(st.integers(0, 5000), max_size=30),
)
def test_a_stream_may_be_cut_anywhere(
    before: list[str], after: list[str], end: str, mark: bool, split: bool, pieces: list[int]
) -> None:
    data = json.dumps(ANSWER, ensure_ascii=False, indent=1 if split else None).split("\n")
    lines = [*before, "", *(f"data: {line}" for line in data), "", *after]
    body = ("\ufeff" * mark + "".join(line + end for line in lines)).encode()
    assert heard(EVENTS, body, pieces)[0] == ANSWER


@given(body=st.binary(max_size=200), pieces=st.lists(st.integers(0, 200), max_size=10), stream=st.booleans())
def test_any_bytes_are_an_answer_or_a_problem(body: bytes, pieces: list[int], stream: bool) -> None:
    answer, problem = heard(EVENTS if stream else JSON, body, pieces)
    assert answer is None
    assert problem
    assert problem.isprintable()


def test_a_last_event_without_its_blank_line_counts() -> None:
    assert heard(EVENTS, f"data: {text(ANSWER)[0]}".encode())[0] == ANSWER


def test_it_is_heard_before_the_stream_ends() -> None:
    listener = AnswerListener(2)
    listener.begin(EVENTS)
    first, answer = (f"data: {message}\n\n".encode() for message in text(PROGRESS, ANSWER))
    assert not listener.feed(first)
    assert not listener.feed(answer[:-1])
    assert listener.feed(answer[-1:])
    assert listener.answer == ANSWER


def test_a_megabyte_byte_by_byte_is_looked_at_once() -> None:
    listener = AnswerListener(2)
    listener.begin(EVENTS)
    body = b"data: " + b"x" * 1_000_000
    begun = time.process_time()
    for place in range(len(body)):
        listener.feed(body[place : place + 1])
    assert time.process_time() - begun < 60  # 1 s; looking at all of it each time would take an hour
