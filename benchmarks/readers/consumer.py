"""What one writes by hand: confluent-kafka's consumer, and fastavro into dictionaries.

The other peers take their values from the same consumer, so that they differ in what decodes.
"""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition

from auditwire.wire import all_schemas
from auditwire.wire.framing import HEADER_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["HEADER", "to_dictionaries", "values_of"]

HEADER = HEADER_BYTES["single-object"]
"""Bytes before the body: two that mark the encoding, and the schema's fingerprint."""

MESSAGES = 500
WAIT_SECONDS = 0.1
"""How long the consumer may wait for the 500th message: the last messages of all wait for as long."""

SILENCE_SECONDS = 60.0


def values_of(bootstrap: str, prefix: str) -> Iterator[list[bytes]]:
    """The values of the prefix's topics up to the ends that they have now, in no order, nothing checked.

    Raises:
        KafkaException: The client reports an error.
        TimeoutError: Nothing came for a minute.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "benchmark",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        places = [
            TopicPartition(name, partition, OFFSET_BEGINNING)
            for name, topic in consumer.list_topics(timeout=30).topics.items()
            if name.startswith(f"{prefix}.")
            for partition in topic.partitions
        ]
        bounds = [consumer.get_watermark_offsets(place, timeout=30) for place in places]
        left = sum(high - low for low, high in bounds)  # nothing was compacted, and there are no transactions
        consumer.assign(places)
        heard = time.monotonic()
        while left > 0:
            messages = consumer.consume(MESSAGES, WAIT_SECONDS)
            for message in messages:
                if (error := message.error()) is not None:
                    raise KafkaException(error)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > SILENCE_SECONDS:
                raise TimeoutError(f"{left} records of {prefix} did not come within {SILENCE_SECONDS:g} s")
            left -= len(messages)
            yield [message.value() or b"" for message in messages]
    finally:
        consumer.close()


def to_dictionaries(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    """A dictionary for each record."""
    schemas = {schema.fingerprint: schema.parsed for schema in all_schemas()}
    read = fastavro.schemaless_reader
    count = 0
    for values in values_of(bootstrap, prefix):
        for value in values:
            read(io.BytesIO(value[HEADER:]), schemas[value[2:HEADER]], None)
        count += len(values)
    return count
