"""Turns events into bytes and bytes into events: Avro bodies, their framing, Kafka headers and topic names.

In come events, or the values of Kafka records; out come bytes, or events. Pure functions over the schemas in
``avro/``; no Kafka client, no input or output but the schema files, which are read once.

========== ==================================================================================================
schemas    the ``.avsc`` files: found, checked, looked up by event type or fingerprint
foreign    any object that looks like an event -> an event of a class that has a schema
encoder    event -> body, in two parts with the sequence between them
generated  the same, by code that was made from the schema
codec      which of the two a process uses, for decoding too
coerce     what happens to values that do not fit their field
shorten    what happens to an event that is too large
notes      what the metadata tells of both
decoder    value of a Kafka record -> event, safe against hostile bytes
framing    what stands before the body: Avro single-object encoding or the Confluent wire format
headers    CloudEvents headers, trace context, topic names
========== ==================================================================================================
"""

from auditwire.wire.codec import CODECS, Codec, current_codec, new_encoder, use_codec
from auditwire.wire.codegen import Inexpressible, decoder_source
from auditwire.wire.decoded import Decoded, Envelope
from auditwire.wire.decoder import decode, decode_into, envelope
from auditwire.wire.encoder import (
    MAX_BODY,
    Encoded,
    Encoder,
    FastavroEncoder,
    as_audit_event,
    join_body,
    sequence_bytes,
)
from auditwire.wire.encoder_source import encoder_source
from auditwire.wire.framing import frame_confluent, frame_single_object, split
from auditwire.wire.generated import GeneratedEncoder
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
    "CODECS",
    "MAX_BODY",
    "Codec",
    "Decoded",
    "Encoded",
    "Encoder",
    "Envelope",
    "FastavroEncoder",
    "Field",
    "GeneratedEncoder",
    "Inexpressible",
    "Schema",
    "all_schemas",
    "as_audit_event",
    "current_codec",
    "decode",
    "decode_into",
    "decoder_source",
    "encoder_source",
    "envelope",
    "event_type_of",
    "frame_confluent",
    "frame_single_object",
    "headers",
    "join_body",
    "new_encoder",
    "schema_by_fingerprint",
    "schema_for",
    "schema_versions",
    "sequence_bytes",
    "source",
    "split",
    "topic_name",
    "traceparent",
    "use_codec",
]
