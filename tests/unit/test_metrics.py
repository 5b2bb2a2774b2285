"""The collector: what it shows of a target, and that the catalogue and the exposition are the same set."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.counters import CLEANUP_REASONS, DURATION_BUCKETS, HTTP_REASONS, SOURCE_REASONS, TRIGGERS, Counters
from memory_watchdog.ledger import Snapshot, Standing, Statistics
from memory_watchdog.observation import (
    CgroupMemory,
    Component,
    Limit,
    LimitSource,
    Measure,
    Observation,
    ProcessIdentity,
    ProcessMemory,
    Reason,
    ServerReport,
    Unavailable,
)
from memory_watchdog.policy.causes import Picture, Split
from memory_watchdog.policy.events import Suppression, Trigger
from memory_watchdog.policy.settings import NONE
from memory_watchdog.policy.thresholds import Edges
from memory_watchdog.sources.stats import MAX_COMPONENTS, fold
from memory_watchdog.web.families import FAMILIES, PREFIX, Kind
from memory_watchdog.web.metrics import ReloadState, WatchdogCollector, registry_of
from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
UNKNOWN = Unavailable(Reason.UNREADABLE, "for the log only")
LEVELS = ["normal", "aggressive"]
AWKWARD = [
    'a "quoted" one',
    "back\\slash",
    "line\nbreak",
    "\\n",
    'ends with \\"',
    "größe ☃ 漢字",
    "{a=b},c",
    "# HELP x",
]


def counters() -> Counters:
    counted = Counters()
    counted.know(LEVELS, LEVELS, statistics=True)
    counted.cleanups["normal", Trigger.THRESHOLD] += 3
    counted.kernel_events["usage"] += 2
    counted.restart_actions["ended"] += 1
    counted.last_cleanup_wall["normal"] = 1.7e9
    for seconds, request_id in ((0.2, "first"), (0.2, "second"), (3.0, "third"), (500.0, "slow")):
        counted.durations["normal"].observe(seconds, request_id, 1.7e9)
    return counted


def report(*components: Component) -> Statistics:
    return Statistics(True, 0.01, ServerReport(answered_at=9.0, components=components), 1.7e9)


CACHE = Component("cache", bytes=60, items=1, max_bytes=2, max_items=3, hits=4, misses=5, evictions=6, expirations=7)


def full(name: str = "server") -> Snapshot:
    """A target of which everything is known."""
    memory = ProcessMemory(500, 400, 3, file_bytes=50, shared_bytes=40, swap_bytes=10, proportional_bytes=450)
    seen = Observation(
        taken_at=10.0,
        measure=Measure.ANON,
        used=450,
        limit=Limit(1000, LimitSource.GIVEN),
        identity=ProcessIdentity(7, 700),
        memory=memory,
        report=UNKNOWN,
        cgroup=CgroupMemory(600, 500, 1, 2_000_000, 1_000_000),
    )
    standing = Standing(
        level="normal",
        levels=tuple(LEVELS),
        edges=(Edges(750, 700), Edges(875, 800)),
        cooldown_seconds={"normal": 60.0, "aggressive": 30.0},
        budget_remaining=29,
        paused=True,
        growth_bytes_per_second=2.5,
        time_to_limit_seconds=160.0,
        picture=Picture(Split(460, {"cache": 100}, 20, 0, True), unaccounted_growth_bytes_per_second=1.5),
    )
    return Snapshot(
        name=name,
        measure=Measure.ANON,
        process_view="process",
        seen=seen,
        seen_wall=1.7e9,
        start_time_seconds=1.6e9,
        up=True,
        standing=standing,
        statistics=report(CACHE),
        peak_bytes=460,
        trough_bytes=300,
        kernel_events={"usage": True, "machine_pressure": False},
        tick_duration_seconds=0.001,
        counters=counters(),
    )


def observed(snapshot: Snapshot, **changes: object) -> Snapshot:
    """The same target with another observation."""
    assert snapshot.seen is not None
    return replace(snapshot, seen=replace(snapshot.seen, **changes))  # type: ignore[arg-type]


def reloaded() -> ReloadState:
    return ReloadState(successful=True, success_wall=1795400000.0)


def exposition(snapshots: Iterable[Snapshot], accept: str = OPENMETRICS) -> str:
    given_snapshots = list(snapshots)
    encode, _ = choose_encoder(accept)
    return encode(registry_of(WatchdogCollector(lambda: given_snapshots, lambda: 2, reloaded))).decode()


def parse(text: str, accept: str) -> list[Metric]:
    """Read back by prometheus-client, strictly."""
    return list(parse_openmetrics(text) if accept else parse_text(text))  # type: ignore[no-untyped-call]


def families(*snapshots: Snapshot) -> dict[str, Metric]:
    """By name, as OpenMetrics has them: counters without `_total`."""
    return {metric.name: metric for metric in parse(exposition(snapshots), OPENMETRICS)}


def samples(*snapshots: Snapshot) -> list[Sample]:
    return [sample for metric in families(*snapshots).values() for sample in metric.samples]


def values(name: str, *snapshots: Snapshot) -> dict[tuple[str, ...], float]:
    """The samples of that name: label values without the target's, in the order of the label names."""
    return {
        tuple(value for label, value in sorted(sample.labels.items()) if label != "target"): sample.value
        for sample in samples(*snapshots)
        if sample.name == PREFIX + name
    }


# ---- catalogue and exposition


def test_a_full_target_fills_every_family_of_the_catalogue_and_no_other() -> None:
    shown = families(full())
    catalogue = {family.full_name.removesuffix("_total").removesuffix("_info"): family for family in FAMILIES}
    assert shown.keys() == catalogue.keys()
    for name, metric in shown.items():
        assert metric.type == catalogue[name].kind
        assert metric.documentation == catalogue[name].help
        for sample in metric.samples:
            assert sample.labels.keys() - {"le"} == set(catalogue[name].labels), sample


def test_the_collector_announces_exactly_what_it_can_show() -> None:
    announced = {metric.name: metric.type for metric in WatchdogCollector(list, lambda: 0, reloaded).describe()}
    assert announced == {name: metric.type for name, metric in families(full()).items()}


@pytest.mark.parametrize("accept", [OPENMETRICS, ""], ids=["openmetrics", "text"])
def test_every_name_is_one_of_the_catalogue_in_both_formats(accept: str) -> None:
    known = {family.full_name for family in FAMILIES}
    histograms = {family.full_name for family in FAMILIES if family.kind is Kind.HISTOGRAM}
    allowed = known - histograms | {name + end for name in histograms for end in ("_bucket", "_sum", "_count")}
    names = {sample.name for metric in parse(exposition([full()], accept), accept) for sample in metric.samples}
    assert names == allowed


def test_no_series_comes_twice() -> None:
    shown = samples(full("one"), full("two"))
    assert len({(sample.name, *sorted(sample.labels.items())) for sample in shown}) == len(shown)


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: `make packages`"
    text = exposition([full()], "")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


# ---- what is not known is absent


def test_unknown_numbers_are_absent() -> None:
    memory = ProcessMemory(500, 400, 3, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    blind = replace(
        observed(full(), used=UNKNOWN, limit=UNKNOWN, memory=memory),
        peak_bytes=None,
        trough_bytes=None,
        start_time_seconds=None,
        tick_duration_seconds=None,
        statistics=Statistics(False, 2.0, None, None),
        standing=replace(full().standing, edges=(None, None)),
    )
    gone = families(full()).keys() - families(blind).keys()
    assert {name.removeprefix(PREFIX) for name in gone} == {
        "target_used_bytes", "target_used_peak_bytes", "target_trough_bytes", "target_limit_bytes",
        "target_threshold_bytes", "target_file_bytes", "target_shared_bytes", "target_swap_bytes",
        "target_proportional_bytes", "target_start_time_seconds", "target_unaccounted_bytes", "tick_duration_seconds",
        "stats_last_success_timestamp_seconds", "component_up", "component_bytes", "component_items",
        "component_limit_bytes", "component_limit_items", "component_hits", "component_misses", "component_evictions",
        "component_expirations",
    }  # fmt: skip
    assert all(math.isfinite(sample.value) for sample in samples(blind))
    assert values("target_info", blind) == {("unknown", "anon", "none", "process"): 1}
    assert values("stats_up", blind) == {(): 0}


def test_a_process_that_was_not_read_has_no_memory() -> None:
    unread = replace(observed(full(), used=UNKNOWN, memory=UNKNOWN), up=False)
    assert not values("target_resident_bytes", unread)
    assert not values("target_processes", unread)
    assert values("target_up", unread) == {(): 0}


def test_zero_is_a_number() -> None:
    assert values("target_used_bytes", observed(full(), used=0)) == {(): 0}
    assert values("component_bytes", replace(full(), statistics=report(Component("c", bytes=0)))) == {("c",): 0}


def test_a_component_shows_only_what_the_server_said_of_it() -> None:
    said = replace(full(), statistics=report(Component("cache", items=5)))
    shown = {sample.name for sample in samples(said) if "component" in sample.labels}
    assert shown == {PREFIX + "component_items", PREFIX + "component_up"}


def test_the_largest_numbers_are_still_numbers() -> None:
    most = 2**63 - 1
    huge = replace(observed(full(), used=most), statistics=report(replace(CACHE, bytes=most, hits=most)))
    assert all(math.isfinite(sample.value) for sample in samples(huge))


def test_before_the_first_tick_there_are_counters_and_nothing_else() -> None:
    fresh = replace(full(), seen=None, seen_wall=None, statistics=None, standing=Standing(), counters=Counters())
    fresh.counters.know(LEVELS, LEVELS, statistics=True)
    shown = families(fresh).values()
    kinds = {metric.type for metric in shown if any("target" in sample.labels for sample in metric.samples)}
    assert kinds == {"counter", "histogram"}


# ---- counters


def test_counters_start_at_zero() -> None:
    fresh = Counters()
    fresh.know(LEVELS, LEVELS, statistics=True)
    target = replace(full(), counters=fresh, statistics=None)
    assert values("cleanups_total", target) == {(level, trigger): 0 for level in LEVELS for trigger in TRIGGERS}
    assert values("cleanup_failures_total", target) == {(lev, why): 0 for lev in LEVELS for why in CLEANUP_REASONS}
    for name in ("cleanups_ineffective_total", "cleanup_reclaimed_bytes_total", "cleanup_claimed_bytes_total"):
        assert values(name, target) == {(level,): 0 for level in LEVELS}, name
    assert values("actions_suppressed_total", target) == {(reason,): 0 for reason in Suppression}
    assert values("stats_failures_total", target) == {(reason,): 0 for reason in HTTP_REASONS}
    assert values("source_failures_total", target) == {
        (reason, source): 0 for source, reasons in SOURCE_REASONS.items() for reason in reasons
    }
    assert values("cleanup_duration_seconds_count", target) == {(level,): 0 for level in LEVELS}
    assert values("target_restarts_total", target) == values("ticks_late_total", target) == {(): 0}
    assert not values("cleanup_last_timestamp_seconds", target), "there was none yet"


def test_a_level_that_sends_nothing_has_no_cleanups() -> None:
    fresh = Counters()
    fresh.know(LEVELS, ["aggressive"], statistics=False)
    target = replace(full(), counters=fresh)
    assert {level for level, _ in values("cleanups_total", target)} == {"aggressive"}
    assert values("cleanup_duration_seconds_count", target).keys() == {("aggressive",)}
    assert not values("stats_failures_total", target), "no statistics are configured"


def test_failed_saves_are_counted_once_for_all_targets() -> None:
    assert values("state_save_failures_total", full("one"), full("two")) == {(): 2}


# ---- series end with their subject


def test_series_end_when_their_subject_ends() -> None:
    collector_reads = [full("one"), full("two")]
    registry = registry_of(WatchdogCollector(lambda: collector_reads, lambda: 0, reloaded))
    encode, _ = choose_encoder(OPENMETRICS)
    assert b'target="two"' in encode(registry)
    collector_reads.pop()
    assert b'target="two"' not in encode(registry)
    collector_reads[0] = replace(full("one"), statistics=report(Component("other_cache", bytes=1)))
    assert b'component="cache"' not in encode(registry)
    collector_reads[0] = replace(full("one"), statistics=replace(report(CACHE), up=False))
    assert b"component=" not in encode(registry), "statistics that fail say nothing of components"


def test_a_level_that_is_no_longer_configured_has_no_gauges() -> None:
    one = Standing(level="none", levels=("normal",), edges=(Edges(750, 700),), cooldown_seconds={"normal": 60.0})
    target = replace(full(), standing=one)
    for name in ("target_level", "target_threshold_bytes", "cooldown_seconds"):
        assert values(name, target)
        assert not any("aggressive" in labels for labels in values(name, target)), name


# ---- levels and thresholds


@pytest.mark.parametrize("held", ["none", *LEVELS])
def test_exactly_one_level_is_held(held: str) -> None:
    target = replace(full(), standing=replace(full().standing, level=held))
    assert values("target_level", target) == {(level,): int(level == held) for level in ("none", *LEVELS)}


def test_a_level_that_is_off_has_no_edges() -> None:
    target = replace(full(), standing=replace(full().standing, edges=(Edges(750, 700), None)))
    assert values("target_threshold_bytes", target) == {("enter", "normal"): 750, ("exit", "normal"): 700}
    assert ("aggressive",) in values("target_level", target), "it is configured all the same"


@pytest.mark.parametrize("flag", [True, False])
def test_pause_and_dry_run_are_told_apart(flag: bool) -> None:
    target = replace(full(), standing=replace(full().standing, paused=flag, dry_run=not flag))
    assert values("target_paused", target) == {(): flag}
    assert values("target_dry_run", target) == {(): not flag}


# ---- components


def test_unaccounted_is_used_less_the_components_and_may_be_negative() -> None:
    assert values("target_unaccounted_bytes", full()) == {(): 450 - 60}
    more = replace(full(), statistics=report(CACHE, Component("index", bytes=900), Component("queue", items=4)))
    assert values("target_unaccounted_bytes", more) == {(): 450 - 60 - 900}


def test_unaccounted_is_absent_where_no_size_is_known() -> None:
    assert not values("target_unaccounted_bytes", replace(full(), statistics=report(Component("queue", items=4))))
    assert not values("target_unaccounted_bytes", replace(full(), statistics=report()))


def test_there_are_never_more_than_64_components() -> None:
    many = fold([Component(f"cache {number}", bytes=1, items=1) for number in range(100)])
    shown = values("component_bytes", replace(full(), statistics=report(*many)))
    assert len(shown) == MAX_COMPONENTS
    assert shown["other",] == 100 - (MAX_COMPONENTS - 1)
    assert values("target_unaccounted_bytes", replace(full(), statistics=report(*many))) == {(): 350}


# ---- the histogram


def test_buckets_are_cumulative_and_end_with_the_count() -> None:
    shown = {bound: count for (bound, level), count in _buckets().items() if level == "normal"}
    bounds = [*(str(bound) for bound in DURATION_BUCKETS), "+Inf"]
    assert list(shown) == bounds
    assert [shown[bound] for bound in bounds] == [0, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4]
    assert values("cleanup_duration_seconds_count", full())["normal",] == 4
    assert values("cleanup_duration_seconds_sum", full())["normal",] == pytest.approx(503.4)


def _buckets() -> dict[tuple[str, ...], float]:
    return values("cleanup_duration_seconds_bucket", full())


def test_openmetrics_carries_the_last_request_of_a_bucket_as_exemplar() -> None:
    exemplars = {
        sample.labels["le"]: (exemplar.labels["request_id"], exemplar.value, float(exemplar.timestamp or 0))
        for sample in samples(full())
        if (exemplar := sample.exemplar) is not None
    }
    assert exemplars == {"0.25": ("second", 0.2, 1.7e9), "5.0": ("third", 3.0, 1.7e9), "+Inf": ("slow", 500.0, 1.7e9)}


def test_the_text_format_has_no_exemplars() -> None:
    text = exposition([full()], "")
    assert "request_id" not in text
    assert not re.search(r"^[^#\n][^\n]* # ", text, re.M)


# ---- label values


@pytest.mark.parametrize("accept", [OPENMETRICS, ""], ids=["openmetrics", "text"])
@pytest.mark.parametrize("word", AWKWARD)
def test_awkward_label_values_survive(word: str, accept: str) -> None:
    assert _survivors(word, accept) == {word}


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40).filter(
        lambda word: word != NONE
    )
)
def test_any_printable_label_value_survives(word: str) -> None:
    for accept in (OPENMETRICS, ""):
        assert _survivors(word, accept) == {word}


def _survivors(word: str, accept: str) -> set[str]:
    """Under which names the target, its component and its level come back from the parser."""
    standing = Standing(level=word, levels=(word,), edges=(Edges(2, 1),))
    fresh = Counters()
    fresh.know([word], [word], statistics=True)
    target = replace(full(word), standing=standing, statistics=report(replace(CACHE, name=word)), counters=fresh)
    found = [sample.labels for metric in parse(exposition([target], accept), accept) for sample in metric.samples]
    return {labels[label] for labels in found for label in ("target", "component", "level") if label in labels} - {NONE}
