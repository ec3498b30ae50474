"""confluent-kafka's AvroDeserializer into dictionaries, with the client's own registry in memory.

It reads the Confluent wire format alone. So the ten bytes before a body are replaced by those that it wants:
a zero byte, and the number that the registry gave the schema. That is two slices, a look-up and a joining of
bytes for a value, so little beside the rest that it is counted as the deserializer's own. All schemas are
registered before, so that no call waits for a registry, and a context is made once for each topic. It is
passed because DeserializingConsumer passes it; without it the registry's rules are not looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from auditwire.wire import all_schemas, topic_name
from benchmarks.readers.consumer import HEADER, values_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["reader", "to_dictionaries"]


def reader(prefix: str = "audit") -> Callable[[bytes], object]:
    """What makes a dictionary of a value in single-object encoding."""
    registry = SchemaRegistryClient.new_client({"url": "mock://"})
    deserialize = AvroDeserializer(registry, conf={"subject.name.strategy": topic_subject_name_strategy})
    known = {}
    for schema in all_schemas():
        topic = topic_name(prefix, schema.event_type)
        number = registry.register_schema(f"{topic}-value", Schema(schema.text, "AVRO"))
        known[schema.fingerprint] = (
            b"\0" + number.to_bytes(4, "big"),
            SerializationContext(topic, MessageField.VALUE),
        )

    def read(value: bytes) -> object:
        header, context = known[value[2:HEADER]]
        return deserialize(header + value[HEADER:], context)

    return read


def to_dictionaries(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    """A dictionary for each record."""
    read = reader(prefix)
    count = 0
    for values in values_of(bootstrap, prefix):
        for value in values:
            read(value)
        count += len(values)
    return count
