"""How far a stream has come: a file of two slots, written in turn, so that one of them is always whole.

A slot is 64 bytes, little-endian; the slots begin at bytes 0 and 4096, on pages of their own, so that one
lost page takes one slot. The slot with the higher generation counts; the next one is written over the other::

    0   4   magic, ``AWCU``
    4   2   version, 1
    6   2   flags, 0
    8   8   generation, from 1 on; an odd one is in the second slot
    16  8   low: every record below this sequence is done
    24  8   listed: every record below this sequence is listed by a checkpoint that is done
    32  4   segment: the number of the oldest one that is still needed
    36  24  reserved, 0
    60  4   CRC-32 of bytes 0 to 59

The cursor only makes things quicker. Where it is lost, or older than the truth, records are sent again and
readers drop the copies; what it says was true when it was written, and stays true.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from auditwire.journal.format import MAX_SEQUENCE

if TYPE_CHECKING:
    from auditwire.journal.filesystem import File, FileSystem

__all__ = ["MAGIC", "SIZE", "SLOT_OFFSETS", "SLOT_SIZE", "VERSION", "Cursor", "Position"]

MAGIC = b"AWCU"
VERSION = 1
SLOT_SIZE = 64
SLOT_OFFSETS = (0, 4096)
SIZE = SLOT_OFFSETS[1] + SLOT_SIZE
"""Bytes of the whole file."""

_HEAD = Struct("<4sHH")
_SLOT = Struct("<4sHHQQQI24x")
_CRC = Struct("<I")
_LAST = (1 << 64) - 1


class Position(NamedTuple):
    """How far a stream has come.

    Attributes:
        low: Every record below this sequence is done: acknowledged, or quarantined and that acknowledged.
        listed: Every record below this sequence is listed by a checkpoint that is done.
        segment: The number of the oldest segment that is still needed.
    """

    low: int
    listed: int
    segment: int


class Cursor:
    """The cursor file of one stream. Only the holder of the stream's ``sender.lock`` writes it.

    Attributes:
        problems: What the last `read` found wrong, one text a slot; empty slots are no problem.
    """

    def __init__(self, fs: FileSystem, path: str, file: File | None) -> None:
        self.path = path
        self.problems: list[str] = []
        self._fs = fs
        self._file = file
        self._generation = -1  # not known before something was read
        self._reserved = False
        self._closed = False

    @classmethod
    def open(cls, fs: FileSystem, path: str, *, writable: bool, mode: int = 0o600) -> Cursor:
        """Open the cursor of a stream.

        Args:
            fs: Where it is.
            path: The file.
            writable: Whether it will be written; then it is made when there is none.
            mode: The permissions of a file that is made.

        Raises:
            OSError: It cannot be opened or made. Reading a missing one is no error.
        """
        try:
            file = fs.open(path, create=writable, writable=writable, mode=mode)
        except FileNotFoundError:
            if writable:
                raise
            file = None
        return cls(fs, path, file)

    def read(self) -> Position | None:
        """The position; None when there is none, or no slot is whole and of this version."""
        self._check_open()
        self.problems = []
        self._generation = 0
        if self._file is None and self._fs.exists(self.path):  # made since it was opened
            self._file = self._fs.open(self.path, writable=False)
        if self._file is None:
            return None
        data = self._file.read(0, SIZE)
        best = None
        for number, offset in enumerate(SLOT_OFFSETS):
            slot = data[offset : offset + SLOT_SIZE]
            try:
                found = _unpack(slot, number)
            except ValueError as error:
                self.problems.append(f"slot {number}: {error}")
                continue
            if found is not None and found[0] > self._generation:
                self._generation, best = found
        return best

    def write(self, low: int, listed: int, segment: int) -> None:
        """Write a position, for every process to see; it survives a power loss after `sync`.

        Raises:
            OSError: No room, or an input/output error. The position before it still stands.
        """
        self._check_open()
        if self._file is None:
            raise ValueError(f"{self.path}: not opened for writing")
        if self._generation < 0:
            self.read()
        if not self._reserved:
            # from now on a full disk cannot keep the cursor from moving
            self._file.reserve(SIZE)
            self._reserved = True
        generation = self._generation + 1
        self._file.write(SLOT_OFFSETS[generation & 1], _pack(generation, Position(low, listed, segment)))
        self._generation = generation

    def sync(self) -> None:
        """Return when what was written survives a power loss."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Close the file; doing so again does nothing."""
        self._closed = True
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path}: closed")


def _pack(generation: int, position: Position) -> bytes:
    slot = _SLOT.pack(MAGIC, VERSION, 0, generation, *position)
    return slot + _CRC.pack(crc32(slot))


def _unpack(slot: bytes, number: int) -> tuple[int, Position] | None:
    """Generation and position of a slot, None when it was never written; a ValueError says what is wrong."""
    if not slot.strip(b"\0"):
        return None
    if len(slot) < SLOT_SIZE:
        raise ValueError(f"cut off after {len(slot)} bytes")
    magic, version, _ = _HEAD.unpack_from(slot)
    if magic != MAGIC:
        raise ValueError("not a cursor")
    if version != VERSION:
        raise ValueError(f"version {version}; this auditwire knows version {VERSION}")
    if crc32(slot[:-4]) != _CRC.unpack_from(slot, SLOT_SIZE - 4)[0]:
        raise ValueError("checksum does not match")
    _, _, _, generation, low, listed, segment = _SLOT.unpack_from(slot)
    if generation & 1 != number:  # else the next write would go over the only good one
        raise ValueError("belongs into the other slot")
    if max(low, listed) > MAX_SEQUENCE or generation == _LAST:
        raise ValueError("numbers that no stream reaches")
    return generation, Position(low, listed, segment)
