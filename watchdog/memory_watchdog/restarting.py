"""The last step of one target, beside its loop: from the ladder's decision to how it ended.

Covers: what the config says of the steps, what is kept as evidence, what would be in the way.
Leaves to others: whether it is due (`policy.restart`), the steps themselves (`actions.restart`), when (`watcher`).
"""

from __future__ import annotations

from pathlib import Path

from memory_watchdog.actions.evidence import Subject, keep
from memory_watchdog.actions.guards import Hindrance, hindrance
from memory_watchdog.actions.http import clean_up
from memory_watchdog.actions.restart import CHECK_SECONDS, Plan, restart
from memory_watchdog.actions.template import Placeholders
from memory_watchdog.config import TargetConfig
from memory_watchdog.flight.recorder import file_name
from memory_watchdog.http_client import TargetClient
from memory_watchdog.ledger import TargetLedger
from memory_watchdog.observation import Outcome, ProcessIdentity, ServerReport, Unavailable
from memory_watchdog.parts import drain_request, finder_of
from memory_watchdog.policy.events import Restart, RestartEnded, RestartOutcome
from memory_watchdog.reporting import Reporter
from memory_watchdog.worker import Worker

FOLDER = "evidence"


async def end_process(
    decision: Restart,
    target: TargetConfig,
    *,
    client: TargetClient | None,
    ledger: TargetLedger,
    report: ServerReport | Unavailable,
    wall: float,
    state_folder: Path | None,
) -> RestartEnded:
    """Take all steps under the config of this moment. Raises nothing but CancelledError."""
    finder = finder_of(target)
    if target.restart is None or finder is None:
        detail = "the config no longer allows it"
        return RestartEnded(decision.request_id, RestartOutcome.REFUSED, detail)
    drain = drain_request(target.restart)

    async def asked() -> Outcome:
        assert client is not None, "a drain needs a url, config checks it"
        assert drain is not None, "it is asked for where there is one"
        level = target.levels[-1].name
        return await clean_up(client, drain, Placeholders(decision.request_id, decision.reason, level, None))

    subject = Subject(
        target.name,
        wall,
        decision,
        report,
        [
            {"time": one.wall, "used_bytes": one.used_bytes, "limit_bytes": one.limit_bytes, "level": one.level}
            for one in ledger.samples()
        ],
        [{"time": one.wall, "kind": one.kind, "text": one.text, "level": one.level} for one in ledger.events()],
    )
    folder = None if state_folder is None else state_folder / FOLDER
    stem = file_name(target.name).removeprefix("flight-").removesuffix(".ring")
    plan = Plan(finder, target.restart.term, None if drain is None or client is None else asked)
    return await restart(decision.request_id, decision.identity, plan, lambda: keep(folder, stem, subject))


async def tell_hindrance(identity: ProcessIdentity, target: TargetConfig, reporter: Reporter) -> None:
    """Say what would keep the last step from being taken, before it is needed."""
    finder = finder_of(target)
    if finder is None:
        return
    found = await Worker().run(CHECK_SECONDS, hindrance, identity, finder)
    if isinstance(found, Unavailable):
        found = Hindrance(True, f"it could not be checked: {found}")
    if found is not None:
        reporter.hindered(found)
