"""What was done about a target's memory, what it cost the users, and what else happened."""

from __future__ import annotations

from dashboards.board import Row
from dashboards.colours import Colour
from dashboards.panels import BarGauge, StateTimeline, TimeSeries
from dashboards.queries import AROUND, BY_TARGET, Look, Query, by_target, increase, of_target, rate, where
from dashboards.scenarios import Scenario
from dashboards.target_parts import AFTER_SECONDS, HIT_RATE, MISSES, NAME, RECENTLY_CLEANED

MINUTES = AFTER_SECONDS // 60
BUCKETS = f"sum by ({BY_TARGET}, level, le) ({rate(of_target('cleanup_duration_seconds_bucket'))})"

CLEANUPS = Row(
    "Cleanups",
    (
        TimeSeries(
            title="Reclaimed, and what was claimed", width=12, unit="bytes", minimum=0,
            description="Bars are what came back by measurement, points what the server said it freed. Points above "
            "their bars: the allocator keeps what was freed, or memory came straight back.",
            queries=(
                Query(
                    f"{increase(of_target('cleanup_reclaimed_bytes_total'))} > 0", f"reclaimed {{{{level}}}} {NAME}",
                    Colour.GOOD, Look.BARS, scenario=Scenario.SAWTOOTH,
                ),
                Query(
                    f"{increase(of_target('cleanup_claimed_bytes_total'))} > 0", f"claimed {{{{level}}}} {NAME}",
                    Colour.UNEXPLAINED, Look.POINTS, scenario=Scenario.SAWTOOTH,
                ),
            ),
        ),
        TimeSeries(
            title="Cleanups by trigger", width=12, unit="short", minimum=0, decimals=0,
            description="Requests sent, by what triggered them; and those that reclaimed too little or failed. "
            f"{AROUND} Few and effective is healthy; many and ineffective is a leak.",
            queries=(
                Query(
                    f"{by_target(increase(of_target('cleanups_total')), 'trigger')} > 0", f"{{{{trigger}}}} {NAME}",
                    Colour.USED, Look.BARS, scenario=Scenario.SAWTOOTH,
                ),
                Query(
                    f"{by_target(increase(of_target('cleanups_ineffective_total')))} > 0", f"ineffective {NAME}",
                    Colour.WARNING, Look.POINTS, scenario=Scenario.LEAK,
                ),
                Query(
                    f"{by_target(increase(of_target('cleanup_failures_total')))} > 0", f"failed {NAME}", Colour.BAD,
                    Look.POINTS, scenario=Scenario.FAILING,
                ),
            ),
        ),
        TimeSeries(
            title="Duration of cleanups", width=12, unit="s", minimum=0,
            description="How long the answers took, failures included: the median, and what nine of ten stayed below. "
            "Near the timeout the server is busy, and cleanups come too late.",
            queries=(
                Query(
                    f"histogram_quantile(0.5, {BUCKETS}) >= 0", f"median {{{{level}}}} {NAME}", Colour.USED,
                    Look.POINTS, scenario=Scenario.SAWTOOTH,
                ),
                Query(
                    f"histogram_quantile(0.9, {BUCKETS}) >= 0", f"90th percentile {{{{level}}}} {NAME}", Colour.WARNING,
                    Look.POINTS, scenario=Scenario.SAWTOOTH,
                ),
            ),
        ),
        TimeSeries(
            title="Cooldown", width=6, unit="s", minimum=0,
            description="How long each level waits between two cleanups. It doubles with each that did not help, and "
            "comes back with one that did.",
            queries=(Query(of_target("cooldown_seconds"), f"{{{{level}}}} {NAME}", Colour.USED),),
        ),
        TimeSeries(
            title="Budget", width=6, unit="short", minimum=0,
            description="Requests that the budget still allows. At 0 nothing is sent any more until the window has "
            "moved on; effective cleanups give their place back.",
            queries=(Query(of_target("budget_remaining"), f"remaining {NAME}", Colour.USED, Look.AREA),),
        ),
    ),
)  # fmt: skip

USERS = Row(
    "What the users notice",
    (
        TimeSeries(
            title="Hit rate", width=10, unit="percentunit", minimum=0, maximum=1,
            description="Hits as a share of all lookups, by component. Vertical lines are cleanups: how deep the rate "
            "falls after them, and how long it takes to come back, is what they cost the users.",
            queries=(Query(HIT_RATE, f"{{{{component}}}} {NAME}", Colour.DEEP),),
        ),
        BarGauge(
            title="Hit rate after cleanups and otherwise", width=7, unit="percentunit", minimum=0, maximum=1,
            decimals=0, reduce="mean",
            description=f"The mean hit rate of each component in the {MINUTES} minutes after a cleanup, and at all "
            "other times shown. The difference is what cleanups cost; where it is large, a gentler level or a higher "
            "threshold is better.",
            queries=(
                Query(
                    where(HIT_RATE, RECENTLY_CLEANED), "{{component}} after", Colour.WARNING,
                    scenario=Scenario.SAWTOOTH,
                ),
                Query(
                    f"{HIT_RATE} unless on ({BY_TARGET}) ({RECENTLY_CLEANED})", "{{component}} otherwise", Colour.GOOD,
                ),
            ),
        ),
        TimeSeries(
            title="Misses", width=7, unit="ops", minimum=0,
            description="Lookups that found nothing, a second, by component: each is work that the server does again.",
            queries=(Query(MISSES, f"{{{{component}}}} {NAME}"),),
        ),
    ),
)  # fmt: skip

STATISTICS = Row(
    "Statistics",
    (
        TimeSeries(
            title="Time of the statistics", width=8, unit="s", minimum=0,
            description="How long the last reading of the server's statistics took. It grows when the server is busy.",
            queries=(Query(of_target("stats_duration_seconds"), NAME, Colour.USED),),
        ),
        TimeSeries(
            title="Age of the statistics", width=8, unit="s", minimum=0,
            description="How long ago the statistics were last read well. It saws between 0 and their interval; what "
            "climbs further says that the server does not answer.",
            queries=(
                Query(f"time() - {of_target('stats_last_success_timestamp_seconds')}", NAME, Colour.USED),
            ),
        ),
        TimeSeries(
            title="Failed readings", width=8, unit="short", minimum=0, decimals=0, stacked=True,
            description="Failed readings of the statistics by reason. A timeout means busy, not down.",
            queries=(
                Query(
                    f"{by_target(increase(of_target('stats_failures_total')), 'reason')} > 0", f"{{{{reason}}}} {NAME}",
                    look=Look.BARS, scenario=Scenario.RESTART,
                ),
            ),
        ),
    ),
)  # fmt: skip

EVENTS = Row(
    "Events",
    (
        StateTimeline(
            title="Conditions", width=24, height=6, unit="none",
            description="Whether the process was found, the statistics answered, and nothing held actions back.",
            texts={
                "0": ("as it should be", Colour.GOOD), "1": ("nothing is sent", Colour.WARNING),
                "2": ("not found, not answering", Colour.BAD),
            },
            queries=(
                Query(f"2 * (1 - {of_target('target_up')})", f"process {NAME}"),
                Query(f"2 * (1 - {of_target('stats_up')})", f"statistics {NAME}"),
                Query(of_target("target_paused"), f"paused {NAME}"),
                Query(of_target("target_dry_run"), f"dry run {NAME}"),
            ),
        ),
        TimeSeries(
            title="Restarts, kills and suppressed actions", width=12, unit="short", minimum=0, decimals=0,
            description="New processes in the place of old ones, how often the watchdog was to end one as the last "
            "step and what became of it, processes that the kernel killed for memory, and wanted actions that were not "
            "sent, by reason.",
            queries=(
                Query(
                    f"{increase(of_target('target_restarts_total'))} > 0", f"restart {NAME}", Colour.DEEP, Look.BARS,
                    scenario=Scenario.RESTART,
                ),
                Query(
                    f"{by_target(increase(of_target('restart_actions_total')), 'outcome')} > 0",
                    f"last step: {{{{outcome}}}} {NAME}", Colour.BAD, Look.POINTS, scenario=Scenario.RESTART,
                ),
                Query(
                    increase(of_target("target_oom_kills_total")), f"killed for memory {NAME}", Colour.BAD, Look.BARS,
                ),
                Query(
                    f"{by_target(increase(of_target('actions_suppressed_total')), 'reason')} > 0",
                    f"suppressed: {{{{reason}}}} {NAME}", Colour.WARNING, Look.POINTS, scenario=Scenario.LEAK,
                ),
            ),
        ),
        TimeSeries(
            title="Failed cleanups", width=12, unit="short", minimum=0, decimals=0, stacked=True,
            description="Cleanup requests that failed or timed out, by level and reason.",
            queries=(
                Query(
                    f"{by_target(increase(of_target('cleanup_failures_total')), 'level', 'reason')} > 0",
                    f"{{{{level}}}}: {{{{reason}}}} {NAME}", look=Look.BARS, scenario=Scenario.FAILING,
                ),
            ),
        ),
    ),
)  # fmt: skip
