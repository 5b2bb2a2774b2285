"""The runbooks as text: their sections, what they tell to ask and to run, where their links lead.

Leaves to others: whether all that works (`test_runbooks`, `test_runbooks_live`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.monitoring_manifests import ROOT
from tools.mutate_rules import rule_files

RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
ALERTS = [rule["alert"] for rules in rule_files().values() for rule in rules if "alert" in rule]


def runbooks() -> list[Path]:
    """All of them."""
    return sorted(RUNBOOKS.glob("*.md"))


def sections(text: str) -> list[str]:
    """The headings below the title."""
    return re.findall(r"^## (.+)$", text, re.MULTILINE)


def blocks(text: str, language: str) -> Iterator[str]:
    """What stands in the fences of a language."""
    yield from (found.strip() for found in re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def links(text: str) -> list[str]:
    """Where the text's links lead."""
    return re.findall(r"\]\(([^)\s]+)\)", text)


def is_answered(link: str, page: Path) -> bool:
    """Is there a file, and in it the heading? Nothing outside the repository is linked to."""
    place, _, anchor = link.partition("#")
    path = (page.parent / place) if place else page
    if not path.exists() or not path.resolve().is_relative_to(ROOT):
        return False
    if not anchor:
        return True
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
