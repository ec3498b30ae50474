from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID
from zlib import crc32

import pytest
from stream_files import INFO, PRINT, STREAM, TRACE, create, draft

from auditwire.journal import format as module
from auditwire.journal.base import Record
from auditwire.journal.filesystem import REAL, RealFile, RealFileSystem
from auditwire.journal.format import aligned, pack_header
from auditwire.journal.segment import (
    PARKED,
    SEALED,
    WINDOW,
    Segment,
    SegmentDamaged,
    pack,
    pack_record,
)
from auditwire.wire import join_body

KIBIBYTE = 1 << 10


class PlainFile(RealFile):
    """On a file system that does not map."""

    __slots__ = ()

    def map(self, size: int, *, writable: bool) -> NoReturn:
        raise OSError(errno.ENODEV, "cannot be mapped", self.path)


class PlainFileSystem(RealFileSystem):
    file: type[RealFile] = PlainFile

    def open(self, path: str, **how: Any) -> RealFile:
        real = super().open(path, **how)
        other = self.file(real.path, os.dup(real._fd))
        real.close()
        return other


PLAIN = PlainFileSystem()


@pytest.fixture(params=["mapped", "plain"])
def fs(request: pytest.FixtureRequest) -> RealFileSystem:
    return REAL if request.param == "mapped" else PLAIN


def filled(fs: RealFileSystem, folder: Path, count: int, **other: Any) -> tuple[Segment, list[int]]:
    """A segment with so many records; their offsets, and the one behind the last."""
    segment = create(fs, folder, **other)
    offsets = [segment.start]
    for sequence in range(10, 10 + count):
        offsets.append(segment.store(offsets[-1], pack(draft(f"e-{sequence}"), sequence, PRINT)))
    return segment, offsets


# -- writing and reading ----------------------------------------------------------------------------------


def test_what_was_stored_is_read_by_another_opening_of_the_file(fs: RealFileSystem, tmp_path: Path) -> None:
    writer = create(fs, tmp_path)
    reader = Segment.open(fs, writer.path)
    assert reader.mapped == writer.mapped == (fs is REAL)
    assert reader.word(reader.start) == 0
    after = writer.store(writer.start, pack(draft("e-10", trace=TRACE), 10, PRINT))
    owner = object()
    record, end = reader.load(reader.start, verify=True, origin=owner)
    assert end == after
    assert record == Record(
        sequence=10,
        event_type="turn_start",
        topic="audit.turn-start",
        key=b"s-1",
        timestamp_us=1_700_000_000_000_000,
        event_id="e-10",
        trace=TRACE,
        body=join_body(b"h", 10, b"body"),
        size=after - writer.start,
        fingerprint=PRINT,
        position=3 << 32 | writer.start,
        origin=owner,
    )
    assert type(record) is Record
    assert reader.read(writer.start, 8) == reader.word(writer.start).to_bytes(8, "little")
    writer.sync()
    writer.close()
    reader.close()


def test_an_opened_segment_knows_what_it_was_made_with(fs: RealFileSystem, tmp_path: Path) -> None:
    made = create(fs, tmp_path, parked=True, salt=5, created_us=6)
    opened = Segment.open(fs, made.path)
    assert {name: getattr(opened, name) for name in ("number", "stream_id", "first_sequence", "info")} == {
        "number": 3,
        "stream_id": STREAM,
        "first_sequence": 10,
        "info": INFO,
    }
    assert (opened.parked, opened.salt, opened.created_us) == (True, 5, 6)
    assert (opened.start, opened.size, opened.path) == (made.start, made.size, made.path)


def test_the_position_of_a_parked_copy_says_so(fs: RealFileSystem, tmp_path: Path) -> None:
    segment, offsets = filled(fs, tmp_path, 1, parked=True)
    record, _ = segment.load(offsets[0], verify=True)
    assert record.position == PARKED | 3 << 32 | offsets[0]


def test_a_segment_is_taken_up_again_where_it_ended(fs: RealFileSystem, tmp_path: Path) -> None:
    first, offsets = filled(fs, tmp_path, 2)
    first.close()
    again = Segment.open(fs, first.path, writable=True)
    end = again.store(offsets[-1], pack(draft("e-12"), 12, PRINT))
    records, after = again.take(again.start, 10, 99, verify=True)
    assert [r.event_id for r in records] == ["e-10", "e-11", "e-12"]
    assert after == end


def test_a_copy_of_a_record_reads_back_as_the_record(fs: RealFileSystem, tmp_path: Path) -> None:
    segment, offsets = filled(fs, tmp_path, 1)
    record, _ = segment.load(offsets[0], verify=True)
    segment.store(offsets[1], pack_record(record._replace(trace=TRACE)))
    copy, _ = segment.load(offsets[1], verify=True)
    assert copy == record._replace(trace=TRACE, position=copy.position, size=copy.size)


def test_take_gives_at_most_the_limit_and_goes_on_from_there(fs: RealFileSystem, tmp_path: Path) -> None:
    segment, offsets = filled(fs, tmp_path, 5)
    first, offset = segment.take(offsets[0], 10, 3, verify=True)
    assert offset == offsets[3]
    rest, offset = segment.take(offset, 13, 3, verify=False)
    assert offset == offsets[5]
    assert [r.sequence for r in first + rest] == [10, 11, 12, 13, 14]
    assert segment.take(offset, 15, 3, verify=True) == ([], offset)


def test_take_stops_where_the_segment_was_sealed(fs: RealFileSystem, tmp_path: Path) -> None:
    segment, offsets = filled(fs, tmp_path, 2)
    segment.seal(offsets[2])
    records, offset = segment.take(offsets[0], 10, 99, verify=False)
    assert (len(records), offset) == (2, offsets[2])
    assert segment.word(offset) == SEALED


def test_take_stops_at_a_number_that_does_not_follow(fs: RealFileSystem, tmp_path: Path) -> None:
    segment, offsets = filled(fs, tmp_path, 1)
    segment.store(offsets[1], pack(draft(), 12, PRINT))
    assert len(segment.take(offsets[0], 10, 99, verify=True)[0]) == 1
    assert len(segment.take(offsets[0], None, 99, verify=True)[0]) == 2


def test_records_larger_than_a_plain_read_are_read_whole(fs: RealFileSystem, tmp_path: Path) -> None:
    segment = create(fs, tmp_path, size=4 << 20)
    sizes = [10, WINDOW + 100, 20, WINDOW - 100, 3 * WINDOW, 30]
    offset = segment.start
    for sequence, size in enumerate(sizes, 10):
        offset = segment.store(offset, pack(draft(body=b"x" * size), sequence, PRINT))
    records, end = segment.take(segment.start, 10, 99, verify=True)
    assert end == offset
    assert [len(r.body) - 2 for r in records] == sizes


def test_a_segment_is_read_to_its_last_byte(fs: RealFileSystem, tmp_path: Path) -> None:
    segment = create(fs, tmp_path, size=2 * KIBIBYTE + 5)
    payload = pack(draft(), 10, PRINT)
    offset, count = segment.start, 0
    while segment.fits(offset, len(payload)):
        offset = segment.store(offset, pack(draft(), 10 + count, PRINT))
        count += 1
    segment.seal(offset)
    assert offset + 8 <= segment.size
    assert offset + 8 + aligned(8 + len(payload)) > segment.size - 5
    records, end = segment.take(segment.start, 10, 999, verify=True)
    assert (len(records), end) == (count, offset)
    assert segment.word(aligned(segment.size)) == 0
    assert segment.take(aligned(segment.size), 0, 1, verify=True) == ([], aligned(segment.size))


def test_fits_leaves_room_for_the_seal_and_the_reserve(fs: RealFileSystem, tmp_path: Path) -> None:
    segment = create(fs, tmp_path, size=1024)
    assert segment.fits(512, 1024 - 512 - 8 - 8)
    assert not segment.fits(512, 1024 - 512 - 8 - 8 + 1)
    assert segment.fits(512, 400 - 8 - 8, reserve=112)
    assert not segment.fits(512, 400 - 8 - 8, reserve=113)


def test_storing_a_record_again_leaves_the_one_behind_it(fs: RealFileSystem, tmp_path: Path) -> None:
    segment, offsets = filled(fs, tmp_path, 2)
    segment.store(offsets[0], pack(draft("e-10"), 10, PRINT))  # a thread that helped, and slept meanwhile
    records, _ = segment.take(offsets[0], 10, 9, verify=True)
    assert [r.event_id for r in records] == ["e-10", "e-11"]


def test_a_shorter_record_where_a_write_failed_is_followed_by_no_word(tmp_path: Path) -> None:
    class Failing(PlainFile):
        __slots__ = ()
        failures = 0

        def write(self, offset: int, data: bytes) -> None:
            super().write(offset, data)
            if Failing.failures:
                Failing.failures -= 1
                raise OSError(errno.EIO, "the end of it failed", self.path)

    class FailingFileSystem(PlainFileSystem):
        file = Failing

    segment, offsets = filled(FailingFileSystem(), tmp_path, 1)
    for size in (900, 300):  # the second one fails too
        Failing.failures = 1
        with pytest.raises(OSError, match="failed"):
            segment.store(offsets[1], pack(draft(body=b"\x55" * size), 11, PRINT))
    after = segment.store(offsets[1], pack(draft("e-11"), 11, PRINT))
    assert not any(segment.read(after, 1000))
    records, end = segment.take(offsets[0], 10, 9, verify=False)
    assert ([r.event_id for r in records], end) == (["e-10", "e-11"], after)


def test_an_abandoned_segment_is_still_read_and_no_longer_synced(tmp_path: Path) -> None:
    segment, offsets = filled(REAL, tmp_path, 1)
    segment.abandon()
    segment.sync()
    segment.store(offsets[1], pack(draft("e-11"), 11, PRINT))
    assert len(segment.take(offsets[0], 10, 9, verify=True)[0]) == 2
    segment.close()


# -- damage -----------------------------------------------------------------------------------------------


def damaged(segment: Segment, offset: int, raw: bytes) -> Segment:
    """The segment, opened anew with these bytes in it."""
    segment.close()
    with Path(segment.path).open("r+b") as file:
        file.seek(offset)
        file.write(raw)
    return Segment.open(REAL, segment.path)


def reason(fs: RealFileSystem, path: str) -> str:
    with pytest.raises(SegmentDamaged) as caught:
        Segment.open(fs, path)
    assert path in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("bit", range(64 * 8))
def test_a_flipped_bit_anywhere_in_the_header_is_found(tmp_path: Path, bit: int) -> None:
    segment = create(REAL, tmp_path)
    raw = segment.read(0, 64)
    segment.close()
    changed = int.from_bytes(raw, "little") ^ 1 << bit
    with Path(segment.path).open("r+b") as file:
        file.write(changed.to_bytes(64, "little"))
    expected = "foreign" if bit < 64 else "version" if bit < 80 else "checksum"
    if 52 * 8 <= bit < 56 * 8:
        assert reason(REAL, segment.path) in {"checksum", "truncated"}
    else:
        assert reason(REAL, segment.path) == expected


def test_a_flipped_bit_in_the_description_is_found(tmp_path: Path) -> None:
    segment = create(REAL, tmp_path)
    raw = segment.read(70, 1)
    segment.close()
    with Path(segment.path).open("r+b") as file:
        file.seek(70)
        file.write(bytes([raw[0] ^ 1]))
    assert reason(REAL, segment.path) == "checksum"


@pytest.mark.parametrize("numbers", [{"first_sequence": 1 << 62}, {"number": 1 << 30}])
def test_numbers_that_no_stream_reaches_are_no_header(tmp_path: Path, numbers: dict[str, int]) -> None:
    raw = pack_header(
        **{"stream_id": STREAM, "number": 3, "first_sequence": 0, "info": INFO, **numbers},  # type: ignore[arg-type]
        parked=False,
        salt=None,
        created_us=None,
    )
    (tmp_path / "00000003.seg").write_bytes(raw.ljust(4096, b"\0"))
    assert reason(REAL, str(tmp_path / "00000003.seg")) == "malformed"


@pytest.mark.parametrize("size", [0, 7, 63])
def test_a_file_shorter_than_a_header_is_no_segment(tmp_path: Path, size: int) -> None:
    segment = create(REAL, tmp_path)
    segment.close()
    os.truncate(segment.path, size)
    assert reason(REAL, segment.path) == "truncated"


def test_a_file_cut_within_its_description_is_no_segment(tmp_path: Path) -> None:
    segment = create(REAL, tmp_path)
    segment.close()
    os.truncate(segment.path, 66)
    assert reason(REAL, segment.path) == "truncated"


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff", b"[" * 100_000])
def test_a_description_that_is_no_object_is_damage_even_where_the_checksum_agrees(
    tmp_path: Path, text: bytes
) -> None:
    header = module.HEADER.pack(b"AWJSEG\r\n", 1, 0, 0, UUID(STREAM).bytes, 0, 0, 0, len(text), 0)
    path = tmp_path / "s"
    path.write_bytes(header + crc32(header + text).to_bytes(4, "little") + text + bytes(100))
    assert reason(REAL, str(path)) == "malformed"


@pytest.mark.parametrize("place", [0, 4, 8, 16, 24, 30, 32, 40, 60])
@pytest.mark.parametrize("verify", [True, False])
def test_a_flipped_byte_of_a_record_is_found(tmp_path: Path, place: int, verify: bool) -> None:
    segment, offsets = filled(REAL, tmp_path, 3)
    raw = segment.read(offsets[1] + place, 1)
    segment = damaged(segment, offsets[1] + place, bytes([raw[0] ^ 0x40]))
    records, offset = segment.take(offsets[0], 10, 99, verify=verify)
    if verify:
        assert (len(records), offset) == (1, offsets[1])
        with pytest.raises(SegmentDamaged, match=f"{segment.path} at {offsets[1]}") as caught:
            segment.load(offsets[1], verify=True)
        assert caught.value.reason in {"checksum", "truncated"}
    else:
        assert len(records) >= 1  # whatever it believes, nothing is raised


def test_lengths_that_do_not_belong_together_are_damage_though_the_checksum_agrees(tmp_path: Path) -> None:
    segment, offsets = filled(REAL, tmp_path, 0)
    for spoilt in (b"\x01\x00", b"\xff\xff"):
        payload = bytearray(pack(draft(), 10, PRINT))
        payload[16:18] = spoilt  # the kind's length
        segment.store(offsets[0], bytes(payload))
        with pytest.raises(SegmentDamaged, match="belong together") as caught:
            segment.load(offsets[0], verify=True)
        assert caught.value.reason == "malformed"


def test_text_that_is_no_utf_8_is_damage_though_the_checksum_agrees(tmp_path: Path) -> None:
    segment, offsets = filled(REAL, tmp_path, 0)
    payload = bytearray(pack(draft("e-1"), 10, PRINT))
    payload[payload.index(b"e-1")] = 0xFF
    segment.store(offsets[0], bytes(payload))
    with pytest.raises(SegmentDamaged):
        segment.load(offsets[0], verify=True)


@pytest.mark.parametrize("kind", [PRINT, PRINT + b"\x05abcd"])
def test_a_kind_that_cannot_hold_its_event_type_is_damage(tmp_path: Path, kind: bytes) -> None:
    segment, offsets = filled(REAL, tmp_path, 0)
    fixed = module.FIXED.pack(10, 0, len(kind), 0, 0, 0, 0, 9)
    segment.store(offsets[0], fixed + kind + b"bodybody!")
    with pytest.raises(SegmentDamaged):
        segment.load(offsets[0], verify=True)


def test_nothing_is_loaded_where_nothing_is(fs: RealFileSystem, tmp_path: Path) -> None:
    segment, offsets = filled(fs, tmp_path, 1)
    with pytest.raises(SegmentDamaged) as caught:
        segment.load(offsets[1], verify=True)
    assert caught.value.reason == "nothing"


def test_a_length_beyond_the_file_is_damage(fs: RealFileSystem, tmp_path: Path) -> None:
    segment, offsets = filled(fs, tmp_path, 1)
    segment.close()
    os.truncate(segment.path, offsets[1] - 16)
    segment = Segment.open(fs, segment.path)
    with pytest.raises(SegmentDamaged) as caught:
        segment.load(offsets[0], verify=True)
    assert caught.value.reason == "truncated"


def test_a_file_cut_under_a_plain_reader_is_damage_and_no_signal(tmp_path: Path) -> None:
    segment, offsets = filled(REAL, tmp_path, 400)
    segment.close()
    reader = Segment.open(REAL, segment.path, mapped=False)
    os.truncate(segment.path, offsets[200] + 20)
    records, offset = reader.take(offsets[0], 10, 999, verify=True)
    assert (len(records), offset) == (200, offsets[200])
    assert reader.take(offsets[300], 310, 9, verify=True) == ([], offsets[300])
    assert reader.word(offsets[300]) == 0
    os.truncate(segment.path, offsets[200] + 8)
    assert reader.take(offsets[200], 210, 9, verify=True) == ([], offsets[200])


# -- files ------------------------------------------------------------------------------------------------


def test_a_segment_that_cannot_be_reserved_leaves_no_file(tmp_path: Path) -> None:
    class Full(RealFile):
        __slots__ = ()

        def reserve(self, size: int) -> NoReturn:
            raise OSError(errno.ENOSPC, "no room", self.path)

    class FullFileSystem(PlainFileSystem):
        file = Full

    with pytest.raises(OSError, match="no room"):
        create(FullFileSystem(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_already_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "00000003.seg").write_bytes(b"another's")
    with pytest.raises(FileExistsError):
        create(REAL, tmp_path)
    assert (tmp_path / "00000003.seg").read_bytes() == b"another's"


def test_a_description_must_leave_room_for_a_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        create(REAL, tmp_path, size=KIBIBYTE, info={"a": "x" * 900})
    with pytest.raises(ValueError, match="cannot hold"):
        create(REAL, tmp_path, size=4 << 20, info={"a": "x" * module.MAX_INFO})
    assert list(tmp_path.iterdir()) == []


def test_a_new_segment_has_its_bytes_on_disk_and_its_permissions(tmp_path: Path) -> None:
    segment = create(REAL, tmp_path, size=1 << 20, mode=0o640)
    status = Path(segment.path).stat()
    assert status.st_blocks * 512 >= 1 << 20
    assert status.st_mode & 0o777 == 0o640


def test_salts_differ_between_segments(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    salts = {create(REAL, tmp_path / "a").salt, create(REAL, tmp_path / "b").salt}
    assert len(salts) == 2


def test_closing_again_does_nothing(fs: RealFileSystem, tmp_path: Path) -> None:
    segment = create(fs, tmp_path)
    segment.close()
    segment.close()


def test_a_reader_holds_no_right_to_write(tmp_path: Path) -> None:
    segment = create(REAL, tmp_path)
    segment.close()
    Path(segment.path).chmod(0o400)
    reader = Segment.open(REAL, segment.path)
    with pytest.raises(TypeError):
        reader.store(reader.start, pack(draft(), 10, PRINT))
