"""Turns events into bytes and bytes into events: Avro bodies, their framing, Kafka headers and topic names.

In come events, or the values of Kafka records; out come bytes, or events. Pure functions over the schemas in
``avro/``; no Kafka client, no input or output but the schema files, which are read once.

========== ==================================================================================================
schemas    the ``.avsc`` files: found, checked, looked up by event type or fingerprint
foreign    any object that looks like an event -> an event of a class that has a schema
encoder    event -> body, in two parts with the sequence between them
coerce     what happens to values that do not fit their field
shorten    what happens to an event that is too large
notes      what the metadata tells of both
decoder    value of a Kafka record -> event, safe against hostile bytes
framing    what stands before the body: Avro single-object encoding or the Confluent wire format
headers    CloudEvents headers, trace context, topic names
========== ==================================================================================================
"""

from auditwire.wire.codegen import decoder_source
from auditwire.wire.decoded import Decoded, Envelope
from auditwire.wire.decoder import decode, envelope
from auditwire.wire.encoder import (
    MAX_BODY,
    Encoder,
    FastavroEncoder,
    as_audit_event,
    join_body,
    sequence_bytes,
)
from auditwire.wire.framing import frame_confluent, frame_single_object, split
from auditwire.wire.headers import event_type_of, headers, source, topic_name, traceparent
from auditwire.wire.schemas import (
    Field,
    Schema,
    all_schemas,
    schema_by_fingerprint,
    schema_for,
    schema_versions,
)

__all__ = [
    "MAX_BODY",
    "Decoded",
    "Encoder",
    "Envelope",
    "FastavroEncoder",
    "Field",
    "Schema",
    "all_schemas",
    "as_audit_event",
    "decode",
    "decoder_source",
    "envelope",
    "event_type_of",
    "frame_confluent",
    "frame_single_object",
    "headers",
    "join_body",
    "schema_by_fingerprint",
    "schema_for",
    "schema_versions",
    "sequence_bytes",
    "source",
    "split",
    "topic_name",
    "traceparent",
]
