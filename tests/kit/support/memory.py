"""Run a piece of Python in a fresh process and see what it prints: memory is measured where nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

_PRELUDE = """
import gc, json, random, sys
sys.modules.update(dict.fromkeys({blocked!r}))
from memory_watchdog_kit import *

def anonymous():
    # Resident − shared: what `statm` tells of memory that only this process can give back.
    with open("/proc/self/statm") as file:
        fields = file.read().split()
    return (int(fields[1]) - int(fields[2])) * 4096

def tell(**numbers):
    print(json.dumps(numbers))
"""


def in_fresh_process(code: str, blocked: Sequence[str] = ()) -> dict[str, Any]:
    """What `code` gives to `tell(name=number, …)`; it has the kit's names and `anonymous()`, in bytes.

    Modules that are `blocked` are as if they were not installed.
    """
    command = [sys.executable, "-c", _PRELUDE.format(blocked=list(blocked)) + textwrap.dedent(code)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    told: dict[str, Any] = json.loads(ran.stdout)
    return told
