"""Schema -> the Python source of its encoder, and the encoder compiled from it.

The source is one function: it reads every field of the event once, compares its type, and joins the bytes
before the sequence and the bytes after it. What it returns is what fastavro makes of the same values.
Whatever does not fit exactly (a subclass of ``str``, a bool for a number, a lone surrogate, an id of 1 KiB,
nested metadata, more than a body may hold) it refuses, by returning None or by one of :data:`REFUSED`; the
caller then goes the thorough way, so that every conversion and cut is decided in one place.

**One reading.** Another thread may change the event meanwhile. All that is returned comes of the same one
reading of each field, so that key and headers, which are made of what is returned, say what the body says.

**What is constant** stands in the source: the bytes of the type's name, and those of the stretch from
principal to span when there is no principal, no trace, no metadata, and the class's own severity.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from keyword import iskeyword
from typing import TYPE_CHECKING, Protocol, cast

from auditwire.events import ALL_TYPES
from auditwire.wire.codegen import ENVELOPE, Inexpressible
from auditwire.wire.packing import TABLE, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.events import AuditEvent
    from auditwire.wire.encoder import Encoded
    from auditwire.wire.schemas import Field, Schema

__all__ = ["REFUSED", "Write", "encoder_source", "writer_of"]

REFUSED = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a generated function may raise instead of an answer: ValueError for a lone surrogate or an unusual
time, LookupError for a long id, OverflowError beyond 64 bits, AttributeError where a field was deleted,
TypeError in a list, RuntimeError for a dictionary that changes while it is read."""

_USUAL = slice(6, 13)
_IDS = frozenset({"event_id", "session_id"})
_GIVEN = frozenset({"event_type", "stream_id", "sequence"})
_FROM_PACKING = ("LATE", "LONG", "LOW", "PRESENT", "array", "double", "flat_json", "long")
_OWN = frozenset(
    {*_FROM_PACKING, "ROOM", "SEVERITY", "encode", "event", "head", "n", "stream", "tail", "usual"}
    | {"bool", "dict", "float", "int", "len", "list", "str", "type"}
)
_TYPES = {"string": "str", "long": "int", "double": "float", "boolean": "bool", "array": "list"}

_HEADER = '''"""Encoder of {name}, version {version}, made from its schema."""

from auditwire.events import {cls}
from auditwire.wire.packing import {names}
from auditwire.wire.shorten import ROOM

SEVERITY = {cls}.__dataclass_fields__["severity"].default


def encode(event, stream):'''


class Write(Protocol):
    """Takes an event of the schema's class itself, and the stream id as an Avro string."""

    def __call__(self, event: AuditEvent, stream: bytes, /) -> Encoded | None:
        """What was encoded, or None or one of :data:`REFUSED` for what must be looked at."""


@cache
def writer_of(schema: Schema) -> Write | None:
    """The schema's encoder, compiled when first asked for; None where none can be made."""
    try:
        source = encoder_source(schema)
    except Inexpressible:
        return None
    namespace: dict[str, object] = {"__name__": f"auditwire.wire.encoder_of_{schema.event_type}"}
    # our own text, in which names were checked to be names
    exec(compile(source, f"<encoder of {schema.name} {schema.version}>", "exec"), namespace)  # noqa: S102
    return cast("Write", namespace["encode"])


def encoder_source(schema: Schema) -> str:
    """The source of a module with the function ``encode(event, stream)`` of this schema.

    The same for the same schema, class and version of auditwire.

    Raises:
        Inexpressible: The fields do not begin with the envelope, the event's class has not all of them, or
            one has a name that no variable can have.
    """
    if tuple((f.name, f.type, f.nullable) for f in schema.fields[: len(ENVELOPE)]) != ENVELOPE:
        raise Inexpressible(f"{schema.name}: the fields do not begin with the envelope")
    cls = ALL_TYPES[schema.event_type]
    given = [f for f in schema.fields if f.name not in _GIVEN]
    names = {f.name for f in given}
    if missing := {_attribute(f) for f in given} - {f.name for f in fields(cls)}:
        raise Inexpressible(f"{schema.name}: {cls.__name__} has no {', '.join(sorted(missing))}")
    taken = _OWN | {f"{name}_{suffix}" for name in names for suffix in ("bytes", "mark")}
    for name in names:
        if name in taken or iskeyword(name) or not name.isidentifier():
            raise Inexpressible(f"{schema.name}: no variable can have the name {name!r}")
    body = "\n".join(_lines(schema, cls, given))
    header = _HEADER.format(
        name=schema.name,
        version=schema.version,
        cls=cls.__name__,
        names=", ".join(name for name in _FROM_PACKING if f"{name}(" in body or f"{name}[" in body),
    )
    return f"{header}\n{body}\n"


def _lines(schema: Schema, cls: type[AuditEvent], given: list[Field]) -> Iterator[str]:
    """The lines of the function."""
    for field in given:
        yield f"    {field.name} = event.{_attribute(field)}"
    yield from _type_checks(given)
    before, usual = schema.head[: _USUAL.start], schema.head[_USUAL]
    for field in before:
        if field.name not in _GIVEN:
            yield from _indented(_prepared(field))
    yield from _usual_or_not(cls, usual)
    for field in schema.tail:
        yield from _indented(_prepared(field))
    parts = [part for field in before for part in _parts(schema, field)]
    yield from _joined("head", [*parts, "usual", "stream"])
    yield from _joined("tail", [part for field in schema.tail for part in _parts(schema, field)])
    about = f"{schema.event_type!r}, session_id_bytes, timestamp, event_id, trace_id, span_id"
    yield from (
        "    if len(head) + len(tail) > ROOM:",
        "        return None",
        f"    return head, tail, {about}",
    )


def _attribute(field: Field) -> str:
    return "timestamp_us" if field.name == "timestamp" else field.name


def _type_checks(given: list[Field]) -> Iterator[str]:
    """What cannot be None is compared at once; the rest where None is told from it."""
    yield from ("    if (", "        type(event_id) is not str", "        or not event_id")
    for field in given:
        if field.name == "metadata":
            yield "        or type(metadata) is not dict"
        elif not field.nullable and field.name not in {"event_id", "severity"}:
            yield f"        or type({field.name}) is not {_TYPES[field.type]}"
    yield from ("    ):", "        return None")


def _prepared(field: Field) -> Iterator[str]:
    """The lines that make ``<name>_bytes``, and ``<name>_mark`` for what stands before it where it varies."""
    name = field.name
    lines: tuple[str, ...] = ()
    if name == "metadata":
        lines = (
            "metadata_bytes = flat_json(metadata)",
            "if metadata_bytes is None:",
            "    return None",
            "metadata_bytes = metadata_bytes.encode()",
        )
    elif field.type == "string":
        lines = (f"{name}_bytes = {name}.encode()",)
    if not field.nullable:
        yield from lines
        return
    if field.type == "string":
        lines += (f"{name}_mark = {_mark('PRESENT', field)}",)
    else:
        lines = (f'{name}_mark, {name}_bytes = b"\\x02", {_VALUE[field.type].format(name=name)}',)
    yield f"if {name} is None:"
    yield f'    {name}_mark, {name}_bytes = b"\\x00", b""'
    yield f"elif type({name}) is {_TYPES[field.type]}:"
    yield from _indented(lines)
    yield from ("else:", "    return None")


_VALUE = {
    "long": f"LONG[{{name}}] if 0 <= {{name}} < {TABLE} else long({{name}})",
    "double": "double({name})",
    "boolean": 'b"\\x01" if {name} else b"\\x00"',
    "array": "array({name})",
}


def _mark(table: str, field: Field) -> str:
    """What stands before a text of so many bytes: an id's from the table only, which refuses long ones."""
    if field.name in _IDS:
        return f"{table}[len({field.name}_bytes)]"
    computed = "long(n)" if table == "LONG" else 'b"\\x02" + long(n)'
    return f"{table}[n] if (n := len({field.name}_bytes)) < {TABLE} else {computed}"


def _parts(schema: Schema, field: Field) -> Iterator[str]:
    """The expressions whose bytes are the field."""
    name = field.name
    if name == "event_type":
        yield repr(text(schema.event_type))
    elif name == "timestamp":  # seven bits at a time, and what changes once a second at once
        yield from ("LOW[timestamp << 1 & 127]", "LOW[timestamp >> 6 & 127]", "LOW[timestamp >> 13 & 127]")
        yield "LATE[timestamp >> 20]"
    elif field.nullable:
        yield from (f"{name}_mark", f"{name}_bytes")
    elif field.type == "string":
        yield from (_mark("LONG", field), f"{name}_bytes")
    else:
        yield _VALUE[field.type].format(name=name)


def _usual_or_not(cls: type[AuditEvent], usual: tuple[Field, ...]) -> Iterator[str]:
    """No principal, the class's own severity, no metadata, no trace: seven fields in one constant."""
    severity = next(f.default for f in fields(cls) if f.name == "severity")
    texts = {"severity": text(str(severity)), "metadata": text("{}")}
    tests = {"severity": "severity is SEVERITY", "metadata": "not metadata"}
    expected = b"".join(texts.get(f.name, b"\x00") for f in usual)
    yield "    if ("
    for number, field in enumerate(usual):
        yield f"        {'and ' if number else ''}{tests.get(field.name, f'{field.name} is None')}"
    yield "    ):"
    yield f"        usual = {expected!r}"
    yield "    else:"
    for field in usual:
        if field.name == "severity":
            yield from ("        if type(severity) is not str:", "            return None")
        yield from _indented(_prepared(field), 8)
    parts = [part for field in usual for part in _parts_of_usual(field)]
    yield from _joined("usual", parts, 8)


def _parts_of_usual(field: Field) -> Iterator[str]:
    if field.nullable:
        yield from (f"{field.name}_mark", f"{field.name}_bytes")
    else:
        yield from (_mark("LONG", field), f"{field.name}_bytes")


def _joined(target: str, parts: list[str], depth: int = 4) -> Iterator[str]:
    indent = " " * depth
    yield f'{indent}{target} = b"".join(('
    for part in parts:
        yield f"{indent}    {part},"
    yield f"{indent}))"


def _indented(lines: Iterator[str] | tuple[str, ...], depth: int = 4) -> Iterator[str]:
    for line in lines:
        yield " " * depth + line
