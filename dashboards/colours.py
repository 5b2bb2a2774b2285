"""Colours by what they mean, the same on every dashboard.

They are those of Okabe and Ito (2008, "Color universal design"), chosen to differ for the colour-blind too; yellow is
left out, since it vanishes on a white page. `tests/unit/test_dashboard_colours.py` shows that they stay apart.
"""

from __future__ import annotations

from enum import StrEnum


class Colour(StrEnum):
    """A meaning, and its colour."""

    USED = "#56B4E9"
    """What is measured: memory, sizes, times."""
    GOOD = "#009E73"
    """As it should be: effective, reclaimed, hits."""
    WARNING = "#E69F00"
    """A level is held, a threshold, something was held back."""
    BAD = "#D55E00"
    """The limit, the highest level, a failure."""
    UNEXPLAINED = "#CC79A7"
    """What no component explains, what was only claimed."""
    DEEP = "#0072B2"
    """A second thing that is measured, beside the first."""
    NEUTRAL = "#6E6E6E"
    """Neither good nor bad: off, unknown, context."""
