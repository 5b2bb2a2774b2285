"""Known servers through their presets: what each is asked, and what its answers become.

The answers are those of the project's issue 3, byte for byte, over real HTTP.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from memory_watchdog.direct import clean_up_directly
from memory_watchdog.observation import Component, Outcome, OutcomeKind, Reason, ServerReport, Unavailable
from memory_watchdog.parts import cleanup_requests

from tests.support.answers import Answer, Asked, Respond, answering
from tests.support.foreign import Answers, cleaned, done, failed, known, reported, sent, target_of

MIB = 2**20


# ---- qdrant-rag-mcp

MEMORY_STATUS = (
    b'{"process":{"rss_mb":513.3},"components":{"progressive_cache":{"memory_mb":0.1,"items":13,'
    b'"last_cleanup":"2026-11-23T02:40:06.391078","cleanup_count":5},"context_tracking":{"memory_mb":0.0,'
    b'"items":22}},"limits":{"total_mb":8000.0,"cleanup_threshold_mb":6000.0}}'
)
MEMORY_CLEANUP = (
    b'{"cleanup_type":"normal","total_items_removed":62,"component_results":{"progressive_cache":{"removed_items":40,'
    b'"status":"success"}},"memory_freed_mb":125.9,"memory_before_mb":859.6,"memory_after_mb":733.7}'
)


def test_qdrant_rag_mcp(tmp_path: Path) -> None:
    answers: Answers = {
        ("GET", "/memory_status"): Answer(MEMORY_STATUS),
        ("POST", "/memory_cleanup"): Answer(MEMORY_CLEANUP),
    }
    with answering(answers) as server:
        target = target_of(server.url, "qdrant-rag-mcp", tmp_path)
        report = known(target)
        assert report.resident_bytes == round(513.3 * MIB)
        assert report.components == (
            Component("progressive_cache", bytes=round(0.1 * MIB), items=13),
            Component("context_tracking", bytes=0, items=22),
        )
        assert cleaned(target, "normal") == done(round(125.9 * MIB))
        assert cleaned(target, "aggressive") == done(round(125.9 * MIB))
        assert sent(server)[1:] == [
            ("POST", "/memory_cleanup", {"level": "standard"}),
            ("POST", "/memory_cleanup", {"level": "aggressive"}),
        ]
        assert [level.cleanup_timeout for level in target.levels] == [30, 60]


def test_qdrant_rag_mcp_before_its_first_use(tmp_path: Path) -> None:
    answer = Answer(b'{"process":{"rss_mb":513.3},"components":{},"limits":{"total_mb":8000.0}}')
    with answering({("GET", "/memory_status"): answer}) as server:
        report = known(target_of(server.url, "qdrant-rag-mcp", tmp_path))
    assert (report.resident_bytes, report.components) == (round(513.3 * MIB), ())


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (b'{"memory_freed_mb":-0.0}', done(0)),
        (b'{"memory_freed_mb":-12.5}',
         done(detail="claimed: memory_freed_mb yields the number -12.5, allowed: a number "
                                                   "from 0 to 9223372036854775807")),
        (b'{"memory_freed_mb":null}', done()),
        (b'{"error":"Memory manager not initialized"}',
         failed(Reason.ERROR_IN_ANSWER, "Memory manager not initialized")),
        (b'{"error":"half of it","memory_freed_mb":1}', failed(Reason.ERROR_IN_ANSWER, "half of it", claimed=MIB)),
        (b'{"error":null,"memory_freed_mb":1}', done(MIB)),
    ],
)  # fmt: skip
def test_what_qdrant_rag_mcp_says_of_a_cleanup(body: bytes, outcome: Outcome, tmp_path: Path) -> None:
    with answering({("POST", "/memory_cleanup"): Answer(body)}) as server:
        assert cleaned(target_of(server.url, "qdrant-rag-mcp", tmp_path), "normal") == outcome


# ---- etcd

ETCD_STATUS = b'{"header":{"revision":"1234"},"dbSize":"32358400","dbSizeInUse":"30703616"}'
COMPACTED = Answer(b'{"header":{"revision":"1234"}}')
ETCD: Answers = {
    ("POST", "/v3/maintenance/status"): Answer(ETCD_STATUS),
    ("POST", "/v3/kv/compaction"): COMPACTED,
    ("POST", "/v3/maintenance/defragment"): Answer(b'{"header":{}}'),
}


def test_etcd(tmp_path: Path) -> None:
    with answering(dict(ETCD)) as server:
        target = target_of(server.url, "etcd", tmp_path)
        report = known(target)
        assert report.resident_bytes is None
        assert report.components == (Component("db", bytes=30703616), Component("db_free", bytes=1654784))
        assert report.values == {"revision": "1234"}
        for level in ("normal", "aggressive"):
            assert cleaned(target, level, dict(report.values)) == done()
        steps = [
            ("POST", "/v3/kv/compaction", {"revision": "1234", "physical": True}),
            ("POST", "/v3/maintenance/defragment", {}),
        ]
        assert sent(server) == [("POST", "/v3/maintenance/status", {}), *steps, *steps]
        assert [asked.headers.get("x-request-id") for asked in server.asked[1:3]] == ["id-1", "id-1-2"]
        assert {asked.headers["content-type"] for asked in server.asked} == {"application/json"}
        assert [level.cleanup_timeout for level in target.levels] == [90, 90]


def test_etcd_without_a_known_revision_is_not_asked(tmp_path: Path) -> None:
    with answering(dict(ETCD)) as server:
        target = target_of(server.url, "etcd", tmp_path)
        detail = "step 1 of 2, POST /v3/kv/compaction: not known from the statistics: revision"
        assert cleaned(target, "normal") == failed(Reason.NOT_SENT, detail, OutcomeKind.UNREACHED)
        assert server.asked == []


def test_etcd_that_has_compacted_already_is_not_defragmented(tmp_path: Path) -> None:
    body = b'{"error":"etcdserver: mvcc: required revision has been compacted","code":11}'
    with answering(ETCD | {("POST", "/v3/kv/compaction"): Answer(body, 400)}) as server:
        target = target_of(server.url, "etcd", tmp_path)
        detail = f"step 1 of 2, POST /v3/kv/compaction: 400: {body.decode()}"
        assert cleaned(target, "normal", {"revision": "1234"}) == failed(Reason.HTTP_STATUS, detail)
        assert [asked.path for asked in server.asked] == ["/v3/kv/compaction"]


def test_etcd_whose_second_step_fails(tmp_path: Path) -> None:
    with answering(ETCD | {("POST", "/v3/maintenance/defragment"): Answer(b"", 504)}) as server:
        target = target_of(server.url, "etcd", tmp_path)
        detail = "step 2 of 2, POST /v3/maintenance/defragment: 504"
        assert cleaned(target, "normal", {"revision": "1234"}) == failed(Reason.HTTP_STATUS, detail)


def test_a_cleanup_of_etcd_without_a_watchdog_reads_the_revision_first(tmp_path: Path) -> None:
    with answering(dict(ETCD)) as server:
        settings = f"    settle: 10ms\n    process: {{pid: {os.getpid()}}}\n"
        target = target_of(server.url, "etcd", tmp_path, settings)
        succeeded, text = asyncio.run(clean_up_directly(target, "normal", "by hand"))
        assert succeeded, text
        assert [asked.path for asked in server.asked] == [
            "/v3/maintenance/status",
            "/v3/kv/compaction",
            "/v3/maintenance/defragment",
        ]


# ---- jupyter

JUPYTER = b'{"rss":130248704,"limits":{"memory":{"rss":0,"pss":0}},"pss":105170944}'


def with_token(header: str, body: bytes) -> Respond:
    return lambda asked: Answer(body) if asked.headers.get("authorization") == header else Answer(b"Forbidden", 403)


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ('    stats: {headers: {Authorization: "token ${TOKEN}"}}\n', "token abc123"),
        ("    stats: {bearer_token_file: token}\n", "Bearer abc123"),
    ],
)
def test_jupyter(settings: str, header: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc123\n")
    with answering({("GET", "/api/metrics/v1"): with_token(header, JUPYTER)}) as server:
        target = target_of(server.url, "jupyter", tmp_path, settings)
        assert known(target) == ServerReport(answered_at=1.0, resident_bytes=130248704)
        assert cleanup_requests(target) == {}
        refused = reported(target_of(server.url, "jupyter", tmp_path))
        assert refused == Unavailable(Reason.HTTP_STATUS, "403: Forbidden")


def test_a_cleanup_that_answers_204_with_no_body(tmp_path: Path) -> None:
    more = (
        "    levels:\n      - name: low\n        enter: 50%\n        exit: 40%\n"
        "        cleanup: {path: /api/kernels/k1, method: DELETE, error: message, claimed: {at: freed}}\n"
    )
    with answering({("DELETE", "/api/kernels/k1"): Answer(status=204)}) as server:
        assert cleaned(target_of(server.url, "jupyter", tmp_path, more), "low") == done()
        assert sent(server) == [("DELETE", "/api/kernels/k1", None)]


# ---- litellm

SUMMARY = b'{"memory":{"ram_usage_mb":325.68},"caches":{"total_items":2,"breakdown":{"llm_responses":{"count":0}}}}'


def guarded(body: bytes, status: int = 200) -> Respond:
    """As litellm: 500 without a key, 400 with a wrong one."""

    def respond(asked: Asked) -> Answer:
        match asked.headers.get("authorization"):
            case None:
                return Answer(b'{"error":{"message":"Authentication Error, No api key passed in."}}', 500)
            case "Bearer sk-1234":
                return Answer(body, status)
        return Answer(b'{"error":{"message":"Authentication Error, Invalid proxy server token passed"}}', 400)

    return respond


LITELLM_KEYS = """\
    stats: {bearer_token_file: key}
    levels:
      - name: aggressive
        enter: 87.5%
        exit: 80%
        cleanup: {path: /cache/flushall, bearer_token_file: key}
"""


def test_litellm(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1234")
    answers: Answers = {
        ("GET", "/debug/memory/summary"): guarded(SUMMARY),
        ("POST", "/cache/flushall"): guarded(b'{"status":"success"}'),
    }
    with answering(answers) as server:
        target = target_of(server.url, "litellm", tmp_path, LITELLM_KEYS)
        report = known(target)
        assert report.resident_bytes == round(325.68 * MIB)
        assert report.components == (Component("llm_responses", items=0),)
        assert cleaned(target, "aggressive") == done()
        asked = server.asked[-1]
        assert (asked.method, asked.path, asked.body) == ("POST", "/cache/flushall", b"")
        server.answers["POST", "/cache/flushall"] = guarded(b'{"detail":"Service Unhealthy"}', 503)
        assert cleaned(target, "aggressive") == failed(Reason.HTTP_STATUS, '503: {"detail":"Service Unhealthy"}')


def test_litellm_without_its_key_and_with_a_wrong_one(tmp_path: Path) -> None:
    with answering({("GET", "/debug/memory/summary"): guarded(SUMMARY)}) as server:
        missing = reported(target_of(server.url, "litellm", tmp_path))
        assert isinstance(missing, Unavailable)
        assert missing.reason is Reason.HTTP_STATUS
        assert missing.detail.startswith("500: ")
        (tmp_path / "key").write_text("sk-9999")
        wrong = reported(target_of(server.url, "litellm", tmp_path, LITELLM_KEYS))
        assert isinstance(wrong, Unavailable)
        assert wrong.detail.startswith("400: ")
        assert [asked.headers.get("authorization") for asked in server.asked] == [None, "Bearer sk-9999"]


def test_the_litellm_preset_flushes_only_at_the_highest_level(tmp_path: Path) -> None:
    target = target_of("http://127.0.0.1:4000", "litellm", tmp_path)
    assert target.dry_run, "it may empty a Redis that is not LiteLLM's alone"
    assert {
        level: [getattr(step, "path", None) for step in steps] for level, steps in cleanup_requests(target).items()
    } == {"aggressive": ["/cache/flushall"]}


# ---- influxdb-1


def test_influxdb_1(tmp_path: Path) -> None:
    profile = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff" + bytes(range(256)) * 16
    answers: Answers = {
        ("GET", "/debug/vars"): Answer(b'{"memstats":{"HeapInuse":245366784,"Sys":350000000,"HeapReleased":0}}'),
        ("GET", "/debug/pprof/heap?gc=1"): Answer(profile, content_type="application/octet-stream"),
    }
    with answering(answers) as server:
        target = target_of(server.url, "influxdb-1", tmp_path)
        report = known(target)
        assert (report.resident_bytes, report.components) == (350000000, (Component("heap", bytes=245366784),))
        assert cleaned(target, "normal") == done()
        assert sent(server)[1:] == [("GET", "/debug/pprof/heap?gc=1", None)]
        server.answers["GET", "/debug/pprof/heap?gc=1"] = Answer(bytes(2 * MIB))
        assert cleaned(target, "aggressive") == done(detail="the answer is larger than 1.00 MiB; not read")


# ---- comfyui


@pytest.mark.parametrize(
    ("body", "resident", "vram"),
    [
        (b'{"system":{"ram_total":1,"ram_free":1},"devices":[{"vram_total":1,"vram_free":1}]}', 0, 0),
        (b'{"system":{"ram_total":9,"ram_free":2},"devices":[{"vram_total":8,"vram_free":1},{"vram_total":4,'
         b'"vram_free":3}]}', 7, 8),
    ],
)  # fmt: skip
def test_comfyui(body: bytes, resident: int, vram: int, tmp_path: Path) -> None:
    with answering({("GET", "/system_stats"): Answer(body), ("POST", "/free"): Answer()}) as server:
        target = target_of(server.url, "comfyui", tmp_path)
        report = known(target)
        assert (report.resident_bytes, report.components) == (resident, (Component("vram", bytes=vram),))
        assert cleaned(target, "normal") == done()
        assert sent(server)[1:] == [("POST", "/free", {"unload_models": True, "free_memory": True})]


def test_comfyui_without_a_graphics_card(tmp_path: Path) -> None:
    answer = Answer(b'{"system":{"ram_total":9,"ram_free":2},"devices":[]}')
    with answering({("GET", "/system_stats"): answer}) as server:
        assert known(target_of(server.url, "comfyui", tmp_path)).components == ()


# ---- prometheus-process, native


def test_prometheus_process(tmp_path: Path) -> None:
    text = b"# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 1.30248704e+08\n"
    with answering({("GET", "/metrics"): Answer(text, content_type="text/plain; version=0.0.4")}) as server:
        target = target_of(server.url, "prometheus-process", tmp_path)
        assert known(target) == ServerReport(answered_at=1.0, resident_bytes=130248704)
        assert server.asked[0].headers["accept"].startswith("text/plain; version=0.0.4")
        assert cleanup_requests(target) == {}
        own = target_of(server.url, "prometheus-process", tmp_path, "    stats: {headers: {accept: x/y}}\n")
        known(own)
        assert server.asked[1].headers["accept"] == "x/y"
        server.answers["GET", "/metrics"] = Answer(b"<html>login</html>", content_type="text/html")
        page = reported(target)
        assert isinstance(page, Unavailable)
        assert page.reason is Reason.INVALID


def test_native(tmp_path: Path) -> None:
    answers: Answers = {
        ("GET", "/memory"): Answer(b'{"schema":1,"process":{"resident_bytes":5}}'),
        ("POST", "/memory/cleanup"): Answer(b'{"schema":1,"reclaimed_bytes":7}'),
    }
    with answering(answers) as server:
        target = target_of(server.url, "native", tmp_path)
        assert known(target) == ServerReport(answered_at=1.0, resident_bytes=5)
        assert cleaned(target, "normal") == done(7)
        body = {"level": "normal", "reason": "used 80%", "request_id": "id-1", "target_bytes": 5}
        assert sent(server)[1:] == [("POST", "/memory/cleanup", body)]
