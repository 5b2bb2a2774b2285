"""Real cgroups that our own mounts do not show: another cgroup namespace, as each container has one, and another user.

The watchdog of these tests is a process of its own in a namespace of its own, and prints what it sees.
Leaves to others: what is read of a cgroup that is found (`test_cgroups`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.cgroups import MIB, VERSION, RealCgroup, filling, real_cgroup, why_none
from tests.support.wait import PATIENCE, eventually

pytestmark = [
    pytest.mark.skipif(bool(why_none()), reason=why_none()),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare of util-linux"),
    pytest.mark.timeout(60 * PATIENCE),
]

WATCHER = """
import asyncio, json, os, sys
from memory_watchdog.observation import Unavailable
from memory_watchdog.sources.cgroup_view import CgroupView
from memory_watchdog.sources.procfs import read_stat

def look_at(pid):
    return asyncio.run(CgroupView().read(read_stat("/proc", pid).identity, 0.0, wants_limit=True))

pid, user = int(sys.argv[1]), int(sys.argv[2])
if user:
    look_at(os.getpid())  # imports what is imported late: the other user may not read our Python
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
look = look_at(pid)

def told(value):
    return {"reason": value.reason, "detail": value.detail} if isinstance(value, Unavailable) else value

limit = told(look.limit) if isinstance(look.limit, Unavailable) else look.limit.bytes
memory = {name: told(getattr(look.memory, name)) for name in look.memory.__slots__}
print(json.dumps({"limit": limit, "of_limit": look.of_limit, "path": look.path, **memory}))
"""

MOUNT = {
    1: "umount -l /sys/fs/cgroup/memory && mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory",
    2: "umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup",
}[VERSION]
CONTAINER = ("unshare", "--cgroup", "--mount", "sh", "-c", MOUNT + ' && exec "$@"', "sh")
"""What a container engine does: the namespace begins at the cgroup that the process is in, and so does the mount."""

ENTER = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"')


def inside(cgroup: RealCgroup, *command: str) -> list[str]:
    """The command in a namespace that begins at this cgroup."""
    return [*ENTER, str(cgroup.folder), *CONTAINER, *command]


@dataclass
class Pod:
    """Two containers below one cgroup: the watchdog's and the server's."""

    parent: RealCgroup
    watchdog: RealCgroup
    server: RealCgroup

    def sees(self, pid: int, user: int = 0) -> dict[str, Any]:
        command = inside(self.watchdog, sys.executable, "-c", WATCHER, str(pid), str(user))
        done = subprocess.run(command, capture_output=True, text=True, timeout=30 * PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        """A server in its own namespace, which sees its own cgroup only."""
        server = subprocess.Popen(inside(self.server, "sleep", "600"))
        try:
            eventually(lambda: Path(f"/proc/{server.pid}/comm").read_text() == "sleep\n", what="the server running")
            yield server.pid
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def pod() -> Iterator[Pod]:
    with real_cgroup() as parent:
        pod = Pod(parent, parent.child("watchdog"), parent.child("server"))
        pod.watchdog.limit(900 * MIB)
        yield pod


class TestNamespace:
    def test_limit_through_the_targets_root(self, pod: Pod) -> None:
        pod.server.limit(256 * MIB)
        with pod.serving() as pid:
            seen = pod.sees(pid)
        assert (seen["limit"], seen["of_limit"]) == (256 * MIB, True)
        assert seen["path"].startswith(f"/proc/{pid}/root/sys/fs/cgroup")
        assert 0 <= seen["unreclaimable_bytes"] < 64 * MIB
        assert seen["oom_kills"] == 0

    def test_the_watchdogs_own_limit_is_never_the_targets(self, pod: Pod) -> None:
        with pod.serving() as pid:
            assert pod.sees(pid)["limit"] != 900 * MIB

    def test_limit_above_what_the_target_shows(self, pod: Pod) -> None:
        """v1 tells it and not what is used there; v2 does not even tell that there is one."""
        pod.parent.limit(512 * MIB)
        with pod.serving() as pid:
            seen = pod.sees(pid)
        if VERSION == 1:
            assert (seen["limit"], seen["of_limit"]) == (512 * MIB, False)
        else:
            assert seen["limit"]["reason"] == "not_found"
            assert "not shown" in seen["limit"]["detail"]

    def test_no_limit_anywhere(self, pod: Pod) -> None:
        with pod.serving() as pid:
            reason = pod.sees(pid)["limit"]["reason"]
        assert reason == ("unlimited" if VERSION == 1 else "not_found")

    def test_a_target_that_shows_nothing_either(self, pod: Pod) -> None:
        """It has the host's mounts: from the watchdog's namespace no path leads to its cgroup."""
        pod.server.limit(256 * MIB)
        with filling(pod.server) as server:
            seen = pod.sees(server.pid)
        assert seen["limit"]["reason"] == "not_found"
        assert "/../server" in seen["limit"]["detail"]
        assert seen["usage_bytes"]["reason"] == "not_found"


class TestAnotherUser:
    def test_refused(self, pod: Pod) -> None:
        pod.server.limit(256 * MIB)
        with pod.serving() as pid:
            seen = pod.sees(pid, user=65534)
        for name in ("limit", "usage_bytes", "unreclaimable_bytes", "oom_kills"):
            assert seen[name]["reason"] == "permission", seen

    def test_not_where_our_own_mount_shows_it(self, pod: Pod) -> None:
        """Limits are there to be read by everybody."""
        pod.server.limit(128 * MIB)
        with filling(pod.server) as server:
            command = [sys.executable, "-c", WATCHER, str(server.pid), "65534"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30 * PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        assert (seen["limit"], seen["of_limit"]) == (128 * MIB, True)
