"""Ask a component without ever being stopped by it: it may raise, hang or answer nonsense.

Covers: one call in a thread of its own with a deadline, checking what came back, saying what went wrong.
Leaves to others: which components there are and what is done with their answers (`manager`).

A thread cannot be ended from outside. What hangs is left behind in its daemon thread, and its component counts as busy
until it returns: it is asked nothing of that kind meanwhile, and reported with that error.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields

from memory_watchdog_kit.component import (
    Cleaned,
    Component,
    ComponentCleanup,
    ComponentReport,
    Expiring,
    Level,
    Statistics,
)
from memory_watchdog_kit.pacing import pause_after

log = logging.getLogger(__name__)

MOST = 2**53
"""The largest number that is believed: 9 PB, from where on readers of JSON no longer see every integer."""

_STEPS_DEADLINES = 10
"""A cleanup in steps has its deadline for each step, and this many deadlines altogether: it may never end."""


class _Call:
    """A function that runs in a daemon thread; whoever waits for it does so only while it gets on."""

    def __init__(self, function: Callable[[_Call], None], thread_name: str) -> None:
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self._function = function
        self._moved = threading.Condition()
        self._moves = 0
        self._ended = False
        self._thread_name = thread_name

    def run(self, seconds: float, altogether_seconds: float) -> str | None:
        """Start it and wait. None when it has ended, else how it is late: no move for `seconds`, or never an end.

        Raises RuntimeError where the system gives no more threads.
        """
        threading.Thread(target=self._run, name=self._thread_name, daemon=True).start()
        end = time.monotonic() + altogether_seconds
        with self._moved:
            while not self._ended:
                moves = self._moves
                if time.monotonic() >= end:
                    return f"did not come to an end within {altogether_seconds:g} s"
                if not self._moved.wait_for(lambda moves=moves: self._ended or self._moves != moves, seconds):  # type: ignore[misc]
                    return f"did not come back within {seconds:g} s"
        return None

    def move(self) -> None:
        """It got on."""
        with self._moved:
            self._moves += 1
            self._moved.notify_all()

    @property
    def ended(self) -> bool:
        """Whether it has returned or raised."""
        with self._moved:
            return self._ended

    def _run(self) -> None:
        try:
            self._function(self)
        except BaseException as error:  # noqa: BLE001 - whatever a component raises is its report, SystemExit included
            self.error = error
        with self._moved:
            self._ended = True
            self._moved.notify_all()


class Guarded:
    """A registered component; its name is read once."""

    def __init__(self, component: Component) -> None:
        self.component = component
        self.name = component.name
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"a component is named {self.name!r}: it needs a text")
        self._hung: dict[str, _Call] = {}  # by what it was asked for

    def report(self, deadline_seconds: float) -> ComponentReport:
        """Its statistics, or why there are none."""
        answers: list[Statistics] = []
        call = _Call(lambda _: answers.append(self.component.statistics()), f"memory-statistics {self.name}")
        error = self._run(call, deadline_seconds, math.inf, "statistics")
        if error is None:
            error = mistake_in_statistics(answers[0])
        return ComponentReport(self.name, answers[0] if error is None else None, error)

    def clean(
        self, level: Level, target_bytes: int | None, deadline_seconds: float, between_steps: Callable[[], None]
    ) -> ComponentCleanup:
        """Have it cleaned, and say what that did, also up to where it went wrong."""
        return self._clean(lambda: self.component.cleanup(level, target_bytes), deadline_seconds, between_steps)

    def expire(self, deadline_seconds: float) -> ComponentCleanup | None:
        """Have it drop what is expired; None where it knows no such thing."""
        if not isinstance(self.component, Expiring):
            return None
        return self._clean(self.component.expire, deadline_seconds, lambda: None)

    def _clean(
        self,
        cleanup: Callable[[], Cleaned | Iterator[Cleaned]],
        deadline_seconds: float,
        between_steps: Callable[[], None],
    ) -> ComponentCleanup:
        done = [Cleaned()]
        call = _Call(lambda call: _drive(cleanup, done, call, between_steps), f"memory-cleanup {self.name}")
        error = self._run(call, deadline_seconds, deadline_seconds * _STEPS_DEADLINES, "cleanup")
        return ComponentCleanup(self.name, done[0], error)

    def _run(self, call: _Call, seconds: float, altogether_seconds: float, what: str) -> str | None:
        """Run it, and answer with what went wrong."""
        hung = self._hung.get(what)
        if hung is not None and not hung.ended:
            return f"busy: its {what} that was asked for earlier has not come back"
        try:
            late = call.run(seconds, altogether_seconds)
        except RuntimeError as error:
            return f"no thread for its {what}: {said(error)}"
        if late is not None:
            call.stop.set()
            self._hung[what] = call
            log.error("the %s of %s %s; it is busy until then", what, self.name, late)
            return f"its {what} {late}"
        if call.error is None:
            return None
        log.error("the %s of %s failed", what, self.name, exc_info=call.error)
        return said(call.error)


def _drive(
    cleanup: Callable[[], Cleaned | Iterator[Cleaned]],
    done: list[Cleaned],
    call: _Call,
    between_steps: Callable[[], None],
) -> None:
    """Run a cleanup to its end, and let the other threads run between its steps."""
    answer = cleanup()
    if isinstance(answer, Cleaned):
        done[0] = _believed(answer)
        return
    if not isinstance(answer, Iterator):
        raise TypeError(f"cleanup answered with {type(answer).__name__}: it must be Cleaned or yield it")
    started = time.perf_counter()
    for step in answer:
        done[0] = _believed(done[0] + _believed(step))
        call.move()
        if call.stop.is_set():
            return
        time.sleep(pause_after(time.perf_counter() - started))
        between_steps()
        started = time.perf_counter()


def _believed(cleaned: object) -> Cleaned:
    if not isinstance(cleaned, Cleaned):
        raise TypeError(f"cleanup answered with {type(cleaned).__name__}: it must be Cleaned or yield it")
    for name in ("items_removed", "bytes_freed"):
        if (mistake := _mistake(name, getattr(cleaned, name))) is not None:
            raise ValueError(mistake)
    return cleaned


def mistake_in_statistics(statistics: object) -> str | None:
    """What in them cannot be: another type, a negative number, one above `MOST`, neither bytes nor items."""
    if not isinstance(statistics, Statistics):
        return f"statistics answered with {type(statistics).__name__}: it must be Statistics"
    for field in fields(Statistics):
        value = getattr(statistics, field.name)
        if value is None:
            continue
        mistake = _mistake_in_time(value) if field.name == "refill_seconds" else _mistake(field.name, value)
        if mistake is not None:
            return mistake
    if statistics.bytes is None and statistics.items is None:
        return "statistics know neither bytes nor items"
    return None


def _mistake(name: str, value: object) -> str | None:
    if type(value) is not int:  # a bool is an int too, and numpy's integers do not go into JSON
        return f"{name} is a {type(value).__name__}: it must be an int"
    return None if 0 <= value <= MOST else f"{name} is {value:.6g}: it must be between 0 and 2^53"


def _mistake_in_time(value: object) -> str | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return f"refill_seconds is a {type(value).__name__}: it must be a float"
    return None if 0 <= value < math.inf else f"refill_seconds is {value}: it must be finite and not negative"


def said(error: BaseException) -> str:
    """An exception in one short text; its own text may raise too."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001
        text = "(its text cannot be read)"
    return f"{type(error).__name__}: {text}"[:500]
