"""A real server that a watchdog in another PID namespace, but in the same network namespace, cannot see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.targets import PREFORK, running

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a PID namespace"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare of util-linux"),
]

FINDS = """
import sys
from memory_watchdog.sources.discovery import ByPort, ByUrl, find

for finder in (ByPort(int(sys.argv[1])), ByUrl(ByPort(int(sys.argv[1])))):
    print(find(finder).reason)
"""


def reasons(port: int) -> list[str]:
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", FINDS, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_is_not_visible_while_it_listens_and_not_found_afterwards() -> None:
    with running(PREFORK) as target:
        port = int(target.heard[0])
        assert reasons(port) == ["permission", "permission"]
    assert reasons(port) == ["not_found", "not_found"]
