"""The target's memory: how much, of what, how fast it grows."""

from __future__ import annotations

from dashboards.board import Row
from dashboards.colours import Colour
from dashboards.panels import BarGauge, Gauge, Stat, StateTimeline, TimeSeries
from dashboards.queries import (
    BY_TARGET,
    ENTER,
    HELD,
    HIGHEST_HELD,
    LIMIT,
    SHARE,
    USED,
    Look,
    Query,
    of_target,
    rate,
    share_of,
    where,
)
from dashboards.scenarios import Needs, Scenario
from dashboards.tables import Column, Table
from dashboards.target_parts import COMPONENT_BYTES, NAME, SHARE_STEPS, START, UNACCOUNTED

NOT_HELD = of_target("target_level", 'level="none"')
IS_HIGHEST = f"({ENTER} == bool on ({BY_TARGET}) group_left () max by ({BY_TARGET}) ({ENTER}))"

NOW = Row(
    "Now",
    (
        Gauge(
            title="Share of limit", width=4, unit="percentunit", minimum=0, maximum=1, decimals=0, steps=SHARE_STEPS,
            description="Used as a share of the limit. The colours change at the default levels, 75 % and 87.5 %; the "
            "target's own thresholds are in the picture below.",
            queries=(Query(SHARE, NAME),),
        ),
        Stat(
            title="Used", width=4, unit="bytes", decimals=0, spark=True,
            description="The number that is compared with the thresholds. Which one it is says the table on the right.",
            queries=(Query(USED, NAME),),
        ),
        Stat(
            title="Limit is reached in", width=4, unit="s", decimals=0,
            steps=((None, Colour.NEUTRAL), (0, Colour.BAD), (600, Colour.WARNING), (3600, Colour.GOOD)),
            absent="not foreseen",
            description="When used reaches the limit if it goes on growing so. Not foreseen is good: memory does not "
            "grow steadily, or has been watched for less than five minutes.",
            queries=(
                Query(of_target("target_time_to_limit_seconds"), NAME, scenario=Scenario.LEAK, needs=Needs.MINUTES),
            ),
        ),
        Table(
            title="How it is seen", width=12, height=4, unit="none", first="Running for",
            description="Which number is compared, where the limit comes from, what shows the process, the preset, and "
            "for how long the process has been running.",
            queries=(Query(of_target("target_info")), Query(f"time() - {START}")),
            columns=(
                Column("target", "Target", 130),
                Column("measure", "Measure", 100),
                Column("limit_source", "Limit from", 90),
                Column("process_view", "Process", 90),
                Column("preset", "Preset", 90),
                Column("B", "Running for", 95, "s", decimals=1),
            ),
        ),
    ),
)  # fmt: skip

MEMORY = Row(
    "Memory",
    (
        TimeSeries(
            title="Used, limit, thresholds and level", width=24, height=11, unit="bytes", minimum=0,
            description="The whole story in one picture. Used is filled where a level is held: orange for a lower "
            "level, red for the highest. Dashed lines are where a level is entered, dotted ones where it is left. "
            "Vertical lines are cleanups and new processes. A healthy cache saws between exit and enter; a leak has "
            "troughs that rise.",
            queries=(
                Query(USED, f"used {NAME}", Colour.USED),
                Query(
                    where(USED, HELD), f"a level is held {NAME}", Colour.WARNING, Look.AREA, scenario=Scenario.LEAK,
                ),
                Query(
                    where(USED, HIGHEST_HELD), f"the highest level is held {NAME}", Colour.BAD, Look.AREA,
                    scenario=Scenario.LEAK,
                ),
                Query(LIMIT, f"limit {NAME}", Colour.BAD),
                Query(ENTER, f"enter {{{{level}}}} {NAME}", Colour.WARNING, Look.DASHED),
                Query(
                    of_target("target_threshold_bytes", 'edge="exit"'), f"exit {{{{level}}}} {NAME}",
                    Colour.NEUTRAL, Look.DOTTED,
                ),
            ),
        ),
        StateTimeline(
            title="Level", width=24, height=5, unit="none",
            description="Which level was held when. none is as it should be; the highest level has the colour of the "
            "limit.",
            texts={
                "0": ("below all levels", Colour.GOOD), "1": ("a level is held", Colour.WARNING),
                "2": ("the highest level is held", Colour.BAD),
            },
            queries=(
                Query(f"0 * ({NOT_HELD} == 1)", f"none {NAME}"),
                Query(
                    f"({HELD}) + on ({BY_TARGET}, level) {IS_HIGHEST}", f"{{{{level}}}} {NAME}", scenario=Scenario.LEAK,
                ),
            ),
        ),
    ),
)  # fmt: skip

COMPONENTS = Row(
    "Components",
    (
        TimeSeries(
            title="Components, and what none of them explains", width=16, height=9, unit="bytes", stacked=True,
            description="What the server says its components hold, one on the other, and on top what none of them "
            "explains. When the top grows and the rest does not, something leaks that nobody counts, or the allocator "
            "keeps what was freed.",
            queries=(
                Query(COMPONENT_BYTES, f"{{{{component}}}} {NAME}"),
                Query(f"clamp_min({UNACCOUNTED}, 0)", f"unexplained {NAME}", Colour.UNEXPLAINED),
            ),
        ),
        BarGauge(
            title="Components by their own limits", width=8, height=9, unit="percentunit", minimum=0, maximum=1,
            decimals=0, steps=((None, Colour.USED), (0.9, Colour.WARNING), (1.001, Colour.BAD)),
            description="How full each component is that has a bound of its own. Full is normal for a cache; above its "
            "bound means that the bound is not kept.",
            queries=(
                Query(share_of(COMPONENT_BYTES, of_target("component_limit_bytes")), "{{component}} bytes"),
                Query(
                    share_of(of_target("component_items"), of_target("component_limit_items")), "{{component}} items",
                ),
            ),
        ),
        TimeSeries(
            title="Items", width=8, unit="short", minimum=0,
            description="How many items each component holds. A cleanup that drops items and frees no memory shows "
            "here and not above.",
            queries=(Query(of_target("component_items"), f"{{{{component}}}} {NAME}"),),
        ),
        TimeSeries(
            title="Evictions and expirations", width=8, unit="cps", minimum=0,
            description="Items that left a component because it was full, or because they were too old. Many evictions "
            "mean that the component is too small for what is asked of it.",
            queries=(
                Query(rate(of_target("component_evictions_total")), "evicted {{component}}", Colour.WARNING),
                Query(rate(of_target("component_expirations_total")), "expired {{component}}", Colour.NEUTRAL),
            ),
        ),
        StateTimeline(
            title="Components that tell their numbers", width=8, unit="none",
            texts={"1": ("tells its numbers", Colour.GOOD), "0": ("could not", Colour.BAD)},
            description="Whether each component could tell its numbers, or the server said that it could not.",
            queries=(Query(of_target("component_up"), "{{component}}"),),
        ),
    ),
)  # fmt: skip

GROWTH = Row(
    "Growth and forecast",
    (
        TimeSeries(
            title="Growth", width=8, unit="binBps",
            description="How fast used grows by its troughs, and how fast the part grows that no component explains. "
            "Both near 0 is healthy; the second above 0 for hours is a leak.",
            queries=(
                Query(
                    of_target("target_growth_bytes_per_second"), f"used {NAME}", Colour.USED,
                    scenario=Scenario.LEAK, needs=Needs.MINUTES,
                ),
                Query(
                    of_target("target_unaccounted_growth_bytes_per_second"), f"unexplained {NAME}", Colour.UNEXPLAINED,
                    scenario=Scenario.LEAK,
                ),
            ),
        ),
        TimeSeries(
            title="Time to limit", width=8, unit="s", minimum=0,
            description="When used reaches the limit if it goes on growing so. A straight way down means that the "
            "forecast comes true; a gap, that nothing can be said with confidence.",
            queries=(
                Query(
                    of_target("target_time_to_limit_seconds"), NAME, Colour.USED, Look.AREA,
                    scenario=Scenario.LEAK, needs=Needs.MINUTES,
                ),
            ),
        ),
        TimeSeries(
            title="Peaks and troughs", width=8, unit="bytes", minimum=0,
            description="The highest used of the last minute, and the lowest since the last cleanup. The trough is "
            "what cleanups cannot take away: the limit must be far above it.",
            queries=(
                Query(of_target("target_used_peak_bytes"), f"peak {NAME}", Colour.USED),
                Query(of_target("target_trough_bytes"), f"trough {NAME}", Colour.GOOD, scenario=Scenario.SAWTOOTH),
                Query(LIMIT, f"limit {NAME}", Colour.BAD),
            ),
        ),
    ),
)  # fmt: skip

KINDS = Row(
    "Processes and cgroup",
    (
        TimeSeries(
            title="What the memory is", width=12, unit="bytes", minimum=0,
            description="The process tree, number by number, whichever of them is compared. Resident without "
            "anonymous is files and shared memory, which the kernel can mostly take back.",
            queries=(
                Query(of_target("target_resident_bytes"), f"resident {NAME}", Colour.DEEP),
                Query(of_target("target_anonymous_bytes"), f"anonymous {NAME}", Colour.USED),
                Query(of_target("target_file_bytes"), f"files {NAME}", Colour.GOOD),
                Query(of_target("target_shared_bytes"), f"shared {NAME}", Colour.NEUTRAL),
                Query(of_target("target_swap_bytes"), f"swap {NAME}", Colour.BAD),
                Query(of_target("target_proportional_bytes"), f"proportional {NAME}", Colour.UNEXPLAINED, Look.DASHED),
            ),
        ),
        TimeSeries(
            title="The cgroup", width=12, unit="bytes", minimum=0,
            description="What the cgroup that limits the target uses, page cache included, and what of it the kernel "
            "cannot take back. When the second reaches the limit, the kernel kills.",
            queries=(
                Query(of_target("target_cgroup_usage_bytes"), f"usage {NAME}", Colour.USED),
                Query(of_target("target_cgroup_unreclaimable_bytes"), f"unreclaimable {NAME}", Colour.WARNING),
            ),
        ),
        TimeSeries(
            title="Memory pressure", width=12, unit="percentunit", minimum=0,
            description="Share of the time in which some task (waiting) or all tasks (stalled) of the target's cgroup "
            "waited for memory. Some percent of waiting are felt by users; stalled should be 0. Only cgroup v2 has it.",
            queries=(
                Query(
                    rate(of_target("target_pressure_waiting_seconds_total")), f"waiting {NAME}", Colour.WARNING,
                    needs=Needs.CGROUP_V2,
                ),
                Query(
                    rate(of_target("target_pressure_stalled_seconds_total")), f"stalled {NAME}", Colour.BAD, Look.AREA,
                    needs=Needs.CGROUP_V2,
                ),
            ),
        ),
        TimeSeries(
            title="Processes", width=12, unit="short", minimum=0,
            description="Processes in the tree. Workers come and go here; a number that only rises is a leak of "
            "processes.",
            queries=(Query(of_target("target_processes"), NAME, Colour.USED, Look.AREA),),
        ),
    ),
)  # fmt: skip
