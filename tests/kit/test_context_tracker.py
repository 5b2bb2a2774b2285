"""The context tracker: what it keeps, what it cuts, what goes first, sessions."""

from __future__ import annotations

import enum
import itertools
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog_kit import (
    Cleaned,
    Component,
    Context,
    ContextTracker,
    ContextTrackerSettings,
    Expiring,
    Level,
    SettingsError,
)
from memory_watchdog_kit.context_tracker import SearchHit


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def paths(context: Context) -> list[str]:
    return [file["path"] for file in context["files"]]


def queries(context: Context) -> list[str]:
    return [search["query"] for search in context["searches"]]


def kinds(context: Context) -> list[tuple[str, str]]:
    return [(event["kind"], event["subject"]) for event in context["timeline"]]


def test_it_is_a_component_that_starts_empty() -> None:
    tracker: Component = ContextTracker()
    assert isinstance(tracker, Component)
    assert tracker.name == "context_tracking"
    assert ContextTracker(name="context").name == "context"
    statistics = tracker.statistics()
    assert (statistics.bytes, statistics.items, statistics.max_bytes) == (0, 0, 4 * 2**20)
    assert statistics.max_items == 50 + 100 + 200 + 20
    assert tracker.cleanup(Level.AGGRESSIVE, None) == Cleaned()


def test_a_file_that_was_read() -> None:
    tracker = ContextTracker(clock=Clock(5.0))
    tracker.track_file_read(Path("/src/ä.py"), "é" * 501, {"language": "python", "lines": 3})
    tracker.track_file_read("/src/ä.py", "now", {"language": "python"}, session_id=None)
    tracker.track_file_read(b"/src/\xff", b"\xe4" * 2001)
    context = tracker.get_context()
    assert context["files"] == [
        {
            "path": "/src/\udcff", "content": "\ufffd" * 500, "characters": 2001, "metadata": None,
            "reads": 1, "at_seconds": 5.0, "session_id": None,
        },
        {
            "path": "/src/ä.py", "content": "now", "characters": 3, "metadata": {"language": "python"},
            "reads": 2, "at_seconds": 5.0, "session_id": None,
        },
    ]  # fmt: skip
    assert kinds(context) == [("file_read", "/src/ä.py")] * 2 + [("file_read", "/src/\udcff")]
    assert tracker.dropped().cut_contents == 2
    assert tracker.dropped().files == 0


def test_a_search() -> None:
    tracker = ContextTracker(clock=Clock(5.0))
    tracker.track_search("how is it parsed", [{"path": "/a", "content": "x" * 10**6}], "semantic")
    (search,) = tracker.get_context()["searches"]
    assert search == {
        "query": "how is it parsed", "search_type": "semantic", "found": 1, "at_seconds": 5.0, "session_id": None,
        "results": [{"path": "/a", "score": None, "type": None}],
    }  # fmt: skip
    tracker.track_search("why", [])
    assert tracker.get_context()["searches"][0]["search_type"] == "hybrid"
    held = tracker.statistics().bytes
    assert held is not None
    assert held < 2000  # nothing of the content


class ChunkType(enum.Enum):
    METHOD = "method"


@dataclass
class Point:
    """As a vector database answers."""

    score: float = 0.5
    payload: dict[str, object] = field(default_factory=lambda: {"file_path": "/a.py", "chunk_type": "function"})


def hit(path: str | None = None, score: float | None = None, kind: str | None = None) -> SearchHit:
    return {"path": path, "score": score, "type": kind}


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        ({"file_path": "/a", "path": "/b", "score": 1, "type": "code", "chunk_type": "class"}, hit("/a", 1.0, "code")),
        ({"path": Path("/b"), "score": numpy.float32(0.5), "chunk_type": ChunkType.METHOD}, hit("/b", 0.5, "method")),
        (Point(), hit("/a.py", 0.5, "function")),
        (SimpleNamespace(metadata={"path": "/c"}, score=None), hit("/c")),
        ({"score": float("nan"), "file_path": "/d"}, hit("/d")),
        ({"score": float("inf")}, hit()),
        ({"score": "high", "type": 7}, hit(kind="7")),
        ("/e", hit("/e")),
        (Path("/f"), hit("/f")),
    ],
)
def test_results_as_servers_have_them(result: object, kept: SearchHit) -> None:
    tracker = ContextTracker()
    tracker.track_search("q", [result])
    assert tracker.get_context()["searches"][0]["results"] == [kept]
    assert tracker.dropped().refused_results == 0


class Raising:
    @property
    def score(self) -> float:
        raise RuntimeError("not loaded")


@pytest.mark.parametrize("result", [Raising(), object(), {}, None, 5, {"path": 5}, {"path": "a", "score": 10**400}])
def test_a_result_that_is_none_is_counted_and_the_others_stay(result: object) -> None:
    tracker = ContextTracker()
    tracker.track_search("q", [result, {"path": "/a"}])
    assert tracker.get_context()["searches"][0]["results"] == [hit("/a")]
    assert tracker.dropped().refused_results == 1


def raises_after_two() -> Iterator[object]:
    yield from ("/a", "/b")
    raise RuntimeError("the connection is gone")


@pytest.mark.parametrize(
    ("results", "kept", "found", "left_out", "refused"),
    [
        (None, 0, 0, 0, 0),
        ({"results": ["/a"] * 12, "total": 12}, 10, 12, 2, 0),
        ({"error": "none"}, 0, 0, 0, 0),
        (tuple("abc"), 3, 3, 0, 0),
        (itertools.repeat("/a"), 10, 10, 0, 0),
        (raises_after_two(), 2, 2, 0, 1),
        (5, 0, 0, 0, 1),
    ],
)
def test_results_of_any_shape(results: object, kept: int, found: int, left_out: int, refused: int) -> None:
    tracker = ContextTracker()
    tracker.track_search("q", results)
    (search,) = tracker.get_context()["searches"]
    assert (len(search["results"]), search["found"]) == (kept, found)
    assert (tracker.dropped().results, tracker.dropped().refused_results) == (left_out, refused)


class Hostile(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return itertools.repeat("key")

    def __len__(self) -> int:
        return 1


class Endless(dict[object, object]):
    def items(self) -> Iterator[tuple[object, object]]:  # type: ignore[override]
        return itertools.repeat((object(), object()))


def nested(depth: int) -> object:
    inner: object = []
    for _ in range(depth - 1):
        inner = [inner]
    return inner


CIRCULAR: list[object] = []
CIRCULAR.append(CIRCULAR)


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [
        (Hostile(), None),
        (Endless(), {}),
        (nested(100_000), nested(16)),
        (CIRCULAR, nested(16)),
        (object(), None),
        ({"a": object(), "b": {1, 2}, "c": 3, object(): 4, 5: 6}, {"c": 3, "5": 6}),
        ({"a": float("nan"), "b": 10**400, "c": -(2**63), "d": 2**64}, {"c": -(2**63)}),
        ({"a": numpy.int64(3), "b": numpy.float32(0.5), "c": Path("/x"), "d": (1, None, True)},
         {"a": 3, "b": 0.5, "c": "/x", "d": [1, None, True]}),
    ],
)  # fmt: skip
def test_hostile_metadata_is_left_out_and_counted(metadata: object, kept: object) -> None:
    tracker = ContextTracker()
    tracker.track_file_read("/a", "x", metadata)
    (file,) = tracker.get_context()["files"]
    assert file["metadata"] == kept
    assert len(json.dumps(file["metadata"])) <= 2048
    dropped = tracker.dropped()
    plain = isinstance(kept, dict) and len(kept) == 4
    assert (dropped.refused_metadata + dropped.cut_metadata > 0) is not plain


def test_ten_megabytes_of_metadata_leave_room_for_the_rest() -> None:
    tracker = ContextTracker()
    tracker.track_file_read("/a", "x", {"text": "y" * 10**7, "language": "python", "list": list(range(10**6)), "z": 1})
    (file,) = tracker.get_context()["files"]
    assert isinstance(file["metadata"], dict)
    assert list(file["metadata"]) == ["text", "language", "list"]
    assert file["metadata"]["language"] == "python"
    assert tracker.dropped().cut_metadata == 1
    assert tracker.dropped().refused_metadata == 0


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN, st.integers(1, 200))
def test_metadata_is_json_within_its_bytes(metadata: object, most: int) -> None:
    tracker = ContextTracker(max_metadata_bytes=most)
    tracker.track_file_read("/a", "", metadata)
    (file,) = tracker.get_context()["files"]
    kept = file["metadata"]
    compact = json.dumps(kept, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    assert kept is None or len(compact.encode("utf-8", "surrogatepass")) <= most
    dropped = tracker.dropped()
    assert kept == metadata or dropped.cut_metadata or dropped.refused_metadata


def test_long_paths_stay_apart_and_long_queries_are_cut() -> None:
    tracker = ContextTracker(max_text_characters=50)
    tracker.track_file_read("/x" * 5000 + "1", "")
    tracker.track_file_read("/x" * 5000 + "2", "")
    tracker.track_search("q" * 10**6, ["/y" * 5000], "t" * 51)
    context = tracker.get_context()
    assert len(context["files"]) == 2
    assert {len(path) for path in paths(context)} == {50}
    assert queries(context) == ["q" * 50]
    assert context["searches"][0]["search_type"] == "t" * 50
    assert len(context["searches"][0]["results"][0]["path"] or "") == 50
    assert tracker.dropped().cut_texts == 5
    assert all(len(event["subject"]) <= 50 for event in context["timeline"])
    assert len(ContextTracker(max_text_characters=5).start_session("s" * 10)) == 5


@pytest.mark.parametrize(("path", "content"), [(5, ""), (None, ""), ("/a", 5), ("/a", None)])
def test_what_is_no_path_or_content_is_a_mistake_of_the_caller(path: object, content: object) -> None:
    tracker = ContextTracker()
    with pytest.raises(TypeError, match=r" is a (int|NoneType): str"):
        tracker.track_file_read(path, content)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        tracker.track_search(5, [])  # type: ignore[arg-type]
    assert tracker.statistics().items == 0


def test_the_oldest_goes_where_there_are_too_many() -> None:
    tracker = ContextTracker(max_files=3, max_searches=2, max_events=4)
    for name in "abcde":
        tracker.track_file_read(name, "")
    tracker.track_file_read("c", "again")  # is the newest now
    tracker.track_file_read("f", "")
    for name in "xyz":
        tracker.track_search(name, [])
    context = tracker.get_context()
    assert paths(context) == ["f", "c", "e"]
    assert queries(context) == ["z", "y"]
    assert kinds(context) == [("file_read", "f"), ("search", "x"), ("search", "y"), ("search", "z")]
    dropped = tracker.dropped()
    assert (dropped.files, dropped.searches, dropped.events) == (3, 1, 6)
    assert tracker.statistics().evictions == 10


def test_bytes_are_bounded_and_the_oldest_of_any_kind_goes_first() -> None:
    tracker = ContextTracker(max_bytes=4000)
    tracker.track_search("first", [])
    for name in range(20):
        tracker.track_file_read(f"/{name}", "x" * 500)
        held = tracker.statistics().bytes
        assert held is not None
        assert held <= 4000
    context = tracker.get_context()
    assert queries(context) == []
    assert paths(context)[0] == "/19"
    assert len(context["files"]) >= 3
    tracker.track_file_read("/20", "x" * 500, {str(number): "y" * 100 for number in range(20)})
    assert paths(tracker.get_context())[0] == "/20"
    small = ContextTracker(max_bytes=600, max_content_characters=1000)
    small.track_file_read("/a", "x" * 1000)
    assert small.get_context()["files"] == []
    assert small.dropped().files == 1


@pytest.mark.parametrize(("level", "left"), [(Level.NORMAL, 8), (Level.AGGRESSIVE, 5)])
def test_a_cleanup_drops_the_oldest_part(level: Level, left: int) -> None:
    tracker = ContextTracker()
    for name in range(10):
        tracker.track_file_read(f"/{name}", "x")
        tracker.track_search(f"q{name}", [])
    before = tracker.statistics()
    cleaned = tracker.cleanup(level, None)
    context, after = tracker.get_context(), tracker.statistics()
    assert paths(context) == [f"/{name}" for name in range(9, 9 - left, -1)]
    assert queries(context) == [f"q{name}" for name in range(9, 9 - left, -1)]
    assert len(context["timeline"]) == 2 * left
    assert cleaned.items_removed == 4 * (10 - left)
    assert before.bytes is not None
    assert after.bytes is not None
    assert cleaned.bytes_freed == before.bytes - after.bytes > 0
    assert tracker.cleanup("normal", 0) == Cleaned()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="gentle"):
        tracker.cleanup("gentle", None)  # type: ignore[arg-type]


def test_a_cleanup_stops_when_it_has_enough() -> None:
    tracker = ContextTracker()
    for name in range(10):
        tracker.track_file_read(f"/{name}", "x" * 500)
    one = tracker.cleanup(Level.AGGRESSIVE, 1)
    assert one.items_removed == 1  # the oldest: a file
    assert one.bytes_freed > 500
    assert paths(tracker.get_context())[-1] == "/1"
    several = tracker.cleanup(Level.AGGRESSIVE, 2 * one.bytes_freed)
    assert 2 * one.bytes_freed <= several.bytes_freed < 3 * one.bytes_freed + 200
    half = tracker.cleanup(Level.NORMAL, 10**9)
    assert half.items_removed < 6  # no more than the level allows


def test_sessions_are_apart_and_take_along_what_was_tracked_in_them() -> None:
    clock = Clock(0.0)
    tracker = ContextTracker(clock=clock)
    first = tracker.start_session()
    assert len(first) == 32
    assert tracker.start_session("second") == "second"
    tracker.track_file_read("/a", "1", session_id=first)
    clock.now = 1.0
    tracker.track_file_read("/a", "2", session_id="second")
    tracker.track_file_read("/a", "3")
    tracker.track_search("q", [], session_id=first)
    tracker.track_search("other", [], session_id="third")  # starts it
    context = tracker.get_context(first)
    assert [file["content"] for file in context["files"]] == ["1"]
    assert queries(context) == ["q"]
    assert kinds(context) == [("session_start", first), ("file_read", "/a"), ("search", "q")]
    assert context["sessions"] == [
        {"session_id": first, "started_at_seconds": 0.0, "used_at_seconds": 1.0, "files": 1, "searches": 1}
    ]
    assert [session["session_id"] for session in tracker.get_context()["sessions"]] == ["third", first, "second"]

    assert tracker.end_session(first) == context["sessions"][0]
    assert tracker.end_session(first) is None
    nothing: Context = {"files": [], "searches": [], "timeline": [], "sessions": []}
    assert tracker.get_context(first) == nothing
    assert tracker.get_context("never seen") == nothing
    whole = tracker.get_context()
    assert [file["content"] for file in whole["files"]] == ["3", "2"]
    assert kinds(whole)[-1] == ("session_end", first)
    dropped = tracker.dropped()
    assert (dropped.files, dropped.searches, dropped.events, dropped.sessions) == (1, 1, 3, 0)


def test_idle_sessions_end_with_the_next_operation() -> None:
    clock = Clock(0.0)
    tracker = ContextTracker(session_idle_seconds=60, clock=clock)
    tracker.track_file_read("/a", "", session_id="a")
    clock.now = 30.0
    tracker.track_file_read("/b", "", session_id="b")
    clock.now = 59.9
    assert tracker.statistics().items == 8
    clock.now = 60.0
    assert tracker.statistics().items == 5  # b, its file and its two events, and the end of a
    context = tracker.get_context()
    assert paths(context) == ["/b"]
    assert kinds(context)[-1] == ("session_end", "a")
    assert (tracker.dropped().sessions, tracker.dropped().idle_sessions) == (1, 1)
    assert tracker.statistics().expirations == 3
    assert tracker.statistics().evictions == 0
    clock.now = 89.0
    assert tracker.start_session("b") == "b"  # used again
    clock.now = 148.0
    assert len(tracker.get_context()["sessions"]) == 1
    clock.now = 149.0
    assert tracker.cleanup(Level.NORMAL, 1).items_removed > 0
    assert tracker.get_context()["sessions"] == []
    tracker.track_search("q", [], session_id="c")
    assert isinstance(tracker, Expiring)
    assert tracker.expire() == Cleaned()
    clock.now = 209.0
    expired = tracker.expire()
    assert expired.items_removed == 3  # the session, its search and two events, and the event of its end
    assert expired.bytes_freed > 0
    assert queries(tracker.get_context()) == []


def test_a_clock_that_is_set_back_does_not_keep_sessions_for_ever() -> None:
    clock = Clock(10.0**9)
    tracker = ContextTracker(session_idle_seconds=60, clock=clock)
    tracker.track_file_read("/a", "", session_id="a")
    tracker.track_file_read("/b", "", session_id="b")
    clock.now = 1000.0
    assert len(tracker.get_context()["sessions"]) == 2
    clock.now = 1059.0
    assert len(tracker.get_context()["sessions"]) == 2
    clock.now = 1060.0
    assert tracker.get_context()["sessions"] == []


def test_where_there_are_too_many_sessions_the_one_idle_longest_ends() -> None:
    tracker = ContextTracker(max_sessions=2)
    for name in "abac":
        tracker.track_file_read("/" + name, "", session_id=name)
    context = tracker.get_context()
    assert [session["session_id"] for session in context["sessions"]] == ["c", "a"]
    assert paths(context) == ["/c", "/a"]
    assert tracker.dropped().sessions == 1
    assert tracker.statistics().evictions == 3  # b's file and its two events


def test_settings_sections_and_keywords() -> None:
    def limits(tracker: ContextTracker) -> tuple[int, int, int]:
        for number in range(20):
            tracker.track_file_read(f"/{number}", "x" * 20)
        context = tracker.get_context()
        return len(context["files"]), len(context["timeline"]), len(context["files"][0]["content"])

    section = {"max_files_tracked": 3, "max_timeline_events": 4, "max_content_length": 5}
    assert limits(ContextTracker(section)) == (3, 4, 5)
    assert limits(ContextTracker(ContextTrackerSettings(3, 4, 5))) == (3, 4, 5)
    assert limits(ContextTracker(section, max_files=6, max_events=7, max_content_characters=8)) == (6, 7, 8)
    with pytest.raises(SettingsError, match=r"^Limits: max_searches: found 0.*\nLimits: max_bytes: found 'x'"):
        ContextTracker(max_searches=0, max_bytes="x")  # type: ignore[arg-type]


def test_nothing_of_what_was_given_is_kept_alive() -> None:
    class Kept(dict[str, object]):
        pass

    metadata, result = Kept(a="x" * 100), Kept(path="/a", content="y" * 100)
    counts = sys.getrefcount(metadata), sys.getrefcount(result)
    tracker = ContextTracker()
    tracker.track_file_read("/a", "", metadata)
    tracker.track_search("q", [result])
    assert (sys.getrefcount(metadata), sys.getrefcount(result)) == counts


def test_threads_hammer_it(tmp_path: Path) -> None:
    tracker = ContextTracker(max_files=20, max_events=30, max_searches=10, max_sessions=4, max_bytes=20_000)
    failures: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            for number in range(300):
                session = f"s{(worker + number) % 6}"
                tracker.track_file_read(f"/{number % 40}", "x" * number, {"n": number}, session_id=session)
                tracker.track_search(f"q{number}", [{"path": "/a"}] * 12, session_id=session if number % 3 else None)
                if number % 7 == worker:
                    tracker.end_session(session)
                if number % 50 == 0:
                    tracker.cleanup(Level.NORMAL, None)
                    tracker.save(tmp_path / "context")
                statistics = tracker.statistics()
                assert statistics.bytes is not None
                assert statistics.bytes <= 20_000
                context = tracker.get_context()
                names = {one["session_id"] for one in context["sessions"]} | {None}
                assert {file["session_id"] for file in context["files"]} <= names
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert tracker.dropped().searches + len(tracker.get_context()["searches"]) == 8 * 300
    assert ContextTracker().load(tmp_path / "context").refused is None
