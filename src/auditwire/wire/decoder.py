"""The value of a Kafka record -> the event in it. Safe to be given any bytes.

A value may come from anybody who can write to the topic, so the body is read here and not by a general Avro
library, which would believe a length or a count that is not there, or leave trailing bytes unnoticed. Every
length is compared with what is left before anything is made of it; a body counts only when it is read to its
last byte; nothing but :class:`DecodingError` comes out. The encoding is Avro's
(https://avro.apache.org/docs/1.12.0/specification/#binary-encoding):

======= ==================================================================================================
long    zigzag, 7 bits a byte, the lowest first, the top bit set on all but the last; 10 bytes at most
string  long: number of bytes; then UTF-8
double  8 bytes, IEEE 754, little-endian
boolean one byte, 0 or 1
array   blocks: long: number of items (negative: then a long, the block's size in bytes), the items; 0 ends it
union   long: which; then the value. 0 is null here and 1 the type
======= ==================================================================================================
"""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.errors import DecodingError
from auditwire.events import ALL_TYPES, AuditEvent
from auditwire.wire.framing import Framing, split
from auditwire.wire.schemas import Schema, schema_by_fingerprint, schema_versions
from auditwire.wire.shorten import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Decoded", "decode"]

_DOUBLE = Struct("<d")
_LAST_SHIFT = 63
_TRUNCATED = "truncated"
_MALFORMED = "malformed"


class Decoded(NamedTuple):
    """What a value held.

    Attributes:
        event: The event.
        stream_id: Identifier of its stream.
        sequence: Its number in the stream.
        body: The Avro body, without framing.
        digest: SHA-256 of the body, 32 bytes: what checkpoints list.
        framing: ``single-object`` or ``confluent``.
        fingerprint: CRC-64-AVRO of the schema that it was read with, 8 bytes, little-endian.
    """

    event: AuditEvent
    stream_id: str
    sequence: int
    body: bytes
    digest: bytes
    framing: Framing
    fingerprint: bytes


def decode(value: bytes | None, *, event_type: str | None = None) -> Decoded:
    """Reads the value of a Kafka record, in either framing.

    Args:
        value: The value; None is a tombstone.
        event_type: What the topic says. Single-object encoding names the schema, and this is not looked at.
            The Confluent wire format names it by a number that only the registry knows: the body says its
            type (the second field of every record), and this must be the same. None compares nothing.

    Raises:
        DecodingError: With the ``reason``: ``tombstone``, ``foreign``, ``oversized`` (above 16 MiB, or the
            metadata above 900 KiB), ``unknown_fingerprint``, ``truncated``, ``trailing_bytes`` or
            ``malformed``.
        SchemaError: The schemas are missing from the installation.
    """
    framing, named, body = split(value)
    if isinstance(named, bytes):
        schema = schema_by_fingerprint(named)
        if schema is None:
            raise DecodingError(
                "unknown_fingerprint",
                f"no schema with fingerprint {named.hex()}: written by a later version of auditwire, or by "
                "another program",
            )
        fields = _read(schema, body)
    else:
        schema, fields = _read_unnamed(body, event_type)
    stream_id, sequence = fields.pop("stream_id"), fields.pop("sequence")
    return Decoded(
        _event(schema, fields), stream_id, sequence, body, sha256(body).digest(), framing, schema.fingerprint
    )


def _read_unnamed(body: bytes, hint: str | None) -> tuple[Schema, dict[str, Any]]:
    """Reads a body whose schema only a registry could name, by the type that stands in it."""
    try:
        event_type, _ = _string(body, _string(body, 0)[1])
    except DecodingError as e:
        raise DecodingError(e.reason, f"no event of auditwire: {e}") from e
    if event_type not in ALL_TYPES:
        raise DecodingError("foreign", f"no event of auditwire: its second field is {event_type[:64]!r}")
    if hint is not None and hint != event_type:
        raise DecodingError(_MALFORMED, f"the record is of type {event_type}, the topic of type {hint[:64]}")
    current, *earlier = schema_versions(event_type)
    try:
        return current, _read(current, body)
    except DecodingError:
        for schema in earlier:
            with suppress(DecodingError):
                return schema, _read(schema, body)
        raise


def _read(schema: Schema, body: bytes) -> dict[str, Any]:
    """All fields by name; the body is consumed to the last byte."""
    values: dict[str, Any] = {}
    at = 0
    name = "?"
    try:
        for name, kind, nullable, _ in schema.fields:
            if nullable:
                present, at = _union(body, at)
                if not present:
                    values[name] = None
                    continue
            values[name], at = _READERS[kind](body, at)
    except DecodingError as e:
        raise DecodingError(e.reason, f"{schema.event_type} {schema.version}, field {name}: {e}") from None
    if at != len(body):
        raise DecodingError(
            "trailing_bytes", f"{schema.event_type} {schema.version}: {len(body) - at} bytes after the record"
        )
    if values.pop("event_type") != schema.event_type:
        raise DecodingError(_MALFORMED, f"{schema.event_type}: the record says it is of another type")
    if values["sequence"] < 0:
        raise DecodingError(_MALFORMED, f"{schema.event_type}: sequence {values['sequence']} is negative")
    return values


def _event(schema: Schema, values: dict[str, Any]) -> AuditEvent:
    """The event of a record's values; fields younger than the schema get the class's default."""
    text = values["metadata"]
    if len(text) > MAX_BODY:  # no record of ours; as objects, 16 MiB of "[],[],..." would take hundreds
        raise DecodingError("oversized", f"{schema.event_type}: metadata of {len(text)} characters")
    try:
        metadata = {} if text == "{}" else json.loads(text)
    except (ValueError, RecursionError) as e:
        raise DecodingError(
            _MALFORMED, f"{schema.event_type}: the metadata is no JSON that can be read: {type(e).__name__}"
        ) from e
    if not isinstance(metadata, dict):
        raise DecodingError(_MALFORMED, f"{schema.event_type}: the metadata is no JSON object")
    values["metadata"] = metadata
    values["timestamp_us"] = values.pop("timestamp")
    return ALL_TYPES[schema.event_type](**values)


# Each reader takes the body and where to begin, and returns the value and where it ends.


def _long(body: bytes, at: int) -> tuple[int, int]:
    if at < len(body) and body[at] < 0x80:  # noqa: PLR2004 - nearly always: lengths, branches, small numbers
        return (body[at] >> 1) ^ -(body[at] & 1), at + 1
    number = shift = 0
    for at in range(at, len(body)):  # noqa: B020, PLR1704 - goes on from where it is
        byte = body[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the top bit
            if number >> 64:
                raise DecodingError(_MALFORMED, "a number of more than 64 bits")
            return (number >> 1) ^ -(number & 1), at + 1
        shift += 7
        if shift > _LAST_SHIFT:
            raise DecodingError(_MALFORMED, "a number of more than 10 bytes")
    raise DecodingError(_TRUNCATED, "the body ends in a number")


def _string(body: bytes, at: int) -> tuple[str, int]:
    length, at = _long(body, at)
    if length < 0:
        raise DecodingError(_MALFORMED, f"a text of {length} bytes")
    end = at + length
    if end > len(body):
        raise DecodingError(_TRUNCATED, f"a text of {length} bytes, of which {len(body) - at} are there")
    try:
        return body[at:end].decode("utf-8"), end
    except UnicodeDecodeError as e:
        raise DecodingError(_MALFORMED, f"a text that is not UTF-8: {e.reason}") from e


def _double(body: bytes, at: int) -> tuple[float, int]:
    if at + 8 > len(body):
        raise DecodingError(_TRUNCATED, "the body ends in a double")
    number: float = _DOUBLE.unpack_from(body, at)[0]
    return number, at + 8


def _boolean(body: bytes, at: int) -> tuple[bool, int]:
    if at >= len(body):
        raise DecodingError(_TRUNCATED, "the body ends before a boolean")
    if body[at] > 1:
        raise DecodingError(_MALFORMED, f"a boolean of {body[at]}")
    return body[at] == 1, at + 1


def _array(body: bytes, at: int) -> tuple[list[str], int]:
    items: list[str] = []
    while True:
        count, at = _long(body, at)
        if count == 0:
            return items, at
        end = None
        if count < 0:
            count = -count
            size, at = _long(body, at)
            end = at + size
        if count > len(body) - at:  # an item has one byte at least
            raise DecodingError(_TRUNCATED, f"an array of {count} items in {len(body) - at} bytes")
        for _ in range(count):
            item, at = _string(body, at)
            items.append(item)
        if end is not None and at != end:
            raise DecodingError(_MALFORMED, "an array's block has another size than it says")


def _union(body: bytes, at: int) -> tuple[bool, int]:
    branch, at = _long(body, at)
    if branch not in (0, 1):
        raise DecodingError(_MALFORMED, f"a union of null and one type has no branch {branch}")
    return branch == 1, at


_READERS: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "string": _string,
    "long": _long,
    "double": _double,
    "boolean": _boolean,
    "array": _array,
}
