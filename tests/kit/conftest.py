"""For the tests of this folder: hosts of models, of which nothing stays in the end; caches with extras and without."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from memory_watchdog_kit import Codec, ModelHost, ModelSpec, SemanticCache

from tests.kit.support.caches import THRESHOLD
from tests.kit.support.processes import children, descriptors, living
from tests.support.wait import eventually

MODULE = "tests.kit.support.models"


def spec(factory: str, **arguments: object) -> ModelSpec:
    """One of the models of `tests.kit.support.models`."""
    return ModelSpec(f"{MODULE}:{factory}", arguments)


@pytest.fixture
def host() -> Iterator[Callable[..., ModelHost]]:
    """Makes hosts; models are given as keyword `models`, limits as they are called."""
    before_children = {process.pid for process in children()}
    before_descriptors = descriptors()
    hosts: list[ModelHost] = []

    def make(models: dict[str, ModelSpec], **limits: Any) -> ModelHost:
        made = ModelHost(models, **{"backoff_seconds": 0.01, "max_backoff_seconds": 0.05, **limits})
        hosts.append(made)
        return made

    yield make
    for made in hosts:
        made.close()
    # Zombies too: whoever starts processes reaps them.
    assert [process for process in children() if process.pid not in before_children] == []
    eventually(lambda: descriptors() <= before_descriptors, what="all descriptors closed")
    assert not living([process for process in children() if process.pid not in before_children])


@pytest.fixture(params=["with extras", "without"])
def make_cache(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SemanticCache]:
    """Makes caches, with orjson, zstandard and numkong and without them."""
    if request.param == "without":
        plain = functools.partial(Codec, orjson=None, zstandard=None)
        monkeypatch.setattr("memory_watchdog_kit.semantic_cache.Codec", plain)
        monkeypatch.setattr("memory_watchdog_kit.vectors.has_numkong", lambda: False)

    def made(*arguments: Any, **keywords: Any) -> SemanticCache:
        return SemanticCache(*arguments, **{"similarity_threshold": THRESHOLD, **keywords})

    return made
