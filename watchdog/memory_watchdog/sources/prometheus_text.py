"""Prometheus' text format: the samples of a few metrics out of an answer.

Covers: selectors such as `name{label="x"}`, finding their lines, parsing those.
Leaves to others: what the numbers mean (`sources.mapping`); parsing one line (prometheus-client).

Only lines that begin with a wanted name are parsed: a full pass takes 20 µs a line, 0.3 s for a megabyte. And
prometheus-client copies the rest of a line for each label and each escaped quote in it, so that one line of a megabyte
takes 6 s and holds the interpreter meanwhile: a line has a bound of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from memory_watchdog.observation import Reason, Unavailable
from memory_watchdog.outside_text import one_line

MAX_LINE_CHARACTERS = 16 * 1024
MAX_SERIES = 10_000
"""Of all wanted metrics together: 0.2 s of parsing."""

SELECTOR_FORM = 'the name of a metric, with labels or without, such as cache_bytes{cache="a"}'

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\\n]|\\["\\n])*)"\s*'
_SELECTOR = re.compile(rf"\s*({_NAME})\s*(?:\{{((?:{_LABEL}(?:,|(?=\}})))*)\s*\}})?\s*")
_ESCAPE = re.compile(r"\\(.)")

Samples = Mapping[str, list[tuple[Mapping[str, str], float]]]
"""By name, the labels and value of each series."""


@dataclass(frozen=True, slots=True)
class Selector:
    """The series of one metric that have these labels; a label with an empty value is one that is not there."""

    text: str
    name: str
    labels: tuple[tuple[str, str], ...] = ()

    def find(self, document: Samples) -> list[float] | None:
        """The values of the series; None where there is none."""
        values = [
            value
            for labels, value in document.get(self.name, [])
            if all(labels.get(name, "") == wanted for name, wanted in self.labels)
        ]
        return values or None


def parse_selector(text: str) -> Selector:
    """`name` or `name{label="x",…}`. Raises ValueError, whose text says what is allowed."""
    match = _SELECTOR.fullmatch(text)
    if match is None:
        raise ValueError(SELECTOR_FORM)
    pairs = re.findall(_LABEL, match[2] or "")
    labels = {name: _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], value) for name, value in pairs}
    if len(labels) < len(pairs):
        raise ValueError(f"{SELECTOR_FORM}, each label once")
    return Selector(text, match[1], tuple(sorted(labels.items())))


def read_samples(body: bytes, names: Iterable[str]) -> Samples | Unavailable:
    """The samples of the metrics called `names` in an answer in Prometheus' text format."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Unavailable(Reason.INVALID, f"not UTF-8 at byte {error.start}")
    if not text.strip():
        return Unavailable(Reason.INVALID, "the answer is empty")
    # The first sample is parsed whatever it is: a page of HTML is not statistics that lack the metric.
    first = re.search(r"^[ \t]*[^#\s][^\n]*", text, re.MULTILINE)
    if first is not None and isinstance(sample := _parsed(first[0]), Unavailable):
        return sample
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in names}
    beginnings = "|".join(re.escape(name) for name in sorted(samples))
    # A name in quotes stands behind the brace.
    lines = re.finditer(rf"^[ \t]*(?:(?:{beginnings})[ \t]*[{{ \t]|\{{)[^\n]*", text, re.MULTILINE)
    series = 0
    for line in lines:
        sample = _parsed(line[0])
        if isinstance(sample, Unavailable):
            return sample
        name, labels, value = sample
        if name not in samples:
            continue
        samples[name].append((labels, value))
        series += 1
        if series > MAX_SERIES:
            return Unavailable(Reason.INVALID, f"{name}: more than {MAX_SERIES} series")
    return samples


def _parsed(line: str) -> tuple[str, Mapping[str, str], float] | Unavailable:
    """Name, labels and value of one line. Alone, without its `# TYPE`, a line keeps the name that stands there."""
    shown = line.split("{", maxsplit=1)[0].split()[:1]
    name = one_line(shown[0] if shown else line, 60)
    if len(line) > MAX_LINE_CHARACTERS:
        return Unavailable(Reason.INVALID, f"{name}: a line of more than {MAX_LINE_CHARACTERS} characters")
    try:
        (sample,) = (sample for family in text_string_to_metric_families(line) for sample in family.samples)
    except (ValueError, LookupError) as error:
        return Unavailable(Reason.INVALID, one_line(f"{name}: no line of Prometheus' text format ({error})"))
    return sample.name, sample.labels, sample.value
