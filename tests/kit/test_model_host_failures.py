"""The model host when workers die or hang, in every place. Real processes."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from memory_watchdog_kit import ModelCrashed, ModelError, ModelHost, ModelTimeout
from memory_watchdog_kit.model_host.keeper import Keeper

from tests.kit.conftest import spec
from tests.kit.support.processes import children, kill, living
from tests.support.wait import eventually

Make = Callable[..., ModelHost]


@pytest.mark.parametrize(
    ("order", "how"),
    [("die", "was killed by SIGKILL"), ("exit", "ended with status 3"), ("crash", "was killed by SIGSEGV")],
)
def test_a_worker_that_ends_is_an_error_for_its_request_and_nothing_more(host: Make, order: str, how: str) -> None:
    models = host({"a": spec("obedient"), "b": spec("whose")})
    neighbour = models.embed("b", ["x"])
    with pytest.raises(ModelCrashed, match=f"model a: its process {how} while it worked on a request"):
        models.embed("a", [order])
    assert models.embed("a", ["x"]).shape == (1, 4)
    assert models.embed("b", ["x"]) == neighbour


def test_a_worker_killed_from_outside_mid_request(host: Make, tmp_path: Path) -> None:
    models = host({"a": spec("obedient")})
    models.embed("a", ["x"])
    (worker,) = children(children()[0].pid)
    with ThreadPoolExecutor(2) as pool:
        worked_on = pool.submit(models.embed, "a", [f"wait-for {tmp_path / 'never'}"])
        eventually(lambda: not models.unload("a"))
        waits = pool.submit(models.embed, "a", ["x"])
        kill(worker.pid)
        with pytest.raises(ModelCrashed, match="SIGKILL"):
            worked_on.result()
        assert waits.result().shape == (1, 4), "it was not in flight"


def test_a_worker_killed_while_idle_is_no_error_at_all(host: Make) -> None:
    models = host({"a": spec("whose")})
    for _ in range(20):
        before = models.embed("a", ["x"])
        kill(int(before[0, 0]))
        assert models.embed("a", ["x"]) != before


@pytest.mark.parametrize("loops", [8, pytest.param(100, marks=pytest.mark.long)])
def test_a_crash_loop_leaves_nothing_behind(host: Make, loops: int) -> None:
    models = host({"a": spec("obedient"), "b": spec("dying")}, max_backoff_seconds=0.01)
    for _ in range(loops):
        with pytest.raises(ModelCrashed):
            models.embed("a", ["die"])
        with pytest.raises(ModelCrashed, match="its process was killed by SIGKILL"):
            models.embed("b", ["x"])
        assert models.embed("a", ["x"]).shape == (1, 4)
    # Zombies would be seen here, descriptors in the fixture.
    assert len(children()) <= 2


def test_a_back_off_that_ends_while_the_keeper_is_busy_is_not_missed(
    host: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took so long from its look at what is due to its wait that the back-off ended: nobody was started again."""
    models = host({"a": spec("obedient")}, backoff_seconds=0.03, max_backoff_seconds=0.03)
    watch_channels, pick = Keeper._watch_channels, random.Random(1)

    def slowly(keeper: Keeper) -> None:
        time.sleep(pick.uniform(0.0, 0.04))
        watch_channels(keeper)

    monkeypatch.setattr(Keeper, "_watch_channels", slowly)
    for _ in range(15):
        assert models.embed("a", ["x"], timeout_seconds=5).shape == (1, 4)
        with pytest.raises(ModelCrashed):
            models.embed("a", ["die"])


def test_what_waits_for_a_model_that_dies_while_it_loads_is_told(host: Make) -> None:
    models = host({"a": spec("dying")})
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(models.embed, "a", ["x"]) for _ in range(4)]:
            with pytest.raises(ModelCrashed, match="SIGKILL"):
                future.result()


def test_the_back_off_grows_and_who_cannot_wait_so_long_is_told_at_once(host: Make) -> None:
    models = host({"a": spec("dying")}, backoff_seconds=30.0, max_backoff_seconds=60.0)
    with pytest.raises(ModelCrashed, match=r"its process was killed by SIGKILL$"):
        models.embed("a", ["x"])
    began = time.monotonic()
    with pytest.raises(ModelCrashed, match=r"SIGKILL; started again in \d+.\d s, after 1 such ends"):
        models.embed("a", ["x"], timeout_seconds=20)
    assert time.monotonic() - began < 10


def test_a_model_that_hangs_is_a_timeout_and_its_worker_is_ended(host: Make) -> None:
    models = host({"a": spec("obedient")})
    models.embed("a", ["x"])
    (worker,) = children(children()[0].pid)
    with pytest.raises(ModelTimeout) as raised:
        models.embed("a", ["hang"], timeout_seconds=0.2)
    assert isinstance(raised.value, TimeoutError)
    eventually(lambda: not living([worker]))
    assert models.embed("a", ["x"]).shape == (1, 4)


@pytest.mark.parametrize("texts", [["x"], ["x" * 1_000_000] * 9], ids=["fits the buffer", "does not"])
def test_a_worker_that_is_stopped_is_ended_too(host: Make, texts: list[str]) -> None:
    models = host({"a": spec("obedient")})
    models.embed("a", ["x"])
    (worker,) = children(children()[0].pid)
    worker.suspend()
    with pytest.raises(ModelTimeout):
        models.embed("a", texts, timeout_seconds=0.2)
    eventually(lambda: not living([worker]))
    assert models.embed("a", texts).shape == (len(texts), 4)


def test_a_request_that_waited_long_leaves_and_the_worker_is_not_ended_for_it(host: Make, tmp_path: Path) -> None:
    models = host({"a": spec("obedient")})
    models.embed("a", ["x"])
    (worker,) = children(children()[0].pid)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(models.embed, "a", [f"wait-for {tmp_path / 'go'}"])
        eventually(lambda: not models.unload("a"))
        with pytest.raises(ModelTimeout, match="its turn did not come"):
            models.embed("a", ["x"], timeout_seconds=0.1)
        (tmp_path / "go").touch()
        first.result()
    assert models.embed("a", ["x"]).shape == (1, 4)
    assert living([worker])


def test_an_answer_that_comes_after_its_caller_left_is_not_taken_for_another(host: Make, tmp_path: Path) -> None:
    """The second caller has its turn late, leaves early, and the worker still has the whole of that caller's time."""
    models = host({"a": spec("obedient")})
    models.embed("a", ["x"])
    (worker,) = children(children()[0].pid)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(models.embed, "a", [f"wait-for {tmp_path / 'first'}"])
        eventually(lambda: not models.unload("a"))
        second = pool.submit(models.embed, "a", [f"wait-for {tmp_path / 'second'}"], 3.0)
        time.sleep(2.0)  # of its 3 s
        (tmp_path / "first").touch()
        first.result()
        with pytest.raises(ModelTimeout):
            second.result()
        (tmp_path / "second").touch()
    assert models.embed("a", ["columns 4", "two"]).shape == (2, 4)
    assert living([worker])


def test_a_model_that_hangs_while_loading_is_ended_after_the_load_timeout(host: Make) -> None:
    models = host({"a": spec("hanging"), "b": spec("whose")}, load_timeout_seconds=3.0, max_loaded=1)
    with pytest.raises(ModelTimeout, match="was not loaded within 3 s"):
        models.embed("a", ["x"])
    assert models.embed("b", ["x"]).shape == (1, 1)


def test_a_forkserver_that_hangs_in_a_preload_is_ended_after_the_load_timeout(host: Make) -> None:
    models = host({"a": spec("whose")}, load_timeout_seconds=0.5, preload=["tests.kit.support.endless"])
    with pytest.raises(ModelTimeout, match=r"was not loaded within 0\.5 s"):
        models.embed("a", ["x"])
    eventually(lambda: not children())


def test_loading_goes_on_when_the_request_has_given_up(host: Make) -> None:
    models = host({"a": spec("hashing", load_seconds=0.7)})
    with pytest.raises(ModelTimeout, match="its turn did not come"):
        models.embed("a", ["x"], timeout_seconds=0.3)
    eventually(lambda: models.loaded() == ("a",))
    assert models.statistics().misses == 1


def test_a_killed_forkserver_is_started_again(host: Make) -> None:
    models = host({"a": spec("whose"), "b": spec("obedient")})
    models.embed("a", ["x"])
    models.embed("b", ["x"])
    processes = children()
    kill(processes[0].pid)
    eventually(lambda: not living(processes), what="no worker without its forkserver")
    eventually(lambda: models.loaded() == ())
    assert models.embed("a", ["x"]).shape == (1, 1)


def test_what_a_preload_cannot_import_is_logged_and_the_rest_works(
    host: Make, caplog: pytest.LogCaptureFixture
) -> None:
    models = host({"a": spec("whose")}, preload=["nowhere_to_be_found", "json"], name="mine")
    assert models.embed("a", ["x"]).shape == (1, 1)
    assert "mine: cannot preload nowhere_to_be_found: ModuleNotFoundError" in caplog.text


@pytest.mark.parametrize("loops", [60, pytest.param(3000, marks=pytest.mark.long)])
def test_threads_hammer_while_workers_are_killed(host: Make, loops: int) -> None:
    """Every request ends in its own right answer or in one of the three errors."""
    models = host({str(n): spec("hashing") for n in range(3)}, max_loaded=2, max_backoff_seconds=0.01)
    models.embed("0", ["x"])
    forkserver = children()[0]
    over = threading.Event()
    answered = [0]

    def murder() -> None:
        while not over.wait(0.05):
            for worker in children(forkserver.pid)[:1]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()

    def ask(number: int) -> None:
        try:
            vectors = models.embed(str(number % 3), ["x" * number])
        except ModelError as error:
            assert isinstance(error, ModelCrashed), error  # noqa: PT017 - which of them is the question
        else:
            assert np.array_equal(vectors, np.full((1, 8), number, np.float32))
            answered[0] += 1

    killer = threading.Thread(target=murder)
    killer.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(ask, number) for number in range(loops)]:
                done.result()
    finally:
        over.set()
        killer.join()
    assert answered[0] > 0
    assert models.embed("1", ["xyz"])[0, 0] == 3
