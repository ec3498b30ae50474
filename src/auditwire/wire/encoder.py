"""Events to Avro bodies, in two parts with the sequence between them.

::

    body = head + sequence + tail

    head      Avro of the fields before ``sequence``: the envelope
    sequence  Avro long: zigzag, then 7 bits a byte, the lowest first
              (https://avro.apache.org/docs/1.12.0/specification/#binary-encoding)
    tail      Avro of the fields after ``sequence``: the type's own

An Avro record is its fields one after the other and nothing between, so that the thread that calls ``emit``
can encode head and tail before anybody knows the record's number. The result is byte for byte what an Avro
library makes of the whole schema; a property test holds it to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, fields
from io import BytesIO
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from auditwire.errors import EncodingError
from auditwire.events import CONTROL_TYPES, AuditEvent
from auditwire.jsonable import json_line, plain, text_of
from auditwire.wire.coerce import Converted, Unfit, convert, note_of
from auditwire.wire.foreign import as_audit_event
from auditwire.wire.notes import COERCED, add_notes
from auditwire.wire.packing import flat_json
from auditwire.wire.schemas import Field, Schema, schema_for
from auditwire.wire.shorten import MAX_BODY, MAX_ID, ROOM, ids_fit, shorten, surely_too_large

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_BODY",
    "Encoded",
    "Encoder",
    "FastavroEncoder",
    "as_audit_event",
    "join_body",
    "sequence_bytes",
]

_ABSENT = object()

# What the codec can be given as it is. The codec itself takes more in silence: a float for a long and loses
# its fraction, any object for a boolean, the letters of a string for an array.
_EXACT = {"string": str, "long": int, "double": float, "boolean": bool, "array": list}

Encoded = tuple[bytes, bytes, str, bytes, int, str, "str | None", "str | None"]
"""Of an event as it was encoded: head, tail, event type, session id (UTF-8; none: no bytes), time in
microseconds since the Unix epoch, event id, trace id and span id. A plain tuple: every event makes one."""


class Encoder(Protocol):
    """Event -> head and tail of its Avro body. Called from any thread. The event is not changed."""

    def encode(self, event: AuditEvent, stream_id: str) -> tuple[bytes, bytes]:
        """Head and tail, to be put together by :func:`join_body`.

        Raises:
            EncodingError: The event could not be turned into bytes, in spite of coercion and shortening.
        """

    def encode_fitted(self, event: AuditEvent, stream_id: str) -> tuple[bytes, bytes, AuditEvent]:
        """As ``encode``, and the event as it was encoded.

        That is the event itself, or a copy with coerced and shortened values.

        Raises:
            EncodingError: As ``encode``.
        """

    def bound(self, stream_id: str) -> Callable[[AuditEvent], Encoded]:
        """``encode`` for events of one stream, which also tells what was encoded.

        What stands around the body (key, headers, Kafka timestamp) must be taken from this, or it would
        disagree with the body: of what was coerced or cut, and of an event that another thread changes.
        What it returns raises EncodingError as ``encode``.
        """


def join_body(head: bytes, sequence: int, tail: bytes) -> bytes:
    """The Avro body of the record with this number.

    Args:
        head: What ``Encoder.encode`` returned first.
        sequence: The record's number in its stream, 0 to 2**63 - 1.
        tail: What ``Encoder.encode`` returned second.

    Raises:
        ValueError: The sequence is out of range.
    """
    return b"".join((head, sequence_bytes(sequence), tail))


def sequence_bytes(sequence: int) -> bytes:
    """A record's number as it stands between head and tail: a zigzag varint, Avro's ``long``.

    Args:
        sequence: 0 to 2**63 - 1.

    Raises:
        ValueError: The sequence is out of range.
    """
    if not 0 <= sequence < 1 << 63:
        raise ValueError(f"a sequence is 0 to 2**63 - 1, not {sequence}")
    rest = sequence << 1  # zigzag of a number that is not negative
    # one record in a million needs more than three bytes, or less than two
    if 1 << 7 <= rest < 1 << 14:
        return bytes((rest & 0x7F | 0x80, rest >> 7))
    if 1 << 14 <= rest < 1 << 21:
        return bytes((rest & 0x7F | 0x80, rest >> 7 & 0x7F | 0x80, rest >> 14))
    out = bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def ignore(_field: str) -> None:
    """Nobody counts."""


class _Plan:
    """What is known about a class before its first event: its columns and how to get them."""

    __slots__ = (
        "arrays",
        "cls",
        "columns",
        "fitting",
        "get",
        "head",
        "metadata",
        "names",
        "schema",
        "tail",
        "write",
    )

    def __init__(self, cls: type[AuditEvent], schema: Schema) -> None:
        self.cls = cls
        self.schema = schema
        by_name = {f.name: f for f in schema.fields}
        names = [f.name for f in schema.fields if f.name not in {"event_type", "stream_id", "sequence"}]
        self.names = tuple(names)
        self.columns = tuple((by_name[name], _attribute(name)) for name in names)
        self.get: Callable[[AuditEvent], tuple[Any, ...]] = attrgetter(*(a for _, a in self.columns))
        self.metadata = names.index("metadata")
        self.arrays = tuple(i for i, (f, _) in enumerate(self.columns) if f.type == "array")
        import fastavro  # noqa: PLC0415 - 6 MB and 15 ms, which most processes need not have

        self.write: Callable[[BytesIO, Any, dict[str, Any]], None] = fastavro.schemaless_writer
        self.head = _part(schema, schema.head, "Head")
        self.tail = _part(schema, schema.tail, "Tail")
        self.fitting: set[tuple[type, ...]] = (
            set()
        )  # tuples of types that were seen to fit; at most 2**nullable

    def fits(self, values: tuple[Any, ...]) -> bool:
        """True when the codec can be given these values; a long or a text may still be beyond Avro."""
        kinds = (*map(type, values),)
        if kinds not in self.fitting:
            for (field, _), kind in zip(self.columns, kinds, strict=True):
                wanted = dict if field.name == "metadata" else _EXACT[field.type]
                if kind is not wanted and not (field.nullable and kind is type(None)):
                    return False
            self.fitting.add(kinds)
        return all(type(item) is str for i in self.arrays for item in values[i] or ()) and bool(values[0])


def _attribute(name: str) -> str:
    return "timestamp_us" if name == "timestamp" else name


def _part(schema: Schema, part: tuple[Field, ...], suffix: str) -> Any:
    """A schema of some of the fields, for the codec."""
    names = {f.name for f in part}
    parsed = {
        "type": "record",
        "name": schema.name + suffix,
        "fields": [f for f in schema.parsed["fields"] if f["name"] in names],
    }
    import fastavro  # noqa: PLC0415 - as above

    return fastavro.parse_schema(parsed, {})


class FastavroEncoder:
    """The encoder that leaves the bytes to fastavro. Keeps no state but what it learnt about classes.

    An event whose values all fit their fields goes the short way. Any other is coerced (``wire.coerce``), and
    one whose body would exceed :data:`MAX_BODY` is shortened (``wire.shorten``); its metadata tells of both.

    Args:
        on_coerced: Called with the name of each field that was coerced, ``metadata`` for anything in it.
        on_truncated: Called with the name of each field that was cut, ``metadata`` for anything in it.

    The callbacks run on the thread that emits, before ``encode`` returns, and must not raise.
    """

    def __init__(
        self, on_coerced: Callable[[str], None] = ignore, on_truncated: Callable[[str], None] = ignore
    ) -> None:
        self._on_coerced = on_coerced
        self._on_truncated = on_truncated
        self._plans: dict[type, _Plan] = {}

    def encode(self, event: AuditEvent, stream_id: str) -> tuple[bytes, bytes]:
        """Head and tail of the event's body. An event of another class becomes one by :func:`as_audit_event`.

        Raises:
            EncodingError: The event could not be turned into bytes, in spite of coercion and shortening.
            SchemaError: The schema is missing from the installation.
        """
        return self.encode_fitted(event, stream_id)[:2]

    def encode_fitted(self, event: AuditEvent, stream_id: str) -> tuple[bytes, bytes, AuditEvent]:
        """As ``encode``, and the event as it was encoded: see :class:`Encoder`."""
        plan, event = self._known(event)
        head, tail, row, metadata = self._encoded(plan, event, stream_id)
        return head, tail, event if metadata is None else _rebuilt(plan, row, metadata)

    def bound(self, stream_id: str) -> Callable[[AuditEvent], Encoded]:
        """``encode`` for events of one stream: see :class:`Encoder`."""

        def encode(event: AuditEvent) -> Encoded:
            plan, event = self._known(event)
            head, tail, row, _ = self._encoded(plan, event, stream_id)
            session = (row["session_id"] or "").encode()
            about = row["timestamp"], row["event_id"], row["trace_id"], row["span_id"]
            return head, tail, plan.cls.event_type, session, *about

        return encode

    def _known(self, event: AuditEvent) -> tuple[_Plan, AuditEvent]:
        """The event as one of a class that has a schema, and what is known about that class."""
        plan = self._plans.get(type(event))
        if plan is None:
            event = as_audit_event(event)
            plan = self._plan(type(event))
        return plan, event

    def _encoded(
        self, plan: _Plan, event: AuditEvent, stream_id: str
    ) -> tuple[bytes, bytes, dict[str, Any], dict[str, Any] | None]:
        """Head, tail, the values in them, and the metadata as a dictionary when something was done to any."""
        try:
            values = plan.get(event)
            if plan.fits(values):
                row = dict(zip(plan.names, values))  # noqa: B905 - same length by construction, in the hot path
                text = flat_json(row["metadata"])
                if text is not None:
                    row["metadata"] = text
                    head, tail = _write(plan, row, stream_id)
                    if len(head) + len(tail) <= ROOM and (len(head) <= MAX_ID or ids_fit(row)):
                        return head, tail, row, None
        except (AttributeError, ValueError, OverflowError, TypeError, RuntimeError):
            pass  # a value that only looks right; what it is, is found below
        try:
            return self._thorough(plan, event, stream_id)
        except EncodingError:
            raise
        except Exception as e:
            raise EncodingError(
                f"the {plan.cls.event_type} event {note_of(getattr(event, 'event_id', None))[:64]} cannot be "
                f"encoded: {type(e).__name__}: {text_of(e)}"
            ) from e

    def _plan(self, cls: type[AuditEvent]) -> _Plan:
        plan = self._plans.get(cls)
        if plan is None:
            plan = self._plans[cls] = _Plan(cls, schema_for(cls.event_type))
        return plan

    def _thorough(
        self, plan: _Plan, event: AuditEvent, stream_id: str
    ) -> tuple[bytes, bytes, dict[str, Any], dict[str, Any]]:
        """The long way: every value is looked at, converted when it must be, and cut when it must be."""
        row: dict[str, Any] = {}
        notes: dict[str, str] = {}
        for field, attribute in plan.columns:
            if field.name != "metadata":
                row[field.name] = self._fitted(plan, field, getattr(event, attribute, _ABSENT), notes)
        metadata = self._rendered(getattr(event, "metadata", _ABSENT), notes)
        if notes:
            add_notes(metadata, COERCED, notes)
        if ids_fit(row) and not surely_too_large(row, metadata):
            head, tail = _write(plan, {**row, "metadata": json_line(metadata)}, stream_id)
            if len(head) + len(tail) <= ROOM:
                return head, tail, row, metadata
        for name in shorten(row, metadata, keep_arrays=plan.cls.event_type in CONTROL_TYPES):
            self._on_truncated(name)
        head, tail = _write(plan, {**row, "metadata": json_line(metadata)}, stream_id)
        if len(head) + len(tail) > ROOM:
            raise EncodingError(
                f"the {plan.cls.event_type} event {row['event_id'][:64]} has {len(head) + len(tail)} bytes, "
                f"more than {MAX_BODY}, and nothing left that may be cut"
            )
        return head, tail, row, metadata

    def _fitted(self, plan: _Plan, field: Field, raw: Any, notes: dict[str, str]) -> Any:
        """The value for this field; what cannot be told by it goes into the notes."""
        fitted = None
        if raw is not _ABSENT:
            with suppress(Unfit):
                fitted = convert(field, raw)
        if fitted is None or (field.name == "event_id" and not fitted.value):
            value = _default(plan.cls, _attribute(field.name))
            fitted = Converted(value, same=False, lossless=raw is _ABSENT)
        if not fitted.lossless:
            notes[field.name] = note_of(raw)
        if not fitted.same:
            self._on_coerced(field.name)
        return fitted.value

    def _rendered(self, raw: Any, notes: dict[str, str]) -> dict[str, Any]:
        """The metadata in JSON's own types."""
        out: Any = None
        with suppress(Exception):  # a foreign mapping that fails, or changes while it is read
            out = plain(dict(raw)) if isinstance(raw, Mapping) else None
        if not isinstance(out, dict):
            if raw is not _ABSENT:
                notes["metadata"] = note_of(raw)
            self._on_coerced("metadata")
            return {}
        if not _equal(out, raw):
            self._on_coerced("metadata")
        return out


def _equal(ours: dict[str, Any], theirs: Any) -> bool:
    """True when JSON can tell what came in. The recursion ends with ours, which is a tree of 32 levels."""
    try:
        return bool(ours == theirs)
    except Exception:  # noqa: BLE001 - a foreign value that cannot be compared is not JSON's own
        return False


def _default(cls: type[AuditEvent], attribute: str) -> Any:
    """What a new event of this class has there: for id and time, a new id and the time of the call."""
    default = next(f for f in fields(cls) if f.name == attribute)
    if default.default_factory is not MISSING:
        return default.default_factory()
    return default.default


def _rebuilt(plan: _Plan, row: dict[str, Any], metadata: dict[str, Any]) -> AuditEvent:
    """An event of what was encoded."""
    values = {attribute: row[field.name] for field, attribute in plan.columns if field.name != "metadata"}
    return plan.cls(**values, metadata=metadata)


def _write(plan: _Plan, row: dict[str, Any], stream_id: str) -> tuple[bytes, bytes]:
    row["event_type"] = plan.cls.event_type
    row["stream_id"] = stream_id
    head, tail = BytesIO(), BytesIO()
    plan.write(head, plan.head, row)
    plan.write(tail, plan.tail, row)
    return head.getvalue(), tail.getvalue()
