"""The partitions that a reader reads: found, assigned, read up to their ends, and what goes wrong on the way.

In come topic names and librdkafka's settings, out come Kafka messages. Of ``reading``, this module alone
imports the Kafka client.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from auditwire.errors import BrokerError, ConfigurationError
from auditwire.reading.record import Message
from auditwire.reading.settings import consumer_config

if TYPE_CHECKING:
    from collections import Counter, deque
    from collections.abc import Callable, Collection, Mapping

__all__ = ["Partitions"]

log = logging.getLogger("auditwire")

T = TypeVar("T")

_BATCH = 500  # messages taken from the client at once
_CONNECT_SLICE = 1.0  # seconds: so soon a refused login, or Ctrl-C, is noticed while connecting
_REFRESH_TIMEOUT = 1.0  # seconds: how long a broker that is away holds up a reader that follows
_NO_END = -1

# the client's own codes begin with an underscore and are public all the same
_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001
_LOGIN = (KafkaError._AUTHENTICATION, KafkaError._SSL)  # noqa: SLF001
_UNREACHABLE = KafkaError._ALL_BROKERS_DOWN  # noqa: SLF001
_CORRUPT = (KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError.INVALID_MSG)  # noqa: SLF001
_GONE = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)
_FORBIDDEN = KafkaError.TOPIC_AUTHORIZATION_FAILED
_GROUP_FORBIDDEN = KafkaError.GROUP_AUTHORIZATION_FAILED


class Partitions:
    """The partitions of the wanted topics, assigned to a consumer of no group. For one thread.

    Args:
        bootstrap_servers: As for :class:`~auditwire.reading.Reader`, with the next ones.
        config: librdkafka's properties.
        wanted: The topics' names.
        must_exist: True refuses to go on without any of the topics.
        from_beginning: False begins at the ends that the partitions have now.
        follow: True never finishes.
        timeout: Seconds that the broker may be silent.
        refresh: Seconds between two looks for new topics and partitions.
        undecodable: Gets ``corrupt`` and ``headers`` counted, for what the client could not read.

    Raises:
        ConfigurationError: A setting is refused, by us or by librdkafka.
        BrokerError: No answer in time, or a topic that may not be read or does not exist.
    """

    def __init__(
        self,
        bootstrap_servers: str | None,
        config: Mapping[str, Any] | None,
        *,
        wanted: Collection[str],
        must_exist: bool,
        from_beginning: bool,
        follow: bool,
        timeout: float,
        refresh: float,
        undecodable: Counter[str],
    ) -> None:
        settings, logger, self._error_cb = consumer_config(bootstrap_servers, config)
        self.topics: set[str] = set()
        self._address: str = settings["bootstrap.servers"]
        self._wanted = wanted
        self._follow = follow
        self._timeout = timeout
        self._refresh = refresh
        self._undecodable = undecodable
        self._assigned: dict[tuple[str, int], int] = {}  # -> offset to read up to
        self._silent = 0.0  # seconds waited since the last sign of progress
        self._last_error = ""
        self._login_refused = False
        try:
            self._consumer = Consumer({**settings, "error_cb": self._on_error}, logger=logger)
        except (KafkaException, TypeError, ValueError) as error:
            raise _refused_setting(settings, error) from error
        try:
            self._begin(must_exist=must_exist, from_beginning=from_beginning)
        except BaseException:
            self._consumer.close()
            raise

    @property
    def finished(self) -> bool:
        """True when every partition was read to its end."""
        return not (self._follow or self._assigned)

    def close(self) -> None:
        self._consumer.close()

    def fetch(self, wait: float, into: deque[Message]) -> None:
        """Append the messages that are there, or else the first that comes within some seconds; at most 500.

        Raises:
            BrokerError: A topic may not be read or is gone, the client is of no more use, or nothing came for
                ``timeout`` seconds though the ends are not reached.
        """
        if self._follow and time.monotonic() >= self._next_refresh:
            self._look_for_new()
        before = time.monotonic()
        batch = self._consumer.consume(1, wait)
        if batch:
            batch += self._consumer.consume(_BATCH - 1, 0)
        else:
            self._silent += time.monotonic() - before
        failure: BrokerError | None = None
        for message in batch:  # an error leaves the messages behind it as they are
            try:
                self._take(message, into)
            except BrokerError as error:  # noqa: PERF203 - some microseconds for a batch
                failure = failure or error
        if failure is not None:
            raise failure
        if not self._follow and self._assigned and self._silent >= self._timeout:
            waiting = f"{len(self._assigned)} partitions, {_name(next(iter(self._assigned)))} among them"
            raise BrokerError(
                f"{self._address}: nothing came for {self._timeout:g} s, and {waiting}, are not read to "
                f"their ends{self._words()}"
            )

    # -- the beginning --------------------------------------------------------------------------------------

    def _begin(self, *, must_exist: bool, from_beginning: bool) -> None:
        found = self._patiently("list the topics", self._list)
        for name in self._wanted:
            if all(topic != name for topic, _ in found):
                found |= self._patiently(f"find topic {name}", partial(self._probe, name))
                if must_exist and all(topic != name for topic, _ in found):
                    raise BrokerError(f"{self._address}: topic {name} does not exist")
        ends: dict[tuple[str, int], int] = {}
        if found and not (self._follow and from_beginning):
            ends = self._patiently("find the ends of the partitions", lambda t: self._ends(found, t))
        if not self._follow:
            # an empty partition has nothing to be read, and its end would have to be waited for
            self._assign({place: OFFSET_BEGINNING for place, end in ends.items() if end > 0}, ends)
            self.topics = {topic for topic, _ in found}
        else:
            self._assign({place: ends.get(place, OFFSET_BEGINNING) for place in found}, {})
        self._next_refresh = time.monotonic() + self._refresh

    def _list(self, timeout: float) -> set[tuple[str, int]]:
        found: set[tuple[str, int]] = set()
        for name, topic in self._consumer.list_topics(timeout=timeout).topics.items():
            if name in self._wanted:
                self._refuse_forbidden(name, topic.error)
                found.update((name, number) for number in topic.partitions)
        return found

    def _probe(self, name: str, timeout: float) -> set[tuple[str, int]]:
        """Ask for one topic: a list of all leaves out in silence what one may not describe."""
        topic = self._consumer.list_topics(name, timeout=timeout).topics[name]
        self._refuse_forbidden(name, topic.error)
        return {(name, number) for number in topic.partitions}

    def _ends(self, places: Collection[tuple[str, int]], timeout: float) -> dict[tuple[str, int], int]:
        """The partitions' end offsets, with one request for each leader."""
        asked = [TopicPartition(topic, number, OFFSET_END) for topic, number in sorted(places)]
        ends = {}
        try:
            answers = self._consumer.offsets_for_times(asked, timeout=timeout)
        except KafkaException as error:
            self._refuse_forbidden(" or ".join(sorted({topic for topic, _ in places})), error.args[0])
            raise
        for answer in answers:
            self._refuse_forbidden(answer.topic, answer.error)
            if answer.error is not None:
                raise KafkaException(answer.error)
            ends[answer.topic, answer.partition] = answer.offset
        return ends

    def _patiently(self, what: str, ask: Callable[[float], T]) -> T:
        """Ask until there is an answer or the time is over; errors on the way may pass."""
        deadline = time.monotonic() + self._timeout
        while True:
            remaining = deadline - time.monotonic()
            try:
                return ask(max(0.01, min(_CONNECT_SLICE, remaining)))
            except KafkaException as error:
                self._consumer.poll(
                    0
                )  # hands over librdkafka's log lines and errors; nothing is assigned yet
                if self._login_refused or remaining <= _CONNECT_SLICE:
                    words = self._words() or f": {error.args[0].str()}"
                    raise BrokerError(f"{self._address}: could not {what}{words}") from error

    # -- under way ------------------------------------------------------------------------------------------

    def _assign(self, starts: Mapping[tuple[str, int], int], ends: Mapping[tuple[str, int], int]) -> None:
        if starts:
            self._consumer.incremental_assign(
                [TopicPartition(*place, start) for place, start in starts.items()]
            )
        self._assigned.update((place, ends.get(place, _NO_END)) for place in starts)
        self.topics.update(topic for topic, _ in starts)

    def _look_for_new(self) -> None:
        self._next_refresh = time.monotonic() + self._refresh
        try:
            found = self._list(_REFRESH_TIMEOUT)
        except KafkaException:  # the broker is away: librdkafka says so, and the next look is soon
            return
        self._assign(dict.fromkeys(found - self._assigned.keys(), OFFSET_BEGINNING), {})

    def _take(self, message: Any, into: deque[Message]) -> None:
        topic, number, offset = message.topic(), message.partition(), message.offset()
        error = message.error()
        if error is not None and error.code() != _EOF:
            self._on_message_error(error, topic)
            return
        self._silent = 0.0
        place = topic, number
        end = self._assigned.get(place)
        if end is None:  # was already on its way to us when the partition was done
            return
        if error is not None:
            # the end as the answering replica sees it: a follower may lag behind the offset we were given
            if not self._follow and offset >= end:
                self._finish(place)
            return
        if end != _NO_END and offset >= end - 1:
            self._finish(place)
            if offset >= end:
                return
        kind, timestamp = message.timestamp()
        into.append(
            Message(
                topic=topic,
                partition=number,
                offset=offset,
                timestamp_ms=-1 if kind == TIMESTAMP_NOT_AVAILABLE else timestamp,
                key=message.key(),
                headers=self._headers(message),
                value=message.value(),
            )
        )

    def _headers(self, message: Any) -> list[tuple[str, bytes | None]]:
        try:
            return message.headers() or []
        except (SystemError, UnicodeDecodeError):  # a header's name that is not UTF-8; which one, depends on
            self._undecodable["headers"] += 1  # the client's version
            return []

    def _finish(self, place: tuple[str, int]) -> None:
        del self._assigned[place]
        self._consumer.incremental_unassign([TopicPartition(*place)])

    # -- errors ---------------------------------------------------------------------------------------------

    def _on_error(self, error: KafkaError) -> None:
        """What librdkafka reports about brokers; called while we poll."""
        if error.code() != _UNREACHABLE or not self._last_error:  # "1/1 brokers are down" says least
            self._last_error = error.str()
        self._login_refused |= error.code() in _LOGIN
        if self._error_cb is not None:
            self._error_cb(error)

    def _on_message_error(self, error: KafkaError, topic: str | None) -> None:
        code = error.code()
        if code == _GROUP_FORBIDDEN:  # librdkafka looks for the group's coordinator though no group is joined
            log.debug("%s: %s", self._address, error.str())
            return
        if topic is not None:
            self._refuse_forbidden(topic, error)
            if code in _GONE and not self._follow:
                raise BrokerError(f"{self._address}: topic {topic} vanished while it was read: {error.str()}")
        if error.fatal():
            raise BrokerError(f"{self._address}: the client cannot go on: {error.str()}")
        if code in _CORRUPT:
            self._undecodable["corrupt"] += 1
        if error.str() != self._last_error:  # librdkafka repeats itself while it tries again
            self._last_error = error.str()
            log.warning("%s: reading %s: %s", self._address, topic, error.str())

    def _refuse_forbidden(self, topic: str, error: KafkaError | None) -> None:
        if error is not None and error.code() == _FORBIDDEN:
            raise BrokerError(
                f"{self._address}: topic {topic} may not be read: {error.str()}; "
                "the principal needs the operations Describe and Read on it"
            )

    def _words(self) -> str:
        return f": {self._last_error}" if self._last_error else ""


def _refused_setting(settings: Mapping[str, Any], error: Exception) -> ConfigurationError:
    """What librdkafka says of its settings, with the property that its words name."""
    cause = error.args[0] if error.args else error
    words = cause.str() if isinstance(cause, KafkaError) else str(cause)
    named = [name for name in settings if name in words]
    return ConfigurationError(max(named, key=len, default="config"), words)


def _name(place: tuple[str, int]) -> str:
    return f"{place[0]} [{place[1]}]"
