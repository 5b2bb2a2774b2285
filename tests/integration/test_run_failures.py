"""Cleanups that lie, fail or hang: counted for what they are, and followed by less, not more."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.target import MIB, running_target
from tests.support.wait import eventually
from tests.support.watchdog import cleanup, config, levels, running_watchdog


def test_a_cleanup_that_frees_nothing_backs_off_and_escalates_whatever_it_claims(tmp_path: Path) -> None:
    quick = config(None, settle="200ms", escalate_after=2, levels=levels(cooldown="500ms"))
    with running_target() as target:
        quick["targets"][0]["url"] = target.url
        with running_watchdog(tmp_path, quick) as watchdog:
            target.control(grow=120, cleanup={"claim": 50})
            watchdog.wait_for("verdict", verdict="ineffective")
            eventually(
                lambda: watchdog.metrics().value("cooldown_seconds", level="normal") == 1, what="a doubled cooldown"
            )
            watchdog.wait_for("cleanup suppressed", reason="cooldown")
            escalated = watchdog.wait_for("cleanup", trigger="escalation")

            assert (escalated["held_level"], escalated["target_level"]) == ("normal", "aggressive")
            eventually(lambda: len(target.requests) >= 3, what="the request, which follows its line in the log")
            first, second, third = target.requests[:3]
            assert [json.loads(request["body"])["level"] for request in (first, second, third)] == [
                "normal",
                "normal",
                "aggressive",
            ]
            assert second["at"] - first["at"] > 0.95, "one ineffective: twice 500 ms"
            assert len({request["headers"]["x-request-id"] for request in (first, second, third)}) == 3
            seen = watchdog.metrics()
            assert seen.value("cleanups_ineffective_total", level="normal") == 2
            assert (seen.value("cleanup_reclaimed_bytes_total", level="normal") or 0) < 2 * MIB
            assert seen.value("cleanup_claimed_bytes_total", level="normal") == 100 * MIB
            assert seen.value("cleanups_total", level="aggressive", trigger="escalation") == 1
            assert seen.total("cleanup_failures_total") == 0
            assert (seen.value("budget_remaining") or 0) <= 27, "what did not help keeps its place"
            assert seen.value("target_level", level="normal") == 1, "the held level shows memory, and does not change"

            # the one that helps ends the back-off
            target.control(cleanup={"free": 80})
            watchdog.wait_for("verdict", verdict="effective", target_level="aggressive")
            eventually(
                lambda: watchdog.metrics().value("cooldown_seconds", level="normal") == 0.5, what="the base cooldown"
            )


def test_failures_are_counted_by_reason_and_a_timeout_holds_everything_back(tmp_path: Path) -> None:
    keys = {
        "settle": "200ms", "escalate_after": 50, "levels": levels(cooldown="200ms", cleanup=cleanup("300ms")),
        "stats": {"interval": "1s", "timeout": "300ms"},
    }  # fmt: skip
    with running_target() as target, running_watchdog(tmp_path, config(target.url, **keys)) as watchdog:
        target.control(grow=120, cleanup={"error": "disk full", "claim": 50})
        failed = watchdog.wait_for("cleanup failed")
        assert failed["reason"] == "error_in_answer"
        assert "disk full" in failed["detail"]
        assert failed["level"] == "error"
        target.control(cleanup={"status": 500})
        assert "500" in watchdog.wait_for("cleanup failed", reason="http_status")["detail"]

        target.control(cleanup={"hang": True}, statistics={"hang": True})
        late = watchdog.wait_for("cleanup failed", reason="timeout", seconds=30)
        count = len(target.requests)
        watchdog.wait_for("cleanup suppressed", reason="unanswered")
        watchdog.ticks(10)
        assert len(target.requests) == count
        seen = watchdog.metrics()
        for reason in ("error_in_answer", "http_status"):
            assert (seen.value("cleanup_failures_total", level="normal", reason=reason) or 0) >= 1
        assert seen.value("cleanup_failures_total", level="normal", reason="timeout") == 1
        assert seen.value("actions_suppressed_total", reason="unanswered") == 1
        assert seen.value("stats_up") == 0
        assert (seen.value("stats_failures_total", reason="timeout") or 0) >= 1
        assert seen.labels("component_bytes") == [], "a component that is not seen has no size"
        assert seen.total("cleanup_reclaimed_bytes_total") < 8 * MIB

        target.control(release=True, cleanup={"free": 80}, statistics={})
        verdict = watchdog.wait_for("verdict", verdict="effective", seconds=30)
        assert verdict["request_id"] == late["request_id"], "memory had not fallen: it is the same request, repeated"


def test_a_server_that_refuses_connections_got_nothing_and_the_process_is_read_on(tmp_path: Path) -> None:
    """The statistics and cleanups go to a port where nobody listens; the process is known by its pid."""
    with running_target() as target, running_target("unrelated") as gone:
        gone.kill()
        keys = {"process": {"pid": target.pid}, "levels": levels(cooldown="200ms")}
        with running_watchdog(tmp_path, config(gone.url, **keys)) as watchdog:
            target.control(grow=120)
            failed = watchdog.wait_for("cleanup failed")
            assert failed["reason"] == "connection"
            assert watchdog.wait_for("verdict")["verdict"] == "inconclusive"
            seen = watchdog.until(stats_up=0, target_up=1)
            assert (seen.value("stats_failures_total", reason="connection") or 0) >= 1
            eventually(lambda: (watchdog.metrics().value("target_used_bytes") or 0) > 120 * MIB, what="the growth")
            assert target.requests == []


def test_no_secret_is_told_whatever_the_server_repeats(tmp_path: Path) -> None:
    """The server answers with the secrets that it got: in the text of an error, and with a status of 500."""
    (tmp_path / "token").write_text("t0ken-of-mine\n")
    secret = {"bearer_token_file": "token", "headers": {"X-Api-Key": "k3y-of-mine"}}
    keys = {
        "levels": levels(cooldown="100ms", cleanup=cleanup() | secret), "max_cooldown": "100ms", "settle": "100ms",
        "stats": {"interval": "1s"} | secret,
    }  # fmt: skip
    with running_target() as target:
        content = config(target.url, **keys) | {"log": {"format": "json", "level": "debug"}}
        with running_watchdog(tmp_path, content) as watchdog:
            target.control(grow=120, cleanup={"error": "{secrets}"})
            for how in ({"error": "{secrets}"}, {"status": 500, "error": "{secrets}"}):
                target.control(cleanup=how, statistics={"status": 500, "tell": True})
                seen = len(watchdog.said("cleanup failed"))
                watchdog.wait_for("cleanup failed", count=seen + 2)
            watchdog.wait_for("the statistics cannot be read", reason="http_status")
            sent = target.requests[0]["headers"]
            assert (sent["authorization"], sent["x-api-key"]) == ("Bearer t0ken-of-mine", "k3y-of-mine")
            failed = [line["detail"] for line in watchdog.said("cleanup failed")]
            (read,) = watchdog.said("the statistics cannot be read")
            assert all("***" in detail for detail in [*failed, read["detail"]]), "they were there, and were taken out"
            shown = watchdog.text + watchdog.get("/metrics").text + watchdog.get("/").text
            assert watchdog.stop() == 0
        for word in ("t0ken-of-mine", "k3y-of-mine"):
            assert word not in shown + watchdog.text
