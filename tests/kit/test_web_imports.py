"""What each module of the endpoints needs to be installed, and what it says where that is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = "import sys\nfor name in {missing!r}: sys.modules[name] = None\n"


def run(missing: list[str], program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT.format(missing=missing) + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_application_and_the_listener_need_nothing() -> None:
    program = (
        "import memory_watchdog_kit.web.app, memory_watchdog_kit.web.listener, memory_watchdog_kit.web\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(loaded & {'fastapi', 'starlette', 'pydantic', 'anyio'}))"
    )
    done = run(["uvicorn", "httpx"], program)
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize(
    ("module", "missing", "told"),
    [
        ("fastapi", ["fastapi"], "needs FastAPI: install memory-watchdog-kit[fastapi]"),
        ("starlette", ["starlette"], "needs starlette, which memory-watchdog-kit[fastapi] brings"),
    ],
)
def test_a_missing_package_is_named(module: str, missing: list[str], told: str) -> None:
    done = run(missing, f"import memory_watchdog_kit.web.{module}")
    assert done.stderr.splitlines()[-1] == f"ImportError: memory_watchdog_kit.web.{module} {told}"


def test_starlette_alone_is_enough_for_its_routes() -> None:
    done = run(["fastapi", "pydantic"], "import memory_watchdog_kit.web.starlette; print('good')")
    assert done.stdout == "good\n", done.stderr
