"""Source files: which there are below a directory, their pieces, pages of them; none is ever held whole but Python's.

Covers: `source_files`, `chunks_of`, `page_of`.
Leaves to others: reading in a streaming way (the kit's `streaming`), which paths may be read at all (`confined`), what
a piece is (`chunks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog_kit.streaming import IGNORED_FOLDERS, read_text_chunks, walk_files

from examples.mcp_server.chunks import Chunk, line_chunks, lines_of, python_chunks

SUFFIXES = frozenset(
    (
        *(".c", ".cc", ".cfg", ".cpp", ".css", ".go", ".h", ".hpp", ".html", ".ini", ".java", ".js", ".json", ".jsx"),
        *(".kt", ".lua", ".md", ".php", ".pl", ".py", ".pyi", ".rb", ".rs", ".rst", ".scala", ".sh", ".sql", ".swift"),
        *(".toml", ".ts", ".tsx", ".txt", ".yaml", ".yml"),
    )
)
"""What people search as source; a directory's other files are left out."""

_OTHERS = IGNORED_FOLDERS | {"site-packages"}
"""Directories of things that are made, or come from others."""

MAX_PARSED_BYTES = 1 << 20
"""A syntax tree takes about 30 times its source while it is read: larger Python files are cut into lines instead."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some lines of a file; `last_line` is 0 for none at all."""

    text: str
    last_line: int
    has_more: bool


def source_files(directory: Path) -> Iterator[Path]:
    """Source files below a directory, without links, hidden ones and directories that cannot be read.

    Raises OSError where the directory itself cannot be listed.
    """
    for path in walk_files(directory, suffixes=SUFFIXES, ignored_folders=_OTHERS):
        if not path.is_symlink():  # it may lead out of the root
            yield path


def chunks_of(file: Path) -> Iterator[Chunk]:
    """The pieces of a file. Raises OSError."""
    if file.suffix == ".py" and file.stat().st_size <= MAX_PARSED_BYTES:
        try:
            yield from python_chunks("".join(read_text_chunks(file)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # no Python of this version, or a hostile one
            pass
        else:
            return
    yield from line_chunks(read_text_chunks(file))


def page_of(file: Path, first_line: int, max_lines: int, max_characters: int = 1 << 20) -> Page:
    """Lines from `first_line` on, fewer where there are no more or `max_characters` are reached. Raises OSError."""
    lines: list[str] = []
    held = 0
    for number, line in enumerate(lines_of(read_text_chunks(file)), 1):
        if number < first_line:
            continue
        if len(lines) == max_lines or held > max_characters:
            return Page("\n".join(lines), number - 1, has_more=True)
        lines.append(line)
        held += len(line) + 1
    return Page("\n".join(lines), first_line + len(lines) - 1 if lines else 0, has_more=False)
