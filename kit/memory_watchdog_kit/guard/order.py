"""Whether things changed their places between two queries: what is done by whom, what comes from where.

Covers: sources and targets, subjects and objects, two things in the other order around the same words.
Leaves to others: words and what they do (`reading`), all else that can contradict (`rules`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from memory_watchdog_kit.guard import words
from memory_watchdog_kit.guard.lexicon import lexicon
from memory_watchdog_kit.guard.reading import RELATIVE, Reading, Word

_MAX_ORDERED = 24
_EVEN_HANDED_DIRECTIONS = frozenset({"to", "from", "with", "of", "between"})
_BEFORE_VERBS = frozenset(words.BEFORE_VERBS.split())
_BE = frozenset({"is", "are", "was", "were", "be", "been", "being"})
_AUXILIARIES = frozenset({"do", "does", "did"})
_THINGS = 2
_VERB_REACH = 5


def changed_roles(one: Reading, other: Reading) -> bool:
    """Is something the source here and the target there, or who does it here and to whom it is done there?"""
    roles_one, roles_other = _roles(one), _roles(other)
    return any(
        (relation, not is_object, thing) in roles_other
        and (relation, not is_object, thing) not in roles_one
        and (relation, is_object, thing) not in roles_other
        for relation, is_object, thing in roles_one
    )


def changed_places(one: Reading, other: Reading) -> bool:
    """Do two things stand in the other order, with the same between them?"""
    places_one, places_other = _places(one), _places(other)
    both = [thing for thing in places_one if thing in places_other]
    if all(places_other[first] < places_other[second] for first, second in pairwise(both)):
        return False
    if len(both) > _MAX_ORDERED:
        return True  # too many pairs to look at: 2 ms
    even_handed = one.even_handed and other.even_handed
    return any(
        places_other[first] > places_other[second]
        and _same_between(
            one.words[places_one[first] + 1 : places_one[second]],
            other.words[places_other[second] + 1 : places_other[first]],
            even_handed,
        )
        for n, first in enumerate(both)
        for second in both[n + 1 :]
    )


def _roles(reading: Reading) -> set[tuple[str, bool, str]]:
    """(relation, whether it is the object or the target, stem)."""
    roles: set[tuple[str, bool, str]] = set()
    into = lexicon().into
    found = reading.words
    for position, word in enumerate(found):
        if word.directs and (word.text == words.FROM or word.text in into):
            roles.update(("to", word.text != words.FROM, thing) for thing in _right(found, position)[:1])
        entry = word.entry
        if entry is None:
            continue
        if entry.relation_noun:
            relation, role = entry.relation_noun
            things = _right(found, position, through=("of", "to")) or _left(found, position)
            roles.update((relation, role == "object", thing) for thing in things)
        elif entry.relation:
            subjects, objects = _subjects_and_objects(found, position, entry.relation)
            roles.update((entry.relation, False, thing) for thing in subjects)
            roles.update((entry.relation, True, thing) for thing in objects)
    return roles


def _subjects_and_objects(found: Sequence[Word], position: int, relation: str) -> tuple[Sequence[str], Sequence[str]]:
    text = found[position].text
    left, right = _left(found, position), _right(found, position, through=("of", "to", "on"))
    if position + 1 < len(found) and found[position + 1].text == "by":
        return _right(found, position + 1), left
    before = {word.text for word in found[max(0, position - _VERB_REACH) : position]}
    if not right and not text.endswith("ing") and (text.endswith(("ed", "en")) or not before.isdisjoint(_BE)):
        return (), left  # `where is x called`, `functions called`
    if text.endswith("ing") or (left and right and text != relation) or not before.isdisjoint(_BEFORE_VERBS):
        return left, right
    return (), ()  # it may be a noun: `the call stack`, `all imports`


def _left(found: Sequence[Word], position: int) -> list[str]:
    """The last two things before: `the old lexer`."""
    things: list[str] = []
    for place in range(position - 1, -1, -1):
        word = found[place]
        if word.clause != found[position].clause or word.directs or len(things) == _THINGS:
            break
        if things and word.text in _AUXILIARIES:
            break  # `which functions does main call`
        if word.content:
            things.append(word.stem)
    return things


def _right(found: Sequence[Word], position: int, through: Sequence[str] = ()) -> list[str]:
    """The first two things behind, also behind a word of `through`."""
    things: list[str] = []
    for place in range(position + 1, len(found)):
        word = found[place]
        if (
            word.clause != found[position].clause
            or (word.directs and (things or word.text not in through))
            or word.text in RELATIVE
            or len(things) == _THINGS
        ):
            break
        if word.content:
            things.append(word.stem)
    return things


def _places(reading: Reading) -> dict[str, int]:
    """Where each thing stands that is there once, in the order of the query."""
    places: dict[str, int] = {}
    twice: set[str] = set()
    for position in reading.content:
        thing = reading.words[position].stem
        if thing in places:
            twice.add(thing)
        places[thing] = position
    for thing in twice:
        del places[thing]
    return places


def _same_between(one: Sequence[Word], other: Sequence[Word], even_handed: bool) -> bool:
    directions_one = {word.text for word in one if word.directs}
    directions_other = {word.text for word in other if word.directs}
    shared = directions_one & directions_other
    if shared:
        return not (even_handed and shared <= _EVEN_HANDED_DIRECTIONS)
    if directions_one or directions_other:
        return False
    # In the same form: `token refresh endpoint` is the `endpoint that refreshes tokens`.
    things = [word.text for word in one if word.content]
    return bool(things) and things == [word.text for word in other if word.content]
