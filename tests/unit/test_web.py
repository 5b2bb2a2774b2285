"""The routes, over a real socket: negotiation, health, and that nothing waits for a slow scrape."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.client
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest
from memory_watchdog.ledger import Snapshot, TargetLedger
from memory_watchdog.watcher import Watcher
from memory_watchdog.web.app import SCRAPE_THREADS, create_app
from memory_watchdog.web.metrics import ReloadState, WatchdogCollector, registry_of
from memory_watchdog.web.server import WebServer, listen
from prometheus_client import ProcessCollector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
# What Prometheus 2 and 3 send.
PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.75,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=0.0.4;q=0.25,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@dataclass
class Site:
    """A served application, what its supervisor would answer, and a gate in front of every scrape."""

    url: str = ""
    port: int = 0
    is_ready: bool = True
    stopped: list[str] = field(default_factory=list)
    scraping: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None  # of the event loop
    threads: set[threading.Thread] = field(default_factory=set)  # that rendered an exposition
    ledger: TargetLedger = field(default_factory=lambda: TargetLedger("server"))

    def ready(self) -> bool:
        return self.is_ready

    def stalled(self) -> list[str]:
        return self.stopped

    def watchers(self) -> list[Watcher]:
        return []

    def watcher(self, name: str) -> Watcher | None:
        return None

    def allows_loopback_changes(self) -> bool:
        return True

    async def reload(self) -> str | None:
        return None

    def snapshots(self) -> list[Snapshot]:
        self.threads.add(threading.current_thread())
        self.scraping.set()
        assert self.gate.wait(20), "nobody opened the gate"
        return [self.ledger.snapshot()]

    def get(self, path: str, **headers: str) -> httpx.Response:
        """Without the headers that httpx adds by itself."""
        headers = {"accept": "*/*", "accept-encoding": "identity"} | headers
        named = {key.replace("_", "-"): text for key, text in headers.items()}
        return httpx.get(self.url + path, headers=named, timeout=30)


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    site = Site()
    site.gate.set()
    site.ledger.counters.know(["normal"], ["normal"], statistics=True)
    registry = registry_of(
        WatchdogCollector(site.snapshots, lambda: 0, lambda: ReloadState(successful=True, success_wall=1795400000.0)),
        lambda into: ProcessCollector(registry=into),
    )
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        site.port = listener.getsockname()[1]
        site.url = f"http://127.0.0.1:{site.port}"
        running = threading.Event()
        stop: list[object] = []

        async def serve() -> None:
            server, loop = WebServer(create_app(registry, site), listener), asyncio.get_running_loop()
            stop.append(lambda: loop.call_soon_threadsafe(server.stop))
            running.set()
            await server.run()

        thread = site.thread = threading.Thread(target=asyncio.run, args=(serve(),))
        thread.start()
        assert running.wait(20)
        yield site
        assert callable(stop[0])
        stop[0]()
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def site(served: Site) -> Site:
    served.is_ready, served.stopped = True, []
    served.gate.set()
    return served


# ---- /metrics


def test_text_is_the_answer_to_whoever_asks_for_nothing(site: Site) -> None:
    answer = site.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert "content-encoding" not in answer.headers
    names = {metric.name for metric in parse_text(answer.text)}
    assert {"memory_watchdog_cleanups", "memory_watchdog_build_info", "process_resident_memory_bytes"} <= names
    assert "# EOF" not in answer.text


@pytest.mark.parametrize("accept", [OPENMETRICS, PROMETHEUS_2, PROMETHEUS_3], ids=["plain", "prometheus 2", "and 3"])
def test_openmetrics_by_negotiation(site: Site, accept: str) -> None:
    answer = site.get("/metrics", accept=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    names = {metric.name for metric in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]
    assert {"memory_watchdog_cleanups", "memory_watchdog_build"} <= names


def test_gzip_only_for_whoever_takes_it(site: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        body = answer.read()
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) == len(body)
    plain = site.get("/metrics")
    assert gzip.decompress(body).splitlines()[:3] == plain.content.splitlines()[:3]
    assert len(body) < len(plain.content) / 4


def test_names_restrict_the_answer(site: Site) -> None:
    params = {"name[]": ["memory_watchdog_cleanups_total", "process_open_fds"]}
    answer = httpx.get(f"{site.url}/metrics", params=params)
    assert {metric.name for metric in parse_text(answer.text)} == {"memory_watchdog_cleanups", "process_open_fds"}


def test_a_name_that_does_not_exist_is_an_empty_exposition(site: Site) -> None:
    answer = site.get("/metrics?name[]=no_such_metric", accept=OPENMETRICS)
    assert (answer.status_code, answer.text) == (200, "# EOF\n")


@pytest.mark.parametrize("path", ["/metrics", "/-/healthy", "/-/ready", "/"])
def test_head_has_the_headers_and_no_body(site: Site, path: str) -> None:
    answer = httpx.head(site.url + path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == httpx.get(site.url + path).headers["content-type"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_other_methods_are_refused(site: Site, method: str) -> None:
    answer = httpx.request(method, f"{site.url}/metrics", content=b"x" * 1000 if method != "DELETE" else None)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_fifty_scrapes_side_by_side_are_fifty_whole_answers(site: Site) -> None:
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: site.get("/metrics", accept=OPENMETRICS), range(50)))
    assert all(answer.status_code == 200 and answer.text.endswith("# EOF\n") for answer in answers)


def test_fifty_scrapes_do_not_take_fifty_threads(site: Site) -> None:
    site.gate.clear()
    site.scraping.clear()
    site.threads.clear()
    with ThreadPoolExecutor(50) as threads:
        scrapes = [threads.submit(site.get, "/metrics") for _ in range(50)]
        try:
            assert site.scraping.wait(20)
            assert site.get("/-/healthy").status_code == 200  # asked after them: those that can wait at the gate do
        finally:
            site.gate.set()
        assert all(scrape.result().status_code == 200 for scrape in scrapes)
    assert len(site.threads) <= SCRAPE_THREADS
    assert site.thread not in site.threads, "it would hold up the event loop"


# ---- health


def test_health_answers_while_scrapes_hang(site: Site) -> None:
    site.scraping.clear()
    site.gate.clear()
    with ThreadPoolExecutor(1) as threads:
        scrape = threads.submit(site.get, "/metrics")
        try:
            assert site.scraping.wait(20)
            assert site.get("/-/healthy").status_code == 200
            assert site.get("/-/ready").status_code == 200
            assert not scrape.done()
        finally:
            site.gate.set()
        assert scrape.result().status_code == 200


def test_healthy_until_ticks_stop(site: Site) -> None:
    assert site.get("/-/healthy").status_code == 200
    site.stopped = ["one", "two"]
    answer = site.get("/-/healthy")
    assert answer.status_code == 503
    assert "one, two" in answer.text


def test_ready_after_the_first_ticks(site: Site) -> None:
    site.is_ready = False
    assert site.get("/-/ready").status_code == 503
    assert site.get("/-/healthy").status_code == 200, "not yet ready is healthy"
    site.is_ready = True
    assert site.get("/-/ready").status_code == 200


# ---- the rest


def test_the_landing_page_links_to_what_there_is(site: Site) -> None:
    answer = site.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    for path in ("metrics", "-/healthy", "-/ready"):
        assert f'href="{path}"' in answer.text, "relative, so that it works behind a path prefix"
        assert site.get(f"/{path}").status_code == 200


@pytest.mark.parametrize("path", ["/no-such-page", "/metricsx", "/docs", "/openapi.json", "/..%2f..%2fetc/passwd"])
def test_unknown_paths_are_not_found(site: Site, path: str) -> None:
    assert site.get(path).status_code == 404


def test_every_answer_has_a_date_and_does_not_name_its_software(site: Site) -> None:
    answer = site.get("/metrics")
    assert answer.headers["date"].endswith("GMT")
    assert "server" not in answer.headers
