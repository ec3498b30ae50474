"""What status and check see in files; nothing here is written by those who write them in earnest."""

from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import ErrorEvent, TurnStartEvent
from auditwire.journal.base import Record
from auditwire.journal.contents import Damage, place_of, read_parked, read_stream, size_of
from auditwire.journal.filesystem import REAL, RealFile, RealFileSystem
from auditwire.journal.inspection import StreamStatus, held, look, open_path
from auditwire.journal.target import boot_id
from auditwire.journal.withheld import unread_ranges, withheld_records
from support.journal_files import SIZE, TARGET, JournalFiles, StreamFiles
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> JournalFiles:
    return JournalFiles(tmp_path / "journal")


def only(files: JournalFiles) -> StreamStatus:
    (status,) = look(files.journal).streams
    return status


def sequences(stream: StreamFiles, *, alive: bool = False) -> list[int]:
    found = list(read_stream(REAL, stream.directory, alive=alive))
    return [each.sequence for each in found if isinstance(each, Record)]


def damages(stream: StreamFiles, *, alive: bool = False) -> list[Damage]:
    return [each for each in read_stream(REAL, stream.directory, alive=alive) if isinstance(each, Damage)]


def oldest(stream: StreamFiles, sequence: int) -> int:
    return next(
        each.timestamp_us
        for each in read_stream(REAL, stream.directory, alive=False)
        if isinstance(each, Record) and each.sequence == sequence
    )


# -- where there is a journal -------------------------------------------------------------------------------


def test_a_directory_that_is_not_there_is_no_journal_and_is_not_made(tmp_path: Path) -> None:
    assert open_path(REAL, str(tmp_path / "none")) is None
    assert not (tmp_path / "none").exists()


def test_a_directory_with_other_things_only_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert open_path(REAL, str(tmp_path)) is None


def test_an_empty_directory_is_a_journal_without_streams(tmp_path: Path) -> None:
    journal = open_path(REAL, str(tmp_path))
    assert journal is not None
    status = look(journal)
    assert (status.streams, status.used_bytes, status.strangers) == ([], 0, [])


def test_a_file_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert open_path(REAL, str(tmp_path / "file")) is None


def test_a_read_only_medium_will_do(files: JournalFiles) -> None:
    class ReadOnly(RealFileSystem):
        def open(self, path: str, *, writable: bool = True, **how: Any) -> RealFile:
            if writable:
                raise OSError(errno.EROFS, "read-only", path)
            return super().open(path, writable=False, **how)

        def writable(self, path: str) -> bool:
            return False

    stream = files.stream().errors(3).cursor(1)
    stream.errors(1, file="parked/00000000.seg").quarantine(ErrorEvent())
    journal = open_path(ReadOnly(), str(files.path))
    assert journal is not None
    (status,) = look(journal).streams
    assert (status.owner_alive, status.pending_records) == (True, 2)


# -- status -------------------------------------------------------------------------------------------------


def test_a_stream_tells_whose_it_is_and_what_waits(files: JournalFiles) -> None:
    stream = files.stream(service="planner").serve().errors(5)
    assert only(files) == StreamStatus(
        stream_id=stream.stream_id,
        owner_alive=True,
        served=True,
        target=TARGET,
        service="planner",
        host="h-1",
        pid=7,
        created="2026-01-02T03:04:05+00:00",
        pending_records=5,
        pending_bytes=sum(
            each.size for each in read_stream(REAL, stream.directory, alive=True) if isinstance(each, Record)
        ),
        oldest_us=oldest(stream, 0),
        next_sequence=5,
    )


def test_a_stream_whose_process_is_gone_and_that_nobody_sends_says_so(files: JournalFiles) -> None:
    files.stream().errors(1).end()
    status = only(files)
    assert (status.owner_alive, status.served) == (False, False)


def test_looking_frees_and_keeps_no_lock(files: JournalFiles) -> None:
    alive, gone = files.stream().serve(), files.stream().end()
    for _ in range(2):
        assert [stream.owner_alive for stream in look(files.journal).streams] == [True, False]
    assert alive.directory.take_owner() is None
    assert alive.directory.take_sender() is None
    lock = gone.directory.take_owner()
    assert lock is not None
    lock.release()
    assert not files.journal.fs.exists(f"{gone.directory.path}/sender.lock"), "looking made a file"


def test_a_lock_that_is_taken_for_an_instant_is_not_taken_for_held() -> None:
    answers = [True, True, False]
    assert held(lambda: answers.pop(0)) is False
    assert held(lambda: True) is True


def test_a_lock_that_cannot_be_asked_for_is_not_known() -> None:
    def refused() -> bool:
        raise PermissionError(errno.EACCES, "no")

    assert held(refused) is None


def test_an_orphan_whose_lock_its_adopter_holds_has_no_living_owner(files: JournalFiles) -> None:
    files.stream().serve().errors(1).directory.write_state({"orphan": True})
    status = only(files)
    assert (status.owner_alive, status.served) == (False, True)


@pytest.mark.parametrize(
    ("low", "pending"), [(0, 9), (1, 8), (3, 6), (4, 5), (6, 3), (7, 2), (9, 0), (12, 0)]
)
def test_what_waits_begins_where_the_cursor_stands(files: JournalFiles, low: int, pending: int) -> None:
    stream = files.stream().errors(4, seal=True).errors(3, file="00000001.seg", seal=True)
    stream.errors(2, file="00000002.seg").cursor(low)
    status = only(files)
    assert (status.pending_records, status.next_sequence) == (pending, 9)
    if pending:
        assert status.oldest_us == oldest(stream, low)
        waiting = [
            each.size
            for each in read_stream(REAL, stream.directory, alive=False)
            if isinstance(each, Record) and each.sequence >= low
        ]
        # up to the unused rest of each segment but the last
        assert sum(waiting) <= status.pending_bytes <= sum(waiting) + 2 * SIZE
    else:
        assert (status.pending_bytes, status.oldest_us) == (0, None)


def test_segments_that_were_removed_do_not_wait(files: JournalFiles) -> None:
    stream = files.stream().errors(4, seal=True).errors(3, file="00000001.seg").cursor(5, segment=1)
    REAL.unlink(stream.directory.segment_path(0))
    assert only(files).pending_records == 2


def test_without_a_cursor_all_that_lies_there_waits(files: JournalFiles) -> None:
    stream = files.stream().errors(4, seal=True).errors(3, file="00000001.seg")
    REAL.unlink(stream.directory.segment_path(0))
    status = only(files)
    assert (status.pending_records, status.oldest_us) == (3, oldest(stream, 4))


def test_records_that_a_second_segment_repeats_are_counted_once(files: JournalFiles) -> None:
    """After a medium's error the writer goes on in a new segment with what was not acknowledged."""
    stream = files.stream().errors(6)
    stream.sequence = 3
    stream.errors(5, file="00000001.seg").cursor(3)
    assert only(files).pending_records == 5
    assert damages(stream.end()) == []


def test_a_stream_without_a_segment_has_nothing_to_wait_for(files: JournalFiles) -> None:
    files.stream()
    status = only(files)
    assert (status.pending_records, status.pending_bytes, status.oldest_us) == (0, 0, None)


def test_the_segments_say_again_what_a_lost_description_said(files: JournalFiles) -> None:
    stream = files.stream().errors(1)
    REAL.unlink(f"{stream.directory.path}/stream.json")
    status = only(files)
    assert (status.service, status.target) == ("support-bot", TARGET)


def test_a_stream_that_nothing_describes_is_shown_all_the_same(files: JournalFiles) -> None:
    stream = files.stream()
    stream.directory._fs.unlink(f"{stream.directory.path}/stream.json")
    status = only(files)
    assert (status.service, status.host, status.pid, status.target) == ("", "", None, None)


def test_parked_topics_come_from_the_senders_notes_and_from_the_copies(files: JournalFiles) -> None:
    stream = files.stream().errors(2)
    stream.directory.write_state(
        {
            "parked": {
                "audit.error": {"reason": "TOPIC_AUTHORIZATION_FAILED", "since": "2026-01-02T00:00:00+00:00"},
                "audit.turn-end": {"reason": "no such topic", "since": "x"},
            },
            "last_error": "one broker is down",
        }
    )
    stream.errors(3, file="parked/00000000.seg")
    stream.write(TurnStartEvent(), file="parked/00000000.seg")
    status = only(files)
    told = [(each.topic, each.reason, each.records, bool(each.bytes)) for each in status.parked]
    assert told == [
        ("audit.error", "TOPIC_AUTHORIZATION_FAILED", 3, True),
        ("audit.turn-end", "no such topic", 0, False),
        ("audit.turn-start", "", 1, True),
    ]
    assert status.parked[0].since == "2026-01-02T00:00:00+00:00"
    assert status.last_error == "one broker is down"


@pytest.mark.parametrize("state", [b"", b"[1]", b"\xff", b'{"parked": 3}', b'{"parked": {"t": 3}}'])
def test_notes_that_are_none_change_nothing(files: JournalFiles, state: bytes) -> None:
    stream = files.stream().errors(1)
    (files.path / stream.stream_id / "state.json").write_bytes(state)
    assert [each.reason for each in only(files).parked] in ([], [""])


def test_ended_streams_strangers_and_sizes_are_told(files: JournalFiles) -> None:
    stream = files.stream().errors(1)
    line = f"{stream.stream_id}:3:{'ab' * 32}"
    files.journal.note_ended(line)
    (files.path / "notes.txt").write_text("mine")
    status = look(files.journal)
    assert (status.ended, status.strangers) == ([line], ["notes.txt"])
    assert status.used_bytes == files.journal.used() > SIZE
    assert status.path == str(files.path)


def test_a_stream_that_is_removed_while_it_is_looked_at_is_passed_over(
    files: JournalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = files.stream().errors(1).end()
    kept = files.stream().errors(1)
    monkeypatch.setattr(
        type(gone.directory),
        "read_state",
        lambda directory: directory.remove() if directory.stream_id == gone.stream_id else None,
    )
    assert [stream.stream_id for stream in look(files.journal).streams] == [kept.stream_id]


# -- damage -------------------------------------------------------------------------------------------------


def test_a_header_that_is_damaged_is_seen_by_status_and_check(files: JournalFiles) -> None:
    stream = files.stream().errors(2, seal=True).errors(2, file="00000001.seg").end()
    stream.damage("00000000.seg", 20, b"?")
    (damage,) = only(files).damage
    assert (damage.file, damage.start, damage.end) == ("00000000.seg", 0, SIZE)
    assert damage.reason == "the checksum of the header of segment 0 differs"
    assert damages(stream) == [damage]
    assert sequences(stream) == [2, 3]


def test_a_segment_in_the_making_is_no_damage_while_its_writer_lives(files: JournalFiles) -> None:
    stream = files.stream().errors(2)
    (files.path / stream.stream_id / "00000001.seg").write_bytes(b"AWJ" + bytes(500))
    assert only(files).damage == []
    assert damages(stream, alive=True) == []
    stream.end()
    assert [each.file for each in only(files).damage] == ["00000001.seg"]
    assert [each.file for each in damages(stream)] == ["00000001.seg"]


def test_a_segment_that_was_never_begun_is_no_damage(files: JournalFiles) -> None:
    stream = files.stream().errors(2).end()
    (files.path / stream.stream_id / "00000001.seg").write_bytes(bytes(3 << 20))
    assert only(files).damage == []
    assert damages(stream) == []


def test_a_segment_under_anothers_name_is_damage(files: JournalFiles) -> None:
    stream, other = files.stream().errors(2).end(), files.stream().errors(1).end()
    folder = files.path / stream.stream_id
    (folder / "00000007.seg").write_bytes((folder / "00000000.seg").read_bytes())
    (folder / "00000001.seg").write_bytes((files.path / other.stream_id / "00000000.seg").read_bytes())
    assert [each.reason for each in damages(stream)] == [
        f"its header says stream {other.stream_id}, not {stream.stream_id}",
        "its header says number 0, not 7",
    ]


def test_a_parked_copy_among_the_segments_is_damage(files: JournalFiles) -> None:
    stream = files.stream().errors(1, file="parked/00000000.seg").end()
    folder = files.path / stream.stream_id
    (folder / "00000000.seg").write_bytes((folder / "parked" / "00000000.seg").read_bytes())
    assert [each.reason for each in damages(stream)] == ["its header says parked True, not False"]


def test_a_byte_that_flipped_is_named_with_its_place_and_the_rest_is_read(files: JournalFiles) -> None:
    stream = files.stream().errors(5).end()
    second = next(
        each
        for each in read_stream(REAL, stream.directory, alive=False)
        if isinstance(each, Record) and each.sequence == 1
    )
    file, offset = place_of(second)
    stream.damage(file, offset + second.size - 16, b"?")
    assert sequences(stream) == [0, 2, 3, 4]
    assert damages(stream) == [
        Damage(stream.stream_id, "00000000.seg", offset, offset + second.size, "the checksum differs")
    ]


def test_a_missing_segment_in_the_middle_is_named_by_its_records(files: JournalFiles) -> None:
    stream = files.stream().errors(2, seal=True).errors(3, file="00000001.seg", seal=True)
    stream.errors(1, file="00000002.seg").end()
    REAL.unlink(stream.directory.segment_path(1))
    assert damages(stream) == [Damage(stream.stream_id, "00000002.seg", 0, 0, "records 2 to 4 are missing")]
    assert sequences(stream) == [0, 1, 5]


def test_a_record_that_was_never_accepted_is_no_damage(files: JournalFiles) -> None:
    """Its writer was killed before it stored the word."""
    stream = files.stream().errors(3).end()
    last = [each for each in read_stream(REAL, stream.directory, alive=False) if isinstance(each, Record)][-1]
    stream.damage("00000000.seg", place_of(last).offset, bytes(8))
    assert sequences(stream) == [0, 1]
    assert damages(stream) == []


def test_what_a_live_writer_has_not_finished_is_the_end(files: JournalFiles) -> None:
    stream = files.stream().errors(3)
    stream.damage("00000000.seg", stream.end_of("00000000.seg") + 8, b"half a record")
    assert damages(stream, alive=True) == []
    assert sequences(stream, alive=True) == [0, 1, 2]


@pytest.mark.parametrize(("boot", "damaged"), [(boot_id(), False), ("another boot", True), (None, True)])
def test_what_a_killed_writer_had_copied_of_a_record_is_damage_only_after_a_restart(
    files: JournalFiles, boot: str | None, damaged: bool
) -> None:
    stream = files.stream(boot_id=boot).errors(3)
    begin = stream.end_of("00000000.seg")
    stream.damage("00000000.seg", begin + 36, b"x" * 3000).end()
    found = [each for each in read_stream(REAL, stream.directory, alive=False) if isinstance(each, Damage)]
    assert [each.start for each in found] == ([begin] if damaged else [])


def test_a_record_that_stays_unreadable_under_a_live_writer_is_damage(files: JournalFiles) -> None:
    stream = files.stream().errors(3)
    records = [each for each in read_stream(REAL, stream.directory, alive=True) if isinstance(each, Record)]
    offset = place_of(records[1]).offset
    stream.damage("00000000.seg", offset + 40, b"?")
    assert damages(stream, alive=True) == [
        Damage(stream.stream_id, "00000000.seg", offset, SIZE, "a record that stays unreadable")
    ]
    assert sequences(stream, alive=True) == [0]


def test_a_sealed_segment_under_a_live_writer_is_read_like_a_dead_ones(files: JournalFiles) -> None:
    stream = files.stream().errors(2, seal=True).errors(2, file="00000001.seg", seal=True)
    assert sequences(stream, alive=True) == [0, 1, 2, 3]


def test_parked_copies_are_read_with_the_gaps_that_they_have(files: JournalFiles) -> None:
    stream = files.stream().errors(2, file="parked/00000000.seg")
    stream.sequence = 9
    stream.errors(1, file="parked/00000000.seg").errors(1, file="parked/00000003.seg")
    (files.path / stream.stream_id / "parked" / "notes.seg").write_text("a stranger")
    for alive in (True, False):
        found = [
            each for each in read_parked(REAL, stream.directory, alive=alive) if isinstance(each, Record)
        ]
        assert [each.sequence for each in found] == [0, 1, 9, 10]
        assert place_of(found[-1]).file == "parked/00000003.seg"
    assert size_of(REAL, stream.directory) == 2 * SIZE
    stream.damage("parked/00000000.seg", 0, b"?")
    damaged = [each for each in read_parked(REAL, stream.directory, alive=False) if isinstance(each, Damage)]
    assert [each.file for each in damaged] == ["parked/00000000.seg"]
    assert [each.file for each in only(files).damage] == ["parked/00000000.seg"]


def test_files_that_go_while_they_are_looked_at_are_passed_over(files: JournalFiles) -> None:
    stream = files.stream().errors(2, seal=True).errors(1, file="00000001.seg").end()
    found = read_stream(REAL, stream.directory, alive=False)
    next(found)
    REAL.unlink(stream.directory.segment_path(1))
    assert [each.sequence for each in found if isinstance(each, Record)] == [1]
    assert size_of(REAL, stream.directory) == SIZE


@given(data=st.data())
@settings(max_examples=60)
def test_whatever_bytes_are_written_over_a_segment_it_is_looked_at_to_its_end(data: st.DataObject) -> None:
    fs = SimulatedFileSystem()
    stream = JournalFiles("/journal", fs).stream().errors(3).end()  # type: ignore[arg-type]
    stream.errors(2, file="parked/00000000.seg")
    for file in data.draw(st.lists(st.sampled_from(["00000000.seg", "parked/00000000.seg", "cursor"]))):
        fs_path = f"{stream.directory.path}/{file}"
        if fs.exists(fs_path):
            offset = data.draw(st.integers(0, 2000))
            stream.damage(file, offset, data.draw(st.binary(min_size=1, max_size=64)))
    (status,) = look(stream.journal).streams
    assert status.stream_id == stream.stream_id
    found = list(read_stream(fs, stream.directory, alive=False))
    assert {type(each) for each in found} <= {Record, Damage}
    list(read_stream(fs, stream.directory, alive=True))


# -- quarantine ---------------------------------------------------------------------------------------------


def test_withheld_records_are_told_with_their_notes(files: JournalFiles) -> None:
    stream = files.stream().quarantine(ErrorEvent(error_type="big")).quarantine(ErrorEvent())
    first, second = look(files.journal).withheld
    assert (first.stream_id, first.sequence, first.event_type) == (stream.stream_id, 0, "error")
    assert (first.topic, first.reason) == ("audit.error", "MSG_SIZE_TOO_LARGE")
    assert (len(first.digest), first.size > 0, first.at) == (64, True, "2026-01-02T03:04:06+00:00")
    assert first.path == f"{files.path}/quarantine/{stream.stream_id}/0.avro"
    assert second.sequence == 1


@pytest.mark.parametrize("note", [None, b"", b"\xff\xfe", b"[]", b'{"size": "much", "topic": 3}'])
def test_a_withheld_record_without_its_note_is_told_all_the_same(
    files: JournalFiles, note: bytes | None
) -> None:
    stream = files.stream().keep("12.avro", b"value")
    if note is not None:
        stream.keep("12.json", note)
    (found,) = withheld_records(files.journal)
    assert (found.sequence, found.topic, found.size, found.reason) == (12, "", 0, "")


def test_unreadable_ranges_are_told_with_their_notes(files: JournalFiles) -> None:
    stream = files.stream()
    stream.keep("00000002-4096-8192.bytes", bytes(4096))
    stream.keep("00000002-4096-8192.json", json.dumps({"reason": "zeros", "at": "now"}).encode())
    stream.keep("parked-00000001-64-128.bytes", b"?")
    stream.keep("something else", b"")
    stream.keep("01.avro", b"")
    first, second = unread_ranges(files.journal)
    assert (first.file, first.start, first.end, first.reason, first.at) == (
        "00000002.seg",
        4096,
        8192,
        "zeros",
        "now",
    )
    assert (second.file, second.reason) == ("parked/00000001.seg", "")
    assert withheld_records(files.journal) == []


def test_a_stranger_in_the_quarantine_is_left_alone(files: JournalFiles) -> None:
    files.stream().quarantine(ErrorEvent())
    (files.path / "quarantine" / "notes.txt").write_text("mine")
    assert len(look(files.journal).withheld) == 1
