"""`contradicts`: True where two queries that look alike ask for different things.

Covers: negation in one of them, opposites, things that changed places, other numbers, versions, names or quoted words.
Leaves to others: whether they look alike at all (the embedding), which words mean what (`words`). English only; of
other languages it sees numbers, names and quotes.

It is meant to be wrong on one side alone: two queries that could share an answer may be told apart, which costs a
search; two that must not should never be let through. Pure, symmetric, linear in the length of the queries. What was
seen of the last thousand queries is kept, since those that are compared come from a cache.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from memory_watchdog_kit.guard.words import (
    BETWEEN,
    LITTLE,
    MOVING,
    NEGATIONS,
    NO_MOVE,
    NUMBERS,
    OPPOSITES,
    SURE_PREFIXES,
)

MAX_CHARACTERS = 2000
"""Of each query; what is longer is compared by its beginning, and must be equal behind it."""

_QUOTED = re.compile(r"\"([^\"]{1,80})\"|`([^`]{1,80})`|(?:(?<=\s)|^)'([^']{1,80})'(?=\s|$|[.,;:?!])")
_WORD = re.compile(r"[A-Za-z0-9_.:/+#@$-]*[A-Za-z0-9_+#$]|[,;.?!]")
_APOSTROPHE = re.compile(r"[’']")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]")
_WHOLE = frozenset({"https", "false", "else", "none", "this"})  # their endings are none
_ENDINGS = ("ations", "ation", "ings", "ing", "ers", "ies", "ied", "est", "ed", "er", "es", "s", "e")


@dataclass(frozen=True, slots=True)
class Reading:
    """What the guard sees of one query."""

    negated: bool
    stems: Counter[str]
    marks: frozenset[str]
    roles: frozenset[tuple[str, str, int]]  # word, which relation, which side of it


def contradicts(a: str, b: str) -> bool:
    """Must these two queries not share an answer, however alike they look?"""
    if a == b:
        return False
    if a[MAX_CHARACTERS:] != b[MAX_CHARACTERS:]:
        return True
    one, other = _reading(a[:MAX_CHARACTERS]), _reading(b[:MAX_CHARACTERS])
    return (
        one.negated != other.negated
        or (bool(one.marks and other.marks) and one.marks != other.marks)
        or _has_opposites(one.stems, other.stems)
        or _has_prefixed(one.stems, other.stems)
        or _has_prefixed(other.stems, one.stems)
        or _changed_places(one, other)
    )


@lru_cache(maxsize=4096)
def stem(word: str) -> str:
    """The word without its ending, roughly: `disabled`, `disabling` and `disables` are one."""
    if word in _WHOLE:
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            cut = word[: -len(ending)]
            # `stopping`, `getter`: the doubled letter belongs to the ending; `pass`, `install` keep theirs
            return cut[:-1] if len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] not in "lsz" else cut
    return word


_OPPOSITES_OF: dict[str, set[str]] = {}
for _left, _right in OPPOSITES:
    _OPPOSITES_OF.setdefault(stem(_left), set()).add(stem(_right))
    _OPPOSITES_OF.setdefault(stem(_right), set()).add(stem(_left))
_SURE = {prefix: frozenset(map(stem, words)) for prefix, words in SURE_PREFIXES.items()}
_BETWEEN = {word: stem(word) for word in BETWEEN}


@lru_cache(maxsize=1024)
def _reading(query: str) -> Reading:
    marks = {next(filter(None, found)).strip().lower() for found in _QUOTED.findall(query)}
    raw = _WORD.findall(_APOSTROPHE.sub("", query))
    words: list[str] = []
    for word in raw:
        if _is_mark(word):
            marks.add(word.lower().removeprefix("v") if word[1:2].isdigit() else word.lower())
        words.append(word.lower())
    marks |= {NUMBERS[word] for word in words if word in NUMBERS and word not in ("one", "zero")}
    negations = sum(word in NEGATIONS or word.startswith(("non-", "no-")) or word.endswith("n't") for word in words)
    stems = Counter(stem(part) for word in words for part in word.split("-") if part and part not in LITTLE)
    return Reading(negations % 2 == 1, stems, frozenset(marks), frozenset(_roles(words)))


def _is_mark(word: str) -> bool:
    """A number, a version, an identifier, an abbreviation with digits: something that has no near miss."""
    if any(character.isdigit() for character in word):
        return True
    return "_" in word.strip("_") or bool(_CAMEL.search(word)) or ("." in word.strip(".") and "/" not in word)


def _has_opposites(one: Counter[str], other: Counter[str]) -> bool:
    """Does one speak of something and the other of its opposite?"""
    for word in one:
        for opposite in _OPPOSITES_OF.get(word, ()):
            if one[word] > one[opposite] and other[opposite] > other[word]:
                return True
    return False


def _has_prefixed(one: Counter[str], other: Counter[str]) -> bool:
    """Has `other` a word of `one` with a prefix that turns it round, and `one` not?"""
    for word in other:
        if word in one:
            continue
        if word.startswith("un") and len(word) > 5 and word[2:] in one:
            return True
        for prefix, sure in _SURE.items():
            rest = word[len(prefix) :]
            if word.startswith(prefix) and rest in sure and rest in one:
                return True
    return False


def _roles(words: list[str]) -> set[tuple[str, str, int]]:
    """Which side of which relation each thing stands on: in `json to yaml` json is before, yaml behind."""
    roles: set[tuple[str, str, int]] = set()
    before: list[str] = []  # things since the last comma
    relation, side = "", 0
    explicit: set[str] = set()
    previous = ""
    for position, word in enumerate(words):
        if word in ",;.?!":
            before, relation, side = [], "", 0
        elif word in MOVING and not (word == "to" and previous in NO_MOVE):
            relation, side = "move", 1 if MOVING[word] == "goal" else -1
            if side == 1:
                roles |= {(thing, "move", -1) for thing in before if thing not in explicit}
        elif word in _BETWEEN:
            following = words[position + 1] if position + 1 < len(words) else ""
            relation, side = _BETWEEN[word], 1
            if following == "by":  # passive: who stands behind is who does it
                roles |= {(thing, relation, 1) for thing in before}
                side = -1
            elif word == "by" and previous.endswith(("ed", "en")):  # passive without a word of ours
                relation, side = stem(previous), -1
                roles |= {(thing, relation, 1) for thing in before if thing != relation}
            else:
                roles |= {(thing, relation, -1) for thing in before}
            if word != "by":
                before = [*before, stem(word)]
        elif word not in LITTLE:
            thing = stem(word)
            if relation:
                roles.add((thing, relation, side))
                if relation == "move":
                    explicit.add(thing)
            before.append(thing)
        previous = word
    return roles


def _changed_places(one: Reading, other: Reading) -> bool:
    """Do two things stand on other sides of the same relation in one than in the other?"""
    for thing, relation, side in one.roles:
        turned = (thing, relation, -side)
        if turned in other.roles and turned not in one.roles and (thing, relation, side) not in other.roles:
            return True
    return False
