"""The Prometheus collector: reads the ledgers at scrape time and fills the families.

A series ends when its subject ends, since nothing is kept between scrapes. Leaves to others: names and help texts
(`web.families`), HTTP (`web.app`).
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from memory_watchdog import __version__
from memory_watchdog.ledger import Snapshot
from memory_watchdog.observation import CgroupMemory, Limit, Observation, ProcessMemory, Reading, ServerReport
from memory_watchdog.policy.settings import NONE
from memory_watchdog.web.families import FAMILIES, Filling


class _Exposition:
    """The families of one scrape, by name."""

    def __init__(self) -> None:
        self._fillings: dict[str, Filling] = {family.name: family.start() for family in FAMILIES}

    def __getitem__(self, name: str) -> Filling:
        return self._fillings[name]

    def metrics(self) -> Iterator[Metric]:
        return (filling.metric for filling in self._fillings.values() if filling.metric.samples)


@dataclass(frozen=True, slots=True)
class ReloadState:
    """How the last reading of the config went, and when one last went well, since the epoch."""

    successful: bool
    success_wall: float


class WatchdogCollector(Collector):
    """`snapshots` gives the targets of the moment, `save_failures` how often the state could not be saved."""

    def __init__(
        self,
        snapshots: Callable[[], Iterable[Snapshot]],
        save_failures: Callable[[], int],
        reload_state: Callable[[], ReloadState],
    ) -> None:
        self._snapshots = snapshots
        self._save_failures = save_failures
        self._reload_state = reload_state

    def describe(self) -> Iterable[Metric]:
        """Every family there can be, so that a registry knows the names without a scrape."""
        return [family.start().metric for family in FAMILIES]

    def collect(self) -> Iterator[Metric]:
        """All families that have a sample now."""
        out = _Exposition()
        out["build_info"].add_info({"version": __version__, "python": platform.python_version()})
        out["state_save_failures_total"].add((), self._save_failures())
        reload_state = self._reload_state()
        out["config_last_reload_successful"].add((), int(reload_state.successful))
        out["config_last_reload_success_timestamp_seconds"].add((), reload_state.success_wall)
        for snapshot in self._snapshots():
            _counters(out, snapshot)
            if snapshot.seen is not None:
                _target(out, snapshot, snapshot.seen)
            _statistics(out, snapshot)
        return out.metrics()


def registry_of(collector: Collector, *others: Callable[[CollectorRegistry], object]) -> CollectorRegistry:
    """A registry of our own: the library's global one would gather what other code registers."""
    registry = CollectorRegistry(auto_describe=True)  # or `name[]` finds nothing of the library's own collectors
    registry.register(collector)
    for register in others:
        register(registry)
    return registry


def _target(out: _Exposition, snapshot: Snapshot, seen: Observation) -> None:
    name, standing = snapshot.name, snapshot.standing
    limit = seen.limit if isinstance(seen.limit, Limit) else None
    out["target_info"].add_info(
        {
            "target": name,
            "measure": seen.measure,
            "limit_source": "unknown" if limit is None else limit.source,
            "process_view": snapshot.process_view,
            "preset": snapshot.preset or "none",
        }
    )
    used = seen.used if isinstance(seen.used, int) else None
    gauges: dict[str, float | None] = {
        "target_up": int(snapshot.up),
        "target_used_bytes": used,
        "target_used_peak_bytes": snapshot.peak_bytes,
        "target_trough_bytes": snapshot.trough_bytes,
        "target_limit_bytes": None if limit is None else limit.bytes,
        "target_growth_bytes_per_second": standing.growth_bytes_per_second,
        "target_time_to_limit_seconds": standing.time_to_limit_seconds,
        "target_unaccounted_growth_bytes_per_second": None
        if standing.picture is None
        else standing.picture.unaccounted_growth_bytes_per_second,
        "target_start_time_seconds": snapshot.start_time_seconds,
        "target_last_observation_timestamp_seconds": snapshot.seen_wall,
        "target_paused": int(standing.paused),
        "target_dry_run": int(standing.dry_run),
        "budget_remaining": standing.budget_remaining,
        "tick_duration_seconds": snapshot.tick_duration_seconds,
    }
    for family, value in gauges.items():
        out[family].add((name,), value)
    for level, edge in zip(standing.levels, standing.edges, strict=True):
        if edge is not None:
            out["target_threshold_bytes"].add((name, level, "enter"), edge.enter)
            out["target_threshold_bytes"].add((name, level, "exit"), edge.exit)
    for level in (NONE, *standing.levels):
        out["target_level"].add((name, level), int(level == standing.level))
    for level, seconds in standing.cooldown_seconds.items():
        out["cooldown_seconds"].add((name, level), seconds)
    for source, armed in snapshot.kernel_events.items():
        out["kernel_events_armed"].add((name, source), int(armed))
    if isinstance(seen.memory, ProcessMemory):
        _memory(out, name, seen.memory)
    _cgroup(out, name, seen.cgroup)


def _memory(out: _Exposition, name: str, memory: ProcessMemory) -> None:
    readings = {
        "target_resident_bytes": memory.resident_bytes,
        "target_anonymous_bytes": memory.anonymous_bytes,
        "target_file_bytes": memory.file_bytes,
        "target_shared_bytes": memory.shared_bytes,
        "target_swap_bytes": memory.swap_bytes,
        "target_proportional_bytes": memory.proportional_bytes,
        "target_processes": memory.processes,
    }
    for family, reading in readings.items():
        out[family].add((name,), reading if isinstance(reading, int) else None)


def _cgroup(out: _Exposition, name: str, cgroup: CgroupMemory) -> None:
    readings: dict[str, tuple[Reading, int]] = {
        "target_cgroup_usage_bytes": (cgroup.usage_bytes, 1),
        "target_cgroup_unreclaimable_bytes": (cgroup.unreclaimable_bytes, 1),
        "target_oom_kills_total": (cgroup.oom_kills, 1),
        "target_pressure_waiting_seconds_total": (cgroup.waiting_microseconds, 1_000_000),
        "target_pressure_stalled_seconds_total": (cgroup.stalled_microseconds, 1_000_000),
    }
    for family, (reading, divisor) in readings.items():
        out[family].add((name,), reading / divisor if isinstance(reading, int) else None)


def _statistics(out: _Exposition, snapshot: Snapshot) -> None:
    name, statistics = snapshot.name, snapshot.statistics
    if statistics is None:
        return
    out["stats_up"].add((name,), int(statistics.up))
    out["stats_duration_seconds"].add((name,), statistics.duration_seconds)
    out["stats_last_success_timestamp_seconds"].add((name,), statistics.last_success_wall)
    if statistics.up and statistics.report is not None:
        _components(out, snapshot, statistics.report)


def _components(out: _Exposition, snapshot: Snapshot, report: ServerReport) -> None:
    name = snapshot.name
    for component in report.components:
        values = {
            "component_up": int(component.error is None),
            "component_bytes": component.bytes,
            "component_items": component.items,
            "component_limit_bytes": component.max_bytes,
            "component_limit_items": component.max_items,
            "component_hits_total": component.hits,
            "component_misses_total": component.misses,
            "component_evictions_total": component.evictions,
            "component_expirations_total": component.expirations,
        }
        for family, value in values.items():
            out[family].add((name, component.name), value)
    sizes = [component.bytes for component in report.components if component.bytes is not None]
    if sizes and snapshot.seen is not None and isinstance(snapshot.seen.used, int):
        out["target_unaccounted_bytes"].add((name,), snapshot.seen.used - sum(sizes))


def _counters(out: _Exposition, snapshot: Snapshot) -> None:
    name, counters = snapshot.name, snapshot.counters
    out["target_restarts_total"].add((name,), counters.restarts)
    out["ticks_late_total"].add((name,), counters.ticks_late)
    by_one: dict[str, Mapping[str, float]] = {
        "cleanups_ineffective_total": counters.ineffective,
        "cleanup_reclaimed_bytes_total": counters.reclaimed_bytes,
        "cleanup_claimed_bytes_total": counters.claimed_bytes,
        "actions_suppressed_total": counters.suppressed,
        "stats_failures_total": counters.stats_failures,
        "kernel_events_total": counters.kernel_events,
        "restart_actions_total": counters.restart_actions,
        "cleanup_last_timestamp_seconds": counters.last_cleanup_wall,
    }
    for family, values in by_one.items():
        for label, value in values.items():
            out[family].add((name, label), value)
    by_two = {
        "cleanups_total": counters.cleanups,
        "cleanup_failures_total": counters.cleanup_failures,
        "source_failures_total": counters.source_failures,
    }
    for family, pairs in by_two.items():
        for labels, count in pairs.items():
            out[family].add((name, *labels), count)
    for level, histogram in counters.durations.items():
        out["cleanup_duration_seconds"].add_histogram((name, level), histogram)
