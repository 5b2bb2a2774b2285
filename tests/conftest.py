"""What holds for every test: a process state that the test before did not leave behind.

Covers: the root logger as pytest set it up, structlog's defaults, and SIGINT as a terminal would deliver it; no
deadline for an example of hypothesis, since two files of tests run at a time.
"""

import logging
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("beside others", deadline=None)
settings.load_profile("beside others")


def pytest_configure() -> None:
    """Take SIGINT, which a shell ignores in what it starts in the background: children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that ran in this process has set the root logger: no other test would see a line."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
