"""What a cluster says of its audit topics: in comes a connection, out come their settings and counts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its __all__
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from auditwire.cli.connection import ANSWER_SECONDS, Connection
from auditwire.errors import BrokerError
from auditwire.events import ALL_TYPES
from auditwire.wire import event_type_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from confluent_kafka.admin import AdminClient

__all__ = ["TopicInfo", "audit_topics", "metadata"]

_DESCRIBE_SECONDS = 5.0

_SLICE = 0.5
"""Seconds of the longest wait inside the client: Ctrl-C is noticed after it."""

_AGAIN = 0.2


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """One topic as the cluster has it.

    Attributes:
        topic: Its name.
        event_type: What is in it.
        partitions: How many.
        replication: Copies of each partition.
        retention_ms: How long records are kept, -1 for ever; None when the broker does not say.
        cleanup_policy: ``delete``, ``compact`` or both; None when the broker does not say.
        records: Last offsets less first offsets, over all partitions: transaction markers count as records.
    """

    topic: str
    event_type: str
    partitions: int
    replication: int
    retention_ms: int | None
    cleanup_policy: str | None
    records: int


def metadata(admin: AdminClient, where: Connection) -> Any:
    """The cluster's metadata: brokers and topics.

    Raises:
        BrokerError: No broker answered in time.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        answer = _look(admin)
        if not isinstance(answer, KafkaException):
            return answer
        if time.monotonic() > deadline:
            raise BrokerError(
                f"no broker answered at {where.bootstrap} within {ANSWER_SECONDS:g} s "
                f"({answer.args[0].str()}): is it up? Are address, security.protocol and credentials right?"
            )


def _look(admin: AdminClient) -> Any:
    try:
        return admin.list_topics(timeout=_SLICE)
    except KafkaException as error:
        return error


def audit_topics(where: Connection) -> list[TopicInfo]:
    """The audit topics of the connection's prefix, by name.

    Raises:
        BrokerError: No broker answered in time, or it does not tell the offsets.
    """
    admin = where.admin()
    topics = metadata(admin, where).topics
    types = {name: event_type_of(where.prefix, name) for name in topics}
    found = {name: topics[name] for name, event_type in sorted(types.items()) if event_type in ALL_TYPES}
    if not found:
        return []
    settings = _settings(admin, found)
    records = _records(admin, found)
    return [
        TopicInfo(
            topic=name,
            event_type=types[name] or "",
            partitions=len(topic.partitions),
            replication=max((len(partition.replicas) for partition in topic.partitions.values()), default=0),
            retention_ms=_number(settings.get(name, {}).get("retention.ms")),
            cleanup_policy=settings.get(name, {}).get("cleanup.policy"),
            records=records[name],
        )
        for name, topic in found.items()
    ]


def _number(value: str | None) -> int | None:
    return None if value is None else int(value)


def _settings(admin: AdminClient, topics: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Topic -> its configuration; without those that the broker does not describe.

    Nobody may ask for it without the right to; an embedded broker does not know the question.
    """
    wanted = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    futures = admin.describe_configs(wanted, request_timeout=_DESCRIBE_SECONDS)
    return {
        resource.name: {key: entry.value for key, entry in future.result().items()}
        for resource, future in futures.items()
        if future.exception() is None
    }


def _records(admin: AdminClient, topics: Mapping[str, Any]) -> dict[str, int]:
    """Topic -> its last offsets less its first ones."""
    places = [TopicPartition(name, number) for name, topic in topics.items() for number in topic.partitions]
    first, last = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
    counts = dict.fromkeys(topics, 0)
    for sign, spec in ((1, last), (-1, first)):
        for topic, offset in _offsets(admin, places, spec):
            counts[topic] += sign * offset
    return counts


def _offsets(admin: AdminClient, places: list[TopicPartition], spec: OffsetSpec) -> list[tuple[str, int]]:
    """(topic, offset) for each partition. A topic that was just made has no leader for a moment."""
    deadline = time.monotonic() + ANSWER_SECONDS
    found: list[tuple[str, int]] = []
    while True:
        futures = admin.list_offsets(dict.fromkeys(places, spec), request_timeout=ANSWER_SECONDS)
        errors = {place: future.exception() for place, future in futures.items()}
        found += [
            (place.topic, future.result().offset) for place, future in futures.items() if not errors[place]
        ]
        places = [place for place, error in errors.items() if error]
        if not places:
            return found
        error = errors[places[0]]
        if not _passes(error) or time.monotonic() > deadline:
            raise BrokerError(
                f"the broker does not tell the offsets of {places[0].topic}: {error}"
            ) from error
        time.sleep(_AGAIN)


def _passes(error: BaseException | None) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in (
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
