"""The words and tables of a replay, for a terminal.

Leaves to others: the figures (`figures`), the picture as a page (`page`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memory_watchdog.quantities import format_bytes, format_seconds
from memory_watchdog.replay.figures import Figures
from memory_watchdog.replay.model import Alternative
from memory_watchdog.replay.tape import Tape

CHART_ROWS = 8
_BLOCKS = " ▁▂▃▄▅▆▇█"


def moment(figures: Figures, at: float | None) -> str:
    """A time as people write it, in UTC."""
    if at is None:
        return "never"
    return f"{datetime.fromtimestamp(at + figures.wall_offset, UTC):%Y-%m-%d %H:%M:%S} UTC"


def print_tape(console: Console, tape: Tape, columns: Sequence[tuple[str, Figures]], made: Alternative | None) -> None:
    """Everything about one target. `columns` are the runs to be compared, each with its heading."""
    figures = columns[0][1]
    console.print(
        f"[bold]{tape.target}[/]: {moment(figures, figures.first_at)} to {moment(figures, figures.last_at)}, "
        f"{figures.looks:,} looks in {format_seconds(figures.seconds)}"
    )
    if tape.settings is not None:
        _print_verdict(console, tape)
    if made is not None and tape.unmeasured:
        others = (
            "the median of the others is taken" if tape.unmeasured < len(tape.effects) else "nothing is known of it"
        )
        console.print(f"what {tape.unmeasured} of {len(tape.effects)} cleanups gave back was not measured: {others}")
    if made is not None and tape.settings is not None:
        if made.differs_at is None:
            console.print("with the other settings: the same decisions throughout; nothing is modelled")
        else:
            at = moment(figures, made.differs_at)
            console.print(f"first difference at {at}: {made.difference}; figures after it are a model")
    elif made is not None:
        console.print("the past has no decisions of its own: all figures are a model")
    for wall, text in tape.events:
        when = f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M:%S} UTC"
        console.print(f"{when} {text}", highlight=False, markup=False)
    console.print(_table(columns))
    for name, one in columns:
        console.print(_chart(name, one, max(20, min(console.width, 100) - 12)))


def _print_verdict(console: Console, tape: Tape) -> None:
    count = len(tape.decided)
    if tape.differing:
        console.print(f"[bold red]{tape.differing} steps decide otherwise than was recorded[/]")
    else:
        console.print(f"{count} decisions, the same again bit for bit")
    if tape.missing:
        console.print(f"{tape.missing} lines are missing in the recording")


def _table(columns: Sequence[tuple[str, Figures]]) -> Table:
    table = Table("", *(name for name, _ in columns))
    for column in table.columns[1:]:
        column.justify = "right"
    runs = [figures for _, figures in columns]
    for level, trigger in sorted({action for one in runs for action in one.actions}):
        table.add_row(f"cleanups at {level}, {trigger}", *(str(one.actions[level, trigger]) for one in runs))
    table.add_row("cleanups in all", *(str(sum(one.actions.values())) for one in runs))
    if any(one.restarts for one in runs):
        table.add_row("ends of the process", *(str(one.restarts) for one in runs))
    for reason in sorted({reason for one in runs for reason in one.suppressed}):
        table.add_row(f"held back: {reason}", *(str(one.suppressed[reason]) for one in runs))
    for name in dict.fromkeys(level.name for one in runs for level in one.settings.levels):
        table.add_row(f"time above enter of {name}", *(_above(one, name) for one in runs))
    table.add_row("nearest approach to the limit", *(_nearest(one) for one in runs))
    return table


def _above(figures: Figures, name: str) -> str:
    level = next((level for level in figures.settings.levels if level.name == name), None)
    if level is None:
        return "no such level"
    times = [above.get(name, 0.0) for above in figures.above_seconds]
    share = f", {100 * times[0] / figures.seconds:.1f}%" if figures.seconds else ""
    return f"{_time(times[0])}{share} ({level.enter}){_range([_time(value) for value in times])}"


def _time(seconds: float) -> str:
    return format_seconds(seconds) if seconds else "0s"


def _nearest(figures: Figures) -> str:
    if figures.nearest_at is None:
        return "no limit was known"
    return f"{100 * figures.nearest[0]:.1f}%{_range([f'{100 * share:.1f}%' for share in figures.nearest])}"


def _range(values: Sequence[str]) -> str:
    """` [low to high]`: the first value is the run itself, the two behind it are the ends, the higher first."""
    if len(values) < 3 or values[1] == values[2]:
        return ""
    return f" [{values[2]} to {values[1]}]"


def _chart(name: str, figures: Figures, width: int) -> Text:
    """The highest of each column as blocks, from 0 to the limit (to the highest where none is known)."""
    columns = figures.series.columns
    text = Text(f"\nused, {name}\n")
    if not columns:
        return text.append("no known reading\n")
    highest = max(column.highest for column in columns)
    top = max([highest, *(column.limit for column in columns if column.limit)])
    begins, span = columns[0].at, max(columns[-1].at - columns[0].at, 1e-9)
    peaks = [0.0] * width
    for column in columns:
        place = min(int(width * (column.at - begins) / span), width - 1)
        peaks[place] = max(peaks[place], column.highest)
    for place in range(1, width):
        peaks[place] = peaks[place] or peaks[place - 1]  # seldom looks: it stays until it is seen again
    edges = {f"{level.name}": level.enter.of(int(top)) for level in figures.settings.levels}
    for row in range(CHART_ROWS, 0, -1):
        low, high = top * (row - 1) / CHART_ROWS, top * row / CHART_ROWS
        label = next((name for name, enter in edges.items() if enter is not None and low <= enter < high), "")
        cells = (max(0.0, min(1.0, (peak - low) / (high - low))) for peak in peaks)
        shade = "red" if label == figures.settings.levels[-1].name else "yellow" if label else "green"
        text.append(f"{(format_bytes(high) if row == CHART_ROWS else label):>10} ")
        text.append("".join(_BLOCKS[round(8 * cell)] for cell in cells) + "\n", style=shade)
    return text
