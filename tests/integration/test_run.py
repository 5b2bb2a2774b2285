"""`memory-watchdog run` beside a real server that grows: what is sent, what is measured, what is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.target import MIB, running_target
from tests.support.wait import eventually
from tests.support.watchdog import LIMIT_MIB, Metrics, Watchdog, cleanup, config, level, levels, running_watchdog


def test_a_server_that_grows_is_cleaned_up_gently_and_then_aggressively(tmp_path: Path) -> None:
    """Normal is entered at 100 MiB and left below 80, aggressive at 200 and 160; the server's own is about 10."""
    # sustained, so that growth to the aggressive level is not caught on its way
    ladder = [level("normal", "25%", "20%", sustain="300ms"), levels()[1]]
    with running_target() as target, running_watchdog(tmp_path, config(target.url, levels=ladder)) as watchdog:
        _nothing_has_happened(watchdog.metrics())

        target.control(grow=120, cleanup={"free": 60, "claim": 61})
        verdict = watchdog.wait_for("verdict")
        (request,) = target.requests
        _request_is_as_agreed(request, watchdog, verdict)
        eventually(lambda: watchdog.metrics().total("cleanup_reclaimed_bytes_total"), what="the verdict in the metrics")
        _normal_cleanup_shows(watchdog.metrics(), verdict["reclaimed_bytes"])

        target.control(grow=180, cleanup={"free": 200})
        verdict = watchdog.wait_for("verdict", target_level="aggressive")
        assert [json.loads(request["body"])["level"] for request in target.requests] == ["normal", "aggressive"]
        assert verdict["verdict"] == "effective"
        assert watchdog.said("level", before="none", after="aggressive")
        eventually(lambda: watchdog.metrics().value("target_level", level="none") == 1, what="level none")
        seen = watchdog.metrics()
        assert seen.value("cleanups_total", level="aggressive", trigger="threshold") == 1
        assert seen.value("cleanup_reclaimed_bytes_total", level="aggressive") == verdict["reclaimed_bytes"]
        # 250 is the peak, which the last look before the answer need not have seen
        assert 140 * MIB < verdict["reclaimed_bytes"] < 210 * MIB


def _nothing_has_happened(seen: Metrics) -> None:
    for name in ("cleanups_total", "cleanup_failures_total", "cleanup_reclaimed_bytes_total"):
        assert seen.labels(name), f"{name} starts at 0"
        assert seen.total(name) == 0
    assert seen.value("target_level", level="none") == 1
    assert seen.value("target_trough_bytes") is None
    assert seen.value("target_limit_bytes") == LIMIT_MIB * MIB
    assert seen.value("target_threshold_bytes", level="aggressive", edge="exit") == LIMIT_MIB * MIB * 0.4
    (info,) = seen.labels("target_info")
    assert info == {"measure": "anon", "limit_source": "given", "process_view": "process", "preset": "none"}
    assert seen.value("target_restarts_total") == 0
    assert seen.value("target_processes") == seen.value("target_up") == 1
    assert (seen.value("target_anonymous_bytes") or 0) <= (seen.value("target_resident_bytes") or 0)


def _request_is_as_agreed(request: dict[str, Any], watchdog: Watchdog, verdict: dict[str, Any]) -> None:
    body = json.loads(request["body"])
    assert set(body) == {"level", "reason", "request_id", "target_bytes"}
    assert body["level"] == "normal"
    assert body["request_id"] == request["headers"]["x-request-id"] == verdict["request_id"]
    assert body["reason"].startswith("used 1")
    assert "enter of normal" in body["reason"]
    assert type(body["target_bytes"]) is int
    assert 40 * MIB < body["target_bytes"] < 80 * MIB, "from about 130 to below 80"
    assert request["headers"]["content-type"] == "application/json"
    assert (request["method"], request["path"]) == ("POST", "/memory/cleanup")
    assert verdict["verdict"] == "effective"
    assert verdict["target_level"] == "normal"
    assert 55 * MIB < verdict["reclaimed_bytes"] < 65 * MIB
    sent = watchdog.said("cleanup")[0]
    assert (sent["trigger"], sent["reason"], sent["target_bytes"]) == (
        "threshold",
        body["reason"],
        body["target_bytes"],
    )
    assert watchdog.said("level", before="none", after="normal")
    assert watchdog.said("level", before="normal", after="none")


def _normal_cleanup_shows(seen: Metrics, reclaimed_bytes: int) -> None:
    assert seen.value("cleanups_total", level="normal", trigger="threshold") == seen.total("cleanups_total") == 1
    assert seen.value("cleanup_reclaimed_bytes_total", level="normal") == reclaimed_bytes
    assert seen.value("cleanup_claimed_bytes_total", level="normal") == 61 * MIB
    assert seen.total("cleanup_failures_total") == seen.total("cleanups_ineffective_total") == 0
    assert seen.value("target_level", level="none") == 1
    assert seen.value("target_level", level="normal") == 0
    assert seen.value("cleanup_duration_seconds_count", level="normal") == 1
    assert seen.value("budget_remaining") == 30, "an effective cleanup gives its place back"
    used, peak, trough = (seen.value(f"target_{name}_bytes") or 0 for name in ("used", "used_peak", "trough"))
    assert trough <= used < 90 * MIB < 120 * MIB < peak
    last = seen.value("cleanup_last_timestamp_seconds", level="normal") or 0
    assert 0 <= (seen.value("target_last_observation_timestamp_seconds") or 0) - last < 20


def test_what_the_server_says_of_itself_is_shown_beside_what_is_measured(tmp_path: Path) -> None:
    with running_target() as target:
        target.control(grow=40)
        with running_watchdog(tmp_path, config(target.url)) as watchdog:
            seen = watchdog.until(stats_up=1)
            assert seen.value("component_bytes", component="cache") == 40 * MIB
            assert seen.value("component_items", component="cache") == 40
            assert seen.value("component_hits_total", component="cache") == 3
            assert seen.value("component_limit_bytes", component="cache") is None
            unaccounted = (seen.value("target_used_bytes") or 0) - 40 * MIB
            assert seen.value("target_unaccounted_bytes") == unaccounted
            assert (seen.value("stats_duration_seconds") or 0) > 0
            target.control(statistics={"drop": ["components"]})
            eventually(lambda: not watchdog.metrics().labels("component_bytes"), what="the end of the series")
            assert watchdog.metrics().value("target_unaccounted_bytes") is None
            assert watchdog.metrics().value("stats_up") == 1


def test_in_dry_run_nothing_is_sent_and_each_would_be_request_is_counted(tmp_path: Path) -> None:
    with (
        running_target() as target,
        running_watchdog(tmp_path, config(target.url, dry_run=True, levels=levels(cooldown="300ms"))) as watchdog,
    ):
        target.control(grow=120)
        watchdog.wait_for("cleanup suppressed", reason="dry_run")
        eventually(
            lambda: (watchdog.metrics().value("actions_suppressed_total", reason="dry_run") or 0) >= 2,
            what="a second would-be request after the cooldown",
        )
        assert target.requests == []
        seen = watchdog.metrics()
        assert seen.total("cleanups_total") == 0
        assert seen.value("target_dry_run") == 1
        assert (seen.value("budget_remaining") or 30) < 30, "a shadow of the budget moves"


def test_percent_levels_without_a_readable_limit_are_off_and_this_is_said(tmp_path: Path) -> None:
    keys = {"limit": "auto", "measure": "reported", "process": {"pid_file": str(tmp_path / "nobody.pid")}}
    with running_target() as target, running_watchdog(tmp_path, config(target.url, **keys)) as watchdog:
        target.control(grow=350)
        said = watchdog.wait_for("the limit is unknown: levels in percent are off")
        assert said["level"] == "warning"
        assert said["reason"] == "not_found"
        eventually(lambda: (watchdog.metrics().value("target_used_bytes") or 0) > 350 * MIB, what="the growth")
        seen = watchdog.metrics()
        assert seen.value("target_limit_bytes") is None
        assert seen.labels("target_threshold_bytes") == []
        assert seen.value("target_level", level="none") == 1
        assert seen.labels("target_info") == [
            {"measure": "reported", "limit_source": "unknown", "process_view": "reported", "preset": "none"}
        ]
        assert (seen.value("source_failures_total", source="limit", reason="not_found") or 0) >= 1
        assert target.requests == []


def test_a_request_in_flight_is_the_only_one_and_ticks_go_on_meanwhile(tmp_path: Path) -> None:
    ladder = levels(cooldown="100ms", cleanup=cleanup("20s"))
    with running_target() as target, running_watchdog(tmp_path, config(target.url, levels=ladder)) as watchdog:
        target.control(grow=120, cleanup={"hang": True, "free": 80})
        watchdog.wait_for("cleanup")
        watchdog.ticks(8)
        assert len(target.requests) == 1
        assert watchdog.metrics().value("actions_suppressed_total", reason="in_flight") == 1
        target.control(release=True)
        assert watchdog.wait_for("verdict")["verdict"] == "effective"
