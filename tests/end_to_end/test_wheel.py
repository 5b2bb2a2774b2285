"""The wheel, installed where PyPI's `watchdog` lives too."""

from __future__ import annotations

import ast
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.watchdog import ENVIRONMENT

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "watchdog" / "memory_watchdog"


def run(*arguments: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.timeout(300)
def test_the_wheel_works_beside_the_watchdog_that_watches_files(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, cwd=tmp_path)
    (wheel,) = tmp_path.glob("memory_watchdog-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    assert {"memory_watchdog/py.typed", "memory_watchdog/demo/server.py"} <= names
    assert not any(name.startswith(("watchdog/", "tests/", "benchmarks/", "tools/")) for name in names)
    packed_too = {".py", ".typed", ".yaml"}  # the presets
    ours = {str(path.relative_to(PACKAGE.parent)) for path in PACKAGE.rglob("*") if path.suffix in packed_too}
    assert ours <= names

    venv.create(tmp_path / "venv", symlinks=True)  # without a pip of its own, which takes longer than all the rest
    python = tmp_path / "venv" / "bin" / "python"
    run(*pip, "--python", python, "install", "-c", ROOT / "constraints.txt", wheel, "watchdog", cwd=tmp_path)
    told = run(
        python, "-c",
        "import memory_watchdog, watchdog, watchdog.observers as o; print(memory_watchdog.__file__, watchdog.__file__)",
        cwd=tmp_path,
    ).split()  # fmt: skip
    packages = [Path(file).parent for file in told]
    assert [path.name for path in packages] == ["memory_watchdog", "watchdog"]
    assert packages[0].parent == packages[1].parent
    assert all(tmp_path in path.parents for path in packages)
    assert run(python.parent / "memory-watchdog", "--version", cwd=tmp_path).startswith("memory-watchdog ")
    run(*pip, "--python", python, "check", cwd=tmp_path)
    # what a run needs is all declared: with the tests' own packages absent it can be imported whole
    modules = sorted(name.removesuffix(".py").replace("/", ".") for name in names if name.endswith(".py"))
    whole = [name.removesuffix(".__init__") for name in modules if not name.endswith("__main__")]
    run(
        python,
        "-c",
        "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]",
        *whole,
        cwd=tmp_path,
    )


def test_the_package_imports_nothing_and_is_typed() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)]
    code = "import sys; before = set(sys.modules); import memory_watchdog; print(*(set(sys.modules) - before))"
    assert run(sys.executable, "-c", code, cwd=ROOT).split() == ["memory_watchdog"]
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("check", "--help")])
def test_what_only_prints_does_not_load_what_only_serves(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys; from memory_watchdog.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(); print('loaded', *({'fastapi', 'httpx', 'psutil', 'rich', 'structlog', 'uvicorn'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-c", code, *arguments, cwd=ROOT).splitlines()[-1] == "loaded"
