"""A cleanup of several requests: sent in order, each only after the one before has succeeded.

Covers: one Outcome of all: durations and claims added up, the step that failed named.
Leaves to others: one request (`actions.http`), one tool call (`actions.mcp`), whether and when (`policy`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from memory_watchdog.actions.http import CleanupRequest, clean_up
from memory_watchdog.actions.mcp import ToolCall, call_tool
from memory_watchdog.actions.reclaim import Home, Reclaim, no_home, reclaim
from memory_watchdog.actions.template import Placeholders, needed_statistics, unknown_statistics
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Outcome, OutcomeKind, Reason
from memory_watchdog.outside_text import one_line

CleanupStep: TypeAlias = CleanupRequest | ToolCall | Reclaim


def statistics_needed(steps: Sequence[CleanupStep]) -> set[str]:
    """Every NAME of a `{stats.NAME}` in them."""
    return set().union(*(needed_statistics(step.templates) for step in steps))


async def clean_up_in_steps(
    client: TargetClient | None,
    requests: Sequence[CleanupStep],
    values: Placeholders,
    now: Callable[[], float] | None = None,
    *,
    home: Home = no_home,
) -> Outcome:
    """Send them in order while each succeeds. Raises nothing but CancelledError. `home` is where a reclaim is asked.

    What a later step needs and the statistics have not told is seen before the first is sent: half a cleanup may be
    worse than none. From the second step on the request id has the step's number behind it, because a server that keeps
    to the wire contract answers a repeated id from memory and does nothing.
    """
    if len(requests) == 1:
        return await _take(client, requests[0], values, now, home)
    for index, request in enumerate(requests):
        if missing := unknown_statistics(request.templates, values):
            detail = _named(requests, index, missing)
            return Outcome(values.request_id, OutcomeKind.UNREACHED, 0.0, Reason.NOT_SENT, detail)
    duration_seconds = 0.0
    claims: list[int] = []
    notes: list[str] = []
    for index, request in enumerate(requests):
        step_id = values.request_id if index == 0 else f"{values.request_id}-{index + 1}"
        outcome = await _take(client, request, replace(values, request_id=step_id), now, home)
        duration_seconds += outcome.duration_seconds
        claims += [] if outcome.claimed_bytes is None else [outcome.claimed_bytes]
        total = replace(
            outcome,
            request_id=values.request_id,
            duration_seconds=duration_seconds,
            claimed_bytes=sum(claims) if claims else None,
        )
        if outcome.kind is not OutcomeKind.DONE:
            # the server did get the steps before this one
            reached_before = outcome.kind is OutcomeKind.UNREACHED and index > 0
            kind = OutcomeKind.FAILED if reached_before else outcome.kind
            return replace(total, kind=kind, detail=_named(requests, index, outcome.detail))
        notes += [_named(requests, index, outcome.detail)] if outcome.detail else []
    return replace(total, detail=one_line("; ".join(notes)))


async def _take(
    client: TargetClient | None, step: CleanupStep, values: Placeholders, now: Callable[[], float] | None, home: Home
) -> Outcome:
    if isinstance(step, Reclaim):
        return await reclaim(home, step, values)
    assert client is not None, "what speaks HTTP has a url, config checks it"
    if isinstance(step, ToolCall):
        return await call_tool(client, step, values, now)
    return await clean_up(client, step, values, now)


def _named(requests: Sequence[CleanupStep], index: int, detail: str) -> str:
    step = f"step {index + 1} of {len(requests)}, {requests[index].label}"
    return one_line(f"{step}: {detail}")
