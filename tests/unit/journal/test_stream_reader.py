from __future__ import annotations

import contextlib
import errno
import gc
import itertools
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from stream_files import PRINT, STREAM, BadBlock, BadDisk, Stream, drain, event, is_written

from auditwire.journal import reader as module
from auditwire.journal.cursor import Cursor
from auditwire.journal.filesystem import REAL
from auditwire.journal.format import WORD, pack
from auditwire.journal.reader import StreamReader
from auditwire.journal.segment import SegmentDamaged
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from auditwire.journal.base import Record


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path)


class Writer:
    """Writes a stream as its owner does, record by record."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.sequence = 0
        self.number = -1
        self.alive = True
        self.begin()

    def begin(self) -> None:
        self.number += 1
        self.segment = self.stream.create(self.number, self.sequence)
        self.offset = self.segment.start

    def write(self, count: int = 1) -> None:
        for _ in range(count):
            payload = pack(event(self.sequence), self.sequence, PRINT)
            if not self.segment.fits(self.offset, len(payload)):
                self.rotate()
            self.offset = self.segment.store(self.offset, payload)
            self.sequence += 1

    def rotate(self) -> None:
        self.segment.seal(self.offset)
        self.segment.close()
        self.begin()

    def reader(self, **other: Any) -> StreamReader:
        return self.stream.reader(live=lambda: self.alive, **other)


@pytest.fixture
def writer(stream: Stream) -> Writer:
    return Writer(stream)


def numbers(records: list[Record]) -> list[int]:
    assert all(map(is_written, records))
    return [record.sequence for record in records]


# -- while the writer lives -------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", [True, False])
def test_records_come_as_they_are_written(writer: Writer, verify: bool) -> None:
    owner = object()
    reader = writer.reader(verify=verify, origin=owner)
    assert reader.take(10) == []
    writer.write(3)
    records = reader.take(2)
    assert [r.origin for r in records] == [owner, owner]
    assert numbers(records) == [0, 1]
    assert numbers(reader.take(2)) == [2]
    assert reader.take(2) == []
    writer.write()
    assert numbers(reader.take(2)) == [3]
    assert (reader.next_sequence, reader.at_end, reader.damaged) == (4, False, False)


@pytest.mark.parametrize("verify", [True, False])
def test_the_reader_follows_into_the_next_segment(writer: Writer, verify: bool) -> None:
    reader = writer.reader(verify=verify)
    writer.write(2)
    writer.rotate()
    assert numbers(reader.take(9)) == [0, 1]
    assert reader.take(9) == []  # the new one has nothing yet
    writer.write(2)
    writer.rotate()
    writer.write()
    assert numbers(reader.take(9)) == [2, 3, 4]


def test_a_reader_may_be_there_before_the_first_segment(stream: Stream) -> None:
    reader = stream.reader(live=lambda: True)
    assert reader.take(9) == []
    writer = Writer(stream)
    assert reader.take(9) == []
    writer.write(2)
    assert numbers(reader.take(9)) == [0, 1]


def test_a_live_reader_waits_at_a_mismatch_and_never_calls_it_damage(writer: Writer) -> None:
    writer.write(5)
    reader = writer.reader()
    at = writer.stream  # the third record is seen before all of its bytes are
    offset = _offset(writer, 2)
    at.flip(0, offset + 60)
    assert numbers(reader.take(9)) == [0, 1]
    for _ in range(3):
        assert reader.take(9) == []
    assert not reader.damaged
    at.flip(0, offset + 60)
    assert numbers(reader.take(9)) == [2, 3, 4]
    assert not reader.damaged


def _offset(writer: Writer, index: int) -> int:
    records, _ = writer.segment.take(writer.segment.start, None, index + 1, verify=True)
    return records[index].position & 0xFFFF_FFFF


def test_a_live_reader_waits_for_a_header_that_is_being_written(stream: Stream) -> None:
    writer = Writer(stream)
    writer.write(2)
    reader = writer.reader()
    assert numbers(reader.take(9)) == [0, 1]
    writer.rotate()
    header = Path(stream.path(1)).read_bytes()[:64]
    stream.overwrite(1, 0, bytes(64))
    writer.write(1)
    assert reader.take(9) == []
    assert not reader.damaged
    stream.overwrite(1, 0, header)
    assert numbers(reader.take(9)) == [2]


def test_what_appeared_before_the_writer_died_is_read_before_anything_is_decided(writer: Writer) -> None:
    writer.write(2)
    reader = writer.reader()

    def die() -> bool:
        # between the reader's look at the last word and its question for the owner
        if writer.alive:
            writer.write(3)
            writer.rotate()
            writer.write(2)
            writer.alive = False
        return False

    reader._live = die
    assert drain(reader) == list(range(7))
    assert not reader.damaged


def test_a_writer_that_died_is_not_asked_for_again(writer: Writer) -> None:
    asked: list[int] = []

    def gone() -> bool:
        asked.append(1)
        return False

    writer.write(2)
    writer.rotate()
    writer.write(2)
    reader = writer.stream.reader(live=gone)
    assert drain(reader) == [0, 1, 2, 3]
    assert len(asked) == 1
    assert reader.take(9) == []


def test_damage_in_a_segment_that_the_live_writer_has_left_is_passed_over(writer: Writer) -> None:
    writer.write(20)
    offset = _offset(writer, 10)
    end = writer.offset
    writer.rotate()
    writer.stream.flip(0, offset + 50)
    reader = writer.reader()
    assert numbers(reader.take(99)) == list(range(10))
    assert reader.take(99) == []  # who writes might still write there, for all that is seen
    writer.write(5)
    assert numbers(reader.take(99)) == [*range(11, 25)]
    assert reader.gaps == [(10, 10)]
    assert [d.start for d in reader.unreadable] == [offset]
    assert end


def test_a_live_reader_does_not_follow_copies_that_may_be_withdrawn(writer: Writer) -> None:
    writer.write(10)
    reader = writer.reader()
    assert numbers(reader.take(99)) == list(range(10))
    writer.stream.write(1, range(4, 10), seal=False)  # written again, and not decided for yet
    assert reader.take(99) == []
    Path(writer.stream.path(1)).unlink()  # decided against
    writer.write(2)
    assert numbers(reader.take(99)) == [10, 11]
    writer.stream.write(2, range(4, 14), seal=False)  # decided for: it goes on there
    writer.segment.seal(writer.offset)
    assert numbers(reader.take(99)) == [12, 13]
    assert not reader.damaged


def test_a_live_reader_passes_segments_that_were_made_and_never_used(writer: Writer) -> None:
    stream = writer.stream
    writer.write(2)
    reader = writer.reader()
    assert numbers(reader.take(9)) == [0, 1]
    stream.create(1, 2).close()
    Path(stream.path(2)).write_bytes(bytes(4096))
    writer.segment.seal(writer.offset)
    assert reader.take(9) == []
    stream.write(4, range(2, 6), seal=False)
    assert numbers(reader.take(9)) == [2, 3, 4, 5]
    assert not reader.damaged


def test_a_live_reader_names_a_segment_that_is_damaged_once_there_is_a_later_one(writer: Writer) -> None:
    stream = writer.stream
    writer.write(2)
    writer.rotate()
    writer.write(2)
    stream.flip(1, 50)
    reader = writer.reader()
    assert numbers(reader.take(9)) == [0, 1]
    assert not reader.damaged
    writer.rotate()
    writer.write(2)
    assert numbers(reader.take(9)) == [4, 5]
    assert reader.gaps == [(2, 3)]
    assert [(d.segment, d.reason) for d in reader.unreadable] == [(1, "checksum")]


def test_records_that_were_written_behind_a_false_end_are_found_when_they_are_missed(writer: Writer) -> None:
    writer.write(10)
    offset = _offset(writer, 4)
    word = writer.segment.read(offset, WORD)
    writer.rotate()
    writer.write(1)
    writer.stream.overwrite(0, offset, b"\xff" * WORD)
    reader = writer.reader()
    assert numbers(reader.take(9)) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert reader.gaps == [(4, 4)]
    assert word


def test_a_reader_of_one_segment_sees_another_processs_records_in_order(tmp_path: Path) -> None:
    """What the whole design leans on: words and bytes of a shared mapping, seen from another process."""
    stream = Stream(tmp_path)
    count = 100_000
    program = textwrap.dedent(
        """
        import sys
        sys.path.insert(0, sys.argv[2])
        from pathlib import Path
        from stream_files import BadBlock, BadDisk, PRINT, STREAM, Stream, event
        from auditwire.journal.format import pack

        stream = Stream(Path(sys.argv[1]))
        offset, number, segment = 0, -1, None
        for sequence in range(int(sys.argv[3])):
            payload = pack(event(sequence), sequence, PRINT)
            if segment is None or not segment.fits(offset, len(payload)):
                if segment is not None:
                    segment.seal(offset)
                number += 1
                segment = stream.create(number, sequence, size=1 << 20)
                offset = segment.start
            offset = segment.store(offset, payload)
        """
    )
    arguments = [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent), str(count)]
    with subprocess.Popen(arguments) as process:
        mapped = stream.reader(live=lambda: process.poll() is None, verify=False, moves=False)
        plain = stream.reader(live=lambda: process.poll() is None)
        seen = {mapped: 0, plain: 0}
        while not (mapped.at_end and plain.at_end):
            for reader, before in seen.items():
                records = reader.take(512)
                assert numbers(records) == list(range(before, before + len(records)))
                seen[reader] = before + len(records)
    assert process.returncode == 0
    assert list(seen.values()) == [count, count]
    assert not mapped.damaged
    assert not plain.damaged


# -- the cursor, and segments that go ---------------------------------------------------------------------


def three(stream: Stream) -> None:
    for number in range(3):
        stream.write(number, range(100 * number, 100 * number + 100), seal=number < 2)


def test_reading_begins_at_the_oldest_segment_that_is_needed(stream: Stream) -> None:
    three(stream)
    reader = stream.reader()
    drain(reader)
    size = Path(stream.path(0)).stat().st_size
    assert reader.advance(150, 120) == size
    assert stream.directory.segments() == [1, 2]
    reader.close()
    again = stream.reader()
    assert (again.low, again.listed, again.next_sequence) == (150, 120, 120)
    assert drain(again) == list(range(100, 300))  # those below low too: their digests are wanted
    assert not again.damaged


def test_a_segment_stays_while_one_of_its_records_is_not_done_or_not_listed(stream: Stream) -> None:
    three(stream)
    reader = stream.reader()
    drain(reader)
    for low, listed in ((99, 300), (300, 99), (0, 0)):
        other = stream.reader()
        drain(other)
        assert other.advance(low, listed) == 0
        other.close()
        Path(stream.directory.cursor_path).unlink()
    assert stream.directory.segments() == [0, 1, 2]
    assert reader.advance(100, 100) > 0
    assert stream.directory.segments() == [1, 2]
    assert reader.advance(300, 300) > 0
    assert stream.directory.segments() == [2]  # the last one is the writer's
    assert reader.advance(300, 300) == 0


def test_a_segment_that_is_read_stays(stream: Stream) -> None:
    three(stream)
    reader = stream.reader()
    reader.take(50)
    assert reader.advance(300, 300) == 0
    reader.take(100)
    assert reader.advance(300, 300) > 0
    assert stream.directory.segments() == [1, 2]


def test_records_that_were_appended_again_keep_both_segments_until_they_are_done(stream: Stream) -> None:
    stream.write(0, range(100), seal=False)
    stream.write(1, range(60, 180))
    reader = stream.reader()
    positions = [r.position for r in _all(reader)]
    assert reader.advance(80, 80) == 0
    assert reader.read(positions[90]).sequence == 90  # from segment 0
    assert reader.advance(100, 100) > 0
    assert stream.directory.segments() == [1]


def _all(reader: StreamReader) -> list[Record]:
    records: list[Record] = []
    while not reader.at_end:
        records += reader.take(64)
    return records


def test_damaged_segments_go_with_their_neighbours(stream: Stream) -> None:
    three(stream)
    stream.write(3, range(300, 310))
    stream.flip(0, 50)
    stream.flip(1, 50)
    reader = stream.reader()
    assert drain(reader) == list(range(200, 310))
    assert reader.gaps == [(0, 199)]
    assert reader.advance(150, 150) == 0
    assert reader.advance(200, 200) > 0
    assert stream.directory.segments() == [2, 3]


def test_segments_that_a_crash_left_behind_the_cursor_are_removed(stream: Stream) -> None:
    three(stream)
    cursor = Cursor.open(REAL, stream.directory.cursor_path, writable=True)
    cursor.write(250, 250, 2)
    cursor.close()
    reader = stream.reader()
    assert drain(reader) == list(range(200, 300))
    assert not reader.damaged
    assert reader.advance(250, 250) > 0
    assert stream.directory.segments() == [2]


def test_without_a_cursor_what_a_later_segment_has_anew_is_read_though_the_oldest_begins_behind_it(
    stream: Stream,
) -> None:
    # segment 0 is gone; what it had stands in segment 2, written anew after a synchronisation that failed
    stream.write(1, range(4, 8))
    stream.write(2, range(9), seal=False)
    reader = stream.reader()
    assert drain(reader) == list(range(9))
    assert not reader.damaged


def test_what_is_below_the_cursor_is_never_taken_back(stream: Stream) -> None:
    three(stream)
    reader = stream.reader()
    drain(reader)
    reader.advance(150, 150)
    reader.advance(20, 160)
    assert (reader.low, reader.listed) == (150, 160)
    reader.close()
    assert stream.reader().low == 150


def test_a_reader_that_only_looks_moves_nothing(stream: Stream) -> None:
    three(stream)
    reader = stream.reader(moves=False)
    assert drain(reader) == list(range(300))
    assert reader.advance(300, 300) == 0
    assert stream.directory.segments() == [0, 1, 2]
    assert not Path(stream.directory.cursor_path).exists()


def test_segments_that_the_sender_removes_under_somebody_who_looks_are_no_gap(stream: Stream) -> None:
    three(stream)
    looking = stream.reader(moves=False)
    looking.take(10)
    sending = stream.reader()
    drain(sending)
    looking._directory = stream.journal.open_stream(STREAM)
    listed = looking._directory.segments

    def stale() -> list[int]:
        found = listed()
        sending.advance(200, 200)
        return found

    looking._directory.segments = stale  # type: ignore[method-assign]
    rest = drain(looking)
    assert rest == [*range(10, 100), *range(200, 300)]
    assert not looking.damaged


def test_the_cursor_is_on_disk_before_a_segment_goes(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    three(stream)
    reader = stream.reader()
    drain(reader)
    reader.advance(150, 150)
    removed = next(
        i for i, entry in enumerate(fs.log) if entry[0] == "unlink" and "00000000.seg" in str(entry)
    )
    synced = max(i for i, entry in enumerate(fs.log) if entry[0] == "sync" and "cursor" in str(entry))
    assert synced < removed


def test_a_cursor_that_cannot_be_written_keeps_the_segments_until_it_can(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    three(stream)
    reader = stream.reader()
    drain(reader)
    reader.advance(50, 50)
    fs.fail("write", errno.EIO, "*/cursor", times=1)
    assert reader.advance(150, 150) == 0
    assert "error" in str(reader.problem)
    assert stream.directory.segments() == [0, 1, 2]
    assert reader.advance(150, 150) > 0
    assert not reader.problem
    assert stream.directory.segments() == [1, 2]


def test_a_disk_too_full_for_a_first_cursor_gets_room_all_the_same(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    three(stream)
    fs.fail("create", errno.ENOSPC, "*/cursor", times=2)
    reader = stream.reader()
    assert drain(reader) == list(range(300))
    assert reader.advance(150, 150) > 0
    assert "space" in str(reader.problem)
    assert stream.directory.segments() == [1, 2]
    reader.advance(220, 220)
    assert not reader.problem
    reader.close()
    again = stream.reader()
    assert again.low == 220
    assert drain(again) == list(range(200, 300))


def test_a_stream_without_records_has_an_end(stream: Stream) -> None:
    reader = stream.reader()
    assert reader.take(9) == []
    assert reader.at_end
    assert (reader.low, reader.listed, reader.next_sequence) == (0, 0, 0)
    assert reader.advance(0, 0) == 0
    stream.create(0, 0).close()
    again = stream.reader()
    assert drain(again) == []
    assert not again.damaged


# -- again ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verify", [True, False])
def test_any_record_that_was_given_is_read_again_by_its_position(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    monkeypatch.setattr(module, "_OPEN", 2)
    for number in range(5):
        stream.write(number, range(10 * number, 10 * number + 10))
    reader = stream.reader(verify=verify)
    records = []
    while not reader.at_end:
        records += reader.take(3)
        assert [reader.read(r.position) for r in records] == records
    assert len(records) == 50
    assert len(reader._open) == 2


def test_a_record_whose_segment_is_gone_or_damaged_is_an_error(stream: Stream) -> None:
    three(stream)
    reader = stream.reader()
    positions = [r.position for r in _all(reader)]
    reader.advance(150, 150)
    with pytest.raises(FileNotFoundError):
        reader.read(positions[10])
    stream.flip(1, (positions[120] & 0xFFFF_FFFF) + 50)
    with pytest.raises(SegmentDamaged):
        reader.read(positions[120])


# -- trouble ----------------------------------------------------------------------------------------------


def test_nothing_is_lost_by_an_error_while_a_gap_is_looked_into(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    three(stream)
    offsets = stream.offsets[1]
    fs.corrupt(stream.path(1), offsets[30] + 50, b"?")
    fs.unlink(stream.path(0))
    cursor = Cursor.open(fs, stream.directory.cursor_path, writable=True)
    cursor.write(0, 0, 0)
    cursor.close()
    for after in itertools.count():
        reader = StreamReader(fs, stream.directory, live=lambda: False, moves=False)
        fault = fs.fail("*", errno.EMFILE, "*", times=1, after=after)
        given: list[Record] = []
        while not reader.at_end:
            with contextlib.suppress(OSError):
                given += reader.take(40)
        fs.heal()
        assert numbers(given) == [*range(100, 130), *range(131, 300)]
        assert reader.gaps == [(0, 99), (130, 130)]
        assert len(reader.unreadable) == 1
        reader.close()
        if not fault.hits:
            break
    assert after > 20


def test_a_block_that_cannot_be_read_costs_the_records_on_it(stream: Stream) -> None:
    three(stream)
    offsets = stream.offsets[1]
    hit = [i for i in range(100) if offsets[i] < 12288 and offsets[i + 1] > 8192]
    reader = StreamReader(BadDisk(), stream.directory, live=lambda: False)
    assert drain(reader) == [n for n in range(300) if n - 100 not in hit]
    assert reader.gaps == [(100 + hit[0], 100 + hit[-1])]
    assert [d.start for d in reader.unreadable] == [offsets[hit[0]]]


def test_a_header_that_cannot_be_read_costs_the_segment(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(stream)
    monkeypatch.setattr(BadBlock, "bad", 0)
    reader = StreamReader(BadDisk(), stream.directory, live=lambda: False)
    assert drain(reader) == [*range(100), *range(200, 300)]
    assert reader.gaps == [(100, 199)]
    assert [(d.segment, d.start) for d in reader.unreadable] == [(1, 0)]


def test_other_errors_of_the_disk_are_told(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    three(stream)
    reader = StreamReader(BadDisk(), stream.directory, live=lambda: False)

    def refuse(self: BadBlock, offset: int, count: int) -> bytes:
        raise OSError(errno.EACCES, "refused", self.path)

    monkeypatch.setattr(BadBlock, "read", refuse)
    with pytest.raises(OSError, match="refused"):
        reader.take(9)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_closing_and_abandoning_leave_nothing_open(stream: Stream) -> None:
    three(stream)
    gc.collect()  # descriptors of other tests' leftovers would go in the middle of this one
    before = descriptors()
    reader = stream.reader()
    reader.take(250)
    reader.read(reader.take(1)[0].position)
    reader.close()
    reader.close()
    assert reader.at_end
    other = stream.reader(verify=False)
    other.take(250)
    other.abandon()
    assert descriptors() <= before + 3  # what the mappings hold, which go with the memory
    other.close()
    assert descriptors() <= before


def test_a_live_reader_keeps_waiting_where_the_later_segment_has_not_what_it_waits_for(
    writer: Writer,
) -> None:
    writer.write(5)
    writer.stream.flip(0, _offset(writer, 2) + 60)
    reader = writer.reader()
    assert numbers(reader.take(9)) == [0, 1]
    Path(writer.stream.path(1)).write_bytes(bytes(200))  # being made
    assert reader.take(9) == []
    Path(writer.stream.path(1)).unlink()
    writer.stream.write(1, range(2), seal=False)  # copies, not decided for
    assert reader.take(9) == []
    writer.stream.flip(1, writer.stream.offsets[1][1] + 60)  # one of them still being written
    assert reader.take(9) == []
    assert not reader.damaged


def test_a_missing_sequence_is_taken_from_the_first_segment_that_has_it(stream: Stream) -> None:
    first = stream.write(0, range(20), seal=False)
    stream.write(1, range(5, 20), seal=False)
    stream.write(2, range(8, 30))
    stream.flip(0, first[10] + 40)
    reader = stream.reader()
    records = _all(reader)
    assert numbers(records) == list(range(30))
    assert records[10].position >> 32 == 1
    assert reader.gaps == []


def test_without_a_cursor_damaged_headers_in_front_are_passed_over(stream: Stream) -> None:
    for number in range(1, 4):
        stream.write(number, range(100 * number, 100 * number + 10))
    stream.flip(1, 50)
    reader = stream.reader()
    assert (reader.low, reader.listed) == (200, 200)
    assert drain(reader) == [*range(200, 210), *range(300, 310)]
    assert reader.gaps == [(210, 299)]
    assert [d.segment for d in reader.unreadable] == [1]
    stream.flip(2, 50)
    stream.flip(3, 50)
    again = stream.reader()
    assert (again.low, drain(again)) == (0, [])


def test_a_segment_that_somebody_else_removed_meanwhile_counts_as_removed(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    three(stream)
    reader = stream.reader()
    drain(reader)

    def meanwhile(operation: str, path: str) -> None:
        if operation == "unlink" and path.endswith("00000000.seg"):
            fs.meanwhile = None
            fs.unlink(path)

    fs.meanwhile = meanwhile
    assert reader.advance(200, 200) == fs.size(stream.path(2))  # one of two
    assert stream.directory.segments() == [2]


def test_a_reader_without_any_file_is_closed_and_abandoned_all_the_same(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    fs.fail("*", errno.EIO, "*/cursor", times=None)
    reader = stream.reader()
    reader.abandon()
    reader.close()
    assert reader.at_end


# -- a model of reader and writer -------------------------------------------------------------------------


class ReaderMachine(RuleBasedStateMachine):
    """A writer that writes, rotates, writes again what it may have lost, and dies; and readers beside it."""

    @initialize(verify=st.booleans())
    def begin(self, verify: bool) -> None:
        self.fs = SimulatedFileSystem()
        self.stream = Stream(Path("/"), self.fs)
        self.writer = Writer(self.stream)
        self.verify = verify
        self.low = self.listed = 0
        self._open()

    def _open(self) -> None:
        self.reader = self.writer.reader(verify=self.verify)
        assert (self.reader.low, self.reader.listed) == (self.low, self.listed)
        self.given = None if self.low or self.listed else 0

    @rule(count=st.integers(1, 30))
    def write(self, count: int) -> None:
        if self.writer.alive:
            self.writer.write(count)

    @rule()
    def rotate(self) -> None:
        if self.writer.alive and self.writer.offset > self.writer.segment.start:
            self.writer.rotate()

    @rule(back=st.integers(1, 20))
    def replace(self, back: int) -> None:
        """After an input/output error: what may be lost is written again, into a new segment."""
        writer = self.writer
        if writer.alive and writer.offset > writer.segment.start:
            end = writer.sequence
            writer.sequence = max(writer.segment.first_sequence, end - back, self.low)
            if writer.sequence == end:
                writer.sequence = end
                return
            old, at = writer.segment, writer.offset
            writer.begin()
            writer.write(end - writer.sequence)
            old.seal(at)

    @rule(limit=st.integers(1, 40))
    def take(self, limit: int) -> None:
        records = self.reader.take(limit)
        found = numbers(records)
        if found:
            if self.given is None:
                assert found[0] <= min(self.low, self.listed)
                self.given = found[0]
            assert found == list(range(self.given, self.given + len(found)))
            self.given += len(found)
        assert [self.reader.read(r.position)[:8] for r in records] == [r[:8] for r in records]

    @rule(done=st.integers(0, 50), listed=st.integers(0, 50))
    def advance(self, done: int, listed: int) -> None:
        if self.given is not None:
            self.low = max(self.low, min(self.given, self.low + done))
            self.listed = max(self.listed, min(self.given, self.listed + listed))
            self.reader.advance(self.low, self.listed)

    @rule()
    def reopen(self) -> None:
        self.reader.close()
        self._open()

    @rule()
    def die(self) -> None:
        self.writer.alive = False

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.alive = False
            while not self.reader.at_end:
                self.take(64)
            if self.given is None:
                assert self.low == self.listed == self.writer.sequence
            else:
                assert self.given == self.writer.sequence
            assert not self.reader.damaged


def test_every_record_is_given_once_and_in_order() -> None:
    run_state_machine_as_test(
        ReaderMachine,
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
    )
