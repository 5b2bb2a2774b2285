"""Which number of a target is compared with its thresholds.

Leaves to others: reading it (`observer`, `sources`), how anon and rss are worked out (`sources.process`).
"""

from __future__ import annotations

from memory_watchdog.config import TargetConfig
from memory_watchdog.observation import Measure, ProcessIdentity, Reason, Unavailable
from memory_watchdog.sources.cgroup_view import CgroupLook

_PASSING = (Reason.GONE, Reason.PENDING, Reason.TIMEOUT, Reason.UNREADABLE)


def choose_measure(
    target: TargetConfig,
    identity: ProcessIdentity | Unavailable,
    cgroup: CgroupLook,
    before: Measure = Measure.AUTO,
) -> Measure:
    """The number that is compared: `auto` is that of the cgroup whose limit counts; what the server reports where its
    process can never be seen; else anon. `before` is what was compared last.

    A process that restarts, or a cgroup that cannot be read for a moment, changes nothing: its number is unknown, and
    another one in its place would be compared with thresholds that were not meant for it.
    """
    if target.measure is not Measure.AUTO:
        return target.measure
    if cgroup.of_limit:
        return Measure.UNRECLAIMABLE
    if isinstance(identity, Unavailable):
        if identity.reason in (Reason.NOT_CONFIGURED, Reason.PERMISSION):
            return Measure.ANON if target.stats is None else Measure.REPORTED
        passing = True
    else:
        passing = isinstance(cgroup.limit, Unavailable) and cgroup.limit.reason in _PASSING
    keep = before is Measure.UNRECLAIMABLE and target.limit == "auto" and passing
    return Measure.UNRECLAIMABLE if keep else Measure.ANON
