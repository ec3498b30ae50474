"""What one would write by hand: a dictionary, ``uuid4``, fastavro, headers, a Producer with a callback."""

from __future__ import annotations

import io
import itertools
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import fastavro

from auditwire.wire import frame_single_object, schema_for
from benchmarks.variants.base import ProducerVariant, headers_of
from benchmarks.workload import AGENT, EVENT_TYPES

if TYPE_CHECKING:
    from benchmarks.variants.base import Job

__all__ = ["Handwritten", "record_of", "value_of"]

_SCHEMAS = {event_type: schema_for(event_type) for event_type in EVENT_TYPES}


def record_of(
    session: str, event_type: str, fields: dict[str, Any], stream: str, sequence: int
) -> dict[str, Any]:
    """The event as fastavro takes it, with the same fields as ours."""
    return {
        "event_id": str(uuid4()),
        "event_type": event_type,
        "timestamp": time.time_ns() // 1_000,
        "session_id": session,
        "agent_id": AGENT,
        "principal_id": None,
        "principal_type": None,
        "tenant_id": None,
        "severity": "info",
        "metadata": "{}",
        "trace_id": None,
        "span_id": None,
        "stream_id": stream,
        "sequence": sequence,
        **fields,
    }


def value_of(event_type: str, record: dict[str, Any]) -> bytes:
    """The Avro body behind its framing."""
    out = io.BytesIO()
    schema = _SCHEMAS[event_type]
    fastavro.schemaless_writer(out, schema.parsed, record)
    return frame_single_object(schema.fingerprint, out.getvalue())


class Handwritten(ProducerVariant):
    """See the module."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._stream = str(uuid4())
        self._source = f"/auditwire/benchmark/{self._stream}".encode()
        self._numbers = itertools.count()

    def send(self, session: str, event_type: str, fields: dict[str, Any]) -> None:
        """See the base class."""
        record = record_of(session, event_type, fields, self._stream, next(self._numbers))
        value = value_of(event_type, record)
        headers = headers_of(record["event_id"], event_type, self._source)
        self.produce(self.topics[event_type], value, session.encode(), headers)
