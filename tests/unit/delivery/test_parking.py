"""Parked topics on a real journal of a few small segments, with a producer that does what a test says."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError
from test_sender import STREAM, World, error

from auditwire.delivery.adoption import Adoption
from auditwire.events import ErrorEvent, RecoveryEvent, TurnStartEvent
from auditwire.journal.disk import MIN_CAPACITY, DiskJournal
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from auditwire.journal.target import Target
from auditwire.wire import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.events import AuditEvent

NEXT = "01a2084c-c3e5-7061-bb16-f33d4bf54188"
TARGET = Target("broker:9092", "audit")
REFUSED = (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)


class Small:
    """A journal of eight megabytes at most, its sender, and what is said to it."""

    def __init__(self, path: Path, stream: str = STREAM) -> None:
        self.path = JournalPath(REAL, str(path))
        info = {"stream": stream, "target": TARGET.info()}
        self.journal = DiskJournal(
            self.path, stream, info, capacity=MIN_CAPACITY, on_full="drop_newest", sync="never"
        )
        self.world = World(journal=self.journal, stream=stream, adoption=Adoption(self.path, TARGET))
        self.world.sender.open()
        self.directory = Path(self.path.path, stream)

    def emit(self, *events: AuditEvent) -> None:
        for event in events:
            self.world.emit(event)

    def deliver(self, megabytes: float, prompt: int = 20_000) -> None:
        """So much of another topic, sent as it comes, with time passing."""
        for _ in range(int(megabytes * (1 << 20) / prompt / 10)):
            self.emit(*(TurnStartEvent(prompt_preview="x" * prompt, session_id="t") for _ in range(10)))
            self.world.rounds(2, seconds=0.5)

    @property
    def copies(self) -> list[str]:
        folder = self.directory / "parked"
        return sorted(file.name for file in folder.iterdir()) if folder.exists() else []

    @property
    def state(self) -> Any:
        return json.loads((self.directory / "state.json").read_bytes())

    def errors(self) -> list[str]:
        """The error events that arrived, in the order in which they did."""
        events = [decode(m.value()).event for m in self.world.log if m.topic == "audit.error"]
        return [event.error_type for event in events if isinstance(event, ErrorEvent)]

    def leave(self) -> None:
        """The process is gone."""
        self.world.sender._move_marks(last=True)
        adopter = self.world.sender.adopter
        assert adopter is not None
        adopter.close()
        self.journal.close(ended=None)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    made = Small(tmp_path / "journal")
    made.world.topics["audit.error"] = REFUSED
    yield made
    made.leave()


def names(count: int) -> list[str]:
    return [f"E{number}" for number in range(count)]


def test_a_short_refusal_copies_nothing(small: Small) -> None:
    small.emit(*(error(name, "s") for name in names(10)))
    small.deliver(1)
    assert small.copies == []
    small.world.topics["audit.error"] = (6, 0)
    small.world.rounds(10, seconds=5)
    assert small.errors() == names(10)


def test_a_long_refusal_cannot_fill_the_journal_with_what_others_have_delivered(small: Small) -> None:
    for part in range(10):
        small.emit(*(error(f"E{part * 10 + number}", "s") for number in range(10)))
        small.deliver(3)
    assert small.copies
    assert small.world.sender.health().lost == {}
    assert small.path.used() < MIN_CAPACITY
    assert small.world.sender.health().pending_records >= 100
    acknowledged = small.world.sender.low_water_mark
    small.world.topics["audit.error"] = (6, 0)
    small.world.rounds(20, seconds=5)
    assert small.errors() == names(100)
    assert small.world.sender.low_water_mark > acknowledged
    assert small.world.sender.pending == 0
    assert small.copies == []


def test_what_is_parked_holds_back_what_checkpoints_call_acknowledged(small: Small) -> None:
    small.emit(error("E0", "s"))
    small.deliver(30)
    assert small.copies
    assert small.world.sender.low_water_mark == 1


def test_the_next_process_sends_the_copies_and_the_rest(small: Small, tmp_path: Path) -> None:
    small.emit(*(error(name, "s") for name in names(20)))
    small.deliver(30)
    small.emit(*(error(f"E{number}", "s") for number in range(20, 30)))
    small.world.rounds(2)
    assert small.copies
    small.leave()
    following = Small(tmp_path / "journal", NEXT)
    following.world.rounds(60, seconds=1)
    assert following.errors() == names(30)
    assert not small.directory.exists()
    (statement,) = following.world.events(RecoveryEvent)
    assert statement.orphan_stream == STREAM
    following.leave()


def test_where_most_is_parked_nothing_is_copied(small: Small) -> None:
    for _ in range(30):
        small.emit(*(error("E", "s", error_message="x" * 20_000) for _ in range(10)))
        small.world.rounds(2, seconds=0.5)
    assert small.journal.pressure
    assert small.copies == []


def test_without_room_for_a_copy_the_records_stay_where_they_are(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(size: int) -> bool:
        return False

    small.emit(*(error(name, "s") for name in names(5)))
    small.deliver(2)
    monkeypatch.setattr(small.journal.budget, "room_for", refuse)
    monkeypatch.setattr(DiskJournal, "pressure", property(lambda journal: True))
    small.world.rounds(5, seconds=1)
    assert small.copies == []
    assert small.world.sender.health().faults > 0
    monkeypatch.undo()
    small.world.topics["audit.error"] = (6, 0)
    small.world.rounds(10, seconds=5)
    assert small.errors() == names(5)


def test_the_state_tells_what_is_parked_since_when_and_that_it_is_over(small: Small) -> None:
    assert not (small.directory / "state.json").exists()
    small.emit(error("E", "s"))
    small.world.rounds(5, seconds=1)
    parked = small.state["parked"]["audit.error"]
    assert "TOPIC_AUTHORIZATION_FAILED" in parked["reason"]
    assert parked["since"].startswith("2027-01-15T08:00:00")
    assert small.state["sender_pid"] > 0
    small.world.wall += 60_000
    small.world.rounds(5, seconds=1)
    assert small.state["parked"]["audit.error"] == parked
    small.world.topics["audit.error"] = (6, 0)
    small.world.rounds(10, seconds=5)
    assert small.state["parked"] == {}


def test_a_state_that_cannot_be_written_stops_nothing(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, state: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    assert small.journal.directory is not None
    monkeypatch.setattr(type(small.journal.directory), "write_state", full)
    small.emit(error("E", "s"))
    small.world.rounds(5, seconds=1)
    small.world.topics["audit.error"] = (6, 0)
    small.world.rounds(10, seconds=5)
    assert small.errors() == ["E"]
    assert small.world.sender.health().faults > 0
