from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from stream_files import PRINT, SIZE, STREAM, Stream, drain, event, is_written

from auditwire.journal import recovery as module
from auditwire.journal.base import Record
from auditwire.journal.filesystem import REAL
from auditwire.journal.format import FIXED, LEAST, WORD, aligned, pack
from auditwire.journal.recovery import MAX_KEPT, Search, Unreadable, is_blank, keep_unreadable, recover
from auditwire.journal.segment import Segment
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from auditwire.journal.base import Draft


@pytest.fixture
def stream(tmp_path: Path) -> Stream:
    return Stream(tmp_path)


def recovered(
    stream: Stream, number: int = 0, *, mapped: bool = False, first: int | None = 0
) -> tuple[list[int], list[Unreadable]]:
    """The sequences, each record seen to be what was written, and what lies between."""
    segment = Segment.open(stream.fs, stream.path(number), mapped=mapped)
    records, damage = [], []
    for found in recover(segment, segment.start, first):
        if isinstance(found, Unreadable):
            damage.append(found)
        else:
            assert is_written(found)
            records.append(found.sequence)
    segment.close()
    return records, damage


def without(count: int, *missing: int) -> list[int]:
    return [sequence for sequence in range(count) if sequence not in missing]


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("seal", [True, False])
def test_a_whole_segment_has_nothing_unreadable(stream: Stream, mapped: bool, seal: bool) -> None:
    stream.write(0, range(100), seal=seal)
    assert recovered(stream, mapped=mapped) == (without(100), [])


def test_an_empty_segment_has_nothing(stream: Stream) -> None:
    stream.create(0, 0).close()
    assert recovered(stream) == ([], [])


@pytest.mark.parametrize("mapped", [True, False])
def test_several_damaged_places_are_named_one_by_one(stream: Stream, mapped: bool) -> None:
    offsets = stream.write(0, range(100))
    for index in (0, 10, 11, 50, 99):
        stream.flip(0, offsets[index] + 40)
    records, damage = recovered(stream, mapped=mapped)
    assert records == without(100, 0, 10, 11, 50, 99)
    assert [(d.start, d.end) for d in damage] == [
        (offsets[0], offsets[1]),
        (offsets[10], offsets[12]),
        (offsets[50], offsets[51]),
        (offsets[99], offsets[100]),
    ]


def test_recovery_goes_on_from_any_record(stream: Stream) -> None:
    offsets = stream.write(0, range(20))
    segment = Segment.open(REAL, stream.path(0))
    owner = object()
    found = list(recover(segment, offsets[5], 5, origin=owner))
    assert [f.sequence for f in found if isinstance(f, Record)] == list(range(5, 20))
    assert all(isinstance(f, Record) and f.origin is owner for f in found)
    segment.close()


def test_copies_of_parked_records_may_come_in_any_order(stream: Stream) -> None:
    offsets = stream.write(0, [9, 3, 100, 4, 5], parked=True)
    stream.flip(0, offsets[1] + 40)
    records, damage = recovered(stream, first=None)
    assert records == [9, 100, 4, 5]
    assert [(d.start, d.end, d.reason) for d in damage] == [(offsets[1], offsets[2], "checksum")]


def test_a_zeroed_stretch_of_megabytes_is_skipped(stream: Stream) -> None:
    offsets = stream.write(0, range(9000), size=4 << 20)
    stream.overwrite(0, offsets[10], bytes(offsets[8990] - offsets[10]))
    records, damage = recovered(stream)
    assert records == [*range(10), *range(8990, 9000)]
    assert damage == [Unreadable(0, offsets[10], offsets[8990], "zeros")]


# -- what is at the end -----------------------------------------------------------------------------------


def test_zeros_to_the_end_are_nothing(stream: Stream) -> None:
    stream.write(0, range(5), seal=False)
    assert recovered(stream)[1] == []


def test_anything_but_zeros_at_the_end_is_named(stream: Stream) -> None:
    offsets = stream.write(0, range(5), seal=False)
    stream.overwrite(0, offsets[5] + 100, b"\x01")
    assert recovered(stream) == (without(5), [Unreadable(0, offsets[5], aligned(offsets[5] + 101), "zeros")])


def test_what_is_left_behind_a_seal_is_nothing(stream: Stream) -> None:
    offsets = stream.write(0, range(5))
    stream.overwrite(0, offsets[5] + 100, b"what an append that was refused has left")
    assert recovered(stream) == (without(5), [])


@pytest.mark.parametrize("written", [36, 60])
def test_an_append_that_was_killed_is_told_from_damage(stream: Stream, written: int) -> None:
    """Its bytes are there, or some of them, and its word is not: it was never accepted."""
    offsets = stream.write(0, range(5), seal=False)
    payload = pack(event(5), 5, PRINT)
    stream.overwrite(0, offsets[5] + WORD, payload[:written])
    end = offsets[5] + aligned(WORD + len(payload))
    assert recovered(stream) == (without(5), [Unreadable(0, offsets[5], end, "unpublished")])


def half_copied(stream: Stream, number: int, offset: int) -> int:
    """A large record, the last part of which was copied first and its beginning not at all; the end of it."""
    stream.overwrite(number, offset + 4096, b"the last bytes of a body " * 100)
    return aligned(offset + 4096 + 2500)


def test_what_a_killed_process_had_copied_of_a_record_is_no_damage_on_the_same_boot(stream: Stream) -> None:
    """The kernel lost no page: a zero word with no record behind it is the end, whatever else is there."""
    offsets = stream.write(0, range(5), seal=False)
    end = half_copied(stream, 0, offsets[5])
    segment = Segment.open(REAL, stream.path(0))
    found = list(recover(segment, segment.start, 0, restarted=False))
    segment.close()
    assert found[5:] == [Unreadable(0, offsets[5], end, "unpublished")]
    reader = stream.reader(restarted=False)
    assert drain(reader) == without(5)
    assert not reader.damaged
    assert reader.unpublished == [Unreadable(0, offsets[5], end, "unpublished")]


def test_where_the_machine_may_have_been_restarted_the_same_bytes_are_damage(stream: Stream) -> None:
    offsets = stream.write(0, range(5), seal=False)
    end = half_copied(stream, 0, offsets[5])
    reader = stream.reader()
    assert drain(reader) == without(5)
    assert reader.unreadable == [Unreadable(0, offsets[5], end, "zeros")]


@pytest.mark.parametrize("first", [5, 6])
def test_zeros_with_a_later_record_anywhere_are_damage_on_any_boot(stream: Stream, first: int) -> None:
    offsets = stream.write(0, range(5), seal=False)
    end = half_copied(stream, 0, offsets[5])
    stream.write(1, range(first, 9), seal=False)
    reader = stream.reader(restarted=False)
    assert drain(reader) == [*range(5), *range(first, 9)]
    assert reader.unreadable == [Unreadable(0, offsets[5], end, "zeros")]
    assert reader.unpublished == []
    assert reader.gaps == ([] if first == 5 else [(5, 5)])


def test_zeros_in_front_of_a_segment_without_records_are_the_end(stream: Stream) -> None:
    offsets = stream.write(0, range(5), seal=False)
    half_copied(stream, 0, offsets[5])
    half_copied(stream, 1, stream.write(1, range(5, 6), seal=False)[0])
    stream.overwrite(1, stream.offsets[1][0], bytes(8))
    reader = stream.reader(restarted=False)
    assert drain(reader) == without(5)
    assert not reader.damaged
    assert [damage.segment for damage in reader.unpublished] == [0, 1]


def test_a_segment_stays_while_it_is_open_whether_it_is_damaged(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are to be kept if it is: it must not go before a later segment was read."""
    offsets = stream.write(0, range(5), seal=False)
    half_copied(stream, 0, offsets[5])
    stream.write(1, range(5, 9), seal=False)
    reader = stream.reader(restarted=False)
    assert len(reader.take(5)) == 5
    failing = OSError(errno.EIO, "as a failing disk has it", stream.path(1))
    with monkeypatch.context() as patch:
        patch.setattr(Segment, "take", lambda *_, **__: (_ for _ in ()).throw(failing))
        with pytest.raises(OSError, match="failing disk"):
            reader.take(5)
    reader.advance(5, 5)
    assert Path(stream.path(0)).exists()
    assert len(reader.take(5)) == 4
    assert len(reader.unreadable) == 1
    reader.advance(9, 9)
    assert not Path(stream.path(0)).exists()


def test_a_search_that_was_cut_short_does_not_call_anything_the_end(stream: Stream) -> None:
    """Somebody who chooses bodies could make it stop before the record that comes behind them."""
    offsets = stream.write(0, range(5), seal=False)
    length = SIZE // 2
    lengths = FIXED.pack(6, 0, LEAST - FIXED.size, 0, 0, 0, 0, length - LEAST)
    for at in range(offsets[5] + 64, offsets[5] + 64 + 64 * 10, 64):  # each costs a checksum of half the file
        stream.overwrite(0, at, length.to_bytes(WORD, "little") + lengths)
    reader = stream.reader(restarted=False)
    assert drain(reader) == without(5)
    assert [damage.reason for damage in reader.unreadable] == ["zeros"]


@pytest.mark.parametrize("spoilt", ["sequence", "lengths", "behind"])
def test_what_only_looks_like_a_killed_append_is_damage(stream: Stream, spoilt: str) -> None:
    offsets = stream.write(0, range(5), seal=False)
    payload = bytearray(pack(event(5), 7 if spoilt == "sequence" else 5, PRINT))
    if spoilt == "lengths":
        payload[22] = 17  # of a traceparent
    stream.overwrite(0, offsets[5] + WORD, bytes(payload))
    if spoilt == "behind":
        stream.overwrite(0, offsets[5] + WORD + len(payload) + 50, b"x")
    assert [d.reason for d in recovered(stream)[1]] == ["zeros"]


def test_a_word_of_zeros_within_the_last_bytes_of_a_file_is_damage(stream: Stream) -> None:
    offsets = stream.write(0, range(5), seal=False)
    os.truncate(stream.path(0), offsets[5] + 20)
    stream.overwrite(0, offsets[5] + 16, b"xy")
    assert recovered(stream) == (without(5), [Unreadable(0, offsets[5], offsets[5] + 20, "zeros")])


def test_a_damaged_last_record_ends_where_the_seal_stands(stream: Stream) -> None:
    offsets = stream.write(0, range(5))
    stream.flip(0, offsets[4] + 40)
    assert recovered(stream) == (without(5, 4), [Unreadable(0, offsets[4], offsets[5], "checksum")])


def test_a_whole_record_with_a_number_that_cannot_be_is_named(stream: Stream) -> None:
    stream.write(0, [0, 1, 2, 50, 3])
    records, damage = recovered(stream)
    offsets = stream.offsets[0]
    assert records == [0, 1, 2]
    assert [(d.start, d.reason) for d in damage] == [(offsets[3], "sequence")]


# -- bounds -----------------------------------------------------------------------------------------------


class Counting:
    """A segment that counts what is asked of it."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.loaded = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.segment, name)

    def load(self, offset: int, *, verify: bool) -> object:
        self.loaded += self.segment.word(offset) & 0xFFFF_FFFF
        return self.segment.load(offset, verify=verify)


def test_the_work_on_checksums_is_bounded_whatever_the_bodies_hold(stream: Stream) -> None:
    """Heads of records whose lengths belong together, as many as fit, each claiming all that follows."""
    size = 256 << 10
    stream.create(0, 0, size=size).close()
    segment = Segment.open(REAL, stream.path(0))
    with Path(stream.path(0)).open("r+b") as file:
        for at in range(segment.start + 48, size - 8192, 40):
            length = min(size - at - WORD, 100_000) & ~7
            file.seek(at)
            file.write(length.to_bytes(8, "little"))
            file.write(FIXED.pack((at - segment.start) // 48, 0, 9, 0, 0, 0, 0, length - 28 - 9))
    counting = Counting(segment)
    damage, found = Search(counting).behind(segment.start, 0)  # type: ignore[arg-type]
    assert found is None
    assert damage is not None
    assert damage.end >= size - 8192 - 40
    assert counting.loaded <= module.CHECKSUM_WORK * size + 100_000
    assert counting.loaded > size  # the bound is what ended it
    segment.close()


def test_what_stands_inside_of_a_damaged_record_is_not_looked_at_where_its_length_is_whole(
    stream: Stream,
) -> None:
    def make(sequence: int) -> Draft:
        return event(sequence)._replace(tail=bytes(range(256)) * 200) if sequence == 3 else event(sequence)

    offsets = stream.write(0, range(6), make=make)
    stream.flip(0, offsets[3] + 60)
    segment = Segment.open(REAL, stream.path(0))
    counting = Counting(segment)
    damage, found = Search(counting).behind(offsets[3], 3)  # type: ignore[arg-type]
    assert found is not None
    assert (found.sequence, damage) == (4, Unreadable(0, offsets[3], offsets[4], "checksum"))
    assert counting.loaded < 60_000 + 2 * (offsets[5] - offsets[4])  # its own, for the reason, and the next
    segment.close()


@pytest.mark.parametrize("place", ["lengths", "beyond", "flags", "trace", "kind"])
def test_heads_that_cannot_be_are_passed_over_without_a_checksum(stream: Stream, place: str) -> None:
    segment = stream.create(0, 0)
    length = {"lengths": 38, "beyond": 1 << 20}.get(place, 37)
    flags, trace, kind = int(place == "flags"), 54 * (place == "trace"), 8 if place == "kind" else 9
    body = (37 if place == "lengths" else length) - 28 - kind - trace
    if body < 0:
        length, body = 200, 200 - 28 - kind - trace
    head = length.to_bytes(8, "little") + FIXED.pack(1, 0, kind, 0, 0, trace, flags, body)
    start = segment.start
    segment.close()
    stream.overwrite(0, start + 80, head)
    opened = Segment.open(REAL, stream.path(0))
    counting = Counting(opened)
    damage, found = Search(counting).behind(start, 0)  # type: ignore[arg-type]
    assert found is None
    assert damage is not None
    assert counting.loaded == 0
    opened.close()


def test_a_file_of_zeros_is_blank(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 << 20))
    assert is_blank(REAL, str(path), 3 << 20)
    assert is_blank(REAL, str(path), 0)
    path.write_bytes(bytes(2 << 20) + b"x")
    assert not is_blank(REAL, str(path), (2 << 20) + 1)


def test_a_file_that_cannot_be_read_is_not_blank() -> None:
    fs = SimulatedFileSystem()
    fs.open("/file", create=True).reserve(5000)
    fs.fail("read", errno.EIO, "/file")
    assert not is_blank(fs, "/file", 5000)
    assert is_blank(fs, "/file", 5000)
    fs.fail("read", errno.EACCES, "/file")
    with pytest.raises(PermissionError):
        is_blank(fs, "/file", 5000)


# -- what is kept -----------------------------------------------------------------------------------------


def test_unreadable_bytes_are_kept_with_a_note(stream: Stream) -> None:
    offsets = stream.write(0, range(10))
    stream.flip(0, offsets[4] + 40)
    damage = recovered(stream)[1][0]
    note = keep_unreadable(stream.journal, stream.directory, damage, at_us=1_700_000_000_000_001)
    folder = Path(stream.journal.quarantine_path(STREAM))
    name = f"00000000-{offsets[4]}-{offsets[5]}"
    assert sorted(p.name for p in folder.iterdir()) == [f"{name}.bytes", f"{name}.json"]
    assert note == str(folder / f"{name}.json")
    assert (folder / f"{name}.bytes").read_bytes() == Path(stream.path(0)).read_bytes()[
        offsets[4] : offsets[5]
    ]
    assert json.loads(Path(note).read_text()) == {
        "stream": STREAM,
        "segment": 0,
        "parked": False,
        "start": offsets[4],
        "end": offsets[5],
        "reason": "checksum",
        "size": offsets[5] - offsets[4],
        "kept": offsets[5] - offsets[4],
        "at": "2023-11-14T22:13:20.000001+00:00",
    }
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_bytes_that_are_kept_already_stay_as_they_are(stream: Stream) -> None:
    stream.write(0, range(10))
    damage = Unreadable(0, 100, 200, "checksum")
    note = keep_unreadable(stream.journal, stream.directory, damage, at_us=1)
    text = Path(note).read_text()
    kept = Path(note[:-5] + ".bytes")
    kept.write_bytes(b"looked at")
    assert keep_unreadable(stream.journal, stream.directory, damage, at_us=2) == note
    assert Path(note).read_text() == text
    assert kept.read_bytes() == b"looked at"
    Path(note).unlink()  # whoever was stopped before the note was written
    kept.write_bytes(b"x" * 5000)
    keep_unreadable(stream.journal, stream.directory, damage, at_us=2)
    assert len(kept.read_bytes()) == 100


def test_of_a_large_file_so_much_is_kept(stream: Stream) -> None:
    with Path(stream.path(0)).open("wb") as file:
        file.truncate(MAX_KEPT + (1 << 20))
    damage = Unreadable(0, 0, MAX_KEPT + (1 << 20), "foreign")
    note = keep_unreadable(stream.journal, stream.directory, damage, at_us=1)
    assert json.loads(Path(note).read_text())["kept"] == MAX_KEPT
    assert Path(note[:-5] + ".bytes").stat().st_size == MAX_KEPT


def test_what_the_file_has_not_got_any_more_is_not_kept(stream: Stream) -> None:
    Path(stream.path(0)).write_bytes(b"x" * 150)
    note = keep_unreadable(stream.journal, stream.directory, Unreadable(0, 100, 200, "truncated"), at_us=1)
    assert json.loads(Path(note).read_text())["kept"] == 50


def test_bytes_of_parked_copies_are_kept_under_a_name_of_their_own(stream: Stream) -> None:
    stream.write(0, range(3))
    folder = Path(stream.directory.parked_path)
    folder.mkdir()
    (folder / "00000000.seg").write_bytes(b"y" * 300)
    damage = Unreadable(0, 0, 300, "foreign")
    note = keep_unreadable(stream.journal, stream.directory, damage, at_us=1, parked=True)
    assert Path(note).name == "parked-00000000-0-300.json"
    assert Path(note[:-5] + ".bytes").read_bytes() == b"y" * 300
    assert json.loads(Path(note).read_text())["parked"] is True


def test_bytes_that_cannot_be_kept_are_an_error_and_can_be_kept_later(tmp_path: Path) -> None:
    fs = SimulatedFileSystem()
    stream = Stream(Path("/"), fs)
    stream.write(0, range(10))
    damage = Unreadable(0, 100, 200, "checksum")
    for after in range(4):
        fs.fail("write", errno.ENOSPC, "*quarantine*", times=1, after=after)
        try:
            note = keep_unreadable(stream.journal, stream.directory, damage, at_us=1)
        except OSError:
            note = None
        fs.heal()
        if note is not None:
            break
    assert note is not None
    assert after == 2  # the bytes and the note can fail
    folder = stream.journal.quarantine_path(STREAM)
    assert sorted(fs.list(folder)) == ["00000000-100-200.bytes", "00000000-100-200.json"]


def test_a_file_that_is_cut_while_it_is_searched_has_an_end(stream: Stream) -> None:
    offsets = stream.write(0, range(1000), size=256 << 10)
    segment = Segment.open(REAL, stream.path(0), mapped=False)
    search = Search(segment)
    os.truncate(stream.path(0), offsets[10] + 4)
    damage, found = search.behind(offsets[5], 5000)  # no number fits: all of it is searched
    assert (damage, found) == (Unreadable(0, offsets[5], aligned(offsets[10] + 4), "sequence"), None)
    os.truncate(stream.path(0), offsets[5])
    assert search.behind(offsets[5], 5) == (None, None)
    segment.close()
