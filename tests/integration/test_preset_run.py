"""A preset all the way: `probe` shows mapped statistics, `run` fills a cleanup from them and tells Prometheus."""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.test_real_servers import ETCD, MEMORY_STATUS
from tests.support.answers import Answer, answering
from tests.support.wait import eventually
from tests.support.watchdog import ENVIRONMENT, PROGRAM

# Used is more than this limit from the start: the cleanup is due before the first statistics have come.
CONFIG = """\
web: {{listen_address: "127.0.0.1:0"}}
targets:
  - name: store
    url: {url}
    preset: etcd
    process: {{pid: {pid}}}
    measure: rss
    limit: 2MiB
    interval: 100ms
    stats: {{interval: 1s}}
    levels:
      - name: high
        enter: 50%
        exit: 40%
        sustain: 0s
        cleanup:
          - {{path: /v3/kv/compaction, json: {{revision: "{{stats.revision}}", physical: true}}}}
          - {{path: /v3/maintenance/defragment, json: {{}}}}
"""


def test_probe_shows_what_a_preset_maps() -> None:
    with answering({("GET", "/memory_status"): Answer(MEMORY_STATUS)}) as server:
        options = ("--target.url", server.url, "--target.preset", "qdrant-rag-mcp", "--target.limit", "100GiB")
        done = subprocess.run(
            (*PROGRAM, "probe", *options), env=ENVIRONMENT, capture_output=True, text=True, timeout=30, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {columns[0]: columns[1] for line in done.stdout.splitlines() if len(columns := _columns(line)) > 2}
    assert rows["statistics"] == "2 components"
    assert rows["reported by the server"] == "513 MiB"
    assert rows["component progressive_cache"] == "102 KiB, 13 items"
    assert rows["component context_tracking"] == "0 B, 22 items"
    assert rows["cleanup normal"] == "POST /memory_cleanup, at most 30s"


def _columns(line: str) -> list[str]:
    return [column.strip() for column in line.split("│")[1:]]


def test_run_fills_a_cleanup_from_the_statistics(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with answering(dict(ETCD)) as server:
        (tmp_path / "memory-watchdog.yaml").write_text(CONFIG.format(url=server.url, pid=os.getpid()))
        with log.open("w") as output:
            process = subprocess.Popen((*PROGRAM, "run"), cwd=tmp_path, env=ENVIRONMENT, stdout=output, stderr=output)
        try:
            eventually(lambda: any("defragment" in asked.path for asked in server.asked), what="a defragmentation")
            address = re.search(r"127\.0\.0\.1:[1-9][0-9]*", log.read_text().replace(server.url, ""))
            assert address is not None, log.read_text()
            metrics = f"http://{address[0]}/metrics"
            eventually(lambda: b"cleanup_duration_seconds_count" in _get(metrics), what="its duration")
            text = _get(metrics).decode()
        finally:
            process.terminate()
            assert process.wait(10) == 0, log.read_text()
    cleanups = [asked for asked in server.asked if asked.path != "/v3/maintenance/status"]
    assert [asked.path for asked in cleanups[:2]] == ["/v3/kv/compaction", "/v3/maintenance/defragment"]
    assert cleanups[0].body == b'{"revision": "1234", "physical": true}'
    samples = {
        (
            sample.name.removeprefix("memory_watchdog_"),
            sample.labels.get("component") or sample.labels.get("level"),
        ): sample
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["target_info", None].labels["preset"] == "etcd"
    assert samples["component_bytes", "db"].value == 30703616
    assert samples["component_bytes", "db_free"].value == 1654784
    assert samples["cleanup_duration_seconds_count", "high"].value == 1
    assert samples["stats_up", None].value == 1


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        content: bytes = answer.read()
    return content
