"""The memory manager: registry, report, cleanup on request."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from memory_watchdog_kit import (
    Cleaned,
    CleanupBusy,
    CleanupReport,
    Level,
    MemoryManager,
    Statistics,
)

from tests.support.components import Shelf


def manager_of(*components: Shelf, **options: object) -> MemoryManager:
    manager = MemoryManager(**options)  # type: ignore[arg-type]
    for component in components:
        manager.register(component)
    return manager


def test_every_component_is_reported_with_the_process() -> None:
    shelf = Shelf("shelf", items=3)
    report = manager_of(shelf).report()
    assert report.pid == os.getpid()
    assert report.resident_bytes > 2**20
    assert report.allocator_free_bytes is None or report.allocator_free_bytes >= 0
    [one] = report.components
    assert (one.name, one.statistics, one.error) == ("shelf", shelf.statistics(), None)


def test_a_name_is_registered_once_until_it_is_unregistered() -> None:
    manager = manager_of(Shelf("shelf"))
    with pytest.raises(ValueError, match="'shelf' is registered already"):
        manager.register(Shelf("shelf"))
    manager.unregister("shelf")
    assert manager.report().components == ()
    manager.register(Shelf("shelf"))
    with pytest.raises(KeyError):
        manager.unregister("table")


def test_a_component_needs_a_name() -> None:
    with pytest.raises(ValueError, match="is named ''"):
        MemoryManager().register(Shelf(""))


@pytest.mark.parametrize("level", list(Level))
def test_a_cleanup_reaches_every_component_at_its_level(level: Level) -> None:
    shelves = Shelf("a", items=10), Shelf("b", items=10)
    report = manager_of(*shelves).cleanup(level.value, request_id="one", reason="test")
    assert (report.request_id, report.level) == ("one", level)
    assert {one.name: one.cleaned.items_removed for one in report.components} == {"a": 10, "b": 10}
    assert [shelf.asked for shelf in shelves] == [[(level, None)], [(level, None)]]
    assert report.duration_seconds > 0
    assert report.reclaimed_bytes is not None


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({"level": "gentle"}, "'gentle' is no level of a cleanup: one of normal, aggressive"),
        ({"target_bytes": -1}, "target_bytes is -1"),
        ({"target_bytes": True}, "target_bytes is True"),
        ({"request_id": "x" * 257}, "request_id has 257 characters"),
    ],
)
def test_a_request_that_cannot_be_is_refused(arguments: dict[str, object], mistake: str) -> None:
    shelf = Shelf("shelf", items=1)
    manager = manager_of(shelf)
    with pytest.raises(ValueError, match=mistake):
        manager.cleanup(**arguments)  # type: ignore[arg-type]
    assert shelf.asked == []


def test_a_repeated_request_is_answered_from_memory() -> None:
    shelf = Shelf("shelf", items=10)
    manager = manager_of(shelf)
    first = manager.cleanup(request_id="same")
    assert manager.cleanup("aggressive", request_id="same") is first
    assert len(shelf.asked) == 1
    assert manager.cleanup().request_id != manager.cleanup().request_id


def test_a_storm_of_cleanups_runs_one() -> None:
    class Slow(Shelf):
        def cleanup(self, level: Level, target_bytes: int | None) -> Cleaned | Iterator[Cleaned]:
            assert all_have_asked.wait(60)
            return super().cleanup(level, target_bytes)

    all_have_asked = threading.Event()
    slow = Slow("slow", items=10)
    manager = manager_of(slow, component_deadline_seconds=60.0)
    answers: list[CleanupReport | CleanupBusy] = []

    def ask() -> None:
        try:
            answers.append(manager.cleanup())
        except CleanupBusy as busy:
            answers.append(busy)
        if len(answers) == 999:
            all_have_asked.set()

    threads = [threading.Thread(target=ask) for _ in range(1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(slow.asked) == 1
    assert sum(isinstance(answer, CleanupReport) for answer in answers) == 1
    assert len(answers) == 1000
    assert isinstance(manager.cleanup(), CleanupReport)


def test_settings_give_what_the_arguments_do_not() -> None:
    config = {"cleanup_interval_seconds": 60, "aggressive_cleanup_threshold_mb": 700}
    assert MemoryManager(config=config).health()["thresholds"] == {
        "normal_bytes": 600 * 2**20,
        "aggressive_bytes": 700 * 2**20,
    }
    given = MemoryManager(config=config, aggressive_threshold_bytes=1000, normal_threshold_bytes=10)
    assert given.health()["thresholds"] == {"normal_bytes": 10, "aggressive_bytes": 1000}
    assert MemoryManager().health()["thresholds"] == {}


@pytest.mark.parametrize(
    "option",
    [
        {"interval_seconds": 0},
        {"aggressive_threshold_bytes": 0},
        {"normal_threshold_bytes": -1},
        {"normal_threshold_bytes": 11, "aggressive_threshold_bytes": 10},
        {"quiet_after_watchdog_seconds": -1.0},
        {"component_deadline_seconds": 0.0},
        {"remembered_requests": -1},
        {"remember_seconds": -1.0},
        {"statistics_deadline_seconds": float("nan")},
    ],
)
def test_an_option_that_cannot_be_is_refused(option: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        MemoryManager(**option)  # type: ignore[arg-type]


def test_health_tells_status_process_components_thresholds_and_the_last_cleanup() -> None:
    manager = manager_of(Shelf("shelf", items=3), aggressive_threshold_bytes=2**40)
    before = manager.health()
    assert before["status"] == "ok"
    assert before["last_cleanup"] is None
    assert before["components"] == [{"name": "shelf", "bytes": 3000, "items": 3}]
    manager.cleanup(reason="because", request_id="one")
    last = manager.health()["last_cleanup"]
    assert isinstance(last, dict)
    assert (last["request_id"], last["reason"], last["level"], last["errors"]) == ("one", "because", "normal", {})


@pytest.mark.parametrize(
    ("thresholds", "status"),
    [
        ({"aggressive_threshold_bytes": 1}, "critical"),
        ({"normal_threshold_bytes": 1, "aggressive_threshold_bytes": 2**50}, "high"),
        ({}, "ok"),
    ],
)
def test_the_status_says_which_threshold_is_reached(thresholds: dict[str, int], status: str) -> None:
    assert manager_of(**thresholds).health()["status"] == status


def test_a_component_that_does_not_answer_is_degraded_health() -> None:
    class Broken(Shelf):
        def statistics(self) -> Statistics:
            raise OSError("disk is gone")

    health = manager_of(Broken("broken")).health()
    assert health["status"] == "degraded"
    assert health["components"] == [{"name": "broken", "error": "OSError: disk is gone"}]
