"""What a running watchdog serves, read by the tools of the field, while the server's statistics hang."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import prometheus_client.openmetrics.parser as openmetrics
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.target import running_target
from tests.support.wait import eventually
from tests.support.watchdog import Answer, Metrics, Watchdog, config, running_watchdog

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
SCRAPES = 50


@pytest.fixture(scope="module")
def request_ids() -> list[str]:
    """Filled by `watchdog` with the ids of the cleanups that were sent."""
    return []


@pytest.fixture(scope="module")
def watchdog(tmp_path_factory: pytest.TempPathFactory, request_ids: list[str]) -> Iterator[Watchdog]:
    """A watchdog that has done one cleanup, and whose target's statistics hang now."""
    keys = {"stats": {"interval": "1s", "timeout": "60s"}, "name": 'de"mo\\ ü'}
    with (
        running_target() as target,
        running_watchdog(tmp_path_factory.mktemp("web"), config(target.url, **keys)) as running,
    ):
        eventually(lambda: running.metrics().value("stats_up") == 1, what="the first statistics")
        target.control(grow=120, cleanup={"free": 80}, statistics={"hang": True})
        running.wait_for("verdict")
        request_ids += [json.loads(request["body"])["request_id"] for request in target.requests]
        read = target.statistics_read
        eventually(lambda: target.statistics_read > read, what="statistics that hang")
        yield running


def test_fifty_scrapes_side_by_side_get_whole_answers_at_once(watchdog: Watchdog) -> None:
    def scrape(_: int) -> Answer:
        return watchdog.get("/metrics", {"Accept-Encoding": "gzip"} if _ % 2 else {})

    started = time.monotonic()
    with ThreadPoolExecutor(SCRAPES) as pool:
        answers = list(pool.map(scrape, range(SCRAPES)))
    assert time.monotonic() - started < 5
    assert [answer.status for answer in answers] == [200] * SCRAPES
    for answer in answers:
        body = gzip.decompress(answer.body) if answer.headers.get("content-encoding") == "gzip" else answer.body
        assert body.endswith(b"\n")
        seen = Metrics.parsed(body.decode())
        assert seen.value("target_up") == 1
        assert seen.value("state_save_failures_total") == 0, "the last of our families"
        assert seen.samples[("process_max_fds", frozenset())] > 0, "the last of all"


def test_text_and_openmetrics_are_read_by_the_reference_parsers(watchdog: Watchdog, request_ids: list[str]) -> None:
    text, open_text = watchdog.get("/metrics"), watchdog.get("/metrics", OPENMETRICS)
    assert text.headers["content-type"].startswith("text/plain; version=")
    assert open_text.headers["content-type"].startswith("application/openmetrics-text; version=1.")
    assert open_text.text.endswith("# EOF\n")
    families = {family.name: family for family in text_string_to_metric_families(text.text)}
    open_families = {family.name: family for family in openmetrics.text_string_to_metric_families(open_text.text)}  # type: ignore[no-untyped-call]
    assert families["memory_watchdog_target_up"].samples[0].labels["target"] == 'de"mo\\ ü'
    ours = {name for name in open_families if name.startswith("memory_watchdog_")}
    assert len(ours) > 30
    exemplars = [
        sample.exemplar.labels
        for sample in open_families["memory_watchdog_cleanup_duration_seconds"].samples
        if sample.exemplar is not None
    ]
    assert exemplars == [{"request_id": request_ids[-1]}]
    assert "request_id" not in text.text, "the old format has no exemplars"
    assert "# TYPE memory_watchdog_cleanups_total counter" in text.text
    for content in (text.text, open_text.text):
        assert not any(word in content for word in (" nan\n", " NaN\n", " +Inf\n"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (tools/debian-packages)")
def test_promtool_finds_nothing_to_complain_about(watchdog: Watchdog) -> None:
    text = watchdog.get("/metrics").body
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_compression_and_the_filter_by_name(watchdog: Watchdog) -> None:
    packed = watchdog.get("/metrics", {"Accept-Encoding": "deflate, gzip;q=0.9"})
    assert packed.headers["content-encoding"] == "gzip"
    assert Metrics.parsed(gzip.decompress(packed.body).decode()).value("target_up") == 1
    assert "content-encoding" not in watchdog.get("/metrics", {"Accept-Encoding": "identity"}).headers
    assert "Accept-Encoding" in packed.headers["vary"]

    few = watchdog.get(
        "/metrics?name[]=memory_watchdog_target_up&name%5B%5D=process_open_fds&name[]=memory_watchdog_cleanups_total"
    )
    names = {name for name, _ in Metrics.parsed(few.text).samples}
    assert names == {"target_up", "process_open_fds", "cleanups_total"}
    assert watchdog.get("/metrics?name[]=no_such_metric").body == b""


def test_pages_that_there_are_and_pages_that_there_are_not(watchdog: Watchdog) -> None:
    assert watchdog.get("/-/healthy").text == "memory-watchdog is healthy.\n"
    assert watchdog.get("/-/ready").status == 200
    landing = watchdog.get("/")
    assert landing.headers["content-type"] == "text/html; charset=utf-8"
    for path in ("metrics", "-/healthy", "-/ready"):
        assert f'href="{path}"' in landing.text
        assert watchdog.get(f"/{path}").status == 200
    for path in ("/nothing", "/docs", "/openapi.json", "/..%2f..%2fetc/passwd", "/-/healthy/x"):
        assert watchdog.get(path).status == 404, path
    assert watchdog.get("/metrics", method="DELETE").status == 405


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready", "/"])
def test_head_is_answered_as_get_without_a_body(watchdog: Watchdog, path: str) -> None:
    """`wget --spider`, the health check of many images, asks with HEAD."""
    answer = watchdog.get(path, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


def test_hostile_queries_and_headers_are_answered(watchdog: Watchdog) -> None:
    for path in ("/metrics?name[]=", "/metrics?name[]=%00%ff", "/metrics?" + "name[]=a&" * 500, "/?%ff=%fe"):
        assert watchdog.get(path).status == 200, path
    for accept in ("", "*/*", "application/openmetrics-text", "a/b;;;q=x", "text/plain;version=9.9.9;escaping=x"):
        answer = watchdog.get("/metrics", {"Accept": accept})
        assert answer.status == 200, accept
        assert b"memory_watchdog_target_up" in answer.body
    assert "Traceback" not in watchdog.text
