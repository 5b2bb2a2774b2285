"""Every scenario runs twice: with one ladder throughout, and with one that is restored from JSON before every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from memory_watchdog.policy.settings import LadderSettings

from tests.unit.ladder.simulator import DEFAULTS, Bench

MakeBench = Callable[..., Bench]


@pytest.fixture(params=[False, True], ids=["kept", "restored"])
def bench(request: pytest.FixtureRequest) -> MakeBench:
    restored = cast("bool", request.param)

    def make(settings: LadderSettings = DEFAULTS, limit_mib: float | None = 100) -> Bench:
        return Bench(settings, restored, limit_mib)

    return make
