"""Who may change something over HTTP: cleanup, pause, reload.

Without credentials (none can be configured yet) a change is accepted only if the socket's peer is loopback, no proxy
has touched the request, Host is a loopback name, and Origin is absent or equal; `web.allow_loopback_changes: false`
turns that off. So neither a page in somebody's browser nor a proxy in front of us can clean up a server.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope


def why_scope_refused(scope: Scope, *, allow_loopback: bool) -> str | None:
    """`why_refused` for an ASGI request, of which nothing but its head has been read."""
    client = scope.get("client")
    return why_refused("" if client is None else client[0], Headers(scope=scope), allow_loopback=allow_loopback)


def why_refused(peer: str, headers: Mapping[str, str], *, allow_loopback: bool) -> str | None:
    """Why a change is refused; None when it is not. `peer` is the socket's, never a header's."""
    if not allow_loopback:
        return "changes need credentials, and none are configured: web.allow_loopback_changes is false"
    if not is_loopback_name(peer):
        return "changes are accepted from loopback only"
    for name in headers:
        if name.lower() == "forwarded" or name.lower().startswith("x-forwarded-"):
            return "changes are not accepted through a proxy"
    host = headers.get("host", "")
    if not is_loopback_name(_host_of(f"//{host}")):
        return "changes are accepted only where Host is a loopback name"
    origin = headers.get("origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return "changes are not accepted from another site"
    return None


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def is_loopback_name(host: str) -> bool:
    """`localhost`, 127.0.0.0/8, ::1, also as an IPv4 address inside IPv6."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
