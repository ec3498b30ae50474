"""The bytes of facts: what a check keeps of a record, and of what is said of records.

A *fact* belongs to one stream. The facts of a stream are rows, one for each record that was read, and claims,
what checkpoints and others say of its records. All numbers are big-endian, so that rows and claims sort as
bytes in the order in which they are judged.

**Key of a stream**, 16 bytes. The id's own bytes when it is the text of a UUID in lower case whose version is
not 15, else the first 16 bytes of the text's SHA-256 with the version set to 15; the text is then a claim.

**Row**, 76 bytes, sorted by sequence, then digest and type:

====== ====== ===================================================================================
offset length
====== ====== ===================================================================================
0      8      sequence
8      32     SHA-256 of the Avro body
40     8      code of the type
48     8      code of the topic
56     4      partition, signed
60     8      offset, signed
68     8      time of the event, milliseconds since the Unix epoch, rounded down; 0: it, or earlier
====== ====== ===================================================================================

**Code of a type**: the fingerprint when the installation knows a schema of that type with it, else the
first 8 bytes of the SHA-256 of ``event_type:fingerprint``. **Code of a topic**: the first 8 bytes of the
SHA-256 of its name. A run (:mod:`auditwire.verification.runs`) has the names of the codes in it.

**Claim**: heads, which say something of the stream as a whole, have a kind below 0x80 and come first; the
others begin with 0x80 and the sequence that they speak of:

====== ====== ===================================================================================
offset length
====== ====== ===================================================================================
0      1      kind below 0x80, or 0x80
1      8      only after 0x80: sequence
9      1      only after 0x80: kind
10            payload: see :class:`Kind`
====== ====== ===================================================================================

JSON in a payload is an array; ``place`` stands for topic, partition and offset.
"""

from __future__ import annotations

import json
import re
from enum import IntEnum
from functools import cache
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.events import ALL_TYPES
from auditwire.stream import type_key
from auditwire.wire import schema_by_fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BODY",
    "ENTRY_BYTES",
    "IDENTITY",
    "KEY_BYTES",
    "MAX_SEQUENCE",
    "ROW",
    "ROW_BYTES",
    "SEQUENCE",
    "TIMESTAMP",
    "Kind",
    "Names",
    "Place",
    "about",
    "code_of_topic",
    "code_of_type",
    "head",
    "is_hashed",
    "key_of",
    "latest_of",
    "packed",
    "payload_of",
    "sequence_of",
    "text_of",
    "timestamp_of",
    "type_of_code",
    "unpacked",
]

ROW = Struct(">Q32s8s8siqQ")
ROW_BYTES = 76
SEQUENCE = slice(0, 8)
"""Of a row."""

TIMESTAMP = slice(68, 76)
"""Of a row; not negative, so that times sort as bytes."""

IDENTITY = slice(8, 48)
"""Of a row: digest and type. Two rows with one sequence and one identity are the same record."""

KEY_BYTES = 16
ENTRY_BYTES = 33
"""Of what a checkpoint's entry stands for: index of the type, digest."""

MAX_SEQUENCE = (1 << 64) - 1
BODY = 0x80
"""First byte of the claims that are no heads."""

_ABOUT = Struct(">BQB")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-e][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")
_HASHED = 0xF0
_CODE_BYTES = 8


class Kind(IntEnum):
    """What a claim says, and its payload."""

    # heads
    NAME = 0x00
    """The stream's id, where the key is a hash: UTF-8, surrogates passed."""
    CARRIED = 0x01
    """What an earlier check carried over: JSON; see :mod:`auditwire.verification.carry`."""
    WANTED = 0x02
    """The stream has a record of a session that was asked for: nothing."""
    CHECKPOINT_HEAD = 0x03
    """Sequence (8 bytes), digest (32), JSON: acknowledged, whether that counts, reason, time of the
    event in us, trail, service or null."""
    NAMED = 0x04
    """A later stream names a record of this one: sequence (8 bytes), 0 when the naming counts as what a
    checkpoint says that the broker had, else 1 (1)."""
    RECOVERY = 0x05
    """Key of the adopter's stream (16 bytes), sequence there (8), digest (32), 0 when it counts, else 1 (1):
    of copies one that counts comes first. JSON: the adopter's stream id, place, first_sequence, number of
    entries, last_sequence, unreadable, machine_restarted, what is malformed or null."""
    REMEMBERED_HEAD = 0x06
    """A state file knows the stream: last sequence (8 bytes), digest (32), latest time of an event (8), 1
    when it was closed, else 0 (1)."""

    # about a range of records that begins with the sequence
    PRESENT = 0x10
    """An earlier check has seen them: last sequence (8 bytes), latest time of their events (8), 1 when they
    are listed, else 0 (1)."""
    LISTED = 0x11
    """What a checkpoint of the stream lists: number of entries (2 bytes), the entries (33 each), JSON: types,
    each code in hex and text, and the checkpoint's sequence."""
    STATED = 0x12
    """As LISTED, by a recovery record; JSON: types, key of the adopter's stream in hex, sequence there, the
    adopter's stream id, place."""

    # about one record
    NAMING = 0x20
    """Digest that a later stream names (32 bytes), that stream's checkpoint in words as UTF-8."""
    REMEMBERED = 0x21
    """Digest that a state file knows (32 bytes)."""
    QUARANTINED = 0x22
    """JSON: digest that the quarantine record names, place of that record."""
    MISPLACED = 0x23
    """JSON: what, expected, found, place."""
    LOSS = 0x24
    """Digest (32 bytes), JSON: how many events, why, place."""
    ANTEDATED = 0x25
    """Its Kafka timestamp is older than its event: that timestamp (8 bytes)."""
    CHECKPOINT = 0x26
    """Digest (32 bytes), JSON: first_sequence, number of entries, reason, what is malformed or null, streams
    that ``previous`` names, what in ``previous`` names none, place."""


class Place(NamedTuple):
    """Where a record is."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic} [{self.partition}] offset {self.offset}"


class Names(NamedTuple):
    """What the codes in rows stand for."""

    topics: dict[bytes, str]
    types: dict[bytes, str]

    def topic(self, code: bytes) -> str:
        return self.topics.get(code, "?")

    def type_key(self, code: bytes) -> str:
        return type_of_code(code) or self.types.get(code, "?")

    def add(self, other: Names) -> None:
        self.topics.update(other.topics)
        self.types.update(other.types)


# -- rows ---------------------------------------------------------------------------------------------------


def sequence_of(row: bytes) -> int:
    """A row's sequence."""
    return int.from_bytes(row[SEQUENCE], "big")


def timestamp_of(row: bytes) -> int:
    """The time of the event in a row, milliseconds since the Unix epoch; 0: it, or earlier."""
    return int.from_bytes(row[TIMESTAMP], "big")


def latest_of(rows: Iterable[bytes]) -> int:
    """The latest time of an event in rows, of which there is one at least."""
    return int.from_bytes(max([row[TIMESTAMP] for row in rows]), "big")


# -- keys and codes -----------------------------------------------------------------------------------------


def key_of(stream_id: str) -> bytes:
    """The 16 bytes that stand for a stream."""
    if _UUID.fullmatch(stream_id):
        return bytes.fromhex(stream_id.replace("-", ""))
    digest = bytearray(sha256(stream_id.encode("utf-8", "surrogatepass")).digest()[:KEY_BYTES])
    digest[6] |= _HASHED
    return bytes(digest)


def is_hashed(key: bytes) -> bool:
    """True when the stream's id cannot be told from its key."""
    return key[6] & _HASHED == _HASHED


def text_of(key: bytes) -> str:
    """The stream's id, of a key that is not hashed; of one that is, its hex digits in the same form."""
    digits = key.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def code_of_type(text: str) -> bytes:
    """The 8 bytes that stand for ``event_type:fingerprint``."""
    return _codes().get(text) or sha256(text.encode("utf-8", "surrogatepass")).digest()[:_CODE_BYTES]


def type_of_code(code: bytes) -> str | None:
    """``event_type:fingerprint`` of a type that the installation knows."""
    schema = schema_by_fingerprint(code)
    return None if schema is None else type_key(schema.event_type, code)


def code_of_topic(topic: str) -> bytes:
    """The 8 bytes that stand for a topic."""
    return sha256(topic.encode("utf-8", "surrogatepass")).digest()[:_CODE_BYTES]


@cache
def _codes() -> Mapping[str, bytes]:
    from auditwire.wire import schema_versions  # noqa: PLC0415 - reads every schema; once, when it is needed

    return {
        type_key(event_type, schema.fingerprint): schema.fingerprint
        for event_type in ALL_TYPES
        for schema in schema_versions(event_type)
    }


# -- claims -------------------------------------------------------------------------------------------------


def head(kind: Kind, payload: bytes = b"") -> bytes:
    """A claim about the stream as a whole."""
    return bytes((kind,)) + payload


def about(sequence: int, kind: Kind, payload: bytes) -> bytes:
    """A claim about a record, or about a range that begins with it."""
    return _ABOUT.pack(BODY, sequence, kind) + payload


def payload_of(claim: bytes) -> bytes:
    """What follows the kind, of a claim that is no head."""
    return claim[_ABOUT.size :]


def packed(values: list[Any]) -> bytes:
    """The JSON of a payload."""
    return json.dumps(values, separators=(",", ":")).encode("ascii")


def unpacked(text: bytes) -> list[Any]:
    """The other way round."""
    values: list[Any] = json.loads(text.decode("ascii"))
    return values
