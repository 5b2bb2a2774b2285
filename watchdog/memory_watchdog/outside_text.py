"""Text and JSON that came from outside: read without surprises, and made fit for a log line, a label, a header.

Covers: one printable line, label text, header text, taking secrets out of a text, reading JSON.
Leaves to others: what the JSON means (`sources`, `actions`), getting it (`http_client`).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

DETAIL_CHARACTERS = 200
"""A detail is one line of a log, beside other fields."""

HEADER_CHARACTERS = 500
"""Of one substituted value: servers refuse a header section of more than about 8 KiB."""

LARGEST_COUNT = 2**63 - 1
"""Nothing that is counted is larger, and a float can still hold it; a larger number would break a counter."""

_SECRET_KEY = re.compile(r"passw|passphrase|secret|token|credential|api_?key", re.IGNORECASE)
_PIECE_SEPARATORS = re.compile(r"[\s;,=:]+")


def one_line(text: str, limit: int = DETAIL_CHARACTERS) -> str:
    """`text` on one line, printable, blanks merged, at most `limit` characters."""
    head = text[: 20 * limit]  # the text may be a megabyte
    line = " ".join("".join(char if char.isprintable() else " " for char in head).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def label_text(text: str, limit: int = DETAIL_CHARACTERS) -> str:
    """`text` as a label value: control characters, lone surrogates and the like become `_`; cut at `limit`."""
    return "".join(char if char.isprintable() else "_" for char in text[:limit]).strip()


def header_text(text: str) -> str:
    """`text` as a part of a header value: one line of latin-1, anything else becomes `?`."""
    return one_line(text, HEADER_CHARACTERS).encode("latin-1", "replace").decode("latin-1")


def secrets_in(headers: Mapping[str, str], more: Iterable[str] = ()) -> tuple[str, ...]:
    """What must not be repeated to anybody: the values of `headers`, their parts, and `more`. Longest first.

    A part is what stands between blanks and `;,=:`, from 4 characters up: the `abcd` of `session=abcd`. Of Basic
    credentials it is the password too.
    """
    found = {text for text in more if text}
    for value in headers.values():
        pieces = _PIECE_SEPARATORS.split(value)
        found |= {piece for piece in pieces if len(piece) >= 4} | ({value.strip()} - {""})
        if pieces[0].lower() == "basic":
            found |= _basic_credentials(value.strip()[len("basic") :])
    return tuple(sorted(found, key=len, reverse=True))


def secret_texts(body: Json, *, secret: bool = False) -> Iterator[str]:
    """Texts in a body under a key such as `password` or `api_key`: servers repeat a body that they refuse."""
    if isinstance(body, str) and secret:
        yield body
    elif isinstance(body, list):
        for element in body:
            yield from secret_texts(element, secret=secret)
    elif isinstance(body, dict):
        for key, value in body.items():
            yield from secret_texts(value, secret=secret or _SECRET_KEY.search(key) is not None)


def redact(text: str, secrets: Iterable[str]) -> str:
    """`text` with `***` for each of `secrets`, as they stand. Not found where they are escaped or encoded."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def parse_json(body: bytes) -> Json:
    """JSON in UTF-8; a byte order mark is let pass, and so are NaN and Infinity, which the reader must refuse.

    Raises ValueError, whose text is one line, for anything else, deep nesting included.
    """
    if not body.strip():
        raise ValueError("the answer is empty")
    try:
        value: Json = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, and an integer of more than 4300 digits
        raise ValueError(f"not JSON: {one_line(str(error))}") from None
    return value


def describe(value: object) -> str:
    """What was found, for a message. Lists and objects are only named: they may be huge, or nested deeply.

    A text is shown whole or not at all: a secret that is cut would no longer be recognised as one.
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"a text of {len(value)} characters"
    return one_line(repr(value), 60)


def _basic_credentials(encoded: str) -> set[str]:
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return set()  # no credentials that anybody could read
    return {pair, pair.partition(":")[2]} - {""}
