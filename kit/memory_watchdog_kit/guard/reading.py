"""What the guard sees of one query.

Covers: `read`: a query into words with what they do there, negations, sides of opposites, numbers, names, quotes.
Leaves to others: what is known of a word (`lexicon`), whether two readings contradict each other (`rules`).

One pass over the words; no pattern here can go back further than one word, or 80 characters within quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from memory_watchdog_kit.guard.lexicon import Entry, Side, lexicon, stem

_QUOTED = re.compile(r"\"([^\"\n]{1,80})\"|`([^`\n]{1,80})`|(?<![\w'])'([^'\n]{1,80})'(?![\w'])")
_EDGES = "()[]{}<>,;:!?\"'`.“”‘’…*=|"
_CLAUSE_ENDS = frozenset(",;:.!?")
_NUMBER = re.compile(r"([-−]?)[vV+]?(\d[\d.,_]*)([a-zA-Zµ%]*)")
_PARTS = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)*")
_CAMEL = re.compile(r"[a-z][A-Z]|[A-Z]{2}[a-z]{2}")
_PARTICLE_REACH = 4

POSSESSIVE = "'s"
RELATIVE = frozenset({"that", "which", "who"})
"""A clause of its own begins with them."""

_NOT = Entry("not", negates=True, little=True)
_EITHER = Entry("/", even_handed=True)


@dataclass(slots=True)
class Word:
    """One word of a query. `text` is in lower case; of words that are the same, `stem` is."""

    text: str
    stem: str
    entry: Entry | None = None
    clause: int = 0
    directs: bool = False
    content: bool = True


@dataclass(slots=True)
class Reading:
    """A query as the guard sees it."""

    words: list[Word] = field(default_factory=list)
    content: list[int] = field(default_factory=list)
    """Where in `words` those stand that carry meaning, and their `stems`."""
    stems: set[str] = field(default_factory=set)
    negated: list[frozenset[str]] = field(default_factory=list)
    """For each negation the stems of what it negates: of `unused` what follows `un`, else of the next two words."""
    sides: list[tuple[Side, str]] = field(default_factory=list)
    """Sides of opposites, each with the stem of the next word that carries meaning."""
    digits: set[str] = field(default_factory=set)
    spelled: set[str] = field(default_factory=set)
    """Numbers, in digits and in words."""
    units: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    """Identifiers, flags, paths."""
    letters: set[str] = field(default_factory=set)
    """Letters that stand alone."""
    proper: set[str] = field(default_factory=set)
    """Stems of words in capitals, or with one where no sentence begins."""
    quotes: set[str] = field(default_factory=set)
    question: str = ""
    even_handed: bool = False


def read(query: str) -> Reading:
    """The reading of a query."""
    reader = _Reader()
    reader.take(query)
    reader.conclude()
    return reader.reading


class _Reader:
    """The state of one pass: `take` finds the words, `conclude` what they do to each other."""

    def __init__(self) -> None:
        self.known = lexicon()
        self.reading = Reading()
        self.clause = 0
        self.sentence_begins = True
        self.capitals = 0

    def take(self, query: str) -> None:
        if '"' in query or "`" in query or "'" in query:
            for found in _QUOTED.findall(query):
                self.reading.quotes.add(" ".join(next(filter(None, found)).lower().split()))
        for chunk in query.split():
            if chunk.isalpha():
                self.plain(chunk)
                self.sentence_begins = False
            else:
                bare = chunk.strip(_EDGES)
                if bare:
                    self.chunk(bare, called=chunk.rstrip(",;:!?.\"'`").endswith("()"))
                ends = chunk[-1] in _CLAUSE_ENDS
                self.clause += ends
                self.sentence_begins = ends and chunk[-1] in ".!?"

    def chunk(self, bare: str, called: bool = False) -> None:
        """What stands between two spaces, without punctuation around it."""
        if bare.isalpha():
            if called:
                self.name(bare)
            else:
                self.plain(bare)
        elif number := _NUMBER.fullmatch(bare):
            self.number(number)
        elif "'" in bare or "’" in bare:
            self.apostrophe(bare.replace("’", "'"))
        elif _is_name(bare):
            self.name(bare)
        else:
            self.compound(bare)

    def apostrophe(self, bare: str) -> None:
        """`don't`, `the user's`, `it's`."""
        head, _, tail = bare.partition("'")
        tail = tail.lower()
        if tail == "t" and head.endswith(("n", "N")):
            self.add(Word(head[:-1].lower() + "n't", "not", _NOT))
        elif tail == "s" or (not tail and head.endswith("s")):
            if head:
                self.chunk(head)
            self.add(Word(POSSESSIVE, POSSESSIVE, directs=True, content=False))
        elif tail in ("re", "ve", "ll", "d", "m"):
            self.plain(head)
        else:
            self.compound(bare)

    def compound(self, bare: str) -> None:
        """`thread-safe`, `read/write`, `utf8`: part by part."""
        lower = bare.lower()
        entry = self.known.entries.get(lower)
        if entry is not None:
            self.add(Word(lower, entry.stem, entry))
            return
        end = 0
        for part in _PARTS.finditer(bare):
            if bare[end : part.start()] == "/":
                self.add(Word("/", "/", _EITHER))
            end = part.end()
            text = part.group()
            lower = text.lower()
            if text[0].isdigit():
                self.digit(text)
            elif (lower in ("non", "no") and end < len(bare)) or (lower in ("free", "less") and part.start()):
                self.add(Word(lower, "not", _NOT))
            elif lower not in ("re", "v"):
                self.plain(text)

    def plain(self, text: str) -> None:
        """A word of letters alone."""
        lower = text.lower()
        if len(text) == 1:
            self.letter(text, lower)
            return
        entry = self.known.entries.get(lower)
        if text != lower:
            if entry is None and _CAMEL.search(text):
                self.name(text)
                return
            if text.isupper() or not self.sentence_begins:
                self.reading.proper.add(entry.stem if entry is not None else stem(lower))
            self.capitals += 1
        words = self.reading.words
        if words and words[-1].text in self.known.phrase_starts:
            meaning = self.known.phrases.get((words[-1].text, lower))
            if meaning is not None:
                words.pop()
                lower, entry = meaning, self.known.entries.get(meaning)
        self.add(Word(lower, entry.stem if entry is not None else stem(lower), entry))

    def letter(self, text: str, lower: str) -> None:
        if text == "I" or (lower == "a" and (text == "a" or self.sentence_begins)):
            self.add(Word(lower, lower, content=False))  # an article; `conclude` looks again
        else:
            self.reading.letters.add(lower)
            self.add(Word(lower, lower))

    def name(self, text: str) -> None:
        lower = text.lower()
        self.reading.names.add(lower)
        self.add(Word(lower, lower))

    def number(self, found: re.Match[str]) -> None:
        sign, value, unit = found.groups()
        if unit and unit.lower() not in self.known.units:
            self.compound(found.group())
            return
        value = ("-" if sign else "") + value.replace(",", "").replace("_", "").rstrip(".")
        self.digit(value)
        if unit:
            self.reading.units[value] = self.known.units[unit.lower()]

    def digit(self, value: str) -> None:
        self.reading.digits.add(value)
        self.add(Word(value, value, Entry(value, number=value)))

    def add(self, word: Word) -> None:
        word.clause = self.clause
        reading = self.reading
        before = reading.words[-1].entry if reading.words else None
        if before is not None and before.number and word.text in self.known.units:
            reading.units.setdefault(before.number, self.known.units[word.text])
            word.entry = None  # `10 seconds`: no second of something
        entry = word.entry
        if entry is not None:
            if entry.number and entry.number != word.text:
                reading.spelled.add(entry.number)
                word.stem = entry.number
            word.directs = entry.directs
            word.content = not (entry.directs or entry.even_handed or entry.little)
        reading.words.append(word)

    def conclude(self) -> None:
        """What depends on the words around."""
        reading, words, known = self.reading, self.reading.words, self.known
        if self.capitals * 2 > len(words):
            reading.proper = set()  # a title, or shouting
        for position, word in enumerate(words):
            following = words[position + 1] if position + 1 < len(words) else None
            last = following is None or following.clause != word.clause
            if word.text == "a" and not word.content and (last or (following is not None and following.directs)):
                word.content = True  # `from port a to port b`
                reading.letters.add("a")
            elif word.text == "to":
                before = words[position - 1].text if position else "to"
                if before in known.infinitive_after or (following is not None and following.text in known.bare_verbs):
                    word.directs = False
            elif word.text in ("on", "off"):
                self.particle(position, last)
            if not reading.question and word.text in known.questions:
                reading.question = word.text
            if word.text in known.even_handed_heads:
                reading.even_handed = True
        reading.content = [position for position, word in enumerate(words) if word.content]
        reading.stems = {words[position].stem for position in reading.content}
        self.bind()

    def particle(self, position: int, last: bool) -> None:
        """`turn the cache off`, `swap on`."""
        words = self.reading.words
        word = words[position]
        near = words[max(0, position - _PARTICLE_REACH) : position]
        if word.text == "off" or last or any(other.text in self.known.particle_verbs for other in near):
            word.stem = "enable" if word.text == "on" else "disable"
            word.entry = self.known.entries.get(word.stem)
            word.directs, word.content = False, True

    def doubled(self, position: int) -> bool:
        """Whether a negation stands right beside another: `not without a lock` is `with a lock`."""
        words = self.reading.words
        pair = [words[place] for place in (position - 1, position + 1) if 0 <= place < len(words)]
        return any(word.entry is not None and word.entry.negates for word in pair)

    def bind(self) -> None:
        """Negations and sides of opposites, each with what they stand before."""
        reading, words = self.reading, self.reading.words
        following: list[Word] = []
        for position in range(len(words) - 1, -1, -1):
            word = words[position]
            entry = word.entry
            if entry is not None:
                if entry.negates and not self.doubled(position):
                    things = [other.stem for other in following]
                    if word.text == "off":  # `turn the cache off`
                        things = [before.stem for before in words[max(0, position - 2) : position] if before.content]
                    elif word.text != entry.stem and word.text.endswith(entry.stem):
                        things = [entry.stem]
                    reading.negated.append(frozenset(things))
                for side in entry.sides:
                    reading.sides.append((side, _thing_of(side, following)))
            if word.text in RELATIVE:
                following = []
            elif word.content:
                following = [word, *following[:1]]


def _thing_of(side: Side, following: list[Word]) -> str:
    """What a side of opposites is said of: in `open and close a file` both of the file."""
    for word in following:
        if word.entry is None or all(line != side[0] for line, _ in word.entry.sides):
            return word.stem
    return ""


def _is_name(text: str) -> bool:
    """An identifier, a path, a file, an address, a flag: something that has no near miss."""
    if "_" in text.strip("_") or text[0] in "$@#~-" or "::" in text or "(" in text or "\\" in text:
        return True
    if "/" in text and (text[0] in "/." or text.count("/") > 1 or "." in text):
        return True
    dot = text.find(".")
    return dot > 0 and text[dot - 1].isalnum() and text[dot + 1 : dot + 2].isalpha()
