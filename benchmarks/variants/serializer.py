"""confluent-kafka's AvroSerializer from a dictionary, with the client's own registry in memory.

A schema is registered at its first use and known from then on, so that no call waits for a registry.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext, StringSerializer

from auditwire.wire import schema_for
from benchmarks.variants.base import ProducerVariant, headers_of
from benchmarks.variants.handwritten import record_of
from benchmarks.workload import EVENT_TYPES

if TYPE_CHECKING:
    from benchmarks.variants.base import Job

__all__ = ["Serializer"]


class Serializer(ProducerVariant):
    """See the module."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        registry = SchemaRegistryClient.new_client({"url": "mock://"})
        conf = {"subject.name.strategy": topic_subject_name_strategy}
        self._serialize = {
            event_type: AvroSerializer(registry, schema_for(event_type).text, conf=conf)
            for event_type in EVENT_TYPES
        }
        self._key = StringSerializer("utf_8")
        self._stream = str(uuid4())
        self._source = f"/auditwire/benchmark/{self._stream}".encode()
        self._numbers = itertools.count()

    def send(self, session: str, event_type: str, fields: dict[str, Any]) -> None:
        """See the base class."""
        record = record_of(session, event_type, fields, self._stream, next(self._numbers))
        topic = self.topics[event_type]
        value = self._serialize[event_type](record, SerializationContext(topic, MessageField.VALUE))
        headers = headers_of(record["event_id"], event_type, self._source)
        self.produce(topic, value, self._key(session) or b"", headers)
