"""Schema -> the Python source of its decoder, and the decoder compiled from it.

The source is one function for the whole record, one for the envelope alone and one for its outline, each a
straight line through the fields in their order, with what is usual in place and the rest left to
:mod:`auditwire.wire.primitives`. What they return is what :mod:`auditwire.wire.interpreter` returns for
the same bytes. Whatever they cannot vouch for, they refuse: by returning None, or by one of
:data:`REFUSALS`. The caller then asks the interpreter, so that every error, and every unusual form that
Avro allows, is judged in one place.

**Bounds.** Reading goes forward only, by lengths that are not negative. Indexing beyond the end raises
IndexError and unpacking ``struct.error``; a slice ends with the value. So a text may come out too short where
the value ends early, and then ``at`` lies behind the end: the next index raises, or the comparison of ``at``
with the value's length refuses what was read. An envelope ends with an indexed byte of the sequence, which
proves that all before it was there. Nothing larger than the value is made of it.

**Event objects** are made by ``object.__new__`` and one assignment for each field, which costs a sixth of the
constructor with its twenty keywords. That is the same as long as the class does nothing when it is made and
the schema has all its fields; for any other the constructor is called.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from functools import cache, partial
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

from auditwire.errors import DecodingError
from auditwire.events import ALL_TYPES
from auditwire.wire import interpreter
from auditwire.wire.interpreter import SKIPPED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditwire.events import AuditEvent
    from auditwire.wire.decoded import Envelope
    from auditwire.wire.framing import Framing
    from auditwire.wire.schemas import Field, Schema

__all__ = [
    "ENVELOPE",
    "REFUSALS",
    "Generated",
    "GeneratedDecode",
    "Inexpressible",
    "Outline",
    "Outliner",
    "Readers",
    "decoder_source",
    "readers_of",
]

_Read_co = TypeVar("_Read_co", covariant=True)

REFUSALS = (IndexError, ValueError, RecursionError, struct.error, DecodingError)
"""What a generated function may raise instead of an answer; ValueError is for bytes that are no text, or a
text that is no JSON."""

ENVELOPE = (
    ("event_id", "string", False),
    ("event_type", "string", False),
    ("timestamp", "long", False),
    ("session_id", "string", True),
    ("turn_id", "string", True),
    ("agent_id", "string", True),
    ("principal_id", "string", True),
    ("principal_type", "string", True),
    ("tenant_id", "string", True),
    ("severity", "string", False),
    ("metadata", "string", False),
    ("trace_id", "string", True),
    ("span_id", "string", True),
    ("stream_id", "string", False),
    ("sequence", "long", False),
)
"""Name, type and whether null may stand there, of the fields with which every schema begins."""

_NOT_IN_OUTLINE = frozenset({"turn_id", "agent_id", "severity"})
_BEGINNING = slice(3)
_ORIGIN = slice(3, 6)
_USUAL = slice(6, 13)
_PLACED = slice(13, 15)
_OWN = slice(15, None)
_BEHIND = 2  # fields behind the sequence, of a byte at least: what _PLACE may read beyond it
_LOCALS = frozenset(
    {"at", "branch", "decoded", "envelope", "event", "framing", "high", "known", "low", "make", "middle"}
    | {"step", "third", "value"}
)
_GLOBALS = frozenset(
    {"array", "beginning", "double", "ending", "highest", "instant", "json_object", "long", "new", "raw"}
    | {"skip", "string", "BOOLEAN", "FINGERPRINT", "HIGH", "LOW", "MIDDLE", "NEVER", "SKIP", "Decoded"}
    | {"Envelope", "Struct"}
)

_HEADER = '''"""Decoder of {name}, version {version}, made from its schema."""

from struct import Struct

from auditwire.events import {cls}
from auditwire.wire.decoded import Decoded, Envelope
from auditwire.wire.primitives import BOOLEAN, HIGH, LOW, MIDDLE, NEVER, SKIP, array, double
from auditwire.wire.primitives import instant, json_object, long, raw, skip, string

FINGERPRINT = bytes.fromhex("{fingerprint}")
beginning = Struct("<B36s{known}sHH4s").unpack_from
ending = Struct("<B36sHB").unpack_from
highest = HIGH.get
new = object.__new__
'''


class Inexpressible(ValueError):  # noqa: N818 - says what the schema is; the interpreter reads it
    """A schema that no decoder, or no encoder, is generated for."""


class Generated(Protocol[_Read_co]):
    """Takes the value, where the body begins in it, and the framing."""

    def __call__(self, value: bytes, at: int, framing: Framing, /) -> _Read_co | None:
        """What was read, or None or one of :data:`REFUSALS` for what the interpreter must look at."""


class GeneratedDecode(Protocol):
    """As :class:`Generated`, and the class of what is made: one with the attributes of a :class:`Decoded`."""

    def __call__(self, value: bytes, at: int, framing: Framing, make: Any = ..., /) -> Any:
        """What was read, of that class or a :class:`Decoded`; or None or one of :data:`REFUSALS`."""


Outline = tuple[bytes, int, bytes, int, "bytes | None", "bytes | None", "bytes | None"]
"""Of a record: stream id, sequence, event id, time in microseconds since the Unix epoch, session id, trace id
and span id. Texts are the bytes that stand there, UTF-8 if the record is one of ours."""


class Outliner(Protocol):
    """Takes the value, and where the body begins in it."""

    def __call__(self, value: bytes, at: int, /) -> Outline | None:
        """What was read, or None or one of :data:`REFUSALS` for what ``envelope`` must look at."""


class Readers(NamedTuple):
    """The functions of a schema.

    Attributes:
        decode: Reads the whole record.
        envelope: Reads the envelope alone.
        outline: Reads of the envelope what says which record it is, and leaves texts as bytes: for a check
            that compares each of millions of records with what stands around it. Always None for a schema
            that no decoder is generated for.
    """

    decode: GeneratedDecode
    envelope: Generated[Envelope]
    outline: Outliner


@cache
def readers_of(schema: Schema) -> Readers:
    """The schema's decoders: compiled when first asked for, the interpreter's where none can be made."""
    try:
        source = decoder_source(schema)
    except Inexpressible:
        return Readers(
            partial(interpreter.read, schema),
            partial(interpreter.read_envelope, schema),
            lambda _value, _at: None,
        )
    namespace: dict[str, object] = {"__name__": f"auditwire.wire.decoder_of_{schema.event_type}"}
    # our own text, in which names were checked to be names
    exec(compile(source, f"<decoder of {schema.name} {schema.version}>", "exec"), namespace)  # noqa: S102
    return Readers(*(cast("Any", namespace[name]) for name in Readers._fields))


def decoder_source(schema: Schema) -> str:
    """The source of a module with the functions ``decode``, ``envelope`` and ``outline`` of this schema.

    The same for the same schema, class and version of auditwire.

    Raises:
        Inexpressible: The fields do not begin with the envelope, or one has a name that no variable can have.
    """
    if tuple((f.name, f.type, f.nullable) for f in schema.fields[: len(ENVELOPE)]) != ENVELOPE:
        raise Inexpressible(f"{schema.name}: the fields do not begin with the envelope")
    for name in (f.name for f in schema.fields):
        if name in _LOCALS | _GLOBALS or iskeyword(name) or not name.isidentifier():
            raise Inexpressible(f"{schema.name}: no variable can have the name {name!r}")
    cls = ALL_TYPES[schema.event_type]
    lines = [
        *_HEADER.format(
            name=schema.name,
            version=schema.version,
            cls=cls.__name__,
            fingerprint=schema.fingerprint.hex(),
            known=len(_encoded(schema.event_type)),
        ).splitlines(),
        *_decode_lines(schema, cls),
        *_envelope_lines(schema, cls),
        *_outline_lines(schema, cls),
    ]
    return "\n".join(lines) + "\n"


def _decode_lines(schema: Schema, cls: type[AuditEvent]) -> Iterator[str]:
    yield from ("", "", "def decode(value, at, framing, make=Decoded):")
    yield from _indented(_field_lines(schema, cls, schema.fields, frozenset()))
    yield from (
        "    if at != len(value) or sequence < 0:",
        "        return None",
    )
    given = {f.name for f in schema.fields} - {"event_type", "stream_id", "sequence"}
    values = {"timestamp_us" if name == "timestamp" else name: name for name in given}
    values["metadata"] = '{} if metadata == "{}" else json_object(metadata)'
    own = [f.name for f in fields(cls)]
    if set(own) == values.keys() and not hasattr(cls, "__post_init__"):
        yield f"    event = new({cls.__name__})"
        for name in own:
            yield f"    event.{name} = {values[name]}"
    else:
        yield f"    event = {cls.__name__}("
        for name in sorted(values):
            yield f"        {name}={values[name]},"
        yield "    )"
    yield from (
        "    decoded = new(make)",
        "    decoded.event = event",
        *_place_lines("decoded"),
        "    return decoded",
    )


def _envelope_lines(schema: Schema, cls: type[AuditEvent]) -> Iterator[str]:
    upto_sequence = schema.fields[: len(ENVELOPE)]
    yield from ("", "", "def envelope(value, at, framing):")
    yield from _indented(_field_lines(schema, cls, upto_sequence, SKIPPED))
    yield from (
        "    if sequence < 0:",
        "        return None",
        "    envelope = new(Envelope)",
        f"    envelope.event_type = {schema.event_type!r}",
        "    envelope.timestamp_us = timestamp",
    )
    for name, _, _ in ENVELOPE:
        if name not in {"event_type", "timestamp", "stream_id", "sequence", *SKIPPED}:
            yield f"    envelope.{name} = {name}"
    yield from (*_place_lines("envelope"), "    return envelope")


def _outline_lines(schema: Schema, cls: type[AuditEvent]) -> Iterator[str]:
    upto_sequence = schema.fields[: len(ENVELOPE)]
    yield from ("", "", "def outline(value, at):")
    for line in _indented(_field_lines(schema, cls, upto_sequence, SKIPPED | _NOT_IN_OUTLINE)):
        yield line.replace(".decode()", "").replace("string(value, at)", "raw(value, at)")
    yield from (
        "    if sequence < 0:",
        "        return None",
        "    return stream_id, sequence, event_id, timestamp, session_id, trace_id, span_id",
    )


def _place_lines(target: str) -> Iterator[str]:
    for name in ("stream_id", "sequence", "value", "framing"):
        yield f"    {target}.{name} = {name}"
    yield f"    {target}.fingerprint = FINGERPRINT"


def _field_lines(
    schema: Schema, cls: type[AuditEvent], some: tuple[Field, ...], skipped: frozenset[str]
) -> Iterator[str]:
    """The fields one after the other; those that are mostly as usual, first all at once."""

    def singly(part: slice) -> Iterator[str]:
        for field in some[part]:
            yield from _one(schema, field, skipped)

    yield from _beginning(_encoded(schema.event_type))
    yield "else:"
    yield from _indented(singly(_BEGINNING))
    yield from singly(_ORIGIN)
    yield from _together(cls, some[_USUAL], skipped)
    yield "else:"
    yield from _indented(singly(_USUAL))
    if len(schema.fields) - len(ENVELOPE) >= _BEHIND:
        yield from _PLACE
        yield "else:"
        yield from _indented(singly(_PLACED))
    else:
        yield from singly(_PLACED)
    yield from singly(_OWN)


def _beginning(known: bytes) -> Iterator[str]:
    """An id of 36 characters, the type and a time of eight bytes: all out of one call."""
    yield "step, event_id, known, low, middle, high = beginning(value, at)"
    yield "timestamp = highest(high, NEVER) + LOW[low] + MIDDLE[middle]"
    yield f"if step == 72 and known == {known!r} and timestamp >= 0:"
    yield "    event_id = event_id.decode()"
    yield f"    at += {37 + len(known) + 8}"


def _together(cls: type[AuditEvent], usual: tuple[Field, ...], skipped: frozenset[str]) -> Iterator[str]:
    """No principal, the class's own severity, no metadata, no trace: one comparison for seven fields."""
    severity = next(f.default for f in fields(cls) if f.name == "severity")
    texts = {"severity": str(severity), "metadata": "{}"}
    expected = b"".join(_encoded(texts[f.name]) if f.name in texts else b"\x00" for f in usual)
    nulls = [f.name for f in usual if f.name not in texts and f.name not in skipped]
    yield f"if value.startswith({expected!r}, at):"
    yield f"    at += {len(expected)}"
    yield f"    {' = '.join(nulls)} = None"
    for name, text in texts.items():
        if name not in skipped:
            yield f"    {name} = {text!r}"


def _one(schema: Schema, field: Field, skipped: frozenset[str]) -> Iterator[str]:
    """The lines that read one field into the variable of its name."""
    if field.name == "event_type":
        yield from _known(_encoded(schema.event_type))
    elif field.name == "timestamp":
        yield "timestamp, at = instant(value, at)"
    else:
        lines = _SKIPPED if field.name in skipped else _TYPED[field.type]
        lines = tuple(line.format(name=field.name) for line in lines)
        yield from _optional(field.name, lines) if field.nullable else lines


def _known(expected: bytes) -> Iterator[str]:
    """Bytes that are the same in every record of the schema."""
    yield f"if value[at : (at := at + {len(expected)})] != {expected!r}:"
    yield "    return None"


def _optional(name: str, lines: tuple[str, ...]) -> Iterator[str]:
    """A union of null and the type that the lines read."""
    yield from ("branch = value[at]", "at += 1", "if branch == 2:")
    yield from _indented(lines)
    yield from ("elif branch:", "    return None", "else:", f"    {name} = None")


def _indented(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield "    " + line


def _encoded(text: str) -> bytes:
    """A short text as Avro has it."""
    raw = text.encode("utf-8")
    return bytes([len(raw) << 1]) + raw


_TYPED = {
    "string": (
        "step = SKIP[value[at]]",
        "if step:",
        "    {name} = value[at + 1 : (at := at + step)].decode()",
        "else:",
        "    {name}, at = string(value, at)",
    ),
    "long": (
        "{name} = value[at]",
        "if {name} < 0x80:",
        "    {name} = {name} >> 1 ^ -({name} & 1)",
        "    at += 1",
        "elif (step := value[at + 1]) < 0x80:",
        "    {name} = {name} & 0x7F | step << 7",
        "    {name} = {name} >> 1 ^ -({name} & 1)",
        "    at += 2",
        "else:",
        "    {name}, at = long(value, at)",
    ),
    "double": ("({name},) = double(value, at)", "at += 8"),
    "boolean": ("{name} = BOOLEAN[value[at]]", "at += 1"),
    "array": ("{name}, at = array(value, at)",),
}

_SKIPPED = (
    "step = SKIP[value[at]]",
    "at = at + step if step else skip(value, at)",
)

# A stream's id of 36 characters and a sequence of three bytes, which most have that are above 8,191.
_PLACE = (
    "step, stream_id, sequence, third = ending(value, at)",
    "sequence = LOW[sequence]",
    "if step == 72 and sequence >= 0 and third < 0x80:",
    "    stream_id = stream_id.decode()",
    "    sequence += third << 13",
    "    at += 40",
)
