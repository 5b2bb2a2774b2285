"""One target: the story of a server's memory, and of what was done about it."""

from __future__ import annotations

from dashboards.alerts_row import FIRING
from dashboards.board import Annotation, Board
from dashboards.colours import Colour
from dashboards.queries import Query
from dashboards.scenarios import Scenario
from dashboards.target_cleanups import CLEANUPS, EVENTS, STATISTICS, USERS
from dashboards.target_memory import COMPONENTS, GROWTH, KINDS, MEMORY, NOW
from dashboards.target_parts import LAST_CLEANUP, NAME, START

ANNOTATIONS = (
    Annotation(
        "Cleanups",
        Query(f"{LAST_CLEANUP} * 1000", colour=Colour.GOOD, scenario=Scenario.SAWTOOTH),
        "Cleanup {{level}}", NAME,
    ),
    Annotation(
        "New processes",
        Query(f"{START} * 1000", colour=Colour.DEEP, scenario=Scenario.RESTART),
        "New process", NAME,
    ),
)  # fmt: skip

TARGET = Board(
    name="target",
    title="Memory watchdog / Target",
    description="The story of one server: its memory, limit and levels, its cleanups and what they cost the users.",
    rows=(NOW, FIRING, MEMORY, CLEANUPS, COMPONENTS, GROWTH, KINDS, USERS, STATISTICS, EVENTS),
    annotations=ANNOTATIONS,
    one_target=True,
)
