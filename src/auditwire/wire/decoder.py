"""The value of a Kafka record -> the event in it, or its envelope alone. Safe to be given any bytes.

A value may come from anybody who can write to the topic, so it is read here and not by a general Avro
library, which would believe a length or a count that is not there, or leave trailing bytes unnoticed. A
decoder made from the schema reads what is as a writer of ours leaves it (:mod:`auditwire.wire.codegen`); the
interpreter reads the rest, or says what is wrong with it (:mod:`auditwire.wire.interpreter`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypeVar, cast

from auditwire.errors import DecodingError
from auditwire.events import ALL_TYPES
from auditwire.wire import interpreter
from auditwire.wire.codec import readers_of, when_changed
from auditwire.wire.codegen import REFUSALS, Generated, GeneratedDecode
from auditwire.wire.decoded import Decoded, Envelope, Misplaced
from auditwire.wire.framing import HEADER_BYTES, MAX_VALUE, split
from auditwire.wire.interpreter import read_string
from auditwire.wire.schemas import Schema, schema_by_fingerprint, schema_versions

__all__ = ["decode", "decode_into", "envelope"]

M = TypeVar("M")

_SINGLE_OBJECT = HEADER_BYTES["single-object"]
_CONFLUENT = HEADER_BYTES["confluent"]

# The ten bytes of a single-object header -> the reader generated for its schema; filled with what was met. Of
# decoders one dictionary for each type that a topic may have, with that type's schemas alone: a record of
# another type is then met where all that is unusual is met, and the usual ones pay nothing for it.
_decoders: dict[str | None, dict[bytes, GeneratedDecode]] = {}
_of_no_type: dict[bytes, GeneratedDecode] = {}  # stays empty
_envelopes: dict[bytes, Generated[Envelope]] = {}
when_changed(_decoders.clear)
when_changed(_envelopes.clear)


def decode(value: bytes | None, *, event_type: str | None = None) -> Decoded:
    """Reads the value of a Kafka record, in either framing. Called from any thread.

    Args:
        value: The value; None is a tombstone.
        event_type: The type that the topic is of; None: of any. A record of another type is read all the
            same, and is ``misplaced``. Single-object encoding names the schema. The Confluent wire format
            names it by a number that only the registry knows: the body says its type (the second field of
            every record), and this one is tried first. One that does not get as far as that is ``foreign``.

    Raises:
        DecodingError: With the ``reason``: ``tombstone``, ``foreign``, ``oversized`` (above 16 MiB, or the
            metadata above 900 KiB), ``unknown_fingerprint``, ``truncated``, ``trailing_bytes`` or
            ``malformed``.
        SchemaError: The schemas are missing from the installation.
        ConfigurationError: ``AUDITWIRE_CODEC`` holds what is no codec.
    """
    return decode_into(value, event_type, Decoded)


def decode_into(value: bytes | None, event_type: str | None, make: type[M]) -> M | Decoded:
    """As :func:`decode`, for whoever would turn each :class:`Decoded` into an object of another class.

    Args:
        value: As there.
        event_type: As there.
        make: A class with the attributes of a :class:`Decoded` but ``misplaced``. It is made without its
            constructor, of all usual values; of an unusual or misplaced one a :class:`Decoded` is made.

    Raises:
        DecodingError: As :func:`decode`, and what else is raised there.
    """
    if value is not None and len(value) <= MAX_VALUE:
        read = _decoders.get(event_type, _of_no_type).get(value[:_SINGLE_OBJECT])
        if read is not None:
            made: M | None
            try:
                made = read(value, _SINGLE_OBJECT, "single-object", make)
            except REFUSALS:
                made = None
            if made is not None:
                return made
    value, schema = _opened(value)
    if schema is None:
        found = _decode_unnamed(value, event_type)
    else:
        found = interpreter.read(schema, value, _SINGLE_OBJECT, "single-object")
    return found if event_type in (None, found.event.event_type) else Misplaced.of(found)


def envelope(value: bytes | None, *, event_type: str | None = None) -> Envelope:
    """Reads the envelope of a Kafka record, up to its sequence, at about 0.6 of the cost of :func:`decode`.

    In single-object encoding nothing is looked at that an :class:`Envelope` does not hold: the principal, the
    tenant, the metadata, and all that follows the sequence may be malformed. So this is for a reader that
    compares the body's digest with one that a checkpoint lists. In the Confluent wire format the whole body
    is read, because it alone tells with which version of the schema it was written. Called from any thread.

    Args:
        value: The value; None is a tombstone.
        event_type: As in :func:`decode`; that it is another one is not told.

    Raises:
        DecodingError: As :func:`decode`.
        SchemaError: The schemas are missing from the installation.
    """
    if value is not None and len(value) <= MAX_VALUE:
        read = _envelopes.get(value[:_SINGLE_OBJECT])
        if read is not None:
            try:
                found = read(value, _SINGLE_OBJECT, "single-object")
            except REFUSALS:
                found = None
            if found is not None:
                return found
    value, schema = _opened(value)
    if schema is None:
        return _envelope_of(_decode_unnamed(value, event_type))
    return interpreter.read_envelope(schema, value, _SINGLE_OBJECT, "single-object")


def _opened(value: bytes | None) -> tuple[bytes, Schema | None]:
    """The value, and the schema that its framing names; None where only a registry could tell.

    The schema's generated readers are tried first from now on.
    """
    _, named, _ = split(value)
    value = cast("bytes", value)  # split refused None
    if not isinstance(named, bytes):
        return value, None
    schema = schema_by_fingerprint(named)
    if schema is None:
        raise DecodingError(
            "unknown_fingerprint",
            f"no schema with fingerprint {named.hex()}: written by a later version of auditwire, or by "
            "another program",
        )
    header, readers = value[:_SINGLE_OBJECT], readers_of(schema)
    for event_type in (None, schema.event_type):
        _decoders.setdefault(event_type, {})[header] = readers.decode
    _envelopes[header] = readers.envelope
    return value, schema


def _decode_unnamed(value: bytes, hint: str | None) -> Decoded:
    """Reads a value whose schema only a registry could name, by the type that stands in the body."""
    if hint in ALL_TYPES:  # nearly always of the topic's type, in its current version
        found = _generated(schema_versions(hint)[0], value)
        if found is not None:
            return found
    try:
        event_type, _ = read_string(value, read_string(value, _CONFLUENT)[1])
    except DecodingError as e:  # a registry serves many programs: nothing says that it was to be an event
        raise DecodingError("foreign", f"no event of auditwire: {e}") from e
    if event_type not in ALL_TYPES:
        raise DecodingError("foreign", f"no event of auditwire: its second field is {event_type[:64]!r}")
    current, *earlier = schema_versions(event_type)
    try:
        return _decode_confluent(current, value)
    except DecodingError:
        for schema in earlier:
            with suppress(DecodingError):
                return _decode_confluent(schema, value)
        raise


def _decode_confluent(schema: Schema, value: bytes) -> Decoded:
    return _generated(schema, value) or interpreter.read(schema, value, _CONFLUENT, "confluent")


def _generated(schema: Schema, value: bytes) -> Decoded | None:
    """What the schema's generated decoder makes of a Confluent value; None when it refuses."""
    try:
        return cast("Decoded | None", readers_of(schema).decode(value, _CONFLUENT, "confluent"))
    except REFUSALS:
        return None


def _envelope_of(found: Decoded) -> Envelope:
    event = found.event
    return Envelope(
        event_id=event.event_id,
        event_type=event.event_type,
        timestamp_us=event.timestamp_us,
        session_id=event.session_id,
        turn_id=event.turn_id,
        agent_id=event.agent_id,
        severity=event.severity,
        trace_id=event.trace_id,
        span_id=event.span_id,
        stream_id=found.stream_id,
        sequence=found.sequence,
        value=found.value,
        framing=found.framing,
        fingerprint=found.fingerprint,
    )
