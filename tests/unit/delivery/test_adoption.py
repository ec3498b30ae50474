"""Streams that other processes left, delivered by a sender: real files, and a producer that obeys."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import KafkaError
from test_sender import STREAM, TOO_LARGE, Message, World, error

from auditwire.delivery.adoption import GIVEN_UP_SECONDS, LOOK_SECONDS, MOST, RETRY_LAST, Adoption
from auditwire.delivery.recovered import statements
from auditwire.errors import JournalFull
from auditwire.events import (
    CheckpointEvent,
    ErrorEvent,
    LossEvent,
    QuarantineEvent,
    RecoveryEvent,
    TurnStartEvent,
)
from auditwire.ids import uuid7
from auditwire.journal import MemoryJournal
from auditwire.journal.disk import MIN_CAPACITY, DiskJournal
from auditwire.journal.reader import StreamReader
from auditwire.journal.target import Target, boot_id
from auditwire.stream import MAX_ENTRIES, entries_of, pack_entry, type_key
from auditwire.wire import decode, schema_for
from support.journal_files import TARGET, JournalFiles, StreamFiles

if TYPE_CHECKING:
    from collections.abc import Iterator

OTHER = Target("elsewhere:9092", "audit")


class Shore:
    """A journal path, and a sender on it."""

    def __init__(self, path: Path, *, target: Target = TARGET, serve_live: bool = False) -> None:
        self.files = JournalFiles(path)
        self.target, self.serve_live = target, serve_live
        self.worlds: list[World] = []

    def sender(self, stream: str = STREAM, **more: Any) -> World:
        info = {"stream": stream, "target": self.target.info(), "boot_id": boot_id()}
        journal = DiskJournal(self.files.journal, stream, info, sync="never", **more)
        adoption = Adoption(self.files.journal, self.target, self.serve_live)
        world = World(journal=journal, adoption=adoption, stream=stream)
        world.sender.open()
        self.worlds.append(world)
        return world

    def kept(self, stream: StreamFiles) -> dict[str, bytes]:
        """What the quarantine has of a stream: name -> bytes."""
        folder = Path(self.files.journal.quarantine_path(stream.stream_id))
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    def end(self, world: World) -> None:
        """The process is gone; nothing was closed in good order."""
        world.sender._move_marks(last=True)
        adopter = world.sender.adopter
        assert adopter is not None
        adopter.close()
        world.journal.close(ended=None)
        self.worlds.remove(world)


@pytest.fixture
def shore(tmp_path: Path) -> Iterator[Shore]:
    made = Shore(tmp_path / "journal")
    yield made
    for world in list(made.worlds):
        made.end(world)


def of_stream(world: World, stream: StreamFiles | str) -> list[Any]:
    name = stream if isinstance(stream, str) else stream.stream_id
    decoded = [decode(m.value()) for m in world.log]
    return [d for d in decoded if d.stream_id == name]


def stated(world: World) -> list[RecoveryEvent]:
    return world.events(RecoveryEvent)


def lies(stream: StreamFiles) -> bool:
    return Path(stream.directory.path).exists()


def checkpoint(first: int, count: int, reason: str = "interval") -> CheckpointEvent:
    entries = [pack_entry(0, bytes(32))] * count
    types = [type_key("error", schema_for("error").fingerprint)] if count else []
    return CheckpointEvent(
        reason=reason, trail="audit", first_sequence=first, entries=entries, types=types, acknowledged=0
    )


def test_an_orphan_is_delivered_stated_and_removed(shore: Shore) -> None:
    orphan = shore.files.stream(source="/auditwire/dead").errors(5).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    delivered = of_stream(world, orphan)
    assert sorted(d.sequence for d in delivered) == [0, 1, 2, 3, 4]
    headers = [dict(m.headers) for m in world.log if decode(m.value()).stream_id == orphan.stream_id]
    assert {h["ce_source"] for h in headers} == {b"/auditwire/dead"}
    (statement,) = stated(world)
    assert statement.orphan_stream == orphan.stream_id
    assert (statement.first_sequence, statement.last_sequence) == (0, 4)
    digests = {sequence: digest for sequence, _, digest in entries_of(statement)}
    assert digests == {d.sequence: d.digest for d in delivered}
    assert not statement.unreadable
    assert not lies(orphan)
    assert shore.files.journal.ended() == [f"{orphan.stream_id}:4:{digests[4].hex()}"]
    health = world.sender.health()
    assert (health.adopted, health.adopted_delivered, health.orphans, health.pending_records) == (1, 5, {}, 0)
    assert health.delivered == 0


def test_a_stream_without_headers_keeps_none(shore: Shore) -> None:
    orphan = shore.files.stream(source=None).errors(1).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert [m.headers for m in world.log if decode(m.value()).stream_id == orphan.stream_id] == [None]


def test_what_is_below_the_cursor_is_not_sent_again_but_its_digest_is_stated(shore: Shore) -> None:
    orphan = shore.files.stream().errors(6).cursor(4, 2).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert [d.sequence for d in of_stream(world, orphan)] == [4, 5]
    (statement,) = stated(world)
    assert (statement.first_sequence, statement.last_sequence, len(statement.entries)) == (2, 5, 4)


@pytest.mark.parametrize("boot", [boot_id(), "another boot", None])
def test_what_a_killed_owner_had_copied_of_a_record_is_damage_only_after_a_restart(
    shore: Shore, boot: str | None
) -> None:
    stream = shore.files.stream(boot_id=boot).errors(3)
    begin = stream.end_of("00000000.seg")
    orphan = stream.damage("00000000.seg", begin + 36, b"x" * 3000).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert len(of_stream(world, orphan)) == 3
    (statement,) = stated(world)
    kept = Path(shore.files.journal.quarantine_path(orphan.stream_id)).exists()
    if boot == boot_id():
        assert statement.unreadable == []
        assert not kept
    else:
        assert [text.partition("-")[0] for text in statement.unreadable] == [f"0:{begin}"]
        assert kept
    assert not lies(orphan)


def test_a_path_that_an_outage_has_filled_is_emptied_by_the_next_process(shore: Shore) -> None:
    """None of it can be removed before it is stated, and the bound leaves no room for the statement."""
    dead = shore.sender(uuid7(), capacity=MIN_CAPACITY, on_full="drop_newest")
    with contextlib.suppress(JournalFull):
        while dead.journal.next_sequence < MIN_CAPACITY // 10_000:
            dead.emit(error("x", error_message="y" * 10_000))
    count = dead.journal.next_sequence
    shore.end(dead)
    world = shore.sender(capacity=MIN_CAPACITY, on_full="drop_newest")
    with pytest.raises(JournalFull):
        world.emit(error("too early"))
    deadline = time.monotonic() + 30
    while shore.files.journal.streams() != [STREAM] and time.monotonic() < deadline:
        world.rounds(10, seconds=0.5)  # the writer's pauses are real ones
    assert shore.files.journal.streams() == [STREAM]
    world.emit(error("accepted again"))
    world.rounds(10, seconds=0.5)
    delivered = sorted(d.sequence for d in of_stream(world, dead.drafter.stream_id))
    assert delivered == list(range(count))
    own = sorted((d.sequence, d.event.event_type) for d in of_stream(world, STREAM))
    assert own[:2] == [(0, "checkpoint"), (1, "recovery")]
    assert "accepted again" in [event.error_type for event in world.events(ErrorEvent)]


def test_a_journal_that_an_outage_has_filled_empties_when_the_broker_is_back(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of it was accepted when no more could be held, and there is no room for the checkpoints."""
    monkeypatch.setattr("auditwire.delivery.backlog.HOLD_RECORDS", 200)
    world = shore.sender(capacity=MIN_CAPACITY, on_full="drop_newest")
    world.answer = lambda m: "later"
    world.rounds(2)
    with contextlib.suppress(JournalFull):
        while world.journal.next_sequence < MIN_CAPACITY // 200:
            world.emit(error("x"))
    world.rounds(10, seconds=1)
    assert world.journal.directory.segments()[:2] == [0, 1]
    world.answer = lambda m: None
    deadline = time.monotonic() + 60
    while world.journal.directory.segments()[0] == 0 and time.monotonic() < deadline:
        world.rounds(10, seconds=0.1)
    world.emit(error("accepted again"))
    while world.sender.pending and time.monotonic() < deadline:
        world.rounds(10, seconds=0.1)
    assert world.sequences() == list(range(world.journal.next_sequence))


def test_what_cannot_be_held_during_an_outage_is_listed_all_the_same(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that is full for good there would be no room to list it later."""
    monkeypatch.setattr("auditwire.delivery.backlog.HOLD_RECORDS", 200)
    world = shore.sender(uuid7())
    world.answer = lambda m: "later"
    world.emit(*(error("x") for _ in range(5_000)))
    world.rounds(60, seconds=1)
    assert world.sender._hold.count < 1_000
    shore.end(world)
    second = shore.sender()
    second.rounds(60, seconds=0.1)
    assert len(of_stream(second, world.drafter.stream_id)) > 5_000
    (statement,) = stated(second)
    assert len(statement.entries) < 1_000
    assert statement.first_sequence > 4_500


def test_what_was_looked_at_ahead_is_delivered_and_listed_once(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditwire.delivery.backlog.HOLD_RECORDS", 200)
    world = shore.sender()
    for _ in range(3):
        world.answer = lambda m: "later"
        for _ in range(10):
            world.emit(*(error("x") for _ in range(100)))
            world.rounds(3, seconds=1)
        world.answer = lambda m: None
        deadline = time.monotonic() + 30
        while world.sender.pending and time.monotonic() < deadline:
            world.rounds(10, seconds=0.1)
    assert world.sequences() == list(range(world.journal.next_sequence))
    listed = [sequence for c in world.events(CheckpointEvent) for sequence, _, _ in entries_of(c)]
    assert listed == list(range(len(listed)))
    digests = {d.sequence: d.digest for d in of_stream(world, STREAM)}
    assert all(digests[s] == d for c in world.events(CheckpointEvent) for s, _, d in entries_of(c))
    assert world.client.faults == 0


def test_segments_go_as_their_part_of_the_statement_is_acknowledged_and_the_next_adopter_goes_on(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditwire.delivery.recovered.MAX_ENTRIES", 4)
    orphan = shore.files.stream()
    for number in range(3):
        orphan.errors(10, file=f"{number:08d}.seg", seal=True)
    orphan.end()
    first = shore.sender(uuid7())
    written: list[Any] = []
    accept = first.journal.append_control

    def accept_four(draft: Any) -> int | None:
        if draft.event_type == "recovery":
            if len(written) == 4:
                return None
            written.append(draft)
        sequence: int | None = accept(draft)
        return sequence

    first.journal.append_control = accept_four
    first.rounds(30, seconds=0.1)
    assert orphan.directory.segments() == [1, 2]
    shore.end(first)
    second = shore.sender()
    second.rounds(40, seconds=0.1)
    assert not lies(orphan)
    parts = [*stated(first), *stated(second)]
    assert {sequence for part in parts for sequence, _, _ in entries_of(part)} == set(range(30))
    of_orphan = [part for part in stated(second) if part.orphan_stream == orphan.stream_id]
    assert min(part.first_sequence for part in of_orphan) == 16


def test_digests_are_stated_from_the_last_checkpoint_on(shore: Shore) -> None:
    stream = shore.files.stream()
    orphan = stream.write(checkpoint(0, 0, "open")).errors(3).write(checkpoint(0, 4)).errors(2).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    (statement,) = stated(world)
    assert [sequence for sequence, _, _ in entries_of(statement)] == [4, 5, 6]
    assert [t.partition(":")[0] for t in statement.types] == ["checkpoint", "error"]
    assert len(of_stream(world, orphan)) == 7


def test_nothing_is_stated_of_a_stream_that_was_closed(shore: Shore) -> None:
    orphan = shore.files.stream().errors(3).write(checkpoint(0, 3, "close")).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert len(of_stream(world, orphan)) == 4
    assert stated(world) == []
    assert world.sender.health().adopted == 1
    assert [line.split(":")[1] for line in shore.files.journal.ended()] == ["3"]


def test_a_stream_without_a_record_is_removed_in_silence(shore: Shore) -> None:
    orphan = shore.files.stream().end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert stated(world) == []
    assert not lies(orphan)
    assert shore.files.journal.ended() == []


def test_what_cannot_be_read_is_named_and_kept(shore: Shore) -> None:
    stream = shore.files.stream().errors(2)
    start = stream.end_of("00000000.seg")
    stream.errors(1)
    end = stream.end_of("00000000.seg")
    orphan = stream.errors(2).damage("00000000.seg", start + 40, b"\xff" * 8).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert [d.sequence for d in of_stream(world, orphan)] == [0, 1, 3, 4]
    first, second = stated(world)
    assert first.unreadable == second.unreadable == [f"0:{start}-{end}"]
    assert [s for part in (first, second) for s, _, _ in entries_of(part)] == [0, 1, 3, 4]
    assert (first.first_sequence, second.first_sequence, second.last_sequence) == (0, 3, 4)
    kept = shore.kept(orphan)
    assert sorted(kept) == [f"00000000-{start}-{end}.bytes", f"00000000-{start}-{end}.json"]
    assert len(kept[f"00000000-{start}-{end}.bytes"]) == end - start


def test_bytes_that_cannot_be_kept_now_keep_the_stream(shore: Shore) -> None:
    stream = shore.files.stream().errors(1)
    start = stream.end_of("00000000.seg")
    orphan = stream.errors(2).damage("00000000.seg", start + 40, b"\xff" * 8).end()
    quarantine = Path(shore.files.journal.path, "quarantine")
    quarantine.touch()  # a file where a directory has to be
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert lies(orphan)
    assert world.sender.health().faults > 0
    quarantine.unlink()
    world.rounds(20, seconds=RETRY_LAST)
    assert not lies(orphan)
    assert shore.kept(orphan)


def test_a_restart_of_the_machine_is_stated(shore: Shore) -> None:
    shore.files.stream(boot_id="another").errors(1).end()
    shore.files.stream(boot_id=boot_id()).errors(1).end()
    world = shore.sender()
    world.rounds(30, seconds=0.1)
    assert sorted(s.machine_restarted for s in stated(world)) == [False, True]


def test_a_living_owner_is_left_alone(shore: Shore) -> None:
    living = shore.files.stream().errors(3)
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert of_stream(world, living) == []
    living.end()
    world.rounds(20, seconds=LOOK_SECONDS)
    assert len(of_stream(world, living)) == 3
    assert world.sender.health().adopted == 1


def test_a_stream_that_goes_elsewhere_is_left_alone_and_shown(shore: Shore) -> None:
    elsewhere = shore.files.stream(target=OTHER).errors(3).end()
    anywhere = shore.files.stream(target=Target("", "audit")).errors(3).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert of_stream(world, elsewhere) == []
    assert len(of_stream(world, anywhere)) == 3
    assert world.sender.health().left_alone == {elsewhere.stream_id: "elsewhere:9092, prefix audit"}
    assert lies(elsewhere)


def test_a_lost_description_is_read_from_a_segment(shore: Shore) -> None:
    orphan = shore.files.stream(source="/auditwire/dead").errors(2).end()
    Path(orphan.directory.path, "stream.json").unlink()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert len(of_stream(world, orphan)) == 2


def test_a_stream_that_says_nothing_of_itself_is_left_alone_and_shown(shore: Shore) -> None:
    orphan = shore.files.stream().errors(2).damage("00000000.seg", 0, b"\0" * 64).end()
    Path(orphan.directory.path, "stream.json").unlink()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert "unknown" in world.sender.health().left_alone[orphan.stream_id]
    assert lies(orphan)


def test_two_adopters_never_send_one_stream_at_once(shore: Shore) -> None:
    orphan = shore.files.stream().errors(3).end()
    first, second = shore.sender(), shore.sender("01a2084c-c3e5-7061-bb16-f33d4bf54188")
    first.answer = lambda m: "later"
    first.rounds(5, seconds=0.1)
    second.rounds(10, seconds=LOOK_SECONDS)
    assert of_stream(second, orphan) == []
    first.answer = lambda m: None
    first.rounds(10, seconds=1)
    second.rounds(10, seconds=LOOK_SECONDS)
    assert len(of_stream(first, orphan)) == 3
    assert of_stream(second, orphan) == []


def test_an_adopter_that_ends_leaves_the_rest_to_the_next(shore: Shore) -> None:
    orphan = shore.files.stream().errors(6).end()
    first = shore.sender()
    first.answer = lambda m: "later" if decode(m.value()).sequence > 2 else None
    first.rounds(5, seconds=0.1)
    shore.end(first)
    second = shore.sender("01a2084c-c3e5-7061-bb16-f33d4bf54188")
    second.rounds(40, seconds=1)
    both = {d.sequence for w in (first, second) for d in of_stream(w, orphan)}
    assert both == set(range(6))
    assert {e.orphan_stream for e in stated(second)} == {orphan.stream_id, STREAM}
    assert shore.files.journal.streams() == ["01a2084c-c3e5-7061-bb16-f33d4bf54188"]


def test_the_stream_stays_until_its_statement_is_acknowledged(shore: Shore) -> None:
    orphan = shore.files.stream().errors(2).end()
    world = shore.sender()
    world.answer = lambda m: "later" if m.topic == "audit.recovery" else None
    world.rounds(20, seconds=0.1)
    assert len(of_stream(world, orphan)) == 2
    assert lies(orphan)
    world.answer = lambda m: None
    world.rounds(5, seconds=0.1)
    assert not lies(orphan)


def test_a_statement_waits_for_room(shore: Shore) -> None:
    shore.files.stream().errors(2).end()
    world = shore.sender()
    world.rounds(1)
    append = world.journal.append_control
    world.journal.append_control = lambda draft: None
    world.rounds(10, seconds=0.1)
    assert stated(world) == []
    world.journal.append_control = append
    world.rounds(10, seconds=0.1)
    assert len(stated(world)) == 1
    assert world.sender.health().adopted == 1


def test_a_foreign_record_that_is_refused_is_kept_and_named_in_the_own_stream(shore: Shore) -> None:
    orphan = shore.files.stream().errors(3).end()
    world = shore.sender()
    world.answer = lambda m: TOO_LARGE if m.topic == "audit.error" and b"number 1" in m.value() else None
    world.rounds(200, seconds=0.2)
    (event,) = world.events(QuarantineEvent)
    assert (event.quarantined_stream, event.quarantined_sequence) == (orphan.stream_id, 1)
    assert sorted(d.sequence for d in of_stream(world, orphan)) == [0, 2]
    assert not lies(orphan)
    files = shore.kept(orphan)
    kept = decode(files["1.avro"])
    assert (kept.sequence, kept.stream_id, kept.digest.hex()) == (
        1,
        orphan.stream_id,
        event.quarantined_digest,
    )
    note = json.loads(files["1.json"])
    assert note["reason"] == "MSG_SIZE_TOO_LARGE"
    assert note["digest"] == event.quarantined_digest


def test_a_record_that_cannot_be_kept_is_not_withheld(shore: Shore) -> None:
    quarantine = Path(shore.files.journal.path, "quarantine")
    quarantine.touch()
    world = shore.sender()
    world.answer = lambda m: TOO_LARGE if m.topic == "audit.error" else None
    world.emit(error())
    world.rounds(10, seconds=1)
    assert world.events(QuarantineEvent) == []
    assert world.sender.pending == 1
    quarantine.unlink()
    world.rounds(10, seconds=1)
    assert len(world.events(QuarantineEvent)) == 1
    assert world.sender.pending == 0


def test_only_so_many_are_delivered_at_once_the_oldest_first(shore: Shore) -> None:
    orphans = [shore.files.stream().errors(1).end() for _ in range(MOST + 2)]
    world = shore.sender()
    world.answer = lambda m: "later"
    world.rounds(10, seconds=0.1)
    assert list(world.sender.health().orphans) == [o.stream_id for o in orphans[:MOST]]
    adopter = world.sender.adopter
    assert adopter is not None
    assert adopter.waiting == 2
    assert not adopter.idle
    world.answer = lambda m: None
    world.rounds(30, seconds=1)
    assert world.sender.health().adopted == MOST + 2
    world.rounds(2, seconds=LOOK_SECONDS)
    assert adopter.idle


def test_a_directory_that_vanishes_ends_nothing(shore: Shore, tmp_path: Path) -> None:
    orphan = shore.files.stream().errors(3).end()
    world = shore.sender()
    world.answer = lambda m: "later" if m.topic == "audit.error" else None
    world.rounds(5, seconds=0.1)
    Path(orphan.directory.path).rename(tmp_path / "elsewhere")
    world.emit(error("own"))
    world.answer = lambda m: None
    world.rounds(20, seconds=2)
    assert [e.error_type for e in world.events(ErrorEvent) if e.error_type == "own"] == ["own"]
    assert world.sender.health().orphans == {}
    assert world.sender.pending == 0


def test_a_living_stream_is_served_for_its_owner(tmp_path: Path) -> None:
    shore = Shore(tmp_path / "journal", serve_live=True)
    living = shore.files.stream().write(checkpoint(0, 0, "open")).errors(2)
    world = shore.sender()
    world.rounds(10, seconds=0.1)
    assert [d.sequence for d in of_stream(world, living)] == [0, 1, 2]
    adopter = world.sender.adopter
    assert adopter is not None
    assert adopter.serves_live
    living.errors(3)
    world.rounds(10, seconds=0.1)
    assert len(of_stream(world, living)) == 6
    assert lies(living)
    assert stated(world) == []
    living.errors(1).end()
    world.rounds(20, seconds=1)
    assert len(of_stream(world, living)) == 7
    assert len(stated(world)) == 1
    assert not lies(living)
    shore.end(world)


def test_a_stream_that_another_one_serves_is_left_to_it(tmp_path: Path) -> None:
    shore = Shore(tmp_path / "journal", serve_live=True)
    living = shore.files.stream().errors(2).serve()
    world = shore.sender()
    world.rounds(10, seconds=LOOK_SECONDS)
    assert of_stream(world, living) == []
    assert living.sender is not None
    living.sender.release()
    world.rounds(10, seconds=LOOK_SECONDS)
    assert len(of_stream(world, living)) == 2
    shore.end(world)


def test_segments_of_a_served_stream_go_when_their_checkpoints_are_done(tmp_path: Path) -> None:
    shore = Shore(tmp_path / "journal", serve_live=True)
    living = shore.files.stream().errors(3, seal=True)
    living.errors(1, file="00000001.seg")
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert living.directory.segments() == [0, 1]
    living.write(checkpoint(0, 4), file="00000001.seg")
    world.rounds(20, seconds=0.1)
    assert living.directory.segments() == [1]
    shore.end(world)


def test_streams_that_wait_for_a_parked_topic_hold_up_no_others(shore: Shore) -> None:
    waiting = [shore.files.stream().errors(1).end() for _ in range(MOST + 2)]
    last = shore.files.stream().write(TurnStartEvent(turn_id="t")).end()
    world = shore.sender()
    world.topics["audit.error"] = (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    world.rounds(10, seconds=LOOK_SECONDS / 2)
    assert len(of_stream(world, last)) == 1
    assert not lies(last)
    assert all(map(lies, waiting))
    world.topics["audit.error"] = (6, 0)
    world.rounds(20, seconds=LOOK_SECONDS)
    assert not any(map(lies, waiting))


def test_so_many_streams_wait_at_once_that_descriptors_do_not_run_out(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditwire.delivery.adoption.MOST_WAITING", MOST + 1)
    for _ in range(MOST + 3):
        shore.files.stream().errors(1).end()
    world = shore.sender()
    world.answer = lambda m: "later" if m.topic == "audit.error" else None
    world.rounds(20, seconds=LOOK_SECONDS)
    assert len(world.sender.health().orphans) == MOST + 1
    assert world.sender.adopter is not None
    assert world.sender.adopter.waiting == 2


def test_a_copy_that_an_earlier_sender_parked_is_sent(shore: Shore) -> None:
    stream = shore.files.stream().errors(3)
    stream.sequence = 1
    stream.errors(1, file="parked/00000000.seg")
    stream.sequence = 3
    orphan = stream.errors(2).cursor(3, 0).end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert sorted(d.sequence for d in of_stream(world, orphan)) == [1, 3, 4]
    assert not lies(orphan)


def test_a_copy_whose_segment_has_nothing_of_it_any_more_is_sent(shore: Shore) -> None:
    """It was synced, and the segment was not: a loss of power, or a bad block, took the stream's end."""
    stream = shore.files.stream().errors(3)
    stream.sequence = 5
    stream.errors(2, file="parked/00000000.seg")
    orphan = stream.end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert sorted(d.sequence for d in of_stream(world, orphan)) == [0, 1, 2, 5, 6]
    assert not lies(orphan)


@pytest.mark.parametrize("inside", [False, True])
def test_a_gap_of_any_length_takes_no_memory(shore: Shore, inside: bool) -> None:
    stream = shore.files.stream().errors(3, seal=True)
    stream.sequence = 1 << 40
    stream.errors(3, file="00000001.seg", seal=True)
    stream.sequence = 1 << 50
    orphan = stream.errors(3, file="00000002.seg").end()
    world = shore.sender()
    if inside:
        world.answer = lambda m: "later" if m.topic == "audit.error" else None
        world.rounds(10, seconds=0.1)
        assert sorted(d.sequence for d in of_stream(world, orphan)) == []
        world.answer = lambda m: None
    world.rounds(40, seconds=0.1)
    expected = [base + n for base in (0, 1 << 40, 1 << 50) for n in range(3)]
    assert sorted(d.sequence for d in of_stream(world, orphan)) == expected
    assert not lies(orphan)


@pytest.mark.parametrize("method", ["take", "advance"])
def test_files_that_nobody_has_thought_of_stop_no_other_stream(
    shore: Shore, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    bad, good = shore.files.stream().errors(3).end(), shore.files.stream().errors(3).end()
    real = getattr(StreamReader, method)

    def strange(reader: StreamReader, *arguments: Any) -> Any:
        if reader._directory.stream_id == bad.stream_id:
            raise OverflowError("as of a number that fits nowhere")
        return real(reader, *arguments)

    world = shore.sender()
    with monkeypatch.context() as patch:
        patch.setattr(StreamReader, method, strange)
        world.rounds(40, seconds=0.5)
        assert not lies(good)
        assert lies(bad)
        assert 1 <= world.sender.health().faults <= 2
        assert world.sender.health().orphans == {}
        lock = bad.directory.take_sender()
        assert lock is not None
        lock.release()
    world.rounds(40, seconds=GIVEN_UP_SECONDS / 20)
    assert {d.sequence for d in of_stream(world, bad)} == {0, 1, 2}
    assert not lies(bad)


def test_many_damaged_places_are_kept_a_few_in_each_round(shore: Shore) -> None:
    """Each costs some synchronisations of the disk, and delivery reports are served in between."""
    stream = shore.files.stream()
    for _ in range(25):
        begin = stream.errors(1).end_of("00000000.seg")
        stream.errors(1)
        stream.damage("00000000.seg", begin + 60, b"damage")
    orphan = stream.end()
    world = shore.sender()
    folder = Path(shore.files.journal.quarantine_path(orphan.stream_id))
    while not folder.exists():
        world.rounds(1, seconds=0.1)
    assert len(shore.kept(orphan)) < 2 * 25
    world.rounds(30, seconds=0.1)
    assert len(shore.kept(orphan)) == 2 * 25
    assert len(of_stream(world, orphan)) == 25
    assert not lies(orphan)


def test_of_very_many_damaged_places_the_segments_are_stated(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record has to hold them all."""
    monkeypatch.setattr("auditwire.delivery.foreign._RANGES", 4)
    stream = shore.files.stream()
    begins = []
    for file in ("00000000.seg", "00000001.seg"):
        for number in range(4):
            stream.errors(1, file=file)
            begins.append(stream.end_of(file))
            stream.errors(1, file=file, seal=number == 3).damage(file, begins[-1] + 60, b"damage")
    orphan = stream.end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    (statement,) = {tuple(s.unreadable) for s in stated(world)}
    assert [text.partition("-")[0] for text in statement] == [f"0:{begins[0]}", f"1:{begins[4]}"]
    assert not lies(orphan)


def test_a_topic_that_cannot_be_holds_up_nothing_else(shore: Shore) -> None:
    bad = shore.files.stream(target=Target(TARGET.bootstrap, "audit"))
    bad._drafter._topics = {"error": "a\0b"}
    bad.errors(2).end()
    good = shore.files.stream().errors(2).end()
    world = shore.sender()
    world.rounds(30, seconds=0.1)
    assert not lies(good)
    assert world.sender.parked == {"a\0b": "Kafka allows no topic of this name"}


def test_a_record_with_a_copy_is_sent_once(shore: Shore) -> None:
    stream = shore.files.stream().errors(4)
    stream.sequence = 2
    orphan = stream.errors(1, file="parked/00000000.seg").end()
    world = shore.sender()
    world.rounds(20, seconds=0.1)
    assert sorted(d.sequence for d in of_stream(world, orphan)) == [0, 1, 2, 3]
    assert world.sender.health().adopted == 1


def test_the_own_stream_is_never_an_orphan(shore: Shore) -> None:
    world = shore.sender()
    world.emit(error())
    world.rounds(20, seconds=LOOK_SECONDS)
    assert stated(world) == []
    assert world.sender.health().orphans == {}


def test_closing_does_not_wait_for_orphans(shore: Shore) -> None:
    orphan = shore.files.stream().errors(3).end()
    world = shore.sender()
    world.answer = lambda m: "later" if m.topic == "audit.error" else None
    world.rounds(5, seconds=0.1)
    world.sender.close(world.now + 10)
    world.sender.run()
    assert world.sender.pending == 0
    assert world.sender.ended is not None
    assert lies(orphan)
    lock = orphan.directory.take_owner()
    assert lock is not None
    lock.release()


def test_a_long_statement_is_split_and_never_held_in_memory(shore: Shore) -> None:
    stream = shore.files.stream()
    for number in range(MAX_ENTRIES // 32 + 2):
        stream.errors(32, file=f"{number:08d}.seg", seal=True)
    orphan = stream.end()
    reader = StreamReader(shore.files.journal.fs, orphan.directory, live=lambda: False, moves=False)
    said = list(
        statements(
            reader,
            orphan.stream_id,
            first=10,
            last=stream.sequence - 1,
            unreadable=["0:1-2"],
            machine_restarted=True,
        )
    )
    reader.close()
    parts = [event for event in said if event is not None]
    assert len(said) > len(parts)
    assert [len(part.entries) for part in parts] == [MAX_ENTRIES, stream.sequence - 10 - MAX_ENTRIES]
    assert [part.first_sequence for part in parts] == [10, 10 + MAX_ENTRIES]
    assert {part.last_sequence for part in parts} == {stream.sequence - 1}
    assert {tuple(part.unreadable) for part in parts} == {("0:1-2",)}


def test_a_journal_in_memory_may_adopt_too(shore: Shore) -> None:
    orphan = shore.files.stream().errors(2).end()
    world = World(journal=MemoryJournal(), adoption=Adoption(shore.files.journal, TARGET))
    world.rounds(20, seconds=0.1)
    assert len(of_stream(world, orphan)) == 2
    assert not lies(orphan)


def test_a_forked_child_lets_go_of_the_parents_locks_without_unlocking(shore: Shore) -> None:
    orphan = shore.files.stream().errors(1).end()
    world = shore.sender()
    world.answer = lambda m: "later"
    world.rounds(5, seconds=0.1)
    child = os.fork()
    if child == 0:
        try:
            world.sender.after_fork()
        finally:
            os._exit(0 if world.sender.finished else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert orphan.directory.take_owner() is None
    assert orphan.directory.take_sender() is None
    world.answer = lambda m: None
    world.rounds(20, seconds=0.1)
    assert world.sender.health().adopted == 1


def test_while_a_topic_is_parked_the_orphans_other_records_go_out(shore: Shore) -> None:
    orphan = shore.files.stream().errors(2).write(checkpoint(0, 2)).end()
    world = shore.sender()
    world.topics["audit.error"] = (0, KafkaError.TOPIC_AUTHORIZATION_FAILED)
    world.rounds(10, seconds=0.1)
    assert [d.sequence for d in of_stream(world, orphan)] == [2]
    assert world.sender.health().orphans == {orphan.stream_id: 2}
    world.topics["audit.error"] = (6, 0)
    world.rounds(10, seconds=30)
    assert world.sender.health().adopted == 1
    assert world.events(LossEvent) == []


def test_the_order_of_each_stream_is_kept_in_each_partition(shore: Shore) -> None:
    orphans = [shore.files.stream().errors(40).end() for _ in range(3)]
    world = shore.sender()
    world.emit(*(error(str(n)) for n in range(40)))
    seen: list[Message] = world.log
    world.rounds(20, seconds=0.1)
    for name in (*(orphan.stream_id for orphan in orphans), STREAM):
        places: dict[tuple[str, int], list[int]] = {}
        for message in seen:
            decoded = decode(message.value())
            if decoded.stream_id == name:
                places.setdefault((message.topic, message.partition), []).append(decoded.sequence)
        assert places
        assert all(found == sorted(found) for found in places.values())
