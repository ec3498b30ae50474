"""Reads a body by walking over its schema, field by field: slow, short, and exact about what is wrong.

The decoders that :mod:`auditwire.wire.codegen` makes are held to this one by tests, and leave to it every
value that is not what they expect: so there is one place that judges malformed bytes. A body may come from
anybody who can write to the topic. Every length is compared with what is left before anything is made of it;
a body counts only when it is read to its last byte; nothing but :class:`DecodingError` comes out. The
encoding is Avro's (https://avro.apache.org/docs/1.12.0/specification/#binary-encoding):

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
from struct import Struct
from typing import TYPE_CHECKING, Any

from auditwire.errors import DecodingError
from auditwire.events import ALL_TYPES
from auditwire.wire.decoded import Decoded, Envelope
from auditwire.wire.shorten import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from auditwire.wire.framing import Framing
    from auditwire.wire.schemas import Field, Schema

__all__ = [
    "SKIPPED",
    "envelope_of",
    "read",
    "read_array",
    "read_envelope",
    "read_long",
    "read_metadata",
    "read_string",
    "record_of",
]

SKIPPED = frozenset({"principal_id", "principal_type", "tenant_id", "metadata"})
"""Fields before the sequence that an :class:`Envelope` has no use for: their bytes are not looked at."""

_DOUBLE = Struct("<d")
_LAST_SHIFT = 63
_TRUNCATED = "truncated"
_MALFORMED = "malformed"


def read(schema: Schema, value: bytes, at: int, framing: Framing, _make: object = None) -> Decoded:
    """The record whose body begins at ``at`` and ends with the value.

    Fields of the class that the schema does not have yet get their default.

    Raises:
        DecodingError: ``truncated``, ``trailing_bytes``, ``malformed``, or ``oversized`` for metadata above
            900 KiB.
    """
    values, end = _fields(schema, schema.fields, value, at)
    if end != len(value):
        raise DecodingError(
            "trailing_bytes",
            f"{schema.event_type} {schema.version}: {len(value) - end} bytes after the record",
        )
    return record_of(schema, values, value, framing)


def record_of(schema: Schema, values: dict[str, Any], value: bytes, framing: Framing) -> Decoded:
    """The record that has these values, by the names of the schema's fields; they are used up.

    Raises:
        DecodingError: ``malformed``, or ``oversized`` for metadata above 900 KiB.
    """
    _check(schema, values)
    del values["event_type"]
    stream_id, sequence = values.pop("stream_id"), values.pop("sequence")
    try:
        values["metadata"] = read_metadata(values["metadata"])
    except DecodingError as e:
        raise DecodingError(e.reason, f"{schema.event_type}: {e}") from e.__cause__
    values["timestamp_us"] = values.pop("timestamp")
    return Decoded(
        event=ALL_TYPES[schema.event_type](**values),
        stream_id=stream_id,
        sequence=sequence,
        value=value,
        framing=framing,
        fingerprint=schema.fingerprint,
    )


def read_envelope(schema: Schema, value: bytes, at: int, framing: Framing) -> Envelope:
    """The envelope of the record whose body begins at ``at``; what follows the sequence is not looked at.

    Raises:
        DecodingError: ``truncated`` or ``malformed``.
    """
    upto_sequence = schema.fields[: len(schema.head) + 1]
    values, _ = _fields(schema, upto_sequence, value, at, SKIPPED)
    return envelope_of(schema, values, value, framing)


def envelope_of(schema: Schema, values: dict[str, Any], value: bytes, framing: Framing) -> Envelope:
    """The envelope that has these values, without those of :data:`SKIPPED`; they are used up.

    Raises:
        DecodingError: ``malformed``.
    """
    _check(schema, values)
    values["timestamp_us"] = values.pop("timestamp")
    return Envelope(**values, value=value, framing=framing, fingerprint=schema.fingerprint)


def _fields(
    schema: Schema, fields: Iterable[Field], value: bytes, at: int, skipped: frozenset[str] = frozenset()
) -> tuple[dict[str, Any], int]:
    """The values by name, and where they end."""
    values: dict[str, Any] = {}
    name = "?"
    try:
        for name, kind, nullable, _ in fields:
            if nullable:
                present, at = _union(value, at)
                if not present:
                    if name not in skipped:
                        values[name] = None
                    continue
            if name in skipped:
                _, at = _span(value, at)
            else:
                values[name], at = _READERS[kind](value, at)
    except DecodingError as e:
        raise DecodingError(e.reason, f"{schema.event_type} {schema.version}, field {name}: {e}") from None
    return values, at


def _check(schema: Schema, values: dict[str, Any]) -> None:
    if values["event_type"] != schema.event_type:
        raise DecodingError(_MALFORMED, f"{schema.event_type}: the record says it is of another type")
    if values["sequence"] < 0:
        raise DecodingError(_MALFORMED, f"{schema.event_type}: sequence {values['sequence']} is negative")


def read_metadata(text: str) -> dict[str, Any]:
    """The dictionary of a record's metadata.

    Raises:
        DecodingError: ``oversized`` above 900 KiB, ``malformed`` when it is no JSON object.
    """
    if len(text) > MAX_BODY:  # no record of ours; as objects, 16 MiB of "[],[],..." would take hundreds
        raise DecodingError("oversized", f"metadata of {len(text)} characters")
    try:
        metadata = {} if text == "{}" else json.loads(text)
    except (ValueError, RecursionError) as e:
        raise DecodingError(
            _MALFORMED, f"the metadata is no JSON that can be read: {type(e).__name__}"
        ) from e
    if not isinstance(metadata, dict):
        raise DecodingError(_MALFORMED, "the metadata is no JSON object")
    return metadata


# Each reader takes the value and where to begin, and returns what stands there and where it ends.


def read_long(value: bytes, at: int) -> tuple[int, int]:
    """A long."""
    if at < len(value) and value[at] < 0x80:  # noqa: PLR2004 - nearly always: lengths, branches, small numbers
        return (value[at] >> 1) ^ -(value[at] & 1), at + 1
    number = shift = 0
    for at in range(at, len(value)):  # noqa: B020, PLR1704 - goes on from where it is
        byte = value[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the top bit
            if number >> 64:
                raise DecodingError(_MALFORMED, "a number of more than 64 bits")
            return (number >> 1) ^ -(number & 1), at + 1
        shift += 7
        if shift > _LAST_SHIFT:
            raise DecodingError(_MALFORMED, "a number of more than 10 bytes")
    raise DecodingError(_TRUNCATED, "the body ends in a number")


def read_string(value: bytes, at: int) -> tuple[str, int]:
    """A string."""
    start, end = _span(value, at)
    try:
        return value[start:end].decode("utf-8"), end
    except UnicodeDecodeError as e:
        raise DecodingError(_MALFORMED, f"a text that is not UTF-8: {e.reason}") from e


def _span(value: bytes, at: int) -> tuple[int, int]:
    """Where the bytes of a string begin and end."""
    length, at = read_long(value, at)
    if length < 0:
        raise DecodingError(_MALFORMED, f"a text of {length} bytes")
    end = at + length
    if end > len(value):
        raise DecodingError(_TRUNCATED, f"a text of {length} bytes, of which {len(value) - at} are there")
    return at, end


def _double(value: bytes, at: int) -> tuple[float, int]:
    if at + 8 > len(value):
        raise DecodingError(_TRUNCATED, "the body ends in a double")
    number: float = _DOUBLE.unpack_from(value, at)[0]
    return number, at + 8


def _boolean(value: bytes, at: int) -> tuple[bool, int]:
    if at >= len(value):
        raise DecodingError(_TRUNCATED, "the body ends before a boolean")
    if value[at] > 1:
        raise DecodingError(_MALFORMED, f"a boolean of {value[at]}")
    return value[at] == 1, at + 1


def read_array(value: bytes, at: int) -> tuple[list[str], int]:
    """An array of strings."""
    items: list[str] = []
    while True:
        count, at = read_long(value, at)
        if count == 0:
            return items, at
        end = None
        if count < 0:
            count = -count
            size, at = read_long(value, at)
            end = at + size
        if count > len(value) - at:  # an item has one byte at least
            raise DecodingError(_TRUNCATED, f"an array of {count} items in {len(value) - at} bytes")
        for _ in range(count):
            item, at = read_string(value, at)
            items.append(item)
        if end is not None and at != end:
            raise DecodingError(_MALFORMED, "an array's block has another size than it says")


def _union(value: bytes, at: int) -> tuple[bool, int]:
    branch, at = read_long(value, at)
    if branch not in (0, 1):
        raise DecodingError(_MALFORMED, f"a union of null and one type has no branch {branch}")
    return branch == 1, at


_READERS: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "string": read_string,
    "long": read_long,
    "double": _double,
    "boolean": _boolean,
    "array": read_array,
}
