"""`contradicts`: True where two queries that look alike ask for different things.

Covers: what follows from two readings: other negations, opposites, numbers, names, or one word exchanged for another.
Leaves to others: what is read from a query (`reading`), its order (`order`), which words mean what (`words`,
`opposites`), whether the queries look alike at all (the embedding).

English only; of other languages it sees numbers, names and quotes. It is meant to be wrong on one side alone: two
queries that could share an answer may be told apart, which costs a search; two that must not should never be let
through. Pure, and bounded: up to 2,000 characters each are read, in less than 30 ms; a question takes 30 µs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from memory_watchdog_kit.guard import words
from memory_watchdog_kit.guard.lexicon import lexicon, stem
from memory_watchdog_kit.guard.order import changed_places, changed_roles
from memory_watchdog_kit.guard.reading import Reading, Word, read

MAX_CHARACTERS = 2_000
"""Of each query. One that is longer is no question but a text: it shares an answer with its equal alone."""

_SHORTEST_REST = 3  # of a word behind its prefix
_SAME_BEGINNING = 4  # `config`, `configure`; shorter ones must be the whole word: `env`, `environment`
_NO_ROWS: frozenset[int] = frozenset()
_NAME_PARTS = re.compile(r"[a-z]+|\d+")


def contradicts(a: str, b: str) -> bool:
    """Must these two queries not share an answer, however alike they look? Symmetric; False for equal ones."""
    if a == b:
        return False
    if len(a) > MAX_CHARACTERS or len(b) > MAX_CHARACTERS:
        return True
    one, other = read(a), read(b)
    return (
        _differently_negated(one, other)
        or _on_opposite_sides(one, other)
        or _other_numbers(one, other)
        or _other_names(one, other)
        or bool(one.question and other.question and one.question != other.question)
        or _opposite_affixes(one, other)
        or changed_roles(one, other)
        or changed_places(one, other)
        or _one_exchanged(one, other)
        or _other_direction(one, other)
    )


def _differently_negated(one: Reading, other: Reading) -> bool:
    """Another number of negations, or each negates what the other says."""
    if len(one.negated) != len(other.negated):
        return True
    things_one = {thing for things in one.negated for thing in things}
    things_other = {thing for things in other.negated for thing in things}
    return (
        things_one.isdisjoint(things_other)
        and not things_one.isdisjoint(other.stems)
        and not things_other.isdisjoint(one.stems)
    )


def _on_opposite_sides(one: Reading, other: Reading) -> bool:
    """Each is more often on a side than the other; or both are as often on both sides, of exchanged things."""
    sides_one, sides_other = Counter(side for side, _ in one.sides), Counter(side for side, _ in other.sides)
    if not {line for line, _ in sides_one - sides_other}.isdisjoint(line for line, _ in sides_other - sides_one):
        return True
    bound_one, bound_other = _by_line_and_thing(one), _by_line_and_thing(other)
    return any(
        line_and_thing in bound_other and bound_other[line_and_thing].isdisjoint(sides)
        for line_and_thing, sides in bound_one.items()
    )


def _by_line_and_thing(reading: Reading) -> dict[tuple[int, str], set[int]]:
    found: dict[tuple[int, str], set[int]] = {}
    for (line, side), thing in reading.sides:
        if thing:
            found.setdefault((line, thing), set()).add(side)
    return found


def _other_numbers(one: Reading, other: Reading) -> bool:
    all_one, all_other = one.digits | one.spelled, other.digits | other.spelled
    if all_one != all_other:
        # `merge two dicts` may be `merge dicts`, but `python 3` is not `python`.
        return bool(one.digits or other.digits or (all_one and all_other))
    return any(other.units.get(value, unit) != unit for value, unit in one.units.items())


def _other_names(one: Reading, other: Reading) -> bool:
    """Identifiers, quoted text, single letters, names in capitals."""
    names_one, names_other = one.names - other.names, other.names - one.names
    if (names_one and names_other) or not (_spelled_out(names_one, other) and _spelled_out(names_other, one)):
        return True
    if not (_contains(other, one.quotes - other.quotes) and _contains(one, other.quotes - one.quotes)):
        return True
    if one.letters != other.letters and one.letters and other.letters:
        return True
    return bool(one.proper - other.stems) and bool(other.proper - one.stems)


def _spelled_out(names: Iterable[str], other: Reading) -> bool:
    """Are the words that the names are made of all in `other`: `load_user` in `load a user`?"""
    if not names:
        return True
    texts = {word.text for word in other.words}
    joined = "".join(word.text for word in other.words)
    return all(
        name in joined or all(part in texts or stem(part) in other.stems for part in _NAME_PARTS.findall(name))
        for name in names
    )


def _contains(reading: Reading, quotes: Iterable[str]) -> bool:
    text = " ".join(word.text for word in reading.words) if quotes else ""
    return all(quote in text for quote in quotes)


def _opposite_affixes(one: Reading, other: Reading) -> bool:
    """`sorted` and `unsorted`, `upstream` and `downstream`, `caller` and `callee`."""
    texts_one, texts_other = {word.text for word in one.words}, {word.text for word in other.words}
    only_one, only_other = texts_one - texts_other, texts_other - texts_one
    return (
        _has_prefixed(only_one, texts_one, texts_other, other.stems)
        or _has_prefixed(only_other, texts_other, texts_one, one.stems)
        or _have_opposed_affixes(only_one, only_other)
    )


def _has_prefixed(only: Iterable[str], own: set[str], theirs: set[str], their_stems: set[str]) -> bool:
    known = lexicon()
    for text in only:
        if not text.startswith(words.NEGATING_PREFIXES) or text in known.no_prefix:
            continue
        if (entry := known.entries.get(text)) is not None and entry.negates:
            continue  # counted as a negation
        for prefix in words.NEGATING_PREFIXES:
            rest = text[len(prefix) :] if text.startswith(prefix) else ""
            if len(rest) >= _SHORTEST_REST and rest not in own and (rest in theirs or stem(rest) in their_stems):
                return True
    return False


def _have_opposed_affixes(only_one: Iterable[str], only_other: Iterable[str]) -> bool:
    """Whether a word of each is the same but for its beginning or end, and these are opposites."""
    known = lexicon()
    rests = {
        (right, stem(text[len(left) :]))
        for text in only_one
        for left, right in known.opposed_prefixes
        if text.startswith(left) and len(text) - len(left) >= _SHORTEST_REST
    }
    beginnings = {
        (right, text[: -len(left)])
        for text in only_one
        for left, right in known.opposed_suffixes
        if text.endswith(left) and len(text) - len(left) >= _SHORTEST_REST
    }
    if not rests and not beginnings:
        return False
    return any(
        text.startswith(prefix) and (prefix, stem(text[len(prefix) :])) in rests
        for text in only_other
        for prefix, _ in known.opposed_prefixes
    ) or any(
        text.endswith(suffix) and (suffix, text[: -len(suffix)]) in beginnings
        for text in only_other
        for suffix, _ in known.opposed_suffixes
    )


def _one_exchanged(one: Reading, other: Reading) -> bool:
    """Are they the same but for one word, which is exchanged for another that does not mean the same?"""
    if len(one.content) != len(other.content):
        return False
    exchanged: Sequence[tuple[Word, Word]] = [
        (one.words[mine], other.words[theirs])
        for mine, theirs in zip(one.content, other.content, strict=True)
        if one.words[mine].stem != other.words[theirs].stem
    ]
    return len(exchanged) == 1 and not _mean_the_same(*exchanged[0])


def _other_direction(one: Reading, other: Reading) -> bool:
    """Are they the same but for one small word: reported `to` and `by` the user?"""
    if [one.words[place].stem for place in one.content] != [other.words[place].stem for place in other.content]:
        return False
    # `without` counts as a negation already.
    directions_one, directions_other = (
        [word.text for word in reading.words if word.directs and not (word.entry and word.entry.negates)]
        for reading in (one, other)
    )
    if len(directions_one) != len(directions_other):
        return False
    rows = lexicon().interchangeable
    return any(
        mine != theirs and rows.get(mine, _NO_ROWS).isdisjoint(rows.get(theirs, _NO_ROWS))
        for mine, theirs in zip(directions_one, directions_other, strict=True)
    )


def _mean_the_same(one: Word, other: Word) -> bool:
    if one.entry is not None and other.entry is not None:
        if not one.entry.synonyms.isdisjoint(other.entry.synonyms):
            return True
        if not set(one.entry.sides).isdisjoint(other.entry.sides):
            return True
    if any(word.entry is not None and word.entry.negates for word in (one, other)):
        return True  # `not enabled`, `disabled`: that there are as many negations was seen already
    shorter, longer = sorted((one.text, other.text), key=len)
    return longer[:_SAME_BEGINNING] == shorter[:_SAME_BEGINNING]
