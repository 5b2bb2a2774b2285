"""What the process source makes of a tree, over /proc trees built in code."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_watchdog.observation import Measure, ProcessIdentity, ProcessMemory, Reading, Reason, Unavailable
from memory_watchdog.sources.process import ProcessTree, measured, raise_descriptor_limit

from tests.support.trees import machine, process, status_text, tree

PAGE = os.sysconf("SC_PAGE_SIZE")
KIB = 1024
ROOT = ProcessIdentity(50, 1000)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return machine(tmp_path / "proc")


@contextmanager
def reading(proc: Path, identity: ProcessIdentity = ROOT) -> Iterator[ProcessTree]:
    source = ProcessTree(identity, proc)
    try:
        yield source
    finally:
        source.close()


def memory_of(source: ProcessTree, now: float = 0.0, details_max_age: float = 5.0) -> ProcessMemory:
    memory = source.read(now, details_max_age)
    assert isinstance(memory, ProcessMemory), memory
    return memory


def failure_of(source: ProcessTree, now: float = 0.0, details_max_age: float = 5.0) -> Unavailable:
    memory = source.read(now, details_max_age)
    assert isinstance(memory, Unavailable), memory
    return memory


def reason_of(reading: Reading) -> Reason:
    assert isinstance(reading, Unavailable), reading
    return reading.reason


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestSums:
    def test_one_process(self, proc: Path) -> None:
        process(proc, 50, 1, statm="9000 300 120 1 0 50 0\n", status=status_text(480, 16, 8))
        with reading(proc) as source:
            assert source.identity == ROOT
            assert memory_of(source) == ProcessMemory(
                resident_bytes=300 * PAGE,
                anonymous_bytes=180 * PAGE,
                processes=1,
                file_bytes=480 * KIB,
                shared_bytes=16 * KIB,
                swap_bytes=8 * KIB,
                proportional_bytes=Unavailable(Reason.PENDING, "read on request only: it stalls the target"),
            )

    @pytest.mark.parametrize("by_children_file", [True, False])
    def test_tree(self, proc: Path, by_children_file: bool) -> None:
        below = {50: [60, 40], 60: [61], 61: [], 40: [], 70: []}
        for pid, parent, shared in ((50, 1, 100), (60, 50, 300), (61, 60, 300), (40, 50, 0), (70, 1, 9999)):
            process(
                proc, pid, parent, status=status_text(10, shared, 1), children=below[pid] if by_children_file else None
            )
        with reading(proc) as source:
            memory = memory_of(source)
        assert (memory.processes, memory.resident_bytes) == (4, 400 * PAGE)
        assert (memory.file_bytes, memory.swap_bytes) == (40 * KIB, 4 * KIB)
        assert memory.shared_bytes == 300 * KIB  # the largest: workers map the same segments

    def test_children_of_every_thread(self, proc: Path) -> None:
        process(proc, 50, 1, children=[])
        tree(proc, {"50/task/55/children": "60 "})
        process(proc, 60, 50, children=[])
        with reading(proc) as source:
            assert memory_of(source).processes == 2

    def test_statm_is_read_each_time_and_details_when_they_are_old(self, proc: Path) -> None:
        process(proc, 50, 1, status=status_text(swap_kib=1), children=[])
        with reading(proc) as source:
            assert memory_of(source, now=100.0).resident_bytes == 100 * PAGE
            process(proc, 50, 1, statm="9000 200 20 1 0 50 0\n", status=status_text(swap_kib=2), children=[60])
            process(proc, 60, 50, children=[])
            young = memory_of(source, now=105.0)
            assert (young.resident_bytes, young.swap_bytes, young.processes) == (200 * PAGE, KIB, 1)
            old = memory_of(source, now=105.1)
            assert (old.resident_bytes, old.swap_bytes, old.processes) == (300 * PAGE, 2 * KIB, 2)

    def test_an_action_asks_for_younger_details(self, proc: Path) -> None:
        process(proc, 50, 1, status=status_text(swap_kib=1))
        with reading(proc) as source:
            memory_of(source, now=100.0)
            process(proc, 50, 1, status=status_text(swap_kib=2))
            assert memory_of(source, now=101.5, details_max_age=5.0).swap_bytes == KIB
            assert memory_of(source, now=101.5, details_max_age=1.0).swap_bytes == 2 * KIB

    def test_a_ring_of_children_ends(self, proc: Path) -> None:
        process(proc, 50, 60, children=[60, 50])
        process(proc, 60, 50, children=[50, 60])
        with reading(proc) as source:
            assert memory_of(source).processes == 2


class TestEnd:
    def test_no_such_process(self, proc: Path) -> None:
        with reading(proc) as source:
            assert failure_of(source).reason is Reason.GONE

    def test_another_start_time_is_another_process(self, proc: Path) -> None:
        process(proc, 50, 1, start_ticks=1001)
        with reading(proc) as source:
            assert failure_of(source).reason is Reason.GONE

    def test_gone_is_final(self, proc: Path) -> None:
        process(proc, 50, 1)
        before = open_files()
        with reading(proc) as source:
            memory_of(source)
            process(proc, 50, 1, statm="0 0 0 0 0 0 0\n")
            assert failure_of(source).reason is Reason.GONE
            process(proc, 50, 1)
            assert failure_of(source).reason is Reason.GONE
        assert open_files() == before

    def test_a_zombie_child_is_dropped(self, proc: Path) -> None:
        process(proc, 50, 1)
        process(proc, 60, 50)
        with reading(proc) as source:
            assert memory_of(source).processes == 2
            process(proc, 60, 50, statm="0 0 0 0 0 0 0\n", state="Z")
            assert memory_of(source).processes == 1
            assert memory_of(source, now=100.0).processes == 1

    def test_a_child_that_is_no_longer_one_is_dropped(self, proc: Path) -> None:
        process(proc, 50, 1, children=[60])
        process(proc, 60, 50, children=[])
        with reading(proc) as source:
            assert memory_of(source).processes == 2
            process(proc, 50, 1, children=[])
            process(proc, 60, 1, children=[])
            assert memory_of(source, now=100.0).processes == 1

    def test_a_new_child_with_the_pid_of_a_dead_one_counts(self, proc: Path) -> None:
        process(proc, 50, 1, children=[60])
        folder = process(proc, 60, 50, children=[])
        with reading(proc) as source:
            assert memory_of(source).processes == 2
            tree(folder, {"statm": "0 0 0 0 0 0 0\n"})  # what the kept descriptor goes on to show
            (folder / "statm").unlink()
            process(proc, 60, 50, start_ticks=2000, children=[])
            assert memory_of(source, now=100.0).processes == 2

    def test_a_child_that_the_list_misses_stays(self, proc: Path) -> None:
        """The kernel skips some while their siblings end (Documentation/filesystems/proc.rst, 3.7)."""
        process(proc, 50, 1, children=[60])
        process(proc, 60, 50, children=[61])
        process(proc, 61, 60, children=[])
        with reading(proc) as source:
            assert memory_of(source).processes == 3
            process(proc, 50, 1, children=[])
            assert memory_of(source, now=100.0).processes == 3

    def test_a_listed_child_with_another_parent_is_not_counted(self, proc: Path) -> None:
        process(proc, 50, 1, children=[60])
        process(proc, 60, 1, children=[])
        with reading(proc) as source:
            assert memory_of(source).processes == 1


def test_the_child_of_vfork_is_its_parents_memory(proc: Path) -> None:
    process(proc, 50, 1, statm="9000 300 120 1 0 50 0\n", children=[60])
    process(proc, 60, 50, statm="9000 300 120 1 0 50 0\n", children=[])
    with reading(proc) as source:
        assert memory_of(source).processes == 1
        process(proc, 60, 50, statm="8000 10 5 1 0 50 0\n", children=[])  # exec
        assert memory_of(source, now=100.0).processes == 2


class TestUnreadable:
    @pytest.mark.parametrize(
        "line",
        [
            *["", "\n", "9000", "9000 300", "9000 300 12", "9000 x 120 1 0 50 0\n", "nan nan nan nan\n"],
            *["-1 -1 -1 0\n", "9000 120 300 1 0 0 0\n", "\0" * 30, "９０００ x"],
        ],
    )
    @pytest.mark.parametrize("pid", [50, 60])
    def test_torn_statm(self, proc: Path, line: str, pid: int) -> None:
        process(proc, 50, 1)
        process(proc, 60, 50)
        with reading(proc) as source:
            memory_of(source)
            tree(proc, {f"{pid}/statm": line})
            assert failure_of(source).reason is Reason.UNREADABLE
            process(proc, pid, 1 if pid == 50 else 50)
            assert memory_of(source).processes == 2

    def test_garbage_in_the_list_of_children_is_not_a_shorter_list(self, proc: Path) -> None:
        process(proc, 50, 1, children=[60])
        process(proc, 60, 50, children=[])
        with reading(proc) as source:
            assert memory_of(source).processes == 2
            tree(proc, {"50/task/50/children": "60 x"})
            assert failure_of(source, now=100.0).reason is Reason.UNREADABLE
            process(proc, 50, 1, children=[60])
            assert memory_of(source, now=100.1).processes == 2

    def test_a_child_that_cannot_be_opened_is_not_left_out(self, proc: Path) -> None:
        process(proc, 50, 1, children=[60])
        process(proc, 60, 50, children=[])
        tree(proc, {"60/stat": "60 (torn"})
        with reading(proc) as source:
            assert failure_of(source).reason is Reason.UNREADABLE
            process(proc, 60, 50, children=[])
            assert memory_of(source).processes == 2

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("RssShmem:\t       7 kB\n", "", Reason.UNSUPPORTED),
            ("RssShmem:\t       7 kB\n", "RssShmem:\t     \n", Reason.UNREADABLE),
            ("RssShmem:\t       7 kB\n", "RssShmem:\t x kB\n", Reason.UNREADABLE),
        ],
    )
    def test_half_a_status_makes_one_sum_unknown(self, proc: Path, old: str, new: str, reason: Reason) -> None:
        whole = status_text(shared_kib=7)
        assert old in whole
        process(proc, 50, 1)
        process(proc, 60, 50, status=whole.replace(old, new))
        process(proc, 61, 50)
        with reading(proc) as source:
            memory = memory_of(source)
        assert reason_of(memory.shared_bytes) is reason
        assert (memory.file_bytes, memory.swap_bytes) == (120 * KIB, 0)
        assert reason_of(measured(memory, Measure.ANON)) is reason

    def test_one_status_that_cannot_be_read_makes_all_sums_unknown(self, proc: Path) -> None:
        process(proc, 50, 1)
        process(proc, 60, 50)
        (proc / "60" / "status").unlink()
        (proc / "60" / "status").mkdir()
        with reading(proc) as source:
            memory = memory_of(source)
        for part in (memory.file_bytes, memory.shared_bytes, memory.swap_bytes):
            assert reason_of(part) is Reason.UNREADABLE
        assert memory.resident_bytes == 200 * PAGE

    def test_a_status_that_has_vanished_or_is_a_zombies_does_not_count(self, proc: Path) -> None:
        for pid, parent in ((50, 1), (60, 50), (61, 50)):
            process(proc, pid, parent)
        (proc / "60" / "status").unlink()
        tree(proc, {"61/status": "Name:\tx\nState:\tZ (zombie)\nThreads:\t1\n"})
        with reading(proc) as source:
            assert memory_of(source).file_bytes == 40 * KIB

    def test_a_name_cannot_pass_for_a_line(self, proc: Path) -> None:
        process(proc, 50, 1, status=status_text(swap_kib=3, name="VmSwap:\\n 99 kB"))
        with reading(proc) as source:
            assert memory_of(source).swap_bytes == 3 * KIB


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(["50/statm", "60/statm", "60/stat", "60/status", "50/task/50/children", "60/smaps_rollup"]),
    content=st.binary(max_size=120) | st.text("0123456789 -\nkB:()SZPVmswap", max_size=120).map(str.encode),
)
def test_no_content_raises(family_of_two: Path, name: str, content: bytes) -> None:
    path = family_of_two / name
    whole = path.read_bytes()
    path.write_bytes(content)
    with reading(family_of_two) as source:
        memory = source.read(0.0, 5.0)
        assert isinstance(memory, Unavailable) or memory.resident_bytes >= 0
        source.proportional()
    path.write_bytes(whole)


@pytest.fixture
def family_of_two(proc: Path) -> Path:
    process(proc, 50, 1, children=[60], pss_kib=1)
    process(proc, 60, 50, children=[], pss_kib=1)
    return proc


class TestProportional:
    def test_sum(self, proc: Path) -> None:
        process(proc, 50, 1, pss_kib=100, children=[60, 61, 62])
        process(proc, 60, 50, pss_kib=11, children=[])
        process(proc, 61, 50, state="Z", children=[])  # 62 has ended since
        with reading(proc) as source:
            assert source.proportional() == 111 * KIB

    def test_without_support(self, proc: Path) -> None:
        process(proc, 50, 1)
        with reading(proc) as source:
            assert reason_of(source.proportional()) is Reason.UNSUPPORTED

    @pytest.mark.parametrize("content", ["", "Pss:", "Pss:\t12", "Rss: 1 kB\n"])
    def test_torn(self, proc: Path, content: str) -> None:
        process(proc, 50, 1, pss_kib=1)
        process(proc, 60, 50)
        tree(proc, {"60/smaps_rollup": content})
        with reading(proc) as source:
            assert reason_of(source.proportional()) is Reason.UNREADABLE

    def test_gone(self, proc: Path) -> None:
        with reading(proc) as source:
            assert reason_of(source.proportional()) is Reason.GONE
            process(proc, 50, 1, pss_kib=1, start_ticks=1001)
            assert reason_of(source.proportional()) is Reason.GONE


class TestMeasured:
    memory = ProcessMemory(100, 40, 2, file_bytes=30, shared_bytes=7, swap_bytes=5, proportional_bytes=80)

    @pytest.mark.parametrize(("measure", "number"), [(Measure.RSS, 100), (Measure.ANON, 52), (Measure.PSS, 80)])
    def test_number(self, measure: Measure, number: int) -> None:
        assert measured(self.memory, measure) == number

    @pytest.mark.parametrize("part", ["shared_bytes", "swap_bytes"])
    def test_unknown_as_soon_as_a_part_is(self, part: str) -> None:
        none = Unavailable(Reason.PERMISSION)
        memory = replace(self.memory, **{part: none})  # type: ignore[arg-type]
        assert measured(memory, Measure.ANON) == none
        assert measured(memory, Measure.RSS) == 100

    @pytest.mark.parametrize("measure", [Measure.AUTO, Measure.UNRECLAIMABLE, Measure.REPORTED])
    def test_numbers_of_others(self, measure: Measure) -> None:
        assert reason_of(measured(self.memory, measure)) is Reason.UNSUPPORTED


def exhaust(others: ExitStack) -> None:
    """Take every descriptor that is left."""
    try:
        while True:
            others.callback(os.close, os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise


class TestDescriptors:
    @pytest.fixture
    def limit(self) -> Iterator[int]:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowered = open_files() + 60
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowered, hard))
        yield lowered
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    @pytest.fixture
    def family(self, proc: Path) -> Path:
        process(proc, 50, 1, children=range(100, 200))
        for pid in range(100, 200):
            process(proc, pid, 50, children=[])
        return proc

    def test_one_a_process_and_all_given_back(self, family: Path) -> None:
        before = open_files()
        with reading(family) as source:
            assert memory_of(source).processes == 101
            assert open_files() == before + 102  # and the reserve
            memory_of(source, now=100.0)
            assert open_files() == before + 102
        assert open_files() == before

    def test_half_is_left_to_others(self, family: Path, limit: int) -> None:
        with reading(family) as source:
            assert memory_of(source).resident_bytes == 101 * 100 * PAGE
            held = [link for link in Path("/proc/self/fd").iterdir() if str(link.resolve()).endswith("/statm")]
            assert 0 < len(held) <= limit // 2
            assert memory_of(source).resident_bytes == 101 * 100 * PAGE

    def test_none_left(self, family: Path, limit: int) -> None:
        with reading(family) as source, ExitStack() as others:
            memory_of(source)
            exhaust(others)
            for now in (1.0, 100.0, 101.0):
                memory = memory_of(source, now=now)
                assert (memory.processes, memory.resident_bytes, memory.file_bytes) == (101, 10100 * PAGE, 4040 * KIB)

    def test_none_left_from_the_beginning(self, family: Path, limit: int) -> None:
        with ExitStack() as others, reading(family) as source:
            exhaust(others)
            for now in (0.0, 1.0, 100.0):
                assert memory_of(source, now=now).resident_bytes == 10100 * PAGE

    def test_none_left_at_all_is_a_failure_that_passes(self, family: Path, limit: int) -> None:
        with ExitStack() as others:
            exhaust(others)
            source = ProcessTree(ROOT, family)
            assert failure_of(source).reason is Reason.UNREADABLE
        assert memory_of(source).resident_bytes == 10100 * PAGE
        source.close()

    def test_a_reused_pid_is_noticed_without_a_kept_descriptor(self, family: Path, limit: int) -> None:
        with reading(family) as source:
            assert memory_of(source).processes == 101
            process(family, 199, 50, start_ticks=2000, children=[])
            assert memory_of(source).processes == 100
            assert memory_of(source, now=100.0).processes == 101

    def test_raise_the_limit(self, limit: int) -> None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        assert raise_descriptor_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
