"""What goes over the socket to a worker, and what anybody else might put there."""

from __future__ import annotations

import json
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit.model_host import wire
from memory_watchdog_kit.model_host.errors import MESSAGE_CHARACTERS

MOST = 8192


def read(data: bytes, piece: int = 65536) -> list[wire.Frame]:
    """The frames in `data`, sent through a real socket in pieces, until EOF. Raises WireError."""
    reader = wire.FrameReader(MOST, MOST)
    ours, theirs = socket.socketpair()
    frames = []
    with ours, theirs:
        for begin in range(0, len(data), piece):
            theirs.sendall(data[begin : begin + piece])
            frames += _take(reader, ours)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            frames += _take(reader, ours)
    return frames


def _take(reader: wire.FrameReader, connection: socket.socket) -> list[wire.Frame]:
    connection.setblocking(False)
    frames = []
    try:
        while True:
            frame = reader.advance(connection)
            if frame is not None:
                frames.append(frame)
    except BlockingIOError:
        return frames


def frame(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return wire.PREFIX.pack(wire.MAGIC, len(text), len(body)) + text + body


def answer(header: object, body: bytes = b"") -> wire.Ready | wire.Vectors | wire.Failed:
    (one,) = read(frame(header, body))
    return wire.parse_answer(one)


@given(st.lists(st.text(st.characters(), max_size=20), max_size=20), st.integers(0, 2**53), st.integers(1, 50))
def test_a_request_arrives_as_it_was_sent_in_any_pieces(texts: list[str], number: int, piece: int) -> None:
    (one,) = read(wire.encode_embed(wire.Embed(number, texts)), piece)
    assert wire.parse_request(one) == wire.Embed(number, texts)


@given(st.integers(0, 20), st.integers(1, 20), st.integers(1, 100))
def test_vectors_arrive_as_they_were_sent_in_any_pieces(rows: int, columns: int, piece: int) -> None:
    array = np.random.default_rng(rows).random((rows, columns), np.float32)
    (one,) = read(wire.encode_vectors(5, array) + array.tobytes(), piece)
    vectors = wire.parse_answer(one)
    assert isinstance(vectors, wire.Vectors)
    assert vectors.number == 5
    assert np.array_equal(vectors.array, array)


def test_load_ready_and_failed_arrive_as_they_were_sent() -> None:
    load = wire.Load("a", "b:c", {"x": [1, None, "ü"]}, 77)
    assert wire.parse_request(read(wire.encode_load(load))[0]) == load
    assert wire.parse_answer(read(wire.encode_ready(wire.Ready(9)))[0]) == wire.Ready(9)
    failed = wire.Failed(3, "ValueError", "bad")
    assert wire.parse_answer(read(wire.encode_failed(failed))[0]) == failed


def test_what_failed_says_is_one_line_and_short() -> None:
    long = wire.Failed(3, "E" * 5000, "a\nb\x1b[31m" + "x" * 100_000)
    got = wire.parse_answer(read(wire.encode_failed(long))[0])
    assert isinstance(got, wire.Failed)
    assert got.message.startswith("a b [31mxxx")
    assert len(got.message) == len(got.error_type) == MESSAGE_CHARACTERS
    assert answer({"op": "failed", "number": 1, "type": "a\nb", "message": "\r"}) == wire.Failed(1, "a b", "")


@given(st.binary(max_size=200), st.booleans(), st.integers(1, 30))
def test_any_bytes_are_frames_or_a_wire_error(data: bytes, prefixed: bool, piece: int) -> None:
    stream = wire.MAGIC + data if prefixed else data
    try:
        frames = read(stream, piece)
    except wire.WireError:
        return
    for one in frames:
        _parses_or_refuses(one)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["load", "embed", "ready", "vectors", "failed"]) | JSON,
        "number": st.integers() | JSON,
        "dtype": st.sampled_from(["float32", "float64", "object", "<f4"]) | JSON,
        "shape": st.lists(st.integers(-2, 2**62), max_size=3) | JSON,
        "texts": st.lists(st.text(max_size=3) | JSON, max_size=3),
        "type": st.text(max_size=3) | JSON,
        "message": st.text(max_size=3) | JSON,
        "model": st.text(max_size=3) | JSON,
        "factory": st.text(max_size=3) | JSON,
        "arguments": st.dictionaries(st.text(max_size=3), JSON, max_size=2) | JSON,
        "max_answer_bytes": st.integers() | JSON,
        "inherited_bytes": st.integers() | JSON,
    },
)


@given(JSON | LIKELY, st.binary(max_size=64))
def test_any_header_is_a_message_or_a_wire_error(header: object, body: bytes) -> None:
    for one in read(frame(header, body)):
        _parses_or_refuses(one)


def _parses_or_refuses(one: wire.Frame) -> None:
    for parse in (wire.parse_answer, wire.parse_request):
        try:
            message = parse(one)
        except wire.WireError:
            continue
        if isinstance(message, wire.Vectors):
            assert message.array.dtype == np.float32
            assert message.array.nbytes == one.body.size


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ({"op": "vectors", "number": 1, "dtype": "float32", "shape": [2, 3]}, 20),
        ({"op": "vectors", "number": 1, "dtype": "float32", "shape": [-1, -6]}, 24),
        ({"op": "vectors", "number": 1, "dtype": "float32", "shape": [3, 0]}, 0),
        ({"op": "vectors", "number": 1, "dtype": "float32", "shape": [2**40, 2**40]}, 24),
        ({"op": "vectors", "number": 1, "dtype": "float32", "shape": [6]}, 24),
        ({"op": "vectors", "number": 1, "dtype": "float64", "shape": [1, 3]}, 24),
        ({"op": "vectors", "number": 1, "dtype": "object", "shape": [1, 3]}, 24),
        ({"op": "ready", "inherited_bytes": -1}, 0),
        ({"op": "ready", "inherited_bytes": 1}, 4),
        ({"op": "failed", "number": 1, "type": "E", "message": "m"}, 4),
        ({"op": "embed", "number": 1, "texts": ["x"]}, 0),
        ([], 0),
    ],
)
def test_an_answer_that_is_none_is_refused(header: object, body: int) -> None:
    with pytest.raises(wire.WireError):
        answer(header, bytes(body))


@pytest.mark.parametrize(
    "stream",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        wire.PREFIX.pack(wire.MAGIC, MOST + 1, 0),
        wire.PREFIX.pack(wire.MAGIC, 2, MOST + 1),
        wire.PREFIX.pack(wire.MAGIC, 2, 2**64 - 1),
        frame(b"{not json"),
        frame(b"\xff\xfe\x00"),
        frame(b"[" * MOST),
        frame(b'{"number": ' + b"9" * 5000 + b"}"),
        frame({}) + b"more",
    ],
)
def test_a_stream_that_is_none_is_refused(stream: bytes) -> None:
    with pytest.raises(wire.WireError):
        read(stream)


def test_a_stream_that_ends_too_early_gives_no_frame() -> None:
    whole = frame({"op": "vectors", "number": 1, "dtype": "float32", "shape": [1, 2]}, bytes(8))
    assert all(read(whole[:length]) == [] for length in range(len(whole)))
