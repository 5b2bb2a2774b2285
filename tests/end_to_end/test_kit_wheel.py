"""The kit's wheel in the environment of a server that pins old packages and has none of the kit's extras."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.watchdog import ENVIRONMENT

ROOT = Path(__file__).parents[2]
KIT = ROOT / "kit"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def run(*arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.timeout(300)
def test_the_wheel_works_with_old_psutil_beside_watchdog_and_without_extras(tmp_path: Path) -> None:
    run(*PIP, "wheel", "--no-deps", "--wheel-dir", tmp_path, KIT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("memory_watchdog_kit-*.whl")
    ours = {
        str(path.relative_to(KIT))
        for path in (KIT / "memory_watchdog_kit").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if ".dist-info/" not in name}
    assert names == ours
    assert "memory_watchdog_kit/py.typed" in names

    pinned = [line for line in (ROOT / "constraints.txt").read_text().split() if not line.startswith("psutil==")]
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("\n".join([*pinned, "psutil<6"]))
    venv.create(tmp_path / "venv", symlinks=True)  # without a pip of its own, which takes longer than all the rest
    python = tmp_path / "venv" / "bin" / "python"
    into = (*PIP, "--python", python)
    # wheels only: a server's image has no compiler
    run(*into, "install", "--only-binary=:all:", "-c", constraints, wheel, "watchdog", cwd=tmp_path)
    run(*into, "check", cwd=tmp_path)

    program = Path(__file__).with_name("kit_in_a_server.py")
    told = json.loads(run(python, "-I", program, tmp_path, cwd=tmp_path).splitlines()[-1])
    assert set(told["installed"]) == {"memory-watchdog-kit", "numpy", "psutil", "watchdog"}
    assert told["psutil"].startswith("5.9.")
    assert told["missing"] == told["undocumented"] == []
    assert set(told["reported"]) == set(told["names"])
    assert set(told["reported"].values()) == {None}, told["reported"]
    assert all(set(cleaned.values()) == {None} for cleaned in told["cleaned"]), told["cleaned"]
    for module in ours:
        name = module.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        assert not module.endswith(".py") or name in (*told["imported"], *told["refused"]), f"{name} was not tried"

    extras = set(tomllib.loads((KIT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for module, why in told["refused"].items():
        assert "\n" not in why
        needed = set(re.findall(r"memory-watchdog-kit\[([a-z,]+)\]", why))
        assert needed, f"{module} does not say which extra it needs: {why}"
        assert needed <= extras


def test_the_kit_and_the_watchdog_import_nothing_of_each_other() -> None:
    apart = {KIT / "memory_watchdog_kit": r"memory_watchdog\b", ROOT / "watchdog": r"memory_watchdog_kit\b"}
    for folder, other in apart.items():
        imports = re.compile(rf"^\s*(?:import|from)\s+{other}", re.MULTILINE)
        assert [path for path in folder.rglob("*.py") if imports.search(path.read_text())] == []
