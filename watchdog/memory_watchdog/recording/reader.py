"""Reads a recording: its files from the oldest on, line by line, never the whole at once.

Covers: the files, damaged lines, how far it has come.
Leaves to others: the lines (`lines`), what follows from them (`replay`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from memory_watchdog.recording.lines import Line, NoLine, decode
from memory_watchdog.recording.recorder import files_of

MAX_LINE_BYTES = 4 * 2**20
"""64 components and a full state are 100 kB; what is longer is no line of ours."""


OPEN_TRIES = 5
"""A rotation takes some 100 µs."""


class RecordingError(Exception):
    """The file cannot be read, or is no recording; the text names file and line."""


def read(path: Path, progress: Callable[[int], None] = lambda _: None) -> Iterator[Line]:
    """The lines of FILE.4 … FILE.1, FILE, in the order in which they were written; `progress` is told bytes read.

    The last line of a file may be cut off: its writer was killed. Raises RecordingError for anything else that is no
    line, and where there is no file.
    """
    with ExitStack() as stack:
        for file, opened in _opened(path, stack):
            yield from _lines(file, opened, progress)


def size_of(path: Path) -> int:
    """Bytes of all its files, as they are now."""
    with ExitStack() as stack:
        return sum(os.fstat(opened.fileno()).st_size for _, opened in _opened(path, stack))


def _opened(path: Path, stack: ExitStack) -> list[tuple[Path, BinaryIO]]:
    """All files at once: one that is still written may be rotated, and then every name means another file."""
    for _ in range(OPEN_TRIES):
        opened: list[tuple[Path, BinaryIO]] = []
        try:
            for file in files_of(path):
                opened.append((file, stack.enter_context(file.open("rb"))))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RecordingError(f"{error.filename}: {error.strerror}") from error
        found = [os.fstat(one.fileno()) for _, one in opened]
        if opened and len({(one.st_dev, one.st_ino) for one in found}) == len(opened):
            return opened
    raise RecordingError(f"{path}: there is no such file")


def _lines(file: Path, opened: BinaryIO, progress: Callable[[int], None]) -> Iterator[Line]:
    try:
        for number in range(1, 2**63):
            text = opened.readline(MAX_LINE_BYTES)
            if not text:
                return
            progress(len(text))
            if not text.endswith(b"\n"):
                if opened.read(1):
                    raise RecordingError(f"{file}:{number}: longer than {MAX_LINE_BYTES} bytes: not a recording")
                return  # cut off
            try:
                yield decode(text)
            except NoLine as error:
                raise RecordingError(f"{file}:{number}: {error}") from error
    except OSError as error:
        raise RecordingError(f"{file}: {error.strerror}") from error
