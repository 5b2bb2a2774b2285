"""The one directory that the server may read.

Covers: `Root`: names given by a client to paths inside it, links followed first; what is refused.
Leaves to others: reading (`source_files`).
"""

from __future__ import annotations

import os
import stat
from pathlib import Path


class RetrievalError(Exception):
    """What a client asked cannot be done; the text is for the client and says why, in one line."""


class Root:
    """A directory, and everything below it. Raises OSError if there is none of that name."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.path = Path(directory).resolve(strict=True)
        if not self.path.is_dir():
            raise NotADirectoryError(f"{os.fspath(directory)} is no directory")

    def file(self, asked: str) -> Path:
        """A regular file inside. Raises RetrievalError; a pipe or a device is refused, for it may never end."""
        path = self._inside(asked)
        if not stat.S_ISREG(_mode(path, asked)):
            raise RetrievalError(f"{asked!r} is no file")
        return path

    def directory(self, asked: str) -> Path:
        """A directory inside, or the root itself for `.`. Raises RetrievalError."""
        path = self._inside(asked)
        if not stat.S_ISDIR(_mode(path, asked)):
            raise RetrievalError(f"{asked!r} is no directory")
        return path

    def name(self, path: Path) -> str:
        """How clients call a path inside: relative to the root."""
        return path.relative_to(self.path).as_posix()

    def _inside(self, asked: str) -> Path:
        """Links are followed before the comparison, so that none leads out; so are `..` and absolute names."""
        try:
            path = (self.path / asked).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # too long, a NUL, links in a circle
            raise RetrievalError(f"{asked!r:.200} is no usable name") from error
        if not path.is_relative_to(self.path):
            raise RetrievalError(f"{asked!r:.200} lies outside the directory that this server may read")
        return path


def _mode(path: Path, asked: str) -> int:
    try:
        return path.stat().st_mode
    except OSError as error:
        raise RetrievalError(f"{asked!r:.200}: {error.strerror or error}") from error
