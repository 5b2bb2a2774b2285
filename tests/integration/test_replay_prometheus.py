"""The past as a real Prometheus has it: asked for page by page, and replayed as a model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from memory_watchdog.cli import main
from memory_watchdog.replay.prometheus import MAX_POINTS, PrometheusError, pages, tape_from

from tests.support.prometheus import backfill, running_prometheus

BEGINS = 1_790_000_010
SECONDS = 6 * 3600
STEP = 15
MIB = 1 << 20


def used(at: int) -> int:
    """From 50 to 77 MiB in an hour, then a cleanup took 27."""
    return int((50 + 27 * (at % 3600) / 3600) * MIB)


def past() -> str:
    """Six hours of a target of 100 MiB, as its watchdog exported them."""
    lines: dict[str, list[str]] = {"used": [], "limit": [], "reclaimed": []}
    for at in range(0, SECONDS + 1, STEP):
        lines["used"].append(f'memory_watchdog_target_used_bytes{{target="t"}} {used(at)} {BEGINS + at}')
        lines["limit"].append(f'memory_watchdog_target_limit_bytes{{target="t"}} {100 * MIB} {BEGINS + at}')
        total = 27 * MIB * (at // 3600)
        lines["reclaimed"].append(
            f'memory_watchdog_cleanup_reclaimed_bytes_total{{target="t",level="normal"}} {total} {BEGINS + at}'
        )
    return (
        "# TYPE memory_watchdog_target_used_bytes gauge\n" + "\n".join(lines["used"])
        + "\n# TYPE memory_watchdog_target_limit_bytes gauge\n" + "\n".join(lines["limit"])
        + "\n# TYPE memory_watchdog_cleanup_reclaimed_bytes counter\n" + "\n".join(lines["reclaimed"])
        + "\n# EOF\n"
    )  # fmt: skip


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    backfill(folder, past())
    with running_prometheus(folder) as url:
        yield url


def test_every_point_comes_once_and_cleanups_are_found(prometheus: str) -> None:
    tape = tape_from(prometheus, "t", BEGINS, BEGINS + SECONDS, STEP)
    assert [look.used for look in tape.looks] == [used(at) for at in range(0, SECONDS + 1, STEP)]
    assert [look.now for look in tape.looks] == [float(BEGINS + at) for at in range(0, SECONDS + 1, STEP)]
    assert [effect.reclaimed_bytes for effect in tape.effects] == [27 * MIB] * 6
    assert tape.settings is None
    with pytest.raises(PrometheusError, match="no memory_watchdog_target_used_bytes of target 'other'"):
        tape_from(prometheus, "other", BEGINS, BEGINS + SECONDS, STEP)
    with pytest.raises(PrometheusError, match=r"does not answer as Prometheus does|answers 404"):
        tape_from(f"{prometheus}/elsewhere", "t", BEGINS, BEGINS + SECONDS, STEP)


def test_the_command_replays_it_as_a_model(prometheus: str, capsys: pytest.CaptureFixture[str]) -> None:
    span = ["--from", "2026-09-21T14:13:30+00:00", "--to", "2026-09-21T20:13:30+00:00"]
    assert main(["replay", "--prometheus", prometheus, "--target", "t", *span]) == 0
    printed = capsys.readouterr().out
    assert "all figures are a model" in printed
    assert "cleanups at normal" in printed
    assert "1,441 looks in 6h" in printed


def test_pages_meet_without_a_gap_and_without_a_point_twice() -> None:
    for points in (1, 2, MAX_POINTS, MAX_POINTS + 1, 3 * MAX_POINTS + 5):
        found = list(pages(1000.0, 1000.0 + 15 * (points - 1), 15))
        counted = [1000.0 + 15 * number for number in range(points)]
        asked = [at for first, last in found for at in counted if first <= at <= last]
        assert asked == counted
        assert all(round((last - first) / 15) < MAX_POINTS for first, last in found)
