"""`memory-watchdog healthcheck`: is the running watchdog healthy? For HEALTHCHECK and scripts."""

from __future__ import annotations

import httpx

from memory_watchdog.outside_text import one_line

TIMEOUT_SECONDS = 3.0


def healthy(base_url: str) -> str | None:
    """None when `/-/healthy` answers 200, else one line that says what it did instead."""
    url = f"{base_url.rstrip('/')}/-/healthy"
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: a UnicodeError of a host name
        return f"{one_line(url)}: {one_line(str(error)) or type(error).__name__}"
    if answer.status_code != httpx.codes.OK:
        return f"{url}: {answer.status_code} {one_line(answer.text)}"
    return None
