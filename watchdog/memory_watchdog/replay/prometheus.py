"""A target's past from a Prometheus server, page by page.

Covers: asking `query_range` for used, limit and what cleanups reclaimed, what it may answer, putting it together.
Leaves to others: what is made of it (`model`): it has no decisions, so all figures are a model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import httpx

from memory_watchdog.observation import Limit, LimitSource, Measure, Reason, Unavailable
from memory_watchdog.replay.tape import DEFAULT_SECONDS, Effect, Look, Tape

MAX_POINTS = 10_000
"""Prometheus refuses more than 11,000 points a series in one answer."""

MAX_ANSWER_BYTES = 16 * 2**20
TIMEOUT_SECONDS = 60.0


class PrometheusError(Exception):
    """Prometheus could not be asked, or did not answer what was asked for; the text says how."""


def pages(begins: float, ends: float, step: float) -> Iterator[tuple[float, float]]:
    """The ranges that are asked for one after the other, both ends included; no point is in two."""
    at = begins
    while at <= ends:
        last = min(at + (MAX_POINTS - 1) * step, ends)
        yield at, last
        at = last + step


def tape_from(
    url: str, target: str, begins: float, ends: float, step: float, progress: Callable[[int], None] = lambda _: None
) -> Tape:
    """The past of `target` between two times (seconds since the epoch), a look each `step` seconds.

    Raises PrometheusError.
    """
    tape = Tape(target)
    reclaimed: dict[str, float] = {}
    with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:

        def asked(metric: str, by: str, first: float, last: float) -> dict[str, dict[float, float]]:
            # Two watchdogs may both have a target of that name: the highest of them is what matters.
            query = f"max {by}(memory_watchdog_{metric}{{target={json.dumps(target)}}})"
            return _series(client, url, query, (first, last, step))

        for first, last in pages(begins, ends, step):
            used = asked("target_used_bytes", "", first, last).get("", {})
            limits = asked("target_limit_bytes", "", first, last).get("", {})
            for at in sorted(used):
                known = limits.get(at)
                limit = Unavailable(Reason.NOT_FOUND) if known is None else Limit(int(known), LimitSource.GIVEN)
                tape.looks.append(Look(at, at, int(used[at]), limit, Measure.AUTO, None))
            for level, totals in asked("cleanup_reclaimed_bytes_total", "by (level)", first, last).items():
                for at, total in sorted(totals.items()):
                    rise = total - reclaimed.get(level, total)
                    if rise > 0:
                        tape.effects.append(Effect(at, level, DEFAULT_SECONDS, int(rise)))
                    reclaimed[level] = total
            progress(round((last - first) / step) + 1)
    if not tape.looks:
        raise PrometheusError(
            f"no memory_watchdog_target_used_bytes of target {target!r} between these times; "
            "is the name right, and is the watchdog scraped by this server?"
        )
    return tape


def _series(
    client: httpx.Client, url: str, query: str, span: tuple[float, float, float]
) -> dict[str, dict[float, float]]:
    """The values of a query by time, for each level (an empty name where it has none). `span`: from, to, step."""
    parameters = urlencode({"query": query, "start": span[0], "end": span[1], "step": span[2]})
    try:
        with client.stream("GET", f"{url.rstrip('/')}/api/v1/query_range?{parameters}") as answer:
            body = b""
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise PrometheusError(f"{url} answers more than {MAX_ANSWER_BYTES} bytes for {MAX_POINTS} points")
        found = json.loads(body)
        if answer.status_code != httpx.codes.OK or found["status"] != "success":
            raise PrometheusError(f"{url} answers {answer.status_code}: {str(found.get('error', ''))[:200]}")
        return {
            str(series["metric"].get("level", "")): {
                float(at): float(value) for at, value in series["values"] if value not in ("NaN", "+Inf", "-Inf")
            }
            for series in found["data"]["result"]
        }
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise PrometheusError(f"{url} cannot be asked: {error or type(error).__name__}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise PrometheusError(f"{url} does not answer as Prometheus does: {error}") from error
