"""Who may read the memory and who may clean up: the rule, written once for every way in.

Covers: bearer tokens from a file, the rule for callers on this machine.
Leaves to others: what a request is (`app`, `listener`), what it does (`endpoints`).

With a `token_file` its bearer token is the credential for a cleanup, and the only one. Without, a cleanup is accepted
from a caller on this machine: the socket's peer is loopback (or, on a Unix socket, of our own user or root), there is
no `Forwarded` or `X-Forwarded-*` header, Host is a loopback name, and Origin is absent or equal. So neither a page in
somebody's browser nor a proxy in front of us can clean up. `allow_loopback_changes=False` turns that off.

Reading is open to callers on this machine whatever is configured, and to others with the token. The numbers tell
nobody a content, and a watchdog whose token file is being replaced must go on seeing; but they say how a server is
doing, so they are not for everybody who reaches its port. A bearer token that is presented and wrong is refused for
reading too: a watchdog that has the wrong one should not learn that at its first cleanup.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

from memory_watchdog_kit.forking import held_across_forks

log = logging.getLogger(__name__)

_MAX_TOKEN_BYTES = 64 * 1024
_TOKEN = re.compile(rb"[\x21-\x7e]+")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9a-z.-]+)(:[0-9]{1,5})?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `local` is what the socket says of its peer; `headers` are in the order in which they came."""

    local: bool
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        """Every value of a header; `name` is in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True, slots=True)
class Refusal:
    """401 where a token would help, else 403."""

    status: int
    detail: str


class TokenFile:
    """One bearer token in a file, read at each request: 30 µs, and a replaced one is never missed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = held_across_forks(threading.Lock())
        self._problem = ""

    def read(self) -> bytes | None:
        """The token; None where there is none, which the log says once for each reason."""
        found = _read_token(self._path)
        problem = found if isinstance(found, str) else ""
        with self._lock:
            changed, self._problem = problem != self._problem, problem
        if changed and problem:
            log.error("token file %s: %s; until that is mended every token is refused", self._path, problem)
        elif changed:
            log.info("token file %s: it can be read again", self._path)
        return None if isinstance(found, str) else found


class Access:
    """The rule for one set of endpoints."""

    def __init__(self, token_file: str | os.PathLike[str] | None, *, allow_loopback_changes: bool) -> None:
        self._token_file = None if token_file is None else TokenFile(Path(token_file))
        self._allow_loopback_changes = allow_loopback_changes
        if self._token_file is not None:
            self._token_file.read()  # what is wrong with it is said at the start, not at the first cleanup

    def why_reading_refused(self, caller: Caller) -> Refusal | None:
        """Why this caller may not read; None if it may."""
        if self._token_file is not None and any(map(_bearer, caller.values("authorization"))):
            return self._token_problem(self._token_file, caller)
        detail = why_not_local(caller)
        if detail is None:
            return None
        if self._token_file is not None:
            return Refusal(401, f"{detail}, or with a bearer token")
        return Refusal(403, detail)

    def why_change_refused(self, caller: Caller) -> Refusal | None:
        """Why this caller may not clean up; None if it may."""
        if self._token_file is not None:
            return self._token_problem(self._token_file, caller)
        if not self._allow_loopback_changes:
            return Refusal(403, "a cleanup needs a bearer token, and the server has no token_file")
        detail = why_not_local(caller)
        return None if detail is None else Refusal(403, detail)

    def _token_problem(self, file: TokenFile, caller: Caller) -> Refusal | None:
        expected = file.read()
        if expected is None:
            return Refusal(403, "the server's token file holds no token; its log says why")
        values = caller.values("authorization")
        presented = _bearer(values[0]) if len(values) == 1 else None
        if presented is None:
            return Refusal(401, "allowed with a bearer token")
        if not hmac.compare_digest(presented.encode("latin-1", "replace"), expected):
            return Refusal(401, "the bearer token is another one")
        return None


def why_not_local(caller: Caller) -> str | None:
    """Why a caller does not count as one on this machine; None if it does."""
    if not caller.local:
        return "allowed from loopback only"
    for name, _ in caller.headers:
        if name.lower() == "forwarded" or name.lower().startswith("x-forwarded-"):
            return "allowed from loopback only, and not through a proxy"
    hosts = caller.values("host")
    if len(hosts) != 1 or not _is_loopback_host(hosts[0]):
        return "allowed from loopback only, where Host is a loopback name"
    if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in caller.values("origin")):
        return "allowed from loopback only, and not from another site"
    return None


def is_loopback_name(host: str) -> bool:
    """`localhost`, 127.0.0.0/8, ::1, also as an IPv4 address inside IPv6."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_loopback_host(host: str) -> bool:
    parts = _HOST.fullmatch(host)
    return parts is not None and is_loopback_name(parts[1].strip("[]"))


def _bearer(value: str) -> str | None:
    scheme, _, credential = value.strip().partition(" ")
    return credential.strip() if scheme.lower() == "bearer" and credential.strip() else None


def _read_token(path: Path) -> bytes | str:
    """The token without the blanks around it, or what is wrong, never with anything of its content."""
    try:
        # a pipe without a writer would stop the event loop for ever
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return "not a regular file"
            content = os.read(descriptor, _MAX_TOKEN_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError:
        return "its name holds a NUL"
    token = content.strip()
    if not token:
        return "it is empty"
    if len(content) > _MAX_TOKEN_BYTES or not _TOKEN.fullmatch(token):
        return "more than one token, or characters that a header cannot carry"
    return token
