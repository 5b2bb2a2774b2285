"""Which process is taken for the server, over /proc trees built in code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memory_watchdog.observation import ProcessIdentity, Reason, Unavailable
from memory_watchdog.sources import discovery, procfs
from memory_watchdog.sources.discovery import (
    ByCgroup,
    ByCommand,
    ByPid,
    ByPidFile,
    ByPort,
    BySocket,
    ByUrl,
    Finder,
    find,
    pinned,
    start_time_seconds,
)

from tests.support.trees import BOOTED_AT, machine, process, tcp_table, tree, unix_table

OWN = 900


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Pid 1 (init), a shell and below it the watchdog, which has a child."""
    root = machine(tmp_path / "proc")
    process(root, 1, 0, comm=b"init", argv=("/sbin/init",))
    process(root, 800, 1, comm=b"sh", argv=("sh", "-c", "memory-watchdog --target.command serve.py"))
    process(root, OWN, 800, comm=b"memory-watchdog", argv=("memory-watchdog", "--target.command", "serve.py"))
    process(root, 901, OWN, comm=b"helper", argv=("helper", "serve.py"))
    return root


def pid_of(finder: Finder, proc: Path) -> int:
    found = find(finder, proc, OWN)
    assert isinstance(found, ProcessIdentity), found
    return found.pid


def failure_of(finder: Finder, proc: Path) -> Unavailable:
    found = find(finder, proc, OWN)
    assert isinstance(found, Unavailable), found
    return found


def listening(proc: Path, *inodes: int, port: int = 8081, name: str = "tcp") -> None:
    tree(proc, {f"net/{name}": tcp_table(*[("0100007F", port, "0A", inode) for inode in inodes])})


def refuse(monkeypatch: pytest.MonkeyPatch, *pids: int) -> None:
    """/proc/PID/fd of these is refused. Root, as whom these tests may run, is refused nothing by modes."""
    real = os.listdir

    def listdir(path: str | Path) -> list[str]:
        if any(str(path).endswith(f"/{pid}/fd") for pid in pids):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)


def test_no_proc(tmp_path: Path) -> None:
    assert failure_of(ByPort(1), tmp_path / "nothing").reason is Reason.UNSUPPORTED


class TestStat:
    @pytest.mark.parametrize("comm", [b"a b", b") S 1 2", b"x) (y", b"new\nline", b"\xff\xfe", b"", b"((("])
    def test_hostile_names(self, proc: Path, comm: bytes) -> None:
        process(proc, 50, 1, comm=comm, start_ticks=4711)
        assert find(ByPid(50), proc) == ProcessIdentity(50, 4711)

    @pytest.mark.parametrize("content", [b"", b"50", b"50 (server) S 1 50", b"\x00" * 40, b"50 (server) S 1 x y z" * 9])
    def test_torn(self, proc: Path, content: bytes) -> None:
        process(proc, 50, 1)
        tree(proc, {"50/stat": content})
        assert failure_of(ByPid(50), proc).reason is Reason.UNREADABLE
        assert failure_of(ByCommand("server"), proc).reason is Reason.NOT_FOUND

    def test_a_torn_start_time_is_no_start_time(self, proc: Path) -> None:
        folder = process(proc, 50, 1, start_ticks=123456)
        line = (folder / "stat").read_bytes()
        (folder / "stat").write_bytes(line[: line.index(b"123456") + 3])
        assert failure_of(ByPid(50), proc).reason is Reason.UNREADABLE


class TestPid:
    def test_absent(self, proc: Path) -> None:
        assert failure_of(ByPid(50), proc).reason is Reason.NOT_FOUND

    def test_zombie_and_kernel_thread(self, proc: Path) -> None:
        process(proc, 50, 1, state="Z")
        process(proc, 51, 2, flags=0x208040)
        assert failure_of(ByPid(50), proc).reason is Reason.GONE
        assert failure_of(ByPid(51), proc).reason is Reason.INVALID

    def test_a_pid_that_is_used_again_is_never_taken(self, proc: Path) -> None:
        process(proc, 50, 1, start_ticks=100)
        first = find(ByPid(50), proc)
        assert isinstance(first, ProcessIdentity)
        finder = pinned(ByPid(50), first)
        assert find(finder, proc) == first
        process(proc, 50, 1, start_ticks=101, comm=b"other")
        gone = failure_of(finder, proc)
        assert gone.reason is Reason.GONE
        assert "other" in gone.detail

    def test_pinning_leaves_other_finders_alone(self) -> None:
        finder = ByCommand("serve")
        assert pinned(finder, ProcessIdentity(1, 2)) is finder


class TestPidFile:
    def written(self, folder: Path, content: bytes, at: float = BOOTED_AT + 20) -> ByPidFile:
        path = folder / "server.pid"
        path.write_bytes(content)
        os.utime(path, (at, at))
        return ByPidFile(path)

    @pytest.mark.parametrize("content", [b"50", b"50\n", b"  50 \r\n", b"0050\n"])
    def test_found(self, proc: Path, tmp_path: Path, content: bytes) -> None:
        process(proc, 50, 1, start_ticks=1000)  # 10 s after boot, 10 s before the file
        assert pid_of(self.written(tmp_path, content), proc) == 50

    @pytest.mark.parametrize(
        "content",
        [
            *[b"", b"\n", b"-50", b"0", b"5 0", b"50\n51\n", b"0x32", b"50.0", b"pid", b"\xff", "５０".encode()],
            *[b"4194305", b"9" * 30, b"5" * 5000, b"50" + b" " * 5000],
        ],
    )
    def test_invalid(self, proc: Path, tmp_path: Path, content: bytes) -> None:
        process(proc, 50, 1)
        assert failure_of(self.written(tmp_path, content), proc).reason is Reason.INVALID

    def test_absent_file(self, proc: Path, tmp_path: Path) -> None:
        assert failure_of(ByPidFile(tmp_path / "none"), proc).reason is Reason.NOT_FOUND

    def test_neither_a_folder_nor_a_fifo_hangs_or_raises(self, proc: Path, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        assert failure_of(ByPidFile(tmp_path / "fifo"), proc).reason is Reason.INVALID
        assert failure_of(ByPidFile(tmp_path), proc).reason is Reason.INVALID

    def test_read_each_time(self, proc: Path, tmp_path: Path) -> None:
        process(proc, 50, 1)
        process(proc, 51, 1)
        assert pid_of(self.written(tmp_path, b"50"), proc) == 50
        assert pid_of(self.written(tmp_path, b"51"), proc) == 51

    @pytest.mark.parametrize(("late_seconds", "found"), [(1.9, True), (2.1, False)])
    def test_stale_if_the_process_is_younger_than_the_file(
        self, proc: Path, tmp_path: Path, late_seconds: float, found: bool
    ) -> None:
        process(proc, 50, 1, start_ticks=3000)
        finder = self.written(tmp_path, b"50", at=BOOTED_AT + 30 - late_seconds)
        if found:
            assert pid_of(finder, proc) == 50
        else:
            assert failure_of(finder, proc).reason is Reason.GONE
            assert "stale pid file" in failure_of(finder, proc).detail

    def test_stale_if_there_is_no_such_process(self, proc: Path, tmp_path: Path) -> None:
        gone = failure_of(self.written(tmp_path, b"50"), proc)
        assert gone.reason is Reason.GONE
        assert "stale pid file" in gone.detail

    def test_without_btime_nothing_is_known(self, proc: Path, tmp_path: Path) -> None:
        process(proc, 50, 1)
        tree(proc, {"stat": "cpu 1\nbtim"})
        assert failure_of(self.written(tmp_path, b"50"), proc).reason is Reason.UNREADABLE


def test_start_time(proc: Path) -> None:
    assert start_time_seconds(ProcessIdentity(1, 1050), proc) == BOOTED_AT + 10.5
    assert start_time_seconds(ProcessIdentity(1, 1050), proc / "none") == Unavailable(
        Reason.NOT_FOUND, f"[Errno 2] No such file or directory: '{proc}/none/stat'"
    )


class TestCommand:
    def test_neither_ourselves_nor_our_ancestors_nor_our_descendants(self, proc: Path) -> None:
        assert failure_of(ByCommand(r"serve\.py"), proc).reason is Reason.NOT_FOUND
        process(proc, 50, 1, argv=("python", "serve.py", "--port", "8081"))
        assert pid_of(ByCommand(r"serve\.py"), proc) == 50
        assert pid_of(ByCommand(r"^python serve\.py --port \d+$"), proc) == 50

    def test_zombies_and_kernel_threads_never_match(self, proc: Path) -> None:
        process(proc, 50, 1, argv=("serve.py",), state="Z")
        process(proc, 51, 2, argv=("serve.py",), flags=0x208040)
        assert failure_of(ByCommand("serve"), proc).reason is Reason.NOT_FOUND

    def test_topmost_of_a_tree(self, proc: Path) -> None:
        process(proc, 70, 1, argv=("python", "serve.py"))
        process(proc, 71, 70, argv=("sh", "-c", "x"))
        process(proc, 50, 71, argv=("python", "serve.py", "worker"))  # a lower pid, two levels down
        assert pid_of(ByCommand("serve"), proc) == 70

    def test_unrelated_are_ambiguous_whatever_their_parent_runs(self, proc: Path) -> None:
        process(proc, 60, 1, argv=("python", "manager.py"))
        for pid in (61, 62):
            process(proc, pid, 60, argv=("python", "serve.py"))
        both = failure_of(ByCommand("serve"), proc)
        assert both.reason is Reason.AMBIGUOUS
        assert "61 (server), 62 (server)" in both.detail

    def test_a_pid_that_is_used_again_during_the_search(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        process(proc, 50, 1, argv=("serve",), start_ticks=1)

        def late(root: Path, pid: int) -> list[str] | Unavailable:
            process(proc, 50, 1, argv=("serve",), start_ticks=2)
            return procfs.read_arguments(root, pid)

        monkeypatch.setattr(discovery, "read_arguments", late)
        assert failure_of(ByCommand("serve"), proc).reason is Reason.GONE
        assert find(ByCommand("serve"), proc, OWN) == ProcessIdentity(50, 2)

    def test_no_regular_expression(self, proc: Path) -> None:
        assert failure_of(ByCommand("("), proc).reason is Reason.INVALID

    def test_arguments_that_are_no_text(self, proc: Path) -> None:
        process(proc, 50, 1)
        tree(proc, {"50/cmdline": b"\xff\xfe\0serve\0\n\0"})
        assert pid_of(ByCommand("serve"), proc) == 50

    def test_many_matches_are_not_all_named(self, proc: Path) -> None:
        for pid in range(100, 160):
            process(proc, pid, 1, argv=("serve",))
        assert failure_of(ByCommand("serve"), proc).detail.endswith("109 (server) and 50 more")

    def test_a_ring_of_parents_ends(self, proc: Path) -> None:
        process(proc, 50, 51, argv=("serve",))
        process(proc, 51, 50, argv=("other",))
        assert pid_of(ByCommand("serve"), proc) == 50


class TestPort:
    def test_nothing_listens(self, proc: Path) -> None:
        tree(proc, {"net/tcp": tcp_table(("0100007F", 8081, "01", 5), ("0100007F", 8082, "0A", 6))})
        process(proc, 50, 1, inodes=[5, 6])
        assert failure_of(ByPort(8081), proc).reason is Reason.NOT_FOUND

    def test_tables_absent(self, proc: Path) -> None:
        assert failure_of(ByPort(8081), proc).reason is Reason.NOT_FOUND

    @pytest.mark.parametrize("name", ["tcp", "tcp6"])
    def test_owner(self, proc: Path, name: str) -> None:
        listening(proc, 5, name=name)
        process(proc, 50, 1, inodes=[4, 5])
        process(proc, 51, 1, inodes=[55, 50])
        assert pid_of(ByPort(8081), proc) == 50

    def test_half_a_table(self, proc: Path) -> None:
        whole = tcp_table(("0100007F", 8081, "0A", 5), ("00000000", 8081, "0A", 6))
        tree(proc, {"net/tcp": whole[: whole.rindex(" 6 ")], "net/tcp6": b"\xff\n\n  0: zz:zz x 0A"})
        process(proc, 50, 1, inodes=[5])
        assert pid_of(ByPort(8081), proc) == 50

    def test_prefork_the_master_not_the_lowest_pid(self, proc: Path) -> None:
        listening(proc, 5)
        process(proc, 70, 1, inodes=[5])
        process(proc, 50, 70, inodes=[5])
        process(proc, 51, 70, inodes=[5])
        assert pid_of(ByPort(8081), proc) == 70

    def reuseport(self, proc: Path, master: str, worker: str) -> None:
        listening(proc, 5, 6)
        process(proc, 70, 1, argv=(master, "serve.py"))
        process(proc, 71, 70, inodes=[5], argv=(worker, "w"))
        process(proc, 72, 70, inodes=[6], argv=(worker, "w"))

    def test_reuseport_workers_stand_for_their_parent(self, proc: Path) -> None:
        self.reuseport(proc, "python", "python")
        assert pid_of(ByPort(8081), proc) == 70

    def test_reuseport_workers_by_executable(self, proc: Path) -> None:
        self.reuseport(proc, "master: app", "worker: app")
        assert failure_of(ByPort(8081), proc).reason is Reason.AMBIGUOUS
        for pid in (70, 71, 72):
            (proc / str(pid) / "exe").symlink_to("/usr/bin/app" + (" (deleted)" if pid == 70 else ""))
        assert pid_of(ByPort(8081), proc) == 70

    def test_reuseport_of_two_services_of_one_init(self, proc: Path) -> None:
        self.reuseport(proc, "supervisor", "python")
        assert failure_of(ByPort(8081), proc).reason is Reason.AMBIGUOUS

    def test_reuseport_below_what_started_the_watchdog_too(self, proc: Path) -> None:
        listening(proc, 5, 6)
        process(proc, 71, 800, inodes=[5], argv=("sh",))
        process(proc, 72, 800, inodes=[6], argv=("sh",))
        assert failure_of(ByPort(8081), proc).reason is Reason.AMBIGUOUS

    def test_systemd_keeps_the_socket_of_an_activated_service(self, proc: Path) -> None:
        listening(proc, 5)
        process(proc, 1, 0, comm=b"systemd", inodes=[5])
        process(proc, 50, 1, inodes=[5])
        assert pid_of(ByPort(8081), proc) == 50

    def test_owner_elsewhere_or_hidden(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        listening(proc, 5)
        process(proc, 50, 1)
        elsewhere = failure_of(ByPort(8081), proc)
        assert (elsewhere.reason, "another PID namespace" in elsewhere.detail) == (Reason.PERMISSION, True)
        refuse(monkeypatch, 50)
        assert failure_of(ByPort(8081), proc).reason is Reason.PERMISSION


class TestSocket:
    def test_owner_of_the_listening_socket(self, proc: Path) -> None:
        rows = [("00000000", 5, "/run/app.sock"), ("00010000", 6, "/run/app.sock"), ("00010000", 7, "/run/app.sock2")]
        tree(proc, {"net/unix": unix_table(*rows)})
        for pid, inode in ((50, 5), (51, 6), (52, 7)):
            process(proc, pid, 1, inodes=[inode])
        assert pid_of(BySocket("/run/app.sock"), proc) == 51
        assert failure_of(BySocket("/run/other.sock"), proc).reason is Reason.NOT_FOUND

    @pytest.mark.parametrize("path", ["/run/with blank  two.sock", "@abstract", "/run/\udcff.sock"])
    def test_hostile_paths(self, proc: Path, path: str) -> None:
        table = unix_table(("zz", 1, path), ("00010000", 6, path)) + "torn: 1 2 3\n"
        tree(proc, {"net/unix": table.encode(errors="surrogateescape")})
        process(proc, 50, 1, inodes=[6])
        process(proc, 51, 1, inodes=[1])
        assert pid_of(BySocket(path), proc) == 50

    def test_by_another_name_of_the_folder(self, proc: Path, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        (tmp_path / "var").symlink_to(tmp_path / "run")
        tree(proc, {"net/unix": unix_table(("00010000", 6, f"{tmp_path}/var/x.sock"))})
        process(proc, 50, 1, inodes=[6])
        assert pid_of(BySocket(f"{tmp_path}/run/x.sock"), proc) == 50


class TestUrl:
    finder = ByUrl(ByPort(8081))

    @pytest.fixture
    def pod(self, tmp_path: Path) -> Path:
        """A shared PID namespace: pause is pid 1, each container's main process has parent 0."""
        root = machine(tmp_path / "pod")
        process(root, 1, 0, comm=b"pause", argv=("/pause",))
        process(root, 800, 0, comm=b"tini", argv=("tini", "memory-watchdog"))
        process(root, OWN, 800)
        process(root, 50, 0, comm=b"tini", argv=("tini", "serve"))
        process(root, 51, 50, argv=("serve",))
        listening(root, 5)
        return root

    def test_owner_seen(self, pod: Path) -> None:
        (pod / "51" / "fd" / "9").symlink_to("socket:[5]")
        assert pid_of(self.finder, pod) == 51

    def test_only_tree(self, pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert failure_of(self.finder, pod).reason is Reason.PERMISSION  # nobody hides: it is another namespace's
        refuse(monkeypatch, 50, 51)
        assert pid_of(self.finder, pod) == 50
        assert failure_of(ByPort(8081), pod).reason is Reason.PERMISSION  # asked for a port: no guessing

    def test_only_tree_for_a_socket(self, pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        refuse(monkeypatch, 50, 51)
        tree(pod, {"net/unix": unix_table(("00010000", 6, "/run/app.sock"))})
        assert pid_of(ByUrl(BySocket("/run/app.sock")), pod) == 50

    def test_nothing_listens_yet(self, pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        refuse(monkeypatch, 50, 51)
        assert failure_of(ByUrl(ByPort(1)), pod).reason is Reason.NOT_FOUND

    @pytest.mark.parametrize("parent", [0, 1, 800])
    def test_two_trees_are_no_view(self, pod: Path, monkeypatch: pytest.MonkeyPatch, parent: int) -> None:
        refuse(monkeypatch, 50, 51)
        process(pod, 60, parent)
        none = failure_of(self.finder, pod)
        assert none.reason is Reason.PERMISSION
        assert "50 (tini), 60 (server)" in none.detail

    @pytest.mark.parametrize(
        ("comm", "argv"),
        [
            (b"pause", ()),
            (b"x", ("/bin/pause",)),
            (b"catatonit", ("/c/catatonit", "-P")),
            (b"s", ("sleep", "infinity")),
        ],
    )
    def test_pause_processes(
        self, pod: Path, monkeypatch: pytest.MonkeyPatch, comm: bytes, argv: tuple[str, ...]
    ) -> None:
        refuse(monkeypatch, 50, 51)
        process(pod, 60, 0, comm=comm, argv=argv)
        assert pid_of(self.finder, pod) == 50

    def test_sleeping_for_a_while_is_no_pause(self, pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        refuse(monkeypatch, 50, 51)
        process(pod, 60, 0, comm=b"sleep", argv=("sleep", "60"))
        assert failure_of(self.finder, pod).reason is Reason.PERMISSION

    def test_server_below_our_own_init(self, proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        listening(proc, 5)
        process(proc, 50, 1)
        process(proc, 51, 50)
        refuse(monkeypatch, 50, 51)
        assert pid_of(self.finder, proc) == 50


class TestCgroup:
    @pytest.mark.parametrize(
        "path",
        [
            "/pod/app",
            "pod/app/",
            "/sys/fs/cgroup/pod/app",
            "/sys/fs/cgroup/memory/pod/app",
            "/sys/fs/cgroup/unified/pod",
        ],
    )
    @pytest.mark.parametrize("line", ["0::{}\n", "9:name=systemd:/x\n4:cpu,memory:{}\n0::/\n"])
    def test_with_and_without_the_mount(self, proc: Path, path: str, line: str) -> None:
        process(proc, 50, 1, cgroup=line.format("/pod/app/inner"))
        process(proc, 51, 1, cgroup=line.format("/pod/application").replace("/pod", "/dop"))
        assert pid_of(ByCgroup(path), proc) == 50

    def test_equal_or_below_but_not_beside(self, proc: Path) -> None:
        process(proc, 50, 1, cgroup="0::/pod/app\n")
        process(proc, 51, 1, cgroup="0::/pod/apple\n")
        process(proc, 52, 50, cgroup="0::/pod/app/worker\n")
        assert pid_of(ByCgroup("/pod/app"), proc) == 50
        assert failure_of(ByCgroup("/pod"), proc).reason is Reason.AMBIGUOUS
        assert failure_of(ByCgroup("/pod/ap"), proc).reason is Reason.NOT_FOUND

    def test_whole_pod_without_us_and_pause(self, proc: Path) -> None:
        for pid, parent, comm in ((40, 0, b"pause"), (50, 0, b"server"), (OWN, 800, b"memory-watchdog")):
            process(proc, pid, parent, comm=comm, cgroup=f"0::/pod/{pid}\n")
        assert pid_of(ByCgroup("/pod"), proc) == 50

    @pytest.mark.parametrize("content", [b"", b"0:", b"0::", b"nonsense\n\xff", b"4:memory"])
    def test_torn(self, proc: Path, content: bytes) -> None:
        process(proc, 50, 1)
        tree(proc, {"50/cgroup": content})
        assert failure_of(ByCgroup("/pod"), proc).reason is Reason.NOT_FOUND

    def test_hostile_name(self, proc: Path) -> None:
        process(proc, 50, 1, cgroup="0::/a:b:memory:/c d\n")
        assert pid_of(ByCgroup("/a:b:memory:/c d"), proc) == 50
