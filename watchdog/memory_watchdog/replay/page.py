"""The picture of a replay as one HTML file that needs nothing else: SVG in the page, no script, nothing loaded.

Leaves to others: the figures (`figures`), the same in a terminal (`report`).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from memory_watchdog.quantities import format_bytes
from memory_watchdog.replay.figures import Figures
from memory_watchdog.replay.report import moment

_WIDTH, _HEIGHT, _LEFT, _TOP = 1000, 300, 80, 10
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --used: #1f77b4; --edge: #b35900; --limit: #c00000 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #14171a; --used: #6db3f2; --edge: #f0a860; --limit: #ff7b72 }
}
body { color: var(--ink); background: var(--paper); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 66rem; padding: 0 1rem }
svg { width: 100%; height: auto } text { fill: var(--ink); font-size: 12px }
.used { fill: var(--used); stroke: var(--used) } .edge { stroke: var(--edge) } .limit { stroke: var(--limit) }
.cleanup { stroke: var(--edge); stroke-dasharray: 3 3 }
"""


def page(title: str, charts: Sequence[tuple[str, Figures]], words: str) -> str:
    """The whole file. `words` is the report as plain text; `charts` are runs with their headings."""
    drawn = "\n".join(f"<h2>{escape(name)}</h2>\n{_svg(name, figures)}" for name, figures in charts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{drawn}\n<h2>Figures</h2>\n<pre>{escape(words)}</pre>\n</body></html>\n"
    )


def _svg(name: str, figures: Figures) -> str:
    columns = figures.series.columns
    if not columns:
        return "<p>no known reading</p>"
    top = 1.02 * max([column.highest for column in columns] + [column.limit for column in columns if column.limit])
    begins, span = columns[0].at, max(columns[-1].at - columns[0].at, 1e-9)

    def x(at: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - 10) * (at - begins) / span, 1)

    def y(used: float) -> float:
        return round(_TOP + _HEIGHT * (1 - used / top), 1)

    upper = " ".join(f"{x(column.at)},{y(column.highest)}" for column in columns)
    lower = " ".join(f"{x(column.at)},{y(column.lowest)}" for column in reversed(columns))
    parts = [f'<polygon class="used" fill-opacity=".35" points="{upper} {lower}"/>']
    parts += [f'<polyline class="used" style="fill:none" points="{upper}"/>']
    limit = next((column.limit for column in reversed(columns) if column.limit), None)
    lines = [(f"enter of {level.name}", level.enter.of(limit), "edge") for level in figures.settings.levels]
    lines.append(("limit", limit, "limit"))
    for label, size, kind in lines:
        if size is not None and size <= top:
            parts.append(
                f'<line class="{kind}" x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{y(size)}" y2="{y(size)}"/>'
                f'<text x="{_LEFT + 4}" y="{y(size) - 3}">{escape(label)}, {format_bytes(size)}</text>'
            )
    for at, level in figures.cleanups[-400:]:
        parts.append(
            f'<line class="cleanup" x1="{x(at)}" x2="{x(at)}" y1="{_TOP}" y2="{_TOP + _HEIGHT}">'
            f"<title>{escape(level)}, {moment(figures, at)}</title></line>"
        )
    below = _TOP + _HEIGHT + 18
    parts.append(f'<text x="{_LEFT}" y="{below}">{moment(figures, columns[0].at)}</text>')
    parts.append(f'<text x="{_WIDTH - 10}" y="{below}" text-anchor="end">{moment(figures, columns[-1].at)}</text>')
    parts.append(f'<text x="4" y="{_TOP + 12}">{format_bytes(top)}</text><text x="4" y="{_TOP + _HEIGHT}">0</text>')
    box = f'viewBox="0 0 {_WIDTH} {_TOP + _HEIGHT + 28}"'
    return f'<svg {box} role="img" aria-label="used memory over time, {escape(name)}">{"".join(parts)}</svg>'
