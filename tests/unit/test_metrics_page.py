"""docs/metrics.md is what the catalogue says, and says all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from memory_watchdog.counters import CLEANUP_REASONS, HTTP_REASONS, SOURCE_REASONS, TRIGGERS
from memory_watchdog.policy.events import Suppression
from memory_watchdog.web.families import FAMILIES, Family

from tools.metrics_page import documented, page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs`"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_has_a_row(family: Family) -> None:
    row = documented(family)
    assert row in page()
    assert f"| {family.kind} |" in row
    assert family.help in row
    assert all(f"`{label}`" in row for label in family.labels)


@pytest.mark.parametrize(
    "closed",
    [TRIGGERS, tuple(Suppression), HTTP_REASONS, CLEANUP_REASONS, *SOURCE_REASONS.values(), tuple(SOURCE_REASONS)],
    ids=str,
)
def test_closed_sets_are_listed(closed: tuple[str, ...]) -> None:
    assert f"| {', '.join(f'`{word}`' for word in closed)} |" in page()


def test_every_label_is_explained() -> None:
    used = {label for family in FAMILIES for label in family.labels}
    _, _, table = page().partition("## Labels")
    assert all(f"`{label}`" in table for label in used)


def test_no_cell_breaks_its_table() -> None:
    for family in FAMILIES:
        assert "|" not in family.help
        assert "\n" not in family.help
