"""The guard's words by the form in which they stand in a query.

Covers: inflected forms, which sides of opposites a form is on, what else it does in a sentence; stems of other words.
Leaves to others: the words (`words`, `opposites`), sentences (`reading`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from memory_watchdog_kit.guard import opposites, words

Side = tuple[int, int]
"""Which line of opposites, and which side of it."""

_VOWELS = frozenset("aeiou")


@dataclass(slots=True)
class Entry:
    """What is known of one form. `stem` is the word that it is a form of."""

    stem: str
    sides: tuple[Side, ...] = ()
    synonyms: frozenset[int] = frozenset()
    negates: bool = False
    little: bool = False
    directs: bool = False
    even_handed: bool = False
    number: str = ""
    relation: str = ""
    relation_noun: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Lexicon:
    """All forms, and the sets that are asked for one word."""

    entries: dict[str, Entry]
    phrases: dict[tuple[str, str], str]
    phrase_starts: frozenset[str]
    units: dict[str, str]
    interchangeable: dict[str, frozenset[int]]
    opposed_prefixes: tuple[tuple[str, str], ...]
    opposed_suffixes: tuple[tuple[str, str], ...]
    questions: frozenset[str]
    particle_verbs: frozenset[str]
    infinitive_after: frozenset[str]
    bare_verbs: frozenset[str]
    even_handed_heads: frozenset[str]
    into: frozenset[str]
    no_prefix: frozenset[str]


@cache
def lexicon() -> Lexicon:
    """Made when it is first needed: 10 ms, and 1.5 MB as long as the process lives."""
    phrases = {}
    for line in words.PHRASES.strip().splitlines():
        meaning, _, several = line.partition(" = ")
        for phrase in several.split(","):
            first, second = phrase.split()
            phrases[first, second] = meaning
    return Lexicon(
        _entries(),
        phrases,
        frozenset(first for first, _ in phrases),
        {form: unit[0] for unit in _sides(words.UNITS.replace("\n", " / ")) for form in unit},
        _rows(words.INTERCHANGEABLE_DIRECTIONS),
        tuple(_pairs(opposites.OPPOSED_PREFIXES)),
        tuple(_pairs(opposites.OPPOSED_SUFFIXES)),
        frozenset(question[0] for question in _sides(words.QUESTIONS)),
        frozenset(words.PARTICLE_VERBS.split()),
        frozenset(words.INFINITIVE_AFTER.split()),
        frozenset(words.BARE_VERBS.split()),
        frozenset(words.EVEN_HANDED_HEADS.split()),
        frozenset(words.INTO.split()),
        frozenset(words.NO_PREFIX.split()),
    )


def _entries() -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    lines = 0
    for text, inflect in ((opposites.ACTIONS, True), (opposites.QUALITIES, False), (opposites.ALTERNATIVES, False)):
        lines = _add_opposites(entries, text, lines, inflect)
    _add_negations(entries)
    for form in words.LITTLE.split():
        _entry(entries, form).little = True
    for form in words.DIRECTIONS.split():
        _entry(entries, form).directs = True
    for form in words.EVEN_HANDED.split():
        _entry(entries, form).even_handed = True
    for number, form in enumerate(words.NUMBERS.split()):
        _entry(entries, form).number = str(number + 1 if number else 0)  # without one
    for form, value in words.LARGE_NUMBERS.items():
        _entry(entries, form).number = value
    _add_relations(entries)
    for word, rows in _rows(words.SYNONYMS).items():
        for form in _forms(word):
            entry = _entry(entries, form)
            entry.synonyms |= rows
    return entries


def _rows(text: str) -> dict[str, frozenset[int]]:
    """In which rows each word stands."""
    rows: dict[str, frozenset[int]] = {}
    for number, row in enumerate(_sides(text.strip().replace("\n", " / "))):
        for word in row[0].split():
            rows[word] = rows.get(word, frozenset()) | {number}
    return rows


def _add_opposites(entries: dict[str, Entry], text: str, line_number: int, inflect: bool) -> int:
    for line in text.strip().splitlines():
        for side, members in enumerate(_sides(line)):
            for member in members:
                for form in _forms(member) if inflect else {member, member + "s"} - _WHOLE | {member}:
                    entry = _entry(entries, form, member if inflect else stem(member))
                    if (line_number, side) not in entry.sides:
                        entry.sides += ((line_number, side),)
        line_number += 1
    return line_number


def _add_negations(entries: dict[str, Entry]) -> None:
    for form in words.NOT_WORDS.split():
        entry = _entry(entries, form, "not")
        entry.negates = entry.little = True
    for base in words.NEGATING.split():
        for form in _forms(base):
            _entry(entries, form, base).negates = True
    for form in words.NEGATED.split():
        base = form[3:] if form.startswith(("non", "dis")) else form[2:]
        entry = _entry(entries, form)
        entry.negates, entry.stem = True, _entry(entries, base).stem


def _add_relations(entries: dict[str, Entry]) -> None:
    for base in words.RELATIONS.split():
        for form in _forms(base):
            _entry(entries, form, base).relation = base
    for line in words.RELATION_NOUNS.strip().splitlines():
        nouns, _, meaning = line.partition(" = ")
        verb, role = meaning.split()
        for form in nouns.split():
            _entry(entries, form, verb).relation_noun = (verb, role)


def _entry(entries: dict[str, Entry], form: str, stem_: str = "") -> Entry:
    found = entries.get(form)
    if found is None:
        found = entries[form] = Entry(stem_ or stem(form))
    return found


def _sides(line: str) -> Iterator[list[str]]:
    for side in line.split("/"):
        members = [member.strip() for member in side.split(",") if member.strip()]
        if members:
            yield members


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for pair in text.split():
        left, _, right = pair.partition("/")
        yield left, right
        yield right, left


def _forms(base: str) -> Iterable[str]:
    """The forms of a verb; some that are none do no harm."""
    yield base
    yield from _IRREGULAR.get(base, "").split()
    last = base[-1]
    if last == "e":
        yield from (base + "s", base + "d", base[:-1] + "ing", base + "r", base + "rs")
    elif last == "y" and base[-2] not in _VOWELS:
        yield from (base[:-1] + "ies", base[:-1] + "ied", base + "ing")
    else:
        yield from (base + "s", base + "es", base + "ed", base + "ing", base + "er", base + "ers")
        if len(base) > 2 and last not in "wxy" and base[-2] in _VOWELS and base[-3] not in _VOWELS:
            yield from (base + last + "ed", base + last + "ing", base + last + "er", base + last + "ers")


_IRREGULAR = {line.partition(" = ")[0]: line.partition(" = ")[2] for line in words.IRREGULAR_FORMS.strip().splitlines()}
_WHOLE = frozenset({"https", "news"})  # their s makes another word of them
_ENDINGS = ("ations", "ation", "ating", "ated", "ates", "ate", "ators", "ator", "ings", "ing", "ers", "er", "ors", "or")


def stem(word: str) -> str:
    """A word that is in no list, without its ending, roughly: `parser`, `parsing` and `parses` are one."""
    if len(word) <= 3 or word in _WHOLE or not word.isascii():
        return word
    if word.endswith(("ies", "ied")):
        return word[:-3] + "y" if len(word) > 4 else word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return _undoubled(word[: -len(ending)])
    if word.endswith("ed") and len(word) > 4:
        return _undoubled(word[:-2])
    if word.endswith(("ss", "us", "is")):
        return word
    if word.endswith(("ses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s"):
        word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def _undoubled(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz" else word
