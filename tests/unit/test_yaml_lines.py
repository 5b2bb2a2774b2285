"""YAML with lines: data, lines and texts of key paths, variables, and every way a file can be no config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_watchdog.config_errors import ConfigError, KeyPath
from memory_watchdog.yaml_lines import MAX_BYTES, UNREAD, Document, parse_document, read_document


def parsed(text: str, **environ: str) -> Document:
    return parse_document(text, "w.yaml", environ)


def told(text: str, **environ: str) -> list[str]:
    try:
        return [str(mistake) for mistake in parsed(text, **environ).mistakes]
    except ConfigError as error:
        return str(error).splitlines()


LINES = """\
a: 1
b:
  - c: x
    d: {e: 2,
        f: 3}
  - [4,
     5]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("a",), 1),
        (("b",), 2),
        (("b", 0), 3),
        (("b", 0, "c"), 3),
        (("b", 0, "d"), 4),
        (("b", 0, "d", "f"), 5),
        (("b", 1), 6),
        (("b", 1, 1), 7),
        (("b", 0, "d", "missing", 5, "x"), 4),
        (("missing",), 1),
    ],
)
def test_line_of_every_path(path: KeyPath, line: int) -> None:
    assert parsed(LINES).line_of(path) == line


def test_texts_are_as_written() -> None:
    document = parsed("a: 0x10\nb: [yes, 1.50, '7', ~]\n")
    assert document.data == {"a": 16, "b": [True, 1.5, "7", None]}
    assert document.texts == {("a",): "0x10", ("b", 0): "yes", ("b", 1): "1.50", ("b", 2): "7", ("b", 3): "~"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", 5),
        ("5.5", 5.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("text", "text"),
        ("'5'", "5"),
        ('"5"', "5"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("2020-01-02", "2020-01-02"),
        ("=", "="),
        ("<<", "<<"),
        ("|-\n  5", "5"),
        (r'"\ud83d\ude00"', "😀"),
    ],
)
def test_values(written: str, value: Any) -> None:
    data = parsed(f"a: {written}\n").data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_keys_are_text_as_written() -> None:
    assert parsed("on: 1\n5: 2\n~: 3\n2020-01-02: 4\n'x y': 5\n").data == {
        "on": 1,
        "5": 2,
        "~": 3,
        "2020-01-02": 4,
        "x y": 5,
    }


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${N}", 8081),
        ("'${N}'", "8081"),
        ('"${N}"', "8081"),
        ("!!str ${N}", "8081"),
        ("|-\n  ${N}", "8081"),
        ("http://h:${N}/x", "http://h:8081/x"),
        ("${N}${N}", 80818081),
        ("1${N}", 18081),
        ("${YES}", True),
        ("'${YES}'", "true"),
        ("${EMPTY}", None),
        ("'${EMPTY}'", ""),
        ("${BLANKS}", 7),
        ("${MAPPING}", "{a: 1}"),
        ("${MISSING:-5s}", "5s"),
        ("${MISSING:-5}", 5),
        ("${MISSING:-}", None),
        ("${EMPTY:-5}", 5),
        ("${N:-5}", 8081),
        ("${NESTED}", "${N}"),
        ("$${N}", "${N}"),
        ("$$${N}", "$${N}"),
        ("x$${", "x${"),
        ("$N $ $$ {N} $(N)", "$N $ $$ {N} $(N)"),
    ],
)
def test_variables_are_read_as_if_typed(written: str, value: Any) -> None:
    environ = {"N": "8081", "YES": "true", "EMPTY": "", "BLANKS": " 7\n", "MAPPING": "{a: 1}", "NESTED": "${N}"}
    data = parsed(f"a: {written}\n", **environ).data
    assert data == {"a": value}
    assert type(data["a"]) is type(value)


def test_variables_stay_out_of_keys() -> None:
    assert parsed("'${N}': 1\n", N="x").data == {"${N}": 1}


FORMS = "${NAME} or ${NAME:-default} without another ${ inside, or $${ for a literal ${"


SELF = "an alias that contains itself, allowed: an alias of a finished value"
SET = "a variable that is set, or ${N:-default}"
FITTING = "a value that fits its tag, or text in quotes"
WHOLE = "text that UTF-8 can hold, without half characters"
NO_MAP = "something that is no mapping, allowed: a mapping or a list of mappings"
AGAIN_1 = "a second time (first in line 1), allowed: every key once"
AGAIN_2 = "a second time (first in line 2), allowed: every key once"


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        (
            "a:\n - b: x${N}\n",
            [f"w.yaml:2: a[0].b: found 'x${{N}}', allowed: {SET}"],
        ),
        ("a: ${1}\n", [f"w.yaml:1: a: found '${{1}}', allowed: {FORMS}"]),
        ("a: '${N'\n", [f"w.yaml:1: a: found '${{N', allowed: {FORMS}"]),
        ("a: ${N:-${M}}\n", [f"w.yaml:1: a: found '${{N:-${{M}}}}', allowed: {FORMS}"]),
        ("headers: {A: 's${N}'}\n", [f"w.yaml:1: headers.A: found '<hidden>', allowed: {SET}"]),
        ("a: 1\nb: 2\na: 3\n", [f"w.yaml:3: a: found {AGAIN_1}"]),
        (
            "a:\n  - {b: 1,\n     b: 2,\n     'b': 3}\n",
            [f"w.yaml:{line}: a[0].b: found {AGAIN_2}" for line in (3, 4)],
        ),
        ("a: 1\n[b]: 2\n", ["w.yaml:2: found a list or a mapping as a key, allowed: text as a key"]),
        ("a: !x 5\n", ["w.yaml:1: a: found a tag, allowed: a value without a tag"]),
        ("a: !!set {x}\n", ["w.yaml:1: a: found a tag, allowed: a value without a tag"]),
        ("a: !!python/object/apply:os.system [x]\n", ["w.yaml:1: a: found a tag, allowed: a value without a tag"]),
        ("a: !!binary aGk=\n", ["w.yaml:1: a: found a tag, allowed: a value without a tag"]),
        ("a: 0b_\n", [f"w.yaml:1: a: found '0b_', allowed: {FITTING}"]),
        ("a: !!bool maybe\n", [f"w.yaml:1: a: found 'maybe', allowed: {FITTING}"]),
        ("a: !!int ''\n", [f"w.yaml:1: a: found '', allowed: {FITTING}"]),
        ('a: "\\ud83d"\n', [f"w.yaml:1: a: found '\\ud83d', allowed: {WHOLE}"]),
        ("a: &a\n  - *a\n", [f"w.yaml:1: a[0]: found {SELF}"]),
        ("a: &a\n  <<: *a\n", [f"w.yaml:2: a.<<: found {SELF}"]),
        ("a:\n  <<: 5\n", [f"w.yaml:2: a.<<: found {NO_MAP}"]),
        (
            "a: &a 1\n<<: {x: 1}\n<<: {y: 1}\n",
            [f"w.yaml:3: <<: found {AGAIN_2}"],
        ),
    ],
)
def test_mistakes_in_values(text: str, mistakes: list[str]) -> None:
    assert told(text) == mistakes


def test_what_could_not_be_read_is_marked() -> None:
    document = parsed("a: ${N}\nb: 1\n")
    assert document.data == {"a": UNREAD, "b": 1}
    assert document.unread == {("a",)}


NO_YAML = "allowed: one YAML document"
A_MAPPING = "allowed: a mapping with the key targets"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: [1\nb: 2\n", f"w.yaml:2: found no YAML (expected ',' or ']', but got ':'), {NO_YAML}"),
        ("a: b: c\n", f"w.yaml:1: found no YAML (mapping values are not allowed here), {NO_YAML}"),
        ("a:\n\tb: 1\n", f"w.yaml:2: found no YAML (found character '\\t' that cannot start any token), {NO_YAML}"),
        ("a: 1\nb: *nothing\n", f"w.yaml:2: found no YAML (found undefined alias …), {NO_YAML}"),
        ("a: 1\nb: \x01\n", f"w.yaml:2: found a control character, {NO_YAML}"),
        ('a: "\\U00110000"\n', f"w.yaml:1: found no YAML (chr() arg not in range(0x110000)), {NO_YAML}"),
        ("a: 1\n---\nb: 2\n", f"w.yaml:2: found several documents, {NO_YAML}"),
        ("a: " + "[" * 2000, f"w.yaml:1: found no YAML (nested more than 50 deep), {NO_YAML}"),
        ("", f"w.yaml: found an empty file, {A_MAPPING}"),
        ("# only a comment\n", f"w.yaml: found an empty file, {A_MAPPING}"),
        ("---\n", f"w.yaml:2: found an empty file, {A_MAPPING}"),
        ("\n- a\n", f"w.yaml:2: found a list, {A_MAPPING}"),
        ("text\n", f"w.yaml:1: found a single value, {A_MAPPING}"),
    ],
)
def test_no_mapping_is_one_mistake(text: str, mistake: str) -> None:
    assert told(text) == [mistake]


def test_syntax_errors_do_not_quote_what_may_be_secret() -> None:
    for text in ("headers: {A: *s3cr3t}\n", "headers: {A: !s!3cr3t x}\n", "headers:\n  A: &s3cr3t 1\n  B: &s3cr3t 2\n"):
        assert "3cr3t" not in "\n".join(told(text))


def test_aliases_and_merge_keys() -> None:
    document = parsed(
        """\
base: &base {x: 1, y: 2}
more: &more
  y: 3
  z: 4
same: *base
one:
  y: 0
  <<: *base
two:
  <<: [*base, *more]
"""
    )
    assert document.data["same"] == {"x": 1, "y": 2}
    assert document.data["one"] == {"y": 0, "x": 1}
    assert document.data["two"] == {"x": 1, "y": 2, "z": 4}
    assert document.mistakes == ()
    assert [document.line_of(("one", key)) for key in "xy"] == [1, 7]  # where the text stands
    assert document.line_of(("two", "z")) == 4
    assert document.line_of(("same",)) == 5
    assert document.data["same"] is not document.data["base"]  # no two keys share what one may change


def _multiplied(steps: int, first: str, step: str) -> str:
    return "\n".join([f"a0: &a0 {first}", *(step.format(n=n, m=n - 1) for n in range(1, steps))])


@pytest.mark.parametrize(
    "text",
    [
        _multiplied(30, "[x, x]", "a{n}: &a{n} [*a{m}, *a{m}, *a{m}, *a{m}]"),
        "a: {<<: [&a0 {x: 1}, " + ", ".join(f"&a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)) + "]}",
        _multiplied(80, "[x]", "a{n}: &a{n} [*a{m}]"),
    ],
)
def test_aliases_do_not_explode(text: str) -> None:
    (mistake,) = told(text)
    assert "stand for too many values, allowed: at most 100000 values" in mistake


def read(path: Path) -> list[str]:
    try:
        return [str(read_document(path, "w.yaml", {}).data)]
    except ConfigError as error:
        return str(error).splitlines()


def test_files_that_are_no_config(tmp_path: Path) -> None:
    file = tmp_path / "w.yaml"
    assert read(file) == ["w.yaml: found no such file, allowed: a YAML file"]
    assert read(tmp_path) == ["w.yaml: found a directory, allowed: a YAML file"]
    file.write_bytes(b"a: 1\nb: \xff\n")
    assert read(file) == ["w.yaml:2: found bytes that are no UTF-8, allowed: UTF-8"]
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    assert read(file) == ["w.yaml: found more than 1048576 bytes, allowed: at most 1048576 bytes"]
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")  # a byte order mark is no mistake
    assert read(file) == ["{'a': 1}"]
    assert read(Path("w\0.yaml"))[0].startswith("w.yaml: found a file that cannot be read (")


def test_unreadable_file(tmp_path: Path) -> None:
    loop = tmp_path / "w.yaml"
    loop.symlink_to(loop)  # unreadable for root as well
    (mistake,) = read(loop)
    assert mistake.startswith("w.yaml: found a file that cannot be read (Too many levels of symbolic links)")
    if os.geteuid() != 0:
        loop.unlink()
        loop.write_text("a: 1\n")
        loop.chmod(0)
        assert read(loop) == [
            "w.yaml: found a file that cannot be read (Permission denied), allowed: a readable YAML file"
        ]


@given(st.text(st.sampled_from(list("ab:-[]{}&*!<>|'\"%@`#?,~=$\\ \n\t01.exUu_/é\ud800")), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert all(line.startswith("w.yaml") for line in told(text))
