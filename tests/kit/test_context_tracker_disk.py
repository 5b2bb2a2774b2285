"""The context tracker's file: written whole, read within today's bounds, refused when it is not what it should be."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from memory_watchdog_kit import Context, ContextTracker


def filled(**limits: int) -> ContextTracker:
    tracker = ContextTracker(None, clock=lambda: 1000.0, **limits)  # type: ignore[arg-type]
    tracker.start_session("idle longest")
    for number in range(30):
        session = (None, "first", "second\n")[number % 3]
        tracker.track_file_read(f"/{number}\udcff", f"{number} " + "é" * 100, {"number": number}, session_id=session)
        tracker.track_file_read("/again", "x", session_id=session)
        tracker.track_search(f"q{number}", [{"path": "/a", "score": 0.5, "type": "code"}] * 12, session_id=session)
    return tracker


def same_kind(clock: Callable[[], float] = lambda: 1000.0, **limits: int) -> ContextTracker:
    return ContextTracker(None, clock=clock, **limits)  # type: ignore[arg-type]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "context.jsonl"
    tracker = filled()
    tracker.save(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert names_in(tmp_path) == ["context.jsonl"]
    again = same_kind()
    again.track_file_read("/goes", "when another context is loaded")
    loaded = again.load(str(file))
    assert loaded.refused is None
    assert again.get_context() == tracker.get_context()
    before, after = tracker.statistics(), again.statistics()
    assert (after.bytes, after.items, loaded.items) == (before.bytes, before.items, before.items)
    again.track_file_read("/again", "x", session_id="first")
    assert again.get_context()["files"][0]["reads"] == 11
    again.save(tmp_path / "again")
    third = same_kind()
    third.load(tmp_path / "again")
    assert third.get_context() == again.get_context()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def newest(context: Context, files: int, searches: int, events: int) -> list[object]:
    return [context["files"][:files], context["searches"][:searches], context["timeline"][-events:]]


def test_under_smaller_bounds_the_newest_stay(tmp_path: Path) -> None:
    tracker = filled()
    tracker.save(tmp_path / "context")
    small = same_kind(max_files=4, max_searches=3, max_events=5)
    small.load(tmp_path / "context")
    assert newest(small.get_context(), 100, 100, 100) == newest(tracker.get_context(), 4, 3, 5)
    assert small.dropped().searches == 30 - 3
    cut = same_kind(max_content_characters=5, max_results_per_search=2, max_metadata_bytes=3, max_text_characters=4)
    cut.load(tmp_path / "context")
    context = cut.get_context()
    assert {len(file["content"]) for file in context["files"]} == {5, 1}
    assert {file["characters"] for file in context["files"]} >= {102, 103, 1}
    assert {len(search["results"]) for search in context["searches"]} == {2}
    assert {len(session["session_id"]) for session in context["sessions"]} == {4}
    assert len(context["files"]) == len(tracker.get_context()["files"])
    tiny = same_kind(max_bytes=3000)
    tiny.load(tmp_path / "context")
    held = tiny.statistics().bytes
    assert held is not None
    assert 1500 < held <= 3000
    assert tiny.get_context()["timeline"][-1] == tracker.get_context()["timeline"][-1]


def test_under_fewer_sessions_what_was_tracked_in_the_others_goes_too(tmp_path: Path) -> None:
    tracker = filled()
    tracker.save(tmp_path / "context")
    small = same_kind(max_sessions=1)
    small.load(tmp_path / "context")
    context = small.get_context()
    assert [session["session_id"] for session in context["sessions"]] == ["second\n"]
    assert {file["session_id"] for file in context["files"]} == {None, "second\n"}
    assert {search["session_id"] for search in context["searches"]} == {None, "second\n"}
    assert (small.dropped().sessions, small.dropped().searches) == (2, 10)


def test_what_is_idle_meanwhile_ends_when_it_is_loaded(tmp_path: Path) -> None:
    filled().save(tmp_path / "context")
    later = same_kind(clock=lambda: 1000.0 + 3600.0)
    later.load(tmp_path / "context")
    assert later.get_context()["sessions"] == []
    assert later.dropped().idle_sessions == 3
    earlier = same_kind(clock=lambda: 10.0)  # the clock was set back while the server was down
    earlier.load(tmp_path / "context")
    assert {session["used_at_seconds"] for session in earlier.get_context()["sessions"]} == {10.0}


def with_end(lines: list[bytes]) -> bytes:
    digest = hashlib.blake2b(b"".join(lines), digest_size=32).hexdigest()
    return b"".join(lines) + json.dumps({"end": len(lines), "blake2b": digest}, separators=(",", ":")).encode() + b"\n"


HEADER = b'{"format":"memory-watchdog-kit context","version":1}\n'
AT = {"at_seconds": 1.0, "session_id": None}
EVENT = {"kind": "search", "subject": "q", **AT}
FILE = {
    "path": "/a",
    "content": "",
    "characters": 0,
    "metadata": None,
    "reads": 1,
    "at_seconds": 1.0,
    "session_id": None,
}
SEARCH: dict[str, object] = {"query": "q", "search_type": "t", "results": [], "found": 0, **AT}
SESSION = {"session_id": "s", "started_at_seconds": 1.0, "used_at_seconds": 1.0, "files": 0, "searches": 0}


def told(kind: str, what: object) -> bytes:
    return json.dumps({kind: what}).encode() + b"\n"


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b"", "it is empty"),
        (b"\x00" * 1000, "it is no file of a context tracker"),
        (b"[]\n", "it is no file of a context tracker"),
        (b'{"format":"memory-watchdog-kit context","version":2}\n', "it has version '2', 1 is read"),
        (b'{"format":"memory-watchdog-kit context"}\n', "it has version 'None', 1 is read"),
        (HEADER, "it is damaged: its end is missing"),
        (HEADER + b'{"event"', "it is damaged: its end is missing"),
        (HEADER + b'{"other":' + b" " * 2**23, "line 2 is damaged"),
        (HEADER + b"\xff\n", "line 2 is damaged ('utf-8' codec"),
        (HEADER + b"[" * 100_000 + b"\n", "line 2 is damaged (maximum recursion"),
        (HEADER + b"5\n", "line 2 is damaged"),
        (HEADER + b"{}\n", "line 2 is damaged"),
        (HEADER + told("other", {}), "line 2 is damaged ('other')"),
        (HEADER + told("event", []), "line 2 is damaged (list for dict)"),
        (HEADER + told("event", EVENT | {"kind": "other"}), "line 2 is damaged (an unknown event)"),
        (HEADER + told("event", EVENT | {"at_seconds": "1"}), "line 2 is damaged (str for float)"),
        (HEADER + told("event", EVENT | {"at_seconds": float("nan")}), "line 2 is damaged (a time that is none)"),
        (HEADER + told("event", EVENT | {"at_seconds": 10**400}), "line 2 is damaged (int too large"),
        (HEADER + told("event", {}), "line 2 is damaged ('kind')"),
        (HEADER + told("file", FILE | {"reads": -1}), "line 2 is damaged (a count that is none)"),
        (HEADER + told("file", FILE | {"reads": 2**64}), "line 2 is damaged (a count that is none)"),
        (HEADER + told("file", FILE | {"content": 5}), "line 2 is damaged (int for str)"),
        (HEADER + told("file", FILE | {"session_id": 5}), "line 2 is damaged (int for str)"),
        (HEADER + told("search", SEARCH | {"results": "x"}), "line 2 is damaged (str for list)"),
        (HEADER + told("session", SESSION) + told("session", SESSION | {"used_at_seconds": 0.5}), "line 3 is damaged"),
        (with_end([HEADER, told("event", EVENT)]).replace(b'"q"', b'"p"'), "it is damaged: its checksum is wrong"),
        (with_end([HEADER, told("event", EVENT)]) + b"\n", "it is damaged: its checksum is wrong"),
        (with_end([HEADER])[:-1].replace(b'"end":1', b'"end":2'), "it is damaged: its checksum is wrong"),
    ],
)
def test_a_file_that_is_not_one_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, written: bytes, why: str
) -> None:
    file = tmp_path / "context"
    file.write_bytes(written)
    tracker = filled()
    with caplog.at_level(logging.WARNING, "memory_watchdog_kit"):
        loaded = tracker.load(file)
    assert (loaded.refused or "").startswith(why)
    assert loaded.items == 0
    assert tracker.get_context() == {"files": [], "searches": [], "timeline": [], "sessions": []}
    assert tracker.statistics().bytes == 0
    (line,) = caplog.messages
    assert line == f"{file} is not read as a context: {loaded.refused}; the tracker starts empty"


def test_every_truncation_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "context"
    filled(max_files=2, max_events=2, max_searches=2).save(file)
    whole = file.read_bytes()
    assert same_kind().load(file).refused is None
    for size in range(0, len(whole) - 1, 7):
        file.write_bytes(whole[:size])
        assert same_kind().load(file).refused
    for at in range(0, len(whole) - 1, 13):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert same_kind().load(file).refused


def test_what_cannot_be_a_context_is_not_read_at_all(tmp_path: Path) -> None:
    enormous = tmp_path / "enormous"
    with enormous.open("wb") as file:
        file.write(HEADER)
        file.truncate(64 * 2**20 + 1)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    open_files = len(names_in(Path("/proc/self/fd")))
    why = {path: same_kind().load(path).refused for path in (enormous, fifo, tmp_path, tmp_path / "none", fifo / "x")}
    assert why == {
        enormous: "it has 67108865 bytes, more than the 67108864 that are read",
        fifo: "it is no regular file",
        tmp_path: "it is no regular file",
        tmp_path / "none": "there is none",
        fifo / "x": "Not a directory",
    }
    assert len(names_in(Path("/proc/self/fd"))) == open_files
    assert (same_kind(max_bytes=2**25).load(enormous).refused or "").startswith("line 2 is damaged")


def test_a_record_that_could_not_be_held_is_left_out_and_counted(tmp_path: Path) -> None:
    large = same_kind(max_content_characters=3 * 2**20, max_bytes=2**23)
    large.track_file_read("/small", "x")
    large.track_file_read("/large", "x" * 3 * 2**20)
    large.track_file_read("/last", "x")
    large.save(tmp_path / "context")
    small = same_kind(max_bytes=2**16)
    assert small.load(tmp_path / "context").refused is None
    assert [file["path"] for file in small.get_context()["files"]] == ["/last", "/small"]
    assert small.dropped().files == 1


def test_a_file_that_cannot_be_written_stays_the_old_one(tmp_path: Path) -> None:
    tracker = filled()
    with pytest.raises(FileNotFoundError):
        tracker.save(tmp_path / "none" / "context")
    folder = tmp_path / "context"
    (folder / "x").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        tracker.save(folder)
    assert names_in(tmp_path) == ["context"]


def test_threads_that_save_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "context"
    tracker = filled()
    failures: list[BaseException] = []

    def save() -> None:
        try:
            for _ in range(20):
                tracker.save(file)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        if file.exists():
            assert same_kind().load(file).refused is None
    for thread in threads:
        thread.join()
    assert not failures
    assert names_in(tmp_path) == ["context"]
