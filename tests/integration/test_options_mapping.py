"""The keys that map a foreign server: each, changed, changes what comes of its answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memory_watchdog.observation import Component, OutcomeKind, ServerReport, Unavailable

from tests.integration.test_options import shows
from tests.support.answers import Answer, AnsweringServer, answering
from tests.support.foreign import cleaned, known, loaded_target, reported

ANSWER = b'{"a": 3, "b": 5, "c": {"x": {"a": 3, "b": 5, "id": "y"}}, "d": [{"a": 7, "id": "z"}]}'
TEXT = b"a 11\n"
SIZE_KEYS = ("at", "unit", "times", "sum.at", "sum.unit", "sum.times")
COUNT_KEYS = ("at", "times", "sum.at", "sum.times")
COUNTS = ("items", "max_items", "hits", "misses", "evictions", "expirations")
SIZES = ("bytes", "max_bytes")

# A quantity as a config has it, and what it comes to in the answer.
COUNT_FORMS: list[tuple[dict[str, Any], int]] = [
    ({"at": "a"}, 3),
    ({"at": "b"}, 5),
    ({"at": "a", "times": 2}, 6),
    ({"sum": [{"at": "a"}, {"at": "b"}]}, 8),
    ({"sum": [{"at": "b"}, {"at": "a", "times": -1}]}, 2),
]
SIZE_FORMS: list[tuple[dict[str, Any], int]] = [
    *COUNT_FORMS,
    ({"at": "a", "unit": "KiB"}, 3072),
    ({"sum": [{"at": "a", "unit": "KB"}, {"at": "b"}]}, 3005),
]


def mapped(folder: Path, server: AnsweringServer, mapping: dict[str, Any], **stats: Any) -> ServerReport:
    return known(loaded_target(folder, {"url": server.url, "stats": {"path": "/s", "map": mapping} | stats}))


def _keys(prefix: str, keys: tuple[str, ...]) -> Iterator[str]:
    return (f"targets.stats.map.{prefix}.{key}" for key in keys)


@shows(*_keys("resident", SIZE_KEYS), *_keys("allocator_free", SIZE_KEYS))
def test_where_the_memory_of_the_server_stands(tmp_path: Path) -> None:
    with answering({("GET", "/s"): Answer(ANSWER)}) as server:
        for form, number in SIZE_FORMS:
            assert mapped(tmp_path, server, {"resident": form}).resident_bytes == number
            assert mapped(tmp_path, server, {"allocator_free": form}).allocator_free_bytes == number


@shows(
    *(key for size in SIZES for key in _keys(f"components.{size}", SIZE_KEYS)),
    *(key for count in COUNTS for key in _keys(f"components.{count}", COUNT_KEYS)),
)
def test_where_the_numbers_of_a_component_stand(tmp_path: Path) -> None:
    with answering({("GET", "/s"): Answer(ANSWER)}) as server:
        for key in SIZES + COUNTS:
            needed = {} if key in ("bytes", "items") else {"items": {"at": "a"}}
            for form, number in SIZE_FORMS if key in SIZES else COUNT_FORMS:
                component = {"name": "one", key: form} | needed
                (found,) = mapped(tmp_path, server, {"components": [component]}).components
                assert getattr(found, key) == number, key


@shows("targets.stats.map.components.each", "targets.stats.map.components.name")
def test_which_components_there_are(tmp_path: Path) -> None:
    def named(**keys: str) -> tuple[Component, ...]:
        return mapped(tmp_path, server, {"components": [{"items": {"at": "a"}} | keys]}).components

    with answering({("GET", "/s"): Answer(ANSWER)}) as server:
        assert named(name="one") == (Component("one", items=3),)
        assert named(name="two") == (Component("two", items=3),)
        assert named(name="@key", each="c") == (Component("x", items=3),)
        assert named(name="id", each="c") == (Component("y", items=3),)
        assert named(name="id", each="d") == (Component("z", items=7),)


@shows("targets.stats.map.values.at")
def test_where_a_value_stands(tmp_path: Path) -> None:
    with answering({("GET", "/s"): Answer(ANSWER)}) as server:
        for at, value in (("a", 3), ("c.x.id", "y")):
            assert mapped(tmp_path, server, {"values": {"v": {"at": at}}}).values == {"v": value}


@shows("targets.stats.format", "targets.stats.json")
def test_what_is_asked_with_and_how_the_answer_is_read(tmp_path: Path) -> None:
    with answering({("GET", "/s"): Answer(TEXT), ("POST", "/s"): Answer(ANSWER)}) as server:
        resident = {"resident": {"at": "a"}}
        assert mapped(tmp_path, server, resident, format="prometheus").resident_bytes == 11
        as_json = loaded_target(tmp_path, {"url": server.url, "stats": {"path": "/s", "map": resident}})
        assert isinstance(reported(as_json), Unavailable)
        mapped(tmp_path, server, resident, method="POST", json={"full": True})
        mapped(tmp_path, server, resident, method="POST")
        assert [asked.body for asked in server.asked] == [b"", b"", b'{"full": true}', b""]


@shows("targets.preset")
def test_what_a_preset_is_for(tmp_path: Path) -> None:
    paths = [
        target.stats.path
        for name in ("etcd", "jupyter", None)
        if (target := loaded_target(tmp_path, {"url": "http://h", "preset": name})).stats is not None
    ]
    assert paths == ["/v3/maintenance/status", "/api/metrics/v1", "/memory"]


@shows("targets.levels.cleanup.error", *(f"targets.levels.cleanup.claimed.{key}" for key in SIZE_KEYS))
def test_what_an_answer_to_a_cleanup_says(tmp_path: Path) -> None:
    with answering({("POST", "/c"): Answer(ANSWER)}) as server:

        def outcome(**keys: Any) -> tuple[OutcomeKind, int | None]:
            level = {"name": "one", "enter": "2%", "exit": "1%", "cleanup": {"path": "/c"} | keys}
            found = cleaned(loaded_target(tmp_path, {"url": server.url, "levels": [level]}), "one")
            return found.kind, found.claimed_bytes

        assert outcome() == (OutcomeKind.DONE, None)
        assert outcome(error="c.x.id") == (OutcomeKind.FAILED, None)
        assert outcome(error="c.x.error") == (OutcomeKind.DONE, None)
        for form, number in SIZE_FORMS:
            assert outcome(claimed=form) == (OutcomeKind.DONE, number)
