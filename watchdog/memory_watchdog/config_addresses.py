"""Addresses in the config: where the server is, where we listen.

Covers: parsing and one spelling for each, the name that a target gets from its address.
Leaves to others: connecting (`sources`, `actions`), serving (`web`).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

URL_FORM = "http://HOST:PORT, https://HOST:PORT or unix:/PATH"

_MAX_SOCKET_PATH = 107  # sun_path, less its NUL
_HOST = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where to serve; an empty host is all interfaces, port 0 any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> ListenAddress:
        """Where a client on this machine finds what listens here: every interface includes loopback."""
        stand_in = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
        return ListenAddress(stand_in.get(self.host, self.host), self.port)


def url(value: object) -> str:
    """The base address of a server, without a slash at its end."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(URL_FORM)
    if value.startswith("unix:"):
        path = "/" + value.removeprefix("unix:").strip("/")
        if not value.startswith("unix:/") or not 1 < len(path) <= _MAX_SOCKET_PATH:
            raise ValueError(f"unix:/PATH with a path of at most {_MAX_SOCKET_PATH} characters")
        return f"unix:{path}"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:  # a bracket that is not closed, a port that is no number or above 65535
        raise ValueError(f"{URL_FORM}, the port from 1 to 65535") from None
    if "@" in parts.netloc:
        raise ValueError("a url without user and password; use bearer_token_file or headers")
    if "?" in value or "#" in value:
        raise ValueError(f"{URL_FORM}, without ? and #")
    host = _host(parts.hostname or "")
    if parts.scheme not in ("http", "https") or host is None or port == 0:
        raise ValueError(f"{URL_FORM}, the port from 1 to 65535")
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"


def default_target_name(address: str) -> str:
    """`host:port` of an address that `url` has accepted; of a socket its path. Cut to what a name may have."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    parts = urlsplit(address)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{_host(parts.hostname or '')}"[:190] + f":{port}"


def listen_address(value: object) -> ListenAddress:
    """`host:port`, `:port` for all interfaces, `[::1]:port`."""
    allowed = "HOST:PORT, :PORT for all interfaces, or [IPV6]:PORT, the port from 0 to 65535"
    written, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    bracketed = written.startswith("[") and written.endswith("]")
    host = _host(written[1:-1] if bracketed else written) if written else ""
    if not colon or host is None or bracketed != host.startswith("["):
        raise ValueError(allowed)
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(allowed)
    return ListenAddress(host.strip("[]"), int(port))


def _host(host: str) -> str | None:
    """A host as it stands in an address, IPv6 in brackets; None if it is no host."""
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            return None
    return host if _HOST.fullmatch(host) else None
