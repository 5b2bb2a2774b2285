"""What an expression may be, and which numbers come out of what it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.expressions import MAX_BUILT, Expression, Quantity, Term, compile_expression, number_of
from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.outside_text import LARGEST_COUNT

MIB = 2**20
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["5", "-0.0", "1e9"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


def quantity(*terms: tuple[str, float], whole: bool = False) -> Quantity:
    return Quantity(tuple(Term(compile_expression(at), times) for at, times in terms), whole)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a..b", "Parse error at column 2"),
        ("a.", "Parse error"),
        ("'a", "Unclosed ' delimiter"),
        ("", "cannot be empty"),
        ("a[" + "9" * 400 + "9" * 99 + "x", "at most 500 characters"),
        ("(" * 400, "Incomplete expression"),
        ("size(a)", "there is no function size()"),
        ("map(&foo(@), a)", "there is no function foo()"),
        ("length(a, b)", "length() takes 1 arguments, not 2"),
        ("not_null()", "not_null() takes 1 or more arguments, not 0"),
        ("join(a, b)", "the separator of join() must be a literal"),
        ("a[::0]", "a slice whose step is 0"),
        ("&a", "& stands only before an argument"),
        ("|".join(["[@,@]"] * 5), f"repeat a value 32 times, at most {MAX_BUILT}"),
        ("{a: [@,@,@,@,@], b: [@,@,@,@]}", "repeat a value 40 times"),
    ],
)
def test_what_is_no_expression(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match="a JMESPath expression") as error:
        compile_expression(text)
    assert problem in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.b", 1),
        ("a.c", None),
        ("a.b.c", None),
        ("l[].n", [1, 2]),
        ("l[?n > `1`].n", [2]),
        ("sum(l[].n)", 3),
        ("to_number(t)", 5),
        ("not_null(x, a.b)", 1),
        ("join('/', keys(a))", "b"),
        ("`foo`", "foo"),  # a spelling that jmespath warns of
        ("[a.b, x]", [1, None]),
    ],
)
def test_what_an_expression_finds(text: str, found: Any) -> None:
    document = {"a": {"b": 1}, "l": [{"n": 1}, {"n": 2}, {}], "t": "5"}
    assert compile_expression(text).find(document) == found


@pytest.mark.parametrize(
    "text", ["sum(a)", "length(b)", "contains('a', `5`)", "ceil(c)", "sort_by(d, &e)", "`1` < 'a'"]
)
def test_an_expression_that_fails_is_invalid(text: str) -> None:
    document = {"a": ["x"], "b": 5, "c": float("inf"), "d": [{"e": 1}, {"e": "x"}]}
    found = compile_expression(text).find(document)
    assert isinstance(found, Unavailable)
    assert found.reason is Reason.INVALID
    assert found.detail.startswith(f"{text}: ")
    assert "\n" not in found.detail


def test_deep_documents_raise_nothing() -> None:
    document: Any = 1
    for _ in range(10_000):
        document = [document]
    for text in ("to_string(@)", "[][][]", "@ == [[@]]", "!" * 450 + "a"):
        compile_expression(text).find(document)


def test_expressions_are_equal_when_their_texts_are() -> None:
    assert compile_expression("a.b") == compile_expression("a.b")
    assert compile_expression("a.b") != compile_expression("a.c")
    assert "a.b" in repr(compile_expression("a.b"))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0, 0), (5, 5), (5.5, 5.5), (-0.0, 0), ("-0.0", 0), ("5", 5), (" 5 ", 5), ("+5", 5), ("5.", 5), ("5.25", 5.25),
        ("1e3", 1000), (LARGEST_COUNT, LARGEST_COUNT), (str(LARGEST_COUNT), LARGEST_COUNT),
        (-1, None), (-0.001, None), ("-1", None), (float("nan"), None), (float("inf"), None), ("nan", None), ("inf",
         None),
        ("Infinity", None), ("1e999", None), (LARGEST_COUNT + 1, None), (10**400, None), ("9" * 41, None), ("1_000",
         None),
        ("0x10", None), ("٥", None), ("5 MB", None), ("", None), (" ", None), ("-", None), (".5", None), ("5e", None),
        (True, None), (False, None), (None, None), ([5], None), ({}, None),
    ],
)  # fmt: skip
def test_number_of(value: object, number: float | None) -> None:
    found = number_of(value)
    assert found == number
    if found is not None:
        assert str(found)[0] != "-"


@pytest.mark.parametrize(
    ("made", "document", "found"),
    [
        (quantity(("a", MIB)), {"a": 513.3}, 538234061),
        (quantity(("a", 1)), {"a": "32358400"}, 32358400),
        (quantity(("a", MIB)), {"a": -0.0}, 0),
        (quantity(("a", 1)), {"a": LARGEST_COUNT}, LARGEST_COUNT),
        (quantity(("a", 1)), {"a": None}, None),
        (quantity(("a", 1)), {}, None),
        (quantity(("a", 1)), None, None),
        (quantity(("a", 1)), {"a": [1, "2", 3.0]}, 6),
        (quantity(("a", 1)), {"a": []}, None),
        (quantity(("a", 1)), {"a": [1, None]}, None),
        (quantity(("a[].b", 1)), {"a": [{"b": 1}, {"b": 2}]}, 3),
        (quantity(("a[].b", 1)), {"a": [{}, {}]}, None),
        (quantity(("a", 1), ("b", -1)), {"a": 5, "b": 3}, 2),
        (quantity(("a", 1), ("b", -1)), {"a": 5}, None),
        (quantity(("a", 0.1), ("b", -0.1)), {"a": 3, "b": 3.0000001}, 0),  # a rounding error below zero
        (quantity(("a", 0.5)), {"a": 5}, 2),
        (quantity(("a", 1), whole=True), {"a": 5.0}, 5),
        (quantity(("a", 0.1), whole=True), {"a": 30}, 3),
    ],
)
def test_quantities(made: Quantity, document: Any, found: int | None) -> None:
    result = made.read(document, "key")
    assert result == found
    assert type(result) is type(found)


@pytest.mark.parametrize(
    ("made", "document", "detail"),
    [
        (quantity(("a", 1)), {"a": "x"}, "key: a yields the text 'x', allowed: a number from 0 to 9223372036854775807"),
        (quantity(("a", 1)), {"a": "x" * 99}, "key: a yields a text of 99 characters, allowed: a number from 0 to"),
        (quantity(("a", 1)), {"a": True}, "key: a yields the boolean true, allowed"),
        (quantity(("a", 1)), {"a": {}}, "key: a yields an object, allowed"),
        (quantity(("a", 1)), {"a": [[1]]}, "key: a yields a list, allowed"),
        (quantity(("a", 1)), {"a": [1, "x"]}, "key: a yields the text 'x', allowed"),
        (quantity(("a", 1)), {"a": -5}, "key: a yields the number -5, allowed"),
        (quantity(("a", 1)), {"a": float("nan")}, "key: a yields the number nan, allowed"),
        (quantity(("a", 1)), {"a": 1e300}, "key: a yields the number 1e+300, allowed"),
        (quantity(("a", 1)), {"a": [LARGEST_COUNT, 1]}, "key: a yields the number 9.22337e+18, allowed"),
        (quantity(("a", MIB)), {"a": LARGEST_COUNT}, "key: a comes to 9.6714065569170334e+24, allowed"),
        (quantity(("a", 1), ("b", -1)), {"a": 3, "b": 5}, "key: a + b comes to -2, allowed"),
        (quantity(("a", 1), whole=True), {"a": 1.5}, "key: a comes to 1.5, allowed: a whole number from 0 to"),
        (quantity(("sum(a)", 1)), {"a": ["x"]}, "key: sum(a): "),
    ],
)
def test_what_cannot_be_a_quantity_names_key_and_type(made: Quantity, document: Any, detail: str) -> None:
    found = made.read(document, "key")
    assert isinstance(found, Unavailable)
    assert found.reason is Reason.INVALID
    assert found.detail.startswith(detail)
    assert found.detail.isprintable()
    assert len(found.detail) <= 200


EXPRESSIONS: list[Callable[[], Expression]] = [
    lambda text=text: compile_expression(text)  # type: ignore[misc]
    for text in ("a", "a.b", "a[]", "a[].b", "*.a", "[a, b]", "sum(a)", "max(@)", "to_number(a)", "length(@)")
]


@given(
    document=ANY_JSON, make=st.sampled_from(EXPRESSIONS), times=st.sampled_from([1, -1, 0.5, MIB]), whole=st.booleans()
)
def test_any_document_gives_a_number_or_unknown_or_a_reason(
    document: Any, make: Callable[[], Expression], times: float, whole: bool
) -> None:
    found = Quantity((Term(make(), times),), whole).read(document, "key")
    if isinstance(found, Unavailable):
        assert found.detail.isprintable()
        assert found.detail.startswith("key: ")
    elif found is not None:
        assert type(found) is int
        assert 0 <= found <= LARGEST_COUNT
