"""There is a runbook for every alert, complete, asking for metrics that there are, with links that are answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promql import METRICS, OTHERS, parsed, selectors
from tests.support.runbooks import ALERTS, SECTIONS, blocks, is_answered, links, runbooks, sections
from tools.monitoring_manifests import ROOT
from tools.mutate_rules import rule_files

RECORDED = {rule["record"] for rules in rule_files().values() for rule in rules if "record" in rule}
OF_OTHERS = {"ALERTS", "prometheus_notifications_errors_total", *OTHERS}
PAGES = [*runbooks(), ROOT / "docs" / "alerts.md"]


def test_there_is_one_for_every_alert_and_no_other() -> None:
    assert [path.stem for path in runbooks()] == sorted(ALERTS)


@pytest.mark.parametrize("path", runbooks(), ids=lambda path: path.stem)
def test_a_runbook_is_complete(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(f"# {path.stem}\n")
    assert sections(text) == SECTIONS
    assert list(blocks(text, "promql"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_its_links_are_answered(path: Path) -> None:
    found = links(path.read_text())
    assert found
    assert [link for link in found if not is_answered(link, path)] == []


def test_a_link_that_is_not_answered_is_noticed() -> None:
    page = runbooks()[0]
    assert is_answered("../metrics.md#labels", page)
    assert not is_answered("../metrics.md#nothing", page)
    assert not is_answered("Nothing.md", page)
    assert not is_answered("https://example.com", page)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_its_expressions_ask_for_what_there_is(path: Path) -> None:
    for expr in blocks(path.read_text(), "promql"):
        names = {selector.name for selector in selectors(parsed(expr))}
        assert names <= METRICS.keys() | RECORDED | OF_OTHERS, expr


def test_the_page_of_alerts_lists_them_all() -> None:
    text = (ROOT / "docs" / "alerts.md").read_text()
    assert [name for name in ALERTS if f"[{name}](runbooks/{name}.md)" not in text] == []
