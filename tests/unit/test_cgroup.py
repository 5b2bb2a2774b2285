"""Which cgroup limits a process, over /proc and cgroup trees built in code: both versions.

Leaves to others: through which mounts it is found (`test_cgroup_path`), the numbers of that cgroup
(`test_cgroup_numbers`), moves and restarts (`test_cgroup_view`), real cgroups (`integration/test_cgroups`).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_watchdog.observation import Limit, LimitSource, Reason, Unavailable
from memory_watchdog.sources.cgroup import machine_memory

from tests.support.cgroup_trees import CONTAINER, GIB, HYBRID, MIB, PID, V1, V2, Box, of_cgroup, v1, v2, v2_root
from tests.support.trees import UNLIMITED_V1, process, tree

MACHINE = Limit(16 * GIB, LimitSource.MACHINE)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


class TestV1:
    def test_own(self, box: Box) -> None:
        box.holds("4:memory:/pod/app\n0::/\n", HYBRID, v1("/pod/app", GIB) | v1("/pod") | v1("/", root=True))
        assert box.limit() == of_cgroup(GIB)

    def test_parent_that_is_tighter(self, box: Box) -> None:
        files = v1("/pod/app", 4 * GIB, hierarchical=GIB) | v1("/pod", GIB) | v1("/", root=True)
        assert box.holds("4:cpu,memory:/pod/app\n", V1, files).limit() == of_cgroup(GIB)

    @pytest.mark.parametrize("bytes_", [UNLIMITED_V1, 0x7FFFFFFFFFFF0000, 16 * GIB, 17 * GIB])
    def test_no_limit_below_the_machines_memory(self, box: Box, bytes_: int) -> None:
        box.holds("4:memory:/pod\n", V1, v1("/pod", bytes_) | v1("/", root=True))
        assert box.reason() is Reason.UNLIMITED
        assert box.limit() == MACHINE

    def test_just_below_the_machines_memory(self, box: Box) -> None:
        box.holds("4:memory:/pod\n", V1, v1("/pod", 16 * GIB - 4096) | v1("/", root=True))
        assert box.limit() == of_cgroup(16 * GIB - 4096)

    def test_unlimited_is_known_without_the_machines_memory(self, box: Box) -> None:
        box.holds("4:memory:/pod\n", V1, v1("/pod") | v1("/", root=True))
        (box.proc / "meminfo").unlink()
        assert box.reason() is Reason.UNLIMITED

    def test_in_the_root(self, box: Box) -> None:
        assert box.holds("4:memory:/\n", V1, v1("/", root=True)).limit() == MACHINE

    def test_the_empty_v2_hierarchy_beside_it_says_nothing(self, box: Box) -> None:
        files = v1("/pod", GIB) | v1("/", root=True) | v2("/pod", 5, point="unified") | v2_root("unified")
        assert box.holds("4:memory:/pod\n0::/pod\n", HYBRID, files).limit() == of_cgroup(GIB)

    def test_above_a_cgroup_that_does_not_count_what_is_below(self, box: Box) -> None:
        files = (
            v1("/pod/app", 4 * GIB) | v1("/pod", GIB) | v1("/", root=True) | {"memory/pod/memory.use_hierarchy": "0"}
        )
        assert box.holds("4:memory:/pod/app\n", V1, files).limit() == of_cgroup(4 * GIB)
        files = v1("/pod/app") | {"memory/pod/memory.use_hierarchy": "0"}
        assert box.holds("4:memory:/pod/app\n", V1, files).limit() == MACHINE

    def test_container_that_shows_its_own_cgroup_as_the_root(self, box: Box) -> None:
        box.holds("4:memory:/docker/abc/inner\n", CONTAINER, v1("/inner", GIB) | v1("/"))
        assert box.limit() == of_cgroup(GIB)
        box.holds("4:memory:/docker/abc\n", CONTAINER, v1("/", 2 * GIB))
        assert box.limit() == of_cgroup(2 * GIB)

    def test_limit_above_what_is_shown(self, box: Box) -> None:
        box.holds("4:memory:/docker/abc\n", CONTAINER, v1("/", 2 * GIB, hierarchical=GIB, usage=MIB))
        look = box.fresh()
        assert (look.limit, look.of_limit) == (of_cgroup(GIB), False)
        assert look.memory.usage_bytes == MIB  # its own: of the one above nothing is known

    def test_no_limit_above_what_is_shown_either(self, box: Box) -> None:
        assert box.holds("4:memory:/docker/abc\n", CONTAINER, v1("/")).limit() == MACHINE

    @pytest.mark.parametrize("path", ["/docker/abcd", "/docker", "/docker/abc/../abd", "/../abd", "/", "/docker/abc\0"])
    def test_cgroup_that_the_mount_does_not_show(self, box: Box, path: str) -> None:
        files = v1("/", GIB) | v1("/d", GIB) | v1("/../abd", GIB)
        assert box.holds(f"4:memory:{path}\n", CONTAINER, files).reason() is Reason.NOT_FOUND

    @pytest.mark.parametrize(
        "stat", [b"", b"cache 0\n", b"hierarchical_memory_limit \n", b"hierarchical_memory_limit 12x\n", b"\xff\0"]
    )
    def test_torn_stat_where_a_limit_may_be_hidden(self, box: Box, stat: bytes) -> None:
        for limit in (UNLIMITED_V1, GIB):
            box.holds("4:memory:/docker/abc\n", CONTAINER, v1("/", limit) | {"memory/memory.stat": stat})
            assert box.reason() is Reason.UNREADABLE

    @pytest.mark.parametrize("own", ["", "\n", "-1\n", "many\n", "1 2\n", f"{GIB}", "9" * 21 + "\n", "9" * 20_000])
    def test_torn_limit(self, box: Box, own: str) -> None:
        for path in ("/pod", "/pod/app"):
            files = v1("/pod", GIB) | v1("/pod/app", GIB) | {f"memory{path}/memory.limit_in_bytes": own}
            assert box.holds("4:memory:/pod/app\n", V1, files).reason() is Reason.UNREADABLE

    def test_nought(self, box: Box) -> None:
        assert box.holds("4:memory:/pod\n", V1, v1("/pod", 0) | v1("/", root=True)).reason() is Reason.INVALID

    def test_absent(self, box: Box) -> None:
        assert box.holds("4:memory:/pod (deleted)\n", V1, v1("/pod", GIB)).reason() is Reason.NOT_FOUND


class TestV2:
    def test_own(self, box: Box) -> None:
        assert box.holds("0::/a\n", V2, v2("/a", GIB) | v2_root()).limit() == of_cgroup(GIB)

    def test_smallest_of_all_ancestors(self, box: Box) -> None:
        files = v2("/a/b/c") | v2("/a/b", 2 * GIB) | v2("/a", 3 * GIB) | v2_root()
        assert box.holds("0::/a/b/c\n", V2, files).limit() == of_cgroup(2 * GIB)

    def test_high_where_lower(self, box: Box) -> None:
        files = v2("/a/b", 2 * GIB) | v2("/a", 3 * GIB, high=GIB) | v2_root()
        assert box.holds("0::/a/b\n", V2, files).limit() == of_cgroup(GIB)
        files = v2("/a/b", 2 * GIB, high=3 * GIB) | v2("/a") | v2_root()
        assert box.holds("0::/a/b\n", V2, files).limit() == of_cgroup(2 * GIB)

    def test_max_everywhere_up_to_the_root(self, box: Box) -> None:
        box.holds("0::/a/b\n", V2, v2("/a/b") | v2("/a", 16 * GIB) | v2_root())
        assert box.reason() is Reason.UNLIMITED
        assert box.limit() == MACHINE

    def test_in_the_root(self, box: Box) -> None:
        assert box.holds("0::/\n", V2, v2_root()).limit() == MACHINE

    def test_a_namespace_without_a_limit_does_not_show_what_is_above(self, box: Box) -> None:
        assert box.holds("0::/\n", V2, v2("/")).reason() is Reason.NOT_FOUND
        assert box.holds("0::/\n", V2, v2("/", GIB)).limit() == of_cgroup(GIB)

    def test_an_empty_folder_is_not_taken_for_the_root(self, box: Box) -> None:
        assert box.holds("0::/\n", V2, {}).reason() is Reason.NOT_FOUND

    def test_controller_switched_off_on_the_way(self, box: Box) -> None:
        files = v2("/a", GIB, usage=5) | v2_root() | {"a/b/cgroup.events": "populated 1\n", "a/b/cgroup.procs": ""}
        assert box.holds("0::/a/b\n", V2, files).limit() == of_cgroup(GIB)
        assert box.fresh(wants_limit=False).memory.usage_bytes == 5  # charged to the nearest one that counts

    @pytest.mark.parametrize("path", ["/../other", "/a/../../b", "/gone", "/a/gone"])
    def test_cgroup_that_is_not_shown(self, box: Box, path: str) -> None:
        tree(box.cgroups.parent, {"other/memory.max": "5\n"})
        assert box.holds(f"0::{path}\n", V2, v2("/a", GIB) | v2_root()).reason() is Reason.NOT_FOUND

    @pytest.mark.parametrize(
        "torn", [b"", b"\n", b"ma", b"max", b"-1\n", b"12 34\n", b"0x10\n", b"\xff", b"1e9\n", b"1_0\n"]
    )
    @pytest.mark.parametrize("name", ["a/b/memory.max", "a/memory.high"])
    def test_torn(self, box: Box, name: str, torn: bytes) -> None:
        files = v2("/a/b", GIB) | v2("/a", GIB) | v2_root() | {name: torn}
        assert box.holds("0::/a/b\n", V2, files).reason() is Reason.UNREADABLE

    def test_a_limit_that_cannot_be_read_is_not_none(self, box: Box) -> None:
        box.holds("0::/a\n", V2, v2("/a") | v2_root())
        (box.cgroups / "a" / "memory.max").unlink()
        (box.cgroups / "a" / "memory.max").mkdir()
        assert box.reason() is Reason.UNREADABLE

    def test_nought(self, box: Box) -> None:
        assert box.holds("0::/a\n", V2, v2("/a", GIB, high=0) | v2_root()).reason() is Reason.INVALID

    def test_hybrid_with_memory_in_v2(self, box: Box) -> None:
        files = v2("/a", GIB, point="unified") | v2_root("unified")
        assert box.holds("3:cpu:/\n0::/a\n", HYBRID.replace(V1, ""), files).limit() == of_cgroup(GIB)

    @pytest.mark.parametrize(
        "name", ["a b", "a\\x2db.slice", "ü", "a:b:c", "...", "a\tb", "-rf", "max", "a - cgroup2 x"]
    )
    def test_hostile_names(self, box: Box, name: str) -> None:
        assert box.holds(f"0::/{name}\n", V2, v2(f"/{name}", GIB) | v2_root()).limit() == of_cgroup(GIB)


class TestLeastHeadroom:
    """Of several limits the one counts that is nearest to being reached, by what is used below each of them."""

    def test_a_pod_that_its_other_containers_fill(self, box: Box) -> None:
        files = v2("/pod/app", GIB, usage=500 * MIB) | v2("/pod", 2 * GIB, usage=1900 * MIB) | v2_root()
        look = box.holds("0::/pod/app\n", V2, files).fresh()
        assert (look.limit, look.of_limit) == (of_cgroup(2 * GIB), True)
        assert look.memory.unreclaimable_bytes == 1900 * MIB
        assert look.path.endswith("/pod")

    def test_page_cache_is_no_lack_of_headroom(self, box: Box) -> None:
        files = v2("/pod/app", GIB, usage=500 * MIB) | v2("/pod", 2 * GIB, usage=2 * GIB, cache=GIB) | v2_root()
        assert box.holds("0::/pod/app\n", V2, files).limit() == of_cgroup(GIB)

    def test_v1(self, box: Box) -> None:
        pod = v1("/pod", 2 * GIB, usage=1900 * MIB)
        files = v1("/pod/app", GIB, usage=500 * MIB) | pod | v1("/", root=True)
        look = box.holds("4:memory:/pod/app\n", V1, files).fresh()
        assert (look.limit, look.memory.usage_bytes) == (of_cgroup(2 * GIB), 1900 * MIB)

    def test_follows_what_is_used(self, box: Box) -> None:
        files = v2("/pod/app", GIB, usage=500 * MIB) | v2("/pod", 2 * GIB, usage=600 * MIB) | v2_root()
        assert box.holds("0::/pod/app\n", V2, files).look().limit == of_cgroup(GIB)
        tree(box.cgroups, {"pod/memory.current": f"{2 * GIB}\n"})
        assert box.look().limit == of_cgroup(2 * GIB)

    def test_the_innermost_of_equals(self, box: Box) -> None:
        files = v2("/pod/app", GIB, usage=5) | v2("/pod", GIB, usage=5) | v2_root()
        assert box.holds("0::/pod/app\n", V2, files).fresh().path.endswith("/pod/app")

    def test_unknown_as_long_as_one_of_them_is(self, box: Box) -> None:
        files = v2("/pod/app", GIB, usage=5) | v2("/pod", GIB, usage=5) | v2_root() | {"pod/memory.current": "x\n"}
        assert box.holds("0::/pod/app\n", V2, files).reason() is Reason.UNREADABLE


class TestProcess:
    def test_gone(self, box: Box) -> None:
        assert box.reason() is Reason.GONE

    def test_pid_that_is_used_again(self, box: Box) -> None:
        box.holds("0::/a\n", V2, v2("/a", GIB) | v2_root())
        process(box.proc, PID, 1, start_ticks=2000, cgroup="0::/a\n")
        assert box.reason() is Reason.GONE

    def test_kernel_without_cgroups(self, box: Box) -> None:
        process(box.proc, PID, 1)
        (box.proc / str(PID) / "cgroup").unlink()
        assert box.reason() is Reason.NOT_FOUND

    @pytest.mark.parametrize("cgroup", ["", "3:cpu:/\n", "0::", "4:memory:relative\n"])
    def test_in_no_memory_cgroup(self, box: Box, cgroup: str) -> None:
        assert box.holds(cgroup, HYBRID, {}).reason() is Reason.NOT_FOUND


class TestMachine:
    def test_memory(self, box: Box) -> None:
        assert machine_memory(box.proc) == MACHINE

    @pytest.mark.parametrize(
        "content", [b"", b"MemTotal:", b"MemTotal: x kB\n", b"MemFree: 5 kB\n", b"MemTotal: 0 kB\n"]
    )
    def test_torn(self, box: Box, content: bytes) -> None:
        tree(box.proc, {"meminfo": content})
        memory = machine_memory(box.proc)
        assert isinstance(memory, Unavailable)
        assert memory.reason is Reason.UNREADABLE

    def test_absent(self, tmp_path: Path) -> None:
        memory = machine_memory(tmp_path)
        assert isinstance(memory, Unavailable)
        assert memory.reason is Reason.NOT_FOUND
