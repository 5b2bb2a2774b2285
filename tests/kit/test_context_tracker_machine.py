"""The context tracker under any order of operations: bounds, exact accounting and no orphans after each."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import OrderedDict, deque
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from memory_watchdog_kit import Context, ContextTracker, Level

IDLE_SECONDS = 100.0

LIMITS = st.fixed_dictionaries(
    {
        "max_files": st.integers(1, 8),
        "max_content_characters": st.integers(1, 50),
        "max_searches": st.integers(1, 8),
        "max_results_per_search": st.integers(1, 4),
        "max_events": st.integers(1, 80),
        "max_sessions": st.integers(1, 4),
        "max_metadata_bytes": st.integers(1, 60),
        "max_text_characters": st.integers(18, 30),
        "max_bytes": st.integers(1, 12_000),
    }
)
TEXTS = st.sampled_from(["a", "b", "c", "ä\udcff", "long " * 20, ""]) | st.text(max_size=40)
SESSIONS = st.none() | st.sampled_from(["s", "t", "u", "a long name " * 5]) | TEXTS
METADATA = st.none() | st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=80), max_size=3)


def allocated(data: bytes) -> int:
    """Written down a second time, in other words than the tracker's."""
    size = sys.getsizeof(data)
    return -(-size // 16) * 16 if size <= 512 else -(-(size + 8) // 16) * 16


def real_bytes(tracker: ContextTracker) -> int:
    store = tracker._store
    tables = [table._records for table in (store.files, store.sessions)]
    queues = [queue._records for queue in (store.searches, store.events)]
    total = sum(allocated(data) for table in tables for pair in table.items() for data in pair)
    total += sum(allocated(data) for queue in queues for data in queue)
    total += sum(sys.getsizeof(table) - sys.getsizeof(OrderedDict()) for table in tables)
    return total + sum(sys.getsizeof(queue) - sys.getsizeof(deque()) for queue in queues)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = 10_000.0
        self.searches = 0

    @initialize(limits=LIMITS)
    def make(self, limits: dict[str, int]) -> None:
        self.start(limits)

    def start(self, limits: dict[str, int]) -> None:
        self.limits = limits
        self.tracker = ContextTracker(
            None, clock=lambda: self.now, session_idle_seconds=IDLE_SECONDS, **limits  # type: ignore[arg-type]
        )  # fmt: skip
        self.searches = 0

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(path=TEXTS, content=TEXTS, metadata=METADATA, session=SESSIONS)
    def read_file(self, path: str, content: str, metadata: object, session: str | None) -> None:
        held, gone = len(self.tracker.get_context()["files"]), self.tracker.dropped().files
        self.tracker.track_file_read(path, content, metadata, session_id=session)
        context = self.tracker.get_context()
        added = len(context["files"]) - held + self.tracker.dropped().files - gone
        assert added in (0, 1)  # 0: it was there and was replaced
        if context["files"]:
            newest = context["files"][0]
            assert newest["content"] == content[: self.limits["max_content_characters"]]
            assert newest["characters"] == len(content)
            assert (newest["reads"] > 1) is (added == 0)

    @rule(query=TEXTS, results=st.lists(TEXTS, max_size=6), session=SESSIONS)
    def search(self, query: str, results: list[str], session: str | None) -> None:
        self.tracker.track_search(query, results, session_id=session)
        self.searches += 1
        context = self.tracker.get_context()
        if context["searches"]:
            assert context["searches"][0]["query"] == query[: self.limits["max_text_characters"]]
            assert context["searches"][0]["found"] == len(results)

    @rule(session=SESSIONS)
    def start_session(self, session: str | None) -> None:
        name = self.tracker.start_session(session)
        assert len(name) <= self.limits["max_text_characters"]
        sessions = self.tracker.get_context()["sessions"]
        assert not sessions or sessions[0]["session_id"] == name

    @rule(which=st.integers(0, 4))
    def end_session(self, which: int) -> None:
        names = [one["session_id"] for one in self.tracker.get_context()["sessions"]]
        name = ([*names, "never there"] * 5)[which]
        before = self.tracker.dropped().sessions
        assert (self.tracker.end_session(name) is None) is (name not in names)
        left = self.tracker.get_context(name)
        assert left == {"files": [], "searches": [], "timeline": [], "sessions": []}
        assert self.tracker.dropped().sessions == before

    @rule(seconds=st.floats(-300, 300))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(level=st.sampled_from(Level), wanted=st.none() | st.integers(-5, 5000))
    def cleanup(self, level: Level, wanted: int | None) -> None:
        self.tracker.statistics()  # idle sessions end here
        before = self.tracker.statistics()
        cleaned = self.tracker.cleanup(level, wanted)
        after = self.tracker.statistics()
        assert before.bytes is not None
        assert after.bytes is not None
        assert before.items is not None
        assert cleaned.items_removed == before.items - (after.items or 0)
        assert cleaned.bytes_freed == before.bytes - after.bytes >= 0
        if wanted is not None and wanted <= 0:
            assert cleaned.items_removed == 0

    @rule(limits=LIMITS)
    def restart_with_other_limits(self, limits: dict[str, int]) -> None:
        self.tracker.save(self.folder / "context")
        before = self.tracker.get_context()
        self.start(limits)
        assert self.tracker.load(self.folder / "context").refused is None
        self.searches = len(before["searches"])
        self.bounds_hold()
        after = self.tracker.get_context()
        assert len(after["searches"]) + self.tracker.dropped().searches == len(before["searches"])
        in_order = iter((search["at_seconds"], search["found"]) for search in before["searches"])
        assert all((search["at_seconds"], search["found"]) in in_order for search in after["searches"])

    @rule()
    def restart(self) -> None:
        self.tracker.save(self.folder / "context")
        before, held = self.tracker.get_context(), self.tracker.statistics().bytes
        searches = len(before["searches"])
        self.start(self.limits)
        assert self.tracker.load(self.folder / "context").refused is None
        after = self.tracker.get_context()
        assert held is not None
        # the containers of a new tracker may have grown to another size, so that another record or so fits or does not
        if held * 1.5 < self.limits["max_bytes"]:
            assert after == before
        self.searches = searches

    @invariant()
    def bounds_hold(self) -> None:
        statistics, context, limits = self.tracker.statistics(), self.tracker.get_context(), self.limits
        assert statistics.bytes is not None
        assert 0 <= statistics.bytes <= limits["max_bytes"]
        assert statistics.bytes == real_bytes(self.tracker)
        assert statistics.items == sum(len(part) for part in context.values())  # type: ignore[misc, arg-type]
        for part, most in (("files", "max_files"), ("searches", "max_searches"), ("timeline", "max_events")):
            assert len(context[part]) <= limits[most]  # type: ignore[literal-required]
        assert len(context["sessions"]) <= limits["max_sessions"]
        assert all(self.now - session["used_at_seconds"] < IDLE_SECONDS for session in context["sessions"])
        assert all(session["used_at_seconds"] <= self.now for session in context["sessions"])
        assert self.searches == len(context["searches"]) + self.tracker.dropped().searches
        self.nothing_is_orphaned_or_too_long(context)

    def nothing_is_orphaned_or_too_long(self, context: Context) -> None:
        names = {session["session_id"] for session in context["sessions"]} | {None}
        store = self.tracker._store
        for one in (*context["files"], *context["searches"], *context["timeline"]):
            assert one["session_id"] in names
        for file in context["files"]:
            assert len(file["content"]) <= self.limits["max_content_characters"]
            assert len(file["path"]) <= self.limits["max_text_characters"]
        for search in context["searches"]:
            assert len(search["results"]) <= self.limits["max_results_per_search"]
        numbers = set(store.snapshot().names())
        for shelf in (store.files, store.searches, store.events):
            assert {int.from_bytes(record[:8], "little") for record in shelf} <= numbers | {0}


def test_what_containers_take_is_counted_while_they_grow_and_shrink() -> None:
    tracker = ContextTracker(max_files=500, max_searches=500, max_events=1500, max_sessions=300)
    for number in range(400):
        tracker.track_search(f"q{number}", [])
        tracker.track_file_read(f"/{number}", "", session_id=f"{number % 250}")
        assert tracker.statistics().bytes == real_bytes(tracker)
    while tracker.cleanup(Level.NORMAL).items_removed:
        assert tracker.statistics().bytes == real_bytes(tracker)


Machine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestMachine = Machine.TestCase
