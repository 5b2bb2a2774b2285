"""`memory-watchdog probe`: one look at a target, as the watchdog would see it. Nothing is sent but the statistics.

Covers: what is seen, through which source, what is not and why, which setting would improve it.
Leaves to others: reading (`sources`), going on looking (`watcher`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memory_watchdog.actions.guards import Hindrance, hindrance
from memory_watchdog.clock import Clock
from memory_watchdog.config import Config, TargetConfig
from memory_watchdog.http_client import TargetClient
from memory_watchdog.measure import choose_measure
from memory_watchdog.observation import (
    Limit,
    LimitSource,
    Measure,
    ProcessIdentity,
    ProcessMemory,
    Reading,
    Reason,
    ServerReport,
    Unavailable,
)
from memory_watchdog.outside_text import one_line
from memory_watchdog.parts import cleanup_requests, finder_of, ladder_settings, statistics_source
from memory_watchdog.policy.thresholds import resolve
from memory_watchdog.quantities import format_bytes, format_seconds
from memory_watchdog.sources.cgroup import NO_LIMIT
from memory_watchdog.sources.cgroup_view import CgroupLook, CgroupView
from memory_watchdog.sources.discovery import Finder
from memory_watchdog.sources.limit import limit_of
from memory_watchdog.sources.process import measured
from memory_watchdog.sources.stats import StatisticsReading
from memory_watchdog.sources.triggers import MachinePressure, Source, Triggers
from memory_watchdog.sources.view import ProcessView

PLAIN_WIDTH = 300
"""Columns where standard output is no terminal: wide enough that no line of ours is broken."""

COMMAND_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `source` is where the value came from, `advice` what would improve it."""

    what: str
    value: str
    source: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that one look at a target found."""

    finder: Finder | None
    identity: ProcessIdentity | Unavailable
    memory: ProcessMemory | Unavailable
    cgroup: CgroupLook
    limit: Limit | Unavailable
    proportional: Reading
    statistics: StatisticsReading | None
    kernel_events: Mapping[Source, Unavailable | None]


async def probe(config: Config) -> bool:
    """Print what is seen of each target; True when each has a number that can be compared with its thresholds."""
    console = Console(soft_wrap=False)
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    comparable = True
    for target in config.targets:
        look = await _look(target)
        # Text, for a name or a command line that looks like rich's markup is shown as it is
        table = Table(title=Text(f"target {target.name}"), title_justify="left", expand=False)
        for heading in ("what", "seen", "through", "what would improve it"):
            table.add_column(heading, overflow="fold")
        for row in _rows(target, look):
            table.add_row(*(Text(cell) for cell in (row.what, row.value, row.source, row.advice)))
        console.print(table)
        comparable &= isinstance(_used(target, look), int) and isinstance(look.limit, Limit)
    return comparable


async def _look(target: TargetConfig) -> Look:
    clock = Clock()
    finder = finder_of(target)
    view, cgroups = ProcessView(finder), CgroupView()
    client = None if target.url is None else TargetClient(target.url)
    try:
        seen = await view.read(clock.boottime(), 0.0)
        pss: Reading = Unavailable(Reason.NOT_CONFIGURED)
        if isinstance(seen.memory, ProcessMemory):
            pss, _ = await view.proportional()
        cgroup = await cgroups.read(seen.identity, clock.boottime(), wants_limit=target.limit == "auto")
        limit = limit_of(target.limit, cgroup.limit)
        source = statistics_source(target, client)
        statistics = None if source is None else await source.read(clock.boottime)
        return Look(finder, seen.identity, seen.memory, cgroup, limit, pss, statistics, _kernel_events(cgroup))
    finally:
        view.close()
        cgroups.close()
        if client is not None:
            await client.aclose()


def _kernel_events(cgroup: CgroupLook) -> Mapping[Source, Unavailable | None]:
    """Which could be had: armed for a moment, at a usage that is never reached."""
    triggers = Triggers(MachinePressure(), lambda: None, lambda _: None)
    try:
        triggers.arm(cgroup.folder, is_v1=cgroup.is_v1, crossing=(NO_LIMIT, 1), min_interval=0.0)
        return dict(triggers.standing)
    finally:
        triggers.close()


def _measure(target: TargetConfig, look: Look) -> Measure:
    return choose_measure(target, look.identity, look.cgroup)


def _used(target: TargetConfig, look: Look) -> Reading:
    measure = _measure(target, look)
    if measure is Measure.REPORTED:
        report = look.statistics.report if look.statistics is not None else Unavailable(Reason.NOT_CONFIGURED)
        if isinstance(report, Unavailable):
            return report
        missing = Unavailable(Reason.NOT_FOUND, "the statistics do not say process.resident_bytes")
        return missing if report.resident_bytes is None else report.resident_bytes
    if measure is Measure.PSS:
        return look.proportional
    if measure is Measure.UNRECLAIMABLE:
        return look.cgroup.memory.unreclaimable_bytes
    return look.memory if isinstance(look.memory, Unavailable) else measured(look.memory, measure)


def _rows(target: TargetConfig, look: Look) -> Iterator[Row]:
    yield _process_row(look)
    if isinstance(look.memory, ProcessMemory):
        yield from _memory_rows(look.memory, look.proportional)
    if isinstance(look.identity, ProcessIdentity):
        yield from _cgroup_rows(look.cgroup)
        yield from _event_rows(look.kernel_events)
    yield _limit_row(target, look)
    if target.restart is not None and isinstance(look.identity, ProcessIdentity):
        yield _restart_row(look.finder, look.identity)
    yield from _used_rows(target, look)
    yield from _statistics_rows(look.statistics, mapped=target.stats is not None and target.stats.map is not None)
    for level in target.levels:
        if level.cleanup is not None and level.cleanup_timeout is not None:
            steps = ", then ".join(step.label for step in cleanup_requests(target)[level.name])
            said = f"{steps}, at most {format_seconds(level.cleanup_timeout)}"
            yield Row(f"cleanup {level.name}", said, "config", "probe never sends it")


def _process_row(look: Look) -> Row:
    how = "nothing" if look.finder is None else type(look.finder).__name__.removeprefix("By").lower()
    if isinstance(look.identity, Unavailable):
        return Row("process", f"unknown: {look.identity}", how, _process_advice(look.identity.reason))
    return Row("process", f"pid {look.identity.pid}{_command(look.identity.pid)}", how)


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # it has just ended, which the next row will tell
    return f": {one_line(words, COMMAND_CHARACTERS)}"


def _process_advice(reason: Reason) -> str:
    match reason:
        case Reason.PERMISSION:
            return (
                "run as the server's user, share its PID namespace, name it with process.pid_file or .command, "
                "or mount /proc without hidepid"
            )
        case Reason.NOT_CONFIGURED:
            return "the url leads to another machine: run the watchdog beside the server"
        case Reason.AMBIGUOUS:
            return "name one with process.port, .pid_file or a narrower .command"
        case Reason.NOT_FOUND | Reason.GONE:
            return "start the server, or name it with process.port, .pid_file or .command"
    return ""


def _memory_rows(memory: ProcessMemory, proportional: Reading) -> Iterator[Row]:
    yield Row("processes in the tree", str(memory.processes), "/proc")
    named = {
        "resident (rss)": (memory.resident_bytes, "statm"),
        "anonymous": (memory.anonymous_bytes, "statm"),
        "file mappings": (memory.file_bytes, "status"),
        "shared memory": (memory.shared_bytes, "status"),
        "swap": (memory.swap_bytes, "status"),
    }
    for what, (reading, source) in named.items():
        yield Row(what, _bytes(reading), source)
    advice = "run as the server's user" if isinstance(proportional, Unavailable) else ""
    yield Row("proportional (pss)", _bytes(proportional), "smaps_rollup", advice)


def _cgroup_rows(cgroup: CgroupLook) -> Iterator[Row]:
    memory, advice = cgroup.memory, _cgroup_advice(cgroup)
    whose = "the cgroup that has the limit" if cgroup.of_limit else "the process's own cgroup"
    yield Row("cgroup", cgroup.path or "unknown", whose if cgroup.path else "/proc", advice)
    if not cgroup.path:
        return
    yield Row("usage of the cgroup", _bytes(memory.usage_bytes), "page cache included")
    yield Row("unreclaimable", _bytes(memory.unreclaimable_bytes), "without page cache and reclaimable slab")
    yield Row(
        "OOM kills",
        str(memory.oom_kills) if isinstance(memory.oom_kills, int) else f"unknown: {memory.oom_kills}",
        "the target's cgroup",
    )
    times = {"waiting for memory (some)": memory.waiting_microseconds, "stalled (full)": memory.stalled_microseconds}
    for what, reading in times.items():
        text = format_seconds(reading / 1_000_000) if isinstance(reading, int) else f"unknown: {reading}"
        yield Row(what, text, "memory.pressure")


_EVENT_FILES = {
    Source.USAGE: "cgroup.event_control",
    Source.EVENTS: "memory.events",
    Source.PRESSURE: "memory.pressure",
    Source.MACHINE_PRESSURE: "/proc/pressure/memory",
}


def _event_rows(standing: Mapping[Source, Unavailable | None]) -> Iterator[Row]:
    for source, why in standing.items():
        text = "brings a look forward" if why is None else f"not to be had: {why}"
        advice = ""
        if why is not None and why.reason is Reason.PERMISSION and source is not Source.MACHINE_PRESSURE:
            advice = "make the cgroup writable for the watchdog; without it the looks come at their interval"
        yield Row(f"kernel events: {source}", text, _EVENT_FILES[source], advice)


def _cgroup_advice(cgroup: CgroupLook) -> str:
    if not isinstance(cgroup.limit, Unavailable):
        return ""
    match cgroup.limit.reason:
        case Reason.PERMISSION:
            return "run as the server's user or with CAP_SYS_PTRACE, or mount the host's /sys/fs/cgroup"
        case Reason.NOT_FOUND:
            return "share the server's cgroup namespace (cgroup: host), or set limit"
        case Reason.INVALID:
            return "a limit of 0 is a request to reclaim: put the limit back"
    return ""


def _bytes(reading: Reading) -> str:
    return format_bytes(reading) if isinstance(reading, int) else f"unknown: {reading}"


def _limit_row(target: TargetConfig, look: Look) -> Row:
    if isinstance(look.limit, Unavailable):
        advice = "set limit, for example limit: 8GiB; until then levels in percent are off"
        return Row("limit", f"unknown: {look.limit}", str(target.limit), advice)
    advice = ""
    if look.limit.source is LimitSource.MACHINE and target.limit == "auto":
        advice = "no cgroup limits the server: set limit to less than the machine's memory"
    return Row("limit", format_bytes(look.limit.bytes), look.limit.source, advice)


def _restart_row(finder: Finder | None, identity: ProcessIdentity) -> Row:
    why = Hindrance(True, "nothing finds it") if finder is None else hindrance(identity, finder)
    if why is not None and why.is_refused:
        return Row("restart", f"would be refused: {why.detail}", "config")
    return Row("restart", "may be ended as the last step", "config", "" if why is None else why.detail)


def _used_rows(target: TargetConfig, look: Look) -> Iterator[Row]:
    measure, used = _measure(target, look), _used(target, look)
    limit = look.limit.bytes if isinstance(look.limit, Limit) else None
    share = f", {100 * used / limit:.1f}% of the limit" if isinstance(used, int) and limit else ""
    source = f"measure {measure}"
    if target.measure is Measure.AUTO:
        source += ", chosen by auto"
    yield Row("used, what is compared", _bytes(used) + share, source)
    settings = ladder_settings(target)
    for level, edge in zip(settings.levels, resolve(settings.levels, limit).edges, strict=True):
        if edge is None:
            yield Row(f"level {level.name}", f"off: enter {level.enter}, exit {level.exit}", "config")
            continue
        met = " (met now)" if isinstance(used, int) and used >= edge.enter else ""
        text = f"enter {format_bytes(edge.enter)}, exit {format_bytes(edge.exit)}{met}"
        yield Row(f"level {level.name}", text, "config")


def _statistics_rows(statistics: StatisticsReading | None, *, mapped: bool) -> Iterator[Row]:
    if statistics is None:
        yield Row("statistics", "none", "config", "set url (and stats) to see the server's caches")
        return
    took = format_seconds(statistics.duration_seconds)
    report = statistics.report
    if isinstance(report, Unavailable):
        yield Row("statistics", f"unknown: {report}", f"HTTP, {took}", _statistics_advice(report.reason, mapped=mapped))
        return
    assert isinstance(report, ServerReport), "a report or the reason why not"
    count = len(report.components)
    yield Row("statistics", f"{count} component{'' if count == 1 else 's'}", f"HTTP, {took}")
    if report.resident_bytes is not None:
        yield Row("reported by the server", format_bytes(report.resident_bytes), "HTTP")
    if report.allocator_free_bytes is not None:
        yield Row("free in its allocator", format_bytes(report.allocator_free_bytes), "HTTP")
    for component in report.components:
        size = "" if component.bytes is None else format_bytes(component.bytes)
        items = "" if component.items is None else f"{component.items} items"
        yield Row(f"component {component.name}", ", ".join(filter(None, (size, items))), "HTTP")
    for name, value in report.values.items():
        yield Row(f"value {name}", one_line(str(value), 80), "HTTP")


def _statistics_advice(reason: Reason, *, mapped: bool) -> str:
    match reason:
        case Reason.CONNECTION:
            return "is the server running, and is url right?"
        case Reason.TIMEOUT:
            return "busy is not down; raise stats.timeout if it always takes that long"
        case Reason.HTTP_STATUS:
            return "set stats.path to where the server tells its statistics, and bearer_token_file if it wants one"
        case Reason.INVALID:
            if mapped:
                return "the answer is another than stats.map expects"
            return "it does not speak the native contract: take a preset (memory-watchdog presets) or write a stats.map"
    return ""
