"""The flight recorder's file: what is written is read again, what is torn is passed over, hostile files are refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_watchdog.flight.recorder import FlightRecorder, file_name
from memory_watchdog.flight.ring import (
    EVENTS,
    FILE_BYTES,
    LOOKS,
    UNKNOWN,
    EventRecord,
    Flight,
    LookRecord,
    NoFlight,
    Slots,
    header,
    is_flight,
    read_flight,
)
from memory_watchdog.flight.summary import summary
from memory_watchdog.flight.writer import File, FlightWriter
from memory_watchdog.ledger import Happening

from tests.support.wait import eventually
from tests.unit.ladder.simulator import observe

MIB = 1 << 20


def look(at: float, used: int = 100 * MIB, **changes: int | float) -> LookRecord:
    made = LookRecord(at, 1.79e9 + at, used, 400 * MIB, used, used, UNKNOWN, UNKNOWN, 0, -1.0, 0)
    return made._replace(**changes)  # type: ignore[arg-type]


def written(path: Path, looks: list[LookRecord], events: list[EventRecord]) -> None:
    slots = Slots()
    with path.open("wb") as file:
        file.write(header({"target": "t", "levels": ["normal", "aggressive"]}))
        for content, at in [*map(slots.look, looks), *map(slots.event, events)]:
            file.seek(at)
            file.write(content)


numbers = st.integers(-1, 2**62)
looks = st.builds(
    LookRecord,
    st.floats(0, 1e9), st.floats(0, 1e10), numbers, numbers, numbers, numbers, numbers, numbers, numbers,
    st.floats(-1, 1e9), st.integers(0, 60),
)  # fmt: skip


@given(st.lists(looks, max_size=20), st.lists(st.text(max_size=700), max_size=5))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, some: list[LookRecord], texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("flight") / "f"
    written(path, some, [EventRecord(1.5, "verdict", text) for text in texts])
    flight = read_flight(path)
    assert list(flight.looks) == some
    assert [event.kind for event in flight.events] == ["verdict"] * len(texts)
    for event, text in zip(flight.events, texts, strict=True):
        whole = text.encode(errors="replace").decode()
        assert event.text == whole or len(event.text.encode(errors="replace")) >= 460


def test_it_keeps_the_last_and_never_grows(tmp_path: Path) -> None:
    path = tmp_path / "f"
    written(
        path,
        [look(float(at)) for at in range(LOOKS + 50)],
        [EventRecord(float(at), "k", f"{at}") for at in range(EVENTS + 3)],
    )
    flight = read_flight(path)
    assert [one.taken_at for one in flight.looks] == [float(at) for at in range(50, LOOKS + 50)]
    assert [event.text for event in flight.events] == [str(at) for at in range(3, EVENTS + 3)]
    assert path.stat().st_size <= FILE_BYTES
    assert FILE_BYTES < MIB


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_torn_or_damaged_file_gives_what_is_whole_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flight") / "f"
    some = [look(float(at), used=at) for at in range(30)]
    written(path, some, [])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4096, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(4096, len(content)))])
    assert set(read_flight(path).looks) <= set(some)


@pytest.mark.parametrize("content", [b"", b"MWFLIGHT", b"x" * 9000, b"MWFLIGHT" + b"\xff" * 5000])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(NoFlight):
        read_flight(path)
    assert is_flight(path) == content.startswith(b"MWFLIGHT")
    with pytest.raises(NoFlight, match="No such file"):
        read_flight(tmp_path / "none")


def test_the_last_minutes_in_a_sentence() -> None:
    about = {"levels": ["normal", "aggressive"]}
    rising = tuple(look(float(at), (100 + at) * MIB, answered_at=10.0) for at in range(200))
    last = rising[-1]._replace(level=2, components=40 * MIB, oom_kills=2)
    said = summary(Flight(about, (*rising[:-1], last), (EventRecord(1.79e9 + 190, "verdict", "ineffective: 0 B"),)))
    assert said == (
        "last seen at 2026-09-21 14:16:39 UTC: used 299 MiB, 74.8% of 400 MiB, level aggressive; it rose by 60.0 MiB "
        "in the last 1m; components reported 40.0 MiB of it; the kernel killed 2 processes of it for memory; the "
        "server had answered nothing for 3m9s; verdict 9s before: ineffective: 0 B"
    )
    assert summary(Flight({}, (), ())) is None
    assert summary(Flight({}, (look(1.0, UNKNOWN),), ())) is None
    only = summary(Flight({}, (look(1.0, 10, limit=UNKNOWN),), ()))
    assert only == "last seen at 2026-09-21 14:13:21 UTC: used 10 B, level none"


def test_each_target_has_a_file_of_its_own_whatever_it_is_called() -> None:
    names = ["a", "a/b", "a b", "../../etc/passwd", "ü" * 300, "a-b"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    assert all("/" not in file and len(file) < 120 and file.isascii() for file in files)


def test_a_second_start_tells_of_the_first_and_keeps_its_file(tmp_path: Path) -> None:
    writer = FlightWriter()
    first = FlightRecorder(tmp_path, "t", ["normal"], writer)
    first.begin()
    assert first.told() is None
    for at in range(100):
        first.look(observe(float(at), 20 + at / 10), 1.79e9 + at, "none")
    first.event(Happening(1.79e9 + 50, "level", "none -> normal"))
    first.close()
    writer.close()
    writer = FlightWriter()
    second = FlightRecorder(tmp_path, "t", ["normal"], writer)
    second.begin()
    told = second.told()
    assert told is not None
    assert "used 29.9 MiB, 29.9% of 100 MiB, level none; it rose by 6.00 MiB in the last 1m" in told
    assert "level 49s before: none -> normal" in told
    second.close()
    writer.close()
    assert len(read_flight(second.last).looks) == 100


def test_a_disk_that_is_full_is_one_problem_and_no_exception() -> None:
    writer, file = FlightWriter(), File(Path("/dev/full"))
    writer.write(file, b"x", 0)
    eventually(lambda: file.problem, what="the problem")
    assert file.problem == "/dev/full: No space left on device"
    writer.write(file, b"y", 0)
    writer.close()


def test_a_link_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    """Whoever may write in the folder must not have us write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "link").symlink_to(victim)
    writer, file = FlightWriter(), File(tmp_path / "link")
    writer.write(file, b"x", 0)
    eventually(lambda: file.problem, what="the problem")
    writer.close()
    assert victim.read_text() == "precious"


def test_many_looks_side_by_side_with_a_slow_disk_lose_some_and_block_nobody(tmp_path: Path) -> None:
    pick, writer, file = random.Random(1), FlightWriter(), File(tmp_path / "f")
    for _ in range(30_000):
        writer.write(file, pick.randbytes(8), pick.randrange(4096))
    writer.close_file(file)
    writer.close()
    assert file.problem is None
