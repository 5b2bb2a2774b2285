"""What the running watchdog leaves out of its memory is left out, and is there for who wants it afterwards."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from memory_watchdog.lean import import_without_terminals
import_without_terminals()
import memory_watchdog.run, memory_watchdog.supervisor, memory_watchdog.web.app
print(sorted({"rich", "pygments"} & set(sys.modules)))
import rich.console
import_without_terminals()
print(rich.console is sys.modules["rich.console"], "pygments" in sys.modules)
"""


def test_nothing_for_terminals_is_imported_and_can_be_later() -> None:
    program = [sys.executable, "-c", PROGRAM]
    told = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.splitlines() == ["[]", "True False"]
