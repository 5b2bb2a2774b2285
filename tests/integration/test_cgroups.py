"""What is read of real cgroups with real limits: the same tests on v1 and v2, whichever the machine has.

Here that is v1; `make test-cgroup2` runs this file where it is v2. Sizes are compared with what a process was told to
take; the kernel charges in batches and keeps page tables, which comes to some MiB.
Leaves to others: another namespace and another user (`test_cgroups_elsewhere`), the running watchdog
(`test_cgroups_watched`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from memory_watchdog.observation import CgroupMemory, Limit, LimitSource, ProcessIdentity, Reading, Reason, Unavailable
from memory_watchdog.sources.cgroup import machine_memory
from memory_watchdog.sources.cgroup_view import CgroupLook, CgroupView
from memory_watchdog.sources.limit import limit_of
from memory_watchdog.sources.procfs import read_stat

from tests.support.cgroups import MIB, ROOT, VERSION, Filler, RealCgroup, file_on_disk, filling, real_cgroup, why_none
from tests.support.wait import PATIENCE, eventually

pytestmark = [pytest.mark.skipif(bool(why_none()), reason=why_none()), pytest.mark.timeout(60 * PATIENCE)]


class Watch:
    """A view, and the process that it looks at."""

    def __init__(self, pid: int) -> None:
        self.view = CgroupView()
        self.attach(pid)

    def attach(self, pid: int) -> None:
        stat = read_stat("/proc", pid)
        assert not isinstance(stat, Unavailable)
        self.identity: ProcessIdentity | Unavailable = stat.identity

    def look(self, *, wants_limit: bool = True) -> CgroupLook:
        return asyncio.run(self.view.read(self.identity, time.monotonic(), wants_limit=wants_limit))

    @property
    def memory(self) -> CgroupMemory:
        return self.look().memory

    @property
    def limit(self) -> Limit | Unavailable:
        return self.look().limit


@pytest.fixture
def cgroup() -> Iterator[RealCgroup]:
    with real_cgroup(512 * MIB) as made:
        yield made


@pytest.fixture
def filler(cgroup: RealCgroup) -> Iterator[Filler]:
    with filling(cgroup) as target:
        yield target


@pytest.fixture
def watch(filler: Filler) -> Iterator[Watch]:
    watch = Watch(filler.pid)
    yield watch
    watch.view.close()


def mib(reading: Reading) -> float:
    assert isinstance(reading, int), reading
    return reading / MIB


def of_cgroup(mebibytes: int) -> Limit:
    return Limit(mebibytes * MIB, LimitSource.CGROUP)


def below(cgroup: RealCgroup, filler: Filler, *names: str) -> list[RealCgroup]:
    """Cgroups below; the process leaves, for v2 gives memory on only where the cgroup itself has no process."""
    RealCgroup(ROOT).add(filler.pid)
    return [cgroup.child(name) for name in names]


class TestLimit:
    def test_its_own(self, watch: Watch, cgroup: RealCgroup) -> None:
        look = watch.look()
        assert (look.limit, look.of_limit) == (of_cgroup(512), True)
        assert look.path == str(cgroup.folder)

    def test_changed_while_running(self, watch: Watch, cgroup: RealCgroup) -> None:
        for mebibytes in (256, 384):
            watch.look()
            cgroup.limit(mebibytes * MIB)
            assert watch.limit == of_cgroup(mebibytes)

    def test_none(self, watch: Watch, cgroup: RealCgroup) -> None:
        cgroup.limit(None)
        look = watch.look()
        assert isinstance(look.limit, Unavailable)
        assert look.limit.reason is Reason.UNLIMITED
        assert limit_of("auto", look.limit) == machine_memory()
        assert not look.of_limit

    def test_in_the_root(self) -> None:
        with filling(RealCgroup(ROOT)) as target:
            look = Watch(target.pid).look()
        assert isinstance(look.limit, Unavailable)
        assert look.limit.reason is Reason.UNLIMITED
        assert look.memory.usage_bytes == look.memory.oom_kills
        assert isinstance(look.memory.oom_kills, Unavailable)
        assert look.memory.oom_kills.reason is Reason.UNSUPPORTED

    def test_of_the_parent_that_is_tighter(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        (inner,) = below(cgroup, filler, "inner")
        inner.limit(1024 * MIB)
        inner.add(filler.pid)
        look = watch.look()
        assert (look.limit, look.path) == (of_cgroup(512), str(cgroup.folder))

    def test_of_the_parent_that_its_other_children_fill(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        inner, side = below(cgroup, filler, "inner", "side")
        inner.limit(256 * MIB)
        inner.add(filler.pid)
        filler.does("anon", 8)
        assert watch.limit == of_cgroup(256)
        with filling(side) as neighbour:
            neighbour.does("anon", 300)
            look = watch.look()
            assert (look.limit, look.path) == (of_cgroup(512), str(cgroup.folder))
            assert 300 < mib(look.memory.unreclaimable_bytes) < 350
            own = watch.look(wants_limit=False)
            assert 8 <= mib(own.memory.unreclaimable_bytes) < 40
        assert eventually(lambda: watch.limit == of_cgroup(256))

    @pytest.mark.skipif(VERSION == 1, reason="v1 has no memory.high")
    def test_high_where_lower(self, watch: Watch, cgroup: RealCgroup) -> None:
        (cgroup.folder / "memory.high").write_text(str(300 * MIB))
        assert watch.limit == of_cgroup(300)


class TestUsed:
    def grown(self, watch: Watch, filler: Filler, name: str, *arguments: object) -> tuple[float, float]:
        """By how many MiB usage and unreclaimable grow."""
        before = watch.memory
        filler.does(name, *arguments)
        after = watch.memory
        return (
            mib(after.usage_bytes) - mib(before.usage_bytes),
            mib(after.unreclaimable_bytes) - mib(before.unreclaimable_bytes),
        )

    def test_anonymous_memory(self, watch: Watch, filler: Filler) -> None:
        usage, unreclaimable = self.grown(watch, filler, "anon", 48)
        assert 47 <= usage < 56
        assert 47 <= unreclaimable < 56

    def test_shared_memory_counts(self, watch: Watch, filler: Filler) -> None:
        usage, unreclaimable = self.grown(watch, filler, "shmem", 48)
        assert 47 <= usage < 56
        assert 47 <= unreclaimable < 56

    def test_page_cache_does_not(self, watch: Watch, filler: Filler) -> None:
        with file_on_disk() as path:
            usage, unreclaimable = self.grown(watch, filler, "file", path, 96)
        assert usage > 90
        assert unreclaimable < 8  # v1 does not show the slab that goes with it

    def test_locked_page_cache_does(self, watch: Watch, filler: Filler) -> None:
        """Model weights that are mapped and locked (mlock): the kernel kills before it takes those back."""
        with file_on_disk() as path:
            filler.does("file", path, 48)
            _, unreclaimable = self.grown(watch, filler, "lock", path)
            assert 47 <= unreclaimable < 56

    def test_agrees_with_the_kernel(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        filler.does("anon", 16)
        assert abs(mib(watch.memory.usage_bytes) - cgroup.usage / MIB) < 1


class TestKills:
    def test_a_child_that_is_killed(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        assert watch.memory.oom_kills == 0
        cgroup.limit(64 * MIB)
        filler.does("die", 128)
        assert eventually(lambda: watch.memory.oom_kills) == 1
        assert cgroup.oom_kills == 1

    def test_that_were_there_before(self, filler: Filler, cgroup: RealCgroup) -> None:
        cgroup.limit(64 * MIB)
        filler.does("die", 128)
        eventually(lambda: cgroup.oom_kills)
        assert Watch(filler.pid).memory.oom_kills == 1

    def test_never_go_down(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        cgroup.limit(64 * MIB)
        filler.does("die", 128)
        eventually(lambda: watch.memory.oom_kills)
        with real_cgroup(128 * MIB) as other:
            other.add(filler.pid)
            look = watch.look()
            assert (look.limit, look.memory.oom_kills) == (of_cgroup(128), 1)
            with filling(other) as another:
                watch.attach(another.pid)
                assert watch.memory.oom_kills == 1
                other.limit(64 * MIB)
                another.does("die", 128)
                assert eventually(lambda: watch.memory.oom_kills == 2)
            cgroup.add(filler.pid)

    def test_the_process_itself(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        """It is gone, and so the cgroup may be; what killed it is told all the same."""
        assert watch.memory.oom_kills == 0
        cgroup.limit(64 * MIB)
        filler.tell("anon 128")
        assert filler.popen.wait(20 * PATIENCE) == -9
        eventually(lambda: cgroup.oom_kills)
        watch.identity = Unavailable(Reason.GONE, "as the view of the process says")
        assert watch.memory.oom_kills == 1
        assert isinstance(watch.memory.usage_bytes, Unavailable)

    @pytest.mark.skipif(VERSION == 1, reason="v1 does not add up the kills below a cgroup")
    def test_in_a_cgroup_below_that_is_removed(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        first, second = below(cgroup, filler, "first", "second")
        first.add(filler.pid)
        assert watch.memory.oom_kills == 0
        first.limit(64 * MIB)
        filler.does("die", 128)
        second.add(filler.pid)
        first.remove()
        assert watch.memory.oom_kills == 1


class TestPressure:
    @pytest.mark.skipif(VERSION == 2, reason="v2 counts it")
    def test_v1_has_none(self, watch: Watch) -> None:
        memory = watch.memory
        assert memory.waiting_microseconds == memory.stalled_microseconds
        assert isinstance(memory.waiting_microseconds, Unavailable)
        assert memory.waiting_microseconds.reason is Reason.UNSUPPORTED

    @pytest.mark.skipif(VERSION == 1, reason="v1 does not count it")
    def test_grows_with_waiting(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        before = watch.memory
        (cgroup.folder / "memory.high").write_text(str(16 * MIB))
        filler.tell("anon 64")  # throttled above 16; what it does is not waited for
        eventually(lambda: mib(watch.memory.waiting_microseconds) > mib(before.waiting_microseconds), 30)
        after = watch.memory
        assert isinstance(after.waiting_microseconds, int)
        assert isinstance(after.stalled_microseconds, int)
        assert after.waiting_microseconds >= after.stalled_microseconds
        (cgroup.folder / "memory.high").write_text("max")
        assert filler.hear() == ["ok"]


class TestMoves:
    def test_to_another_cgroup(self, watch: Watch, filler: Filler, cgroup: RealCgroup) -> None:
        watch.look()
        with real_cgroup(300 * MIB) as other:
            other.add(filler.pid)
            look = watch.look()
            assert (look.limit, look.path) == (of_cgroup(300), str(other.folder))
            cgroup.add(filler.pid)

    def test_to_one_of_the_same_name(self, watch: Watch, filler: Filler) -> None:
        """What is held open is a cgroup and not a name."""
        with real_cgroup(300 * MIB) as outside, real_cgroup() as parent:
            first = parent.child("same")
            first.add(filler.pid)
            watch.look()
            outside.add(filler.pid)
            first.remove()
            second = parent.child("same")
            second.limit(200 * MIB)
            second.add(filler.pid)
            assert watch.limit == of_cgroup(200)
            outside.add(filler.pid)
            filler.end()

    def test_removed_with_its_process(self, watch: Watch, filler: Filler) -> None:
        with real_cgroup(300 * MIB) as other:
            other.add(filler.pid)
            watch.look()
            filler.end()
        look = watch.look()
        assert isinstance(look.limit, Unavailable)
        assert look.limit.reason is Reason.GONE
        assert isinstance(look.memory.usage_bytes, Unavailable)


def test_what_a_look_costs(watch: Watch, cgroup: RealCgroup) -> None:
    """The limit is read at up to 10 Hz. 40 µs were measured with one limit on v1; this is about the order of size."""

    async def looks() -> float:
        took = []
        for _ in range(200):
            started = time.perf_counter()
            await watch.view.read(watch.identity, 0.0, wants_limit=True)
            took.append(time.perf_counter() - started)
        return sorted(took)[100]

    assert asyncio.run(looks()) < 500e-6 * PATIENCE
