"""What stands before the Avro body in the value of a Kafka record.

Avro single-object encoding, used without a schema registry
(https://avro.apache.org/docs/1.12.0/specification/#single-object-encoding)::

    bytes 0-1    0xC3 0x01
    bytes 2-9    CRC-64-AVRO fingerprint of the schema, little-endian
    bytes 10-    Avro body

Confluent wire format, used with a schema registry
(https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format)::

    byte  0      0x00
    bytes 1-4    identifier of the schema in the registry, big-endian, not negative
    bytes 5-     Avro body

The first byte tells one from the other, and both from JSON and other text.
"""

from __future__ import annotations

from typing import Literal

from auditwire.errors import DecodingError

__all__ = ["HEADER_BYTES", "MAX_VALUE", "Framing", "frame_confluent", "frame_single_object", "split"]

Framing = Literal["single-object", "confluent"]

MAX_VALUE = 16 * 1024 * 1024
"""Bytes of the largest value that is read: no record of ours comes near, and a hostile one costs no more."""

_SINGLE_OBJECT = b"\xc3\x01"
_SINGLE_OBJECT_HEADER = 10
_CONFLUENT = b"\x00"
_CONFLUENT_HEADER = 5
HEADER_BYTES: dict[Framing, int] = {"single-object": _SINGLE_OBJECT_HEADER, "confluent": _CONFLUENT_HEADER}
"""Bytes that stand before the body in each framing."""
_FINGERPRINT = 8
_LAST_ID = 0x7FFF_FFFF  # a Java int


def frame_single_object(fingerprint: bytes, body: bytes) -> bytes:
    """The value of a record without a schema registry.

    Args:
        fingerprint: CRC-64-AVRO of the schema, 8 bytes, little-endian: ``Schema.fingerprint``.
        body: Avro body.

    Raises:
        ValueError: The fingerprint has not 8 bytes.
    """
    if len(fingerprint) != _FINGERPRINT:
        raise ValueError(f"a CRC-64-AVRO fingerprint has 8 bytes, this one {len(fingerprint)}")
    return _SINGLE_OBJECT + fingerprint + body


def frame_confluent(schema_id: int, body: bytes) -> bytes:
    """The value of a record with a schema registry.

    Args:
        schema_id: The registry's identifier of the schema, 0 to 2**31 - 1.
        body: Avro body.

    Raises:
        ValueError: The identifier is out of range.
    """
    if not 0 <= schema_id <= _LAST_ID:
        raise ValueError(f"a registry's schema id is 0 to {_LAST_ID}, not {schema_id}")
    return _CONFLUENT + schema_id.to_bytes(4, "big") + body


def split(value: bytes | None) -> tuple[Framing, bytes | int, bytes]:
    """Takes a value apart: the framing, the fingerprint (8 bytes) or registry id (int), and the body.

    The body is not looked at.

    Raises:
        DecodingError: ``tombstone`` for None, ``oversized`` above 16 MiB, ``truncated`` when a single-object
            framing is cut off, ``foreign`` for anything else; of a few bytes behind a 0 too, which may be
            anybody's.
    """
    if value is None:
        raise DecodingError("tombstone", "the record has no value (a tombstone)")
    if len(value) > MAX_VALUE:
        raise DecodingError("oversized", f"the value has {len(value)} bytes, more than {MAX_VALUE}")
    if value[:2] == _SINGLE_OBJECT:
        if len(value) < _SINGLE_OBJECT_HEADER:
            raise DecodingError("truncated", f"the value ends in its framing, after {len(value)} bytes")
        return "single-object", value[2:10], value[10:]
    if value[:1] == _CONFLUENT and len(value) >= _CONFLUENT_HEADER:
        schema_id = int.from_bytes(value[1:5], "big")
        if schema_id <= _LAST_ID:
            return "confluent", schema_id, value[5:]
    raise DecodingError(
        "foreign",
        f"the value begins with {value[:2].hex() or 'nothing'}: neither Avro single-object encoding (c301) "
        "nor the Confluent wire format (00 and the four bytes of an identifier)",
    )
