"""What is taken for the limit, over /proc and cgroup trees built in code."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_watchdog.observation import Limit, LimitSource, Reason, Unavailable
from memory_watchdog.sources.cgroup import machine_memory, read_limit

from tests.support.trees import UNLIMITED_V1, machine, process, tree

GIB = 1 << 30
V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V2 = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:1 - cgroup cgroup rw,cpu\n"
    + V1
    + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)


class Box:
    """A /proc with one process, of 16 GiB, and what lies at /sys/fs/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.proc = machine(folder / "proc")
        self.cgroups = folder / "cgroup"
        self.cgroups.mkdir()

    def holds(self, cgroup: str, mountinfo: str, files: dict[str, str | bytes]) -> Box:
        process(self.proc, 50, 1, cgroup=cgroup)
        tree(self.proc, {"self/mountinfo": mountinfo})
        tree(self.cgroups, files)
        return self

    def limit(self) -> Limit | Unavailable:
        return read_limit(50, self.proc, self.cgroups)

    def reason(self) -> Reason:
        limit = self.limit()
        assert isinstance(limit, Unavailable), limit
        return limit.reason


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def v1(path: str, hierarchical: int | str, own: int | str | None = None) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {
        f"memory{path}/memory.stat": f"cache 0\nrss 5\nhierarchical_memory_limit {hierarchical}\ntotal_cache 0\n"
    }
    if own is not None:
        files[f"memory{path}/memory.limit_in_bytes"] = f"{own}\n"
    return files


def v2(path: str, maximum: str, high: str = "max", root: bool = False) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {f"{path}/memory.stat": "anon 1\n"}
    if not root:
        files |= {
            f"{path}/cgroup.events": "populated 1\n",
            f"{path}/memory.max": f"{maximum}\n",
            f"{path}/memory.high": f"{high}\n",
        }
    return files


def of_cgroup(bytes_: int) -> Limit:
    return Limit(bytes_, LimitSource.CGROUP)


class TestV1:
    def test_tightest_ancestor(self, box: Box) -> None:
        box.holds("4:memory:/pod/app\n0::/\n", HYBRID, v1("/pod/app", GIB, 4 * GIB))
        assert box.limit() == of_cgroup(GIB)

    def test_own_limit_where_the_hierarchy_is_not_used(self, box: Box) -> None:
        box.holds("4:cpu,memory:/pod/app\n", V1, v1("/pod/app", 4 * GIB, GIB))
        assert box.limit() == of_cgroup(GIB)

    @pytest.mark.parametrize("bytes_", [UNLIMITED_V1, 0x7FFFFFFFFFFF0000, 16 * GIB, 17 * GIB])
    def test_no_limit_below_the_machines_memory(self, box: Box, bytes_: int) -> None:
        box.holds("4:memory:/pod\n", V1, v1("/pod", bytes_, UNLIMITED_V1))
        assert box.reason() is Reason.UNLIMITED

    def test_just_below_the_machines_memory(self, box: Box) -> None:
        box.holds("4:memory:/pod\n", V1, v1("/pod", 16 * GIB - 4096))
        assert box.limit() == of_cgroup(16 * GIB - 4096)

    def test_unlimited_is_known_without_the_machines_memory(self, box: Box) -> None:
        box.holds("4:memory:/pod\n", V1, v1("/pod", UNLIMITED_V1))
        (box.proc / "meminfo").unlink()
        assert box.reason() is Reason.UNLIMITED

    def test_the_empty_v2_hierarchy_beside_it_says_nothing(self, box: Box) -> None:
        files = v1("/pod", GIB) | {"unified/cgroup.controllers": "\n", "unified/memory.max": "5\n"}
        assert box.holds("4:memory:/pod\n0::/\n", HYBRID, files).limit() == of_cgroup(GIB)

    def test_container_that_shows_its_own_cgroup_as_the_root(self, box: Box) -> None:
        mount = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        box.holds("4:memory:/docker/abc/inner\n", mount, v1("/inner", GIB))
        assert box.limit() == of_cgroup(GIB)
        box.holds("4:memory:/docker/abc\n", mount, v1("", 2 * GIB))
        assert box.limit() == of_cgroup(2 * GIB)

    @pytest.mark.parametrize("path", ["/docker/abcd", "/docker", "/docker/abc/../abd", "/../abd", "/"])
    def test_cgroup_that_the_mount_does_not_show(self, box: Box, path: str) -> None:
        mount = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
        files = v1("", GIB) | v1("/d", GIB) | v1("/../abd", GIB)
        assert box.holds(f"4:memory:{path}\n", mount, files).reason() is Reason.NOT_FOUND

    @pytest.mark.parametrize(
        "stat", [b"", b"cache 0\n", b"hierarchical_memory_limit \n", b"hierarchical_memory_limit 12x\n", b"\xff\0"]
    )
    def test_torn_stat(self, box: Box, stat: bytes) -> None:
        assert box.holds("4:memory:/pod\n", V1, {"memory/pod/memory.stat": stat}).reason() is Reason.UNREADABLE

    @pytest.mark.parametrize("own", ["", "-1", "many", "1 2"])
    def test_torn_limit(self, box: Box, own: str) -> None:
        assert box.holds("4:memory:/pod\n", V1, v1("/pod", GIB, own)).reason() is Reason.UNREADABLE

    def test_absent(self, box: Box) -> None:
        assert box.holds("4:memory:/pod (deleted)\n", V1, v1("/pod", GIB)).reason() is Reason.NOT_FOUND


class TestV2:
    def test_smallest_of_all_ancestors(self, box: Box) -> None:
        files = v2("a/b/c", "max") | v2("a/b", str(2 * GIB)) | v2("a", str(3 * GIB)) | v2(".", "", root=True)
        assert box.holds("0::/a/b/c\n", V2, files).limit() == of_cgroup(2 * GIB)

    def test_high_where_lower(self, box: Box) -> None:
        files = v2("a/b", str(2 * GIB)) | v2("a", str(3 * GIB), high=str(GIB)) | v2(".", "", root=True)
        assert box.holds("0::/a/b\n", V2, files).limit() == of_cgroup(GIB)

    def test_max_everywhere_up_to_the_root(self, box: Box) -> None:
        files = v2("a/b", "max") | v2("a", str(16 * GIB)) | v2(".", "", root=True)
        assert box.holds("0::/a/b\n", V2, files).reason() is Reason.UNLIMITED

    def test_in_the_root(self, box: Box) -> None:
        assert box.holds("0::/\n", V2, v2(".", "", root=True)).reason() is Reason.UNLIMITED

    def test_a_namespace_without_a_limit_does_not_show_what_is_above(self, box: Box) -> None:
        assert box.holds("0::/\n", V2, v2(".", "max")).reason() is Reason.NOT_FOUND
        assert box.holds("0::/\n", V2, v2(".", str(GIB))).limit() == of_cgroup(GIB)

    def test_controller_switched_off_on_the_way(self, box: Box) -> None:
        files = v2("a", str(GIB)) | v2(".", "", root=True) | {"a/b/cgroup.events": "populated 1\n"}
        assert box.holds("0::/a/b\n", V2, files).limit() == of_cgroup(GIB)

    @pytest.mark.parametrize("path", ["/../other", "/a/../../b", "/gone", "/a/gone"])
    def test_cgroup_that_is_not_shown(self, box: Box, path: str) -> None:
        files = v2("a", str(GIB)) | v2(".", "", root=True)
        tree(box.cgroups.parent, {"other/memory.max": "5\n"})
        assert box.holds(f"0::{path}\n", V2, files).reason() is Reason.NOT_FOUND

    @pytest.mark.parametrize("torn", [b"", b"\n", b"ma", b"-1", b"12 34", b"0x10", b"\xff", b"1e9", b"1_000"])
    @pytest.mark.parametrize("name", ["a/b/memory.max", "a/memory.high"])
    def test_torn(self, box: Box, name: str, torn: bytes) -> None:
        files = v2("a/b", str(GIB)) | v2("a", str(GIB)) | v2(".", "", root=True) | {name: torn}
        assert box.holds("0::/a/b\n", V2, files).reason() is Reason.UNREADABLE

    def test_a_limit_that_cannot_be_read_is_not_none(self, box: Box) -> None:
        box.holds("0::/a\n", V2, v2("a", "max") | v2(".", "", root=True))
        (box.cgroups / "a" / "memory.max").unlink()
        (box.cgroups / "a" / "memory.max").mkdir()
        assert box.reason() is Reason.UNREADABLE

    def test_nought(self, box: Box) -> None:
        files = v2("a", str(GIB), high="0") | v2(".", "", root=True)
        assert box.holds("0::/a\n", V2, files).reason() is Reason.INVALID

    def test_hybrid_with_memory_in_v2(self, box: Box) -> None:
        mounts = HYBRID.replace(V1, "")
        files = {f"unified/{name}": content for name, content in v2("a", str(GIB)).items()}
        assert box.holds("3:cpu:/\n0::/a\n", mounts, files).limit() == of_cgroup(GIB)

    @pytest.mark.parametrize("name", ["a b", "a\\x2db.slice", "ü", "a:b:c", "..."])
    def test_hostile_names(self, box: Box, name: str) -> None:
        files = v2(name, str(GIB)) | v2(".", "", root=True)
        assert box.holds(f"0::/{name}\n", V2, files).limit() == of_cgroup(GIB)


class TestMounts:
    def test_elsewhere_and_with_blanks(self, box: Box) -> None:
        point = box.cgroups.parent / "my cgroups"
        tree(point, {"pod/memory.stat": f"hierarchical_memory_limit {GIB}\n"})
        mount = f"35 31 0:32 / {str(point).replace(' ', chr(92) + '040')} rw master:1 x - cgroup none rw,memory\n"
        assert box.holds("4:memory:/pod\n", mount, {}).limit() == of_cgroup(GIB)

    def test_the_one_that_shows_most(self, box: Box) -> None:
        inner = V2.replace(" / /sys/fs/cgroup ", " /a/b /sys/fs/cgroup/inner ")
        files = v2("a/b", "max") | v2("a", str(GIB)) | v2(".", "", root=True) | v2("inner", "max")
        assert box.holds("0::/a/b\n", inner + V2, files).limit() == of_cgroup(GIB)

    @pytest.mark.parametrize("mountinfo", ["", "35 31 0:32 /", "x - cgroup cgroup rw,memory\n", "- - -\n", "\udcff"])
    def test_none(self, box: Box, mountinfo: str) -> None:
        box.holds("4:memory:/pod\n", "", v1("/pod", GIB))
        tree(box.proc, {"self/mountinfo": mountinfo.encode(errors="surrogateescape")})
        assert box.reason() is Reason.NOT_FOUND

    def test_no_mountinfo(self, box: Box) -> None:
        process(box.proc, 50, 1, cgroup="0::/\n")
        assert box.reason() is Reason.NOT_FOUND


class TestProcess:
    def test_gone(self, box: Box) -> None:
        assert box.reason() is Reason.GONE

    def test_kernel_without_cgroups(self, box: Box) -> None:
        process(box.proc, 50, 1)
        (box.proc / "50" / "cgroup").unlink()
        assert box.reason() is Reason.NOT_FOUND

    @pytest.mark.parametrize("cgroup", ["", "3:cpu:/\n", "0::", "4:memory:relative\n"])
    def test_in_no_memory_cgroup(self, box: Box, cgroup: str) -> None:
        assert box.holds(cgroup, HYBRID, {}).reason() is Reason.NOT_FOUND


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60) | st.text("0123456789:/. -max\nmemorycgroup2", max_size=60).map(str.encode))
def test_no_content_raises(box: Box, content: bytes) -> None:
    for name in ("50/cgroup", "self/mountinfo", "meminfo"):
        box.holds("0::/a\n", V2, v2("a", str(GIB)) | v2(".", "", root=True))
        machine(box.proc)
        tree(box.proc, {name: content})
        box.limit()
        machine_memory(box.proc)


class TestMachine:
    def test_memory(self, box: Box) -> None:
        assert machine_memory(box.proc) == Limit(16 * GIB, LimitSource.MACHINE)

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
