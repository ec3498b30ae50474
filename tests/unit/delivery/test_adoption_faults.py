"""What an adopter does when the file system fails it: a simulated one, which fails where a test says."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_sender import World

from auditwire.delivery.adoption import ALIVE_SECONDS, LOOK_SECONDS, RETRY_FIRST, RETRY_LAST, Adoption
from auditwire.delivery.foreign import LOADED
from auditwire.events import LossEvent, RecoveryEvent
from auditwire.journal import Draft
from auditwire.journal.format import pack
from auditwire.journal.segment import Segment
from auditwire.wire import decode, schema_for
from support.journal_files import TARGET, JournalFiles, StreamFiles
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from auditwire.delivery.adoption import Adopter


class Place:
    """A journal path on a file system that can fail, and a sender whose own journal is in memory."""

    def __init__(self, *, serve_live: bool = False) -> None:
        self.fs = SimulatedFileSystem()
        self.files = JournalFiles(Path("/journal"), self.fs)
        self.world = World(adoption=Adoption(self.files.journal, TARGET, serve_live))

    @property
    def adopter(self) -> Adopter:
        assert self.world.sender.adopter is not None
        return self.world.sender.adopter

    @property
    def faults(self) -> int:
        return self.world.sender.health().faults

    def sent(self, stream: StreamFiles) -> list[int]:
        decoded = [decode(m.value()) for m in self.world.log]
        return sorted(d.sequence for d in decoded if d.stream_id == stream.stream_id)

    def lies(self, stream: StreamFiles) -> bool:
        return self.fs.exists(stream.directory.path)


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_path_that_cannot_be_listed_is_looked_through_later(place: Place) -> None:
    orphan = place.files.stream().errors(2).end()
    place.fs.fail("list", errno.EIO, "/journal")
    place.world.rounds(3, seconds=0.1)
    assert place.faults == 1
    assert not place.adopter.idle
    place.world.rounds(10, seconds=LOOK_SECONDS)
    assert place.sent(orphan) == [0, 1]
    assert place.adopter.idle


@pytest.mark.parametrize("name", ["owner.lock", "sender.lock", "cursor"])
def test_a_stream_that_cannot_be_taken_is_tried_again_with_growing_pauses(place: Place, name: str) -> None:
    orphan = place.files.stream().errors(2).end()
    other = place.files.stream().errors(1).end()
    place.fs.fail("open", errno.EIO, f"*{orphan.stream_id}/{name}", times=2)
    place.world.rounds(3, seconds=0.1)
    assert place.sent(other) == [0]
    place.world.rounds(8, seconds=LOOK_SECONDS)
    assert place.sent(orphan) == [0, 1]
    assert not place.lies(orphan)
    assert place.adopter.idle


def test_a_stream_that_keeps_failing_is_not_tried_at_every_look(place: Place) -> None:
    orphan = place.files.stream().errors(2).end()
    tries = place.fs.fail("open", errno.EACCES, f"*{orphan.stream_id}/owner.lock", times=None)
    place.world.rounds(60, seconds=LOOK_SECONDS)
    assert 60 * LOOK_SECONDS / RETRY_LAST <= place.faults < 30
    assert place.adopter.waiting == 1
    orphan.directory.remove()
    place.fs.heal()
    place.world.rounds(2, seconds=RETRY_LAST)
    assert place.adopter.waiting == 0
    assert place.adopter.idle
    assert tries is not None


def test_a_segment_that_cannot_be_read_now_is_read_later_and_the_others_go_on(place: Place) -> None:
    orphan = place.files.stream().errors(3).end()
    other = place.files.stream().errors(2).end()
    place.fs.fail("open", errno.EMFILE, f"*{orphan.stream_id}/0*.seg", times=3)
    place.world.rounds(4, seconds=RETRY_FIRST / 2)
    assert place.sent(other) == [0, 1]
    place.world.rounds(20, seconds=RETRY_FIRST * 2)
    assert place.sent(orphan) == [0, 1, 2]
    assert not place.lies(orphan)
    assert place.world.events(LossEvent) == []


def test_a_cursor_that_cannot_be_moved_is_moved_later(place: Place) -> None:
    orphan = place.files.stream().errors(3).end()
    place.fs.fail("list", errno.EIO, orphan.directory.path, after=3, times=2)
    place.world.rounds(30, seconds=RETRY_FIRST)
    assert place.sent(orphan) == [0, 1, 2]
    assert not place.lies(orphan)


def test_a_statement_that_breaks_off_begins_again_and_says_the_same(place: Place) -> None:
    orphan = place.files.stream().errors(3).end()
    append, refusals = place.world.journal.append_control, [True]

    def refuse_once(draft: object) -> object:
        if refusals:
            refusals.pop()
            place.fs.fail("open", errno.EIO, f"*{orphan.stream_id}/*", times=2)
            return None
        return append(draft)

    place.world.rounds(1)
    place.world.journal.append_control = refuse_once
    place.world.rounds(20, seconds=2)
    events: list[RecoveryEvent] = place.world.events(RecoveryEvent)
    assert {(e.first_sequence, e.last_sequence, tuple(e.entries)) for e in events} == {
        (0, 2, tuple(events[0].entries))
    }
    assert not place.lies(orphan)


def test_what_cannot_be_removed_is_removed_later(place: Place) -> None:
    orphan = place.files.stream().errors(3).end()
    place.fs.fail("rename", errno.EACCES, f"*{orphan.stream_id}*", times=2)
    place.world.rounds(20, seconds=2)
    assert place.faults > 0
    assert place.sent(orphan) == [0, 1, 2]
    assert not place.lies(orphan)
    assert place.world.sender.health().adopted == 1


def test_a_removal_that_breaks_off_is_finished_later(place: Place) -> None:
    orphan = place.files.stream().errors(3).end()
    place.fs.fail("unlink", errno.EIO, f"/journal/.gone-{orphan.stream_id}/*", times=1)
    place.world.rounds(20, seconds=2)
    assert place.world.sender.health().adopted == 1
    assert place.fs.list("/journal") == ["ended"]


@pytest.mark.parametrize("serve_live", [False, True])
def test_a_directory_that_somebody_removed_is_let_go_of(*, serve_live: bool) -> None:
    place = Place(serve_live=serve_live)
    stream = place.files.stream().errors(3)
    place.world.answer = lambda m: "later" if m.topic == "audit.error" else None
    if not serve_live:
        stream.end()
    place.world.rounds(4, seconds=0.1)
    assert place.world.sender.health().orphans == {stream.stream_id: 3}
    place.fs.rename(stream.directory.path, "/journal/elsewhere")
    place.world.answer = lambda m: None
    place.world.rounds(10, seconds=ALIVE_SECONDS)
    assert place.world.sender.health().orphans == {}
    assert place.world.sender.health().adopted == 0
    assert place.sent(stream) == [0, 1, 2]
    assert place.files.journal.ended() == []


def test_a_stream_whose_directory_goes_while_it_fails_is_let_go_of(place: Place) -> None:
    stream = place.files.stream().errors(3).end()
    place.world.rounds(1)
    place.fs.rename(stream.directory.path, "/journal/elsewhere")
    place.fs.fail("list", errno.EIO, f"*{stream.stream_id}*")
    place.world.rounds(10, seconds=1)
    assert place.world.sender.health().orphans == {}
    assert place.adopter.idle


def test_the_end_of_the_sender_lets_go_of_everything(place: Place) -> None:
    orphan = place.files.stream().errors(3).end()
    place.world.answer = lambda m: "later" if m.topic == "audit.error" else None
    place.world.rounds(6, seconds=0.1)
    place.world.sender.close(place.world.now + 1)
    place.world.sender.run()
    for lock in (orphan.directory.take_owner(), orphan.directory.take_sender()):
        assert lock is not None


def test_what_fails_at_the_end_keeps_no_lock(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = place.files.stream().errors(3).end()
    place.world.answer = lambda m: "later" if m.topic == "audit.error" else None
    place.world.rounds(6, seconds=0.1)
    place.world.sender.close(place.world.now + 1)

    def strange(now: float, *, last: bool = False) -> int:
        if last:
            raise OverflowError("as of a number that fits nowhere")
        return 0

    monkeypatch.setattr(place.world.sender._own, "move", strange)
    place.world.sender.run()
    for lock in (orphan.directory.take_owner(), orphan.directory.take_sender()):
        assert lock is not None


def test_a_lock_that_cannot_be_released_stops_nothing(place: Place) -> None:
    orphan = place.files.stream().errors(1).end()
    place.fs.fail("unlock", errno.EIO, "*", times=None)
    place.world.rounds(10, seconds=1)
    assert place.sent(orphan) == [0]
    assert place.world.sender.health().adopted == 1


def test_leftovers_are_swept(place: Place) -> None:
    orphan = place.files.stream().errors(1).end()
    place.fs.rename(orphan.directory.path, f"/journal/.gone-{orphan.stream_id}")
    place.fs.fail("unlink", errno.EIO, "/journal/.gone*", times=1)
    place.world.rounds(5, seconds=LOOK_SECONDS)
    assert not [name for name in place.fs.list("/journal") if name.startswith(".")]


def test_many_parked_copies_are_looked_at_bit_by_bit(place: Place) -> None:
    stream = place.files.stream()
    count = LOADED + 100
    for number in range(count // 15):
        stream.errors(15, file=f"parked/{number:08d}.seg")
    orphan = stream.errors(1).cursor(stream.sequence - 1).end()
    place.world.rounds(1)
    assert place.sent(orphan) == []
    place.world.rounds(20, seconds=0.1)
    assert place.sent(orphan) == list(range(stream.sequence))
    assert not place.lies(orphan)


def test_parked_copies_that_cannot_be_read_now_are_all_read_later(place: Place) -> None:
    stream = place.files.stream().errors(4).errors(2, file="parked/00000000.seg")
    orphan = stream.errors(2, file="parked/00000001.seg").cursor(8).end()
    place.fs.fail("open", errno.EIO, "*parked/00000001.seg", times=1)
    place.world.rounds(20, seconds=2)
    assert place.sent(orphan) == [4, 5, 6, 7]
    assert place.faults > 0


def test_a_copy_of_a_record_that_the_segments_have_lost_is_sent(place: Place) -> None:
    stream = place.files.stream().errors(2)
    start = stream.end_of("00000000.seg")
    stream.errors(1)
    end = stream.end_of("00000000.seg")
    stream.errors(1).damage("00000000.seg", start, bytes(end - start))
    stream.sequence = 2
    orphan = stream.errors(1, file="parked/00000000.seg").end()
    place.world.rounds(20, seconds=0.1)
    assert place.sent(orphan) == [0, 1, 2, 3]
    assert not place.lies(orphan)


def test_a_damaged_copy_is_kept_as_bytes(place: Place) -> None:
    stream = place.files.stream().errors(1).errors(2, file="parked/00000000.seg")
    stream.damage("parked/00000000.seg", stream.end_of("parked/00000000.seg") - 16, b"\xff" * 8)
    orphan = stream.cursor(3).end()
    place.world.rounds(20, seconds=0.1)
    assert place.sent(orphan) == [1]
    kept = place.fs.list(f"/journal/quarantine/{orphan.stream_id}")
    assert [name.rpartition(".")[2] for name in sorted(kept)] == ["bytes", "json"]
    assert all(name.startswith("parked-00000000-") for name in kept)
    assert not place.lies(orphan)


def test_a_checkpoint_that_cannot_be_decoded_lists_nothing_and_closes_nothing(place: Place) -> None:
    stream = place.files.stream().errors(1)
    draft = Draft("checkpoint", "audit.checkpoint", b"k", 1, "id", None, b"not", b"Avro")
    segment = Segment.open(place.fs, stream.directory.segment_path(0), writable=True)
    segment.store(stream.end_of("00000000.seg"), pack(draft, 1, schema_for("checkpoint").fingerprint))
    segment.close()
    orphan = stream.end()
    place.world.rounds(20, seconds=0.1)
    assert not place.lies(orphan)
    (message,) = [m for m in place.world.log if m.topic == "audit.recovery"]
    statement = decode(message.value()).event
    assert isinstance(statement, RecoveryEvent)
    assert (statement.first_sequence, statement.last_sequence) == (0, 1)


def test_the_end_of_a_served_owner_is_seen_though_somebody_holds_its_lock_for_an_instant() -> None:
    place = Place(serve_live=True)
    living = place.files.stream().errors(2)
    place.world.rounds(5, seconds=0.1)
    living.end()
    probe = living.directory.take_owner()
    assert probe is not None
    place.world.rounds(10, seconds=ALIVE_SECONDS)
    assert place.lies(living)
    probe.release()
    place.world.rounds(20, seconds=ALIVE_SECONDS)
    assert not place.lies(living)
    assert place.sent(living) == [0, 1]
