"""The example server's parts by themselves: embeddings without a model, pieces of files, the load's questions."""

from __future__ import annotations

import subprocess
import sys
import zlib
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from examples.mcp_server.chunks import (
    BLOCK_LINES,
    MAX_CHUNK_CHARACTERS,
    Detail,
    line_chunks,
    lines_of,
    python_chunks,
)
from examples.mcp_server.confined import RetrievalError, Root
from examples.mcp_server.hashing import DIMENSIONS, HashingEmbedder
from examples.mcp_server.keeping import Stamp
from examples.mcp_server.kit_index import KitIndex
from examples.mcp_server.load_mix import Mix, Shares
from examples.mcp_server.plain_cleanup import PlainCleanup
from examples.mcp_server.source_files import chunks_of, page_of, source_files
from examples.mcp_server.without_kit import KeepingWithoutKit

REPOSITORY = Path(__file__).parents[2]
FORM_FEED = (
    '"""Doc."""\n\x0c\nimport os\n\n\n@cache\ndef first():\n    return 1\n\n\n'
    "class Second:\n    def third(self):\n        pass\n"
)


def cosine(first: str, second: str) -> float:
    vectors = HashingEmbedder().embed([first, second])
    return float(vectors[0] @ vectors[1])


@given(st.lists(st.text(max_size=200), max_size=5))
def test_embeddings_are_unit_vectors_whatever_the_text(texts: list[str]) -> None:
    vectors = HashingEmbedder().embed(texts)
    assert vectors.shape == (len(texts), DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_embeddings_are_the_same_in_every_process() -> None:
    """Python's own hash of a text is another one in each process."""
    code = (
        "import zlib; from examples.mcp_server.hashing import HashingEmbedder as E;"
        "print(zlib.crc32(E().embed(['parse a config file']).tobytes()))"
    )
    here = zlib.crc32(HashingEmbedder().embed(["parse a config file"]).tobytes())
    there = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    assert int(there.stdout) == here


def test_texts_that_share_words_and_parts_of_words_are_alike() -> None:
    near = cosine("parse a configuration file", "def parse_config(file): read the configuration")
    far = cosine("parse a configuration file", "class Socket: listen for connections")
    assert near > far + 0.2
    assert cosine("SplitCamelCase", "split camel case") > 0.5
    assert cosine("connections", "connection") > cosine("connections", "temperature") + 0.2


@given(st.text(st.sampled_from("ab\n\r\x0c "), max_size=200), st.integers(1, 20))
@example("a\n\nb", 1)
def test_lines_come_out_of_pieces_of_any_length(text: str, piece: int) -> None:
    lines = text.split("\n")
    expected = lines if lines[-1] else lines[:-1]
    assert list(lines_of(text[at : at + piece] for at in range(0, len(text), piece))) == expected


def test_of_a_line_without_end_only_the_beginning_is_held() -> None:
    lines = list(lines_of(["x" * 5_000, "y" * 50_000, "z\nnext\n"]))
    assert [len(line) for line in lines] == [MAX_CHUNK_CHARACTERS, 4]


def test_python_is_cut_into_file_classes_and_functions_with_the_editors_line_numbers() -> None:
    found = [(one.detail.value, one.symbol, one.first_line, one.last_line) for one in python_chunks(FORM_FEED)]
    assert found == [
        ("file", "", 1, 14),
        ("method", "first", 6, 8),
        ("class", "Second", 11, 13),
        ("method", "Second.third", 12, 13),
    ]
    assert python_chunks(FORM_FEED)[1].text.startswith("@cache\ndef first")
    assert python_chunks("") == []


@given(st.integers(0, 5 * BLOCK_LINES))
def test_blocks_of_lines_cover_a_file_without_gap(count: int) -> None:
    blocks = [one for one in line_chunks(f"line {number}\n" for number in range(count)) if one.detail is Detail.METHOD]
    covered = [line for one in blocks for line in range(one.first_line, one.last_line + 1)]
    assert covered == list(range(1, count + 1))


def test_what_is_no_python_is_cut_into_lines(tmp_path: Path) -> None:
    for name, text in (("a.py", "def broken(:\n"), ("b.py", "x = 1\0"), ("c.py", "(" * 100_000), ("d.txt", "text\n")):
        path = tmp_path / name
        path.write_text(text)
        assert {one.detail for one in chunks_of(path)} == {Detail.FILE, Detail.METHOD}, name


def test_pages_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{number}\n" for number in range(1, 11)))
    page = page_of(path, 4, 3)
    assert (page.text, page.last_line, page.has_more) == ("4\n5\n6", 6, True)
    assert page_of(path, 10, 5).has_more is False
    assert page_of(path, 11, 5).last_line == 0
    assert page_of(path, 1, 100, max_characters=3).last_line == 2


def test_only_source_files_are_found_and_no_link_leads_out(tmp_path: Path) -> None:
    for name in ("a.py", "sub/b.rs", ".hidden/c.py", "node_modules/d.js", "image.png", ".e.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "link").symlink_to("/")
    assert [path.relative_to(tmp_path).as_posix() for path in source_files(tmp_path)] == ["a.py", "sub/b.rs"]
    root = Root(tmp_path)
    assert root.name(root.file("sub/../a.py")) == "a.py"
    for name in ("link/etc/passwd", "..", "/etc/passwd", "\0", "a" * 5_000, "a.py/b"):
        with pytest.raises(RetrievalError):
            root.file(name)


def test_the_index_keeps_to_its_bound_and_a_file_that_lost_a_chunk_is_not_current() -> None:
    index, embedder = KitIndex(DIMENSIONS, max_bytes=512 * 1024), HashingEmbedder()
    stamp = Stamp(1, 1)
    for number in range(200):
        chunks = python_chunks("".join(f"def f{one}_{number}():\n    return {list(range(200))}\n" for one in range(5)))
        index.put(f"{number}.py", stamp, chunks, embedder.embed([one.text for one in chunks]))
        statistics = index.statistics()
        assert statistics.bytes is not None
        assert statistics.bytes <= 512 * 1024 + 200 * 400
    files, chunks_left = index.counts()
    assert (files, chunks_left < 1_200) == (200, True)
    assert index.is_current("199.py", stamp)
    assert not index.is_current("0.py", stamp)
    (vector,) = embedder.embed(["f3_199"])
    assert index.nearest(vector, Detail.METHOD, 1)[0].path == "199.py"
    version = index.version
    index.put("199.py", Stamp(2, 2), [], embedder.embed([]))
    assert index.version > version
    assert all(hit.path != "199.py" for hit in index.nearest(vector, Detail.METHOD, 50))


def test_the_plain_cleanup_drops_the_oldest_and_answers_a_repeated_request_from_memory() -> None:
    keeping = KeepingWithoutKit(HashingEmbedder())
    for number in range(1_000):
        keeping.add_result(f"{number}", "method/10", {"results": [{"text": "x" * 1_000}]})
    cleanup = PlainCleanup(keeping)
    answer = cleanup.run("normal", "test", "one", None)
    assert answer["components"][0] == {"name": "query_cache", "items_removed": 200, "error": None}
    assert keeping.result("199", "method/10") is None
    assert keeping.result("200", "method/10") is not None
    assert cleanup.run("normal", "test", "one", None) == answer
    assert cleanup.run("aggressive", "test", "two", None)["components"][0]["items_removed"] == 400
    with pytest.raises(ValueError, match="no level"):
        cleanup.run("total", "test", None, None)


def test_the_load_asks_the_same_for_the_same_seed_and_repeats_as_people_do() -> None:
    def asked(seed: int, shares: Shares) -> list[str]:
        mix = Mix(seed, shares)
        return [repr(call) for call in islice(iter(mix.next, None), 500)]

    assert asked(1, Shares()) == asked(1, Shares())
    assert asked(1, Shares()) != asked(2, Shares())
    assert len(set(asked(1, Shares(novel=1.0)))) == 500
    assert len(set(asked(1, Shares(novel=0.0, file_level=1.0)))) < 350
    mix = Mix(3)
    mix.learn([{"path": "a.py", "first_line": 120}])
    tools = [mix.next() for _ in range(500)]
    assert {tool for tool, _ in tools} == {"search", "read_file", "get_context"}
    assert ("get_context", {"path": "a.py", "line": 120}) in tools
