"""The pace of a target: Pss that comes seldom stretches what the ladder waits for."""

from __future__ import annotations

from memory_watchdog.config import TargetConfig
from memory_watchdog.pace import Pace
from memory_watchdog.parts import ladder_settings
from memory_watchdog.policy.ladder import Ladder


def test_seldom_readings_stretch_stale_and_settle_in_powers_of_two_and_only_upwards() -> None:
    target = TargetConfig.model_validate({"url": "http://127.0.0.1:1", "measure": "pss"})
    pace, ladder = Pace(target), Ladder(ladder_settings(target), "x")
    assert pace.settings() == ladder_settings(target)
    assert not pace.stretched(5.0, ladder), "three of these fit into stale_after"
    assert pace.stretched(20.0, ladder)
    stretched = pace.settings()
    assert (stretched.stale_after_seconds, stretched.settle_seconds) == (96.0, 128.0)
    assert not pace.stretched(31.0, Ladder(stretched, "x")), "within the same power of two"
    assert not pace.stretched(6.0, ladder), "never downwards"
    assert pace.stretched(33.0, Ladder(stretched, "x"))
    assert pace.settings().stale_after_seconds == 192.0


def test_the_other_settings_stay() -> None:
    target = TargetConfig.model_validate({"url": "http://127.0.0.1:1", "escalate_after": 5})
    pace = Pace(target)
    pace.stretched(100.0, Ladder(ladder_settings(target), "x"))
    assert pace.settings().levels == ladder_settings(target).levels
    assert pace.settings().escalate_after == 5
