"""A port or socket that is listened on by somebody whom our PID namespace does not show.

Leaves to others: owners that are seen or refuse to be (`test_discovery`).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_watchdog.observation import ProcessIdentity, Reason, Unavailable
from memory_watchdog.sources import discovery
from memory_watchdog.sources.discovery import ByPort, BySocket, ByUrl, Finder, find
from memory_watchdog.sources.procfs import Table

from tests.support.trees import machine, process, tcp_table, tree, unix_table

OWN = 900
LISTENS = {"net/tcp": tcp_table(("0100007F", 8081, "0A", 5)), "net/unix": unix_table(("00010000", 6, "/run/a.sock"))}
FINDERS = [ByPort(8081), BySocket("/run/a.sock"), ByUrl(ByPort(8081)), ByUrl(BySocket("/run/a.sock"))]


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """Our own container, with a shell in it that somebody else has started."""
    root = machine(tmp_path / "proc")
    process(root, OWN, 0, comm=b"memory-watchdog")
    process(root, 950, 0, comm=b"sh", argv=("sh",))
    return root


def reason(finder: Finder, proc: Path) -> Reason:
    found = find(finder, proc, OWN)
    assert isinstance(found, Unavailable), found
    return found.reason


@pytest.mark.parametrize("finder", FINDERS)
def test_is_not_visible_from_here(proc: Path, finder: Finder) -> None:
    """And the only other tree here is not taken for it: nobody hides, so it cannot be the owner."""
    assert reason(finder, tree(proc, LISTENS)) is Reason.PERMISSION


@pytest.mark.parametrize("finder", FINDERS)
def test_nothing_listens(proc: Path, finder: Finder) -> None:
    tree(proc, {"net/tcp": tcp_table(), "net/unix": unix_table()})
    assert reason(finder, proc) is Reason.NOT_FOUND


@pytest.mark.parametrize("finder", FINDERS)
def test_a_server_that_starts_while_we_look(proc: Path, finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is among the sockets and not yet in the table that was read before them."""
    tree(proc, LISTENS)
    tables: list[Table] = []

    def table(root: Path) -> Table:
        tables.append(Table(root))
        if len(tables) == 1:
            process(proc, 50, 0, inodes=[5, 6])
        return tables[-1]

    monkeypatch.setattr(discovery, "Table", table)
    found = find(finder, proc, OWN)
    assert isinstance(found, ProcessIdentity)
    assert found.pid == 50


@pytest.mark.parametrize("finder", FINDERS)
def test_a_server_that_ends_while_we_look(proc: Path, finder: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(proc, LISTENS)
    tables: list[Table] = []

    def table(root: Path) -> Table:
        tables.append(Table(root))
        if len(tables) == 2:
            tree(proc, {"net/tcp": tcp_table(), "net/unix": unix_table()})
        return tables[-1]

    monkeypatch.setattr(discovery, "Table", table)
    assert reason(finder, proc) is Reason.NOT_FOUND
