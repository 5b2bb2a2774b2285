"""Labelled traces of a server's memory, made from a seed: what a forecast must and must not act on.

Covers: the shapes and their labels. Leaves to others: what is made of them (`benchmarks.forecast`, the tests).

A trace is one reading a second, in bytes, under a limit of 1 GiB. Leaks say when they begin and when they reach the
limit; a harmless one never comes near it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

LIMIT_BYTES = 2**30
_PERCENT = LIMIT_BYTES / 100


@dataclass(frozen=True, slots=True)
class Trace:
    """`used[i]` is what was used i seconds after the start; `restarts_at` are seconds at which the process was new."""

    name: str
    used: tuple[int, ...]
    begins_at: int | None = None
    reaches_limit_at: int | None = None
    restarts_at: tuple[int, ...] = ()

    @property
    def is_leak(self) -> bool:
        """Does it grow without end?"""
        return self.begins_at is not None


def harmless(seed: int) -> list[Trace]:
    """One trace of each harmless shape."""
    makers = (_flat, _noise, _sawtooth, _warm_up, _step, _page_cache_flood, _restart)
    return [maker(random.Random(f"{seed} {maker.__name__}")) for maker in makers]


def leaks(seed: int) -> list[Trace]:
    """One trace of each leak; each reaches the limit 5 minutes or more after it begins."""
    makers = (_slow_leak, _fast_leak, _leak_under_a_sawtooth)
    return [maker(random.Random(f"{seed} {maker.__name__}")) for maker in makers]


def _made(name: str, seconds: int, level: Callable[[int], float], noise: Callable[[], float]) -> Trace:
    """From percent of the limit at each second; noise is added in percent."""
    used = (max(1.0, level(second) + noise()) for second in range(seconds))
    return Trace(name, tuple(int(percent * _PERCENT) for percent in used))


def _wander(source: random.Random, amplitude: float) -> Callable[[], float]:
    """Noise that remembers itself and always comes back, as queries leave it."""
    state = 0.0

    def step() -> float:
        nonlocal state
        state = 0.95 * state + source.gauss(0, amplitude * math.sqrt(1 - 0.95**2))
        return state

    return step


def _flat(source: random.Random) -> Trace:
    base = source.uniform(45, 68)
    return _made("flat", 7200, lambda _: base, _wander(source, 0.05))


def _noise(source: random.Random) -> Trace:
    base = source.uniform(45, 58)
    return _made("noise", 7200, lambda _: base, _wander(source, source.uniform(1.5, 3.5)))


def _sawtooth(source: random.Random) -> Trace:
    """A collector's: grows, and falls back by itself."""
    base, height, period = source.uniform(35, 45), source.uniform(8, 22), source.uniform(20, 240)
    return _made("sawtooth", 7200, lambda second: base + height * ((second % period) / period), _wander(source, 0.3))


def _warm_up(source: random.Random) -> Trace:
    """Models that are loaded one after the other, each in a few seconds, then peace."""
    steps = [(source.uniform(5, 25), source.uniform(4, 14)) for _ in range(source.randint(3, 6))]
    begins, at = [], source.uniform(5, 40)
    for _ in steps:
        begins.append(at)
        at += source.uniform(30, 90)
    total = sum(height for _, height in steps)
    scale = min(1.0, 60 / total)

    def level(second: int) -> float:
        grown = 8.0
        for begin, (lasts, height) in zip(begins, steps, strict=True):
            grown += scale * height * min(1.0, max(0.0, (second - begin) / lasts))
        return grown

    return _made("warm-up", 3600, level, _wander(source, 0.2))


def _step(source: random.Random) -> Trace:
    base, height, at = source.uniform(25, 40), source.uniform(10, 28), source.uniform(300, 1200)
    lasts = source.uniform(1, 40)
    return _made(
        "step", 3600, lambda second: base + height * min(1.0, max(0.0, (second - at) / lasts)), _wander(source, 0.2)
    )


def _page_cache_flood(source: random.Random) -> Trace:
    """What a flood leaves in `unreclaimable`: slab that grows with the files read, and is taken back."""
    base, height, at = source.uniform(40, 55), source.uniform(3, 9), source.uniform(300, 900)
    lasts, stays = source.uniform(40, 300), source.uniform(100, 600)

    def level(second: int) -> float:
        if second < at + stays + lasts:
            return base + height * min(1.0, max(0.0, (second - at) / lasts))
        return base + height * max(0.0, 1 - (second - at - stays - lasts) / 30)

    return _made("page-cache flood", 3600, level, _wander(source, 0.2))


def _restart(source: random.Random) -> Trace:
    """A process that is replaced; each fills up to where it always stands."""
    stands, fills = source.uniform(45, 65), source.uniform(20, 120)
    period = source.randint(600, 1500)
    made = _made(
        "restart",
        5400,
        lambda second: 10 + (stands - 10) * (1 - math.exp(-(second % period) / fills)),
        _wander(source, 0.2),
    )
    return Trace(made.name, made.used, restarts_at=tuple(range(period, 5400, period)))


def _leak(
    name: str, calm: int, lasts: float, base: float, over: Callable[[int], float], source: random.Random
) -> Trace:
    def level(second: int) -> float:
        return base + (100 - base) * max(0.0, (second - calm) / lasts) + over(second)

    made = _made(name, calm + int(lasts * 1.05), level, _wander(source, 0.3))
    reaches = next(second for second, used in enumerate(made.used) if used >= LIMIT_BYTES)
    return Trace(name, made.used[: reaches + 1], begins_at=calm, reaches_limit_at=reaches)


def _slow_leak(source: random.Random) -> Trace:
    return _leak(
        "slow leak",
        int(source.uniform(300, 1800)),
        source.uniform(3600, 4 * 3600),
        source.uniform(20, 45),
        lambda _: 0.0,
        source,
    )


def _fast_leak(source: random.Random) -> Trace:
    return _leak(
        "fast leak",
        int(source.uniform(100, 1800)),
        source.uniform(310, 900),
        source.uniform(20, 45),
        lambda _: 0.0,
        source,
    )


def _leak_under_a_sawtooth(source: random.Random) -> Trace:
    height, period = source.uniform(6, 14), source.uniform(20, 90)
    return _leak(
        "leak under a sawtooth",
        int(source.uniform(300, 1200)),
        source.uniform(900, 3600),
        source.uniform(20, 40),
        lambda second: height * ((second % period) / period),
        source,
    )
