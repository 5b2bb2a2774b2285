"""`benchmarks.forecast`: what the forecast says of labelled traces, beside a line through the last minutes.

Covers: early actions on harmless traces, lead on leaks, error of the time to the limit at half way, both for ours and
for plain linear extrapolation. Leaves to others: the traces (`traces`), the forecast (`policy.forecast`).

The decisions are those of the real ladder, whose cleanups change nothing here: a trace is what it is. The lead counts
from the first moment at which the forecast alone would act, whatever level is held by then.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

from memory_watchdog.observation import Limit, LimitSource, Measure
from memory_watchdog.policy.efficacy import Basis
from memory_watchdog.policy.foresight import Foresight
from memory_watchdog.policy.settings import LadderSettings, LevelSettings
from memory_watchdog.quantities import Percent

from benchmarks.report import Row, progress, run
from benchmarks.traces import LIMIT_BYTES, Trace, harmless, leaks

SEEDS, QUICK_SEEDS = 30, 4
PLAIN_SECONDS = 180
"""What the plain line is drawn through: `predict_linear(used[3m], …)`, as rules in the field have it."""

BASIS = Basis(Measure.ANON, Limit(LIMIT_BYTES, LimitSource.GIVEN))
SETTINGS = LadderSettings((LevelSettings("normal", Percent(75), Percent(70), sustain_seconds=10),))


@dataclass
class Told:
    """What one forecaster made of the traces. A lead of a leak that was never foreseen is 0."""

    early: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    leads: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    silent: int = 0


Forecaster = Callable[[Trace], tuple[int | None, float | None]]
"""From a trace to when it would act first, and the seconds to the limit that it names half way through a leak."""


def ours(trace: Trace) -> tuple[int | None, float | None]:
    """The forecast of the ladder."""
    foresight, acts_at, at_half = Foresight(), None, None
    half = _half(trace)
    for second, used in enumerate(trace.used):
        if second in trace.restarts_at:
            foresight.begin_anew()
        foresight.look(SETTINGS, used, float(second), BASIS)
        if acts_at is None and foresight.is_due(SETTINGS, float(second)):
            acts_at = second
        if second == half:
            at_half = foresight.forecast.time_to_limit_seconds(LIMIT_BYTES)
    return acts_at, at_half


def plain(trace: Trace) -> tuple[int | None, float | None]:
    """Least squares through the last minutes, with the same conditions for acting."""
    window, since, acts_at, at_half = PLAIN_SECONDS, None, None, None
    middle = (window - 1) / 2
    norm = sum((index - middle) ** 2 for index in range(window))
    within, above = SETTINGS.forecast_within_seconds, SETTINGS.forecast_above.of(LIMIT_BYTES)
    assert within is not None, "the default has one"
    assert above is not None, "there is a limit"
    for second in range(window - 1, len(trace.used)):
        points = trace.used[second - window + 1 : second + 1]
        slope = sum((index - middle) * used for index, used in enumerate(points)) / norm
        line_now = sum(points) / window + slope * middle
        seconds = (LIMIT_BYTES - line_now) / slope if slope > 0 else None
        near = seconds is not None and seconds < within and trace.used[second] >= above
        since = (since if since is not None else second) if near else None
        if since is not None and second - since >= SETTINGS.levels[0].sustain_seconds and acts_at is None:
            acts_at = second
        if second == _half(trace):
            at_half = seconds
    return acts_at, at_half


def _half(trace: Trace) -> int | None:
    if trace.begins_at is None or trace.reaches_limit_at is None:
        return None
    return (trace.begins_at + trace.reaches_limit_at) // 2


def told_by(forecaster: Forecaster, seeds: Sequence[int]) -> Told:
    """What it makes of all traces of these seeds."""
    told = Told()
    for seed in seeds:
        progress(f"{forecaster.__name__}: seed {seed}")
        for trace in (*harmless(seed), *leaks(seed)):
            acts_at, at_half = forecaster(trace)
            if trace.begins_at is None or trace.reaches_limit_at is None:
                told.early[trace.name] += acts_at is not None
                continue
            told.early[trace.name] += acts_at is not None and acts_at < trace.begins_at
            told.leads.append(0.0 if acts_at is None else float(trace.reaches_limit_at - acts_at))
            half = _half(trace)
            assert half is not None, "a leak has one"
            if at_half is None:
                told.silent += 1
            else:
                left = trace.reaches_limit_at - half
                told.errors.append(100 * abs(at_half - left) / left)
    return told


def measure(quick: bool) -> list[Row]:
    """The rows."""
    seeds = range(1000, 1000 + (QUICK_SEEDS if quick else SEEDS))
    rows: list[Row] = []
    own = told_by(ours, seeds)
    line = told_by(plain, seeds)
    count = f"{len(seeds)} seeds"
    for name in own.early:
        rows.append(Row(f"early actions on {name}, {count}", own.early[name], "", 0))
    rows += [
        Row("early actions of a plain line over 3 minutes, all of these", sum(line.early.values()), ""),
        Row("lead on leaks, median", median(own.leads), "s", 60, at_least=True),
        Row("lead on leaks, lowest", min(own.leads), "s"),
        Row("lead of the plain line, median", median(line.leads), "s"),
        Row("error of the time to the limit half way, median", median(own.errors), "%", 25),
        Row("error half way, highest", max(own.errors), "%"),
        Row("error half way of the plain line, median", median(line.errors), "%"),
        Row("leaks of which it says nothing half way", 100 * own.silent / len(own.leads), "%"),
        Row("CPU of one reading", _microseconds_a_reading(), "µs"),
    ]
    return rows


def _microseconds_a_reading() -> float:
    foresight, trace = Foresight(), next(islice(leaks(1), 1, None))
    started = time.process_time()
    for second, used in enumerate(trace.used):
        foresight.look(SETTINGS, used, float(second), BASIS)
    return 1e6 * (time.process_time() - started) / len(trace.used)


if __name__ == "__main__":
    run("Forecast of the time to the limit", measure)
