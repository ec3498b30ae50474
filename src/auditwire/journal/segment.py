r"""One file of the disk journal: a header, and records one behind another.

All numbers are little-endian. The header has 64 bytes, with the stream's description behind it:

======= ====== ===============================================================================================
offset  bytes  what
======= ====== ===============================================================================================
0       8      magic: ``AWJSEG\r\n``, which a transfer as text would change
8       2      version: 1
10      2      flags: bit 0 = copies of parked records, whose sequences may leave some out
12      4      number of the segment, the one in its name
16      16     id of the stream, a UUID
32      8      sequence of the first record
40      8      when it was made, microseconds since the epoch (signed)
48      4      salt: random; every record's checksum starts with it
52      4      length of the description
56      4      0
60      4      CRC-32 of bytes 0 to 59 and the description
64      ..     description: a JSON object in UTF-8, the same as in ``stream.json``; then zeros up to 8 bytes
======= ====== ===============================================================================================

Records follow, each on an 8-byte boundary; what lies between them is not looked at:

======= ====== ===============================================================================================
offset  bytes  what
======= ====== ===============================================================================================
0       8      word: low half = bytes that follow it (padding not counted), high half = CRC-32 of these bytes
8       8      sequence
16      8      timestamp, microseconds since the epoch (signed)
24      2      length of the kind
26      2      length of the key
28      2      length of the event id
30      1      length of the ``traceparent``: 0 or 55
31      1      0
32      4      length of the body
36      ..     kind, key, event id, traceparent, body. The kind is the schema's fingerprint (8 bytes), length
               of the event type (1 byte), event type, topic (the rest)
======= ====== ===============================================================================================

**The word publishes the record.** It is stored last, by one aligned store of 8 bytes, which no reader sees
half done. 0 = nothing yet; all ones = the segment ends here. A record whose bytes were begun at an offset is
the one that is finished there (:mod:`auditwire.journal.writer`), so that what lies behind it is still 0; what
a plain write that failed may have left is made zeros by the next one.

**The checksum is salted** (``zlib.crc32(bytes, salt)``), so that a body that holds the bytes of a record,
of this format and well-formed, is not taken for one by somebody who searches a damaged segment: whoever
chose the body does not know the salt.

**Mapped or plain.** A segment is mapped where the file system allows it, otherwise read and written by
plain calls, with the same bytes. A mapping of a file that somebody truncates, or whose disk fails, kills the
process by SIGBUS: who reads what others write asks for plain reads (``mapped=False``). Words are numbers of
the machine in a mapping, so machines whose byte order differs do not map at all.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import sys
import time
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zlib import crc32

from auditwire.errors import AuditwireError, EncodingError
from auditwire.journal.base import Record
from auditwire.jsonable import whole
from auditwire.wire import join_body

if TYPE_CHECKING:
    from auditwire.journal.base import Draft
    from auditwire.journal.filesystem import Buffer, File, FileSystem

__all__ = [
    "LEAST",
    "MAX_INFO",
    "PARKED",
    "SEALED",
    "VERSION",
    "Segment",
    "SegmentDamaged",
    "aligned",
    "pack",
    "pack_record",
    "payload_size_limit",
    "read_around",
    "words_of",
]

MAGIC = b"AWJSEG\r\n"
VERSION = 1
HEADER = struct.Struct("<8sHHI16sQqIII")
"""The header up to its checksum."""

FIXED = struct.Struct("<QqHHHBBI")
"""What stands between a record's word and its kind."""

WORD = 8
HEADER_SIZE = 64
LEAST = FIXED.size + 9
"""Bytes behind the word of the smallest record: its kind has at least a fingerprint and a length."""

SEALED = 0xFFFF_FFFF_FFFF_FFFF
"""The word where a segment ends."""

PARKED = 1 << 62
"""This bit of a position says that it is one of a parked copy."""

MAX_INFO = 1 << 20
"""Bytes of a description, at most."""

WINDOW = 1 << 18
"""Bytes that a plain read of records asks for."""

_BLOCK = 4096
_PARKED_FLAG = 1
_TRACE = 55
_KINDS = 1024
_KIND_SIZE = 1024
_LENGTH = 0xFFFF_FFFF
_NATIVE = sys.byteorder == "little"

_new = tuple.__new__  # a Record in a third of the time that its own constructor takes
_pack_fixed = FIXED.pack
_packed_kinds: dict[tuple[bytes, str, str], bytes] = {}
_read_kinds: dict[bytes, tuple[str, str, bytes]] = {}


class SegmentDamaged(AuditwireError):  # noqa: N818 - a state of the file
    """A segment, or a record in it, is not what was written.

    Attributes:
        reason: A short, stable word: ``foreign``, ``version``, ``truncated``, ``checksum``, ``number``,
            ``malformed``, ``nothing`` or ``sequence``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def aligned(count: int) -> int:
    """The next multiple of 8."""
    return count + 7 & ~7


def read_around(file: File, offset: int, count: int) -> bytes:
    """As `File.read`, with zeros where the medium cannot give a block (EIO): the others are still there."""
    try:
        return file.read(offset, count)
    except OSError as error:
        if error.errno != errno.EIO or count <= _BLOCK:
            if error.errno != errno.EIO:
                raise
            return bytes(max(0, min(count, file.size() - offset)))
    parts = []
    while count > 0:
        part = read_around(file, offset, min(count, _BLOCK - offset % _BLOCK))
        parts.append(part)
        offset += len(part)
        count = count - len(part) if part else 0
    return b"".join(parts)


def words_of(data: bytes) -> memoryview | array[int]:
    """The numbers of 8 bytes each that these bytes are; their count must be a multiple of 8."""
    if _NATIVE:
        return memoryview(data).cast("Q")
    words = array("Q", data)  # pragma: no cover - see the module
    words.byteswap()  # pragma: no cover
    return words  # pragma: no cover


def pack(draft: Draft, sequence: int, fingerprint: bytes) -> bytes:
    """The bytes behind a record's word.

    Args:
        draft: What was accepted.
        sequence: Its number in its stream.
        fingerprint: CRC-64-AVRO of the schema of its body, 8 bytes.

    Raises:
        EncodingError: A part is longer than its length can say: the event type 255 bytes; kind, key and event
            id 65,535 each; the traceparent must have none or 55.
    """
    event_type, topic, key, timestamp, event_id, trace, head, tail = draft
    return _pack(
        sequence,
        event_type,
        topic,
        key,
        timestamp,
        event_id,
        trace,
        join_body(head, sequence, tail),
        fingerprint,
    )


def pack_record(record: Record) -> bytes:
    """The bytes behind the word, of a record that has its number already; errors as `pack`."""
    return _pack(
        record.sequence,
        record.event_type,
        record.topic,
        record.key,
        record.timestamp_us,
        record.event_id,
        record.trace,
        record.body,
        record.fingerprint,
    )


def payload_size_limit(draft: Draft) -> int:
    """Bytes that the draft's record has at most, word and padding included; close to it for ASCII."""
    text = len(draft.event_type) + len(draft.topic) + len(draft.event_id)
    if not (draft.event_type.isascii() and draft.topic.isascii() and draft.event_id.isascii()):
        text *= 4
    sequence = 10
    return aligned(
        WORD + LEAST + text + len(draft.key) + _TRACE + len(draft.head) + sequence + len(draft.tail)
    )


def _pack(
    sequence: int,
    event_type: str,
    topic: str,
    key: bytes,
    timestamp: int,
    event_id: str,
    trace: bytes | None,
    body: bytes,
    fingerprint: bytes,
) -> bytes:
    try:
        kind = _packed_kinds[fingerprint, event_type, topic]
    except KeyError:
        kind = _new_kind(fingerprint, event_type, topic)
    trace = trace or b""
    try:
        name = event_id.encode()
        fixed = _pack_fixed(sequence, timestamp, len(kind), len(key), len(name), len(trace), 0, len(body))
    except (struct.error, UnicodeEncodeError):
        # as the header of the Kafka record would have it
        name = whole(event_id).encode()
        try:
            fixed = _pack_fixed(sequence, timestamp, len(kind), len(key), len(name), len(trace), 0, len(body))
        except struct.error as error:
            raise EncodingError(
                f"the {event_type} event {event_id[:64]} does not fit into the journal: kind {len(kind)}, "
                f"key {len(key)}, id {len(name)}, body {len(body)} bytes, time {timestamp} us"
            ) from error
    if trace and len(trace) != _TRACE:
        raise EncodingError(f"a traceparent has {_TRACE} bytes, not {len(trace)}")
    return b"".join((fixed, kind, key, name, trace, body))


def _new_kind(fingerprint: bytes, event_type: str, topic: str) -> bytes:
    name = whole(event_type).encode()
    if len(name) > 255 or len(fingerprint) != 8:  # noqa: PLR2004 - the table above
        raise EncodingError(
            f"a kind is a fingerprint of 8 bytes, not {len(fingerprint)}, and a type of 255 at most, not "
            f"{len(name)}: {event_type[:64]}"
        )
    kind = fingerprint + bytes([len(name)]) + name + whole(topic).encode()
    if len(_packed_kinds) >= _KINDS:
        _packed_kinds.clear()
    _packed_kinds[fingerprint, event_type, topic] = kind
    return kind


def _kind(raw: bytes) -> tuple[str, str, bytes]:
    """Event type, topic, fingerprint."""
    end = 9 + raw[8]
    if end > len(raw):
        raise ValueError(f"a kind of {len(raw)} bytes cannot hold an event type of {raw[8]}")
    kind = raw[9:end].decode(), raw[end:].decode(), raw[:8]
    if len(raw) <= _KIND_SIZE:  # no memory for what only damage, or malice, makes
        if len(_read_kinds) >= _KINDS:
            _read_kinds.clear()
        _read_kinds[raw] = kind
    return kind


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

    def __init__(self, file: File, path: str, header: tuple[Any, ...], info: bytes, size: int) -> None:
        _, _, flags, number, stream, first, created, salt, _, _ = header
        self.path = path
        self.number: int = number
        self.stream_id = str(UUID(bytes=stream))
        self.first_sequence: int = first
        self.created_us: int = created
        self.salt: int = salt
        self.parked = bool(flags & _PARKED_FLAG)
        self.info: dict[str, Any] = _description(path, info)
        self.start = aligned(HEADER_SIZE + len(info))
        self.size = size
        self._end = size & ~7
        self._file = file
        self._position = number << 32 | (PARKED if self.parked else 0)
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
        text = json.dumps(info, ensure_ascii=False, sort_keys=True).encode("utf-8", "backslashreplace")
        if len(text) > MAX_INFO or size < aligned(HEADER_SIZE + len(text)) + WORD + aligned(LEAST) + WORD:
            raise ValueError(f"a segment of {size} bytes cannot hold a description of {len(text)}")
        header = HEADER.pack(
            MAGIC,
            VERSION,
            _PARKED_FLAG if parked else 0,
            number,
            UUID(stream_id).bytes,
            first_sequence,
            time.time_ns() // 1000 if created_us is None else created_us,
            int.from_bytes(os.urandom(4), "little") if salt is None else salt,
            len(text),
            0,
        )
        file = fs.open(path, create=True, exclusive=True, mode=mode)
        try:
            file.reserve(size)
            file.write(0, header + crc32(text, crc32(header)).to_bytes(4, "little") + text)
            segment = cls(file, path, HEADER.unpack(header), text, size)
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
            segment = cls(file, path, *_read_header(file, path, size), size)
            if mapped:
                segment._attach(writable=writable)
        except BaseException:
            file.close()
            raise
        return segment

    def _attach(self, *, writable: bool) -> None:
        if not _NATIVE:  # pragma: no cover - see the module
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
        salt, position, kinds, unpack = self.salt, self._position, _read_kinds, FIXED.unpack_from
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
                length = word & _LENGTH
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
                kind = kinds.get(raw) or _kind(raw)
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
        length = word & _LENGTH
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


def _description(path: str, raw: bytes) -> dict[str, Any]:
    try:
        info = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SegmentDamaged("malformed", f"{path}: the description is no JSON: {error}") from error
    if not isinstance(info, dict):
        raise SegmentDamaged("malformed", f"{path}: the description is no JSON object")
    return info


def _read_header(file: File, path: str, size: int) -> tuple[tuple[Any, ...], bytes]:
    raw = read_around(file, 0, HEADER_SIZE)
    if len(raw) < HEADER_SIZE:
        raise SegmentDamaged("truncated", f"{path}: {size} bytes are less than a header")
    header = HEADER.unpack_from(raw)
    magic, version, _, number, _, _, _, _, length, _ = header
    if magic != MAGIC:
        raise SegmentDamaged("foreign", f"{path}: not a segment of a journal: it begins with {magic!r}")
    if version != VERSION:  # before the checksum, which may lie elsewhere in another version
        raise SegmentDamaged(
            "version", f"{path}: written in version {version} of the format, this library reads {VERSION}"
        )
    if length > min(MAX_INFO, size - HEADER_SIZE):
        raise SegmentDamaged("truncated", f"{path}: a description of {length} bytes does not fit")
    info = read_around(file, HEADER_SIZE, length)
    if crc32(info, crc32(raw[: HEADER.size])) != int.from_bytes(raw[HEADER.size :], "little"):
        raise SegmentDamaged("checksum", f"{path}: the checksum of the header of segment {number} differs")
    return header, info
