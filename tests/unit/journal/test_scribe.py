"""The thread of a collector without a Kafka client, one round at a time."""

from __future__ import annotations

import errno
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.events import CheckpointEvent, ErrorEvent, LossEvent
from auditwire.ids import uuid7
from auditwire.journal.cursor import Cursor
from auditwire.journal.disk import DiskJournal
from auditwire.journal.drafter import Drafter
from auditwire.journal.layout import JournalPath
from auditwire.journal.notes import Notes
from auditwire.journal.reader import StreamReader
from auditwire.journal.scribe import Scribe
from auditwire.stream import CHECKPOINT_RECORDS, CHECKPOINT_SECONDS, HEARTBEAT_SECONDS, Ledger, entries_of
from auditwire.wire import FastavroEncoder, decode, frame_single_object
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from auditwire.events import AuditEvent

PATH = "/journal"


class Stream:
    """A stream on a simulated disk, with the scribe that sees to it; time and sleep are the test's."""

    def __init__(self, fs: SimulatedFileSystem | None = None, **settings: Any) -> None:
        self.fs = fs or SimulatedFileSystem()
        self.now = 1_000.0
        self.slept: list[float] = []
        self.stream_id = uuid7()
        self.notes = Notes()
        self.drafter = Drafter(self.stream_id, FastavroEncoder(), "audit")
        options = {"on_full": "drop_newest", "sends": False, "monotonic": lambda: self.now, **settings}
        self.journal = DiskJournal(JournalPath(self.fs, PATH), self.stream_id, {}, **options)
        self.scribe = Scribe(
            self.journal,
            self.drafter,
            Ledger(trail="audit"),
            self.notes,
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def open(self) -> Stream:
        self.scribe.open()
        return self

    def emit(self, count: int) -> None:
        for number in range(count):
            self.journal.append(self.drafter.draft(ErrorEvent(error_message=str(number))))

    def settle(self) -> None:
        while self.scribe.step() and not self.scribe.finished:
            continue

    def events(self) -> list[tuple[int, AuditEvent]]:
        """What another process reads of the stream."""
        reader = StreamReader(
            self.fs, self.journal.path.open_stream(self.stream_id), live=lambda: True, moves=False
        )
        found = []
        while batch := reader.take(512):
            found += [(r.sequence, decode(frame_single_object(r.fingerprint, r.body)).event) for r in batch]
        reader.close()
        return found

    def checkpoints(self) -> list[CheckpointEvent]:
        return [event for _, event in self.events() if isinstance(event, CheckpointEvent)]


def test_record_0_is_the_opening_checkpoint() -> None:
    stream = Stream().open()
    stream.emit(1)
    (first, opening), (second, event) = stream.events()
    assert (first, second) == (0, 1)
    assert isinstance(opening, CheckpointEvent)
    assert opening.reason == "open"
    assert isinstance(event, ErrorEvent)
    assert stream.scribe.written == 1


def test_every_record_is_listed_after_a_thousand_ten_seconds_or_a_minute() -> None:
    stream = Stream().open()
    stream.emit(CHECKPOINT_RECORDS)
    stream.settle()
    stream.emit(3)
    stream.settle()
    stream.now += CHECKPOINT_SECONDS
    stream.settle()
    stream.now += HEARTBEAT_SECONDS
    stream.settle()
    checkpoints = stream.checkpoints()
    assert [c.reason for c in checkpoints] == ["open", "interval", "interval", "heartbeat"]
    listed = [sequence for c in checkpoints for sequence, _, _ in entries_of(c)]
    assert listed == list(range(len(listed)))
    assert len(listed) == 1 + CHECKPOINT_RECORDS + 3 + 2  # all but the last checkpoint itself


def test_events_that_were_refused_are_declared() -> None:
    stream = Stream().open()
    for _ in range(7):
        stream.notes.lost("journal_full")
    stream.settle()
    (loss,) = [event for _, event in stream.events() if isinstance(event, LossEvent)]
    assert (loss.count, loss.reason) == (7, "journal_full")
    assert stream.scribe.written == 2


def test_a_checkpoint_says_how_far_the_process_that_delivers_has_come() -> None:
    stream = Stream().open()
    stream.emit(5)
    stream.settle()
    assert stream.scribe.acknowledged() == 0  # nobody delivered anything yet
    cursor = Cursor.open(
        stream.fs, stream.journal.path.open_stream(stream.stream_id).cursor_path, writable=True
    )
    cursor.write(4, 0, 0)
    stream.now += CHECKPOINT_SECONDS
    stream.settle()
    cursor.write(7, 6, 0)
    stream.emit(1)
    stream.settle()
    stream.now += CHECKPOINT_SECONDS
    stream.settle()
    assert [c.acknowledged for c in stream.checkpoints()] == [0, 4, 7]


@pytest.mark.parametrize("operation", ["open", "read"])
def test_a_cursor_that_cannot_be_read_claims_less_and_keeps_no_file_open(operation: str) -> None:
    stream = Stream().open()
    path = stream.journal.path.open_stream(stream.stream_id).cursor_path
    cursor = Cursor.open(stream.fs, path, writable=True)
    cursor.write(1, 0, 0)
    cursor.close()
    stream.fs.fail(operation, errno.EIO, path)
    assert stream.scribe.acknowledged() == 0
    assert stream.scribe.acknowledged() == 1
    assert not [file for file in stream.fs._files if file.path == path and not file._closed]


def test_an_opening_that_found_no_room_comes_before_the_first_event_once_there_is_room() -> None:
    fs = SimulatedFileSystem()
    JournalPath(fs, PATH)
    fs.fail("mkdir", errno.ENOSPC, times=None)
    stream = Stream(fs).open()
    assert stream.scribe.acknowledged() == 0
    assert not stream.scribe.step()
    fs.heal()
    stream.now += 10
    stream.settle()
    stream.emit(1)
    assert [type(event) for _, event in stream.events()] == [CheckpointEvent, ErrorEvent]


def test_closing_declares_losses_lists_everything_and_ends() -> None:
    stream = Stream().open()
    stream.emit(1_200)
    stream.notes.lost("journal_full")
    stream.scribe.close(stream.now + 10)
    stream.scribe.run()
    assert stream.scribe.finished
    assert stream.now < 1_010
    events = [event for _, event in stream.events()]
    assert [type(event) for event in events].count(LossEvent) == 1
    closing = events[-1]
    assert isinstance(closing, CheckpointEvent)
    assert closing.reason == "close"
    listed = [sequence for c in stream.checkpoints() for sequence, _, _ in entries_of(c)]
    assert listed == list(range(len(events) - 1))
    assert stream.scribe.ended is None
    assert stream.scribe.parked == {}


def test_closing_ends_at_its_deadline_when_there_is_no_room_for_the_closing_checkpoint() -> None:
    stream = Stream().open()
    stream.emit(3)
    stream.fs.fail("create", errno.ENOSPC, "*.seg", times=None)
    while (
        stream.journal.append_control(stream.drafter.draft(ErrorEvent(error_message="x" * 50_000)))
        is not None
    ):
        continue
    while stream.journal.append_control(stream.drafter.draft(ErrorEvent())) is not None:
        continue
    stream.scribe.close(stream.now + 3)
    stream.scribe.run()
    assert stream.scribe.finished
    assert 1_003 <= stream.now < 1_010
    assert [c.reason for c in stream.checkpoints()] == ["open"]


def test_what_is_pending_is_what_a_loss_of_power_would_cost() -> None:
    stream = Stream().open()
    stream.emit(9)
    assert stream.scribe.pending == 10
    stream.journal.sync()
    assert stream.scribe.pending == 0


def test_a_round_that_fails_is_logged_once_in_a_row_and_the_thread_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = Stream().open()
    stream.emit(5)
    fault = stream.fs.fail("list", errno.EIO, f"{PATH}/{stream.stream_id}", times=3)
    stream.scribe.close(stream.now + 60)
    with caplog.at_level(logging.ERROR, "auditwire"):
        stream.scribe.run()
    assert fault.hits == 3
    assert [record.getMessage() for record in caplog.records] == ["the journal's thread stumbled and goes on"]
    assert [c.reason for c in stream.checkpoints()] == ["open", "close"]


def test_the_thread_sleeps_while_nothing_is_to_be_done_and_wakes_with_an_event() -> None:
    stream = Stream().open()
    thread = threading.Thread(target=stream.scribe.run)
    thread.start()
    for _ in range(100):
        stream.emit(1)
    mark = stream.journal.barrier()
    assert mark.wait(20)
    stream.scribe.close(stream.now + 60)
    thread.join(20)
    assert not thread.is_alive()
    assert [c.reason for c in stream.checkpoints()] == ["open", "close"]
    assert len(stream.events()) == 102
