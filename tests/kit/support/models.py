"""Models for the tests of the model host: small, numpy only, and some of them bad."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Model = Callable[[list[str]], NDArray[np.float32]]


def hashing(dimensions: int = 8, megabytes: int = 0, load_seconds: float = 0.0) -> Model:
    """Row i is filled with the length of text i. Holds `megabytes` of memory."""
    time.sleep(load_seconds)
    weights = np.ones(megabytes * 2**20, np.uint8)

    def embed(texts: list[str]) -> NDArray[np.float32]:
        assert weights.size == megabytes * 2**20
        return np.repeat(np.array([[len(text)] for text in texts], np.float32), dimensions, axis=1)

    return embed


def whose(dimensions: int = 1) -> Model:
    """Tells the pid of the process it runs in."""
    return lambda texts: np.full((len(texts), dimensions), os.getpid(), np.float32)


def obedient() -> Model:
    """Does what the first text says."""
    return lambda texts: _obey(texts[0], len(texts))


def _obey(order: str, rows: int) -> NDArray[np.float32]:  # noqa: PLR0912, PLR0915 - a list of things to do
    verb, _, argument = order.partition(" ")
    answer: object = np.zeros((rows, 4), np.float32)
    match verb:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            sys.exit(3)
        case "crash":
            ctypes.string_at(0)
        case "sleep":
            time.sleep(float(argument))
        case "hang":
            if argument:
                Path(argument).touch()
            while True:
                signal.pause()
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise ValueError(argument)
        case "raise-badly":
            raise _WithoutMessage
        case "print":
            print(argument, flush=True)
            os.write(1, b"MWK1" + bytes(64) + b"\n")
        case "flood":
            print("x\n" * int(argument), flush=True)
        case "child":
            subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], stdin=subprocess.DEVNULL)
            answer = np.full((rows, 4), os.getpid(), np.float32)
        case "fork":
            if os.fork() == 0:
                signal.pause()
        case "float64":
            answer = np.zeros((rows, 4))
        case "list":
            answer = [[0.0] * 4] * rows
        case "rows":
            answer = np.zeros((rows + 1, 4), np.float32)
        case "flat":
            answer = np.zeros(rows, np.float32)
        case "columns":
            answer = np.zeros((rows, int(argument)), np.float32)
        case "nan":
            answer = np.full((rows, 4), np.nan, np.float32)
        case "none":
            answer = None
        case "fortran":
            answer = np.asfortranarray(np.arange(rows * 4, dtype=np.float32).reshape(rows, 4))
        case "wait-for":
            while not Path(argument).exists():
                time.sleep(0.002)
    return answer  # type: ignore[return-value]  # being wrong is what some of them are for


class _WithoutMessage(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def raising(message: str = "no weights") -> Model:
    raise FileNotFoundError(message)


def dying() -> Model:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def hanging() -> Model:
    while True:
        signal.pause()


def not_callable() -> object:
    return 7
