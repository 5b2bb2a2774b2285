"""The fleet: many targets at a glance, the worst first."""

from __future__ import annotations

from dashboards.alerts_row import FIRING
from dashboards.board import Board, Row
from dashboards.colours import Colour
from dashboards.panels import BarGauge, Stat, TimeSeries
from dashboards.queries import (
    AROUND,
    BY_TARGET,
    ENTER,
    HELD,
    HIGHEST_HELD,
    LIMIT,
    SHARE,
    USED,
    Look,
    Query,
    by_target,
    increase,
    mean_an_hour,
    of_target,
    rate,
    total_shown,
    where,
)
from dashboards.scenarios import Needs, Scenario
from dashboards.tables import TARGET_LINK, Column, Table

UP = of_target("target_up")
CLEANUPS = of_target("cleanups_total")
FAILURES = of_target("cleanup_failures_total")
OOM_KILLS = of_target("target_oom_kills_total")
ENDED = of_target("restart_actions_total", 'outcome=~"ended|killed"')
INEFFECTIVE = of_target("cleanups_ineffective_total")
GROWTH = of_target("target_growth_bytes_per_second")
TIME_TO_LIMIT = of_target("target_time_to_limit_seconds")

WORST = f"topk(50, {SHARE})"
SHARE_STEPS = ((None, Colour.GOOD), (0.75, Colour.WARNING), (0.875, Colour.BAD))
"""The levels that a target has by default; its own are drawn on its own dashboard."""
NONE_IS_GOOD = ((None, Colour.GOOD), (1, Colour.BAD))
NONE_IS_BETTER = ((None, Colour.GOOD), (1, Colour.WARNING))


def counted(expr: str) -> str:
    """How many series, 0 where there are targets and none of them is one."""
    return f"count({expr}) or 0 * count({UP})"


GLANCE = Row(
    "At a glance",
    (
        Stat(
            title="Targets", width=4, unit="short",
            description="How many targets the chosen watchdogs watch, whatever state they are in.",
            queries=(Query(f"count({UP})"),),
        ),
        Stat(
            title="Not found", width=4, unit="short", steps=NONE_IS_GOOD,
            description="Targets of which neither the process nor the server's own report was read at the last tick. "
            "Nothing is known of their memory and nothing is done about it. Should be 0.",
            queries=(Query(f"sum({UP} == bool 0)"),),
        ),
        Stat(
            title="Limit unknown", width=4, unit="short", steps=NONE_IS_BETTER,
            description="Targets that are found and have no known limit: their levels in percent are off, and they are "
            "in none of the shares below. Should be 0.",
            queries=(Query(counted(f"{UP} unless on ({BY_TARGET}) {LIMIT}")),),
        ),
        Stat(
            title="Holding a level", width=4, unit="short", steps=NONE_IS_BETTER,
            description="Targets that have reached a threshold and are not yet below its exit. A cleanup is due or has "
            "been sent; that is normal now and then.",
            queries=(Query(counted(HELD)),),
        ),
        Stat(
            title="At the highest level", width=4, unit="short", steps=NONE_IS_GOOD,
            description="Targets that hold their highest level: aggressive cleanups are what is left.",
            queries=(Query(counted(HIGHEST_HELD), scenario=Scenario.LEAK),),
        ),
        Stat(
            title="Highest share", width=4, unit="percentunit", steps=SHARE_STEPS, decimals=0,
            description="The largest share of its limit that any target uses now. The table below says which.",
            queries=(Query(f"max({SHARE})"),),
        ),
    ),
)  # fmt: skip

WORST_FIRST = Row(
    "Worst first",
    (
        Table(
            title="The 50 targets nearest to their limit", width=24, height=11, unit="none", first="Share of limit",
            description="One row a target, the one with the largest share of its limit first; a click on its name "
            "opens its dashboard. Time to limit is empty while growth is not steady enough to be extrapolated. "
            "Cleanups an hour are the mean over the time shown; failed and ineffective ones are counted over it.",
            queries=(
                # Summed, though there is one of each: with the metric's name an answer would get rows of its own.
                Query(WORST),
                Query(where(by_target(USED), WORST)),
                Query(where(by_target(LIMIT), WORST)),
                Query(where(by_target(TIME_TO_LIMIT), WORST), scenario=Scenario.LEAK, needs=Needs.MINUTES),
                Query(where(by_target(GROWTH), WORST), scenario=Scenario.LEAK, needs=Needs.MINUTES),
                Query(where(by_target(f"{of_target('target_level')} == 1", "level"), WORST)),
                Query(where(mean_an_hour(CLEANUPS), WORST)),
                Query(where(total_shown(by_target(rate(FAILURES))), WORST)),
                Query(where(total_shown(by_target(rate(INEFFECTIVE))), WORST)),
            ),
            columns=(
                Column("target", "Target", 170, link=TARGET_LINK),
                Column("instance", "Instance", 190),
                Column("level", "Level", 90),
                Column("A", "Share of limit", 150, "percentunit", gauge=True, steps=SHARE_STEPS, decimals=0),
                Column("B", "Used", 85, "bytes", decimals=0),
                Column("C", "Limit", 85, "bytes", decimals=0),
                Column("D", "Time to limit", 100, "s", decimals=0),
                Column("E", "Growth", 95, "binBps", decimals=0),
                Column("G", "Cleanups/h", 90, "short", decimals=1),
                Column("H", "Failed", 65, "short", steps=((None, Colour.GOOD), (0.5, Colour.BAD)), decimals=0),
                Column("I", "Ineffective", 85, "short", steps=((None, Colour.GOOD), (0.5, Colour.WARNING)), decimals=0),
            ),
        ),
    ),
)  # fmt: skip

TRENDS = Row(
    "Trends",
    (
        TimeSeries(
            title="Share of limit over the fleet", width=12, unit="percentunit", minimum=0,
            description="How near the targets are to their limits: the highest, the 90th percentile and the median. "
            "When the highest goes up alone one server is ill; when all do, it is the load or a release. The dashed "
            "line is the lowest threshold of any target.",
            queries=(
                Query(f"max({SHARE})", "highest", Colour.BAD),
                Query(f"quantile(0.9, {SHARE})", "90th percentile", Colour.WARNING),
                Query(f"quantile(0.5, {SHARE})", "median", Colour.USED, Look.AREA),
                Query(
                    f"min({ENTER} / on ({BY_TARGET}) group_left () ({LIMIT} > 0))",
                    "lowest threshold", Colour.NEUTRAL, Look.DASHED,
                ),
            ),
        ),
        BarGauge(
            title="Time to limit, shortest first", width=12, unit="s", instant=True, minimum=0,
            description="The ten targets that reach their limit first if they go on growing as they do. Empty is good: "
            "no target grows steadily enough for a forecast.",
            steps=((None, Colour.BAD), (600, Colour.WARNING), (3600, Colour.USED)),
            queries=(
                Query(
                    f"sort(bottomk(10, {TIME_TO_LIMIT}))", "{{target}} {{instance}}",
                    scenario=Scenario.LEAK, needs=Needs.MINUTES,
                ),
            ),
        ),
        TimeSeries(
            title="Cleanups", width=12, unit="short", minimum=0, decimals=0,
            description="Requests sent over the whole fleet, and those of them that reclaimed too little or failed. "
            f"{AROUND} Orange and red should be far lower than blue.",
            queries=(
                Query(f"sum({increase(CLEANUPS)})", "sent", Colour.USED, Look.BARS),
                Query(
                    f"sum({increase(INEFFECTIVE)})", "ineffective", Colour.WARNING, Look.BARS, scenario=Scenario.LEAK,
                ),
                Query(f"sum({increase(FAILURES)})", "failed", Colour.BAD, Look.BARS, scenario=Scenario.FAILING),
            ),
        ),
        TimeSeries(
            title="Restarts and kills", width=12, unit="short", minimum=0, decimals=0,
            description="New processes that took the place of old ones, whoever restarted them, those of them that the "
            "watchdog ended as the last step, and processes that the kernel killed for memory. A kill is what the "
            "watchdog is there to prevent.",
            queries=(
                Query(
                    f"sum({increase(of_target('target_restarts_total'))})", "restarts", Colour.WARNING, Look.BARS,
                    scenario=Scenario.RESTART,
                ),
                Query(
                    f"sum({increase(ENDED)})", "ended by the watchdog", Colour.DEEP, Look.BARS,
                    scenario=Scenario.RESTART,
                ),
                Query(f"sum({increase(OOM_KILLS)})", "killed for memory", Colour.BAD, Look.BARS),
            ),
        ),
    ),
)  # fmt: skip

FAILING = Row(
    "Failing cleanups",
    (
        Table(
            title="Why cleanups failed", width=12, height=8, unit="none", first="Failed",
            description="Failed cleanup requests over the time shown, by reason. A timeout is a busy server as often "
            "as a broken one; a refused connection or a status is a wrong address or an error inside the server.",
            queries=(
                Query(
                    f"{total_shown(by_target(rate(FAILURES), 'level', 'reason'))} > 0.5", scenario=Scenario.FAILING,
                ),
            ),
            columns=(
                Column("target", "Target", 150, link=TARGET_LINK),
                Column("instance", "Instance", 160),
                Column("level", "Level", 90),
                Column("reason", "Reason", 120),
                Column("Value", "Failed", 65, "short", decimals=0),
            ),
        ),
        BarGauge(
            title="Most ineffective cleanups", width=12, unit="short", instant=True, minimum=0, decimals=0,
            description="The ten targets with the most cleanups, over the time shown, that were answered and reclaimed "
            "less than they should. What uses the memory is not what the cleanup drops.",
            steps=((None, Colour.WARNING),),
            queries=(
                Query(
                    f"sort_desc(topk(10, {total_shown(by_target(rate(INEFFECTIVE)))} > 0.5))",
                    "{{target}} {{instance}}", scenario=Scenario.LEAK,
                ),
            ),
        ),
    ),
)  # fmt: skip

FLEET = Board(
    name="fleet",
    title="Memory watchdog / Fleet",
    description="Many targets at a glance: who is near the limit, who is cleaned up how often, whose cleanups fail.",
    rows=(GLANCE, WORST_FIRST, FIRING, TRENDS, FAILING),
)
