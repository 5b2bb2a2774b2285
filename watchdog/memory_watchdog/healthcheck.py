"""`memory-watchdog healthcheck`: is the running watchdog healthy? For HEALTHCHECK and scripts."""

from __future__ import annotations

import httpx

TIMEOUT_SECONDS = 3.0


def healthy(base_url: str) -> str | None:
    """None when `/-/healthy` answers 200, else one line that says what it did instead."""
    url = f"{base_url.rstrip('/')}/-/healthy"
    try:
        with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            answer = client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # ValueError: a UnicodeError of a host name
        return f"{url}: {error or type(error).__name__}"
    if answer.status_code != httpx.codes.OK:
        return f"{url}: {answer.status_code} {answer.text.strip()[:200]}"
    return None
