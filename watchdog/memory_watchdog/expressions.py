"""Look something up in a foreign answer: JMESPath expressions, and the numbers that they find.

Covers: compiling an expression and refusing what could not be bounded, evaluating one, turning what it finds into a
number of bytes or a count.
Leaves to others: where an expression stands and what it means (`sources.mapping`, `actions.http`), Prometheus text
(`sources.prometheus_text`, whose selectors a `Quantity` takes as well).

An answer is data of somebody else, at most 1 MiB; an expression is the operator's. JMESPath cannot name the root again
from inside a projection, so its work grows with the answer: 10 ms to 1.5 s for what people write, at 1 MiB. Two things
grow faster and are bounded when an expression is compiled: lists and hashes that repeat a value (`[@,@]|[@,@]|…`
doubles at each step), and `join` with a separator from the answer. What is left can be contrived to take a minute;
therefore every expression runs beside the loop and under a deadline (`worker`).
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jmespath
from jmespath.functions import Functions
from jmespath.parser import ParsedResult

from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.outside_text import LARGEST_COUNT, describe, one_line

MAX_EXPRESSION_CHARACTERS = 500
MAX_BUILT = 16
"""How many times an expression may repeat a value in the lists and hashes that it builds: `[a, b]` is two."""

NUMBER_FORM = f"a number from 0 to {LARGEST_COUNT}"
WHOLE_FORM = f"a whole number from 0 to {LARGEST_COUNT}"

_BUILDERS = {"multi_select_list", "multi_select_dict"}
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,3})?")
# JMESPathError is a ValueError; the others jmespath lets through: `contains('a', `5`)`, `ceil` of infinity.
_EVALUATION_ERRORS = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


class Lookup(Protocol):
    """Finds something in an answer that has been read."""

    @property
    def text(self) -> str:
        """As the config has it."""

    def find(self, document: Any) -> object:
        """What stands there: a value, a list, None where nothing does; Unavailable where looking failed."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A JMESPath expression, compiled. Two are equal when their texts are."""

    text: str
    _parsed: ParsedResult = field(compare=False, repr=False)

    def find(self, document: Any) -> object:
        """The value in `document`; None where there is none; Unavailable where it cannot be evaluated."""
        try:
            return self._parsed.search(document)
        except _EVALUATION_ERRORS as error:
            return Unavailable(Reason.INVALID, f"{self.text}: {_evaluation_problem(error)}")


def compile_expression(text: str) -> Expression:
    """The expression, ready to be used. Raises ValueError, whose text says what is allowed and what is wrong."""
    if len(text) > MAX_EXPRESSION_CHARACTERS:
        raise ValueError(f"a JMESPath expression of at most {MAX_EXPRESSION_CHARACTERS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a spelling of literals that is deprecated, and works
            parsed = jmespath.compile(text)
        problem = next(_problems(parsed.parsed), "")
    except RecursionError:
        problem = "nested too deeply"
    except ValueError as error:  # JMESPathError is one; an index of 5000 digits is another
        problem = (
            str(error).partition("\n")[0].removesuffix(":").removesuffix(", for expression")
        )  # which follows, with an arrow
    if problem:
        raise ValueError(f"a JMESPath expression ({one_line(problem)})")
    return Expression(text, parsed)


def _problems(tree: Mapping[str, Any]) -> Iterator[str]:
    """What JMESPath itself would only tell while it runs, and what has no bound."""
    built = 1
    for node in _nodes(tree):
        children = node.get("children", [])
        if node["type"] in _BUILDERS:
            built *= max(1, len(children))
        elif node["type"] == "slice" and children[2] == 0:
            yield "a slice whose step is 0"
        elif node["type"] == "function_expression":
            yield from _call_problems(node["value"], children)
    if built > MAX_BUILT:
        yield f"the lists and hashes that it builds repeat a value {built} times, at most {MAX_BUILT} are allowed"
    if tree["type"] == "expref":
        yield "& stands only before an argument of a function"


def _call_problems(name: str, arguments: list[Mapping[str, Any]]) -> Iterator[str]:
    function = Functions.FUNCTION_TABLE.get(name)
    if function is None:
        yield f"there is no function {name}()"
        return
    signature = function["signature"]
    variadic = bool(signature and signature[-1].get("variadic"))
    if len(arguments) < len(signature) or (len(arguments) > len(signature) and not variadic):
        yield f"{name}() takes {len(signature)}{' or more' if variadic else ''} arguments, not {len(arguments)}"
    elif name == "join" and arguments[0]["type"] != "literal":
        yield "the separator of join() must be a literal: one from the answer could make a text without bound"


def _nodes(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield tree
    for child in tree.get("children", []):
        if isinstance(child, dict):
            yield from _nodes(child)


def _evaluation_problem(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else one_line(str(error)) or type(error).__name__


@dataclass(frozen=True, slots=True)
class Term:
    """A number in an answer, times a factor; a unit is part of the factor. What is a list is summed."""

    source: Lookup
    times: float = 1

    def read(self, document: Any) -> float | Unavailable | None:
        """The number. None is unknown: nothing there, null, a null in the list, or a list without an element, which is
        also what a projection makes of a key that nobody has."""
        found = self.source.find(document)
        if isinstance(found, Unavailable):
            return found
        elements = found if isinstance(found, list) else [found]
        if not elements or any(element is None for element in elements):
            return None
        total: float = 0
        for element in elements:
            number = number_of(element)
            if number is None:
                return Unavailable(Reason.INVALID, f"{self.source.text} yields {found_text(element)}")
            total += number
        if total > LARGEST_COUNT:
            return Unavailable(Reason.INVALID, f"{self.source.text} yields the number {total:g}")
        return total * self.times


@dataclass(frozen=True, slots=True)
class Quantity:
    """A sum of terms: bytes, which are rounded, or a count, which must be whole."""

    terms: tuple[Term, ...]
    whole: bool = False

    def read(self, document: Any, key: str) -> int | Unavailable | None:
        """The quantity; None where any of its terms is unknown. `key` is what is named where it is invalid."""
        total: float = 0
        for term in self.terms:
            part = term.read(document)
            if isinstance(part, Unavailable):
                return Unavailable(part.reason, one_line(f"{key}: {part.detail}, allowed: {self._form}"))
            if part is None:
                return None
            total += part
        # a difference of decimals may miss zero, or a whole number, by a rounding error
        if not -0.5 <= total <= LARGEST_COUNT or (self.whole and abs(total - round(total)) > 1e-6):
            text = " + ".join(term.source.text for term in self.terms)
            return Unavailable(Reason.INVALID, one_line(f"{key}: {text} comes to {total:.17g}, allowed: {self._form}"))
        return round(total)

    @property
    def _form(self) -> str:
        return WHOLE_FORM if self.whole else NUMBER_FORM


def number_of(value: object) -> float | None:
    """A number that memory or a count can have, also as text; None for anything else. `-0.0` is 0."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            return None
        value = int(text) if text.lstrip("+-").isdigit() else float(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value + 0 if 0 <= value <= LARGEST_COUNT else None  # NaN compares false; -0.0 + 0 is 0.0


def found_text(value: object) -> str:
    """What was found, with its type, for a message."""
    if isinstance(value, bool):
        return f"the boolean {describe(value)}"
    if isinstance(value, str):
        return describe(value) if len(value) > 60 else f"the text {describe(value)}"
    if isinstance(value, int | float):
        return f"the number {describe(value) if math.isfinite(value) else value}"
    return describe(value) if isinstance(value, list | dict) or value is None else f"a {type(value).__name__}"
