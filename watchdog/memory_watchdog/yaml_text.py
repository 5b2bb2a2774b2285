"""The text of one YAML scalar: environment variables put in, characters made whole.

Covers: `${NAME}`, `${NAME:-default}`, `$${`, and the two halves in which PyYAML leaves `\\ud83d\\ude00`.
Leaves to others: the type of what comes out, and where it stands (`yaml_lines`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")


def with_variables(text: str, environ: Mapping[str, str]) -> str:
    """The text with its variables put in. Raises ValueError, whose text says what is allowed."""

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match["name"], match["default"]
        if name is None or (default is not None and "${" in default):
            raise ValueError("${NAME} or ${NAME:-default} without another ${ inside, or $${ for a literal ${")
        if default is not None:
            return environ.get(name) or default  # as in a shell: `:-` also stands in for an empty variable
        if name not in environ:
            raise ValueError(f"a variable that is set, or ${{{name}:-default}}")
        return environ[name]

    return _VARIABLE.sub(replacement, text)


def joined_surrogates(text: str) -> str:
    """The text with pairs of surrogates joined. Raises ValueError where a half is alone: UTF-8 cannot hold it."""
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ValueError("text that UTF-8 can hold, without half characters") from None
