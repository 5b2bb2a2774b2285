"""What has to happen before an expression has an answer: each names the scenario that shows it.

`tests/integration/test_dashboards_live.py` plays the scenarios and asks each expression in its own.
"""

from __future__ import annotations

from enum import StrEnum


class Scenario(StrEnum):
    """Something that real servers do."""

    CALM = "calm"
    """Caches that are used and do not grow."""
    LEAK = "leak"
    """Memory grows that no cleanup gives back; the limit comes near."""
    SAWTOOTH = "sawtooth"
    """A cache fills up, is cleaned up, and fills again."""
    FAILING = "failing"
    """Cleanups are answered with an error, or not at all."""
    RESTART = "restart"
    """The process ends and another one takes its place."""


class Needs(StrEnum):
    """What a scenario must have besides."""

    NOTHING = "nothing"
    MINUTES = "minutes"
    """Six minutes: the forecast says nothing of a process that it has watched for less than five."""
    CGROUP_V2 = "cgroup v2"
    """A cgroup of version 2: the kernel counts pressure in no other."""
