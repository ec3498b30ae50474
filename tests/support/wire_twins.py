"""The decoder held to its reference, over any bytes: generated code to the interpreter."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from auditwire.errors import DecodingError
from auditwire.events import ALL_TYPES
from auditwire.wire import (
    Decoded,
    Envelope,
    decode,
    envelope,
    interpreter,
    schema_by_fingerprint,
    schema_versions,
    split,
)
from auditwire.wire.codegen import REFUSALS, readers_of
from auditwire.wire.decoded import Misplaced
from auditwire.wire.framing import HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.wire import Schema
    from auditwire.wire.codegen import Generated

__all__ = ["REASONS", "checked", "generated", "reference"]

REASONS = frozenset(
    {
        "tombstone",
        "foreign",
        "oversized",
        "unknown_fingerprint",
        "truncated",
        "trailing_bytes",
        "malformed",
    }
)
_OF_THE_EVENT = (
    "event_id",
    "event_type",
    "timestamp_us",
    "session_id",
    "turn_id",
    "agent_id",
    "severity",
    "trace_id",
    "span_id",
)
_OF_THE_RECORD = ("stream_id", "sequence", "value", "framing", "fingerprint", "body", "digest")
_Read = TypeVar("_Read", Decoded, Envelope)


def checked(value: bytes, event_type: str | None = None) -> Decoded | DecodingError:
    """What ``decode`` makes of the value, once it is known that it and ``envelope`` keep their promises.

    Nothing but DecodingError comes out, with one of :data:`REASONS`; both give what the interpreter alone
    gives, to the text of the error; the generated functions give that or refuse; an envelope is that of its
    record.
    """
    whole = _outcome(lambda: decode(value, event_type=event_type))
    short = _outcome(lambda: envelope(value, event_type=event_type))
    assert _told(whole) == _told(_outcome(lambda: reference(value, event_type)))
    schema = _named(value)
    if schema is None:
        assert isinstance(whole, Decoded) or _told(short) == _told(whole)
    else:
        alone = _outcome(lambda: interpreter.read_envelope(schema, value, 10, "single-object"))
        assert _told(short) == _told(alone)
        readers = readers_of(schema)
        for of_generated, expected in (
            (generated(readers.decode, value), _outcome(lambda: decode(value))),
            (generated(readers.envelope, value), short),
        ):
            assert of_generated is None or _told(of_generated) == _told(expected)
    for found in (whole, short):
        assert not isinstance(found, DecodingError) or found.reason in REASONS
    if isinstance(whole, Decoded):
        for name in _OF_THE_EVENT:
            assert getattr(short, name) == getattr(whole.event, name)
        for name in _OF_THE_RECORD:
            assert getattr(short, name) == getattr(whole, name)
    return whole


def generated(read: Generated[_Read], value: bytes) -> _Read | None:
    """What a generated function makes of a value of its schema; None when it refuses."""
    framing = split(value)[0]
    try:
        return read(value, HEADER_BYTES[framing], framing)
    except REFUSALS:
        return None


def reference(value: bytes, event_type: str | None = None) -> Decoded:
    """What the interpreter alone makes of the value, on a topic of that type."""
    found = _interpreted(value)
    return found if event_type in (None, found.event.event_type) else Misplaced.of(found)


def _interpreted(value: bytes) -> Decoded:
    framing, named, _ = split(value)
    if isinstance(named, bytes):
        schema = schema_by_fingerprint(named)
        if schema is None:
            message = (
                f"no schema with fingerprint {named.hex()}: written by a later version of auditwire, or by "
            )
            raise DecodingError("unknown_fingerprint", message + "another program")
        return interpreter.read(schema, value, 10, framing)
    try:
        stated, _ = interpreter.read_string(value, interpreter.read_string(value, 5)[1])
    except DecodingError as e:
        raise DecodingError("foreign", f"no event of auditwire: {e}") from e
    if stated not in ALL_TYPES:
        raise DecodingError("foreign", f"no event of auditwire: its second field is {stated[:64]!r}")
    outcomes = [
        _outcome(partial(interpreter.read, schema, value, 5, framing)) for schema in schema_versions(stated)
    ]
    for found in outcomes:
        if isinstance(found, Decoded):
            return found
    assert isinstance(outcomes[0], DecodingError)
    raise outcomes[0]


def _named(value: bytes) -> Schema | None:
    """The schema that the value's framing names."""
    named = _outcome(lambda: split(value)[1])
    return schema_by_fingerprint(named) if isinstance(named, bytes) else None


_Any = TypeVar("_Any")


def _outcome(call: Callable[[], _Any]) -> _Any | DecodingError:
    try:
        return call()
    except DecodingError as e:
        return e


def _told(found: object) -> str:
    """All that there is to see of an outcome: equal where a NaN is not."""
    return f"{found.reason}: {found}" if isinstance(found, DecodingError) else repr(found)
