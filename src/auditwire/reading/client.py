"""A Kafka consumer that is asked about topics and offsets, and what its errors mean for a reader.

In come topic names, settings and librdkafka's errors; out come partitions, offsets and :class:`BrokerError`.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from auditwire.errors import BrokerError, ConfigurationError
from auditwire.reading.settings import consumer_config

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Collection, Mapping

    from auditwire.reading.record import Place

__all__ = ["EOF", "GONE", "Client", "name_of"]

log = logging.getLogger("auditwire")

T = TypeVar("T")

_CONNECT_SLICE = 1.0  # seconds: so soon a refused login, or Ctrl-C, is noticed while connecting
_NOT_THERE = -1  # ListOffsets: no message is that young
_MOCK = "mockCluster"  # how the cluster ids of librdkafka's mock begin

# the client's own codes begin with an underscore and are public all the same
EOF = KafkaError._PARTITION_EOF  # noqa: SLF001
_LOGIN = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001
_UNREACHABLE = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
_CORRUPT = (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG)  # noqa: SLF001
GONE = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)
# the latter: nor can there be one of that name
_NO_SUCH_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION)
_FORBIDDEN = KafkaError.TOPIC_AUTHORIZATION_FAILED
_GROUP_FORBIDDEN = KafkaError.GROUP_AUTHORIZATION_FAILED


class Client:
    """A consumer, and what it said last. For one thread.

    Args:
        bootstrap_servers: As for :class:`~auditwire.reading.Reader`, with the next one.
        config: librdkafka's properties.
        group_id: The consumer group to join; None joins none.
        sizes: Defaults for ``config`` that depend on what is read.
        timeout: Seconds that a question may go without an answer.
        follow: True takes a topic that vanishes for one that may come back.
        undecodable: Gets ``corrupt`` counted, for what the client could not read.

    Attributes:
        consumer: The ``confluent_kafka.Consumer``.
        address: The broker's address, for messages.
        unreachable: None while the brokers answer; else what the client said last.
        kept: Messages that came while something else was asked; to be taken before those of ``consumer``.

    Raises:
        ConfigurationError: A setting is refused, by us or by librdkafka.
    """

    def __init__(
        self,
        bootstrap_servers: str | None,
        config: Mapping[str, Any] | None,
        *,
        group_id: str | None = None,
        sizes: Mapping[str, Any] | None = None,
        timeout: float,
        follow: bool,
        undecodable: Counter[str],
    ) -> None:
        settings, logger, self._error_cb = consumer_config(
            bootstrap_servers, config, group_id=group_id, sizes=sizes
        )
        self._settings, self._logger = settings, logger
        self.address: str = settings["bootstrap.servers"]
        self._timeout = timeout
        self._follow = follow
        self._group_id = group_id
        self._undecodable = undecodable
        self.kept: list[Any] = []
        self.unreachable: str | None = None
        self._last_error = ""
        self._login_refused = False
        self._tells_times = True
        try:
            self.consumer = Consumer({**settings, "error_cb": self._on_error}, logger=logger)
        except (KafkaException, TypeError, ValueError) as error:
            raise _refused_setting(settings, error) from error

    def close(self) -> None:
        self.consumer.close()

    # -- questions ------------------------------------------------------------------------------------------

    def find(self, wanted: Collection[str], *, must_exist: bool) -> set[Place]:
        """The partitions of the wanted topics.

        Raises:
            BrokerError: No answer in time, or a topic that may not be described or, if it must, does not
                exist.
        """
        found = self.patiently("list the topics", lambda timeout: self.list(wanted, timeout))
        # a list of all leaves out in silence what one may not describe
        absent = set(wanted).difference(topic for topic, _ in found)
        described, untold = self._describe(absent)
        found |= described
        for name in sorted(untold):
            found |= self.patiently(f"find topic {name}", partial(self._probe, name))
        missing = absent.difference(topic for topic, _ in found)
        if must_exist and missing:
            raise BrokerError(f"{self.address}: topic {min(missing)} does not exist")
        return found

    def list(self, wanted: Collection[str], timeout: float) -> set[Place]:
        """The partitions of those wanted topics that are there and may be described, asked for once."""
        found: set[Place] = set()
        metadata = self.consumer.list_topics(timeout=timeout)
        self._tells_times = not (metadata.cluster_id or "").startswith(_MOCK)
        for name, topic in metadata.topics.items():
            if name in wanted:
                self._refuse_forbidden(name, topic.error)
                found.update((name, number) for number in topic.partitions)
        return found

    def _describe(self, names: set[str]) -> tuple[set[Place], set[str]]:
        """Ask for some topics by name, in one request: their partitions, and which topics it did not tell of.

        A consumer can name one topic in a request, or all: for a trail of few types over a network with a
        round trip of 50 ms, asking for each of 17 topics took 1.1 s, and this 0.27 s with its connection.
        """
        if len(names) < 2 or not self._tells_times:  # noqa: PLR2004 - one is asked for as fast by the consumer
            return set(), names
        found: set[Place] = set()
        untold: set[str] = set()
        # Never polled, and so without a word: the consumer says what is wrong with brokers or settings.
        settings = {k: v for k, v in self._settings.items() if k == "oauth_cb" or not callable(v)}
        try:
            admin = AdminClient(settings, logger=self._logger)
            asked = admin.describe_topics(TopicCollection(sorted(names)), request_timeout=_CONNECT_SLICE)
        except (KafkaException, TypeError, ValueError):
            return found, names
        for name, answer in asked.items():
            refused = answer.exception()
            error = refused.args[0] if isinstance(refused, KafkaException) else None
            self._refuse_forbidden(name, error)
            if refused is None:
                found.update((name, partition.id) for partition in answer.result().partitions)
            elif error is None or error.code() not in _NO_SUCH_TOPIC:
                untold.add(name)
        return found, untold

    def _probe(self, name: str, timeout: float) -> set[Place]:
        """Ask for one topic."""
        topic = self.consumer.list_topics(name, timeout=timeout).topics[name]
        self._refuse_forbidden(name, topic.error)
        return {(name, number) for number in topic.partitions}

    def log_starts(self, places: Collection[Place]) -> dict[Place, int]:
        """The partitions' first offsets."""
        return self.patiently(
            "find the beginnings of the partitions", lambda t: self.ask_offsets(places, OFFSET_BEGINNING, t)
        )

    def ends(self, places: Collection[Place]) -> dict[Place, int]:
        """The partitions' end offsets, one behind their last."""
        return self.patiently(
            "find the ends of the partitions", lambda t: self.ask_offsets(places, OFFSET_END, t)
        )

    def at_time(self, places: Collection[Place], milliseconds: int) -> dict[Place, int]:
        """Of each partition the first offset whose timestamp is not older; none where all are older.

        librdkafka's mock cluster answers as if all were older: see ``tells_times``.
        """
        answers = self.patiently(
            "find the partitions' offsets for a time",
            lambda t: self.ask_offsets(places, max(0, milliseconds), t),
        )
        return {place: offset for place, offset in answers.items() if offset != _NOT_THERE}

    @property
    def tells_times(self) -> bool:
        """False of librdkafka's mock cluster, which answers no question for a time."""
        return self._tells_times

    def ask_offsets(self, places: Collection[Place], asked: int, timeout: float) -> dict[Place, int]:
        """Offsets for a time, or for the protocol's numbers for beginning and end; a request a leader."""
        if not places:
            return {}
        # librdkafka passes the number on as ListOffsets' timestamp, where -1 is the end and -2 the beginning
        questions = [TopicPartition(topic, number, asked) for topic, number in sorted(places)]
        found = {}
        try:
            answers = self.consumer.offsets_for_times(questions, timeout=timeout)
        except KafkaException as error:
            self._refuse_forbidden(" or ".join(sorted({topic for topic, _ in places})), error.args[0])
            raise
        for answer in answers:
            self._refuse_forbidden(answer.topic, answer.error)
            if answer.error is not None:
                raise KafkaException(answer.error)
            found[answer.topic, answer.partition] = answer.offset
        return found

    def patiently(self, what: str, ask: Callable[[float], T]) -> T:
        """Ask until there is an answer or the time is over; errors on the way may pass."""
        deadline = time.monotonic() + self._timeout
        while True:
            remaining = deadline - time.monotonic()
            try:
                return ask(max(0.01, min(_CONNECT_SLICE, remaining)))
            except KafkaException as error:
                self.serve()
                if self._login_refused or remaining <= _CONNECT_SLICE:
                    words = self.words() or f": {error.args[0].str()}"
                    raise BrokerError(f"{self.address}: could not {what}{words}") from error

    def serve(self) -> None:
        """Let librdkafka hand over its log lines and errors, and perhaps a message."""
        message = self.consumer.poll(0)
        if message is not None:
            self.kept.append(message)

    # -- errors ---------------------------------------------------------------------------------------------

    def judge(self, error: KafkaError, topic: str | None) -> None:
        """What an error among the messages means: nothing to worry about, a line in the log, or the end.

        Raises:
            BrokerError: A topic may not be read or, for a reader that does not follow, is gone; or the client
                is of no more use.
        """
        code = error.code()
        if code == _GROUP_FORBIDDEN and self._group_id is None:
            # librdkafka looks for the group's coordinator though no group is joined
            log.debug("%s: %s", self.address, error.str())
            return
        if code == _GROUP_FORBIDDEN:
            raise BrokerError(
                f"{self.address}: consumer group {self._group_id} may not be used: {error.str()}; "
                "the principal needs the operation Read on it"
            )
        if topic is not None:
            self._refuse_forbidden(topic, error)
            if code in GONE and not self._follow:
                raise BrokerError(f"{self.address}: topic {topic} vanished while it was read: {error.str()}")
        if error.fatal():
            raise BrokerError(f"{self.address}: the client cannot go on: {error.str()}")
        if code in _CORRUPT:
            self._undecodable["corrupt"] += 1
        if error.str() != self._last_error:  # librdkafka repeats itself while it tries again
            self._last_error = error.str()
            log.warning("%s: reading %s: %s", self.address, topic, error.str())

    def lost(self, error: KafkaException) -> None:
        """A question that a reader which follows asks now and then went without an answer."""
        self.unreachable = self._last_error or f"{self.address}: {error.args[0].str()}"

    def words(self) -> str:
        """What librdkafka said last, to be put behind a sentence."""
        return f": {self._last_error}" if self._last_error else ""

    def _on_error(self, error: KafkaError) -> None:
        """What librdkafka reports about brokers; called while we poll."""
        if error.code() != _UNREACHABLE or not self._last_error:  # "1/1 brokers are down" says least
            self._last_error = error.str()
        if error.code() == _UNREACHABLE:
            self.unreachable = self._last_error
        self._login_refused |= error.code() in _LOGIN
        if self._error_cb is not None:
            self._error_cb(error)

    def _refuse_forbidden(self, topic: str, error: KafkaError | None) -> None:
        if error is not None and error.code() == _FORBIDDEN:
            raise BrokerError(
                f"{self.address}: topic {topic} may not be read: {error.str()}; "
                "the principal needs the operations Describe and Read on it"
            )


def _refused_setting(settings: Mapping[str, Any], error: Exception) -> ConfigurationError:
    """What librdkafka says of its settings, with the property that its words name."""
    cause = error.args[0] if error.args else error
    words = cause.str() if isinstance(cause, KafkaError) else str(cause)
    named = [name for name in settings if name in words]
    return ConfigurationError(max(named, key=len, default="config"), words)


def name_of(place: Place) -> str:
    """A partition as librdkafka writes it: ``topic [number]``."""
    return f"{place[0]} [{place[1]}]"
