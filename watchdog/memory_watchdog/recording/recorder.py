"""Writes a recording beside the loop: bounded, in files that each can be replayed alone.

Covers: the queue to the thread that writes, rotation (FILE, FILE.1, … FILE.4), a disk that is slow, full or broken.
Leaves to others: the lines (`lines`), what is recorded (`watcher`).

A recording never holds up watching or acting: lines that cannot be written in time are lost, counted, and said in the
recording, which then goes on with the ladders as they stand.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO

from structlog.typing import FilteringBoundLogger

from memory_watchdog.recording.lines import Checkpoint, Gap, Line, Step, encode

MAX_FILE_BYTES = 64 * 2**20
"""A day of one target at 5 s is 10 MB, at the floor of 100 ms 500 MB."""

OLDER_FILES = 4
MAX_QUEUED_LINES = 10_000
"""At 600 bytes a line 6 MB, which a disk that hangs for a minute may cost."""

_FLUSH_SECONDS = 1.0
_END_SECONDS = 2.0


class _Sign(Enum):
    """What the thread is told beside the lines."""

    ROTATE = auto()
    END = auto()


class Recorder:
    """Records until it is closed. `checkpoints` gives every ladder as it stands; it is called in the loop's thread.

    Raises OSError when the file cannot be opened for appending. `lost` counts lines that are not in the recording.
    """

    def __init__(
        self,
        path: Path,
        checkpoints: Callable[[], Sequence[Checkpoint]],
        log: FilteringBoundLogger,
        *,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self.path = path
        self.lost = 0
        self._checkpoints = checkpoints
        self._log = log
        self._max_file_bytes = max_file_bytes
        self._gap = 0
        with path.open("ab") as file:
            used = file.tell()
        self._written = max_file_bytes + 1 if used else 0  # an earlier run's file is rotated away, not appended to
        self._queue: queue.Queue[bytes | _Sign] = queue.Queue(MAX_QUEUED_LINES)
        self._failed = threading.Event()
        self._writer = threading.Thread(target=self._write, name="recorder", daemon=True)
        self._writer.start()

    def begin(self, checkpoint: Checkpoint) -> None:
        """A ladder that is new to the recording."""
        self._rotate_if_full()
        self._put(checkpoint)

    def step(self, step: Step) -> None:
        """An event that a ladder took, with its decision. The ladder has taken it when this is called."""
        if self._failed.is_set():
            self._failed.clear()
            self._lose()  # what was written last is damaged or missing
        if self._gap:
            self._go_on()
            return
        self._put(step)
        if self._rotate_if_full():
            for checkpoint in self._checkpoints():
                self._put(checkpoint)

    def close(self) -> None:
        """Write what is queued, within two seconds."""
        try:
            self._queue.put(_Sign.END, timeout=_END_SECONDS)
        except queue.Full:
            self._log.warning("the recording ends early: its disk is too slow", path=str(self.path))
            return
        self._writer.join(_END_SECONDS)

    def _go_on(self) -> None:
        """After a gap: say how much is missing, and begin again. The checkpoints hold this step's effect already."""
        if self._queue.qsize() > MAX_QUEUED_LINES // 2:
            self._lose()
            return
        gap, self._gap = self._gap, 0
        self._rotate_if_full()
        self._put(Gap(gap))
        for checkpoint in self._checkpoints():
            self._put(checkpoint)

    def _rotate_if_full(self) -> bool:
        if self._written <= self._max_file_bytes or not self._send(_Sign.ROTATE):
            return False
        self._written = 0
        return True

    def _put(self, line: Line) -> None:
        text = encode(line)
        if self._send(text):
            self._written += len(text)

    def _send(self, item: bytes | _Sign) -> bool:
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._lose()
            return False
        return True

    def _lose(self) -> None:
        if not self._gap:
            self._log.warning("the recording has a gap: its disk is slow, full or broken", path=str(self.path))
        self._gap += 1
        self.lost += 1

    # ---- in the thread

    def _write(self) -> None:
        file: BinaryIO | None = None
        while True:
            try:
                item: bytes | _Sign | None = self._queue.get(timeout=_FLUSH_SECONDS)
            except queue.Empty:
                item = None
            try:
                if file is None:
                    file = self.path.open("ab")
                if isinstance(item, bytes):
                    file.write(item)
                else:
                    file.flush()
                if item is _Sign.ROTATE:
                    file.close()
                    file = None
                    _shift(self.path)
            except OSError as error:
                self._log.error("the recording cannot be written", path=str(self.path), detail=error.strerror)
                self._failed.set()
                _close(file)
                file = None
            if item is _Sign.END:
                _close(file)
                return


def _close(file: BinaryIO | None) -> None:
    """Let go of a file whose last write may have failed; what it still holds is lost, which has been said."""
    if file is not None:
        with contextlib.suppress(OSError):
            file.close()


def _shift(path: Path) -> None:
    """FILE becomes FILE.1, that FILE.2, and the oldest goes."""
    for number in range(OLDER_FILES, 0, -1):
        newer = path if number == 1 else numbered(path, number - 1)
        if newer.exists():
            newer.replace(numbered(path, number))


def numbered(path: Path, number: int) -> Path:
    """The name of the file that is so many rotations old."""
    return path.with_name(f"{path.name}.{number}")


def files_of(path: Path) -> list[Path]:
    """The files of a recording, oldest first."""
    older = (numbered(path, number) for number in range(OLDER_FILES, 0, -1))
    return [file for file in (*older, path) if file.exists()]
