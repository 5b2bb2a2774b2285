"""The dashboards are generated: what is committed, what comes back from the library, which colours stay apart."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.models import dashboard as models

from dashboards.board import RoundTripError, differences
from dashboards.colours import Colour
from dashboards.fleet import FLEET
from dashboards.generate import BOARDS, HERE, written


def test_what_is_committed_is_what_is_generated(tmp_path: Path) -> None:
    for path in written(tmp_path):
        assert (HERE / path.name).read_text() == path.read_text(), "run `make dashboards` and commit what changed"
    assert {path.stem for path in HERE.glob("*.json")} == {board.name for board in BOARDS}


def test_a_field_that_the_library_drops_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    read = models.Dashboard.from_json

    def forgetful(data: dict[str, Any]) -> models.Dashboard:
        return read({key: value for key, value in data.items() if key != "refresh"})

    monkeypatch.setattr(models.Dashboard, "from_json", forgetful)
    with pytest.raises(RoundTripError, match=r"fleet: \$\.refresh is '30s', and None when read back"):
        FLEET.text()


def test_differences_name_their_place() -> None:
    before = {"a": [1, {"b": 2}], "c": 3}
    assert list(differences(before, before)) == []
    assert list(differences(before, {"a": [1, {"b": 4}]})) == [("$.a[1].b", 2, 4), ("$.c", 3, None)]
    assert list(differences([1], [1, 2])) == [("$", [1], [1, 2])]


def test_every_expression_of_the_json_has_a_scenario() -> None:
    for board in BOARDS:
        content = json.loads(board.text())
        shown = [target["expr"] for panel in content["panels"] for target in panel.get("targets", ())]
        shown += [annotation["expr"] for annotation in content["annotations"].get("list", ())]
        assert shown == [query.expr for _, query in board.queries]


def test_uids_are_those_that_alerts_link_to() -> None:
    assert [json.loads(board.text())["uid"] for board in BOARDS] == [
        "memory-watchdog-fleet", "memory-watchdog-target", "memory-watchdog-watchdog"
    ]  # fmt: skip


def test_alerts_lead_to_dashboards_that_there_are_and_back_to_their_runbooks() -> None:
    boards = {content["uid"]: content for content in (json.loads(board.text()) for board in BOARDS)}
    rules = [
        rule
        for path in (HERE.parent / "alerts").glob("*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    for rule in rules:
        address = rule["annotations"]["dashboard_url"]
        uid = re.search(r"/d/([\w-]+)", address)
        assert uid is not None, address
        variables = {variable["name"] for variable in boards[uid[1]]["templating"]["list"]}
        assert set(re.findall(r"[?&]var-(\w+)=", address)) <= variables
        assert rule["annotations"]["runbook_url"].endswith(f"/{rule['alert']}.md")
    back = '"url": "${runbooks:raw}/${__data.fields.alertname}.md"'
    assert [board.text().count(back) for board in BOARDS] == [1, 1, 1]


def test_a_board_without_annotations_has_an_empty_list() -> None:
    assert json.loads(replace(FLEET, annotations=()).text())["annotations"]["list"] == []


def test_links_and_pictures_of_the_page_are_there() -> None:
    page = HERE.parent / "docs" / "dashboards.md"
    found = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [link for link in found if not (page.parent / link).exists()] == []
    assert {Path(link).name for link in found} >= {path.name for path in (page.parent / "images").iterdir()}


# Machado, Oliveira, Fernandes (2009), "A physiologically-based model for simulation of color vision deficiency",
# severity 1; they work on linear RGB.
EYES = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
LEAST_DISTANCE = 12  # CIE76; 2.3 is just noticeable, and lines are thin


def lab(colour: str, eyes: str) -> tuple[float, float, float]:
    """CIE L*a*b* (D65) of a colour as these eyes see it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    seen = [min(1.0, max(0.0, sum(k * v for k, v in zip(row, linear, strict=True)))) for row in EYES[eyes]]
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(k * v for k, v in zip(row, seen, strict=True)) for row in to_xyz]
    x, y, z = (
        ratio ** (1 / 3) if ratio > 216 / 24389 else (24389 / 27 * ratio + 16) / 116
        for ratio in (value / white for value, white in zip(xyz, (0.9505, 1.0, 1.089), strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: str, other: str, eyes: str) -> float:
    return float(sum((a - b) ** 2 for a, b in zip(lab(one, eyes), lab(other, eyes), strict=True)) ** 0.5)


@pytest.mark.parametrize("eyes", EYES)
def test_colours_stay_apart_for_all_eyes(eyes: str) -> None:
    for one, other in combinations(Colour, 2):
        assert distance(one, other, eyes) > LEAST_DISTANCE, (one.name, other.name)


RAMP = ("#5794F2", "#B877D9")
"""Grafana's blue and purple: the ends of `panels.by_height`."""


@pytest.mark.parametrize("eyes", EYES)
def test_what_only_names_tell_apart_is_like_no_meaning_but_what_is_measured(eyes: str) -> None:
    for end in RAMP:
        for meaning in set(Colour) - {Colour.USED, Colour.DEEP}:
            assert distance(end, meaning, eyes) > LEAST_DISTANCE, meaning.name


def test_red_and_green_would_not_stay_apart() -> None:
    assert distance("#F2495C", "#73BF69", "usual") > 80
    assert distance("#C15C17", "#7A7A10", "deuteranopia") < LEAST_DISTANCE
