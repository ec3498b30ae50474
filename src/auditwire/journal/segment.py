"""One file of the disk journal, open to be written or read; :mod:`auditwire.journal.format` has its bytes.

**Mapped or plain.** A segment is mapped where the file system allows it, otherwise read and written by
plain calls, with the same bytes. A mapping of a file that somebody truncates, or whose disk fails, kills the
process by SIGBUS: who reads what others write asks for plain reads (``mapped=False``). Words are numbers of
the machine in a mapping, so machines whose byte order differs do not map at all.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

from auditwire.journal.base import Record
from auditwire.journal.format import (
    FIXED,
    HEADER,
    HEADER_SIZE,
    LEAST,
    LENGTH,
    MAGIC,
    MAX_INFO,
    NATIVE,
    PARKED,
    SEALED,
    VERSION,
    WORD,
    Header,
    SegmentDamaged,
    aligned,
    kind_of,
    pack,
    pack_header,
    pack_record,
    payload_size_limit,
    read_around,
    read_header,
    read_kinds,
    words_of,
)

if TYPE_CHECKING:
    from array import array

    from auditwire.journal.filesystem import Buffer, File, FileSystem

__all__ = [
    "HEADER",
    "HEADER_SIZE",
    "LEAST",
    "MAGIC",
    "MAX_INFO",
    "PARKED",
    "SEALED",
    "VERSION",
    "WINDOW",
    "Segment",
    "SegmentDamaged",
    "aligned",
    "pack",
    "pack_record",
    "payload_size_limit",
]

WINDOW = 1 << 18
"""Bytes that a plain read of records asks for."""

_new = tuple.__new__  # a Record in a third of the time that its own constructor takes


class Segment:
    """An open segment, made by `create` or `open`.

    A reader's is for one thread at a time; there may be any number of readers beside the writer's, into which
    several threads may store.

    Attributes:
        path: The file.
        number: In its name and header.
        stream_id: Whose records it holds.
        first_sequence: Of the first record.
        created_us: Microseconds since the epoch.
        salt: What each record's checksum starts with.
        parked: Whether it holds copies of parked records.
        info: The stream's description.
        start: Offset of the first record.
        size: Length of the file in bytes.
        mapped: Whether it is mapped.
    """

    __slots__ = (
        "_abandoned",
        "_end",
        "_failed",
        "_file",
        "_map",
        "_position",
        "_words",
        "created_us",
        "first_sequence",
        "info",
        "number",
        "parked",
        "path",
        "salt",
        "size",
        "start",
        "stream_id",
    )

    def __init__(self, file: File, path: str, header: Header, size: int) -> None:
        self.path = path
        self.number = header.number
        self.stream_id = header.stream_id
        self.first_sequence = header.first_sequence
        self.created_us = header.created_us
        self.salt = header.salt
        self.parked = header.parked
        self.info = header.info
        self.start = header.start
        self.size = size
        self._end = size & ~7
        self._file = file
        self._position = header.number << 32 | (PARKED if self.parked else 0)
        self._abandoned = False
        self._failed = (0, 0)
        self._map: Buffer | None = None
        self._words: memoryview | None = None

    # -- making and opening -----------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        fs: FileSystem,
        path: str,
        *,
        stream_id: str,
        number: int,
        first_sequence: int,
        info: dict[str, Any],
        size: int,
        parked: bool = False,
        mode: int = 0o600,
        salt: int | None = None,
        created_us: int | None = None,
    ) -> Segment:
        """Make a segment and reserve its bytes on disk. What fails leaves no file behind.

        Args:
            fs: Where.
            path: The new file.
            stream_id: A UUID as text.
            number: 0 to 2**30 - 1; the one in the name.
            first_sequence: Of the record that will be the first.
            info: The stream's description, at most :data:`MAX_INFO` bytes as JSON.
            size: Bytes of the file; the part behind the last multiple of 8 is not used.
            parked: Whether it will hold copies of parked records.
            mode: Permissions.
            salt: 32 bits; random by default.
            created_us: Microseconds since the epoch; now by default.

        Raises:
            OSError: As the file system says; FileExistsError when there is such a file, which is left alone.
            ValueError: The header does not leave room for a record.
        """
        header = pack_header(
            number=number,
            stream_id=stream_id,
            first_sequence=first_sequence,
            info=info,
            parked=parked,
            salt=salt,
            created_us=created_us,
        )
        if size < aligned(len(header)) + WORD + aligned(LEAST) + WORD:
            raise ValueError(f"a segment of {size} bytes cannot hold a header of {len(header)}")
        file = fs.open(path, create=True, exclusive=True, mode=mode)
        try:
            file.reserve(size)
            file.write(0, header)
            segment = cls(file, path, read_header(file, path, size), size)
            segment._attach(writable=True)
        except BaseException:
            file.close()
            with suppress(OSError):  # a file system that fails here too; what happened first is told
                fs.unlink(path)
            raise
        return segment

    @classmethod
    def open(cls, fs: FileSystem, path: str, *, writable: bool = False, mapped: bool = True) -> Segment:
        """Open a segment, to read it or to go on writing.

        Args:
            fs: Where.
            path: The file.
            writable: Whether records will be stored.
            mapped: Whether to map it where that is possible.

        Raises:
            SegmentDamaged: It does not begin with a whole header of this version.
            OSError: As the file system says.
        """
        file = fs.open(path, writable=writable)
        try:
            size = file.size()
            segment = cls(file, path, read_header(file, path, size), size)
            if mapped:
                segment._attach(writable=writable)
        except BaseException:
            file.close()
            raise
        return segment

    def _attach(self, *, writable: bool) -> None:
        if not NATIVE:  # pragma: no cover - see the module
            return
        try:
            self._map = self._file.map(self.size, writable=writable)
        except (OSError, ValueError):  # refused: plain calls do the same
            return
        self._words = memoryview(self._map)[: self._end].cast("Q")

    @property
    def mapped(self) -> bool:
        return self._map is not None

    # -- writing ----------------------------------------------------------------------------------------

    def fits(self, offset: int, payload_length: int, reserve: int = 0) -> bool:
        """Whether a record at ``offset`` leaves room for the word behind it, and ``reserve`` bytes more."""
        return aligned(offset + WORD + payload_length) + WORD + reserve <= self._end

    def takes(self, offset: int, payload_length: int, reserve: int = 0) -> bool:
        """Whether `store` cannot fail at ``offset``: mapped, nothing there yet, and the record `fits`."""
        words = self._words
        return (
            words is not None
            and (offset + WORD + payload_length + 7 & ~7) + WORD + reserve <= self._end
            and not words[offset >> 3]
        )

    def store(self, offset: int, payload: bytes) -> int:
        """Write a record that `fits` and publish it; the offset of the next one.

        An exception that a signal handler raises in here leaves nothing, or the whole record. Storing the
        same record again changes nothing; so several threads may store it, and one of them late, when the
        record behind is there already. That is why nothing behind the record is touched.

        Raises:
            OSError: Only where the segment is not mapped.
        """
        length = len(payload)
        begin = offset + WORD
        after = begin + length + 7 & ~7
        words = self._words
        if words is None or self._map is None:
            self._write(begin, payload)
            word = crc32(payload, self.salt) << 32 | length
            self._file.write(offset, word.to_bytes(WORD, "little"))
        else:
            self._map[begin : begin + length] = payload
            words[offset >> 3] = crc32(payload, self.salt) << 32 | length
        return after

    def _write(self, begin: int, payload: bytes) -> None:
        failed, until = self._failed
        if failed == begin:  # the record that failed here may have been longer
            payload += bytes(max(0, until - begin - len(payload)))
        try:
            self._file.write(begin, payload)
        except OSError:
            self._failed = begin, begin + len(payload)
            raise

    def seal(self, offset: int) -> None:
        """Say that the segment ends here; OSError only where it is not mapped."""
        if self._words is None:
            self._file.write(offset, SEALED.to_bytes(WORD, "little"))
        else:
            self._words[offset >> 3] = SEALED

    def sync(self) -> None:
        """Return when everything stored so far survives a power loss; OSError as `File.sync`."""
        if not self._abandoned:
            self._file.sync()

    # -- reading ----------------------------------------------------------------------------------------

    def word(self, offset: int) -> int:
        """The word at an offset; 0 where the file ends.

        Raises:
            OSError: Only where the segment is not mapped.
        """
        if offset + WORD > self._end:
            return 0
        if self._words is None:
            raw = read_around(self._file, offset, WORD)
            return int.from_bytes(raw, "little") if len(raw) == WORD else 0
        return self._words[offset >> 3]

    def read(self, offset: int, count: int) -> bytes:
        """Bytes as they are, fewer at the end of the file; OSError only where it is not mapped."""
        if self._map is None:
            return read_around(self._file, offset, count)
        return self._map[offset : offset + count]

    def load(self, offset: int, *, verify: bool, origin: object = None) -> tuple[Record, int]:
        """The record at an offset, and the offset behind it.

        Args:
            offset: Where a record is known to be.
            verify: Whether to compute its checksum.
            origin: What the record shall say of itself.

        Raises:
            SegmentDamaged: There is none, or it is not whole.
            OSError: Only where the segment is not mapped.
        """
        records, after = self.take(offset, None, 1, verify=verify, origin=origin)
        if not records:
            raise self._damage(offset)
        return records[0], after

    def take(  # noqa: C901, PLR0912, PLR0915 - one loop without calls: the background thread's most frequent work
        self, offset: int, sequence: int | None, limit: int, *, verify: bool, origin: object = None
    ) -> tuple[list[Record], int]:
        """Records one behind another, up to the first word behind which there is no whole one.

        Args:
            offset: Of the first.
            sequence: The number of the first, from which they go up by one; None takes any.
            limit: How many at most.
            verify: Whether to compute checksums. Without, a record is believed as soon as its word is there:
                for a reader in the writer's process, in which the interpreter orders the stores.
            origin: What the records shall say of themselves.

        Returns:
            The records, and the offset behind the last one.
        """
        records: list[Record] = []
        window: Buffer | bytes
        words: memoryview | array[int]
        if self._map is None or self._words is None:
            base, window, words = offset, *self._window(offset, WINDOW)
        else:
            base, window, words = 0, self._map, self._words
        have = len(words) << 3
        salt, position, kinds, unpack = self.salt, self._position, read_kinds, FIXED.unpack_from
        add = records.append
        try:
            while len(records) < limit:
                at = offset - base
                if at >= have:
                    if offset >= self._end or self._map is not None:
                        break
                    base, window, words = offset, *self._window(offset, WINDOW)
                    have, at = len(words) << 3, 0
                    if not have:
                        break
                word = words[at >> 3]
                length = word & LENGTH
                if length < LEAST or word == SEALED:
                    break
                begin = at + WORD
                end = begin + length
                if end > have:
                    need = aligned(WORD + length)
                    if offset + need > self._end or self._map is not None:
                        break
                    base, window, words = offset, *self._window(offset, max(WINDOW, need))
                    have = len(words) << 3
                    if have < need:
                        break
                    continue
                payload = window[begin:end]
                if verify and crc32(payload, salt) != word >> 32:
                    break
                number, timestamp, n, key_size, id_size, trace_size, _, body_size = unpack(payload)
                to_key = FIXED.size + n
                to_id = to_key + key_size
                to_trace = to_id + id_size
                to_body = to_trace + trace_size
                if to_body + body_size != length:
                    break
                if sequence is not None:
                    if number != sequence:
                        break
                    sequence += 1
                raw = payload[FIXED.size : to_key]
                kind = kinds.get(raw) or kind_of(raw)
                after = offset + WORD + length + 7 & ~7
                add(
                    _new(
                        Record,
                        (
                            number,
                            kind[0],
                            kind[1],
                            payload[to_key:to_id],
                            timestamp,
                            payload[to_id:to_trace].decode(),
                            payload[to_trace:to_body] if trace_size else None,
                            payload[to_body:],
                            after - offset,
                            kind[2],
                            position | offset,
                            origin,
                        ),
                    )
                )
                offset = after
        except (ValueError, IndexError):  # text that is none, a kind that is none: as any other damage
            pass
        return records, offset

    def _window(self, offset: int, count: int) -> tuple[bytes, memoryview | array[int]]:
        data = read_around(self._file, offset, max(0, min(count, self._end - offset)))
        data = data[: len(data) & ~7]
        return data, words_of(data)

    def _damage(self, offset: int) -> SegmentDamaged:
        """Why there is no record here."""
        word = self.word(offset)
        length = word & LENGTH
        where = f"{self.path} at {offset}"
        if word in {0, SEALED}:
            return SegmentDamaged("nothing", f"{where}: there is no record")
        if offset + WORD + length > self._end:
            return SegmentDamaged("truncated", f"{where}: {length} bytes are more than the file has")
        if crc32(self.read(offset + WORD, length), self.salt) != word >> 32:
            return SegmentDamaged("checksum", f"{where}: the checksum of {length} bytes differs")
        return SegmentDamaged("malformed", f"{where}: the lengths do not belong together")

    def abandon(self) -> None:
        """Close the descriptor; the mapping stays for who still stores or reads. `sync` does nothing then."""
        self._abandoned = True
        self._file.close()

    def close(self) -> None:
        """Unmap and close. Closing again does nothing."""
        words, self._words = self._words, None
        if words is not None:
            words.release()  # a mapping with views of it cannot be closed
        mapping, self._map = self._map, None
        if mapping is not None:
            mapping.close()
        self._file.close()
