"""`SemanticCache`: exact and similar hits, scopes, expiry, what is used last."""

from __future__ import annotations

import pytest
from memory_watchdog_kit import Cleaned, Component, Expiring, SemanticCache

from tests.kit.support.caches import ALIKE, MIB, OTHER_SCOPES, QUERY, SCOPE, Clock, MakeCache, hits
from tests.kit.support.queries import Words


def test_it_is_a_component_that_expires() -> None:
    cache: Component = SemanticCache()
    assert isinstance(cache, Component)
    assert isinstance(cache, Expiring)
    assert cache.name == "semantic_cache"


def test_defaults_are_the_plans() -> None:
    said = SemanticCache().statistics()
    assert (said.max_bytes, said.max_items, said.bytes, said.items) == (200 * MIB, 100, 0, 0)


def test_an_exact_hit_needs_no_model(make_cache: MakeCache) -> None:
    cache = make_cache()
    assert cache.get_similar(QUERY, "class") is None
    assert cache.add(QUERY, "class", hits("a"))
    assert cache.get_similar(QUERY, "class") == hits("a")
    assert cache.get_similar(ALIKE, "class") is None
    assert cache.add(QUERY, "class", hits("b"))
    assert cache.get_similar(QUERY, "class") == hits("b")
    said = cache.statistics()
    assert (said.exact_hits, said.similar_hits, said.hits, said.misses, said.items) == (2, 0, 2, 2, 1)


@pytest.mark.parametrize("scope", OTHER_SCOPES, ids=repr)
def test_nothing_crosses_a_scope(make_cache: MakeCache, scope: dict[str, str]) -> None:
    cache = make_cache(None, Words())
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


def test_the_most_alike_query_is_the_hit(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words(), guard=None)
    cache.add("parser token lexer grammar symbol", "class", "all five")
    cache.add("parser token lexer grammar table", "class", "four and another")
    assert cache.get_similar("symbol grammar lexer token parser", "class") == "all five"
    assert cache.get_similar("parser token lexer search index", "class") is None
    said = cache.statistics()
    assert (said.exact_hits, said.similar_hits, said.misses) == (0, 1, 1)


def test_the_threshold_acts(make_cache: MakeCache) -> None:
    for threshold, hit in ((0.95, None), (0.7, 1)):
        cache = make_cache(None, Words(), similarity_threshold=threshold)
        cache.add("parser token lexer grammar symbol", "class", 1)
        assert cache.get_similar("parser token lexer grammar", "class") == hit


def test_a_contradiction_is_no_hit(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words())
    cache.add("how to enable the cache of the parser", "class", "enable")
    assert cache.get_similar("how to disable the cache of the parser", "class") is None
    assert cache.statistics().guarded == 1
    cache = make_cache(None, Words(), guard=None)
    cache.add("how to enable the cache of the parser", "class", "enable")
    assert cache.get_similar("how to disable the cache of the parser", "class") == "enable"


def test_after_a_contradiction_the_next_is_looked_at(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words(), guard=lambda _query, other: "no" in other.split())
    cache.add("one two three four five six no", "class", "wrong")
    cache.add("one two three four five six", "class", "right")
    assert cache.get_similar("one two three four five no six six", "class") == "right"
    assert cache.statistics().guarded == 1


def test_a_guard_that_fails_refuses(make_cache: MakeCache, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_query: str, _other: str) -> bool:
        raise RuntimeError("broken")

    cache = make_cache(None, Words(), guard=broken)
    cache.add(QUERY, "class", 1)
    assert cache.get_similar(ALIKE, "class") is None
    assert cache.get_similar(QUERY, "class") == 1
    assert "guard failed" in caplog.text


@pytest.mark.parametrize("alike", [False, True])
def test_a_hit_does_not_renew_the_ttl(make_cache: MakeCache, alike: bool) -> None:
    clock = Clock()
    cache = make_cache(None, Words(), clock=clock, ttl_seconds=100)
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


def test_what_is_expired_goes_after_so_many_operations(make_cache: MakeCache) -> None:
    clock = Clock()
    cache = make_cache(None, Words(), clock=clock, ttl_seconds=100, cleanup_interval_operations=10)
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


def test_the_number_of_results_is_bounded_and_the_least_recently_used_goes(make_cache: MakeCache) -> None:
    cache = make_cache(max_results=3)
    for number in range(3):
        cache.add(f"{number}", "class", number)
    assert cache.get_similar("0", "class") == 0
    cache.add("3", "class", 3)
    assert cache.get_similar("1", "class") is None
    assert [cache.get_similar(f"{number}", "class") for number in (0, 2, 3)] == [0, 2, 3]
    assert cache.statistics().evictions == 1


def test_a_similar_hit_is_a_use(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words(), max_results=2)
    cache.add(QUERY, "class", 1)
    cache.add("something else", "class", 2)
    assert cache.get_similar(ALIKE, "class") == 1
    cache.add("a third thing", "class", 3)
    assert cache.get_similar(QUERY, "class") == 1
    assert cache.get_similar("something else", "class") is None


def test_a_result_that_is_not_json_is_a_type_error_that_says_where() -> None:
    cache = SemanticCache()
    with pytest.raises(TypeError, match=r"result\[0\]\['score'\] is a complex"):
        cache.add(QUERY, "class", [{"score": 1j}])
    assert len(cache) == 0


def test_clear_forgets_everything(make_cache: MakeCache) -> None:
    cache = make_cache(None, Words())
    cache.add(QUERY, "class", 1)
    cache.clear()
    assert cache.held_bytes == 0
    assert cache.get_similar(QUERY, "class") is None
    assert cache.get_similar(ALIKE, "class") is None
