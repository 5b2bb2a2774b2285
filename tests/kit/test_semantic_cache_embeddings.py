"""`SemanticCache` and its embeddings: which are kept, where they come from, models and tiers that fail."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np
import pytest
from memory_watchdog_kit import Level
from memory_watchdog_kit.scopes import Scope

from tests.kit.support.caches import ALIKE, QUERY, Clock, MakeCache
from tests.kit.support.queries import DIMENSIONS, Tier, Words


def test_a_group_that_is_used_again_is_another_one(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words(), max_results=1)
    cache.add(QUERY, "class", "a")
    table, group = cache._held.embeddings.place_of(Scope("", "", "", "class"), DIMENSIONS) or pytest.fail("no group")
    ((row, _cosine),) = table.nearest(Words()([ALIKE])[0], group=group.number)
    assert cache._held.embeddings.result_of(row, group) is not None
    cache.add(QUERY, "method", "b")  # evicts the first, whose row and number of a group it takes
    assert cache._held.embeddings.result_of(row, group) is None
    assert cache.get_similar(ALIKE, "method") == "b"


def test_groups_are_numbered_again_from_the_free_ones(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words(), max_results=3)
    for number in range(50):
        cache.add(f"{QUERY} {number}", f"level {number}", number)
    numbers = {group.number for group in cache._held.embeddings._groups.values()}
    assert len(numbers) == 3
    assert max(numbers) <= 4
    for number in range(47, 50):
        assert cache.get_similar(f"{ALIKE} {number}", f"level {number}") == number


def test_the_least_recently_used_embedding_goes(make_cache: MakeCache) -> None:
    model = Words()
    cache = make_cache(None, model, max_embeddings=2)
    for query in ("a a", "b b", "a a", "c c", "a a"):
        cache.get_similar(query, "class")
    assert model.calls == ["a a", "b b", "c c"]


def test_an_evicted_result_is_no_similar_hit_and_its_embedding_stays(make_cache: MakeCache) -> None:
    model = Words()
    cache = make_cache(None, model, max_results=1)
    cache.add(QUERY, "class", 1)
    cache.add("something else", "class", 2)
    assert cache.get_similar(ALIKE, "class") is None
    assert cache.get_similar(QUERY, "class") is None
    assert model.calls.count(QUERY) == 1
    assert cache.statistics().embeddings == 3


def test_one_call_of_the_model_serves_all_levels_and_tenants(make_cache: MakeCache) -> None:
    model = Words()
    cache = make_cache(None, model)
    for tenant in ("a", "b"):
        for level in ("file", "class", "method"):
            assert cache.get_similar(QUERY, level, tenant=tenant) is None
            cache.add(QUERY, level, [tenant, level], tenant=tenant)
    assert model.calls == [QUERY]
    assert cache.get_similar(ALIKE, "class", tenant="b") == ["b", "class"]
    assert cache.statistics().embeddings == 2


def test_the_number_of_embeddings_is_bounded(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words(), max_embeddings=2, max_results=10)
    cache.add(QUERY, "class", 1)
    cache.add("something else", "class", 2)
    cache.add("a third thing", "class", 3)
    assert cache.statistics().embeddings == 2
    assert cache.get_similar(QUERY, "class") == 1
    assert cache.get_similar(ALIKE, "class") is None  # its embedding went, so it is found exactly only


def test_evicted_embeddings_are_found_in_the_tier_below(make_cache: MakeCache) -> None:
    model, tier = Words(), Tier()
    cache = make_cache(None, model, max_embeddings=2, embedding_store=tier)
    queries = [QUERY, "something else", "a third thing"]
    for query in queries:
        cache.get_similar(query, "class")
    cache.add(QUERY, "class", 1)
    assert cache.get_similar(ALIKE, "class") == 1
    assert model.calls == [*queries, ALIKE]
    assert len(tier.arrays) == 4


def test_a_tier_that_fails_is_counted_and_the_model_still_asked(make_cache: MakeCache) -> None:
    tier = Tier()
    tier.error = OSError("gone")
    cache = make_cache(None, Words(), embedding_store=tier)
    cache.add(QUERY, "class", 1)
    assert cache.get_similar(ALIKE, "class") == 1
    assert cache.statistics().model_failures == 4


def test_the_tiers_embedding_from_before_a_change_of_the_model_is_not_taken(make_cache: MakeCache) -> None:
    model, tier = Words(), Tier()
    cache = make_cache(None, model, embedding_store=tier)
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
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture, answer: object, told: str
) -> None:
    model, clock = Words(), Clock()
    cache = make_cache(None, model, clock=clock)
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


def test_float64_is_taken(make_cache: MakeCache) -> None:
    model = Words()
    cache = make_cache(None, model)
    cache.add(QUERY, "class", 1)
    model.answer = Words()([ALIKE]).astype(np.float64)
    assert cache.get_similar(ALIKE, "class") == 1


def test_other_dimensions_begin_anew(make_cache: MakeCache, caplog: pytest.LogCaptureFixture) -> None:
    cache = make_cache(None, model := Words())
    cache.add(QUERY, "class", 1)
    model.dimensions = 32
    assert cache.get_similar(ALIKE, "class") is None
    assert "had 64 dimensions and now have 32" in caplog.text
    assert cache.get_similar(QUERY, "class") == 1
    cache.add(QUERY, "class", 2)
    assert cache.get_similar(ALIKE, "class") == 2


def test_the_model_is_called_outside_the_lock(make_cache: MakeCache) -> None:
    inside = threading.Event()
    go_on = threading.Event()

    def slow(texts: list[str]) -> Any:
        if texts == ["slow"]:
            inside.set()
            assert go_on.wait(30)
        return Words()(texts)

    cache = make_cache(None, slow)
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
