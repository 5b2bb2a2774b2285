"""The model host when the model's own code fails or answers nonsense. Real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from memory_watchdog_kit import ModelFailed, ModelHost, ModelSpec

from tests.kit.conftest import MODULE, spec
from tests.kit.support.processes import children, living

Make = Callable[..., ModelHost]


@pytest.mark.parametrize(
    ("factory", "arguments", "error_type", "message"),
    [
        ("tests.kit.support.nowhere:make", {}, "ModuleNotFoundError", "nowhere"),
        (f"{MODULE}:nothing", {}, "AttributeError", "nothing"),
        (f"{MODULE}:raising", {"message": "no\nweights" * 1000}, "FileNotFoundError", "no weights"),
        (f"{MODULE}:hashing", {"surprise": 1}, "TypeError", "surprise"),
        (f"{MODULE}:Model.nothing", {}, "AttributeError", "nothing"),
        (f"{MODULE}:not_callable", {}, "InvalidAnswer", "int, which cannot be called"),
        (f"{MODULE}:__doc__", {}, "TypeError", "not callable"),
    ],
)
def test_a_factory_that_fails_says_how(
    host: Make, factory: str, arguments: dict[str, object], error_type: str, message: str
) -> None:
    with pytest.raises(ModelFailed, match=message) as raised:
        host({"a": ModelSpec(factory, arguments)}).embed("a", ["x"])
    assert raised.value.error_type == error_type
    text = str(raised.value)
    assert text.startswith(f"{error_type}: ")
    assert len(text) < 400
    assert "\n" not in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("order", "error_type", "message"),
    [
        ("raise no such token", "ValueError", "no such token"),
        ("raise-badly", "_WithoutMessage", "its message raised RuntimeError"),
        ("float64", "InvalidAnswer", "float64 instead of float32"),
        ("list", "InvalidAnswer", "list instead of a numpy array"),
        ("none", "InvalidAnswer", "NoneType"),
        ("rows", "InvalidAnswer", r"shape \(2, 4\) for 1 texts"),
        ("flat", "InvalidAnswer", r"shape \(1,\) for 1 texts"),
        ("columns 0", "InvalidAnswer", "shape"),
        ("columns 100000", "InvalidAnswer", "at most 100000 are allowed"),
        ("columns 5", "InvalidAnswer", "of 4 dimensions"),
        ("nan", "InvalidAnswer", "not finite"),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_the_worker_lives_on(
    shared: ModelHost, order: str, error_type: str, message: str
) -> None:
    assert shared.embed("a", ["x"]).shape == (1, 4)
    (worker,) = children(children()[0].pid)
    with pytest.raises(ModelFailed, match=message) as raised:
        shared.embed("a", [order])
    assert raised.value.error_type == error_type
    assert shared.embed("a", ["x"]).shape == (1, 4)
    assert living([worker])


@pytest.fixture(scope="module")
def shared() -> Iterator[ModelHost]:
    """One host for those that leave it as it was."""
    models = ModelHost({"a": spec("obedient")}, max_answer_bytes=100_000)
    yield models
    models.close()
