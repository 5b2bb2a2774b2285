"""Reads a recording: its files from the oldest on, line by line, never the whole at once.

Covers: the files, damaged lines, how far it has come.
Leaves to others: the lines (`lines`), what follows from them (`replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from memory_watchdog.recording.lines import Line, NoLine, decode
from memory_watchdog.recording.recorder import files_of

MAX_LINE_BYTES = 4 * 2**20
"""64 components and a full state are 100 kB; what is longer is no line of ours."""


class RecordingError(Exception):
    """The file cannot be read, or is no recording; the text names file and line."""


def read(path: Path, progress: Callable[[int], None] = lambda _: None) -> Iterator[Line]:
    """The lines of FILE.4 … FILE.1, FILE, in the order in which they were written; `progress` is told bytes read.

    The last line of a file may be cut off: its writer was killed. Raises RecordingError for anything else that is no
    line, and where there is no file.
    """
    files = files_of(path)
    if not files:
        raise RecordingError(f"{path}: there is no such file")
    for file in files:
        yield from _lines(file, progress)


def size_of(path: Path) -> int:
    """Bytes of all its files."""
    return sum(file.stat().st_size for file in files_of(path))


def _lines(file: Path, progress: Callable[[int], None]) -> Iterator[Line]:
    try:
        with file.open("rb") as opened:
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
