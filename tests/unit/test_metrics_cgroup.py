"""What is told of a cgroup: metrics in seconds and bytes, absent where unknown, and the same over the API."""

from __future__ import annotations

from dataclasses import replace

from memory_watchdog.ledger import TargetLedger
from memory_watchdog.observation import NO_CGROUP, CgroupMemory, Limit, LimitSource, Measure, Observation, Reason
from memory_watchdog.observation import Unavailable as Unknown
from memory_watchdog.web.metrics import ReloadState, WatchdogCollector
from memory_watchdog.web.schemas import Number, detail_of

KNOWN = CgroupMemory(600, 500, 2, 1_500_000, 700_000)
UNKNOWN = Unknown(Reason.UNSUPPORTED, "v1")
SEEN = Observation(
    10.0, Measure.UNRECLAIMABLE, 500, Limit(1000, LimitSource.CGROUP), UNKNOWN, UNKNOWN, UNKNOWN, cgroup=KNOWN
)


def ledger_of(cgroup: CgroupMemory) -> TargetLedger:
    ledger = TargetLedger("a")
    ledger.observe(
        replace(SEEN, cgroup=cgroup), 1.0, ledger.snapshot().standing, process_view="process", start_time_seconds=None
    )
    return ledger


def metrics_of(cgroup: CgroupMemory) -> dict[str, float]:
    """Each sample of the cgroup by its name without prefix."""
    ledger = ledger_of(cgroup)
    collector = WatchdogCollector(lambda: [ledger.snapshot()], lambda: 0, lambda: ReloadState(True, 1.0))
    found = {
        sample.name.removeprefix("memory_watchdog_target_"): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }
    return {name: value for name, value in found.items() if name.startswith(("cgroup", "oom", "pressure"))}


def test_all_of_it() -> None:
    assert metrics_of(KNOWN) == {
        "cgroup_usage_bytes": 600,
        "cgroup_unreclaimable_bytes": 500,
        "oom_kills_total": 2,
        "pressure_waiting_seconds_total": 1.5,
        "pressure_stalled_seconds_total": 0.7,
    }


def test_what_is_unknown_is_absent() -> None:
    assert metrics_of(NO_CGROUP) == {}
    assert "pressure_waiting_seconds_total" not in metrics_of(replace(KNOWN, waiting_microseconds=UNKNOWN))
    assert metrics_of(replace(KNOWN, oom_kills=0))["oom_kills_total"] == 0


def test_api() -> None:
    detail = detail_of(ledger_of(KNOWN).snapshot(), ())
    assert detail.cgroup == {"usage": Number(bytes=600), "unreclaimable": Number(bytes=500)}
    assert (detail.oom_kills, detail.pressure_waiting_seconds, detail.pressure_stalled_seconds) == (2, 1.5, 0.7)


def test_api_of_what_is_unknown() -> None:
    detail = detail_of(ledger_of(CgroupMemory(*[UNKNOWN] * 5)).snapshot(), ())
    assert detail.cgroup["usage"] == Number(bytes=None, unknown="unsupported: v1")
    assert (detail.oom_kills, detail.pressure_waiting_seconds, detail.pressure_stalled_seconds) == (None, None, None)


def test_api_before_the_first_look() -> None:
    detail = detail_of(TargetLedger("a").snapshot(), ())
    assert (detail.cgroup, detail.oom_kills) == ({}, None)
