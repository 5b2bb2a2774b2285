"""What the tools do: index, search, read; plain functions that block, without MCP.

Covers: `Retrieval`.
Leaves to others: MCP and threads (`tools`), which paths may be read (`confined`), files and their pieces
(`source_files`, `chunks`), what is kept between two calls and how (`keeping`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from examples.mcp_server.chunks import Chunk, Detail
from examples.mcp_server.confined import RetrievalError, Root
from examples.mcp_server.keeping import Floats, Hit, Json, Keeping, Stamp
from examples.mcp_server.source_files import chunks_of, page_of, source_files

MOST_HITS = 50
MOST_LINES = 2_000
_FILE_HIT_CHARACTERS = 30_000
"""At level `file` a hit carries its file, up to this: the first 800 lines or so."""


class Retrieval:
    """The server's work. Every method blocks and is safe from any thread."""

    def __init__(self, root: Root, keeping: Keeping) -> None:
        self.root = root
        self.keeping = keeping
        self._indexing = threading.Lock()

    def index_directory(self, path: str = ".") -> Json:
        """Index every source file below a directory; those that have not changed are skipped.

        One at a time, a second one is refused: it would wait for minutes. Raises RetrievalError.
        """
        directory = self.root.directory(path)
        if not self._indexing.acquire(blocking=False):
            raise RetrievalError("another directory is being indexed: try again later")
        try:
            return self._index(directory)
        finally:
            self._indexing.release()

    def _index(self, directory: Path) -> Json:
        indexed = skipped = failed = chunk_count = 0
        for file in source_files(directory):
            try:
                status = file.stat()
                stamp = Stamp(status.st_mtime_ns, status.st_size)
                name = self.root.name(file)
                if self.keeping.index.is_current(name, stamp):
                    skipped += 1
                    continue
                chunk_count += self._index_file(file, name, stamp)
            except OSError:  # gone or closed to us since the directory was read: the answer counts it
                failed += 1
                continue
            indexed += 1
        files, chunks = self.keeping.index.counts()
        return {
            "indexed_files": indexed,
            "unchanged_files": skipped,
            "unreadable_files": failed,
            "indexed_chunks": chunk_count,
            "index": {"files": files, "chunks": chunks},
        }

    def _index_file(self, file: Path, name: str, stamp: Stamp) -> int:
        chunks = list(chunks_of(file))
        self.keeping.index.put(name, stamp, chunks, self._embedded(name, chunks))
        return len(chunks)

    def _embedded(self, name: str, chunks: Sequence[Chunk]) -> Floats:
        """The vectors of chunks: path and symbol are words of theirs too."""
        return self.keeping.embed([f"{name} {chunk.symbol}\n{chunk.text}" for chunk in chunks])

    def search(self, query: str, level: str = Detail.METHOD, limit: int = 10) -> Json:
        """The chunks that are most like the query. Raises RetrievalError."""
        detail = _detail(level)
        if not query.strip():
            raise RetrievalError("the query is empty")
        if not 1 <= limit <= MOST_HITS:
            raise RetrievalError(f"limit is {limit}: 1 to {MOST_HITS}")
        kept_as = f"{detail}/{limit}"
        found = self.keeping.result(query, kept_as)
        if found is None:
            (vector,) = self.keeping.embed([query])
            hits = self.keeping.index.nearest(vector, detail, limit)
            found = {"level": detail.value, "results": [self._shown(hit, detail) for hit in hits]}
            self.keeping.add_result(query, kept_as, found)
        self.keeping.track_search(query, found, detail.value)
        return {"query": query} | found

    def _shown(self, hit: Hit, detail: Detail) -> Json:
        """A hit as clients see it: at level `file` with the file as it is now."""
        shown = hit.as_json()
        if detail is Detail.FILE:
            try:
                file = self.root.file(hit.path)
                shown["text"] = page_of(file, 1, MOST_LINES, _FILE_HIT_CHARACTERS).text
            except (RetrievalError, OSError):  # the file is gone: what was indexed of it is still an answer
                shown["is_outdated"] = True
        return shown

    def get_context(self, path: str, line: int, lines_around: int = 40) -> Json:
        """The lines around one, what they belong to, and the chunks elsewhere that are most like it.

        Raises RetrievalError.
        """
        file = self.root.file(path)
        if line < 1 or not 0 <= lines_around <= MOST_LINES // 2:
            raise RetrievalError(f"line is from 1 on, lines_around from 0 to {MOST_LINES // 2}")
        name = self.root.name(file)
        first = max(1, line - lines_around)
        try:
            page = page_of(file, first, line + lines_around - first + 1)
            enclosing = _innermost(chunks_of(file), line)
        except OSError as error:
            raise RetrievalError(f"{path!r}: {error.strerror or error}") from error
        if page.last_line < line:
            raise RetrievalError(f"{path!r} has no line {line}")
        related: list[Hit] = []
        if enclosing is not None:
            (vector,) = self._embedded(name, [enclosing])
            hits = self.keeping.index.nearest(vector, enclosing.detail, 6)
            related = [hit for hit in hits if (hit.path, hit.chunk.first_line) != (name, enclosing.first_line)][:5]
        context: Json = {
            "path": name,
            "first_line": first,
            "last_line": page.last_line,
            "text": page.text,
            "enclosing": None if enclosing is None else Hit(name, enclosing, 1.0).as_json(),
            "related": [hit.as_json() for hit in related],
        }
        self.keeping.track_file(name, page.text, {"first_line": first, "last_line": page.last_line})
        return context

    def read_file(self, path: str, first_line: int = 1, max_lines: int = 400) -> Json:
        """A page of a file; `next_line` is None at its end. Raises RetrievalError."""
        file = self.root.file(path)
        if first_line < 1 or not 1 <= max_lines <= MOST_LINES:
            raise RetrievalError(f"first_line is from 1 on, max_lines from 1 to {MOST_LINES}")
        try:
            page = page_of(file, first_line, max_lines)
        except OSError as error:
            raise RetrievalError(f"{path!r}: {error.strerror or error}") from error
        name = self.root.name(file)
        self.keeping.track_file(name, page.text, {"first_line": first_line, "last_line": page.last_line})
        return {
            "path": name,
            "first_line": first_line,
            "last_line": page.last_line,
            "next_line": page.last_line + 1 if page.has_more else None,
            "text": page.text,
        }


def _detail(level: str) -> Detail:
    try:
        return Detail(level)
    except ValueError:
        raise RetrievalError(f"{level!r:.100} is no level: {', '.join(Detail)}") from None


def _innermost(chunks: Iterator[Chunk], line: int) -> Chunk | None:
    """The smallest chunk that holds the line."""
    around = [chunk for chunk in chunks if chunk.first_line <= line <= chunk.last_line]
    return min(around, key=lambda one: (one.last_line - one.first_line, one.detail != Detail.METHOD), default=None)
