"""`memory-watchdog cleanup --direct`: one cleanup without a watchdog, with the same request and a measured result.

Leaves to others: asking the watchdog that runs (`client`). It knows of no cooldown and no budget: a person decides.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

from memory_watchdog.actions.reclaim import Reclaim
from memory_watchdog.actions.steps import CleanupStep, clean_up_in_steps, statistics_needed
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.clock import Clock
from memory_watchdog.config import TargetConfig
from memory_watchdog.http_client import TargetClient
from memory_watchdog.observation import Measure, OutcomeKind, Reading, Scalar, Unavailable
from memory_watchdog.parts import cleanup_requests, finder_of, statistics_source
from memory_watchdog.quantities import format_bytes, format_seconds
from memory_watchdog.sources.process import measured
from memory_watchdog.sources.view import ProcessView

LOOK_SECONDS = 0.5


async def clean_up_directly(target: TargetConfig, level: str | None, reason: str) -> tuple[bool, str]:
    """Send it, wait for the settle time, and say what it did. False when it failed.

    Raises ValueError for a level that does not exist or sends nothing.
    """
    if target.dry_run:
        raise ValueError(f"{target.name} is in dry run: nothing is sent")
    requests = cleanup_requests(target)
    chosen = level if level is not None else next(iter(requests), None)
    if chosen is None or chosen not in requests:
        raise ValueError(f"no level {chosen!r} with a cleanup; there are: {', '.join(requests) or 'none'}")
    if target.url is None or any(isinstance(step, Reclaim) for step in requests[chosen]):
        raise ValueError(f"level {chosen} asks the kernel to reclaim: that is for the running watchdog")
    view, client = ProcessView(finder_of(target)), TargetClient(target.url)
    try:
        before = await _used(view)
        statistics = await _statistics(target, client, requests[chosen])
        values = Placeholders(f"direct-{uuid.uuid4().hex[:12]}", reason, chosen, statistics=statistics)
        outcome = await clean_up_in_steps(client, requests[chosen], values)
        took = format_seconds(outcome.duration_seconds)
        if outcome.kind is not OutcomeKind.DONE:
            return False, f"cleanup at level {chosen} failed after {took}: {outcome.reason}: {outcome.detail}"
        low = await _lowest(view, target.settle)
    finally:
        view.close()
        await client.aclose()
    claim = "" if outcome.claimed_bytes is None else f", {format_bytes(outcome.claimed_bytes)} claimed"
    if isinstance(before, Unavailable) or isinstance(low, Unavailable):
        why = before if isinstance(before, Unavailable) else low
        return True, f"cleanup at level {chosen} answered in {took}{claim}; what came back is not known: {why}"
    reclaimed = format_bytes(max(0, before - low))
    change = f"used {format_bytes(before)} -> {format_bytes(low)}"
    return True, f"cleanup at level {chosen} answered in {took}{claim}; {reclaimed} reclaimed ({change})"


async def _statistics(
    target: TargetConfig, client: TargetClient, requests: Sequence[CleanupStep]
) -> Mapping[str, Scalar]:
    """The values that the requests are filled in with; not asked for where they need none."""
    source = statistics_source(target, client)
    if source is None or not statistics_needed(requests):
        return {}
    reading = await source.read(Clock().boottime)
    return {} if isinstance(reading.report, Unavailable) else reading.report.values


async def _used(view: ProcessView) -> Reading:
    seen = await view.read(Clock().boottime(), 0.0)
    return seen.memory if isinstance(seen.memory, Unavailable) else measured(seen.memory, Measure.ANON)


async def _lowest(view: ProcessView, settle_seconds: float) -> Reading:
    """The lowest reading of the second half of the settle time, as the verdict takes it."""
    await asyncio.sleep(settle_seconds / 2)
    loop = asyncio.get_running_loop()
    ends = loop.time() + settle_seconds / 2
    lowest = await _used(view)
    while loop.time() < ends:
        await asyncio.sleep(min(LOOK_SECONDS, max(0.0, ends - loop.time())))
        used = await _used(view)
        if isinstance(lowest, Unavailable) or (isinstance(used, int) and used < lowest):
            lowest = used
    return lowest
