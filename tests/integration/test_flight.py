"""The flight recorder of a watchdog that is killed: the next one says what the server was doing."""

from __future__ import annotations

import signal
from pathlib import Path

from memory_watchdog.flight.ring import read_flight

from tests.support.target import running_target
from tests.support.wait import eventually
from tests.support.watchdog import command, config, running_watchdog


def test_it_survives_sigkill_and_the_next_start_tells_of_it(tmp_path: Path) -> None:
    state = f"--state-file={tmp_path / 'state.json'}"
    with running_target() as target:
        with running_watchdog(tmp_path, config(target.url), state) as first:
            target.control(grow=60)
            first.ticks(10)
            seen = first.metrics().value("target_used_bytes")
            assert seen is not None
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(10)
        (ring,) = tmp_path.glob("flight-*.ring")
        last = read_flight(ring).looks[-1]
        assert abs(last.used - seen) < 0.1 * seen
        with running_watchdog(tmp_path, config(target.url), state) as second:
            told = second.wait_for("before the last end")["flight"]
            assert told.startswith("last seen at ")
            assert "of 400 MiB, level none" in told

            def exported() -> bool:
                return '"kind":"flight"' in second.get("/api/v1/events").text.replace('": "', '":"')

            eventually(exported, what="the event")
        (last_file,) = tmp_path.glob("flight-*.last")
    done = command("replay", str(last_file), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "process: the target was found: pid " in done.stdout
    assert "nearest approach to the limit" in done.stdout


def test_without_a_state_file_it_is_off_and_this_is_said(tmp_path: Path) -> None:
    with running_target() as target, running_watchdog(tmp_path, config(target.url)) as watchdog:
        assert any("flight recorder, evidence and incidents are off" in line["msg"] for line in watchdog.lines)
        watchdog.ticks()
    assert not list(tmp_path.glob("flight-*"))
