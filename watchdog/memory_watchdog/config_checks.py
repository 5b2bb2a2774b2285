"""Values of the config that are right alone and wrong together.

Covers: order and form of thresholds, names used twice, times that undercut each other, keys that need or exclude
others, JSON that is none.
Leaves to others: maps and what speaks to foreign servers (`config_mapping_checks`), each value by itself
(`config_values`), lines and files (`config`).

The checks read the data as written, not the models, so that one wrong value does not hide what is wrong elsewhere. What
cannot be read is passed over: its own mistake is told already.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from memory_watchdog.config_addresses import URL_FORM, default_target_name, url
from memory_watchdog.config_errors import KeyPath, Problem
from memory_watchdog.config_mapping_checks import cleanup_problems, reports_resident, stats_problems
from memory_watchdog.config_models import ProcessConfig, TargetConfig
from memory_watchdog.config_values import PATH_FORM, threshold
from memory_watchdog.observation import Measure
from memory_watchdog.quantities import Percent, Size, Threshold, format_seconds, parse_duration

PROCESS_WAYS = tuple(ProcessConfig.model_fields)


def config_problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Everything in the data that does not fit together."""
    targets = data.get("targets")
    if not isinstance(targets, list):
        return
    if not targets:
        yield Problem(("targets",), "at least one target")
    first_of: dict[str, int] = {}
    for index, target in enumerate(targets):
        if not isinstance(target, dict):
            continue
        yield from _target_problems(target, ("targets", index))
        name = _target_name(target)
        if name is not None and first_of.setdefault(name, index) != index:
            allowed = f"a name that targets[{first_of[name]}] does not have"
            yield Problem(("targets", index, "name"), allowed, None if "name" in target else f"'{name}'")
    yield from _twin_problems(targets)


def _twin_problems(targets: list[Any]) -> Iterator[Problem]:
    """Two targets that find the same process would clean it up twice. What only shows while running is refused then."""
    first_of: dict[str, int] = {}
    for index, target in enumerate(targets):
        if not isinstance(target, dict):
            continue
        process, address = target.get("process"), target.get("url")
        if isinstance(process, dict) and len(process) == 1:
            found = ("process", f"{next(iter(process))}: {next(iter(process.values()))}")
        elif process is None and isinstance(address, str):
            found = ("url", address.rstrip("/"))
        else:
            continue
        if first_of.setdefault(repr(found), index) != index:
            other = f"targets[{first_of[repr(found)]}]"
            yield Problem(("targets", index, found[0]), f"another process than that of {other}", f"'{found[1]}'")


def _target_name(target: Mapping[str, Any]) -> str | None:
    name = target.get("name")
    if isinstance(name, str):
        return name
    try:
        return default_target_name(url(target.get("url"))) if "name" not in target else None
    except ValueError:
        return None


def _target_problems(target: Mapping[str, Any], base: KeyPath) -> Iterator[Problem]:
    without_url = target.get("url") is None
    missing = [key for key in ("name", "process") if target.get(key) is None]
    if without_url and missing:
        yield Problem((*base, "url"), f"{URL_FORM}; without a url {' and '.join(missing)} must be given")
    if isinstance(target.get("process"), dict):
        yield from _process_problems(target["process"], (*base, "process"))
    yield from _time_problems(target, base)
    stats = target.get("stats", None if without_url else {})
    if without_url and stats is not None:
        yield Problem((*base, "stats"), "nothing where the target has no url")
    if target.get("measure") == Measure.REPORTED and stats is None:
        yield Problem((*base, "measure"), "a measure other than reported where the target has no stats")
    elif target.get("measure") == Measure.REPORTED and not reports_resident(stats):
        yield Problem((*base, "measure"), "a measure other than reported where stats.map has no resident")
    yield from _restart_problems(target, (*base, "restart"), without_url)
    yield from _request_problems(stats, (*base, "stats"))
    yield from stats_problems(stats, (*base, "stats"))
    if isinstance(target.get("levels"), list):
        yield from _level_problems(target["levels"], (*base, "levels"), without_url)
        for index, level in enumerate(target["levels"]):
            if isinstance(level, dict):
                yield from _cleanup_problems(level.get("cleanup"), (*base, "levels", index, "cleanup"), stats)


def _restart_problems(target: Mapping[str, Any], path: KeyPath, without_url: bool) -> Iterator[Problem]:
    """A process is ended only where it is known without a doubt, and asked over HTTP only where there is an address."""
    restart, process = target.get("restart"), target.get("process")
    if not isinstance(restart, dict):
        return
    if isinstance(process, dict) and process.get("command") is not None:
        allowed = "nothing where the process is found by its command line alone; name its port, pid_file or cgroup"
        yield Problem(path, allowed, "restart beside process.command")
    if target.get("measure") == Measure.REPORTED:
        yield Problem(path, "nothing where the server's report is all that is seen", "restart beside measure: reported")
    if restart.get("drain") is not None:
        if without_url:
            yield Problem((*path, "drain"), "nothing where the target has no url")
        yield from _request_problems(restart["drain"], (*path, "drain"))


def _cleanup_problems(cleanup: object, path: KeyPath, stats: object) -> Iterator[Problem]:
    if cleanup == []:
        yield Problem(path, "at least one request; without the key nothing is sent")
    requests = enumerate(cleanup) if isinstance(cleanup, list) else [(None, cleanup)]
    for index, request in requests:
        if isinstance(request, dict):
            place = path if index is None else (*path, index)
            yield from _way_problems(request, place)
            yield from _request_problems(request, place)
            yield from cleanup_problems(request, place, stats)


def _way_problems(request: Mapping[str, Any], path: KeyPath) -> Iterator[Problem]:
    """A request has a path; a tool call an address of its own, and arguments in place of a body; a reclaim nothing."""
    if request.get("reclaim") is not None:
        if beside := [key for key in request if key not in ("reclaim", "timeout")]:
            yield Problem((*path, beside[0]), "nothing beside reclaim but timeout")
        return
    tool = request.get("mcp")
    if tool is None:
        if request.get("path") is None:
            yield Problem((*path, "path"), f"{PATH_FORM}; or mcp or reclaim in its place", "nothing")
        return
    if beside := [key for key in ("path", "method", "json") if key in request]:
        yield Problem((*path, beside[0]), "nothing beside mcp, which has its own url and arguments")
    if isinstance(tool, dict) and "arguments" in tool:
        yield from _json_problems(tool["arguments"], (*path, "mcp", "arguments"))


def _process_problems(process: Mapping[str, Any], path: KeyPath) -> Iterator[Problem]:
    ways = [way for way in PROCESS_WAYS if process.get(way) is not None]
    if len(ways) > 1 or not (ways or process.keys() - set(PROCESS_WAYS)):
        yield Problem(path, f"exactly one of {', '.join(PROCESS_WAYS)}", " and ".join(ways) or "no way to find it")


def _time_problems(target: Mapping[str, Any], base: KeyPath) -> Iterator[Problem]:
    interval, shortest = _seconds(target, "interval"), _seconds(target, "min_interval")
    if interval is None:
        return
    if shortest is not None and interval < shortest:
        if "interval" in target:
            yield Problem((*base, "interval"), f"at least min_interval ({format_seconds(shortest)})")
        else:
            yield Problem((*base, "min_interval"), f"at most interval ({format_seconds(interval)})")
    stale_after = _seconds(target, "stale_after")
    if stale_after is not None and stale_after < interval:
        yield Problem((*base, "stale_after"), f"at least interval ({format_seconds(interval)})")


def _seconds(target: Mapping[str, Any], key: str) -> float | None:
    """The duration, or its default; None where it cannot be read or its default follows the others."""
    if key not in target:
        default = TargetConfig.model_fields[key].default
        return default if isinstance(default, float) else None
    try:
        return parse_duration(target[key]) if isinstance(target[key], str) else None
    except ValueError:
        return None


def _request_problems(request: object, path: KeyPath) -> Iterator[Problem]:
    if not isinstance(request, dict):
        return
    headers = request.get("headers")
    names = {name.lower() for name in headers} if isinstance(headers, dict) else set()
    if "authorization" in names and request.get("bearer_token_file") is not None:
        yield Problem((*path, "bearer_token_file"), "nothing beside a header Authorization")
    if "json" in request:
        yield from _json_problems(request["json"], (*path, "json"))


def _json_problems(value: object, path: KeyPath) -> Iterator[Problem]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _json_problems(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _json_problems(item, (*path, index))
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, "a number that JSON has, neither infinite nor .nan")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        yield Problem(path, "a number of at most 64 bits, or quotes around it")


@dataclass(frozen=True, slots=True)
class _Edge:
    """One `enter` or `exit` as written."""

    path: KeyPath
    text: str
    value: Threshold

    @property
    def amount(self) -> float:
        return self.value.percent if isinstance(self.value, Percent) else self.value.bytes

    def comparable(self, other: _Edge | None) -> bool:
        return other is not None and type(self.value) is type(other.value)


def _level_problems(levels: list[Any], path: KeyPath, without_url: bool) -> Iterator[Problem]:
    if not levels:
        yield Problem(path, "at least one level; without the key there are normal and aggressive")
    names: dict[str, int] = {}
    edges: list[_Edge] = []
    beneath: dict[str, _Edge] = {}
    for index, level in enumerate(levels):
        if not isinstance(level, dict):
            continue
        place = (*path, index)
        name = level.get("name")
        if isinstance(name, str) and names.setdefault(name, index) != index:
            yield Problem((*place, "name"), f"a name that levels[{names[name]}] does not have")
        enter, leave = _edge(level, place, "enter"), _edge(level, place, "exit")
        yield from _edge_problems(enter, leave, beneath)
        edges += [edge for edge in (enter, leave) if edge is not None]
        beneath |= {edge.path[-1]: edge for edge in (enter, leave) if edge is not None}  # type: ignore[misc]
        if without_url and not _is_reclaim(level.get("cleanup")):
            yield Problem((*place, "cleanup"), "nothing, or reclaim, where the target has no url")
    yield from _form_problems(edges)


def _is_reclaim(cleanup: object) -> bool:
    """Is there nothing in it that speaks HTTP?"""
    steps = cleanup if isinstance(cleanup, list) else [] if cleanup is None else [cleanup]
    return all(isinstance(step, dict) and step.get("reclaim") is not None for step in steps)


def _edge(level: Mapping[str, Any], place: KeyPath, key: str) -> _Edge | None:
    text = level.get(key)
    try:
        return _Edge((*place, key), str(text), threshold(text))
    except ValueError:
        return None


def _edge_problems(enter: _Edge | None, leave: _Edge | None, beneath: Mapping[str, _Edge]) -> Iterator[Problem]:
    lower_enter, lower_leave = beneath.get("enter"), beneath.get("exit")
    if enter and lower_enter and enter.comparable(lower_enter) and enter.amount <= lower_enter.amount:
        yield Problem(enter.path, f"above the enter of the level beneath ({lower_enter.text})")
    if enter and leave and leave.comparable(enter) and leave.amount >= enter.amount:
        yield Problem(leave.path, f"below enter ({enter.text})")
    if leave and lower_leave and leave.comparable(lower_leave) and leave.amount < lower_leave.amount:
        yield Problem(leave.path, f"at least the exit of the level beneath ({lower_leave.text})")


def _form_problems(edges: list[_Edge]) -> Iterator[Problem]:
    for edge in edges[1:]:
        if not edge.comparable(edges[0]):
            form = "a size" if isinstance(edges[0].value, Size) else "a percentage"
            yield Problem(
                edge.path, f"{form} like the first ({edges[0].text}): a target's enter and exit have one form"
            )
