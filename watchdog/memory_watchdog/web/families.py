"""The catalogue of metrics: name, type, labels, and the help text that goes out with them.

`docs/metrics.md` is generated from it. Leaves to others: where the values come from (`web.metrics`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar

from memory_watchdog.counters import DURATION_BUCKETS, Histogram

PREFIX = "memory_watchdog_"


class Kind(StrEnum):
    """Type of a metric, as it stands behind `# TYPE`."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `name` is without the prefix, and with `_total` or `_info` where the type has it."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str

    @property
    def full_name(self) -> str:
        """The name as it is queried."""
        return PREFIX + self.name

    def start(self) -> Filling:
        """An empty one, to be filled."""
        name = self.full_name.removesuffix("_total").removesuffix("_info")
        metric: Metric
        match self.kind:
            case Kind.GAUGE:
                metric = GaugeMetricFamily(name, self.help, labels=self.labels)
            case Kind.COUNTER:
                metric = CounterMetricFamily(name, self.help, labels=self.labels)
            case Kind.INFO:
                metric = InfoMetricFamily(name, self.help, labels=self.labels)
            case Kind.HISTOGRAM:
                metric = HistogramMetricFamily(name, self.help, labels=self.labels)
        return Filling(self, metric)


@dataclass(frozen=True, slots=True)
class Filling:
    """A family on its way into an exposition."""

    family: Family
    metric: Metric

    def add(self, labels: Sequence[str], value: float | None) -> None:
        """One sample; an unknown value is absent."""
        if value is not None:
            suffix = "_total" if self.family.kind is Kind.COUNTER else ""
            pairs = dict(zip(self.family.labels, labels, strict=True))
            self.metric.add_sample(self.metric.name + suffix, pairs, value)

    def add_info(self, values: dict[str, str]) -> None:
        """The one sample of an info metric."""
        self.metric.add_sample(self.metric.name + "_info", values, 1)

    def add_histogram(self, labels: Sequence[str], histogram: Histogram) -> None:
        """All samples of one histogram, exemplars included (they show in OpenMetrics only)."""
        assert isinstance(self.metric, HistogramMetricFamily), "only a histogram has buckets"
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
        total = 0
        bounds = [*(str(bound) for bound in DURATION_BUCKETS), "+Inf"]
        for bound, count, exemplar in zip(bounds, histogram.counts, histogram.exemplars, strict=True):
            total += count
            if exemplar is None:
                buckets.append((bound, total))
            else:
                request_id, seconds, wall = exemplar
                buckets.append((bound, total, Exemplar({"request_id": request_id}, seconds, wall)))
        self.metric.add_metric(labels, buckets, histogram.sum_seconds)


_T = ("target",)
_TL = ("target", "level")
_TC = ("target", "component")


def _gauge(name: str, labels: tuple[str, ...], text: str) -> Family:
    return Family(name, Kind.GAUGE, labels, text)


def _counter(name: str, labels: tuple[str, ...], text: str) -> Family:
    return Family(name, Kind.COUNTER, labels, text)


FAMILIES: tuple[Family, ...] = (
    Family("build_info", Kind.INFO, ("version", "python"), "Version of the watchdog and of its Python."),
    Family(
        "target_info", Kind.INFO, ("target", "measure", "limit_source", "process_view", "preset"),
        "How a target is seen: number that is compared, source of its limit, what shows its process, its preset.",
    ),
    _gauge("target_up", _T, "1 when the process, or the server's own report, was read at the last tick, else 0."),
    _gauge("target_used_bytes", _T, "The number that is compared with the thresholds; which one says target_info."),
    _gauge("target_used_peak_bytes", _T, "Highest used of the last 60 s."),
    _gauge("target_trough_bytes", _T, "Lowest used since the last cleanup was answered."),
    _gauge("target_limit_bytes", _T, "The limit; absent while it is unknown."),
    _gauge("target_threshold_bytes", ("target", "level", "edge"), "Where a level is entered and left."),
    _gauge("target_level", _TL, "1 for the level that is held, 0 for the others; none is one of them."),
    _gauge("target_resident_bytes", _T, "Resident memory, summed over the process tree."),
    _gauge("target_anonymous_bytes", _T, "Resident minus shared (statm), summed over the process tree."),
    _gauge("target_file_bytes", _T, "Resident file mappings (RssFile), summed over the process tree."),
    _gauge("target_shared_bytes", _T, "Resident shared memory (RssShmem), the largest of the process tree."),
    _gauge("target_swap_bytes", _T, "Swapped-out anonymous memory (VmSwap), summed over the process tree."),
    _gauge("target_proportional_bytes", _T, "Proportional set size (Pss) of the process tree; only with measure pss."),
    _gauge(
        "target_cgroup_usage_bytes", _T,
        "Usage of the target's cgroup, page cache included; of the one that limits it where limit auto found one.",
    ),
    _gauge(
        "target_cgroup_unreclaimable_bytes", _T,
        "The same without what the kernel can take back: page cache that is not locked, reclaimable slab (v2 only).",
    ),
    _counter("target_oom_kills_total", _T, "Processes that the kernel killed for memory in the target's cgroup."),
    _counter(
        "target_pressure_waiting_seconds_total", _T,
        "Time in which some task of the target's cgroup waited for memory (PSI some); absent with cgroup v1.",
    ),
    _counter(
        "target_pressure_stalled_seconds_total", _T,
        "Time in which all tasks of the target's cgroup waited for memory (PSI full); absent with cgroup v1.",
    ),
    _gauge("target_processes", _T, "Processes in the tree."),
    _gauge("target_start_time_seconds", _T, "When the root of the process tree started, since the epoch."),
    _gauge("target_unaccounted_bytes", _T, "Used minus what the components report; may be negative."),
    _gauge(
        "target_growth_bytes_per_second", _T,
        "How fast used grows, by its troughs: the slope that the forecast goes by, else that of the last minutes.",
    ),
    _gauge(
        "target_time_to_limit_seconds", _T,
        "When used reaches the limit if it goes on growing so; absent while the past does not say so with confidence.",
    ),
    _gauge(
        "target_unaccounted_growth_bytes_per_second", _T,
        "How fast that grows, over the last answers of the statistics: a leak, or a cache that nobody counts.",
    ),
    _counter("target_restarts_total", _T, "New processes seen in the place of the old one, whoever restarted it."),
    _gauge("target_last_observation_timestamp_seconds", _T, "When the target was last looked at, since the epoch."),
    _gauge("target_paused", _T, "1 while nothing is sent because of a pause."),
    _gauge("target_dry_run", _T, "1 while nothing is sent because of dry run."),
    _gauge("component_up", _TC, "1 when the component told its numbers, 0 when the server says that it could not."),
    _gauge("component_bytes", _TC, "Size of a component, by the server's own word."),
    _gauge("component_items", _TC, "Items in a component, by the server's own word."),
    _gauge("component_limit_bytes", _TC, "Bound of a component in bytes, by the server's own word."),
    _gauge("component_limit_items", _TC, "Bound of a component in items, by the server's own word."),
    _counter("component_hits_total", _TC, "Hits of a component, by the server's own word."),
    _counter("component_misses_total", _TC, "Misses of a component, by the server's own word."),
    _counter("component_evictions_total", _TC, "Evictions from a component, by the server's own word."),
    _counter("component_expirations_total", _TC, "Expirations in a component, by the server's own word."),
    _gauge("stats_up", _T, "1 when the last reading of the server's statistics was good, else 0."),
    _gauge("stats_duration_seconds", _T, "How long the last reading of the statistics took."),
    _gauge("stats_last_success_timestamp_seconds", _T, "When the statistics were last read, since the epoch."),
    _counter("stats_failures_total", ("target", "reason"), "Failed readings of the statistics."),
    _counter("source_failures_total", ("target", "source", "reason"), "Failed readings of process, cgroup and limit."),
    _gauge(
        "kernel_events_armed", ("target", "source"),
        "1 when events of the kernel bring the next look forward, 0 where they were refused; the log says why.",
    ),
    _counter("kernel_events_total", ("target", "source"), "Events of the kernel that brought a look forward."),
    _counter("cleanups_total", ("target", "level", "trigger"), "Cleanup requests sent."),
    _counter("cleanup_failures_total", ("target", "level", "reason"), "Cleanup requests that failed or timed out."),
    _counter("cleanups_ineffective_total", _TL, "Cleanups that were answered and reclaimed less than min_reclaim."),
    _counter("cleanup_reclaimed_bytes_total", _TL, "Memory that came back, measured at the verdict."),
    _counter("cleanup_claimed_bytes_total", _TL, "What the server said it freed; never believed."),
    Family("cleanup_duration_seconds", Kind.HISTOGRAM, _TL, "From sending a cleanup to its answer, or its failure."),
    _gauge("cleanup_last_timestamp_seconds", _TL, "When a cleanup was last sent, since the epoch."),
    _gauge("cooldown_seconds", _TL, "The cooldown of a level, back-off included."),
    _gauge("budget_remaining", _T, "Requests that the budget still allows."),
    _counter("actions_suppressed_total", ("target", "reason"), "Wanted actions that were not sent, once a reason."),
    _counter(
        "restart_actions_total", ("target", "outcome"),
        "Ends of the process as the last step, by how they went, and those that were due and held back, once a reason.",
    ),
    _gauge("tick_duration_seconds", _T, "How long the last tick took."),
    _counter("ticks_late_total", _T, "Ticks that began later than they should have."),
    _gauge("config_last_reload_successful", (), "1 when the config was read well the last time, else 0."),
    _gauge("config_last_reload_success_timestamp_seconds", (), "When the config was last read well, since the epoch."),
    _counter("state_save_failures_total", (), "Failed attempts to write the state file."),
)  # fmt: skip
