"""Source files in pieces that can be found one by one: whole files, classes, functions.

Covers: `Chunk`, `python_chunks` (by its syntax tree), `line_chunks` (anything else, as it streams in).
Leaves to others: reading the files (`source_files`), keeping the pieces (`index`).

The levels are those of a progressive search: `file` says what a file is about, `class` what a class is, `method` holds
the code itself: a function, a method, or 60 lines of something that is not Python.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

_PARSING = threading.Lock()
"""One source at a time: until 3.12 the parser counts its depth for all threads together, and raises SystemError when
they mix (python/cpython issue 106905)."""


class Detail(StrEnum):
    """How much of a file one chunk covers."""

    FILE = "file"
    CLASS = "class"
    METHOD = "method"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Lines `first_line` to `last_line` of a file, counted from 1; `text` may be cut, `symbol` is empty without one."""

    detail: Detail
    symbol: str
    first_line: int
    last_line: int
    text: str


MAX_CHUNK_CHARACTERS = 6_000
"""Longer ones say nothing more to an embedding; what is cut off can still be read with `read_file`."""

BLOCK_LINES = 60


def python_chunks(source: str) -> list[Chunk]:
    """The file, its classes (without their methods) and its functions. Raises SyntaxError or ValueError for no Python.

    Functions inside functions belong to the outer one. RecursionError and MemoryError come with source that is nested
    a thousand deep.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    with _PARSING:
        tree = ast.parse(source)
    # not splitlines(): the parser does not count form feeds, and the standard library has them
    lines = source.split("\n")
    whole = _chunk(Detail.FILE, "", 1, len(lines), lines)
    return [chunk for chunk in (whole, *_definitions(tree.body, "", lines)) if chunk.text.strip()]


def line_chunks(pieces: Iterable[str]) -> Iterator[Chunk]:
    """The file by its beginning, then blocks of 60 lines; no more than one block and one piece are held."""
    block: list[str] = []
    held, first = 0, 1
    for number, line in enumerate(lines_of(pieces), 1):
        block.append(line)
        held += len(line)
        if len(block) >= BLOCK_LINES or held >= MAX_CHUNK_CHARACTERS:
            yield from _block(block, first)
            block, held, first = [], 0, number + 1
    if block:
        yield from _block(block, first)


def lines_of(pieces: Iterable[str]) -> Iterator[str]:
    """The lines of a file, without their ends, out of pieces of any length; of a long one 6,000 characters."""
    rest, is_cut = "", False
    for piece in pieces:
        first, *others = piece.split("\n")
        if not is_cut:
            rest += first
        for other in others:
            yield rest[:MAX_CHUNK_CHARACTERS]
            rest = other
        is_cut = len(rest) >= MAX_CHUNK_CHARACTERS
        rest = rest[:MAX_CHUNK_CHARACTERS]
    if rest:
        yield rest


def _block(block: list[str], first: int) -> Iterator[Chunk]:
    text = "\n".join(block)[:MAX_CHUNK_CHARACTERS]
    if not text.strip():
        return
    last = first + len(block) - 1
    if first == 1:
        yield Chunk(Detail.FILE, "", 1, last, text)
    yield Chunk(Detail.METHOD, "", first, last, text)


def _definitions(body: list[ast.stmt], within: str, lines: list[str]) -> Iterator[Chunk]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            name = f"{within}{node.name}"
            first, last = _first_line(node), node.end_lineno or node.lineno
            inner = [_first_line(one) for one in node.body if isinstance(one, _DEFINITIONS)]
            yield _chunk(Detail.CLASS, name, first, max(first, min(inner, default=last + 1) - 1), lines, last)
            yield from _definitions(node.body, f"{name}.", lines)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last = node.end_lineno or node.lineno
            yield _chunk(Detail.METHOD, f"{within}{node.name}", _first_line(node), last, lines)


_DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _first_line(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _chunk(detail: Detail, symbol: str, first: int, text_last: int, lines: list[str], last: int | None = None) -> Chunk:
    """`text_last` is where its text ends, `last` where it does."""
    text = "\n".join(lines[first - 1 : text_last])[:MAX_CHUNK_CHARACTERS]
    return Chunk(detail, symbol, first, text_last if last is None else last, text)
