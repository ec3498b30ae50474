"""The decoder that leaves the bytes to fastavro: the reference that generated decoders are compared with.

A general Avro library believes a length that is not there, takes a negative union branch for the last one,
and leaves trailing bytes unnoticed. So what it read is written again, by the same library, and counts only
when that gives the same bytes; anything else is left to :mod:`auditwire.wire.interpreter`, as generated code
does.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO
from json import loads
from typing import TYPE_CHECKING, Any

import fastavro

from auditwire.wire import interpreter
from auditwire.wire.codegen import Readers

if TYPE_CHECKING:
    from auditwire.wire.decoded import Decoded, Envelope
    from auditwire.wire.framing import Framing
    from auditwire.wire.schemas import Schema

__all__ = ["readers_of"]


@cache
def readers_of(schema: Schema) -> Readers:
    """The functions of a schema, which refuse as generated ones do; the outline refuses always."""
    whole, head = _part(schema, len(schema.fields)), _part(schema, len(schema.head) + 1)

    def decode(value: bytes, at: int, framing: Framing, _make: object = None) -> Decoded | None:
        read = _read(whole, value, at)
        if read is None or read[1] != len(value):
            return None
        return interpreter.record_of(schema, read[0], value, framing)

    def envelope(value: bytes, at: int, framing: Framing) -> Envelope | None:
        read = _read(head, value, at)
        if read is None:
            return None
        values = {name: one for name, one in read[0].items() if name not in interpreter.SKIPPED}
        return interpreter.envelope_of(schema, values, value, framing)

    return Readers(decode, envelope, lambda _value, _at: None)


def _part(schema: Schema, fields: int) -> Any:
    """A schema of the first fields, without the logical type: its times are numbers then, as ours are."""
    raw = loads(schema.text)
    raw["fields"] = raw["fields"][:fields]
    for field in raw["fields"]:
        if isinstance(field["type"], dict):
            field["type"].pop("logicalType", None)
    return fastavro.parse_schema(raw, {})


def _read(parsed: Any, value: bytes, at: int) -> tuple[dict[str, Any], int] | None:
    """The values, and where they end; None for what would not be written like that."""
    stream, again = BytesIO(value), BytesIO()
    stream.seek(at)
    try:
        row: Any = fastavro.schemaless_reader(stream, parsed, None)
        fastavro.schemaless_writer(again, parsed, row)
    except Exception:  # noqa: BLE001 - whatever a general library raises at bytes that are not Avro
        return None
    end = at + again.tell()
    return (row, end) if value[at:end] == again.getvalue() else None
