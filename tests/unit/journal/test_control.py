from __future__ import annotations

import subprocess
import sys

from auditwire.events import AuditEvent, CheckpointEvent, ErrorEvent, LossEvent, QuarantineEvent
from auditwire.journal import MemoryJournal, Record
from auditwire.journal.budget import Budget
from auditwire.journal.control import LOSS_SECONDS, RETRY_SECONDS, Control
from auditwire.journal.drafter import Drafter
from auditwire.journal.layout import JournalPath
from auditwire.journal.notes import Notes
from auditwire.stream import CHECKPOINT_SECONDS, HEARTBEAT_SECONDS, Ledger, entries_of
from auditwire.wire import FastavroEncoder, decode, frame_single_object
from support.simulated_fs import SimulatedFileSystem

STREAM = "01a2084c-c3e5-7061-bb16-f33d4bf54187"


class Stream:
    """A journal, its control records, and what came out of it."""

    def __init__(self) -> None:
        self.journal = MemoryJournal()
        self.notes = Notes()
        self.drafter = Drafter(STREAM, FastavroEncoder(), "audit")
        self.listings: list[tuple[int, int]] = []
        self.acknowledged = 0
        self.records: list[Record] = []
        self.control = Control(
            self.journal,
            self.drafter,
            Ledger(trail="audit"),
            self.notes,
            acknowledged=lambda: self.acknowledged,
            on_checkpoint=lambda sequence, below: self.listings.append((sequence, below)),
        )

    def step(self, now: float, *events: AuditEvent) -> None:
        for event in events:
            self.journal.append(self.drafter.draft(event))
        self.control.step(now)
        taken = self.journal.take(10_000)
        self.control.digest(taken, now)
        self.records += taken

    def events(self) -> list[AuditEvent]:
        return [decode(frame_single_object(r.fingerprint, r.body)).event for r in self.records]

    def checkpoints(self) -> list[CheckpointEvent]:
        return [e for e in self.events() if isinstance(e, CheckpointEvent)]


def test_checkpoints_list_what_was_digested_and_say_how_far() -> None:
    stream = Stream()
    stream.step(0.0, ErrorEvent(), ErrorEvent())
    stream.acknowledged = 2
    stream.step(CHECKPOINT_SECONDS)
    opening, second = stream.checkpoints()
    assert (opening.reason, second.reason) == ("open", "interval")
    assert [sequence for sequence, _, _ in entries_of(second)] == [0, 1, 2]
    assert second.acknowledged == 2
    assert stream.listings == [(0, 0), (3, 3)]
    assert stream.control.written == 2


def test_a_control_record_is_not_younger_than_what_is_numbered_after_it() -> None:
    """Readers put records in the order of their times before that of their numbers."""
    stream = Stream()
    stream.step(0.0)
    stream.step(0.0, ErrorEvent(timestamp_us=4_000_000), ErrorEvent(timestamp_us=5_000_000))
    stream.step(CHECKPOINT_SECONDS, ErrorEvent(timestamp_us=6_000_000), ErrorEvent(timestamp_us=7_000_000))
    stream.step(2 * CHECKPOINT_SECONDS, ErrorEvent(timestamp_us=1 << 60))
    assert [e.event_type for e in stream.events()[3:]] == [
        "checkpoint",
        "error",
        "error",
        "checkpoint",
        "error",
    ]
    times = [e.timestamp_us for e in stream.events()]
    assert times[3] == times[4] == 6_000_000
    assert times[0] < times[6] < times[7], "the machine's time, where nothing older waits"


def test_losses_are_written_by_reason_and_once_in_a_while() -> None:
    stream = Stream()
    stream.step(0.0)
    stream.notes.lost("journal_full")
    stream.step(1.0)
    stream.notes.lost("encoding")
    assert stream.control.next_due(1.0) == LOSS_SECONDS
    stream.step(1.5)
    stream.step(1.0 + LOSS_SECONDS)
    losses = [e for e in stream.events() if isinstance(e, LossEvent)]
    assert [(e.reason, e.count) for e in losses] == [("journal_full", 1), ("encoding", 1)]


def test_without_room_a_checkpoint_is_tried_again_and_a_loss_is_kept() -> None:
    stream = Stream()
    append = stream.journal.append_control
    stream.journal.append_control = lambda draft: None  # type: ignore[method-assign]
    stream.notes.lost("journal_full")
    stream.step(10.0)
    assert stream.control.written == 0
    assert stream.control.next_due(10.0) == RETRY_SECONDS
    stream.journal.append_control = append  # type: ignore[method-assign]
    stream.step(10.5)
    assert stream.records == []
    stream.step(10.0 + RETRY_SECONDS)
    assert [type(e) for e in stream.events()] == [CheckpointEvent, LossEvent]


def test_nothing_is_written_before_the_opening_checkpoint() -> None:
    """A disk was full when the stream began: refused events are the first that there is to write down."""
    stream = Stream()
    accept, room = stream.journal.append_control, False
    stream.journal.append_control = lambda draft: accept(draft) if room else None  # type: ignore[method-assign]
    stream.notes.lost("journal_full")
    stream.step(0.0)
    assert stream.control.append(ErrorEvent()) is None
    room = True
    stream.step(max(LOSS_SECONDS, RETRY_SECONDS))
    assert [type(e) for e in stream.events()] == [CheckpointEvent, LossEvent]
    assert [c.reason for c in stream.checkpoints()] == ["open"]


def test_only_what_makes_room_may_exceed_the_bound() -> None:
    """A full journal whose reserve is used up, too."""
    stream = Stream()
    budget = Budget(JournalPath(SimulatedFileSystem(), "/journal"), 8 << 20, lambda: 0.0)
    assert budget.used == 0
    budget.allocated(8 << 20)
    stream.control = Control(
        stream.journal,
        stream.drafter,
        Ledger(trail="audit"),
        stream.notes,
        acknowledged=lambda: stream.acknowledged,
        budget=budget,
    )
    accept = stream.journal.append_control
    stream.journal.append_control = (  # type: ignore[method-assign]
        lambda draft: accept(draft) if budget.room_for(1 << 20) else None
    )
    stream.step(0.0)
    assert stream.control.append(LossEvent()) is None
    assert stream.control.append(QuarantineEvent(), frees=True) == 1
    stream.step(1.0)
    stream.step(1.0 + CHECKPOINT_SECONDS, ErrorEvent())
    assert stream.control.written == 2
    stream.acknowledged = 1
    stream.step(2.0 + CHECKPOINT_SECONDS)
    assert stream.control.written == 3
    assert not budget.room_for(1 << 20)


def test_what_is_due_next_is_known() -> None:
    stream = Stream()
    assert stream.control.next_due(0.0) == 0.0
    stream.step(0.0)
    assert stream.control.next_due(1.0) == HEARTBEAT_SECONDS - 1.0


def test_the_last_checkpoint_lists_the_losses_before_it_and_nothing_follows_it() -> None:
    stream = Stream()
    stream.step(0.0, ErrorEvent())
    stream.notes.lost("closed")
    for now in (1.0, 2.0):
        stream.control.write_last(now)
        stream.notes.lost("closed")  # emits that go on being refused keep nothing open
        taken = stream.journal.take(512)
        stream.control.digest(taken, now)
        stream.records += taken
    assert [type(e) for e in stream.events()][2:] == [LossEvent, CheckpointEvent]
    closing = stream.checkpoints()[-1]
    assert closing.reason == "close"
    assert closing.first_sequence + len(closing.entries) == stream.control.sealed_at == 3
    assert stream.control.append(ErrorEvent()) is None
    stream.step(1_000.0)
    assert len(stream.records) == 4


def test_control_records_need_no_kafka_client() -> None:
    probe = "import auditwire.journal.control, sys; raise SystemExit('confluent_kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
