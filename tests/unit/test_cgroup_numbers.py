"""What the files of a cgroup say: usage, what of it cannot be taken back, kills, pressure; whole, torn and hostile.

Leaves to others: which cgroup it is (`test_cgroup`), how counts go on (`test_cgroup_view`).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from memory_watchdog.observation import Limit, Reading, Reason, Unavailable

from tests.support.cgroup_trees import GIB, MIB, PID, V1, V2, Box, v1, v2, v2_root
from tests.support.trees import process, tree


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def reason(reading: Reading | Limit) -> Reason:
    assert isinstance(reading, Unavailable), reading
    return reading.reason


def in_v1(box: Box, **numbers: int) -> Box:
    return box.holds("4:memory:/pod\n", V1, v1("/pod", GIB, **numbers) | v1("/", root=True, usage=5 * GIB))  # type: ignore[arg-type]


def in_v2(box: Box, **numbers: int) -> Box:
    return box.holds("0::/pod\n", V2, v2("/pod", GIB, **numbers) | v2_root())  # type: ignore[arg-type]


class TestUsed:
    def test_v1(self, box: Box) -> None:
        memory = in_v1(box, usage=500 * MIB, cache=301 * MIB).look().memory
        assert (memory.usage_bytes, memory.unreclaimable_bytes) == (500 * MIB, 199 * MIB)

    def test_v2_without_slab_too(self, box: Box) -> None:
        memory = in_v2(box, usage=500 * MIB, cache=301 * MIB, slab=9 * MIB).look().memory
        assert (memory.usage_bytes, memory.unreclaimable_bytes) == (500 * MIB, 190 * MIB)

    def test_never_negative(self, box: Box) -> None:
        """The kernel adds up the statistics a little later than the usage."""
        assert in_v2(box, usage=5 * MIB, cache=6 * MIB).look().memory.unreclaimable_bytes == 0
        assert in_v1(box, usage=5 * MIB, cache=6 * MIB).fresh().memory.unreclaimable_bytes == 0

    def test_its_own_where_no_cgroup_is_the_limit(self, box: Box) -> None:
        files = v2("/pod/app", usage=3) | v2("/pod", GIB, usage=5) | v2_root()
        box.holds("0::/pod/app\n", V2, files)
        assert box.look().memory.usage_bytes == 5
        assert box.look(wants_limit=False).memory.usage_bytes == 3
        assert not box.look(wants_limit=False).of_limit

    def test_in_the_root_that_counts_the_whole_machine(self, box: Box) -> None:
        for cgroup, mount, files in (
            ("4:memory:/\n", V1, v1("/", root=True, usage=GIB)),
            ("0::/\n", V2, v2_root()),
        ):
            memory = box.holds(cgroup, mount, files).fresh().memory
            for reading in (
                memory.usage_bytes,
                memory.unreclaimable_bytes,
                memory.oom_kills,
                memory.waiting_microseconds,
                memory.stalled_microseconds,
            ):
                assert reason(reading) is Reason.UNSUPPORTED

    @pytest.mark.parametrize("torn", ["", "5", "-5\n", "x\n", "5 6\n", "9" * 20_000])
    def test_torn_usage(self, box: Box, torn: str) -> None:
        in_v2(box)
        tree(box.cgroups, {"pod/memory.current": torn})
        look = box.look()
        assert isinstance(look.limit, Limit)  # the limit is known all the same
        assert reason(look.memory.usage_bytes) is Reason.UNREADABLE
        assert reason(look.memory.unreclaimable_bytes) is Reason.UNREADABLE

    @pytest.mark.parametrize("left", [0, 40, 100, 130])
    def test_half_a_stat(self, box: Box, left: int) -> None:
        in_v2(box, usage=GIB, cache=MIB, slab=MIB)
        path = box.cgroups / "pod" / "memory.stat"
        path.write_text(path.read_text()[:left])
        memory = box.look().memory
        assert memory.usage_bytes == GIB
        assert reason(memory.unreclaimable_bytes) is Reason.UNREADABLE

    def test_a_number_cut_off_is_not_a_smaller_one(self, box: Box) -> None:
        in_v2(box, usage=GIB, cache=MIB, slab=123_456)
        path = box.cgroups / "pod" / "memory.stat"
        text = path.read_text()
        path.write_text(text[: text.index("123456") + 3])
        assert reason(box.look().memory.unreclaimable_bytes) is Reason.UNREADABLE

    def test_a_stat_that_does_not_end(self, box: Box) -> None:
        in_v2(box, usage=GIB)
        with (box.cgroups / "pod" / "memory.stat").open("a") as stat:
            stat.write("x 1\n" * 5000)
        assert reason(box.look().memory.unreclaimable_bytes) is Reason.UNREADABLE

    @pytest.mark.parametrize("name", ["memory.current", "memory.stat"])
    def test_missing(self, box: Box, name: str) -> None:
        in_v2(box, usage=GIB)
        (box.cgroups / "pod" / name).unlink()
        assert reason(box.look().memory.unreclaimable_bytes) is Reason.NOT_FOUND


class TestKills:
    def test_v2_counts_oom_kill_and_never_oom(self, box: Box) -> None:
        assert in_v2(box, kills=2).look().memory.oom_kills == 2

    def test_v1(self, box: Box) -> None:
        assert in_v1(box, kills=2).look().memory.oom_kills == 2

    def test_v1_of_an_old_kernel(self, box: Box) -> None:
        in_v1(box)
        tree(box.cgroups, {"memory/pod/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"})
        assert reason(box.look().memory.oom_kills) is Reason.UNSUPPORTED

    @pytest.mark.parametrize("torn", ["", "oom_kill 5", "oom_kill \n", "oom 5\nxoom_kill 5\n", "oom_kill -1\n"])
    def test_torn(self, box: Box, torn: str) -> None:
        in_v2(box)
        tree(box.cgroups, {"pod/memory.events": torn})
        assert reason(box.look().memory.oom_kills) is Reason.UNREADABLE


class TestHome:
    """Kills and pressure are those of the topmost cgroup that holds nothing but the target."""

    def kills(self, box: Box, **procs: str) -> Reading:
        files = v2("/pod/app", kills=1) | v2("/pod/side", kills=2) | v2("/pod", GIB, kills=4) | v2("/", kills=8)
        for name, content in procs.items():
            files["/".join(name.split("__")) + "/cgroup.procs"] = content
        return box.holds("0::/pod/app\n", V2, files).fresh().memory.oom_kills

    def test_up_to_the_top_of_a_container(self, box: Box) -> None:
        assert self.kills(box, pod__app=f"{PID}\n") == 8

    def test_with_its_workers_in_cgroups_beside_it(self, box: Box) -> None:
        process(box.proc, 60, PID)
        assert self.kills(box, pod__app=f"{PID}\n", pod__side="60\n") == 8

    def test_not_with_another_process(self, box: Box) -> None:
        assert self.kills(box, pod__app=f"{PID}\n", pod__side="70\n") == 1
        assert self.kills(box, pod__app=f"{PID}\n", pod__side="", pod="70\n") == 1

    def test_not_with_one_that_our_pid_namespace_lacks(self, box: Box) -> None:
        assert self.kills(box, pod__app=f"{PID}\n", pod__side="0\n") == 1

    @pytest.mark.parametrize("torn", ["x\n", "9" * 10_000, "-1", "\xff"])
    def test_not_where_it_cannot_be_told(self, box: Box, torn: str) -> None:
        assert self.kills(box, pod__app=f"{PID}\n", pod__side=torn) == 1

    def test_not_in_v1_which_does_not_add_up_kills(self, box: Box) -> None:
        files = v1("/pod/app", kills=1) | v1("/pod", kills=4) | v1("/", root=True)
        files["memory/pod/app/cgroup.procs"] = f"{PID}\n"
        assert box.holds("4:memory:/pod/app\n", V1, files).fresh().memory.oom_kills == 1

    def test_its_own_in_any_case(self, box: Box) -> None:
        assert self.kills(box, pod__app=f"{PID}\n70\n") == 1


class TestPressure:
    def test_v2(self, box: Box) -> None:
        memory = in_v2(box, pressure=(1_500_000, 700_000)).look().memory  # type: ignore[arg-type]
        assert (memory.waiting_microseconds, memory.stalled_microseconds) == (1_500_000, 700_000)

    def test_v1_has_none_and_the_machines_is_not_taken(self, box: Box) -> None:
        tree(box.proc, {"pressure/memory": "some avg10=0 total=5\nfull avg10=0 total=5\n"})
        memory = in_v1(box).look().memory
        assert reason(memory.waiting_microseconds) is Reason.UNSUPPORTED
        assert reason(memory.stalled_microseconds) is Reason.UNSUPPORTED

    def test_kernel_that_does_not_count_it(self, box: Box) -> None:
        in_v2(box)
        (box.cgroups / "pod" / "memory.pressure").unlink()
        assert reason(box.look().memory.waiting_microseconds) is Reason.UNSUPPORTED

    @pytest.mark.parametrize(
        "torn",
        [
            "",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=-5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n",
            "some total=1\nfull total=2\nsome avg10=0 total=3\n",
        ],
    )
    def test_torn(self, box: Box, torn: str) -> None:
        in_v2(box)
        tree(box.cgroups, {"pod/memory.pressure": torn})
        memory = box.look().memory
        assert reason(memory.waiting_microseconds) is Reason.UNREADABLE
        assert reason(memory.stalled_microseconds) is Reason.UNREADABLE


CONTENT = st.binary(max_size=80) | st.text("0123456789:/. -=\nmaxokiltesfcvb_", max_size=80).map(str.encode)
LINES = st.lists(
    st.tuples(
        st.sampled_from(["total_inactive_file", "active_file", "slab_reclaimable", "oom_kill", "inactive_file"]),
        st.integers(-(2**70), 2**70),
    ),
    max_size=6,
).map(lambda lines: "".join(f"{key} {value}\n" for key, value in lines).encode())


class TestAnyContent:
    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(name=st.sampled_from(sorted(v2("/pod"))), content=CONTENT | LINES)
    @example(name="./pod/memory.max", content=b"9" * 5000 + b"\n")
    @example(name="./pod/memory.stat", content=b"x" * 20_000)
    def test_v2(self, box: Box, name: str, content: bytes) -> None:
        self.known_or_not(in_v2(box, usage=GIB, cache=MIB), {name.removeprefix("./"): content})

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(name=st.sampled_from(sorted(v1("/pod"))), content=CONTENT | LINES)
    def test_v1(self, box: Box, name: str, content: bytes) -> None:
        self.known_or_not(in_v1(box, usage=GIB, cache=MIB), {name: content})

    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    @given(name=st.sampled_from([f"{PID}/cgroup", "self/mountinfo", f"{PID}/mountinfo", "meminfo"]), content=CONTENT)
    def test_proc(self, box: Box, name: str, content: bytes) -> None:
        in_v2(box)
        tree(box.proc, {name: content})
        self.known_or_not(box, {})

    def known_or_not(self, box: Box, files: dict[str, str | bytes]) -> None:
        tree(box.cgroups, files)
        look = box.fresh()
        assert isinstance(look.limit, Unavailable) or look.limit.bytes > 0
        memory = look.memory
        for reading in (
            memory.usage_bytes,
            memory.unreclaimable_bytes,
            memory.oom_kills,
            memory.waiting_microseconds,
            memory.stalled_microseconds,
        ):
            assert isinstance(reading, Unavailable) or reading >= 0
