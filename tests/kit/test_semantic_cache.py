"""`SemanticCache`: exact and similar hits, expiry, bounds, cleanup, statistics."""

from __future__ import annotations

import functools
import logging
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from memory_watchdog_kit import (
    Cleaned,
    Codec,
    Component,
    Expiring,
    Level,
    SemanticCache,
    SemanticCacheSettings,
    SettingsError,
)
from memory_watchdog_kit.scopes import Scope

from tests.kit.support.queries import DIMENSIONS, Tier, Words

MIB = 2**20
QUERY = "find the parser of the configuration file"
ALIKE = "find the parser of the configuration files"  # cosine about 0.9
THRESHOLD = 0.8
SCOPE = {"level": "class", "tenant": "a", "model": "a", "index_version": "1"}
OTHER_SCOPES = [{"level": "field"}, {"tenant": "b"}, {"model": "b"}, {"index_version": "2"}]


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["with extras", "without"])
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SemanticCache]:
    """Makes caches, with orjson, zstandard and numkong and without them."""
    if request.param == "without":
        plain = functools.partial(Codec, orjson=None, zstandard=None)
        monkeypatch.setattr("memory_watchdog_kit.semantic_cache.Codec", plain)
        monkeypatch.setattr("memory_watchdog_kit.vectors.has_numkong", lambda: False)

    def made(*arguments: Any, **keywords: Any) -> SemanticCache:
        return SemanticCache(*arguments, **{"similarity_threshold": THRESHOLD, **keywords})

    return made


def hits(name: str, size: int = 100) -> list[dict[str, object]]:
    return [{"path": f"{name}.py", "score": 0.5, "type": "class", "text": "x" * size}]


def noise(seed: int, size: int) -> str:
    """Text that no packing makes smaller than half."""
    return random.Random(seed).randbytes(size // 2).hex()


def test_it_is_a_component_that_expires() -> None:
    cache: Component = SemanticCache()
    assert isinstance(cache, Component)
    assert isinstance(cache, Expiring)
    assert cache.name == "semantic_cache"


def test_defaults_are_the_plans() -> None:
    said = SemanticCache().statistics()
    assert (said.max_bytes, said.max_items, said.bytes, said.items) == (200 * MIB, 100, 0, 0)


def test_an_exact_hit_needs_no_model(make: Callable[..., SemanticCache]) -> None:
    cache = make()
    assert cache.get_similar(QUERY, "class") is None
    assert cache.add(QUERY, "class", hits("a"))
    assert cache.get_similar(QUERY, "class") == hits("a")
    assert cache.get_similar(ALIKE, "class") is None
    assert cache.add(QUERY, "class", hits("b"))
    assert cache.get_similar(QUERY, "class") == hits("b")
    said = cache.statistics()
    assert (said.exact_hits, said.similar_hits, said.hits, said.misses, said.items) == (2, 0, 2, 2, 1)


@pytest.mark.parametrize("scope", OTHER_SCOPES, ids=repr)
def test_nothing_crosses_a_scope(make: Callable[..., SemanticCache], scope: dict[str, str]) -> None:
    cache = make(None, Words())
    cache.add(QUERY, result=hits("a"), **SCOPE)
    other = {**SCOPE, **scope}
    assert cache.get_similar(QUERY, **other) is None
    assert cache.get_similar(ALIKE, **other) is None
    cache.add(QUERY, result=hits("b"), **other)
    assert cache.get_similar(QUERY, **other) == cache.get_similar(ALIKE, **other) == hits("b")
    assert cache.get_similar(QUERY, **SCOPE) == cache.get_similar(ALIKE, **SCOPE) == hits("a")


@pytest.mark.parametrize("scope", OTHER_SCOPES, ids=repr)
def test_without_a_model_neither(scope: dict[str, str]) -> None:
    cache = SemanticCache()
    cache.add(QUERY, result=hits("a"), **SCOPE)
    assert cache.get_similar(QUERY, **{**SCOPE, **scope}) is None
    assert cache.get_similar(QUERY, **SCOPE) == hits("a")


def test_a_group_that_is_used_again_is_another_one(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words(), max_results=1)
    cache.add(QUERY, "class", "a")
    table, group = cache._held.embeddings.place_of(Scope("", "", "", "class"), DIMENSIONS) or pytest.fail("no group")
    ((row, _cosine),) = table.nearest(Words()([ALIKE])[0], group=group.number)
    assert cache._held.embeddings.result_of(row, group) is not None
    cache.add(QUERY, "method", "b")  # evicts the first, whose row and number of a group it takes
    assert cache._held.embeddings.result_of(row, group) is None
    assert cache.get_similar(ALIKE, "method") == "b"


def test_groups_are_numbered_again_from_the_free_ones(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words(), max_results=3)
    for number in range(50):
        cache.add(f"{QUERY} {number}", f"level {number}", number)
    numbers = {group.number for group in cache._held.embeddings._groups.values()}
    assert len(numbers) == 3
    assert max(numbers) <= 4
    for number in range(47, 50):
        assert cache.get_similar(f"{ALIKE} {number}", f"level {number}") == number


def test_the_least_recently_used_embedding_goes(make: Callable[..., SemanticCache]) -> None:
    model = Words()
    cache = make(None, model, max_embeddings=2)
    for query in ("a a", "b b", "a a", "c c", "a a"):
        cache.get_similar(query, "class")
    assert model.calls == ["a a", "b b", "c c"]


def test_the_constructors_scope_is_the_default() -> None:
    cache = SemanticCache(tenant="t", model="m", index_version="1")
    cache.add(QUERY, "class", 1)
    assert cache.get_similar(QUERY, "class", tenant="t", model="m", index_version="1") == 1
    assert cache.get_similar(QUERY, "class", tenant="") is None


def test_keys_are_not_run_together() -> None:
    cache = SemanticCache()
    cache.add("c", "b", 1, tenant="a")
    assert cache.get_similar("bc", "", tenant="a") is None
    assert cache.get_similar("c", "", tenant="ab") is None
    assert cache.get_similar("\ud800", "b") is None  # what came from a file name that is no UTF-8


def test_the_most_alike_query_is_the_hit(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words(), guard=None)
    cache.add("parser token lexer grammar symbol", "class", "all five")
    cache.add("parser token lexer grammar table", "class", "four and another")
    assert cache.get_similar("symbol grammar lexer token parser", "class") == "all five"
    assert cache.get_similar("parser token lexer search index", "class") is None
    said = cache.statistics()
    assert (said.exact_hits, said.similar_hits, said.misses) == (0, 1, 1)


def test_the_threshold_acts(make: Callable[..., SemanticCache]) -> None:
    for threshold, hit in ((0.95, None), (0.7, 1)):
        cache = make(None, Words(), similarity_threshold=threshold)
        cache.add("parser token lexer grammar symbol", "class", 1)
        assert cache.get_similar("parser token lexer grammar table", "class") == hit


def test_a_contradiction_is_no_hit(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words())
    cache.add("how to enable the cache of the parser", "class", "enable")
    assert cache.get_similar("how to disable the cache of the parser", "class") is None
    assert cache.statistics().guarded == 1
    cache = make(None, Words(), guard=None)
    cache.add("how to enable the cache of the parser", "class", "enable")
    assert cache.get_similar("how to disable the cache of the parser", "class") == "enable"


def test_after_a_contradiction_the_next_is_looked_at(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words(), guard=lambda _query, other: "no" in other.split())
    cache.add("one two three four five six no", "class", "wrong")
    cache.add("one two three four five six", "class", "right")
    assert cache.get_similar("one two three four five no six six", "class") == "right"
    assert cache.statistics().guarded == 1


def test_a_guard_that_fails_refuses(make: Callable[..., SemanticCache], caplog: pytest.LogCaptureFixture) -> None:
    def broken(_query: str, _other: str) -> bool:
        raise RuntimeError("broken")

    cache = make(None, Words(), guard=broken)
    cache.add(QUERY, "class", 1)
    assert cache.get_similar(ALIKE, "class") is None
    assert cache.get_similar(QUERY, "class") == 1
    assert "guard failed" in caplog.text


@pytest.mark.parametrize("alike", [False, True])
def test_a_hit_does_not_renew_the_ttl(make: Callable[..., SemanticCache], alike: bool) -> None:
    clock = Clock()
    cache = make(None, Words(), clock=clock, ttl_seconds=100)
    cache.add(QUERY, "class", 1)
    query = ALIKE if alike else QUERY
    clock.now += 99.9
    assert cache.get_similar(query, "class") == 1
    clock.now += 0.1
    assert cache.get_similar(query, "class") is None
    assert cache.statistics().expirations == 1
    assert len(cache) == 0


def test_adding_again_renews_it() -> None:
    clock = Clock()
    cache = SemanticCache(clock=clock, ttl_seconds=100)
    cache.add(QUERY, "class", 1)
    clock.now += 60
    cache.add(QUERY, "class", 2)
    clock.now += 60
    assert cache.get_similar(QUERY, "class") == 2


def test_what_is_expired_goes_after_so_many_operations(make: Callable[..., SemanticCache]) -> None:
    clock = Clock()
    cache = make(None, Words(), clock=clock, ttl_seconds=100, cleanup_interval_operations=10)
    for number in range(5):
        cache.add(f"query {number}", "class", number)
    clock.now += 100
    for number in range(4):
        cache.get_similar(f"other {number}", "class")
        assert len(cache) == 5
    cache.get_similar("other 4", "class")
    assert len(cache) == 0
    said = cache.statistics()
    assert (said.expirations, said.evictions) == (5, 0)
    assert said.embeddings == 5  # of the queries since; those of before were not used for as long


def test_expire_takes_what_is_expired_and_nothing_else() -> None:
    clock = Clock()
    cache = SemanticCache(clock=clock, ttl_seconds=100, max_results=1000)
    for number in range(200):
        cache.add(f"{number}", "class", number)
    clock.now += 50
    cache.add("new", "class", 1)
    clock.now += 50
    assert sum(cache.expire(), Cleaned()).items_removed == 200
    assert len(cache) == 1
    assert cache.get_similar("new", "class") == 1


def test_the_number_of_results_is_bounded_and_the_least_recently_used_goes(make: Callable[..., SemanticCache]) -> None:
    cache = make(max_results=3)
    for number in range(3):
        cache.add(f"{number}", "class", number)
    assert cache.get_similar("0", "class") == 0
    cache.add("3", "class", 3)
    assert cache.get_similar("1", "class") is None
    assert [cache.get_similar(f"{number}", "class") for number in (0, 2, 3)] == [0, 2, 3]
    assert cache.statistics().evictions == 1


def test_a_similar_hit_is_a_use(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words(), max_results=2)
    cache.add(QUERY, "class", 1)
    cache.add("something else", "class", 2)
    assert cache.get_similar(ALIKE, "class") == 1
    cache.add("a third thing", "class", 3)
    assert cache.get_similar(QUERY, "class") == 1
    assert cache.get_similar("something else", "class") is None


def test_an_evicted_result_is_no_similar_hit_and_its_embedding_stays(make: Callable[..., SemanticCache]) -> None:
    model = Words()
    cache = make(None, model, max_results=1)
    cache.add(QUERY, "class", 1)
    cache.add("something else", "class", 2)
    assert cache.get_similar(ALIKE, "class") is None
    assert cache.get_similar(QUERY, "class") is None
    assert model.calls.count(QUERY) == 1
    assert cache.statistics().embeddings == 3


def test_one_call_of_the_model_serves_all_levels_and_tenants(make: Callable[..., SemanticCache]) -> None:
    model = Words()
    cache = make(None, model)
    for tenant in ("a", "b"):
        for level in ("file", "class", "method"):
            assert cache.get_similar(QUERY, level, tenant=tenant) is None
            cache.add(QUERY, level, [tenant, level], tenant=tenant)
    assert model.calls == [QUERY]
    assert cache.get_similar(ALIKE, "class", tenant="b") == ["b", "class"]
    assert cache.statistics().embeddings == 2


def test_the_number_of_embeddings_is_bounded(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words(), max_embeddings=2, max_results=10)
    cache.add(QUERY, "class", 1)
    cache.add("something else", "class", 2)
    cache.add("a third thing", "class", 3)
    assert cache.statistics().embeddings == 2
    assert cache.get_similar(QUERY, "class") == 1
    assert cache.get_similar(ALIKE, "class") is None  # its embedding went, so it is found exactly only


def test_evicted_embeddings_are_found_in_the_tier_below(make: Callable[..., SemanticCache]) -> None:
    model, tier = Words(), Tier()
    cache = make(None, model, max_embeddings=2, embedding_store=tier)
    queries = [QUERY, "something else", "a third thing"]
    for query in queries:
        cache.get_similar(query, "class")
    cache.add(QUERY, "class", 1)
    assert cache.get_similar(ALIKE, "class") == 1
    assert model.calls == [*queries, ALIKE]
    assert len(tier.arrays) == 4


def test_a_tier_that_fails_is_counted_and_the_model_still_asked(make: Callable[..., SemanticCache]) -> None:
    tier = Tier()
    tier.error = OSError("gone")
    cache = make(None, Words(), embedding_store=tier)
    cache.add(QUERY, "class", 1)
    assert cache.get_similar(ALIKE, "class") == 1
    assert cache.statistics().model_failures == 4


def test_the_tiers_embedding_from_before_a_change_of_the_model_is_not_taken(make: Callable[..., SemanticCache]) -> None:
    model, tier = Words(), Tier()
    cache = make(None, model, embedding_store=tier)
    cache.add(QUERY, "class", 1)
    tier.arrays = {key: array[:32] for key, array in tier.arrays.items()}
    cache._held.drop_embeddings(10)
    cache.add("something else", "class", 2)
    cache.add(QUERY, "class", 1)
    assert model.calls.count(QUERY) == 2


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (RuntimeError("no memory"), "RuntimeError: no memory"),
        (SystemError("x"), "SystemError"),
        ([[0.5] * 64], "not a list"),
        (np.ones((1, 64), np.int64), "an array of int64"),
        (np.ones((2, 64), np.float32), r"(1, d), not (2, 64)"),
        (np.ones(64, np.float32), r"(1, d), not (64,)"),
        (np.ones((1, 0), np.float32), r"(1, d), not (1, 0)"),
        (np.full((1, 64), np.nan, np.float32), "not finite"),
        (np.full((1, 64), 1e300, np.float64), "not finite"),
        (np.zeros((1, 64), np.float32), "zero"),
    ],
    ids=str,
)
def test_a_model_that_fails_is_an_exact_only_miss(
    make: Callable[..., SemanticCache], caplog: pytest.LogCaptureFixture, answer: object, told: str
) -> None:
    model, clock = Words(), Clock()
    cache = make(None, model, clock=clock)
    cache.add(QUERY, "class", 1)
    model.answer = answer
    for number in range(5):
        assert cache.get_similar(f"{ALIKE} {number}", "class") is None
    assert cache.get_similar(QUERY, "class") == 1
    assert cache.add("new", "class", 2)
    assert cache.get_similar("new", "class") == 2
    said = cache.statistics()
    assert (said.model_failures, said.misses, said.exact_hits) == (6, 5, 2)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert told in warnings[0]
    clock.now += 60
    cache.get_similar("later", "class")
    assert "6 times" in caplog.text
    model.answer = None
    assert cache.get_similar(ALIKE, "class") == 1


def test_float64_is_taken(make: Callable[..., SemanticCache]) -> None:
    model = Words()
    cache = make(None, model)
    cache.add(QUERY, "class", 1)
    model.answer = Words()([ALIKE]).astype(np.float64)
    assert cache.get_similar(ALIKE, "class") == 1


def test_other_dimensions_begin_anew(make: Callable[..., SemanticCache], caplog: pytest.LogCaptureFixture) -> None:
    cache = make(None, model := Words())
    cache.add(QUERY, "class", 1)
    model.dimensions = 32
    assert cache.get_similar(ALIKE, "class") is None
    assert "had 64 dimensions and now have 32" in caplog.text
    assert cache.get_similar(QUERY, "class") == 1
    cache.add(QUERY, "class", 2)
    assert cache.get_similar(ALIKE, "class") == 2


def test_the_model_is_called_outside_the_lock(make: Callable[..., SemanticCache]) -> None:
    inside = threading.Event()
    go_on = threading.Event()

    def slow(texts: list[str]) -> Any:
        if texts == ["slow"]:
            inside.set()
            assert go_on.wait(30)
        return Words()(texts)

    cache = make(None, slow)
    asking = threading.Thread(target=cache.get_similar, args=("slow", "class"))
    asking.start()
    assert inside.wait(30)
    cache.add(QUERY, "class", 1)
    assert cache.get_similar(ALIKE, "class") == 1
    cache.statistics()
    list(cache.cleanup(Level.NORMAL, None))
    go_on.set()
    asking.join(30)
    assert not asking.is_alive()


def test_what_is_larger_than_the_bound_is_refused_and_nothing_goes_for_it(make: Callable[..., SemanticCache]) -> None:
    model = Words()
    cache = make(None, model, max_bytes=500_000)
    cache.add(QUERY, "class", hits("a"))
    cache.add("large", "class", hits("b"))
    called = len(model.calls)
    assert not cache.add("large", "class", noise(1, 1_500_000))
    assert len(model.calls) == called
    assert cache.get_similar("large", "class") is None  # what was there before is not the answer any more
    assert cache.get_similar(QUERY, "class") == hits("a")
    said = cache.statistics()
    assert (said.refused, said.evictions, said.items) == (1, 0, 1)


def test_a_result_that_is_not_json_is_a_type_error_that_says_where() -> None:
    cache = SemanticCache()
    with pytest.raises(TypeError, match=r"result\[0\]\['score'\] is a complex"):
        cache.add(QUERY, "class", [{"score": 1j}])
    assert len(cache) == 0


def test_results_are_packed_where_bytes_are_scarce() -> None:
    roomy, tight = SemanticCache(), SemanticCache(max_bytes=2 * MIB)
    for number in range(100):
        roomy.add(f"{number}", "class", hits(f"{number}", 6_000))
        tight.add(f"{number}", "class", hits(f"{number}", 6_000))
    assert roomy.held_bytes > 600_000
    assert tight.held_bytes < 200_000
    assert tight.get_similar("0", "class") == roomy.get_similar("0", "class") == hits("0", 6_000)


def test_embeddings_count_in_the_bytes_and_get_half_of_them(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words(512), max_bytes=2 * MIB, max_embeddings=100_000, max_results=100_000)
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
def test_cleanup_drops_the_oldest_share(
    make: Callable[..., SemanticCache], level: Level, results: int, embeddings: int
) -> None:
    cache = make(None, Words(), max_results=100)
    for number in range(200):
        cache.add(f"query {number}", "class", number)
    steps = list(cache.cleanup(level, None))
    said = cache.statistics()
    assert (said.items, said.embeddings) == (results, embeddings)
    assert sum(steps, Cleaned()).items_removed == 100 - results + 200 - embeddings
    assert cache.get_similar(f"query {200 - results}", "class") == 200 - results
    assert cache.get_similar(f"query {199 - results}", "class") != 199 - results


def test_cleanup_with_a_target_stops_when_it_is_reached(make: Callable[..., SemanticCache]) -> None:
    cache = make(max_results=10_000)
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


def test_clear_forgets_everything(make: Callable[..., SemanticCache]) -> None:
    cache = make(None, Words())
    cache.add(QUERY, "class", 1)
    cache.clear()
    assert cache.held_bytes == 0
    assert cache.get_similar(QUERY, "class") is None
    assert cache.get_similar(ALIKE, "class") is None


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
