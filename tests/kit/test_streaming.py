"""Pieces of files, folders and results: whole in the end, never whole at a time, and nothing that hangs or loops."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit.streaming import (
    NotAFileError,
    Page,
    Unreadable,
    page_of,
    pages,
    read_chunks,
    read_text_chunks,
    walk_files,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("streaming") / "file"


@given(st.binary(max_size=300), st.integers(1, 40), st.none() | st.integers(1, 350))
def test_chunks_are_the_file(file: Path, content: bytes, size: int, most: int | None) -> None:
    file.write_bytes(content)
    found = list(read_chunks(file, size, max_bytes=most))
    assert b"".join(found) == content[:most]
    assert all(len(chunk) == size for chunk in found[:-1])
    assert all(found)


@given(st.text(max_size=200), st.integers(1, 9), st.sampled_from(["utf-8", "utf-16", "utf-8-sig", "cp1252"]))
def test_no_character_is_split(file: Path, text: str, size: int, encoding: str) -> None:
    content = text.encode(encoding, "replace")
    file.write_bytes(content)
    assert "".join(read_text_chunks(file, size, encoding=encoding)) == content.decode(encoding, "replace")


@given(st.binary(max_size=200), st.integers(1, 9))
def test_what_does_not_decode_is_replaced_as_in_one_piece(file: Path, content: bytes, size: int) -> None:
    file.write_bytes(content)
    assert "".join(read_text_chunks(file, size)) == content.decode("utf-8", "replace")


def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(NotAFileError, match="is not a regular file"):
            list(read_chunks(path))
    with pytest.raises(OSError, match=r"not a regular file|Is a directory"):
        list(read_chunks(tmp_path))
    with pytest.raises(FileNotFoundError):
        list(read_chunks(tmp_path / "none"))
    (tmp_path / "f").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        list(read_text_chunks(tmp_path / "f", errors="strict"))
    with pytest.raises(ValueError, match="chunk_bytes is 0"):
        list(read_chunks(tmp_path / "f", 0))


def test_a_huge_file_takes_the_memory_of_a_chunk(tmp_path: Path) -> None:
    """4 GiB of holes; what is read is counted in a process of its own."""
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(4 << 30)
    program = (
        "import resource, sys\n"
        "from memory_watchdog_kit.streaming import read_chunks\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "total = sum(map(len, read_chunks(sys.argv[1], 1 << 20, max_bytes=600 << 20)))\n"
        "print(total >> 20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, huge], capture_output=True, text=True, check=True, timeout=100
    )
    read_mib, grown_kib = map(int, done.stdout.split())
    assert read_mib == 600
    assert grown_kib < 20_000


def tree(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def names(root: Path, **options: object) -> list[str]:
    return [str(path.relative_to(root)) for path in walk_files(root, **options)]  # type: ignore[arg-type]


def test_a_tree_is_walked_in_order_without_what_was_made_or_is_hidden(tmp_path: Path) -> None:
    tree(
        tmp_path,
        "b.py",
        "a.txt",
        "z/a.py",
        "m/deep/x.py",
        ".git/config",
        "m/.env",
        "node_modules/x.js",
        "m/__pycache__/c",
    )
    assert names(tmp_path) == ["a.txt", "b.py", "m/deep/x.py", "z/a.py"]
    assert names(tmp_path, suffixes={".py"}) == ["b.py", "m/deep/x.py", "z/a.py"]
    assert names(tmp_path, hidden=True, ignored_folders=()) == [
        "a.txt", "b.py", ".git/config", "m/.env", "m/__pycache__/c", "m/deep/x.py", "node_modules/x.js", "z/a.py",
    ]  # fmt: skip
    (tmp_path / "large.py").write_bytes(b"x" * 1000)
    assert "large.py" not in names(tmp_path, max_bytes=999)
    assert "large.py" in names(tmp_path, max_bytes=1000)


def test_links_lead_to_files_and_never_into_loops(tmp_path: Path) -> None:
    tree(tmp_path, "real/file.py")
    (tmp_path / "real/up").symlink_to(tmp_path)
    (tmp_path / "link.py").symlink_to(tmp_path / "real/file.py")
    (tmp_path / "broken.py").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.py")
    assert names(tmp_path) == ["link.py", "real/file.py"]


@pytest.mark.parametrize("by_default", [True, False])
def test_a_tree_that_changes_meanwhile_is_walked_as_it_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, by_default: bool
) -> None:
    tree(tmp_path, "a/1", "b/1", "c/1")
    told: list[Unreadable] = []
    found = walk_files(tmp_path) if by_default else walk_files(tmp_path, failed=told.append)
    assert next(found).name == "1"
    (tmp_path / "b/1").unlink()
    (tmp_path / "b").rmdir()
    (tmp_path / "b").write_text("no folder any more")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["c/1"]
    if by_default:
        assert caplog.messages == [f"left out of a walk: {tmp_path}/b: Not a directory"]
    else:
        assert [(one.path.name, one.reason) for one in told] == [("b", "Not a directory")]
        assert caplog.messages == []
    with pytest.raises(FileNotFoundError):
        list(walk_files(tmp_path / "none"))


@given(st.integers(0, 60), st.integers(1, 9))
def test_pages_are_the_results_each_once(count: int, size: int) -> None:
    results = list(range(count))
    asked: list[int] = []

    def fetch(offset: int, most: int) -> list[int]:
        asked.append(most)
        return results[offset : offset + most]

    found = list(pages(fetch, size))
    assert [item for page in found for item in page.items] == results
    assert all(len(page.items) == size for page in found[:-1])
    assert [page.next_offset for page in found[:-1]] == [page.offset for page in found[1:]]
    assert found[-1].next_offset is None
    assert set(asked) == {size + 1}


@given(st.integers(0, 40), st.integers(0, 50), st.integers(1, 9))
def test_a_page_of_a_stream_takes_no_more_than_it_needs(count: int, offset: int, size: int) -> None:
    taken = 0

    def stream() -> Iterator[int]:
        nonlocal taken
        for item in range(count):
            taken += 1
            yield item

    page = page_of(stream(), offset, size)
    assert list(page.items) == list(range(count))[offset : offset + size]
    assert (page.next_offset is not None) == (count > offset + size)
    assert taken <= offset + size + 1


def test_sizes_and_a_source_that_gives_too_much_are_refused() -> None:
    with pytest.raises(ValueError, match="size is 0"):
        page_of([1], size=0)
    with pytest.raises(ValueError, match="offset is -1"):
        page_of([1], -1)
    with pytest.raises(ValueError, match="gave 3 results and was asked for 2"):
        list(pages(lambda offset, count: [1, 2, 3], 1))
    assert list(pages(lambda offset, count: [], 5)) == [Page([], 0, None)]
