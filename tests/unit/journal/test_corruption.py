"""One test for each way in which the files of a stream are damaged: all that can be read is delivered."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_files import PRINT, STREAM, Stream, drain, event, is_written, ranges

from auditwire.journal.cursor import SLOT_OFFSETS, Cursor
from auditwire.journal.filesystem import REAL
from auditwire.journal.format import WORD, aligned, pack
from auditwire.journal.recovery import Unreadable
from auditwire.journal.segment import Segment

if TYPE_CHECKING:
    from auditwire.journal.base import Draft


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    """Three segments: 0 to 99, 100 to 199, 200 to 249."""
    made = Stream(tmp_path)
    made.write(0, range(100))
    made.write(1, range(100, 200))
    made.write(2, range(200, 250), seal=False)
    return made


def without(*missing: int, count: int = 250) -> list[int]:
    return [sequence for sequence in range(count) if sequence not in missing]


# -- records ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 1, 7, 60, 0xFFFF, 0xFFFF_FFFF])
def test_a_torn_length_costs_one_record(stream: Stream, length: int) -> None:
    offsets = stream.offsets[1]
    stream.overwrite(1, offsets[30], length.to_bytes(4, "little"))
    reader = stream.reader()
    assert drain(reader) == without(130)
    assert ranges(reader.unreadable) == [(1, offsets[30], offsets[31])]
    assert reader.gaps == [(130, 130)]
    assert reader.damaged


def test_a_torn_length_of_the_last_record_is_named(stream: Stream) -> None:
    offsets = stream.offsets[2]
    stream.overwrite(2, offsets[49], b"\0\0\0\0")
    reader = stream.reader()
    assert drain(reader) == without(249)
    assert [(d.start, d.reason) for d in reader.unreadable] == [(offsets[49], "checksum")]
    assert reader.gaps == []  # nothing tells that there was another one


def test_a_torn_body_costs_one_record(stream: Stream) -> None:
    offsets = stream.offsets[1]
    stream.overwrite(1, offsets[31] - 40, b"\0" * 40)  # the writing ended within it
    reader = stream.reader()
    assert drain(reader) == without(130)
    assert reader.unreadable == [Unreadable(1, offsets[30], offsets[31], "checksum")]
    assert reader.gaps == [(130, 130)]


def test_a_torn_body_of_the_last_record_is_named(stream: Stream) -> None:
    offsets = stream.offsets[2]
    stream.overwrite(2, offsets[50] - 40, b"\0" * 40)
    reader = stream.reader()
    assert drain(reader) == without(249)
    assert [(d.segment, d.start, d.reason) for d in reader.unreadable] == [(2, offsets[49], "checksum")]


@pytest.mark.parametrize("bit", range(0, 36 * 8 + 16, 5))
def test_a_bit_flip_in_a_record_costs_that_record(tmp_path: Path, bit: int) -> None:
    stream = Stream(tmp_path)
    offsets = stream.write(0, range(20))
    stream.flip(0, offsets[10] + bit // 8, bit % 8)
    reader = stream.reader()
    assert drain(reader) == without(10, count=20)
    assert ranges(reader.unreadable) == [(0, offsets[10], offsets[11])]
    assert reader.gaps == [(10, 10)]


def test_a_bit_flip_in_the_first_record_costs_that_record(stream: Stream) -> None:
    stream.flip(0, stream.offsets[0][0] + 50)
    reader = stream.reader()
    assert drain(reader) == without(0)
    assert reader.gaps == [(0, 0)]


def test_a_bit_flip_between_records_costs_nothing(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    offsets = stream.write(0, range(20))
    records = stream.reader().take(20)
    padded = next(r for r in records if len(r.body) and r.size % 8 == 0 and _padding(stream, r.position))
    stream.flip(0, (padded.position & 0xFFFF_FFFF) + padded.size - 1)
    reader = stream.reader()
    assert drain(reader) == without(count=20)
    assert not reader.damaged
    assert offsets


def _padding(stream: Stream, position: int) -> int:
    segment = Segment.open(REAL, stream.path(0))
    length = segment.word(position & 0xFFFF_FFFF) & 0xFFFF_FFFF
    segment.close()
    return -length % 8


def test_a_zeroed_page_with_valid_records_behind_it_costs_what_was_on_it(stream: Stream) -> None:
    offsets = stream.offsets[1]
    stream.overwrite(1, 8192, bytes(4096))
    hit = [i for i in range(100) if offsets[i] < 12288 and offsets[i + 1] > 8192]
    reader = stream.reader()
    assert drain(reader) == without(*[100 + i for i in hit])
    assert ranges(reader.unreadable) == [(1, offsets[hit[0]], offsets[hit[-1] + 1])]
    assert reader.gaps == [(100 + hit[0], 100 + hit[-1])]


def test_a_page_that_begins_with_a_record_and_is_zeroed_is_not_taken_for_the_end(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    offsets = stream.write(0, range(60), seal=False)
    stream.overwrite(0, offsets[20], bytes(offsets[40] - offsets[20]))
    reader = stream.reader()
    assert drain(reader) == without(*range(20, 40), count=60)
    assert reader.unreadable == [Unreadable(0, offsets[20], offsets[40], "zeros")]
    assert reader.gaps == [(20, 39)]


def test_a_page_of_ones_is_not_taken_for_the_end(stream: Stream) -> None:
    offsets = stream.offsets[1]
    stream.overwrite(1, offsets[20], b"\xff" * (offsets[40] - offsets[20]))
    reader = stream.reader()
    assert drain(reader) == without(*range(120, 140))
    assert ranges(reader.unreadable) == [(1, offsets[20], offsets[40])]
    assert reader.gaps == [(120, 139)]


def test_the_last_records_of_a_segment_in_zeros_are_a_gap_that_the_next_one_tells(stream: Stream) -> None:
    offsets = stream.offsets[1]
    stream.overwrite(1, offsets[90], bytes(offsets[100] + WORD - offsets[90]))
    reader = stream.reader()
    assert drain(reader) == without(*range(190, 200))
    assert reader.gaps == [(190, 199)]


def test_a_lost_seal_costs_nothing(stream: Stream) -> None:
    stream.overwrite(1, stream.offsets[1][100], bytes(WORD))
    reader = stream.reader()
    assert drain(reader) == without()
    assert not reader.damaged


def test_a_record_that_was_never_published_is_no_damage(stream: Stream) -> None:
    offsets = stream.offsets[2]
    stream.overwrite(2, offsets[49], bytes(WORD))
    reader = stream.reader()
    assert drain(reader) == without(249)
    assert reader.unpublished == [Unreadable(2, offsets[49], offsets[50], "unpublished")]
    assert not reader.damaged


# -- files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("offset", [0, 9, 12, 20, 33, 49, 61, 66])
def test_a_bit_flip_in_a_header_costs_the_segment_and_the_neighbours_say_which_sequences(
    stream: Stream, number: int, offset: int
) -> None:
    stream.flip(number, offset)
    reader = stream.reader()
    lost = range(100 * number, 100 * number + 100)
    assert drain(reader) == without(*lost)
    assert ranges(reader.unreadable) == [(number, 0, Path(stream.path(number)).stat().st_size)]
    assert reader.gaps == [(lost[0], lost[-1])]


def test_a_bit_flip_in_the_last_header_is_named(stream: Stream) -> None:
    stream.flip(2, 50)
    reader = stream.reader()
    assert drain(reader) == without(*range(200, 250))
    assert reader.unreadable == [Unreadable(2, 0, 64 << 10, "checksum")]


@pytest.mark.parametrize("where", [0, 100, "record", "word"])
def test_a_truncated_file_gives_what_it_still_has(stream: Stream, where: int | str) -> None:
    offsets = stream.offsets[1]
    size = {"record": offsets[30] + 20, "word": offsets[30] + 8}.get(str(where), where)
    os.truncate(stream.path(1), int(size))
    reader = stream.reader()
    lost = range(100, 200) if isinstance(where, int) else range(130, 200)
    assert drain(reader) == without(*lost)
    assert reader.gaps == [(lost[0], 199)]
    if where == "record":
        assert reader.unreadable == [Unreadable(1, offsets[30], offsets[30] + 20, "truncated")]
    elif where == 100:
        assert reader.unreadable == [Unreadable(1, offsets[0], 100, "truncated")]


def test_a_file_of_zeros_is_no_loss_by_itself(stream: Stream) -> None:
    with Path(stream.path(3)).open("wb") as file:  # killed while it was made
        file.truncate(1 << 20)
    Path(stream.path(4)).touch()
    reader = stream.reader()
    assert drain(reader) == without()
    assert not reader.damaged


def test_a_copy_under_the_number_of_another_segment_is_named_and_its_original_delivered(
    stream: Stream,
) -> None:
    shutil.copy(stream.path(1), stream.path(3))
    stream.write(4, range(250, 260))
    reader = stream.reader()
    assert drain(reader) == without(count=260)
    assert reader.unreadable == [Unreadable(3, 0, 64 << 10, "number")]
    assert reader.gaps == []


def test_a_copy_in_place_of_another_segment_costs_that_one(stream: Stream) -> None:
    shutil.copy(stream.path(0), stream.path(1))
    reader = stream.reader()
    assert drain(reader) == without(*range(100, 200))
    assert reader.unreadable == [Unreadable(1, 0, 64 << 10, "number")]
    assert reader.gaps == [(100, 199)]


def test_a_copy_under_a_name_that_is_no_segments_is_left_alone(stream: Stream) -> None:
    shutil.copy(stream.path(1), stream.path(1) + ".bak")
    shutil.copy(stream.path(1), stream.path(1).replace("00000001", "1"))
    reader = stream.reader()
    assert drain(reader) == without()
    assert not reader.damaged


def test_sequences_that_were_appended_again_are_given_once(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    stream.write(0, range(100), seal=False)
    stream.write(1, range(60, 180))  # the medium had refused what was written since 60
    stream.write(2, range(180, 200))
    reader = stream.reader()
    assert drain(reader) == without(count=200)
    assert not reader.damaged


def test_the_second_copy_of_a_sequence_is_taken_where_the_first_is_damaged(tmp_path: Path) -> None:
    stream = Stream(tmp_path)
    first = stream.write(0, range(100), seal=False)
    second = stream.write(1, range(60, 180))
    stream.flip(0, first[70] + 50)
    stream.flip(1, second[20] + 50)  # sequence 80, which segment 0 has
    stream.overwrite(0, first[95], bytes(first[100] - first[95]))  # 95 to 99
    stream.flip(1, second[37] + 50)  # of which segment 1 lacks 97
    reader = stream.reader()
    assert drain(reader) == without(97, count=180)
    assert reader.gaps == [(97, 97)]
    assert ranges(reader.unreadable) == [
        (0, first[70], first[71]),
        (1, second[20], second[21]),
        (1, second[37], second[38]),
    ]


def test_a_missing_middle_segment_is_a_gap(stream: Stream) -> None:
    Path(stream.path(1)).unlink()
    reader = stream.reader()
    assert drain(reader) == without(*range(100, 200))
    assert reader.gaps == [(100, 199)]
    assert reader.unreadable == []
    assert reader.damaged


def test_a_missing_first_segment_that_the_cursor_calls_needed_is_a_gap(stream: Stream) -> None:
    cursor = Cursor.open(REAL, stream.directory.cursor_path, writable=True)
    cursor.write(20, 10, 0)
    cursor.close()
    Path(stream.path(0)).unlink()
    reader = stream.reader()
    assert drain(reader) == list(range(100, 250))
    assert reader.gaps == [(10, 99)]


def test_a_missing_segment_in_front_of_an_empty_one_is_a_gap(stream: Stream) -> None:
    Path(stream.path(2)).unlink()
    stream.create(3, 250).close()
    reader = stream.reader()
    assert drain(reader) == without(*range(200, 250))
    assert reader.gaps == [(200, 249)]


def test_a_foreign_file_in_the_directory_is_left_alone(stream: Stream) -> None:
    folder = Path(stream.directory.path)
    for name in ("core", ".DS_Store", "00000001.seg~", "0000000x.seg", "cursor.old"):
        (folder / name).write_bytes(b"whatever")
    (folder / "00000009.seg").write_bytes(b"not one of ours, but called so" * 100)
    reader = stream.reader()
    assert drain(reader) == without()
    assert reader.unreadable == [Unreadable(9, 0, 3000, "foreign")]
    assert (folder / "core").read_bytes() == b"whatever"


def test_a_segment_of_another_stream_is_named(stream: Stream, tmp_path: Path) -> None:
    stream.create(3, 250, stream_id=STREAM.replace("01890a5d", "01890a5e")).close()
    reader = stream.reader()
    assert drain(reader) == without()
    assert [d.reason for d in reader.unreadable] == ["number"]


def test_a_segment_of_a_newer_version_is_named_and_the_others_delivered(stream: Stream) -> None:
    stream.overwrite(1, 8, b"\x02\x00")
    reader = stream.reader()
    assert drain(reader) == without(*range(100, 200))
    assert reader.unreadable == [Unreadable(1, 0, 64 << 10, "version")]
    assert reader.gaps == [(100, 199)]


# -- bodies that look like records ------------------------------------------------------------------------


def _whole(payload: bytes, salt: int) -> bytes:
    """A record as it stands on disk, with its word."""
    return (
        (crc32(payload, salt) << 32 | len(payload)).to_bytes(8, "little") + payload + bytes(-len(payload) % 8)
    )


def _bearing(inner: bytes, sequence: int) -> Draft:
    """An event in whose body these bytes lie on an 8-byte boundary of the segment."""
    plain = event(sequence)
    before = len(pack(plain._replace(head=b"", tail=b""), sequence, PRINT))
    return plain._replace(head=b"", tail=bytes(-before % 8) + inner)


@pytest.mark.parametrize("salt", [0, 0x1234_5678])
@pytest.mark.parametrize("damage", [None, "body", "length"])
def test_a_body_that_contains_a_valid_looking_record_is_no_record(
    tmp_path: Path, salt: int, damage: str | None
) -> None:
    stream = Stream(tmp_path)
    forged = _whole(pack(event(11)._replace(event_id="forged"), 11, PRINT), salt)

    def make(sequence: int) -> Draft:
        return _bearing(forged * 3, 10) if sequence == 10 else event(sequence)

    offsets = stream.write(0, range(20), make=make, salt=0x1234_5678)
    if damage == "body":
        stream.flip(0, offsets[10] + 20)
    elif damage == "length":
        stream.flip(0, offsets[10], 4)
    reader = stream.reader()
    given = []
    while not reader.at_end:
        given += reader.take(100)
    if salt and damage == "length":
        # Whoever knows the salt, and has the length in front of his bytes damaged, can put in a record: an
        # accident cannot, and who can write the file need not.
        return
    assert [r.sequence for r in given] == without(*([10] if damage else []), count=20)
    assert "forged" not in {r.event_id for r in given}
    if damage:
        assert ranges(reader.unreadable) == [(0, offsets[10], offsets[11])]


def test_a_segment_copied_into_bodies_of_another_is_not_read_from_there(tmp_path: Path) -> None:
    source = Stream(tmp_path / "source")
    source.write(0, range(40), salt=7)
    raw = Path(source.path(0)).read_bytes()[source.offsets[0][0] : source.offsets[0][40]]
    stream = Stream(tmp_path / "target")
    offsets = stream.write(
        0, range(20), make=lambda n: _bearing(raw, n) if n == 5 else event(n), salt=8, size=1 << 20
    )
    stream.overwrite(0, offsets[5], bytes(16))
    reader = stream.reader()
    assert drain(reader) == without(5, count=20)
    assert ranges(reader.unreadable) == [(0, offsets[5], offsets[6])]


# -- the cursor -------------------------------------------------------------------------------------------


def _advanced(stream: Stream) -> None:
    reader = stream.reader()
    reader.take(150)
    reader.advance(50, 40)
    reader.advance(90, 80)
    reader.close()


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize("byte", [0, 5, 8, 16, 24, 32, 40, 60])
def test_a_bit_flip_in_a_cursor_slot_leaves_the_other_slot(stream: Stream, slot: int, byte: int) -> None:
    _advanced(stream)
    with Path(stream.directory.cursor_path).open("r+b") as file:
        file.seek(SLOT_OFFSETS[slot] + byte)
        raw = file.read(1)
        file.seek(SLOT_OFFSETS[slot] + byte)
        file.write(bytes([raw[0] ^ 2]))
    reader = stream.reader()
    assert (reader.low, reader.listed) in {(50, 40), (90, 80)}
    assert drain(reader) == without()
    assert reader.gaps == []


@pytest.mark.parametrize("how", ["gone", "zeros", "cut", "noise"])
def test_with_the_cursor_destroyed_the_whole_backlog_is_delivered(stream: Stream, how: str) -> None:
    _advanced(stream)
    path = Path(stream.directory.cursor_path)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"zeros": bytes(8192), "cut": b"AWC", "noise": bytes(range(256)) * 32}[how])
    reader = stream.reader()
    assert (reader.low, reader.listed) == (0, 0)
    assert drain(reader) == without()
    assert not reader.damaged


def test_with_the_cursor_destroyed_a_stream_begins_with_its_oldest_segment(stream: Stream) -> None:
    reader = stream.reader()
    drain(reader)
    reader.advance(150, 150)
    reader.close()
    Path(stream.directory.cursor_path).unlink()
    reader = stream.reader()
    assert (reader.low, reader.listed) == (100, 100)
    assert drain(reader) == list(range(100, 250))
    assert not reader.damaged


def test_segments_that_an_older_cursor_slot_calls_needed_are_no_gap_when_they_are_gone(
    stream: Stream,
) -> None:
    reader = stream.reader()
    drain(reader)
    reader.advance(90, 90)  # slot of generation 1
    reader.advance(150, 150)  # slot of generation 2; removes segment 0
    reader.close()
    with Path(stream.directory.cursor_path).open("r+b") as file:
        file.seek(SLOT_OFFSETS[0])
        file.write(b"\xff" * 64)
    reader = stream.reader()
    assert reader.low == 90
    assert drain(reader) == list(range(100, 250))
    assert reader.gaps == []


# -- anything ---------------------------------------------------------------------------------------------

_Damage = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 1 << 20), st.integers(0, 7)),
    st.tuples(st.just("zero"), st.integers(0, 1 << 20), st.integers(1, 9000)),
    st.tuples(st.just("ones"), st.integers(0, 1 << 20), st.integers(1, 600)),
    st.tuples(st.just("noise"), st.integers(0, 1 << 20), st.binary(min_size=1, max_size=300)),
    st.tuples(st.just("cut"), st.integers(0, 1 << 20), st.none()),
    st.tuples(st.just("move"), st.integers(0, 1 << 20), st.integers(1, 2000)),
)


@given(count=st.integers(1, 120), damages=st.lists(_Damage, max_size=6), seal=st.booleans())
def test_whatever_is_damaged_all_other_records_are_delivered_and_none_that_was_not_written(
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    damages: list[tuple[str, int, object]],
    *,
    seal: bool,
) -> None:
    stream = Stream(tmp_path_factory.mktemp("any"))
    offsets = stream.write(0, range(count), size=32 << 10 if count < 100 else 64 << 10, seal=seal)
    path = Path(stream.path(0))
    raw = bytearray(path.read_bytes())
    original = bytes(raw)
    for kind, place, how in damages:
        at = place % max(1, len(raw))
        if kind == "flip" and raw:
            raw[at] ^= 1 << int(str(how))
        elif kind == "zero":
            end = min(len(raw), at + int(str(how)))
            raw[at:end] = bytes(end - at)
        elif kind == "ones":
            end = min(len(raw), at + int(str(how)))
            raw[at:end] = b"\xff" * (end - at)
        elif kind == "noise":
            assert isinstance(how, bytes)
            end = min(len(raw), at + len(how))
            raw[at:end] = how[: end - at]
        elif kind == "cut":
            del raw[at:]
        elif kind == "move":  # a piece of it stands somewhere else
            end = min(len(raw), at + int(str(how)))
            to = aligned(len(raw) // 3)
            piece = raw[at:end]
            raw[to : to + len(piece)] = piece[: max(0, len(raw) - to)]
    path.write_bytes(raw)
    whole = raw[: offsets[0]] == original[: offsets[0]]
    intact = {
        n
        for n in range(count)
        if whole and raw[offsets[n] : offsets[n + 1]] == original[offsets[n] : offsets[n + 1]]
    }
    reader = stream.reader()
    given_ = []
    while not reader.at_end:
        given_ += reader.take(16)
    reader.close()
    assert all(map(is_written, given_))
    numbers = [r.sequence for r in given_]
    assert numbers == sorted(set(numbers))
    assert intact <= set(numbers)
    last = max(numbers, default=-1)
    missing = {n for first, end in reader.gaps for n in range(first, end + 1)}
    assert missing == set(range(last + 1)) - set(numbers)
