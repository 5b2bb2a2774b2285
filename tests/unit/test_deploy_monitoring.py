"""What sets up Prometheus, Grafana and the operator: valid, of one mind, and equal to what it is made from."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.board import RUNBOOKS_URL, TAG
from dashboards.generate import BOARDS, HERE
from tools.monitoring_manifests import FOLDER, ROOT, config_map, manifests, prometheus_rule, write

DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yml"
JOB = "memory-watchdog"
KUBECTL_BYTES = 262144  # of a manifest as JSON in an annotation
PORT_NAME_LENGTH = 15


def loaded(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def test_prometheus_takes_its_file(tmp_path: Path) -> None:
    if (ROOT / "alerts").exists():
        shutil.copytree(ROOT / "alerts", tmp_path / "alerts")
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "memory-watchdog-1.yaml").write_text('[{targets: ["host-a:9847"]}]')
    shutil.copy(PROMETHEUS, tmp_path)
    done = subprocess.run(
        ["promtool", "check", "config", tmp_path / PROMETHEUS.name],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_alerts_and_dashboards_find_the_runbooks_in_the_same_place() -> None:
    assert loaded(PROMETHEUS)["global"]["external_labels"]["runbooks"] == RUNBOOKS_URL


def pod_monitor() -> dict[str, Any]:
    (endpoint,) = loaded(FOLDER / "podmonitor.yaml")["spec"]["podMetricsEndpoints"]
    return dict(endpoint)


def test_the_pod_monitor_names_jobs_and_instances_as_the_dashboards_show_them() -> None:
    endpoint = pod_monitor()
    assert len(endpoint["port"]) <= PORT_NAME_LENGTH
    assert {rule["targetLabel"] for rule in endpoint["relabelings"]} == {"job", "instance"}
    assert endpoint["relabelings"][0]["replacement"] == JOB
    scrapes = loaded(PROMETHEUS)["global"]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == (scrapes["scrape_interval"], scrapes["scrape_timeout"])


def test_what_is_generated_is_what_is_committed(tmp_path: Path) -> None:
    (tmp_path / "dashboard-old.yaml").touch()
    write(tmp_path)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert written == dict(manifests())
    there = {path.name: path.read_text() for path in FOLDER.iterdir() if path.name != "podmonitor.yaml"}
    assert there == written, "run `make manifests` and commit what changed"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_a_config_map_holds_the_dashboard_and_is_not_too_large(board: Any) -> None:
    content = loaded(FOLDER / f"dashboard-{board.name}.yaml")
    assert content == config_map(HERE / f"{board.name}.json")
    assert list(content["data"].values()) == [(HERE / f"{board.name}.json").read_text()]
    assert len(json.dumps(content)) < KUBECTL_BYTES
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", content["metadata"]["name"])


def test_a_rule_file_becomes_the_body_word_for_word(tmp_path: Path) -> None:
    rules = tmp_path / "some.yaml"
    rules.write_text("groups:\n  - name: some\n    rules:\n      - {alert: A, expr: up == 0, for: 1m}\n")
    manifest = prometheus_rule(rules)
    assert (manifest["kind"], manifest["metadata"]["name"]) == ("PrometheusRule", "memory-watchdog-some")
    assert manifest["spec"] == {
        "groups": [{"name": "some", "rules": [{"alert": "A", "expr": "up == 0", "for": "1m"}]}]
    }  # fmt: skip


def test_grafana_finds_data_source_and_dashboards() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = loaded(provisioning / "datasources" / "memory-watchdog.yaml")["datasources"]
    assert (source["type"], source["uid"], source["editable"]) == ("prometheus", "memory-watchdog-prometheus", False)
    assert source["jsonData"]["timeInterval"] == loaded(PROMETHEUS)["global"]["scrape_interval"]
    (provider,) = loaded(provisioning / "dashboards" / "memory-watchdog.yaml")["providers"]
    assert provider["allowUiUpdates"] is False
    assert provider["options"]["path"].endswith(TAG)
