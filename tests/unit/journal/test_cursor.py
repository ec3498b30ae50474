"""The cursor: its bytes, and that no single damage takes more than the last position."""

from __future__ import annotations

import errno
import random
import struct
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.journal.cursor import MAGIC, SIZE, SLOT_OFFSETS, SLOT_SIZE, VERSION, Cursor, Position
from auditwire.journal.filesystem import REAL
from auditwire.journal.format import MAX_SEQUENCE
from support.simulated_disk import PAGE
from support.simulated_fs import SimulatedFileSystem

if TYPE_CHECKING:
    from pathlib import Path

u32 = st.integers(0, 2**32 - 1)
sequences = st.integers(0, MAX_SEQUENCE)
positions = st.builds(Position, sequences, sequences, u32)


def written(*moves: Position) -> SimulatedFileSystem:
    """A disk with a cursor that has been through these positions, all of them durable."""
    fs = SimulatedFileSystem()
    cursor = Cursor.open(fs, "/cursor", writable=True)
    for position in moves:
        cursor.write(*position)
    cursor.close()
    fs.sync()
    return fs


def read(fs: SimulatedFileSystem) -> Position | None:
    cursor = Cursor.open(fs, "/cursor", writable=False)
    try:
        return cursor.read()
    finally:
        cursor.close()


def slot_with(**fields: int | bytes) -> bytes:
    values: dict[str, int | bytes] = {
        "magic": MAGIC, "version": VERSION, "flags": 0, "generation": 2, "low": 1, "listed": 2, "segment": 3
    }  # fmt: skip
    head = struct.pack("<4sHHQQQI24x", *(values | fields).values())
    return head + struct.pack("<I", crc32(head))


# bytes


def test_a_slot_has_the_bytes_of_the_table() -> None:
    assert (SLOT_SIZE, SLOT_OFFSETS, SIZE) == (64, (0, 4096), 4160)
    data = written(Position(1, 2, 3), Position(0x1122334455667788, 0x0102030405060708, 0x99AABBCC)).content(
        "/cursor"
    )
    assert len(data) == SIZE
    slot = data[:64]
    assert slot[0:4] == b"AWCU"
    assert slot[4:6] == b"\x01\0"
    assert slot[6:8] == b"\0\0"
    assert slot[8:16] == b"\x02" + bytes(7)
    assert slot[16:24] == bytes.fromhex("8877665544332211")
    assert slot[24:32] == bytes.fromhex("0807060504030201")
    assert slot[32:36] == bytes.fromhex("ccbbaa99")
    assert slot[36:60] == bytes(24)
    assert slot[60:64] == crc32(slot[:60]).to_bytes(4, "little")
    first = data[4096:]
    assert first[8:16] == b"\x01" + bytes(7)
    assert first[16:36] == struct.pack("<QQI", 1, 2, 3)
    assert data[64:4096] == bytes(4096 - 64)


@given(st.lists(positions, min_size=1, max_size=6))
def test_the_last_position_is_read_by_every_process(moves: list[Position]) -> None:
    assert read(written(*moves)) == moves[-1]


# damage


@given(positions, positions, st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=200))
def test_any_damage_in_one_place_leaves_one_of_the_two_last_positions(
    before: Position, last: Position, offset: int, garbage: bytes
) -> None:
    fs = written(before, last)
    whole = fs.content("/cursor")
    fs.corrupt("/cursor", offset, garbage[: SIZE - offset])
    hit = [fs.content("/cursor")[at : at + SLOT_SIZE] != whole[at : at + SLOT_SIZE] for at in SLOT_OFFSETS]
    assert not all(hit)
    assert read(fs) == (before if hit[0] else last)  # the second write is in slot 0


@given(st.lists(positions, min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 2**32))
def test_after_a_power_loss_the_position_is_none_older_than_the_last_sync(
    moves: list[Position], unsynced: int, seed: int
) -> None:
    fs = SimulatedFileSystem()
    cursor = Cursor.open(fs, "/cursor", writable=True)
    for position in moves:
        cursor.write(*position)
    cursor.sync()
    fs.sync_directory("/")
    later = [Position(n, n, n) for n in range(unsynced)]
    for position in later:
        cursor.write(*position)
    assert read(fs.crash(random.Random(seed))) in [moves[-1], *later]


@given(positions, positions, st.integers(0, SLOT_SIZE - 1), positions)
def test_a_write_that_is_torn_anywhere_leaves_the_position_before_it(
    before: Position, last: Position, kept: int, next_: Position
) -> None:
    fs = written(before, last)
    old = fs.content("/cursor")
    cursor = Cursor.open(fs, "/cursor", writable=True)
    cursor.write(*next_)
    new = fs.content("/cursor")
    at = SLOT_OFFSETS[1]
    torn = new[at : at + kept] + old[at + kept : at + SLOT_SIZE]
    fs.corrupt("/cursor", at, torn)
    assert read(fs) == (next_ if torn == new[at:] else last)


def test_a_flipped_bit_anywhere_in_a_slot_is_found() -> None:
    data = written(Position(1, 2, 3), Position(4, 5, 6)).content("/cursor")
    for bit in range(SLOT_SIZE * 8):
        fs = written(Position(1, 2, 3), Position(4, 5, 6))
        fs.corrupt("/cursor", bit // 8, bytes([data[bit // 8] ^ 1 << bit % 8]))
        cursor = Cursor.open(fs, "/cursor", writable=False)
        assert cursor.read() == Position(1, 2, 3)
        assert len(cursor.problems) == 1
        assert cursor.problems[0].startswith("slot 0: ")


def test_with_both_slots_damaged_there_is_no_position_and_the_next_write_makes_one() -> None:
    fs = written(Position(1, 2, 3), Position(4, 5, 6))
    for at in SLOT_OFFSETS:
        fs.corrupt("/cursor", at + 20, b"\xff")
    cursor = Cursor.open(fs, "/cursor", writable=True)
    assert cursor.read() is None
    assert cursor.problems == ["slot 0: checksum does not match", "slot 1: checksum does not match"]
    cursor.write(7, 8, 9)
    assert cursor.read() == Position(7, 8, 9)
    cursor.write(10, 11, 12)
    assert cursor.read() == Position(10, 11, 12)
    assert cursor.problems == []


def test_a_lost_page_takes_one_slot() -> None:
    for page, expected in ((0, Position(1, 2, 3)), (1, Position(4, 5, 6))):
        fs = written(Position(1, 2, 3), Position(4, 5, 6))
        fs.corrupt("/cursor", page * PAGE, bytes(min(PAGE, SIZE - page * PAGE)))
        assert read(fs) == expected


@pytest.mark.parametrize(
    ("slot", "problem"),
    [
        (slot_with(version=2, generation=9), "slot 0: version 2; this auditwire knows version 1"),
        (slot_with(version=0), "slot 0: version 0; this auditwire knows version 1"),
        (slot_with(magic=b"ABCD"), "slot 0: not a cursor"),
        (slot_with(generation=3), "slot 0: belongs into the other slot"),
    ],
)
def test_a_slot_that_is_not_one_of_ours_is_named_and_passed_over(slot: bytes, problem: str) -> None:
    fs = written(Position(1, 2, 3))
    fs.corrupt("/cursor", 0, slot)
    cursor = Cursor.open(fs, "/cursor", writable=True)
    assert cursor.read() == Position(1, 2, 3)
    assert cursor.problems == [problem]
    cursor.write(4, 5, 6)
    assert cursor.read() == Position(4, 5, 6)
    assert cursor.problems == []


def test_a_slot_of_generation_0_is_none() -> None:
    fs = written(Position(1, 2, 3))
    fs.corrupt("/cursor", 0, slot_with(generation=0))
    fs.corrupt("/cursor", SLOT_OFFSETS[1], bytes(SLOT_SIZE))
    assert read(fs) is None


@pytest.mark.parametrize("size", [0, 1, 63, 64, 4095, 4096, 4097, SIZE - 1])
def test_of_a_file_that_was_cut_what_is_whole_is_read(size: int) -> None:
    fs = written(Position(1, 2, 3), Position(4, 5, 6))
    fs.cut("/cursor", size)
    assert read(fs) == (Position(4, 5, 6) if size >= SLOT_SIZE else None)


def test_a_cut_slot_says_so() -> None:
    fs = written(Position(1, 2, 3))
    fs.cut("/cursor", SIZE - 4)
    cursor = Cursor.open(fs, "/cursor", writable=False)
    assert cursor.read() is None
    assert cursor.problems == ["slot 1: cut off after 60 bytes"]


# opening, writing, closing


def test_a_real_cursor_is_written_read_and_reopened(tmp_path: Path) -> None:
    path = str(tmp_path / "cursor")
    cursor = Cursor.open(REAL, path, writable=True, mode=0o660)
    assert cursor.read() is None
    assert cursor.problems == []
    reader = Cursor.open(REAL, path, writable=False)
    for n in range(5):
        cursor.write(n, n + 1, n + 2)
        assert reader.read() == cursor.read() == Position(n, n + 1, n + 2)
    cursor.sync()
    cursor.close()
    reader.close()
    assert REAL.mode(path) == 0o660
    again = Cursor.open(REAL, path, writable=True)
    again.write(100, 101, 102)  # without a read before it
    assert again.read() == Position(100, 101, 102)
    data = REAL.open(path, writable=False)
    assert data.read(8, 8) == (6).to_bytes(8, "little")
    data.close()
    again.close()


def test_a_missing_cursor_is_read_as_none_until_somebody_makes_it() -> None:
    fs = SimulatedFileSystem()
    reader = Cursor.open(fs, "/cursor", writable=False)
    assert reader.read() is None
    with pytest.raises(ValueError, match="not opened for writing"):
        reader.write(1, 2, 3)
    Cursor.open(fs, "/cursor", writable=True).write(1, 2, 3)
    assert reader.read() == Position(1, 2, 3)
    reader.sync()


def test_there_is_no_cursor_to_write_where_the_directory_is_gone() -> None:
    with pytest.raises(FileNotFoundError):
        Cursor.open(SimulatedFileSystem(), "/gone/cursor", writable=True)


def test_a_closed_cursor_is_neither_read_nor_written() -> None:
    cursor = Cursor.open(SimulatedFileSystem(), "/cursor", writable=True)
    cursor.close()
    cursor.close()
    cursor.sync()
    for call in (cursor.read, lambda: cursor.write(1, 2, 3)):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_disk_that_is_full_keeps_no_cursor_from_moving_that_has_moved_before() -> None:
    fs = SimulatedFileSystem(capacity=3 * PAGE)
    cursor = Cursor.open(fs, "/cursor", writable=True)
    cursor.write(1, 2, 3)
    fs.open("/other", create=True).reserve(PAGE)
    with pytest.raises(OSError, match="other"):
        fs.open("/other").reserve(2 * PAGE)
    for n in range(4):
        cursor.write(n, n, n)
        assert cursor.read() == Position(n, n, n)


def test_a_first_write_without_room_fails_and_can_be_repeated() -> None:
    fs = SimulatedFileSystem(capacity=3 * PAGE)
    other = fs.open("/other", create=True)
    other.reserve(2 * PAGE)
    other.close()
    cursor = Cursor.open(fs, "/cursor", writable=True)
    with pytest.raises(OSError, match="cursor") as caught:
        cursor.write(1, 2, 3)
    assert caught.value.errno == errno.ENOSPC
    assert cursor.read() is None
    fs.unlink("/other")
    cursor.write(1, 2, 3)
    assert cursor.read() == Position(1, 2, 3)


def test_a_write_that_fails_leaves_the_position_before_it() -> None:
    fs = written(Position(1, 2, 3))
    cursor = Cursor.open(fs, "/cursor", writable=True)
    fs.fail("write", errno.EIO)
    with pytest.raises(OSError, match="cursor"):
        cursor.write(4, 5, 6)
    assert cursor.read() == Position(1, 2, 3)
    cursor.write(4, 5, 6)
    assert cursor.read() == Position(4, 5, 6)


@pytest.mark.parametrize("position", [(-1, 0, 0), (0, 2**64, 0), (0, 0, 2**32)])
def test_a_number_out_of_range_is_refused_and_changes_nothing(position: tuple[int, int, int]) -> None:
    fs = written(Position(1, 2, 3))
    cursor = Cursor.open(fs, "/cursor", writable=True)
    with pytest.raises(struct.error):
        cursor.write(*position)
    assert cursor.read() == Position(1, 2, 3)


@pytest.mark.parametrize(
    "fields", [{"low": MAX_SEQUENCE + 1}, {"listed": 2**64 - 1}, {"generation": 2**64 - 2 + 1}]
)
def test_numbers_that_no_stream_reaches_are_no_position(fields: dict[str, int]) -> None:
    """They would not fit into the next slot, or into the record that states how far the stream came."""
    fs = SimulatedFileSystem()
    file = fs.open("/cursor", create=True)
    offset = SLOT_OFFSETS[fields.get("generation", 2) & 1]
    file.write(offset, slot_with(**fields))
    file.close()
    cursor = Cursor.open(fs, "/cursor", writable=True)
    assert cursor.read() is None
    assert "no stream reaches" in cursor.problems[0]
    cursor.write(1, 2, 3)
    assert cursor.read() == Position(1, 2, 3)
