"""Values as bytes: with orjson and zstandard, without them, and each read by the other."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import random
import threading
import uuid
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from memory_watchdog_kit.codec import Codec

BOTH = Codec()
NEITHER = Codec(orjson=None, zstandard=None)
FORMS = {
    "both": BOTH,
    "orjson alone": Codec(zstandard=None),
    "zstandard alone": Codec(orjson=None),
    "neither": NEITHER,
}

scalars = (
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | some.text()
)
values = some.recursive(
    scalars,
    lambda inside: some.lists(inside, max_size=4) | some.dictionaries(some.text(), inside, max_size=4),
    max_leaves=20,
)


def hits(count: int) -> list[dict[str, object]]:
    return [
        {"path": f"src/module_{n}.py", "score": 1 / (n + 1), "text": "def run(self) -> None:\n" * 10}
        for n in range(count)
    ]


@pytest.mark.parametrize("form", FORMS)
@given(value=values)
def test_what_goes_in_comes_out(form: str, value: object) -> None:
    assert FORMS[form].decode(FORMS[form].encode(value)) == value


@pytest.mark.parametrize("value", [hits(3), hits(0), "ä" * 2000, 2**70, "\ud800", {"a": None}], ids=repr)
@pytest.mark.parametrize("writer", FORMS)
def test_every_form_reads_what_another_wrote(writer: str, value: object) -> None:
    blob = FORMS[writer].encode(value)
    packed_with_zstandard = bool(blob[0] & 4)
    for reader, codec in FORMS.items():
        if not packed_with_zstandard or reader in ("both", "zstandard alone"):
            assert codec.decode(blob) == value, reader


def test_the_forms_differ_so_that_both_branches_ran() -> None:
    blobs = {form: codec.encode(hits(3)) for form, codec in FORMS.items()}
    assert {form: blob[0] for form, blob in blobs.items()} == {
        "both": 4,
        "orjson alone": 2,
        "zstandard alone": 5,
        "neither": 3,
    }
    assert all(len(blob) < 400 for blob in blobs.values())


def test_zstandards_blob_without_zstandard_is_a_clear_error() -> None:
    with pytest.raises(ValueError, match="zstandard, which is not installed"):
        NEITHER.decode(BOTH.encode(hits(3)))


@pytest.mark.parametrize("blob", [b"", b"\x08{}", b"\xff"], ids=repr)
def test_what_no_codec_wrote_is_a_clear_error(blob: bytes) -> None:
    with pytest.raises(ValueError, match="not a blob"):
        BOTH.decode(blob)


@pytest.mark.parametrize("codec", [BOTH, NEITHER], ids=["both", "neither"])
def test_a_damaged_blob_is_a_value_error(codec: Codec) -> None:
    blob = bytearray(codec.encode(hits(3)))
    blob[5:9] = b"\0\0\0\0"
    with pytest.raises(ValueError, match="damaged"):
        codec.decode(bytes(blob))


def test_small_values_are_left_as_they_are() -> None:
    assert BOTH.encode({"a": 1}) == b'\x00{"a":1}'
    assert NEITHER.encode({"a": 1}) == b'\x01{"a":1}'


class Swollen:
    """zstandard with what cannot be packed: real text always can be, since JSON is."""

    @staticmethod
    def ZstdCompressor(**_options: object) -> Any:
        return type("Compressor", (), {"compress": lambda _self, written: written + b" "})()


def test_what_packing_makes_larger_is_left_as_it_is() -> None:
    codec = Codec(zstandard=Swollen)  # type: ignore[arg-type]
    blob = codec.encode(hits(3))
    assert blob[0] == 0
    assert codec.decode(blob) == hits(3)


def test_without_packing() -> None:
    blob = BOTH.encode(hits(3), pack=False)
    assert blob[0] == 0
    assert NEITHER.decode(blob) == hits(3)


class Colour(enum.Enum):
    RED = "red"


class Kind(enum.StrEnum):
    CLASS = "class"


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Hit:
    path: str


IDENTITY = uuid.UUID(int=5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({"score": math.nan, "low": -math.inf}, {"score": None, "low": None}),
        ([Colour.RED, Kind.CLASS], ["red", "class"]),
        (IDENTITY, str(IDENTITY)),
        ({Text("a"): Text("b")}, {"a": "b"}),
        ([{"n": 2**70, "bad": math.inf}], [{"n": 2**70, "bad": None}]),
    ],
    ids=repr,
)
def test_what_json_makes_of_it_comes_back(form: str, value: object, back: object) -> None:
    assert FORMS[form].decode(FORMS[form].encode(value)) == back


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [{"score": object()}], r"value\[0\]\['score'\] is a object"),
        (lambda: {"found": {1: "a"}}, r"value\['found'\] has the key 1, a int"),
        (lambda: [b"bytes"], r"value\[0\] is a bytes"),
        (lambda: {"at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}, r"value\['at'\] is a datetime"),
        (lambda: Hit("a.py"), r"value is a Hit"),
        (lambda: {1, 2}, r"value is a set"),
        (lambda: nested(400), "nested deeper than 250"),
        (endless, "contains itself"),
    ],
)
def test_what_is_not_json_is_a_type_error_that_says_where(form: str, make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        FORMS[form].encode(make())


def test_threads_share_a_codec() -> None:
    wrong: list[object] = []

    def work(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(200):
            value = hits(choose.randrange(1, 12))
            if BOTH.decode(BOTH.encode(value)) != value:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_zlib_blobs_are_zlib() -> None:
    blob = NEITHER.encode(hits(3))
    assert zlib.decompress(blob[1:]).startswith(b"[{")
