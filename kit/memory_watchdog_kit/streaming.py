"""Files, folders and results taken piece by piece, so that none of them is ever held whole.

Covers: chunks of a file as bytes or text, the files below a folder, results page by page.
Leaves to others: what is done with a piece; nothing here keeps one.
"""

from __future__ import annotations

import codecs
import logging
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Generic, TypeVar

CHUNK_BYTES = 64 * 1024
PAGE_SIZE = 50
IGNORED_FOLDERS = frozenset({"__pycache__", "node_modules", "venv", "build", "dist"})
"""Folders that hold what was made from sources; those whose name begins with a dot are left out besides."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class NotAFileError(OSError):
    """There is something at the path that is no regular file: a folder, a pipe, a device."""


def read_chunks(
    path: str | os.PathLike[str], chunk_bytes: int = CHUNK_BYTES, *, max_bytes: int | None = None
) -> Iterator[bytes]:
    """The file's content in pieces of `chunk_bytes`, the last one shorter; at most `max_bytes` of it.

    Raises NotAFileError for anything but a regular file, which would wait for a writer or never end, OSError where it
    cannot be read, ValueError for sizes below 1.
    """
    _positive(chunk_bytes=chunk_bytes, max_bytes=max_bytes)
    left = max_bytes
    with _opened(path) as file:
        while left is None or left > 0:
            chunk = file.read(chunk_bytes if left is None else min(chunk_bytes, left))
            if not chunk:
                return
            if left is not None:
                left -= len(chunk)
            yield chunk


def read_text_chunks(
    path: str | os.PathLike[str],
    chunk_bytes: int = CHUNK_BYTES,
    *,
    encoding: str = "utf-8",
    errors: str = "replace",
    max_bytes: int | None = None,
) -> Iterator[str]:
    """The same as text. No character is split between two pieces; what does not decode is treated as `errors` says.

    A byte order mark is left out with "utf-8-sig". A character that `max_bytes` cuts off counts as one that does not
    decode. Raises as `read_chunks`, LookupError for an unknown encoding, UnicodeDecodeError with `errors="strict"`.
    """
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for chunk in read_chunks(path, chunk_bytes, max_bytes=max_bytes):
        text = decoder.decode(chunk)
        if text:
            yield text
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A folder that could not be listed, and why."""

    path: Path
    reason: str


def walk_files(
    root: str | os.PathLike[str],
    *,
    suffixes: Collection[str] | None = None,
    ignored_folders: Collection[str] = IGNORED_FOLDERS,
    hidden: bool = False,
    max_bytes: int | None = None,
    failed: Callable[[Unreadable], None] | None = None,
) -> Iterator[Path]:
    """The regular files below a folder, names in order within each folder, files before folders.

    With `suffixes` (".py", …) only those, with `max_bytes` none that is larger, with `hidden` also those whose name
    begins with a dot. Links are followed to files, never to folders, so that no loop is walked. What cannot be read is
    told to `failed`, by default to the log, and passed over: a tree that changes meanwhile is walked as it is found.
    Held at a time are the names of one folder for each level of depth. Raises OSError where `root` itself cannot be
    listed.
    """
    pending = [_entries(Path(root))]
    while pending:
        folder = next(pending[-1], None)
        if folder is None:
            pending.pop()
        elif folder.is_dir(follow_symlinks=False):
            if (hidden or not folder.name.startswith(".")) and folder.name not in ignored_folders:
                try:
                    pending.append(_entries(Path(folder.path)))
                except OSError as error:
                    (failed or _log_unreadable)(Unreadable(Path(folder.path), error.strerror or type(error).__name__))
        elif _is_wanted(folder, suffixes, hidden=hidden, max_bytes=max_bytes):
            yield Path(folder.path)


def _log_unreadable(folder: Unreadable) -> None:
    _log.warning("left out of a walk: %s: %s", folder.path, folder.reason)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of one folder: first what is no folder, then the folders, each by name."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: (entry.is_dir(follow_symlinks=False), entry.name))
    return iter(entries)


def _is_wanted(
    entry: os.DirEntry[str], suffixes: Collection[str] | None, *, hidden: bool, max_bytes: int | None
) -> bool:
    if not hidden and entry.name.startswith("."):
        return False
    if suffixes is not None and os.path.splitext(entry.name)[1] not in suffixes:  # noqa: PTH122 - a Path costs 2 µs
        return False
    try:
        found = entry.stat()  # of what a link leads to
    except OSError:
        return False  # it has gone, or the link leads nowhere
    return stat.S_ISREG(found.st_mode) and (max_bytes is None or found.st_size <= max_bytes)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some results; `next_offset` is where the following page begins, None behind the last one."""

    items: Sequence[T]
    offset: int
    next_offset: int | None


def page_of(results: Iterable[T], offset: int = 0, size: int = PAGE_SIZE) -> Page[T]:
    """The results from `offset` on, at most `size`, which are all that is held; at most one later one is asked for.

    Raises ValueError for a negative offset or a size below 1.
    """
    if offset < 0:
        raise ValueError(f"offset is {offset}: it must not be negative")
    _positive(size=size)
    source = iter(results)
    for _ in range(offset):
        if next(source, source) is source:
            return Page((), offset, None)
    items: list[T] = []
    for item in source:
        if len(items) == size:
            return Page(items, offset, offset + size)
        items.append(item)
    return Page(items, offset, None)


def pages(fetch: Callable[[int, int], Sequence[T]], size: int = PAGE_SIZE) -> Iterator[Page[T]]:
    """All results page by page: `fetch(offset, count)` gives at most `count` of them, fewer where there are no more.

    Each page is asked for when it is wanted, and held by nobody afterwards. Raises ValueError for a size below 1 and
    for a `fetch` that gives more than it was asked for, which would be shown twice.
    """
    _positive(size=size)
    offset = 0
    while True:
        # One more than is shown tells whether there is another page, without a last empty one.
        found = fetch(offset, size + 1)
        if len(found) > size + 1:
            raise ValueError(f"fetch gave {len(found)} results and was asked for {size + 1}")
        more = len(found) > size
        if found or not offset:
            yield Page(found[:size], offset, offset + size if more else None)
        if not more:
            return
        offset += size


def _opened(path: str | os.PathLike[str]) -> FileIO:
    # O_NONBLOCK: opening a pipe without a writer would wait for ever; it is then refused below
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotAFileError(f"{os.fspath(path)} is not a regular file")
    return FileIO(descriptor)


def _positive(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name} is {size}: it must be at least 1")
