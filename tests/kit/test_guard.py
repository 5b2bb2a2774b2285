"""The guard against answers that belong to another question."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog_kit.guard import contradicts
from memory_watchdog_kit.guard.lexicon import lexicon, stem
from memory_watchdog_kit.guard.reading import read
from memory_watchdog_kit.guard.rules import MAX_CHARACTERS

from benchmarks.kit._queries import pairs

CASES = {
    "negations": [
        ("is it thread-safe", "isn’t it thread-safe", True),
        ("is it thread-safe", "is it thread-unsafe", True),
        ("is it not thread-safe", "is it unsafe", False),
        ("why is the cache not enabled", "why is the cache disabled", False),
        ("turn the cache off", "disable the cache", False),
        ("turn the cache off", "turn on the cache", True),
        ("not without a lock", "with a lock", False),
        ("a lock-free queue", "a queue with locks", True),
        ("include a, exclude b", "exclude a, include b", True),
        ("why does the server not start", "why doesn't the server start", False),
    ],
    "opposites": [
        ("enable the cache", "disabled the cache", True),
        ("enable logs and remove hooks", "remove logs and enable hooks", True),
        ("add logs and remove hooks", "remove logs and add hooks", True),
        ("open and close a file", "close and open a file", False),
        ("upstream of the proxy", "downstream of the proxy", True),
        ("the caller of main", "the callee of main", True),
        ("installing the package", "uninstalled the package", True),
        ("deduplicate a list", "remove duplicates of a list", False),
        ("parse yaml in go", "parse toml in go", True),
        ("get the first row", "get the last row", True),
        ("https proxy", "http proxy", True),
    ],
    "places": [
        ("copy from disk to memory", "copy to memory from disk", False),
        ("copy from disk to memory", "copy from memory to disk", True),
        ("convert json to yaml", "yaml to json conversion", True),
        ("how to convert json to yaml", "json to yaml, how to convert", False),
        ("string from json", "string to json", True),
        ("forward from port a to port b", "forward from port b to port a", True),
        ("does A call B", "does B call A", True),
        ("a function that calls parse", "a function that is called by parse", True),
        ("the lexer calls the parser", "the parser is called by the lexer", False),
        ("what calls parse", "what does parse call", True),
        ("callers of parse", "what calls parse", False),
        ("which functions does main call", "functions called by main", False),
        ("the user's session", "the session's user", True),
        ("the user's session", "the session of the user", False),
        ("difference between a list and a tuple", "difference between a tuple and a list", False),
        ("compare redis with memcached", "compare memcached with redis", False),
        ("replace tabs with spaces", "replace spaces with tabs", True),
        ("token refresh endpoint", "endpoint that refreshes tokens", False),
        ("parse json in python", "in python, parse json", False),
        ("errors reported to the user", "errors reported by the user", True),
    ],
    "numbers": [
        ("python 3.8", "python 3.12", True),
        ("python v3.12", "python 3.12", False),
        ("python 3", "python", True),
        ("http 404 handler", "handler for http 404", False),
        ("retry twice", "retry 2 times", False),
        ("retry twice", "retry 3 times", True),
        ("merge two dicts", "merge dicts", False),
        ("a timeout of 30s", "a timeout of 30 seconds", False),
        ("a timeout of 30s", "a timeout of 30 minutes", True),
        ("return -1", "return 1", True),
        ("utf-8 file", "utf8 file", False),
        ("utf-8 file", "utf-16 file", True),
        ("1,000 rows", "1000 rows", False),
    ],
    "names": [
        ("where is foo_bar", "where is foo_baz", True),
        ("where is foo_bar", "where is `foo_bar`", False),
        ("where is foo_bar()", "where is foo_bar", False),
        ("what does load_user do", "how does it load the user", False),
        ("what does load_user do", "what does load_group do", True),
        ("the class UserStore", "the class UserService", True),
        ("the flag --quiet", "the flag --force", True),
        ("open src/app.py", "open src/api.py", True),
        ("find 'foo' in the log", "find 'bar' in the log", True),
        ('find "foo" in the log', "find foo in the log", False),
        ("event A", "event B", True),
        ("a GitHub token", "a github token", False),
        ("connect to Kafka", "connect to Pulsar", True),
        ("the user's name", "the users name", False),
    ],
    "one word exchanged": [
        ("the Dockerfile of api", "the Dockerfile of web", True),
        ("delete a branch", "remove a branch", False),
        ("the config of nginx", "the configuration of nginx", False),
        ("a patch", "a dispatch", True),
        ("why does it fail", "how does it fail", True),
    ],
}


@pytest.mark.parametrize(("one", "other", "wrong"), [case for cases in CASES.values() for case in cases], ids=str)
def test_cases(one: str, other: str, wrong: bool) -> None:
    assert contradicts(one, other) is wrong
    assert contradicts(other, one) is wrong


def test_none_of_the_contradicting_pairs_is_let_through() -> None:
    assert len(set(pairs("contradicting"))) >= 350
    assert [pair for pair in pairs("contradicting") if not contradicts(*pair)] == []
    assert [pair for pair in pairs("contradicting") if not contradicts(*reversed(pair))] == []


def test_nearly_all_paraphrases_are_let_through() -> None:
    """One is not, which costs a search: "dead code" is "code that is never used"."""
    assert len(set(pairs("paraphrases"))) >= 210
    assert sum(contradicts(*pair) for pair in pairs("paraphrases")) == 1


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_it_is_symmetric_and_takes_any_text(one: str, other: str) -> None:
    assert contradicts(one, other) == contradicts(other, one)
    assert not contradicts(one, one)


@settings(deadline=None)
@given(st.data())
def test_it_is_symmetric_over_its_own_words_too(data: st.DataObject) -> None:
    word = st.sampled_from([*sorted(lexicon().entries), "parser", "foo_bar", "json", "3", "user's", "don't", "a,", "B"])
    one = data.draw(st.lists(word, max_size=9))
    other = data.draw(st.one_of(st.lists(word, max_size=9), st.permutations(one)))
    assert contradicts(" ".join(one), " ".join(other)) == contradicts(" ".join(other), " ".join(one))
    assert not contradicts(" ".join(one), " ".join(one))


@settings(deadline=None, max_examples=60)
@given(st.text(alphabet="'\"`a. ,-_1/(B", min_size=1, max_size=20), st.integers(1, 2_000))
def test_repetitions_take_no_longer_than_other_texts(piece: str, times: int) -> None:
    """No pattern goes back and forth. What is allowed is a hundred times what the longest query takes."""
    began = time.thread_time()
    contradicts((piece * times)[:MAX_CHARACTERS], (piece * times)[: MAX_CHARACTERS - 1] + "x")
    assert time.thread_time() - began < 3


def test_a_text_that_is_too_long_for_a_query_shares_an_answer_with_its_equal_alone() -> None:
    long = "word " * MAX_CHARACTERS
    assert contradicts(long, long + "word ")
    assert not contradicts(long, "word " * MAX_CHARACTERS)
    assert not contradicts("parse  a file", "parse a file")


def test_many_words_in_another_order_are_not_compared_pair_by_pair() -> None:
    words = [f"w{'abcdefghijklmnopqrstuvwxyz'[number]}" for number in range(26)]
    assert contradicts(" ".join(words), " ".join(reversed(words)))
    assert not contradicts(" ".join(words), " ".join(words) + " please")


@pytest.mark.parametrize(
    "forms",
    [
        ["disable", "disables", "disabled", "disabling"],
        ["stop", "stopping", "stopped", "stops"],
        ["write", "wrote", "written", "writes", "writing"],
        ["encrypt", "encryption", "encrypted"],
        ["retry", "retries", "retried", "retrying"],
        ["parse", "parser", "parses", "parsing", "parsed"],
        ["install", "installs", "installing"],
        ["query", "queries"],
        ["class", "classes"],
        ["database", "databases"],
        ["https"],
    ],
    ids=lambda forms: forms[0],
)
def test_forms_of_a_word_have_one_stem(forms: list[str]) -> None:
    assert len({read(form).words[0].stem for form in forms}) == 1


def test_words_that_are_no_forms_of_each_other_have_other_stems() -> None:
    words = ["http", "https", "list", "tuple", "process", "parse", "password", "pass", "cache", "cat", "state"]
    assert len({stem(word) for word in words}) == len(words)
