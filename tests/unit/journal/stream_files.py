"""A stream's files on a real disk, made record by record, for the tests that read and damage them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire.journal.base import Draft
from auditwire.journal.filesystem import REAL, RealFile, RealFileSystem
from auditwire.journal.layout import JournalPath
from auditwire.journal.reader import StreamReader
from auditwire.journal.segment import Segment, pack
from auditwire.wire import join_body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from auditwire.journal.base import Record
    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.recovery import Unreadable

STREAM = "01890a5d-ac96-774b-bcce-b302099a8057"
INFO = {"stream": STREAM, "host": "h-1", "pid": 7}
PRINT = bytes(range(8))
TRACE = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
SIZE = 64 << 10


def event(sequence: int) -> Draft:
    """The event with this number: each has bytes of its own, and not all have one length."""
    text = f"event {sequence} ".encode()
    return Draft(
        "turn_start",
        "audit.turn-start",
        b"s-%d" % (sequence % 3),
        1_700_000_000_000_000 + sequence,
        f"e-{sequence}",
        None,
        b"head",
        text * (1 + sequence % 13),
    )


def is_written(record: Record) -> bool:
    """Whether a record is the one that was written with its number, in everything."""
    draft = event(record.sequence)
    return record[:8] == (
        record.sequence,
        draft.event_type,
        draft.topic,
        draft.key,
        draft.timestamp_us,
        draft.event_id,
        draft.trace,
        join_body(draft.head, record.sequence, draft.tail),
    )


def draft(name: str = "e-1", body: bytes = b"body", **other: Any) -> Draft:
    plain = Draft("turn_start", "audit.turn-start", b"s-1", 1_700_000_000_000_000, name, None, b"h", body)
    return plain._replace(**other)


def create(fs: FileSystem, folder: Path, *, size: int = SIZE, **other: Any) -> Segment:
    settings: dict[str, Any] = {"stream_id": STREAM, "number": 3, "first_sequence": 10, "info": INFO}
    return Segment.create(fs, str(folder / "00000003.seg"), size=size, **{**settings, **other})


class Stream:
    """A stream's directory; ``offsets`` says where each record of a segment is, and where the last ends."""

    def __init__(self, folder: Path, fs: FileSystem = REAL) -> None:
        self.fs = fs
        self.journal = JournalPath(fs, str(folder / "journal"))
        self.directory = self.journal.open_stream(STREAM)
        if not fs.exists(self.directory.path):
            fs.mkdir(self.directory.path, 0o700)
        self.offsets: dict[int, list[int]] = {}

    def create(self, number: int, first_sequence: int, *, size: int = SIZE, **other: Any) -> Segment:
        settings: dict[str, Any] = {"stream_id": STREAM, "info": {"host": "h-1"}, **other}
        return Segment.create(
            self.fs, self.path(number), number=number, first_sequence=first_sequence, size=size, **settings
        )

    def write(
        self,
        number: int,
        sequences: Iterable[int],
        *,
        seal: bool = True,
        make: Callable[[int], Draft] = event,
        **other: Any,
    ) -> list[int]:
        """A segment with these records; their offsets, and the one behind the last."""
        numbers = list(sequences)
        segment = self.create(number, numbers[0], **other)
        offsets = [segment.start]
        for sequence in numbers:
            offsets.append(segment.store(offsets[-1], pack(make(sequence), sequence, PRINT)))
        if seal:
            segment.seal(offsets[-1])
        segment.close()
        self.offsets[number] = offsets
        return offsets

    def path(self, number: int) -> str:
        return self.directory.segment_path(number)

    def overwrite(self, number: int, offset: int, raw: bytes) -> None:
        with Path(self.path(number)).open("r+b") as file:
            file.seek(offset)
            file.write(raw)

    def flip(self, number: int, offset: int, bit: int = 0) -> None:
        raw = Path(self.path(number)).read_bytes()
        self.overwrite(number, offset, bytes([raw[offset] ^ 1 << bit]))

    def reader(self, *, live: Callable[[], bool] = lambda: False, **other: Any) -> StreamReader:
        return StreamReader(self.fs, self.directory, live=live, **other)


def drain(reader: StreamReader, limit: int = 7) -> list[int]:
    """The numbers of all records up to the stream's end, each of them seen to be what was written."""
    numbers: list[int] = []
    while not reader.at_end:
        records = reader.take(limit)
        assert len(records) <= limit
        assert all(map(is_written, records))
        numbers += [record.sequence for record in records]
    assert numbers == sorted(set(numbers))
    return numbers


def ranges(found: list[Unreadable]) -> list[tuple[int, int, int]]:
    """Segment, first byte and end of each."""
    return [tuple(damage[:3]) for damage in found]  # type: ignore[misc]


class BadBlock(RealFile):
    """On a disk of which one block cannot be read any more."""

    __slots__ = ()
    bad = 8192
    suffix = "00000001.seg"

    def read(self, offset: int, count: int) -> bytes:
        if self.path.endswith(self.suffix) and offset < self.bad + 4096 and offset + count > self.bad:
            raise OSError(errno.EIO, "bad block", self.path)
        return super().read(offset, count)


class BadDisk(RealFileSystem):
    def open(self, path: str, **how: Any) -> RealFile:
        real = super().open(path, **how)
        bad = BadBlock(real.path, os.dup(real._fd))
        real.close()
        return bad
