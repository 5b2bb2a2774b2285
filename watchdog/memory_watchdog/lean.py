"""What the long-running watchdog leaves out of its memory.

Covers: `import_without_terminals`: structlog and httpx without rich and pygments, which both import where these are
installed, to draw tracebacks and answers on a terminal: 4 MiB of a process that runs for months and draws nothing.
Leaves to others: which commands draw (`probe`, `replay`, the demo); they import rich themselves, before or after.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

_FOR_TERMINALS = ("rich", "pygments")


def import_without_terminals() -> None:
    """Import both libraries as if nothing for terminals were installed; both say that they can do without."""
    hidden = [name for name in _FOR_TERMINALS if name not in sys.modules]
    modules: dict[str, Any] = sys.modules  # None is how the import system hides one
    modules.update(dict.fromkeys(hidden))
    try:
        for name in ("structlog", "httpx"):
            import_module(name)
    finally:
        for name in hidden:
            del sys.modules[name]
