"""The worker: the only process that imports a model's library. It makes one model and answers for it until EOF.

Covers: calling the factory and the model, checking what they return, saying how they failed.
Leaves to others: how the process comes to be and ends (`forkserver`), the bytes (`wire`).

The process was forked by the forkserver: standard output and error are a pipe that the host logs line by line, so
whatever a library prints is kept and is never taken for an answer, for which there is a socket.
"""

from __future__ import annotations

import functools
import importlib
import socket
import traceback
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from memory_watchdog_kit.model_host import wire
from memory_watchdog_kit.model_host.memory import inherited_bytes

MAX_REQUEST_BYTES = 2**31
"""The host has its own, lower limit; this one only keeps nonsense from being allocated."""


class InvalidAnswer(Exception):
    """What the model returned cannot be sent; the text says why."""


def serve(connection: socket.socket) -> None:
    """Load, then answer one request after another; returns when the host closes the connection."""
    reader = wire.FrameReader(MAX_REQUEST_BYTES, 0)
    try:
        load = _receive(connection, reader)
        if not isinstance(load, wire.Load):
            raise wire.WireError("the first message is not a load")
        model = _make(load, connection)
        while model is not None:
            request = _receive(connection, reader)
            if not isinstance(request, wire.Embed):
                raise wire.WireError("a second load")
            _answer(connection, model, request, load.max_answer_bytes)
    except (EOFError, ConnectionError):
        return


def _receive(connection: socket.socket, reader: wire.FrameReader) -> wire.Load | wire.Embed:
    while True:
        frame = reader.advance(connection)
        if frame is not None:
            return wire.parse_request(frame)


def _make(load: wire.Load, connection: socket.socket) -> Callable[[list[str]], object] | None:
    """The model; None where there is none, which the host has then been told."""
    try:
        module, _, path = load.factory.partition(":")
        factory = functools.reduce(getattr, path.split("."), importlib.import_module(module))
        model: object = factory(**load.arguments)  # type: ignore[operator]  # whatever the path names; if not callable, it fails
        if not callable(model):
            raise InvalidAnswer(f"{load.factory} returned {type(model).__name__}, which cannot be called")
    except Exception as error:  # noqa: BLE001 - it is the model's code: it may raise anything, and the host is told
        _failed(connection, 0, error)
        return None
    connection.sendall(wire.encode_ready(wire.Ready(inherited_bytes())))
    return model


def _answer(
    connection: socket.socket, model: Callable[[list[str]], object], request: wire.Embed, max_bytes: int
) -> None:
    try:
        array = _checked(model(list(request.texts)), len(request.texts), max_bytes)
    except Exception as error:  # noqa: BLE001 - as above
        _failed(connection, request.number, error)
        return
    _send(connection, wire.encode_vectors(request.number, array), array)


def _checked(answer: object, rows: int, max_bytes: int) -> NDArray[np.float32]:
    if not isinstance(answer, np.ndarray):
        raise InvalidAnswer(f"the model returned {type(answer).__name__} instead of a numpy array")
    if answer.dtype != np.float32:
        raise InvalidAnswer(f"the model returned {answer.dtype} instead of float32")
    if answer.ndim != 2 or answer.shape[0] != rows or answer.shape[1] < 1:
        raise InvalidAnswer(f"the model returned shape {answer.shape} for {rows} texts")
    if answer.nbytes > max_bytes:
        raise InvalidAnswer(f"the model returned {answer.nbytes} bytes, at most {max_bytes} are allowed")
    return np.ascontiguousarray(answer, wire.DTYPES["float32"])


def _send(connection: socket.socket, head: bytes, array: NDArray[np.float32]) -> None:
    """Both in one system call where the buffer takes them: two would wake the host twice."""
    body = array.view(np.uint8).reshape(-1).data
    sent = connection.sendmsg([head, body])
    if sent < len(head):
        connection.sendall(head[sent:])
        sent = len(head)
    connection.sendall(body[sent - len(head) :])


def _failed(connection: socket.socket, number: int, error: Exception) -> None:
    """Type and message for the caller; the traceback for the log, through standard error."""
    if not isinstance(error, InvalidAnswer):
        below = error.__traceback__ and error.__traceback__.tb_next  # the model's frames, without our own
        traceback.print_exception(type(error), error, below)
    try:
        message = str(error)
    except Exception as second:  # noqa: BLE001 - an exception's own __str__ may raise anything
        message = f"(its message raised {type(second).__name__})"
    connection.sendall(wire.encode_failed(wire.Failed(number, type(error).__name__, message)))
