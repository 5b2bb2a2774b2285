"""The model host when all goes well: real processes, small models."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from memory_watchdog_kit import Cleaned, Component, Level, ModelHost, ModelHostClosed, ModelSpec, ModelTimeout

from tests.kit.conftest import spec
from tests.kit.support.processes import children, living
from tests.support.wait import eventually

Make = Callable[..., ModelHost]


def test_vectors_are_float32_of_shape_n_d(host: Make) -> None:
    models = host({"a": spec("hashing", dimensions=384)})
    vectors = models.embed("a", ["x", "yy", "zzz"])
    assert vectors.dtype == np.float32
    assert vectors.shape == (3, 384)
    assert vectors[:, 0].tolist() == [1, 2, 3]
    vectors[0, 0] = 7  # and they are the caller's own


def test_any_text_goes_through(host: Make) -> None:
    models = host({"a": spec("hashing")})
    for text in ["", "ä€😀", "\ud800 alone", "\0", 'quo"te\\', "x" * 1_000_000]:
        assert models.embed("a", [text])[0, 0] == len(text)


def test_many_texts_and_a_large_answer(host: Make) -> None:
    vectors = host({"a": spec("hashing", dimensions=1024)}).embed("a", ["xy"] * 20_000)  # 82 MB, many buffers
    assert vectors.shape == (20_000, 1024)
    assert (vectors == 2).all()


def test_an_answer_that_is_not_laid_out_in_rows_arrives_in_order(host: Make) -> None:
    assert host({"a": spec("obedient")}).embed("a", ["fortran", ""]).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_without_texts_nobody_is_asked(host: Make) -> None:
    models = host({"a": spec("hashing", dimensions=5)})
    assert models.embed("a", []).shape == (0, 0)
    assert models.loaded() == ()
    models.embed("a", ["x"])
    assert models.embed("a", []).shape == (0, 5)


def test_what_is_asked_wrongly_is_said(host: Make) -> None:
    models = host({"a": spec("hashing")}, max_request_bytes=1000)
    with pytest.raises(KeyError, match="no model 'b'; there are a"):
        models.embed("b", ["x"])
    with pytest.raises(KeyError, match="no model 'b'"):
        models.embedder("b")
    with pytest.raises(KeyError, match="no model 'b'"):
        models.unload("b")
    with pytest.raises(TypeError):
        models.embed("a", "a text")
    with pytest.raises(TypeError):
        models.embed("a", [b"bytes"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="at most 1000"):
        models.embed("a", ["x" * 1000])
    for seconds in (float("inf"), float("nan"), 1e10):
        with pytest.raises(ValueError, match="timeout_seconds"):
            models.embed("a", ["x"], seconds)
    with pytest.raises(ModelTimeout):
        models.embed("a", ["x"], 0)


def test_times_of_many_years_are_times_too(host: Make) -> None:
    seconds = dict.fromkeys(("idle_unload_seconds", "request_timeout_seconds", "load_timeout_seconds"), 1e9)
    models = host({"a": spec("hashing"), "b": spec("whose")}, max_loaded=1, **seconds)
    assert models.embed("a", ["x"], 1e9).shape == (1, 8)
    assert models.embed("b", ["x"]).shape == (1, 1)


@pytest.mark.parametrize(
    ("factory", "arguments", "why"),
    [
        ("module", {}, "package.module:name"),
        ("os; import x:y", {}, "package.module:name"),
        ("__main__:make", {}, "__main__"),
        ("a.b:c", {"x": object()}, "JSON"),
        ("a.b:c", {"x": float("nan")}, "JSON"),
        ("a.b:c", {"x": "y" * 70_000}, "at most 65536"),
    ],
)
def test_a_spec_that_cannot_be_meant_is_refused(factory: str, arguments: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ModelSpec(factory, arguments)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_loaded": 0},
        {"idle_unload_seconds": -1.0},
        {"request_timeout_seconds": 0.0},
        {"load_timeout_seconds": float("nan")},
        {"backoff_seconds": float("inf")},
        {"max_request_bytes": 2**40},
        {"preload": "numpy"},
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(limits))):
        ModelHost({}, **limits)  # type: ignore[arg-type]


def test_the_least_recently_used_makes_room(host: Make) -> None:
    models = host({name: spec("whose") for name in "abc"}, max_loaded=2)
    first = models.embed("a", ["x"])
    models.embed("b", ["x"])
    models.embed("a", ["x"])
    models.embed("c", ["x"])  # b was used before a
    assert models.loaded() == ("a", "c")
    assert models.embed("a", ["x"]) == first, "the same process still"
    statistics = models.statistics()
    assert (statistics.items, statistics.max_items, statistics.evictions) == (2, 2, 1)
    assert (statistics.hits, statistics.misses) == (2, 3)
    assert statistics.refill_seconds is not None
    assert statistics.refill_seconds > 0


def test_never_more_than_max_loaded_processes(host: Make) -> None:
    models = host({str(number): spec("hashing") for number in range(6)}, max_loaded=2)
    models.embed("0", ["x"])
    forkserver = children()[0]
    most = 0
    over = threading.Event()

    def count() -> None:
        nonlocal most
        while not over.wait(0.002):
            most = max(most, len(living(children(forkserver.pid))))

    counter = threading.Thread(target=count)
    counter.start()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda number: models.embed(str(number % 6), ["x"]), range(24)))
    over.set()
    counter.join()
    assert 1 <= most <= 2


def test_an_idle_model_is_unloaded_and_its_process_gone(host: Make) -> None:
    models = host({"a": spec("hashing", megabytes=20)}, idle_unload_seconds=0.2)
    models.embed("a", ["x"])
    forkserver = children()[0]
    eventually(lambda: not forkserver.children())
    assert models.loaded() == ()
    assert models.statistics().expirations == 1
    assert models.statistics().evictions == 0
    assert models.embed("a", ["four"])[0, 0] == 4


def test_use_puts_the_unloading_off(host: Make) -> None:
    models = host({"a": spec("whose")}, idle_unload_seconds=30.0)
    pid = models.embed("a", ["x"])
    assert all(models.embed("a", ["x"]) == pid for _ in range(20))


def test_bytes_are_what_the_processes_have_for_themselves(host: Make) -> None:
    models = host({"small": spec("hashing"), "large": spec("hashing", megabytes=100)})
    models.embed("small", ["x"])
    before = models.statistics().bytes
    models.embed("large", ["x"])
    after = models.statistics().bytes
    assert before is not None
    assert after is not None
    assert 100e6 <= after - before <= 125e6
    assert models.unload("large")
    unloaded = models.statistics().bytes
    assert unloaded is not None
    assert abs(unloaded - before) < 5e6


def test_pages_that_a_worker_has_from_the_forkserver_count_once(host: Make) -> None:
    models = host(
        {name: spec("hashing") for name in "abcd"}, max_loaded=4, preload=["tests.kit.support.heavy"], name="heavy"
    )
    for name in "abcd":
        models.embed(name, ["x"])
    held = models.statistics().bytes
    assert held is not None
    assert 50 * 2**20 <= held < 140 * 2**20, "heavy keeps 50 MiB, which five processes map"


def test_unload_says_whether_it_did(host: Make) -> None:
    models = host({"a": spec("obedient")})
    assert not models.unload("a")
    models.embed("a", ["x"])
    assert models.unload("a")
    assert models.loaded() == ()
    assert models.statistics().evictions == 1


def test_a_busy_model_is_not_unloaded(host: Make, tmp_path_factory: pytest.TempPathFactory) -> None:
    go = tmp_path_factory.mktemp("go") / "go"
    models = host({"a": spec("obedient")})
    models.embed("a", ["x"])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(models.embed, "a", [f"wait-for {go}"])
        eventually(lambda: not models.unload("a") or waiting.done())
        assert list(models.cleanup(Level.AGGRESSIVE, None))[:-1] in ([], [Cleaned()])
        go.touch()
        assert waiting.result().shape == (1, 4)


def test_a_normal_cleanup_leaves_the_most_recent(host: Make) -> None:
    models = host({name: spec("hashing", megabytes=10) for name in "abc"}, max_loaded=3)
    for name in "abc":
        models.embed(name, ["x"])
    cleaned = list(models.cleanup(Level.NORMAL, None))
    assert [step.items_removed for step in cleaned] == [1, 1]
    assert all(step.bytes_freed > 10 * 2**20 for step in cleaned)
    assert models.loaded() == ("c",)


def test_a_cleanup_stops_at_its_target(host: Make) -> None:
    models = host({name: spec("hashing", megabytes=10) for name in "abc"}, max_loaded=3)
    for name in "abc":
        models.embed(name, ["x"])
    assert len(list(models.cleanup(Level.AGGRESSIVE, 5 * 2**20))) == 1
    assert models.loaded() == ("b", "c")


def test_an_aggressive_cleanup_leaves_no_process_and_the_next_request_works(host: Make) -> None:
    models = host({"a": spec("hashing"), "b": spec("hashing")})
    models.embed("a", ["x"])
    models.embed("b", ["x"])
    processes = children()
    total = sum(models.cleanup(Level.AGGRESSIVE, None), Cleaned())
    assert total.items_removed == 2
    assert total.bytes_freed > 0
    assert living(processes) == []
    assert models.statistics().bytes == 0
    assert models.embed("a", ["xyz"])[0, 0] == 3


def test_it_is_a_component_and_gives_an_embedder(host: Make) -> None:
    models = host({"a": spec("hashing")}, name="embeddings")
    component: Component = models
    assert component.name == "embeddings"
    assert isinstance(models, Component)
    assert models.embedder("a")(["xyz"])[0, 0] == 3


def test_threads_hammer_more_models_than_there_are_places(host: Make) -> None:
    models = host({str(number): spec("hashing", dimensions=number + 1) for number in range(3)}, max_loaded=2)

    def ask(number: int) -> None:
        model, texts = number % 3, ["x" * (number % 17)] * (number % 5 + 1)
        vectors = models.embed(str(model), texts)
        assert vectors.shape == (len(texts), model + 1)
        assert (vectors == number % 17).all(), "the answer to another request"

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(ask, number) for number in range(300)]:
            done.result()


def test_from_asyncio_through_a_thread(host: Make) -> None:
    models = host({"a": spec("hashing")})

    async def ask() -> list[float]:
        answers = await asyncio.gather(*(asyncio.to_thread(models.embed, "a", ["x" * n]) for n in range(20)))
        return [float(answer[0, 0]) for answer in answers]

    assert asyncio.run(ask()) == list(range(20))


def test_the_parent_does_not_import_what_the_model_imports(host: Make) -> None:
    import sys

    sys.modules.pop("tests.kit.support.heavy", None)
    models = host({"a": ModelSpec("tests.kit.support.heavy:make")})
    assert models.embed("a", ["x"]).shape == (1, 3)
    assert "tests.kit.support.heavy" not in sys.modules


def test_after_close_everything_says_closed(host: Make) -> None:
    models = host({"a": spec("hashing")})
    models.embed("a", ["x"])
    processes = children()
    models.close()
    models.close()
    assert living(processes) == []
    with pytest.raises(ModelHostClosed):
        models.embed("a", ["x"])
    assert models.loaded() == ()
    assert not models.unload("a")
    assert models.statistics().items == 0
    assert list(models.cleanup(Level.AGGRESSIVE, None)) == []


def test_close_ends_who_waits_and_who_is_worked_for(host: Make) -> None:
    models = host({"a": spec("obedient")})
    models.embed("a", ["x"])
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(models.embed, "a", ["hang"]) for _ in range(2)]
        eventually(lambda: _busy(models))
        models.close()
        for future in waiting:
            with pytest.raises(ModelHostClosed):
                future.result()


def _busy(models: ModelHost) -> bool:
    return not models.unload("a")


def test_a_worker_shows_its_model_in_ps(host: Make) -> None:
    models = host({"minilm": spec("whose")})
    pid = int(models.embed("minilm", ["x"])[0, 0])
    assert psutil.Process(pid).name() == "minilm"
