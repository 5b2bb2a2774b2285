"""The watchdog itself: is it alive, in time, and does it see what it should?"""

from __future__ import annotations

from dashboards.alerts_row import FIRING
from dashboards.board import Board, Row
from dashboards.colours import Colour
from dashboards.panels import BarGauge, Stat, StateTimeline, TimeSeries
from dashboards.queries import Look, Query, increase, of_target, of_watchdog, rate, total_shown
from dashboards.scenarios import Scenario
from dashboards.tables import Column, Table

UP = of_watchdog("up")
SUPPRESSED = of_target("actions_suppressed_total")
RELOADED = of_watchdog("memory_watchdog_config_last_reload_successful")

NONE_IS_GOOD = ((None, Colour.GOOD), (1, Colour.BAD))

GLANCE = Row(
    "At a glance",
    (
        Stat(
            title="Watchdogs down", width=4, unit="short", steps=NONE_IS_GOOD,
            description="Watchdogs that Prometheus could not scrape. Nobody guards their targets. Should be 0.",
            queries=(Query(f"sum({UP} == bool 0)"),),
        ),
        Stat(
            title="Configs not read", width=4, unit="short", steps=NONE_IS_GOOD,
            description="Watchdogs whose last reload failed: they run on with the config that they had. Should be 0.",
            queries=(Query(f"sum({RELOADED} == bool 0)"),),
        ),
        Stat(
            title="Oldest look", width=4, unit="s", decimals=1,
            steps=((None, Colour.GOOD), (30, Colour.WARNING), (60, Colour.BAD)),
            description="Time since the target that was looked at longest ago was looked at, by Prometheus' clock: the "
            "scrape interval is part of it. More than a minute means that ticks are stuck.",
            queries=(Query(f"time() - min({of_target('target_last_observation_timestamp_seconds')})"),),
        ),
        Stat(
            title="State not saved", width=4, unit="short", instant=True, decimals=0, steps=NONE_IS_GOOD,
            description="Failed attempts to write the state file, over the time shown. What is not saved is forgotten "
            "at a restart: cooldowns, budget, pause.",
            queries=(Query(total_shown(f"sum({rate(of_watchdog('memory_watchdog_state_save_failures_total'))})")),),
        ),
        Stat(
            title="Most memory", width=4, unit="bytes", decimals=0,
            description="Resident memory of the largest watchdog. It does not grow with time; with every target it "
            "grows a little.",
            queries=(Query(f"max({of_watchdog('process_resident_memory_bytes')})"),),
        ),
        Stat(
            title="Most CPU", width=4, unit="percentunit", decimals=1,
            description="Share of one processor that the busiest watchdog uses. Some percent are normal while a target "
            "is near its limit, since it is then looked at ten times a second.",
            queries=(Query(f"max({rate(of_watchdog('process_cpu_seconds_total'))})"),),
        ),
    ),
)  # fmt: skip

TIME = Row(
    "Ticks",
    (
        TimeSeries(
            title="Time of a tick", width=12, unit="s", minimum=0,
            description="How long the last tick of each target took: reading, deciding, writing down. Milliseconds are "
            "normal. What may stall is read beside the tick and does not count.",
            queries=(Query(of_target("tick_duration_seconds"), "{{instance}} {{target}}"),),
        ),
        TimeSeries(
            title="Late ticks", width=12, unit="short", minimum=0, decimals=0,
            description="Ticks that began later than they should have. A few after a pause of the machine are normal; "
            "a steady number means that the watchdog does not get the processor time that it needs.",
            queries=(Query(increase(of_target("ticks_late_total")), "{{instance}} {{target}}", look=Look.BARS),),
        ),
        TimeSeries(
            title="Lag of the last look", width=12, unit="s", minimum=0,
            description="How old the last look at each target was when it was scraped. It lies between 0 and the "
            "target's interval; a line that climbs belongs to a target that is not looked at any more.",
            queries=(
                Query(
                    f"timestamp({of_target('target_up')})"
                    f" - {of_target('target_last_observation_timestamp_seconds')}",
                    "{{instance}} {{target}}",
                ),
            ),
        ),
        TimeSeries(
            title="Time of a scrape", width=12, unit="s", minimum=0,
            description="How long Prometheus waited for /metrics. A scrape reads nothing by itself, so it is short "
            "whatever the targets do.",
            queries=(Query(of_watchdog("scrape_duration_seconds"), "{{instance}}"),),
        ),
    ),
)  # fmt: skip

SOURCES = Row(
    "Sources and actions",
    (
        TimeSeries(
            title="Source errors", width=12, unit="short", minimum=0, decimals=0, stacked=True,
            description="Failed readings of process, cgroup and limit, by reason. What could not be read is unknown: "
            "nothing is decided on it. Some around a restart of the server are normal.",
            queries=(
                Query(
                    f"sum by (source, reason) ({increase(of_target('source_failures_total'))}) > 0",
                    "{{source}}: {{reason}}", look=Look.BARS, scenario=Scenario.RESTART,
                ),
            ),
        ),
        TimeSeries(
            title="Statistics errors", width=12, unit="short", minimum=0, decimals=0, stacked=True,
            description="Failed readings of the servers' own statistics, by reason. A timeout means busy, not down: "
            "memory is read on from the process.",
            queries=(
                Query(
                    f"sum by (reason) ({increase(of_target('stats_failures_total'))}) > 0",
                    "{{reason}}", look=Look.BARS, scenario=Scenario.RESTART,
                ),
            ),
        ),
        TimeSeries(
            title="Suppressed actions", width=12, unit="short", minimum=0, decimals=0, stacked=True,
            description="Wanted actions that were not sent, by reason: once a reason until something is sent or the "
            "level changes. cooldown and in_flight are everyday; budget, stale and no_limit want a look.",
            queries=(
                Query(
                    f"sum by (reason) ({increase(SUPPRESSED)}) > 0", "{{reason}}", look=Look.BARS,
                    scenario=Scenario.LEAK,
                ),
            ),
        ),
        BarGauge(
            title="Kernel events that are heard", width=6, unit="percentunit", instant=True, minimum=0, maximum=1,
            decimals=0,
            description="The share of targets for which each kind of kernel event brings the next look forward. Where "
            "one is refused the log says why; looks come at their interval all the same.",
            queries=(Query(f"avg by (source) ({of_target('kernel_events_armed')})", "{{source}}"),),
        ),
        TimeSeries(
            title="Kernel events", width=6, unit="short", minimum=0, decimals=0, stacked=True,
            description="Kernel events that brought a look forward: many of them mean that memory moves fast.",
            queries=(
                Query(
                    f"sum by (source) ({increase(of_target('kernel_events_total'))})", "{{source}}", look=Look.BARS,
                ),
            ),
        ),
        StateTimeline(
            title="Config reloads", width=24, height=6, unit="none",
            description="Whether each watchdog runs on the config that lies in its file.",
            texts={"1": ("read", Colour.GOOD), "0": ("could not be read", Colour.BAD)},
            queries=(Query(RELOADED, "{{instance}}"),),
        ),
    ),
)  # fmt: skip

ITSELF = Row(
    "Process",
    (
        TimeSeries(
            title="Memory", width=12, unit="bytes", minimum=0,
            description="Resident memory of each watchdog. It should be flat.",
            queries=(Query(of_watchdog("process_resident_memory_bytes"), "{{instance}}"),),
        ),
        TimeSeries(
            title="CPU", width=12, unit="percentunit", minimum=0,
            description="Share of one processor that each watchdog uses.",
            queries=(Query(rate(of_watchdog("process_cpu_seconds_total")), "{{instance}}"),),
        ),
        Table(
            title="Versions", width=12, height=7, unit="none", first="Open files",
            description="What runs where, with the open files of each: sockets and files in /proc that stay open.",
            queries=(
                Query(f"sum by (job, instance, version, python) ({of_watchdog('memory_watchdog_build_info')})"),
                Query(f"sum by (job, instance) ({of_watchdog('process_open_fds')})"),
                Query(f"time() - {of_watchdog('process_start_time_seconds')}"),
            ),
            columns=(
                Column("instance", "Instance", 190),
                Column("version", "Version", 100),
                Column("python", "Python", 90),
                Column("B", "Open files", 85, "short", decimals=0),
                Column("C", "Running for", 110, "s", decimals=1),
            ),
        ),
        TimeSeries(
            title="Open files", width=12, height=7, unit="short", minimum=0,
            description="Open files of each watchdog. A number that only rises is a leak of files.",
            queries=(Query(of_watchdog("process_open_fds"), "{{instance}}"),),
        ),
    ),
)  # fmt: skip

WATCHDOG = Board(
    name="watchdog",
    title="Memory watchdog / Watchdog",
    description="The watchdog itself: is it alive, is it in time, what could it not read, what did it hold back?",
    rows=(GLANCE, FIRING, TIME, SOURCES, ITSELF),
)
