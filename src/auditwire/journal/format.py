r"""The bytes of the disk journal's segments: a header, and records one behind another.

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
"""

from __future__ import annotations

import errno
import json
import os
import struct
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID
from zlib import crc32

from auditwire.errors import AuditwireError, EncodingError
from auditwire.jsonable import whole
from auditwire.wire import sequence_bytes

if TYPE_CHECKING:
    from auditwire.journal.base import Draft, Record
    from auditwire.journal.filesystem import File

__all__ = [
    "FIXED",
    "HEADER",
    "HEADER_SIZE",
    "LEAST",
    "LENGTH",
    "MAGIC",
    "MAX_INFO",
    "MAX_SEQUENCE",
    "NATIVE",
    "PARKED",
    "SEALED",
    "TRACE",
    "VERSION",
    "WORD",
    "Header",
    "SegmentDamaged",
    "aligned",
    "kind_of",
    "pack",
    "pack_header",
    "pack_record",
    "payload_size_limit",
    "read_around",
    "read_header",
    "read_kinds",
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

MAX_SEQUENCE = (1 << 62) - 1
"""No stream comes so far; what has a higher number would not fit into Avro's ``long`` some records later."""

_BLOCK = 4096
_PARKED_FLAG = 1
TRACE = 55
"""Bytes of a ``traceparent`` (W3C Trace Context)."""

LENGTH = 0xFFFF_FFFF
"""The half of a word that is the length."""

_KINDS = 1024
_KIND_SIZE = 1024
NATIVE = sys.byteorder == "little"
"""Whether words are numbers of this machine."""

_pack_fixed = FIXED.pack
_packed_kinds: dict[tuple[bytes, str, str], bytes] = {}
read_kinds: dict[bytes, tuple[str, str, bytes]] = {}


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
        if error.errno != errno.EIO:
            raise
    if offset // _BLOCK == (offset + count - 1) // _BLOCK:
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
    if NATIVE:
        return memoryview(data).cast("Q")
    words = array("Q", data)  # pragma: no cover - see the module
    words.byteswap()  # pragma: no cover
    return words  # pragma: no cover


class Header(NamedTuple):
    """What the header of a segment says; the attributes of `Segment` say what of it means what."""

    number: int
    stream_id: str
    first_sequence: int
    created_us: int
    salt: int
    parked: bool
    info: dict[str, Any]
    start: int


def pack_header(
    *,
    number: int,
    stream_id: str,
    first_sequence: int,
    info: dict[str, Any],
    parked: bool,
    salt: int | None,
    created_us: int | None,
) -> bytes:
    """The header with its description, not padded.

    Raises:
        ValueError: The description has more than :data:`MAX_INFO` bytes.
    """
    text = json.dumps(info, ensure_ascii=False, sort_keys=True).encode("utf-8", "backslashreplace")
    if len(text) > MAX_INFO:
        raise ValueError(f"a segment cannot hold a description of {len(text)} bytes")
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
    return header + crc32(text, crc32(header)).to_bytes(4, "little") + text


def _description(path: str, raw: bytes) -> dict[str, Any]:
    try:
        info = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SegmentDamaged("malformed", f"{path}: the description is no JSON: {error}") from error
    if not isinstance(info, dict):
        raise SegmentDamaged("malformed", f"{path}: the description is no JSON object")
    return info


def read_header(file: File, path: str, size: int) -> Header:
    """The header of a segment.

    Args:
        file: The segment.
        path: For the messages.
        size: Bytes of the file.

    Raises:
        SegmentDamaged: There is no whole header of this version.
        OSError: It cannot be read.
    """
    raw = read_around(file, 0, HEADER_SIZE)
    if len(raw) < HEADER_SIZE:
        raise SegmentDamaged("truncated", f"{path}: {size} bytes are less than a header")
    magic, version, flags, number, stream_id, first_sequence, created_us, salt, length, _ = (
        HEADER.unpack_from(raw)
    )
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
    if first_sequence > MAX_SEQUENCE or number << 32 >= PARKED:
        raise SegmentDamaged("malformed", f"{path}: segment {number} beginning with record {first_sequence}")
    return Header(
        number,
        str(UUID(bytes=stream_id)),
        first_sequence,
        created_us,
        salt,
        bool(flags & _PARKED_FLAG),
        _description(path, info),
        aligned(HEADER_SIZE + length),
    )


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
    body = head, sequence_bytes(sequence), tail
    return _pack(sequence, event_type, topic, key, timestamp, event_id, trace, body, fingerprint)


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
        (record.body, b"", b""),
        record.fingerprint,
    )


def payload_size_limit(draft: Draft) -> int:
    """Bytes that the draft's record has at most, word and padding included; close to it for ASCII."""
    text = len(draft.event_type) + len(draft.topic) + len(draft.event_id)
    if not (draft.event_type.isascii() and draft.topic.isascii() and draft.event_id.isascii()):
        text *= 4
    sequence = 10
    return aligned(
        WORD + LEAST + text + len(draft.key) + TRACE + len(draft.head) + sequence + len(draft.tail)
    )


def _pack(
    sequence: int,
    event_type: str,
    topic: str,
    key: bytes,
    timestamp: int,
    event_id: str,
    trace: bytes | None,
    body: tuple[bytes, bytes, bytes],
    fingerprint: bytes,
) -> bytes:
    begin, middle, end = body
    size = len(begin) + len(middle) + len(end)
    try:
        kind = _packed_kinds[fingerprint, event_type, topic]
    except KeyError:
        kind = _new_kind(fingerprint, event_type, topic)
    trace = trace or b""
    try:
        name = event_id.encode()
        fixed = _pack_fixed(sequence, timestamp, len(kind), len(key), len(name), len(trace), 0, size)
    except (struct.error, UnicodeEncodeError):
        # as the header of the Kafka record would have it
        name = whole(event_id).encode()
        try:
            fixed = _pack_fixed(sequence, timestamp, len(kind), len(key), len(name), len(trace), 0, size)
        except struct.error as error:
            raise EncodingError(
                f"the {event_type} event {event_id[:64]} does not fit into the journal: kind {len(kind)}, "
                f"key {len(key)}, id {len(name)}, body {size} bytes, time {timestamp} us"
            ) from error
    if trace and len(trace) != TRACE:
        raise EncodingError(f"a traceparent has {TRACE} bytes, not {len(trace)}")
    return b"".join((fixed, kind, key, name, trace, begin, middle, end))


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


def kind_of(raw: bytes) -> tuple[str, str, bytes]:
    """Event type, topic and fingerprint of a stored kind; ValueError or IndexError when it is none."""
    end = 9 + raw[8]
    if end > len(raw):
        raise ValueError(f"a kind of {len(raw)} bytes cannot hold an event type of {raw[8]}")
    kind = raw[9:end].decode(), raw[end:].decode(), raw[:8]
    if len(raw) <= _KIND_SIZE:  # no memory for what only damage, or malice, makes
        if len(read_kinds) >= _KINDS:
            read_kinds.clear()
        read_kinds[raw] = kind
    return kind
