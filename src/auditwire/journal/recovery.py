"""What can still be read of a damaged segment, and what cannot.

A zero word is not taken for the end: a page that the disk lost reads as zeros, with records behind it.
Whatever is no record is searched for the next one, to the segment's end, and named as an `Unreadable` range.
**Unless the machine was restarted**, no page is lost: a zero word with no record behind it is where a killed
process stopped, whatever part of an append it had copied, in whatever order.

How a record is told from bytes that look like one, cheapest first, so that damage costs no more than a scan:

1. It begins on an 8-byte boundary. Stretches of zeros are skipped by comparing blocks.
2. Its sequence is one that fits there: above the last one read, by no more than records fit between.
3. Its lengths belong together and end within the segment.
4. Its checksum, which is salted, agrees. This is bounded to :data:`CHECKSUM_WORK` times the segment's bytes;
   nobody who chooses the bodies of records can make a search take longer.

A damaged record whose length is whole is passed over first, if a record with the next number begins behind
it, so that what stands *inside* of it is not even looked at.
"""

from __future__ import annotations

import errno
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

from auditwire.journal.format import (
    FIXED,
    LEAST,
    LENGTH,
    SEALED,
    TRACE,
    WORD,
    SegmentDamaged,
    aligned,
    read_around,
    words_of,
)
from auditwire.journal.trees import json_text, write_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.journal.base import Record
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.layout import JournalPath
    from auditwire.journal.segment import Segment

__all__ = [
    "CHECKSUM_WORK",
    "MAX_KEPT",
    "UNPUBLISHED",
    "Search",
    "Unreadable",
    "is_blank",
    "keep_unreadable",
    "recover",
]

CHECKSUM_WORK = 4
"""A search computes checksums of at most so many times the bytes of the segment."""

MAX_KEPT = 16 << 20
"""Bytes of an unreadable range that are kept, at most."""

UNPUBLISHED = "unpublished"
"""The reason of a range that is no damage."""

_BLOCK = 1 << 16
_COPY = 1 << 20
_BATCH = 512
_SMALLEST = aligned(WORD + LEAST)
_HEAD = WORD + FIXED.size
_ANY = (1 << 63) - 1


class Unreadable(NamedTuple):
    """Bytes of a segment that hold no record that can be read.

    Attributes:
        segment: Its number.
        start: The first byte.
        end: The byte behind the last one.
        reason: A short, stable word: ``zeros`` (with something behind them), ``checksum``, ``malformed``,
            ``sequence`` (a whole record whose number cannot stand here), ``truncated`` (the record ends
            behind the file's end), ``unpublished`` (the stream's last record, without its word: its writer
            was killed before it was accepted, or the machine before it was synced; or what a killed writer
            had copied of it); for a whole file also ``foreign``, ``version`` and ``number`` (it is another's:
            a copy, or a file of another stream).
    """

    segment: int
    start: int
    end: int
    reason: str


class Search:
    """Looks for records behind damage, in one segment.

    Args:
        segment: Open for reading; nobody writes it any more.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._end = segment.size & ~7
        self._work = CHECKSUM_WORK * segment.size

    def is_end(self, damage: Unreadable) -> bool:
        """Whether bytes, behind which `behind` found nothing, are the end for whoever knows of no lost page.

        They begin with a zero word, and every place behind it was looked at.
        """
        return damage.reason == "zeros" and self._work > 0

    def behind(self, offset: int, sequence: int | None) -> tuple[Unreadable | None, Record | None]:
        """What is unreadable from here on, and the first record behind it.

        Args:
            offset: Where a record would have to begin, and no whole one does.
            sequence: The number that it would have; None where numbers do not go up by one.

        Returns:
            The damage, None when there are only zeros to the end; and a record, None when there is no more.

        Raises:
            OSError: The segment is not mapped and cannot be read.
        """
        segment = self._segment
        found = self._neighbour(offset, sequence) or self._find(offset, sequence)
        word = segment.word(offset)
        if found is not None:
            return Unreadable(segment.number, offset, found.position & LENGTH, self._reason(offset)), found
        end = self._last_byte(offset)
        if word == SEALED or end == offset:
            return None, None
        reason = self._reason(offset)
        if word == 0:
            last = self._unpublished(offset, sequence)
            if last is not None and end <= last:
                reason, end = UNPUBLISHED, last
        else:
            behind = aligned(offset + WORD + (word & LENGTH))
            if segment.word(behind) == SEALED:
                end = behind
        return Unreadable(segment.number, offset, end, reason), None

    def _reason(self, offset: int) -> str:
        try:
            self._segment.load(offset, verify=True)
        except SegmentDamaged as error:
            if error.reason == "nothing":
                return "zeros" if self._segment.word(offset) == 0 else "malformed"
            return error.reason
        return "sequence"

    def _unpublished(self, offset: int, sequence: int | None) -> int | None:
        """The end of a record whose word is still 0, if that is what stands here."""
        head = self._segment.read(offset, _HEAD)
        if len(head) < _HEAD:
            return None
        number, length = _lengths(head)
        if length is None or (sequence is not None and number != sequence):
            return None
        return aligned(offset + WORD + length)

    def _neighbour(self, offset: int, sequence: int | None) -> Record | None:
        """The record behind the one that is damaged, if the damaged one's length leads to it."""
        length = self._segment.word(offset) & LENGTH
        if sequence is None or length < LEAST or offset + WORD + length > self._end:
            return None
        return self._try(aligned(offset + WORD + length), sequence + 1, sequence + 1)

    def _find(self, offset: int, sequence: int | None) -> Record | None:
        """The first record on a boundary behind this one."""
        lowest = 0 if sequence is None else sequence + 1
        begin = offset + 8
        while begin + _SMALLEST <= self._end:
            # a candidate is 8 bytes in front of its sequence
            block = self._segment.read(begin, _BLOCK + 8)
            block = block[: len(block) & ~7]
            if len(block) < _SMALLEST:
                return None
            if block.count(0) != len(block):
                highest = _ANY if sequence is None else sequence + (begin + len(block) - offset) // _SMALLEST
                for index in [i for i, n in enumerate(words_of(block)) if lowest <= n <= highest and i]:
                    at = begin + (index - 1 << 3)
                    fits = _ANY if sequence is None else sequence + (at - offset) // _SMALLEST
                    record = self._try(at, lowest, fits)
                    if record is not None:
                        return record
                    if self._work <= 0:
                        return None
            begin += _BLOCK
        return None

    def _try(self, at: int, lowest: int, highest: int) -> Record | None:
        head = self._segment.read(at, _HEAD)
        if len(head) < _HEAD:
            return None
        length = int.from_bytes(head[:4], "little")
        if length < LEAST or at + WORD + length > self._end:
            return None
        sequence, together = _lengths(head)
        if not lowest <= sequence <= highest or together != length:
            return None
        self._work -= length
        try:
            return self._segment.load(at, verify=True)[0]
        except SegmentDamaged:
            return None

    def _last_byte(self, offset: int) -> int:
        """Behind the last byte that is not zero, on a boundary; ``offset`` when there is none."""
        last = begin = offset
        while begin < self._segment.size:
            block = self._segment.read(begin, _BLOCK)
            if not block:
                break
            used = len(block.rstrip(b"\0"))
            if used:
                last = begin + used
            begin += len(block)
        return min(aligned(last), self._segment.size)


def _lengths(head: bytes) -> tuple[int, int | None]:
    """The number of a record, and the bytes behind its word as its lengths say; None when they cannot be."""
    sequence, _, kind, key, name, trace, flags, body = FIXED.unpack_from(head, WORD)
    length = FIXED.size + kind + key + name + trace + body
    plausible = not flags and trace in {0, TRACE} and kind >= LEAST - FIXED.size
    return sequence, length if plausible else None


def recover(
    segment: Segment,
    start: int,
    next_sequence: int | None,
    *,
    restarted: bool = True,
    origin: object = None,
) -> Iterator[Record | Unreadable]:
    """All that can be read of a segment that nobody writes any more, and what lies between.

    Args:
        segment: Open for reading.
        start: Offset of the first record.
        next_sequence: The number of the first record; None where numbers may go up by more than one.
        restarted: Whether the machine may have been restarted since the last record was written, or records
            may have been written elsewhere later; see the module.
        origin: What the records shall say of themselves.

    Raises:
        OSError: The segment is not mapped and cannot be read.
    """
    search = Search(segment)
    offset: int = start
    while True:
        records, offset = segment.take(offset, next_sequence, _BATCH, verify=True, origin=origin)
        yield from records
        if next_sequence is not None:
            next_sequence += len(records)
        if records:
            continue
        damage, found = search.behind(offset, next_sequence)
        if damage is not None:
            if found is None and not restarted and search.is_end(damage):
                damage = damage._replace(reason=UNPUBLISHED)
            yield damage
        if found is None:
            return
        offset = found.position & LENGTH
        if next_sequence is not None:
            next_sequence = found.sequence


def is_blank(fs: FileSystem, path: str, size: int) -> bool:
    """Whether a file has nothing but zeros: whoever made it was stopped before anything was in it.

    Args:
        fs: Where it is.
        path: The file.
        size: How many of its bytes to look at.

    Raises:
        OSError: It cannot be read. Blocks that the medium cannot give (EIO) are not blank.
    """
    file = fs.open(path, writable=False)
    try:
        return not any(file.read(at, _COPY).strip(b"\0") for at in range(0, size, _COPY))
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return False
    finally:
        file.close()


def keep_unreadable(
    journal: JournalPath,
    directory: StreamDirectory,
    damage: Unreadable,
    *,
    at_us: int,
    parked: bool = False,
) -> str:
    """Keep the bytes of an unreadable range in the journal's quarantine; what is kept already stays.

    Two files are made: ``<segment>-<from>-<to>.bytes``, at most :data:`MAX_KEPT`, and ``.json`` beside it,
    which says what they are. Both survive a power loss when this returns.

    Args:
        journal: The journal path.
        directory: The stream.
        damage: What a reader of the stream found.
        at_us: Now, microseconds since the epoch.
        parked: Whether the segment is one of parked copies.

    Returns:
        The path of the JSON file.

    Raises:
        OSError: The segment cannot be read, or the files cannot be written.
    """
    fs = journal.fs
    folder = journal.quarantine_path(directory.stream_id)
    name = f"{'parked-' if parked else ''}{damage.segment:08d}-{damage.start}-{damage.end}"
    note = f"{folder}/{name}.json"
    if fs.exists(note):
        return note
    journal.make_directory(folder.rpartition("/")[0])
    journal.make_directory(folder)
    source = directory.segment_path(damage.segment)
    if parked:
        source = f"{directory.parked_path}/{source.rpartition('/')[2]}"
    kept = _copy(fs, source, damage, f"{folder}/{name}.bytes", directory.file_mode)
    said = {
        "stream": directory.stream_id,
        "segment": damage.segment,
        "parked": parked,
        "start": damage.start,
        "end": damage.end,
        "reason": damage.reason,
        "size": damage.end - damage.start,
        "kept": kept,
        "at": (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=at_us)).isoformat(),
    }
    write_text(fs, note, json_text(said), directory.file_mode, sync=True)
    fs.sync_directory(folder)
    fs.sync_directory(folder.rpartition("/")[0])
    return note


def _copy(fs: FileSystem, source: str, damage: Unreadable, target: str, mode: int) -> int:
    """Copy the range; the bytes that were kept."""
    wanted = min(damage.end - damage.start, MAX_KEPT)
    done = 0
    segment = fs.open(source, writable=False)
    try:
        copy = fs.open(target, create=True, mode=mode)
        try:
            copy.truncate(0)  # left by somebody who was stopped before the note was written
            while done < wanted:
                part = read_around(segment, damage.start + done, min(_COPY, wanted - done))
                if not part:
                    break
                copy.write(done, part)
                done += len(part)
            copy.sync()
        finally:
            copy.close()
    finally:
        segment.close()
    return done
