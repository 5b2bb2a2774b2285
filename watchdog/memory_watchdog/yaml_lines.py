"""YAML text to plain data, with the line and the written text of every key path.

Covers: reading the file, syntax, duplicate keys, aliases and merge keys, the types of values.
Leaves to others: variables in values (`yaml_text`), what the keys mean (`config_models`, `config_checks`).

Three departures from PyYAML's rules, each against a surprise: keys are the text as written (`on: 1` is the key `on`),
`1:30` is text and not ninety, a date is text. Python objects, sets and other tags are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode

from memory_watchdog.config_errors import ConfigError, KeyPath, Mistake, key_text, shown
from memory_watchdog.yaml_text import joined_surrogates, with_variables

UNREAD: Any = type("Unread", (), {"__repr__": lambda _: "UNREAD"})()
"""Stands in the data where a value could not be read; a mistake says why."""

MAX_BYTES = 1 << 20  # PyYAML needs some ten seconds for this; a hundred targets are 100 KB
MAX_VALUES = 100_000  # after aliases are followed: nine lines of them can stand for 10⁹ values
MAX_DEPTH = 50  # PyYAML and we recurse; Python's stack ends at 1000 frames

_TAG = "tag:yaml.org,2002:"
_TYPED = {_TAG + name for name in ("null", "bool", "int", "float")}
_TEXT = {_TAG + name for name in ("str", "timestamp", "value", "merge")}
_QUOTE = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says. `lines` has every key path, `texts` every scalar as written, variables put in."""

    where: str
    data: dict[str, Any]
    lines: Mapping[KeyPath, int]
    texts: Mapping[KeyPath, str]
    mistakes: tuple[Mistake, ...] = ()
    unread: frozenset[KeyPath] = frozenset()

    def line_of(self, path: KeyPath) -> int | None:
        """The line of the path, or of its nearest ancestor that stands in the file."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path)


def read_document(path: Path, where: str, environ: Mapping[str, str]) -> Document:
    """The file as a Document; `where` is its name in mistakes.

    Raises ConfigError if it cannot be read, is no UTF-8 or is no YAML mapping. Smaller mistakes are in the Document.
    """

    def refuse(found: str, allowed: str, line: int | None = None) -> ConfigError:
        return ConfigError([Mistake(where, line, "", found, allowed)])

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise refuse("no such file", "a YAML file") from None
    except IsADirectoryError:
        raise refuse("a directory", "a YAML file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise refuse(f"a file that cannot be read ({reason})", "a readable YAML file") from error
    if len(content) > MAX_BYTES:
        raise refuse(f"more than {MAX_BYTES} bytes", f"at most {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8")  # PyYAML skips a byte order mark
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refuse("bytes that are no UTF-8", "UTF-8", line) from None
    return parse_document(text, where, environ)


def parse_document(text: str, where: str, environ: Mapping[str, str]) -> Document:
    """The text as a Document.

    Raises ConfigError if it is no single YAML mapping. Smaller mistakes are in the Document.
    """
    loader, root = _composed(text, where)
    if not isinstance(root, MappingNode):
        line = None if root is None else root.start_mark.line + 1
        empty = root is None or (isinstance(root, ScalarNode) and not root.value)
        found = "an empty file" if empty else "a list" if isinstance(root, SequenceNode) else "a single value"
        raise ConfigError([Mistake(where, line, "", found, "a mapping with the key targets")])
    builder = _Builder(where, environ, loader)
    data = builder.value(root, ())
    return Document(where, data, builder.lines, builder.texts, tuple(builder.mistakes), frozenset(builder.unread))


def _composed(text: str, where: str) -> tuple[_Loader, Node | None]:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader, loader.get_single_node()
    except yaml.YAMLError as error:
        line, problem = _syntax_problem(error, text)
    except (ValueError, OverflowError) as error:  # PyYAML on "\UFFFFFFFF" and on %YAML with 5000 digits
        line, problem = (loader.get_mark().line + 1 if loader else None), f"no YAML ({error})"
    raise ConfigError([Mistake(where, line, "", problem, "one YAML document")])


def _syntax_problem(error: yaml.YAMLError, text: str) -> tuple[int | None, str]:
    """Line and words of PyYAML's complaint. What it quotes at length may be part of a header, so that is left out."""
    if isinstance(error, yaml.reader.ReaderError):
        return text.count("\n", 0, error.position) + 1, "a control character"
    if not isinstance(error, yaml.MarkedYAMLError):
        return None, "no YAML"
    mark = error.problem_mark or error.context_mark
    if error.context == "expected a single document in the stream":
        problem = "several documents"
    else:
        words = error.problem or error.context or "not readable"
        problem = f"no YAML ({_QUOTE.sub(_short_quote, words)})"
    return (None if mark is None else mark.line + 1), problem


def _short_quote(match: re.Match[str]) -> str:
    quote = match[0][1:-1]
    return match[0] if len(quote) <= 2 or quote.startswith("<") else "…"  # a character, its escape, `<block end>`


class _Loader(yaml.SafeLoader):
    """Composes nodes, remembers which scalars were plain, and refuses what nests too deeply."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.plain: set[int] = set()
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        if self._depth >= MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested more than {MAX_DEPTH} deep", self.get_mark())
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        plain = self.peek_event().implicit[0]  # type: ignore[no-untyped-call]
        node = super().compose_scalar_node(anchor)
        if plain:
            self.plain.add(id(node))
        return node


@dataclass
class _Builder:
    """Turns nodes into data and collects lines, texts and mistakes on the way."""

    where: str
    environ: Mapping[str, str]
    loader: _Loader
    lines: dict[KeyPath, int] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    unread: set[KeyPath] = field(default_factory=set)
    _open: set[int] = field(default_factory=set)
    _values: int = 0

    def refusal(self, node: Node, found: str, allowed: str) -> ConfigError:
        return ConfigError([*self.mistakes, Mistake(self.where, node.start_mark.line + 1, "", found, allowed)])

    def mistake(self, path: KeyPath, line: int, found: str, allowed: str) -> None:
        self.mistakes.append(Mistake(self.where, line, key_text(path), found, allowed))

    def value(self, node: Node, path: KeyPath) -> Any:
        """The data of a node. Raises ConfigError where aliases stand for too much."""
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise self.refusal(
                node,
                "aliases that stand for too many values",
                f"at most {MAX_VALUES} values, nested at most {MAX_DEPTH} deep",
            )
        line = self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path, line)
        if id(node) in self._open:
            return self._cannot_read(path, line, "an alias that contains itself", "an alias of a finished value")
        assert isinstance(node, CollectionNode)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            return self._cannot_read(path, line, "a tag", "a value without a tag")
        self._open.add(id(node))
        built = self._mapping(node, path) if isinstance(node, MappingNode) else self._sequence(node, path)
        self._open.discard(id(node))
        return built

    def _cannot_read(self, path: KeyPath, line: int, found: str, allowed: str) -> Any:
        self.mistake(path, line, found, allowed)
        self.unread.add(path)
        return UNREAD

    def _sequence(self, node: CollectionNode, path: KeyPath) -> list[Any]:
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in self._pairs(node, path):
            place = (*path, key.value)
            if key.value not in result:  # explicit keys come first, merged ones after them
                self.lines[place] = key.start_mark.line + 1
                result[key.value] = self.value(value, place)
        return result

    def _pairs(self, node: MappingNode, path: KeyPath) -> Iterator[tuple[ScalarNode, Node]]:
        """The mapping's own keys, then those that `<<` brings in, nearest first."""
        merged: list[tuple[int, Node]] = []
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                self.mistake(path, line, "a list or a mapping as a key", "text as a key")
                continue
            place = (*path, key.value)
            if key.value in seen:
                found = f"a second time (first in line {seen[key.value]})"
                self.mistake(place, line, found, "every key once")
                continue
            seen[key.value] = line
            if key.tag == _TAG + "merge":
                merged += [(line, source) for source in (value.value if isinstance(value, SequenceNode) else [value])]
            else:
                yield key, value
        for line, source in merged:
            yield from self._merged(source, path, line)

    def _merged(self, source: Node, path: KeyPath, line: int) -> Iterator[tuple[ScalarNode, Node]]:
        self._values += 1 + (len(source.value) if isinstance(source, MappingNode) else 0)
        if self._values > MAX_VALUES:
            raise self.refusal(source, "merge keys that stand for too many values", f"at most {MAX_VALUES} values")
        if not isinstance(source, MappingNode):
            self.mistake((*path, "<<"), line, "something that is no mapping", "a mapping or a list of mappings")
        elif id(source) in self._open:
            self.mistake((*path, "<<"), line, "an alias that contains itself", "an alias of a finished value")
        else:
            self._open.add(id(source))
            yield from self._pairs(source, path)
            self._open.discard(id(source))

    def _scalar(self, node: ScalarNode, path: KeyPath, line: int) -> Any:
        try:
            text = joined_surrogates(with_variables(node.value, self.environ))
        except ValueError as error:
            return self._cannot_read(path, line, shown(path, node.value), str(error))
        tag = node.tag
        if id(node) in self.loader.plain:
            text = text.strip()  # a plain scalar has no blanks at its ends, whoever typed it
            tag = self.loader.resolve(ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
            if tag in _TYPED and ":" in text:
                tag = _TAG + "str"  # sexagesimal
        self.texts[path] = text
        if tag in _TEXT:
            return text
        if tag not in _TYPED:
            return self._cannot_read(path, line, "a tag", "a value without a tag")
        try:
            return self.loader.construct_object(ScalarNode(tag, text))
        except (ValueError, LookupError):  # `0b_`, `!!bool maybe`, `!!int` of nothing, a number of 5000 digits
            return self._cannot_read(path, line, shown(path, text), "a value that fits its tag, or text in quotes")
