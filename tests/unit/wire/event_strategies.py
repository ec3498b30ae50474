"""Hypothesis strategies for events that fit their schemas, and the reference codec to hold ours against."""

from __future__ import annotations

import json
from functools import cache
from io import BytesIO
from typing import Any

import fastavro
from hypothesis import strategies as st

from auditwire.events import ALL_TYPES, AuditEvent
from auditwire.jsonable import json_line, plain
from auditwire.wire import Schema, schema_for

INT64 = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    # NUL to the last plane: text that UTF-8 has bytes for
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(),
    "long": INT64,
    "double": st.floats(allow_nan=False),
    "boolean": st.booleans(),
    "array": st.lists(st.text(), max_size=5),
}


def events_of(cls: type[AuditEvent]) -> st.SearchStrategy[AuditEvent]:
    """Events of a class, with any values that its schema holds."""
    values: dict[str, st.SearchStrategy[Any]] = {}
    for field in schema_for(cls.event_type).fields:
        if field.name in {"event_type", "stream_id", "sequence"}:
            continue
        strategy = st.text(min_size=1) if field.name == "event_id" else _VALUES[field.type]
        if field.name == "metadata":
            strategy = st.dictionaries(st.text(), JSON, max_size=3)
        name = "timestamp_us" if field.name == "timestamp" else field.name
        values[name] = st.none() | strategy if field.nullable else strategy
    return st.builds(cls, **values)


any_event: st.SearchStrategy[AuditEvent] = st.sampled_from(list(ALL_TYPES.values())).flatmap(events_of)


@cache
def reference(schema: Schema) -> Any:
    """The whole schema for fastavro, without the logical type: its times are numbers then, as ours are."""
    raw = json.loads(schema.text)
    for field in raw["fields"]:
        if isinstance(field["type"], dict):
            field["type"].pop("logicalType", None)
    return fastavro.parse_schema(raw, {})


def reference_body(event: AuditEvent, stream_id: str, sequence: int) -> bytes:
    """The body as fastavro writes it from the whole schema."""
    schema = schema_for(event.event_type)
    row = {f.name: getattr(event, f.name, None) for f in schema.fields}
    row["timestamp"] = event.timestamp_us
    row["metadata"] = json_line(plain(event.metadata))
    row.update(stream_id=stream_id, sequence=sequence)
    out = BytesIO()
    fastavro.schemaless_writer(out, reference(schema), row)
    return out.getvalue()


def reference_row(schema: Schema, body: bytes) -> tuple[dict[str, Any], int]:
    """The fields as fastavro reads them, and the number of bytes that it left."""
    stream = BytesIO(body)
    row: Any = fastavro.schemaless_reader(stream, reference(schema), None)
    return row, len(body) - stream.tell()
