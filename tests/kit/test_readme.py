"""The kit's README: every code block is run, and the defaults in its table are those of the code."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import memory_watchdog_kit as kit
import pytest
from memory_watchdog.config import load

README = Path(__file__).parents[2] / "kit" / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
SETTINGS = (kit.SemanticCacheSettings, kit.ContextTrackerSettings, kit.MemoryManagerSettings)
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


ASKED = """
import asyncio, httpx

async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8081") as client:
        memory = await client.get("/memory")
        cleanup = await client.post("/memory/cleanup", json={"level": "normal"})
        names = [component["name"] for component in memory.json()["components"]]
        print(memory.status_code, names[:1], cleanup.status_code, cleanup.json()["level"])

asyncio.run(ask())
"""


def blocks(language: str) -> list[str]:
    return [text for found, text in BLOCKS if found == language]


def run(*arguments: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        arguments, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_block_is_of_a_kind_that_is_run_here() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "json", "python", "yaml"}
    assert TEXT.count("```") == 2 * len(BLOCKS)


def test_the_python_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    (settings,) = blocks("json")
    (tmp_path / "server_config.json").write_text(settings)
    program = []
    for block in blocks("python"):
        if (name := re.match(r"# (\S+\.py)\n", block)) is None:
            program.append(block)
            continue
        (tmp_path / name[1]).parent.mkdir()
        (tmp_path / name[1]).write_text(block)
    (tmp_path / "server.py").write_text("\n\n".join([*program, ASKED]))
    # as a server is started: the forkserver and the workers import by PYTHONPATH
    told = run(sys.executable, "-W", "error", "server.py", folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert "ok" in told
    assert "200 ['semantic_cache'] 200 normal" in told
    assert "ContextDropped(files=2, searches=2, events=" in told


def test_the_json_block_is_the_defaults_but_for_the_threshold() -> None:
    (settings,) = blocks("json")
    read = kit.KitSettings.from_mapping(json.loads(settings))
    assert read == kit.KitSettings(memory_manager=kit.MemoryManagerSettings(180.0, 6 * 2**30))
    named = set(re.findall(r'"(\w+)": \d', settings))
    assert named == {key for section in SETTINGS for key in section.KEYS}


def test_the_yaml_block_is_a_config_of_the_watchdog(tmp_path: Path) -> None:
    (text,) = blocks("yaml")
    (tmp_path / "memory-watchdog.yaml").write_text(text)
    (target,) = load({}, {}, tmp_path).targets
    assert target.url == "http://127.0.0.1:8081"


def test_what_can_be_installed_is_there(tmp_path: Path) -> None:
    (lines,) = blocks("sh")
    run(
        "sh", "-ec", lines, folder=tmp_path,
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", PIP_NO_INDEX="1", PIP_DRY_RUN="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
    )  # fmt: skip
    extras = {name for found in re.findall(r"\[([\w,]+)\]", lines) for name in found.split(",")}
    project = tomllib.loads((README.parent / "pyproject.toml").read_text())["project"]
    assert extras == set(project["optional-dependencies"])


ROWS = re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", TEXT.split("## What there is")[1].split("\n## ")[0], re.MULTILINE)


@pytest.mark.parametrize(("name", "bounds"), ROWS)
def test_the_defaults_in_the_table_are_those_of_the_code(name: str, bounds: str) -> None:
    made = inspect.signature(getattr(kit, name)).parameters
    from_settings: dict[str, Any] = {field.name: field.default for section in SETTINGS for field in fields(section)}
    for bound, number, unit in re.findall(r"`(\w+)` ([\d.]+)(?: ([KMG]iB))?", bounds):
        default = made[bound].default
        default = from_settings[bound] if default is None else default
        assert float(number) * UNITS.get(unit, 1) == default, bound


def test_the_table_has_every_component_and_the_fork_section_too() -> None:
    components = {
        name
        for name in kit.__all__
        if inspect.isclass(what := getattr(kit, name))
        and not getattr(what, "_is_protocol", False)
        and hasattr(what, "statistics")
        and hasattr(what, "cleanup")
    }
    assert components <= {name for name, _ in ROWS}
    forking = TEXT.split("## When the server forks")[1]
    assert [name for name in components if f"`{name}`" not in forking] == []
