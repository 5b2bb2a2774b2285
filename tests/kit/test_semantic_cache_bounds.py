"""`SemanticCache`: its bounds, cleanup, settings and the time of a refill."""

from __future__ import annotations

from typing import Any

import pytest
from memory_watchdog_kit import Cleaned, Level, SemanticCache, SemanticCacheSettings, SettingsError

from tests.kit.support.caches import MIB, QUERY, Clock, MakeCache, hits, noise
from tests.kit.support.queries import Words


def test_what_is_larger_than_the_bound_is_refused_and_nothing_goes_for_it(make_cache: MakeCache) -> None:
    model = Words()
    cache = make_cache(None, model, max_bytes=500_000)
    cache.add(QUERY, "class", hits("a"))
    cache.add("large", "class", hits("b"))
    called = len(model.calls)
    assert not cache.add("large", "class", noise(1, 1_500_000))
    assert len(model.calls) == called
    assert cache.get_similar("large", "class") is None  # what was there before is not the answer any more
    assert cache.get_similar(QUERY, "class") == hits("a")
    said = cache.statistics()
    assert (said.refused, said.evictions, said.items) == (1, 0, 1)


def test_results_are_packed_where_bytes_are_scarce() -> None:
    roomy, tight = SemanticCache(), SemanticCache(max_bytes=2 * MIB)
    for number in range(100):
        roomy.add(f"{number}", "class", hits(f"{number}", 6_000))
        tight.add(f"{number}", "class", hits(f"{number}", 6_000))
    assert roomy.held_bytes > 600_000
    assert tight.held_bytes < 200_000
    assert tight.get_similar("0", "class") == roomy.get_similar("0", "class") == hits("0", 6_000)


def test_embeddings_count_in_the_bytes_and_get_half_of_them(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words(512), max_bytes=2 * MIB, max_embeddings=100_000, max_results=100_000)
    held = []
    for number in range(3_000):
        cache.add(f"query {number} of {number % 7}", "class", noise(number, 600))
        if not number % 100:
            held.append(cache.held_bytes)
    assert max(held) <= 2 * MIB
    assert cache.held_bytes > 1.5 * MIB
    said = cache.statistics()
    assert 100 < said.embeddings < 3_000
    assert 100 < len(cache) < 3_000
    assert cache._held.embeddings.held_bytes <= MIB


@pytest.mark.parametrize(("level", "results", "embeddings"), [(Level.NORMAL, 80, 160), (Level.AGGRESSIVE, 50, 100)])
def test_cleanup_drops_the_oldest_share(make_cache: MakeCache, level: Level, results: int, embeddings: int) -> None:
    cache = make_cache(None, Words(), max_results=100)
    for number in range(200):
        cache.add(f"query {number}", "class", number)
    steps = list(cache.cleanup(level, None))
    said = cache.statistics()
    assert (said.items, said.embeddings) == (results, embeddings)
    assert sum(steps, Cleaned()).items_removed == 100 - results + 200 - embeddings
    assert cache.get_similar(f"query {200 - results}", "class") == 200 - results
    assert cache.get_similar(f"query {199 - results}", "class") != 199 - results


def test_cleanup_with_a_target_stops_when_it_is_reached(make_cache: MakeCache) -> None:
    cache = make_cache(max_results=10_000)
    for number in range(2_000):
        cache.add(f"query {number}", "class", noise(number, 2_000))
    before = cache.held_bytes
    done = sum(cache.cleanup(Level.AGGRESSIVE, 100_000), Cleaned())
    assert 100_000 <= before - cache.held_bytes == done.bytes_freed < 250_000
    assert 40 <= done.items_removed <= 200
    assert cache.statistics().evictions == done.items_removed


def test_cleanup_takes_what_is_expired_first() -> None:
    clock = Clock()
    cache = SemanticCache(clock=clock, ttl_seconds=100)
    for number in range(50):
        cache.add(f"old {number}", "class", number)
    clock.now += 100
    for number in range(10):
        cache.add(f"new {number}", "class", number)
    list(cache.cleanup(Level.NORMAL, 1000))
    assert len(cache) == 10
    list(cache.cleanup(Level.NORMAL, None))
    assert len(cache) == 8


def test_refill_time_is_from_the_miss_to_the_add() -> None:
    clock = Clock()
    cache = SemanticCache(clock=clock)
    cache.add("never missed", "class", 1)
    assert cache.statistics().refill_seconds is None
    cache.get_similar("a", "class")
    clock.now += 2
    cache.add("a", "class", 1)
    assert cache.statistics().refill_seconds == 2
    cache.get_similar("b", "class")
    clock.now += 4
    cache.add("b", "class", 1)
    assert 2 < (cache.statistics().refill_seconds or 0) < 4
    mean = cache.statistics().refill_seconds
    clock.now += 100
    cache.add("b", "class", 1)  # once per miss
    assert cache.statistics().refill_seconds == mean


def test_misses_that_are_never_filled_are_bounded() -> None:
    cache = SemanticCache()
    for number in range(5_000):
        cache.get_similar(f"{number}", "class")
    assert cache.held_bytes < 100_000


def test_settings_from_code_and_from_the_json_section() -> None:
    for config in (
        SemanticCacheSettings(max_results=7, max_bytes=3 * MIB),
        {"max_cache_size": 7, "max_memory_mb": 3, "cleanup_interval": 10, "ttl_seconds": 60},
    ):
        said = SemanticCache(config).statistics()
        assert (said.max_items, said.max_bytes) == (7, 3 * MIB)
        said = SemanticCache(config, max_results=9).statistics()
        assert (said.max_items, said.max_bytes) == (9, 3 * MIB)


@pytest.mark.parametrize(
    "wrong", [{"max_bytes": 0}, {"max_results": 0}, {"ttl_seconds": 0}, {"cleanup_interval_operations": 0}], ids=repr
)
def test_a_bound_that_cannot_be_kept_is_an_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        SemanticCache(**wrong)


@pytest.mark.parametrize("wrong", [{"max_embeddings": 0}, {"similarity_threshold": 1.1}], ids=repr)
def test_so_are_the_others(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SemanticCache(**wrong)
