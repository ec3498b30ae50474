from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditwire.delivery.backlog import Hold, Place
from auditwire.delivery.feed import ADVANCE_SECONDS, Feed
from auditwire.journal import Draft, MemoryJournal, Record
from auditwire.journal.parked import ParkedLog
from auditwire.journal.segment import SegmentDamaged
from support.journal_files import JournalFiles

if TYPE_CHECKING:
    from pathlib import Path

STREAM = "01a2084c-c3e5-7061-bb16-f33d4bf54187"
OTHER = "01a2084c-c3e5-7061-bb16-f33d4bf54188"


class Durable(MemoryJournal):
    """A journal that writes down what it is told of the marks."""

    durable = True

    def __init__(self) -> None:
        super().__init__()
        self.advanced: list[tuple[int, int]] = []

    def advance(self, low: int, listed: int) -> None:
        self.advanced.append((low, listed))


def feed(journal: MemoryJournal, stream: str = STREAM) -> Feed:
    return Feed(journal, stream, None, 0.0, Hold())


def fill(journal: MemoryJournal, count: int, kind: str = "error") -> None:
    for number in range(count):
        journal.append(Draft(kind, f"audit.{kind}", b"k", number, f"e{number}", None, b"h", b"t"))


def test_records_say_whose_they_are() -> None:
    journal = MemoryJournal()
    own = feed(journal)
    fill(journal, 2)
    assert [r.origin for r in own.take(512, 0.0)] == [own, own]


def test_a_record_counts_once_however_often_it_is_acknowledged() -> None:
    journal = MemoryJournal()
    own = feed(journal)
    fill(journal, 3)
    records = own.take(512, 1.0)
    assert (own.pending, own.waits, own.low) == (3, True, 0)
    assert own.acked(records[1:], 2.0) == 2
    assert own.acked(records, 3.0) == 1
    assert (own.pending, own.waits, own.low, own.done) == (0, False, 3, 3)
    assert journal.pending_bytes == 0
    assert own.progress_at == 3.0


def test_the_age_of_what_waits_is_that_of_its_batch() -> None:
    journal = MemoryJournal()
    own = feed(journal)
    assert own.oldest_seconds(9.0) == 0.0
    fill(journal, 2)
    first = own.take(1, 1.0)
    own.take(1, 4.0)
    assert own.oldest_seconds(9.0) == 8.0
    own.acked(first, 9.0)
    own.move(9.0)
    assert own.oldest_seconds(9.0) == 5.0


def test_a_withheld_record_is_done_when_what_stands_for_it_is_whoever_it_belongs_to() -> None:
    own_journal, other_journal = MemoryJournal(), MemoryJournal()
    own, other = feed(own_journal), feed(other_journal, OTHER)
    fill(other_journal, 1)
    fill(own_journal, 1, "quarantine")
    (withheld,) = other.take(512, 0.0)
    (statement,) = own.take(512, 0.0)
    own.stands_for[statement.sequence] = withheld
    assert other.low == 0
    own.acked([statement], 1.0)
    assert (own.low, other.low) == (1, 1)
    assert (own.control_done, other.control_done, other.done) == (1, 0, 1)


def test_a_statement_that_is_withheld_itself_hands_on_what_it_stood_for() -> None:
    journal = MemoryJournal()
    own = feed(journal)
    fill(journal, 1)
    fill(journal, 2, "quarantine")
    withheld, refused, accepted = own.take(512, 0.0)
    own.stands_for[1] = withheld
    own.stands_for[2] = refused
    own.acked([accepted], 1.0)
    assert own.low == 3
    assert own.stands_for == {}


def test_a_journal_on_disk_hears_of_the_marks_and_not_too_often() -> None:
    journal = Durable()
    own = feed(journal)
    fill(journal, 6)
    records = own.take(512, 0.0)
    own.checkpoint(3, 2)
    own.checkpoint(5, 5)
    own.move(0.0)
    assert journal.advanced == []
    own.acked(records[:3], 0.0)
    own.move(0.0)
    assert journal.advanced == [(3, 0)]
    own.acked(records[3:4], 0.0)
    own.move(ADVANCE_SECONDS / 2)
    assert len(journal.advanced) == 1
    own.move(ADVANCE_SECONDS)
    assert journal.advanced[1:] == [(4, 2)]
    own.acked(records[4:], 0.0)
    own.move(ADVANCE_SECONDS, last=True)
    assert journal.advanced[2:] == [(6, 5)]
    own.move(ADVANCE_SECONDS, last=True)
    assert len(journal.advanced) == 3


def test_a_journal_in_memory_has_nothing_to_move_or_read_again() -> None:
    journal = MemoryJournal()
    own = feed(journal)
    fill(journal, 1)
    own.acked(own.take(512, 0.0), 0.0)
    assert own.move(1.0) == 1
    journal.advance(1, 0)
    with pytest.raises(LookupError):
        journal.read(0)


def test_a_damaged_record_does_not_have_those_in_front_of_it_copied_again_and_again(tmp_path: Path) -> None:
    files = JournalFiles(tmp_path / "journal")
    stream = files.stream()
    own = feed(Durable())
    own.parked = ParkedLog(files.journal, stream.directory, {})
    damage = SegmentDamaged("checksum", "the third record was changed")

    def read(position: int) -> Record:
        if position == 2:
            raise damage
        draft = Draft("error", "audit.error", b"k", position, "e", None, b"h", b"t")
        return Record(position, *draft[:6], b"body", 80, bytes(8), position)

    own.journal.read = read  # type: ignore[method-assign]
    own.window.extend(4)
    places = [Place(own, sequence, sequence) for sequence in range(4)]
    assert sorted(own.park(places)) == [0, 1]
    assert len(own.parked) == 2
    with pytest.raises(SegmentDamaged, match="third"):
        own.park(places[2:])
    assert len(own.parked) == 2
    own.parked.close()
