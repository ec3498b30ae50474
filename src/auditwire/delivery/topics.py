"""The audit topics: how they are made, and how many partitions they have.

Same number of partitions everywhere, so that topics are co-partitioned and can be joined by session;
retention of 400 days, because audit rules ask for six to twelve months.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined] # not in its __all__

from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

__all__ = ["Directory", "Lookup", "TopicSettings", "create_topics"]

LOOKUP_SECONDS = 1.0
"""How long one look at a topic's metadata may hold up the sender while no broker answers."""

CREATE_SECONDS = 15.0
"""How long a broker may take over the creation of a topic."""

_THREE = 3
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
"""What Kafka allows (``org.apache.kafka.common.internals.Topic``)."""


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How audit topics are created.

    Args:
        partitions: The same for all topics; 6.
        replication_factor: Copies of each partition; None for one on each broker, three at most.
        retention_days: How long records are kept; 400.
    """

    partitions: int = 6
    replication_factor: int | None = None
    retention_days: int = 400

    def __post_init__(self) -> None:
        for name in ("partitions", "replication_factor", "retention_days"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigurationError(name, f"{value} is not a number of 1 or more")

    def replication(self, brokers: int) -> int:
        """The replication factor on a cluster of this many brokers."""
        return self.replication_factor or max(1, min(_THREE, brokers))

    def config(self, brokers: int) -> dict[str, str]:
        """The topic's configuration on a cluster of this many brokers."""
        config = {
            "cleanup.policy": "delete",
            "message.timestamp.type": "CreateTime",
            "retention.ms": str(self.retention_days * 86_400_000),
        }
        if self.replication(brokers) >= _THREE:
            config["min.insync.replicas"] = "2"
        return config

    def new_topic(self, name: str, brokers: int) -> NewTopic:
        """The request for one topic."""
        return NewTopic(name, self.partitions, self.replication(brokers), config=self.config(brokers))


def _refusal(error: BaseException) -> str | None:
    """Why a topic was not made; None when it is there already."""
    if isinstance(error, KafkaException):
        cause = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return None
        return f"{cause.name()}: {cause.str()}"
    return f"{type(error).__name__}: {error}"


def create_topics(
    admin: Any, names: Iterable[str], settings: TopicSettings | None = None, timeout: float = 30.0
) -> dict[str, str | None]:
    """Make the topics that are missing; those that exist are left as they are.

    Args:
        admin: A ``confluent_kafka.admin.AdminClient``. Keep a reference of your own: one that is collected
            fails its pending requests.
        names: The topics.
        settings: How they are made.
        timeout: Seconds for the whole call.

    Returns:
        Topic -> None when it was made or was there, else why not.

    Raises:
        KafkaException: No broker answered in time.
    """
    settings = settings or TopicSettings()
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    brokers = len(admin.list_topics(timeout=timeout).brokers)
    requests = [settings.new_topic(name, brokers) for name in wanted]
    futures = admin.create_topics(requests, operation_timeout=timeout, request_timeout=timeout)
    results: dict[str, str | None] = {}
    for name, future in futures.items():
        try:
            future.result(timeout)
            results[name] = None
        except Exception as error:  # noqa: BLE001, PERF203 - whatever it is, it is reported by topic
            results[name] = _refusal(error)
    return results


@dataclass(frozen=True, slots=True)
class Lookup:
    """What is known of a topic: ``partitions`` above 0 when it can be used, else why not.

    Attributes:
        partitions: How many there are.
        refused: Why it cannot take records until somebody mends it.
        pending: Why nothing can be said yet; it is worth asking again soon.
        unreachable: No broker answered; asking about another topic would take as long.
    """

    partitions: int = 0
    refused: str | None = None
    pending: str | None = None
    unreachable: bool = False


class Directory:
    """What topics exist, and with how many partitions; makes the missing ones. For the sender's thread.

    Args:
        metadata: ``list_topics`` of the producer in use: (topic, timeout) -> cluster metadata.
        make_admin: Makes an admin client when the first topic has to be created.
        settings: How missing topics are made; None never makes any.
    """

    def __init__(
        self,
        metadata: Callable[[str, float], Any],
        make_admin: Callable[[], Any],
        settings: TopicSettings | None,
    ) -> None:
        self._metadata = metadata
        self._make_admin = make_admin
        self._settings = settings
        self._admin: Any = None  # kept: a collected client fails its pending requests
        self._creating: dict[str, Future[Any]] = {}

    def begin_again(self) -> None:
        """Forget what is under way: the credentials were changed, and the client holds the old ones."""
        self._creating.clear()
        self._admin = None

    def look_up(self, topic: str) -> Lookup:
        """What is known of the topic now. Asks the cluster, for at most ``LOOKUP_SECONDS``."""
        if not _NAME.fullmatch(topic) or topic in {".", ".."}:
            # the client would raise for some of these, and one stream's files must not stop all others
            return Lookup(refused="Kafka allows no topic of this name")
        return self._ask(topic)

    def _ask(self, topic: str) -> Lookup:
        future = self._creating.get(topic)
        if future is not None and not future.done():
            self._admin.poll(0)  # serves its callbacks: errors, tokens
            return Lookup(pending="being created")
        try:
            metadata = self._metadata(topic, LOOKUP_SECONDS)
        except KafkaException as error:
            return Lookup(pending=f"no broker answers ({error.args[0].name()})", unreachable=True)
        found = metadata.topics.get(topic)
        if found is not None and found.error is None and found.partitions:
            self._creating.pop(topic, None)
            return Lookup(partitions=len(found.partitions))
        code = None if found is None or found.error is None else found.error.code()
        if code not in (None, KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.LEADER_NOT_AVAILABLE):
            return Lookup(refused=f"{found.error.name()}: {found.error.str()}")
        if code == KafkaError.LEADER_NOT_AVAILABLE:
            return Lookup(pending="the topic has no leader yet")
        return self._missing(topic, len(metadata.brokers))

    def _missing(self, topic: str, brokers: int) -> Lookup:
        if self._settings is None:
            return Lookup(refused="the topic does not exist and create_topics is off")
        future = self._creating.pop(topic, None)
        if future is None:
            self._create(topic, brokers)
            return Lookup(pending="being created")
        error = future.exception(0)
        if error is not None and all(other.done() for other in self._creating.values()):
            # another client for the next try: this one may hold credentials that were changed since
            self._admin = None
        if error is None:
            return Lookup(pending="created, not in the metadata yet")
        refusal = _refusal(error)
        if refusal is None:
            return Lookup(pending="just created by someone else")
        return Lookup(refused=f"the topic could not be created: {refusal}")

    def _create(self, topic: str, brokers: int) -> None:
        assert self._settings is not None  # noqa: S101 - for the type checker; _missing looked
        if self._admin is None:
            self._admin = self._make_admin()
        request = [self._settings.new_topic(topic, brokers)]
        self._creating.update(
            self._admin.create_topics(
                request, operation_timeout=CREATE_SECONDS, request_timeout=CREATE_SECONDS
            )
        )
