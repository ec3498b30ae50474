"""The topics that a copy is written to: found, made where they are missing, looked at before the first write.

A topic that would not keep what is written to it is refused, not discovered later by whoever verifies the
copy: one with the broker's own timestamps, one that is compacted, one whose retention is shorter than a
record's age.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not in its __all__
    ConfigResource,
    ResourceType,
)

from auditwire.delivery.topics import TopicSettings, create_topics
from auditwire.errors import BrokerError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from confluent_kafka.admin import AdminClient

__all__ = ["Cluster", "Topics", "look", "prepare"]

DESCRIBE_SECONDS = 5.0
"""How long a broker may take to describe its topics' settings; one that does not is not asked again."""

_SLICE = 0.5
"""Seconds of the longest wait inside the client: Ctrl-C is noticed after it."""

_AGAIN = 0.1


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster says of itself.

    Attributes:
        id: Its id; None when it tells none.
        topics: Topic -> its partitions, of those that can be used now.
        brokers: How many there are.
    """

    id: str | None
    topics: Mapping[str, int]
    brokers: int


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of a copy, ready to be written to.

    Attributes:
        partitions: Topic -> how many it has.
        made: Those that were made now.
        retention_ms: Topic -> how long it keeps records; not those that keep them for ever.
        described: Whether the broker described the topics' settings: else they are not checked.
    """

    partitions: Mapping[str, int]
    made: tuple[str, ...] = ()
    retention_ms: Mapping[str, int] = field(default_factory=dict)
    described: bool = True


def look(admin: AdminClient, address: str, timeout: float) -> Cluster:
    """The cluster's id and topics. Asks for all topics: a question about one could make a broker create it.

    Args:
        admin: A client of it.
        address: ``host:port``, for the message.
        timeout: Seconds to wait for an answer.

    Raises:
        BrokerError: No broker answered in time.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            answer: Any = admin.list_topics(timeout=_SLICE)
        except KafkaException as error:
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"no broker answered at {address} within {timeout:g} s ({error.args[0].str()}): is it "
                    "up? Are address, security.protocol and credentials right?"
                ) from error
            continue
        usable = {name: topic for name, topic in answer.topics.items() if _usable(topic)}
        partitions = {name: len(topic.partitions) for name, topic in usable.items()}
        return Cluster(answer.cluster_id, partitions, len(answer.brokers))


def _usable(topic: Any) -> bool:
    return topic.error is None and all(partition.leader >= 0 for partition in topic.partitions.values())


def prepare(
    admin: AdminClient,
    address: str,
    wanted: Mapping[str, int],
    *,
    create: bool,
    replication: int | None,
    retention_days: int,
    timeout: float,
    sleep: Callable[[float], object] = time.sleep,
) -> Topics:
    """Make the topics that are missing, and look whether all of them keep what is written to them.

    Args:
        admin: A client of the cluster.
        address: ``host:port``, for messages.
        wanted: Topic -> the partitions that it is made with.
        create: False makes none.
        replication: Copies of each partition of topics that are made; None for one on each broker, 3 at most.
        retention_days: How long topics that are made keep records.
        timeout: Seconds for answers, and for a topic to come up.
        sleep: Waits for so many seconds.

    Raises:
        BrokerError: A topic could not be made, or is missing and ``create`` is False.
        ConfigurationError: A topic would change or lose what is written to it.
    """
    missing = [name for name in wanted if name not in look(admin, address, timeout).topics]
    if missing and not create:
        raise BrokerError(
            f"{address}: topic {missing[0]}{_and_more(missing)} does not exist: make it (auditwire topics "
            "create --prefix ...), or let it be made with --create-topics"
        )
    made = _create(
        admin, address, {name: wanted[name] for name in missing}, replication, retention_days, timeout
    )
    deadline = time.monotonic() + timeout
    while True:  # metadata lag behind the creation
        there = look(admin, address, timeout).topics
        absent = [name for name in wanted if name not in there]
        if not absent:
            break
        if time.monotonic() > deadline:
            raise BrokerError(
                f"{address}: topic {absent[0]}{_and_more(absent)} was made and is not there "
                f"after {timeout:g} s"
            )
        sleep(_AGAIN)
    settings = _settings(admin, wanted)
    for name, values in settings.items():
        _refuse_unfit(name, values)
    return Topics(
        partitions={name: there[name] for name in wanted},
        made=made,
        retention_ms=_retention(settings),
        described=len(settings) == len(wanted),
    )


def _create(
    admin: AdminClient,
    address: str,
    missing: Mapping[str, int],
    replication: int | None,
    retention_days: int,
    timeout: float,
) -> tuple[str, ...]:
    for count in sorted(set(missing.values())):  # one request for those with the same number of partitions
        names = [name for name, partitions in missing.items() if partitions == count]
        settings = TopicSettings(
            partitions=count, replication_factor=replication, retention_days=retention_days
        )
        for name, refusal in create_topics(admin, names, settings, timeout).items():
            if refusal is not None:
                raise BrokerError(f"{address}: topic {name} could not be made: {refusal}")
    return tuple(sorted(missing))


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _settings(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Topic -> its configuration; without those that the broker does not describe to this principal."""
    wanted = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not wanted:
        return {}
    futures = admin.describe_configs(wanted, request_timeout=DESCRIBE_SECONDS)
    return {
        resource.name: {key: entry.value for key, entry in future.result().items()}
        for resource, future in futures.items()
        if future.exception() is None
    }


def _refuse_unfit(name: str, settings: Mapping[str, str]) -> None:
    if settings.get("message.timestamp.type") == "LogAppendTime":
        raise ConfigurationError(
            "--to-prefix",
            f"topic {name} has message.timestamp.type=LogAppendTime: the broker would put its own time in "
            "the place of the records'. Set it to CreateTime, or give another prefix",
        )
    if "compact" in settings.get("cleanup.policy", ""):
        raise ConfigurationError(
            "--to-prefix",
            f"topic {name} is compacted (cleanup.policy={settings['cleanup.policy']}): records would vanish "
            "from the copy. Set it to delete, or give another prefix",
        )


def _retention(settings: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    known = {name: int(values.get("retention.ms", "-1")) for name, values in settings.items()}
    return {name: milliseconds for name, milliseconds in known.items() if milliseconds >= 0}
