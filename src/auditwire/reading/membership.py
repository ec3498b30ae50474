"""A member of a consumer group: its partitions come and go, and what it has processed is committed.

In come topic names and librdkafka's settings, out come the client's messages.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from auditwire.errors import BrokerError
from auditwire.reading.client import GONE, Client

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Mapping

    from auditwire.reading.record import ClientMessage, Place

__all__ = ["Membership"]

log = logging.getLogger("auditwire")

_NOTHING_TO_COMMIT = KafkaError._NO_OFFSET  # noqa: SLF001 - public all the same


class Membership:
    """A subscription to topics as a member of a group. For one thread.

    Args:
        bootstrap_servers: As for :class:`~auditwire.reading.GroupReader`, with the next ones.
        config: librdkafka's properties.
        group_id: The group.
        wanted: The topics' names; those that do not exist yet are found when they do.
        must_exist: True refuses to begin without any of the topics.
        timeout: Seconds that the broker may be silent.
        undecodable: Gets ``corrupt`` counted, for what the client could not read.
        on_revoked: Called with partitions that this member has no longer, from within ``fetch``.

    Attributes:
        assigned: The partitions that this member has.

    Raises:
        ConfigurationError: A setting is refused, by us or by librdkafka.
        BrokerError: No answer in time, or a topic that may not be described.
    """

    def __init__(
        self,
        bootstrap_servers: str | None,
        config: Mapping[str, Any] | None,
        *,
        group_id: str,
        wanted: Collection[str],
        must_exist: bool,
        timeout: float,
        undecodable: Counter[str],
        on_revoked: Callable[[set[Place]], None],
    ) -> None:
        self.assigned: set[Place] = set()
        self._done: dict[Place, int] = {}  # what is processed and not told the client yet: the next offset
        self._on_revoked = on_revoked
        self._failure: BrokerError | None = None  # to be raised by the next fetch
        self._client = Client(
            bootstrap_servers,
            config,
            group_id=group_id,
            timeout=timeout,
            follow=True,
            undecodable=undecodable,
        )
        self._consumer = self._client.consumer
        try:
            self._client.find(wanted, must_exist=must_exist)
            self._consumer.subscribe(
                list(wanted), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
        except BaseException:
            self._client.close()
            raise

    def fetch(self, limit: int, wait: float) -> list[ClientMessage]:
        """The messages that are there, or else the first that comes within some seconds.

        Raises:
            BrokerError: A topic or the group may not be read, or the client is of no more use.
        """
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        self._store()
        batch: list[Any] = self._consumer.consume(limit, 0)
        if not batch:
            batch = self._consumer.consume(1, wait)
            if batch and limit > 1:
                batch += self._consumer.consume(limit - 1, 0)
        messages: list[Any] = []
        for message in batch:
            error = message.error()
            if error is None:
                messages.append(message)
            elif error.code() not in GONE:  # a topic of ours that nobody has made yet
                try:
                    self._client.judge(error, message.topic())
                except BrokerError as raised:
                    self._failure = self._failure or raised
        if self._failure is not None and not messages:
            failure, self._failure = self._failure, None
            raise failure
        # what was taken from the client before its partition was revoked in this very call
        return [m for m in messages if (m.topic(), m.partition()) in self.assigned]

    def done(self, message: ClientMessage) -> None:
        """This message, and all before it in its partition, are processed."""
        self._done[message.topic(), message.partition()] = message.offset() + 1

    def commit(self) -> None:
        """Commit what is processed, and wait for it.

        Raises:
            BrokerError: It could not be committed.
        """
        self._store()
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() != _NOTHING_TO_COMMIT:
                raise BrokerError(
                    f"{self._client.address}: could not commit: {error.args[0].str()}; what is not committed "
                    "is handed out again"
                ) from error

    def close(self) -> None:
        """Commit what is processed, leave the group and close the connection."""
        self._store()
        self._client.close()

    def _store(self) -> None:
        """Tell the client what is processed: it commits that in its own time, and when it is closed."""
        done = [
            TopicPartition(*place, offset) for place, offset in self._done.items() if place in self.assigned
        ]
        self._done.clear()
        if done:
            self._consumer.store_offsets(offsets=done)

    # -- called by the client, from within fetch and close --------------------------------------------------

    def _assigned(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        self.assigned.update((p.topic, p.partition) for p in partitions)

    def _revoked(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        """Partitions move to another member; what is processed of them is committed first."""
        self._store()  # the client commits what is stored when it gives the partitions up
        self._leave(partitions)

    def _lost(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        """Partitions were given to another member because nothing was heard of this one."""
        self._leave(partitions)

    def _leave(self, partitions: list[TopicPartition]) -> None:
        places = {(p.topic, p.partition) for p in partitions}
        self.assigned -= places
        for place in places:
            self._done.pop(place, None)
        self._on_revoked(places)
