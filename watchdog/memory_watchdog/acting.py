"""What is done to one target, beside its loop: cleanups and the last step, and the connections that they go through.

Covers: saving before acting, filling in, sending, telling how it ended; clients that a reload has replaced.
Leaves to others: whether and what (`policy`), each action itself (`actions`, `restarting`), the loop (`watcher`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from memory_watchdog.actions.steps import clean_up_in_steps, statistics_needed
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.clock import Clock
from memory_watchdog.config import TargetConfig
from memory_watchdog.http_client import TargetClient
from memory_watchdog.ledger import TargetLedger
from memory_watchdog.observation import ProcessIdentity
from memory_watchdog.observer import Observer
from memory_watchdog.parts import cleanup_requests
from memory_watchdog.policy.events import Decision, Event, Restart
from memory_watchdog.policy.ladder import Ladder
from memory_watchdog.reporting import Reporter
from memory_watchdog.restarting import end_process, tell_hindrance


@dataclass(frozen=True, slots=True)
class Hands:
    """What acting needs of the watcher: `save` before anything is sent, `take` for how it ended."""

    ladder: Ladder
    observer: Observer
    ledger: TargetLedger
    reporter: Reporter
    clock: Clock
    save: Callable[[], Awaitable[None]]
    state_folder: Callable[[], Path | None]
    take: Callable[[Event], None]


class Clients:
    """The connection to the target's url, and those to the urls before it while something may still use them."""

    def __init__(self, url: str | None) -> None:
        self.current = None if url is None else TargetClient(url)
        self._retired: list[TargetClient] = []
        self._closing: set[asyncio.Task[None]] = set()

    def replace(self, url: str | None) -> None:
        """Go on with another url."""
        if self.current is not None:
            self._retired.append(self.current)
        self.current = None if url is None else TargetClient(url)

    def close_retired(self) -> None:
        """Nothing uses those before any more."""
        retired, self._retired = self._retired, []
        for client in retired:
            task = asyncio.create_task(client.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all of them."""
        await asyncio.gather(*self._closing, return_exceptions=True)
        for client in (self.current, *self._retired):
            if client is not None:
                await client.aclose()


@dataclass(slots=True)
class Acting:
    """The actions of one target that are under way."""

    target: TargetConfig
    clients: Clients
    hands: Hands
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def sending(self) -> list[str]:
        """The levels that send anything."""
        return list(cleanup_requests(self.target))

    def reload(self, target: TargetConfig) -> None:
        """Another config for what begins from now on; what is under way ends under the one before."""
        self.target = target
        if not self._tasks:
            self.clients.close_retired()

    def clean_up(self, decision: Decision) -> None:
        """Send a request."""
        self._begin(self._clean_up(decision, self.target, self.clients.current))

    def restart(self, decision: Restart) -> None:
        """End the process."""
        self._begin(self._restart(decision, self.target, self.clients.current))

    def look_ahead(self, identity: ProcessIdentity) -> None:
        """Say what would be in the way of ending the process, before that is needed."""
        self._begin(tell_hindrance(identity, self.target, self.hands.reporter))

    async def cancel(self) -> None:
        """End everything that is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.hands.reporter.broken(fault)
        if not self._tasks and not task.cancelled():
            self.clients.close_retired()

    async def _clean_up(self, decision: Decision, target: TargetConfig, client: TargetClient | None) -> None:
        """The state is on disk before: a crash must not lead to a second request."""
        hands, requests = self.hands, cleanup_requests(target)[decision.level]
        await hands.save()
        values = Placeholders(
            request_id=decision.request_id,
            reason=decision.reason,
            level=decision.level,
            target_bytes=decision.target_bytes,
            statistics=await hands.observer.statistics_values(statistics_needed(requests)),
        )
        request = hands.ladder.state.request
        if request is None or request.request_id != decision.request_id or request.answered_at is not None:
            return  # saving took so long that the ladder has given it up: nothing was sent, and nothing will be
        hands.reporter.decided(decision)
        outcome = await clean_up_in_steps(client, requests, values, home=hands.observer.cgroup_home)
        hands.reporter.answered(decision, outcome)
        hands.take(outcome)

    async def _restart(self, decision: Restart, target: TargetConfig, client: TargetClient | None) -> None:
        """The state is on disk before, so that a place of the budget is taken whatever comes."""
        hands = self.hands
        await hands.save()
        standing = hands.ladder.state.restart
        if standing is None or standing.request_id != decision.request_id:
            return  # saving took so long that the ladder has given it up
        hands.reporter.restarts(decision)
        ended = await end_process(
            decision,
            target,
            client=client,
            ledger=hands.ledger,
            report=hands.observer.report,
            wall=hands.clock.wall(),
            state_folder=hands.state_folder(),
        )
        hands.take(ended)
