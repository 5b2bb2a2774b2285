"""What must hold for what stands around the expressions of all rules: labels, texts, links and times.

Leaves to others: expressions (`rule_lint`), whether a link is answered (`test_runbooks`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from dashboards.board import UIDS
from tests.support.promql import selectors
from tests.support.rule_checks import Rules, check, name_of, tree_of

SEVERITIES = {"critical", "warning", "info", "none"}
ANNOTATIONS = {"summary", "description", "runbook_url", "dashboard_url"}
LONGEST_FOR_SECONDS = {"critical": 300, "warning": 4 * 3600, "info": 4 * 3600}
LONGEST_KEEP_SECONDS = 900
EVENT_SECONDS = 900
"""An alert without `for` is about events of at least so long a time: else it would come and go with each."""


def seconds(duration: str) -> int:
    """`1h30m` in seconds."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)([smhd])", duration))


@check
def labels_hold_no_values(rules: Rules) -> Iterator[str]:
    """A label that changes makes another alert of it; the severity is one of four."""
    for rule, _ in rules.alerts:
        labels = rule.get("labels", {})
        if any("{{" in value for value in labels.values()):
            yield f"{name_of(rule)}: a template in {labels}"
        if labels.keys() != {"severity"} or labels["severity"] not in SEVERITIES:
            yield f"{name_of(rule)}: {labels}"


@check
def annotations_are_complete(rules: Rules) -> Iterator[str]:
    """All four; numbers are humanized and stand in the description, since a summary is a title."""
    for rule, _ in rules.alerts:
        texts = rule.get("annotations", {})
        if texts.keys() != ANNOTATIONS:
            yield f"{name_of(rule)}: {sorted(texts)}"
        if "$value" in texts.get("summary", ""):
            yield f"{name_of(rule)}: a value in the summary"
        for value in re.findall(r"\{\{[^}]*\$value[^}]*\}\}", texts.get("description", "")):
            if not re.search(r"\$value \| humanize", value):
                yield f"{name_of(rule)}: {value}"


@check
def links_lead_to_runbook_and_dashboard(rules: Rules) -> Iterator[str]:
    """The runbook of its own name; the target's dashboard with all variables where there is a target."""
    variables = {"job": "job", "instance": "instance", "target": "target"}
    for rule, tree in rules.alerts:
        texts, labels = rule.get("annotations", {}), rules.labels(tree)
        if texts.get("runbook_url") != f'{{{{ or $externalLabels.runbooks "docs/runbooks" }}}}/{rule["alert"]}.md':
            yield f"{name_of(rule)}: {texts.get('runbook_url')}"
        board = UIDS["target" if "target" in labels else "watchdog"]
        filled = "&".join(
            f"var-{name}={{{{ $labels.{name} | urlquery }}}}" for name in variables if name in labels
        )  # fmt: skip
        wanted = f'{{{{ or $externalLabels.grafana "http://localhost:3000" }}}}/d/{board}' + (filled and f"?{filled}")
        if texts.get("dashboard_url") != wanted:
            yield f"{name_of(rule)}: {texts.get('dashboard_url')}"


@check
def templates_name_labels_that_there_are(rules: Rules) -> Iterator[str]:
    """Any other is empty in the text that pages somebody."""
    for rule, tree in rules.alerts:
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule.get("annotations", {}).values())))
        for label in sorted(named - rules.labels(tree)):
            yield f"{name_of(rule)}: {label}"


@check
def times_are_sensible(rules: Rules) -> Iterator[str]:
    """Without `for` only what counts events over a while; a page neither waits long nor resolves on a flap."""
    for rule, tree in rules.alerts:
        severity = rule.get("labels", {}).get("severity", "")
        waits, keeps = seconds(rule.get("for", "0s")), seconds(rule.get("keep_firing_for", "0s"))
        ranges = [selector.range_seconds or 0 for selector in selectors(tree)]
        if waits == 0 and any(each < EVENT_SECONDS for each in ranges):
            yield f"{name_of(rule)}: no for"
        if 0 < waits < 60 or waits > LONGEST_FOR_SECONDS.get(severity, 0):
            yield f"{name_of(rule)}: for {waits}s"
        if keeps > LONGEST_KEEP_SECONDS or (severity == "critical" and keeps == 0):
            yield f"{name_of(rule)}: keep_firing_for {keeps}s"


@check
def nothing_is_there_twice(rules: Rules) -> Iterator[str]:
    """Neither a name nor an expression."""
    for key in (name_of, lambda rule: tree_of(rule).prettify()):
        yield from (str(what) for what, times in Counter(map(key, rules.all)).items() if times > 1)
