"""The records of a stream as they lie in its files, and what is wrong with them, for those who only look.

Nothing is changed, no lock is taken. Files are read and not mapped: where one is cut off meanwhile, that is
an error here and no SIGBUS. A stream whose owner lives may be read too: its last record is the last one that
was whole when it was looked at, and segments that are delivered and removed meanwhile are passed over.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from auditwire.journal.base import Record
from auditwire.journal.recovery import UNPUBLISHED, recover
from auditwire.journal.segment import SEALED, Segment, SegmentDamaged
from auditwire.journal.target import same_boot
from auditwire.journal.trees import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem

__all__ = [
    "Damage",
    "Place",
    "open_whole",
    "parked_files",
    "place_of",
    "read_parked",
    "read_stream",
    "size_of",
]

_BATCH = 1024
_LOOKS = 3
"""How often a place is read at which a live writer may just be at work."""

_REASONS = {
    "zeros": "zeros with records behind them, as of a page that the disk lost",
    "checksum": "the checksum differs",
    "malformed": "bytes that are no record",
    "sequence": "a record whose number does not belong here",
    "truncated": "the file ends within a record",
}


class Damage(NamedTuple):
    """Bytes of a stream that are not what was written, or records that are not there.

    Attributes:
        stream_id: The stream.
        file: In the stream's directory: ``00000002.seg``, ``parked/00000000.seg``.
        start: Its first byte.
        end: The byte behind its last one; equal to ``start`` where nothing is to be seen but a gap.
        reason: What is wrong, in words.
    """

    stream_id: str
    file: str
    start: int
    end: int
    reason: str


class Place(NamedTuple):
    """Where a record lies: a file in the stream's directory, and the offset of its word."""

    file: str
    offset: int


def place_of(record: Record) -> Place:
    """Where a record that was read from a journal lies."""
    number = record.position >> 32
    parked, number = divmod(number, 1 << 30)
    return Place(f"{'parked/' if parked else ''}{number:08d}.seg", record.position & 0xFFFF_FFFF)


def open_whole(fs: FileSystem, directory: StreamDirectory, file: str) -> Segment | Damage | None:
    """A segment whose header is whole and names this stream and this file; or what is wrong with it.

    None for one that is gone, or that was made and not begun: its header is the first thing written to it.
    """
    path = f"{directory.path}/{file}"
    try:
        segment = Segment.open(fs, path, mapped=False)
    except FileNotFoundError:
        return None
    except SegmentDamaged as error:
        try:
            size = fs.size(path)
            if _unbegun(fs, path, size):
                return None
        except FileNotFoundError:
            return None
        return Damage(directory.stream_id, file, 0, size, str(error).removeprefix(f"{path}: "))
    number = int(file.rpartition("/")[2].removesuffix(".seg"))
    for what, named, wanted in (
        ("stream", segment.stream_id, directory.stream_id),
        ("number", segment.number, number),
        ("parked", segment.parked, file.startswith("parked/")),
    ):
        if named != wanted:
            segment.close()
            return Damage(
                directory.stream_id, file, 0, segment.size, f"its header says {what} {named}, not {wanted}"
            )
    return segment


def _unbegun(fs: FileSystem, path: str, size: int) -> bool:
    """Whether there is nothing but zeros in a file."""
    file = fs.open(path, writable=False)
    try:
        window = 1 << 20
        return not any(file.read(at, window).strip(b"\0") for at in range(0, size, window))
    finally:
        file.close()


def read_stream(
    fs: FileSystem,
    directory: StreamDirectory,
    *,
    alive: bool,
    progress: Callable[[int], object] = lambda _: None,
) -> Iterator[Record | Damage]:
    """All records that lie in a stream's segments, by their sequences, and what is damaged between them.

    After a medium's error a writer goes on in a new segment with what was not acknowledged: such records come
    twice.

    Args:
        fs: Where.
        directory: The stream's.
        alive: Whether its owner lives. Where nothing was written yet is its end then.
        progress: Told the bytes that are read, again and again.

    Raises:
        OSError: A file cannot be read.
    """
    numbers = directory.segments()
    expected: int | None = None
    for number in numbers:
        file = f"{number:08d}.seg"
        opened = open_whole(fs, directory, file)
        if isinstance(opened, Damage):
            # of a stream that is written, the newest may be in the making
            if not (alive and number == numbers[-1]):
                yield opened
        elif opened is not None:
            try:
                first = opened.first_sequence
                if expected is not None and first > expected:
                    yield Damage(
                        directory.stream_id, file, 0, 0, f"records {expected} to {first - 1} are missing"
                    )
                last = number == numbers[-1]
                written = alive and last
                for found in _read(
                    opened, file, directory.stream_id, written=written, last=last, progress=progress
                ):
                    if isinstance(found, Record):
                        expected = max(expected or 0, found.sequence + 1)
                    yield found
                expected = max(expected or 0, first)
            finally:
                opened.close()


def _read(
    segment: Segment,
    file: str,
    stream_id: str,
    *,
    written: bool,
    last: bool,
    progress: Callable[[int], object],
) -> Iterator[Record | Damage]:
    first = None if segment.parked else segment.first_sequence
    if written:
        yield from _read_written(segment, file, stream_id, first, progress)
        return
    restarted = not (last and same_boot(segment.info))
    for found in recover(segment, segment.start, first, restarted=restarted):
        if isinstance(found, Record):
            progress(found.size)
            yield found
        else:
            progress(found.end - found.start)
            # without its word it was never accepted: the writer was killed before it was
            if found.reason != UNPUBLISHED:
                yield Damage(
                    stream_id, file, found.start, found.end, _REASONS.get(found.reason, found.reason)
                )


def _read_written(
    segment: Segment, file: str, stream_id: str, sequence: int | None, progress: Callable[[int], object]
) -> Iterator[Record | Damage]:
    """A segment that somebody writes: what is no record yet may be one soon."""
    offset = segment.start
    looks = 0
    while looks < _LOOKS:
        records, after = segment.take(offset, sequence, _BATCH, verify=True)
        yield from records
        progress(after - offset)
        offset = after
        if records:
            sequence = None if sequence is None else records[-1].sequence + 1
            looks = 0
        elif segment.word(offset) in {0, SEALED}:
            return
        looks += 1
    yield Damage(stream_id, file, offset, segment.size, "a record that stays unreadable")


# -- parked -------------------------------------------------------------------------------------------------


def parked_files(fs: FileSystem, directory: StreamDirectory) -> list[str]:
    """The files with copies of records whose topics take none, in order; see `open_whole`."""
    found = [name for name in names(fs, directory.parked_path) if name.endswith(".seg")]
    return [f"parked/{name}" for name in sorted(found) if name[:-4].isdecimal()]


def read_parked(
    fs: FileSystem,
    directory: StreamDirectory,
    *,
    alive: bool,
    progress: Callable[[int], object] = lambda _: None,
) -> Iterator[Record | Damage]:
    """The copies that lie under ``parked/``; those that were delivered since may be among them.

    Args as `read_stream`; ``alive`` here is whether somebody sends the stream.
    """
    files = parked_files(fs, directory)
    for file in files:
        opened = open_whole(fs, directory, file)
        if isinstance(opened, Damage):
            yield opened
        elif opened is not None:
            try:
                written = alive and file == files[-1]
                yield from _read(
                    opened, file, directory.stream_id, written=written, last=True, progress=progress
                )
            finally:
                opened.close()


def size_of(fs: FileSystem, directory: StreamDirectory) -> int:
    """Bytes of a stream's segments and parked copies."""
    files = [f"{number:08d}.seg" for number in directory.segments()] + parked_files(fs, directory)
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += fs.size(f"{directory.path}/{file}")
    return total
