"""Through which mounts a process's cgroup is found: ours, however they lie, and the target's where ours do not show it.

Leaves to others: which of the cgroups that are shown counts (`test_cgroup`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_watchdog.observation import Reason, Unavailable

from tests.support.cgroup_trees import CONTAINER, GIB, PID, V1, V2, Box, of_cgroup, v1, v2, v2_root
from tests.support.trees import process, tree


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def refuse(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """What the kernel says to another user; as root nothing is refused."""

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **keys: Any) -> Any:
            if isinstance(path, str | Path) and f"/{part}" in str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **keys)

        return call

    for name in ("open", "listdir", "stat"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))


class TestTheTargetsView:
    """Where our own mounts do not show the target's cgroup."""

    OURS = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    ITS = "31 23 0:28 /../app /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n"

    def test_another_namespace(self, box: Box) -> None:
        box.holds("0::/../app/w\n", self.OURS, v2("/", 5 * GIB) | v2("/app", 5 * GIB))
        box.shows(self.ITS, v2("/w", usage=7, point="sys/fs/cgroup") | v2("/", GIB, usage=9, point="sys/fs/cgroup"))
        look = box.fresh()
        assert (look.limit, look.memory.usage_bytes) == (of_cgroup(GIB), 9)

    def test_v1_container(self, box: Box) -> None:
        ours = CONTAINER.replace("abc", "watchdog")
        box.holds("4:memory:/docker/abc\n", ours, v1("/", 5 * GIB))
        box.shows(CONTAINER.replace("/sys/fs/cgroup/memory", "/cg"), v1("/", GIB, point="cg"))
        assert box.limit() == of_cgroup(GIB)

    def test_no_limit_that_is_shown_is_not_no_limit(self, box: Box) -> None:
        box.holds("0::/../app\n", self.OURS, v2("/", 5 * GIB)).shows(self.ITS, v2("/", point="sys/fs/cgroup"))
        assert box.reason() is Reason.NOT_FOUND

    def test_our_own_mount_is_preferred(self, box: Box) -> None:
        box.holds("0::/app\n", V2, v2("/app", GIB) | v2_root())
        box.shows(V2.replace(" / ", " /app "), v2("/", 5, point="sys/fs/cgroup"))
        assert box.limit() == of_cgroup(GIB)

    def test_a_target_without_mounts_of_its_own(self, box: Box) -> None:
        assert box.holds("0::/../app\n", self.OURS, v2("/", GIB)).reason() is Reason.NOT_FOUND

    @pytest.mark.parametrize("refused", ["root", "mountinfo"])
    def test_refused(self, box: Box, monkeypatch: pytest.MonkeyPatch, refused: str) -> None:
        box.holds("0::/../app\n", self.OURS, v2("/", 5 * GIB)).shows(self.ITS, v2("/", GIB, point="sys/fs/cgroup"))
        refuse(monkeypatch, f"{PID}/{refused}")
        look = box.fresh()
        assert isinstance(look.limit, Unavailable)
        assert look.limit.reason is Reason.PERMISSION
        assert "/../app" in look.limit.detail

    def test_a_fifo_in_the_place_of_a_file_stalls_nothing(self, box: Box) -> None:
        box.holds("0::/../app\n", self.OURS, v2("/", 5 * GIB)).shows(self.ITS, v2("/", GIB, point="sys/fs/cgroup"))
        point = box.proc / str(PID) / "root/sys/fs/cgroup"
        for name in ("memory.max", "memory.stat"):
            (point / name).unlink()
            os.mkfifo(point / name)
        assert box.reason() is Reason.UNREADABLE


class TestMounts:
    def test_elsewhere_and_with_blanks(self, box: Box) -> None:
        point = box.cgroups.parent / "my cgroups"
        tree(point, v1("/pod", GIB, point="."))
        mount = f"35 31 0:32 / {str(point).replace(' ', chr(92) + '040')} rw master:1 x - cgroup none rw,memory\n"
        assert box.holds("4:memory:/pod\n", mount, {}).limit() == of_cgroup(GIB)

    def test_the_one_that_shows_most(self, box: Box) -> None:
        inner = V2.replace(" / /sys/fs/cgroup ", " /a/b /sys/fs/cgroup/inner ")
        files = v2("/a/b") | v2("/a", GIB) | v2_root() | v2("/inner")
        assert box.holds("0::/a/b\n", inner + V2, files).limit() == of_cgroup(GIB)

    def test_one_that_shows_it_no_more(self, box: Box) -> None:
        first = V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/empty ")
        files = v2("/second/a", GIB) | v2_root("second") | {"empty/x": ""}
        second = V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/second ")
        assert box.holds("0::/a\n", first + second, files).limit() == of_cgroup(GIB)

    @pytest.mark.parametrize(
        "mountinfo",
        ["", "35 31 0:32 /", "x - cgroup cgroup rw,memory\n", "- - -\n", "\udcff", V1.replace("/sys", "sys"),
         V1.replace("/sys", "/s\\000")],
    )  # fmt: skip
    def test_none(self, box: Box, mountinfo: str) -> None:
        box.holds("4:memory:/pod\n", "", v1("/pod", GIB))
        tree(box.proc, {"self/mountinfo": mountinfo.encode(errors="surrogateescape")})
        assert box.reason() is Reason.NOT_FOUND

    def test_no_mountinfo(self, box: Box) -> None:
        process(box.proc, PID, 1, cgroup="0::/\n")
        assert box.reason() is Reason.NOT_FOUND
