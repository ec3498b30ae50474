"""The partitions that a reader reads: found, assigned, and read from their beginnings up to their ends.

In come topic names and librdkafka's settings, out come the client's messages. No consumer group is joined:
partitions are assigned, and a principal needs Describe and Read on the topics and nothing else.

A partition is done when its position has reached its end, not when a message of that offset came: the last
offsets may be a transaction's markers, which are no messages.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaException, TopicPartition

from auditwire.errors import BrokerError
from auditwire.reading.client import EOF, Client, name_of
from auditwire.reading.settings import fetch_sizes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from auditwire.reading.record import ClientMessage, Place

__all__ = ["SENT_WITHIN_MS", "Partitions"]

SENT_WITHIN_MS = 3_600_000
"""A sender never gives a record a Kafka timestamp older than this before the moment that it is sent."""

_BATCH = 500  # messages taken from the client at once, at most
_REFRESH_TIMEOUT = 1.0  # seconds: how long a broker that is away holds up a reader that follows
_WAKE_AFTER = 0.01  # seconds without a message after a partition was resumed
_WAKE_TIMEOUT = 0.5
_NO_END = -1


class Partitions:
    """The partitions of the wanted topics, assigned to a consumer of no group. For one thread.

    Args:
        bootstrap_servers: As for :class:`~auditwire.reading.Reader`, with the next one.
        config: librdkafka's properties.
        wanted: The topics' names.
        must_exist: True refuses to go on without any of the topics.
        from_beginning: False begins at the ends that the partitions have now.
        follow: True never finishes.
        timeout: Seconds that the broker may be silent.
        refresh: Seconds between two looks for new topics and partitions.
        undecodable: Gets ``corrupt`` counted, for what the client could not read.
        since_ms: Begin in each partition with the first message whose Kafka timestamp is not older,
            milliseconds since the Unix epoch. Messages behind it may be older: whoever wants them not, looks
            at each.
        until_ms: End in each partition where all messages that a sender stamped before this must lie: at the
            first message that is an hour younger (``SENT_WITHIN_MS``), or at the present end. Not with
            ``follow``.
        memory: Bytes of messages that its user may keep waiting: of it depends how much is fetched at once.
        starts: Begin these partitions at these offsets, whatever else is said; where they are gone, at the
            first that is left.
        only: Read these partitions alone: several processes can split the work. None reads all.

    Attributes:
        topics: The names of the topics that were found.
        starts: Of each partition the offset where reading began.
        ends: Of each partition the offset to read up to; while it follows, the end that there was at first.
        log_starts: Of each partition the first offset that the broker had when it was asked.
        positions: Of each partition the offset to go on from.
        skipped: Offsets that were to be read and had been removed by retention (or with DeleteRecords) before
            they could be.
        batch: How many messages ``fetch`` takes from the client at most; may be set.

    Raises:
        ConfigurationError: A setting is refused, by us or by librdkafka.
        BrokerError: No answer in time, or a topic that may not be read or does not exist.
    """

    def __init__(
        self,
        bootstrap_servers: str | None,
        config: Mapping[str, Any] | None = None,
        *,
        wanted: Collection[str],
        must_exist: bool = False,
        from_beginning: bool = True,
        follow: bool = False,
        timeout: float = 30.0,
        refresh: float = 5.0,
        undecodable: Counter[str] | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        memory: int = 64 * 1024 * 1024,
        starts: Mapping[Place, int] | None = None,
        only: Collection[Place] | None = None,
    ) -> None:
        self.topics: set[str] = set()
        self.starts: dict[Place, int] = {}
        self.ends: dict[Place, int] = {}
        self.log_starts: dict[Place, int] = {}
        self.positions: dict[Place, int] = {}
        self.skipped = 0
        self.batch = _BATCH
        self._wanted = wanted
        self._from_beginning = from_beginning
        self._follow = follow
        self._timeout = timeout
        self._refresh = refresh
        self._since_ms = since_ms
        self._until_ms = until_ms
        self._only = None if only is None else frozenset(only)
        self._assigned: dict[Place, int] = {}  # -> offset to read up to
        self._resumed: set[Place] = set()  # since something came last
        self._eofs: dict[Place, int] = {}  # where the broker said that there is no more
        self._silent = 0.0  # seconds waited since the last sign of progress
        self._failure: BrokerError | None = None  # to be raised by the next fetch
        self._client = Client(
            bootstrap_servers,
            config,
            sizes={
                **fetch_sizes(memory, len(wanted)),
                # how long a broker that has nothing new may hold back the news that there is nothing, and
                # with it the answer to whatever it is asked next: with librdkafka's 500 ms, new ends came
                # half a second late
                "fetch.wait.max.ms": 100 if follow else 20,
            },
            timeout=timeout,
            follow=follow,
            undecodable=Counter() if undecodable is None else undecodable,
        )
        self._consumer = self._client.consumer
        try:
            found = self._chosen(self._client.find(wanted, must_exist=must_exist))
            self._take_in(found, starts or {})
            self._next_refresh = time.monotonic() + refresh
        except BaseException:
            self._client.close()
            raise

    @property
    def finished(self) -> bool:
        """True when every partition was read to its end."""
        return not (self._follow or self._assigned)

    @property
    def unfinished(self) -> int:
        """How many partitions are read, or followed."""
        return len(self._assigned)

    def close(self) -> None:
        self._client.close()

    def fetch(self, wait: float) -> list[ClientMessage]:
        """The messages that are there, else the first that comes within some seconds; at most ``batch``.

        Those of one partition come in the order of their offsets. All lie within the partitions' bounds.

        Args:
            wait: Seconds to wait at most when there are none.

        Raises:
            BrokerError: A topic may not be read or is gone, the client is of no more use, or nothing came for
                ``timeout`` seconds though the ends are not reached.
        """
        return [message for _, run in self.fetch_runs(wait) for message in run]

    def fetch_runs(self, wait: float) -> list[tuple[Place, list[ClientMessage]]]:
        """As ``fetch``, with what came in succession from one partition in a list of its own."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._follow and time.monotonic() >= self._next_refresh:
            self._look_for_new()
        runs: list[tuple[Place, list[ClientMessage]]] = []
        topic: str | None = None
        number = -1
        run: list[ClientMessage] = []
        others = []
        for message in self._consume(wait):
            if message.error() is not None:
                others.append(message)
            elif message.partition() == number and message.topic() == topic:
                run.append(message)
            else:
                topic, number, run = message.topic(), message.partition(), [message]
                runs.append(((topic, number), run))
        if runs:
            self._alive()
            runs = [(place, kept) for place, run in runs if (kept := self._bounded(place, run))]
        failure = self._hear(others) if others else None
        if failure is not None:
            if not runs:
                raise failure
            self._failure = failure  # what came beside it is handed out first
        if not self._follow and self._assigned and self._silent >= self._timeout:
            waiting = f"{len(self._assigned)} partitions, {name_of(next(iter(self._assigned)))} among them"
            raise BrokerError(
                f"{self._client.address}: nothing came for {self._timeout:g} s, and {waiting}, are not read "
                f"to their ends{self._client.words()}"
            )
        return runs

    def extend(self) -> None:
        """Take the ends that the partitions have now, and go on to them; partitions that are new included.

        ``log_starts`` is taken again too: retention may have cut something off in the meantime.

        Raises:
            BrokerError: As for the class.
        """
        found = self._chosen(self._client.find(self._wanted, must_exist=False))
        self._take_in(found - self.starts.keys(), {})
        self.log_starts.update(self._client.log_starts(self.starts.keys()))
        self.ends.update(self._find_ends(self.starts.keys()))
        for place in self._assigned:
            self._assigned[place] = self.ends[place]
        self._assign(place for place in self.starts if place not in self._assigned)

    @property
    def unreachable(self) -> str | None:
        """None while the brokers answer; else what the client said last."""
        return self._client.unreachable

    def at_end(self, place: Place) -> bool:
        """Whether all that a partition has now, as far as is known, was fetched and returned."""
        if not self._follow:
            return place not in self._assigned
        position = self.positions[place]
        if self._eofs.get(place) == position:
            return True
        # the end that came with the last answer: the broker says "no more" only to the next question, which
        # it leaves unanswered for half a second
        _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
        return position >= (high if high >= 0 else self.ends[place])

    def pause(self, places: Iterable[Place]) -> None:
        """Fetch no more of these partitions; the client throws away what it has fetched of them."""
        chosen = [TopicPartition(*place) for place in places if place in self._assigned]
        if chosen:
            self._consumer.pause(chosen)

    def resume(self, places: Iterable[Place]) -> None:
        """Fetch of these partitions again, from where they are."""
        chosen = [TopicPartition(*place) for place in places if place in self._assigned]
        if chosen:
            self._consumer.resume(chosen)
            self._resumed.update((p.topic, p.partition) for p in chosen)

    # -- where to begin and to end --------------------------------------------------------------------------

    def _chosen(self, found: set[Place]) -> set[Place]:
        return found if self._only is None else found & self._only

    def _take_in(self, found: set[Place], given: Mapping[Place, int]) -> None:
        """Begin to read partitions."""
        log_starts = self._client.log_starts(found)
        ends = self._find_ends(found)
        starts = dict(log_starts if self._from_beginning else ends)
        if self._since_ms is not None and self._client.tells_times:
            starts = {**self._client.ends(found), **self._client.at_time(found, self._since_ms)}
        for place in found & given.keys():
            starts[place] = max(given[place], log_starts[place])
            self.skipped += starts[place] - given[place]
        self.topics.update(topic for topic, _ in found)
        self.log_starts.update(log_starts)
        self.ends.update(ends)
        self.starts.update(starts)
        self.positions.update(starts)
        self._assign(found)

    def _find_ends(self, places: Collection[Place]) -> dict[Place, int]:
        ends = self._client.ends(places)
        if self._until_ms is not None:
            ends.update(self._client.at_time(places, self._until_ms + SENT_WITHIN_MS))
        return ends

    def _assign(self, places: Iterable[Place]) -> None:
        # without following, an empty partition has nothing to be read, and its end would have to be waited
        # for
        chosen = [p for p in places if self._follow or self.positions[p] < self.ends[p]]
        if chosen:
            self._consumer.incremental_assign(
                [TopicPartition(*place, self.positions[place]) for place in chosen]
            )
            self._silent = 0.0
        self._assigned.update((place, _NO_END if self._follow else self.ends[place]) for place in chosen)

    def _look_for_new(self) -> None:
        self._next_refresh = time.monotonic() + self._refresh
        try:
            found = self._chosen(self._client.list(self._wanted, _REFRESH_TIMEOUT)) - self.starts.keys()
            log_starts = self._client.ask_offsets(found, OFFSET_BEGINNING, _REFRESH_TIMEOUT)
            self.ends.update(self._client.ask_offsets(found, OFFSET_END, _REFRESH_TIMEOUT))
        except KafkaException as error:  # the broker is away, and the next look is soon
            self._client.lost(error)
            return
        self._client.unreachable = None
        self.topics.update(topic for topic, _ in found)
        for known in (self.log_starts, self.starts, self.positions):
            known.update(log_starts)
        self._assign(found)

    # -- under way ------------------------------------------------------------------------------------------

    def _consume(self, wait: float) -> list[Any]:
        batch, self._client.kept = self._client.kept, []
        batch += self._consumer.consume(self.batch, 0)
        if self._resumed and not batch:
            batch = self._consumer.consume(1, _WAKE_AFTER) or self._wake()
        self._resumed.clear()
        if not batch:
            before = time.monotonic()
            batch = self._consumer.consume(1, wait)
            if batch:
                batch += self._consumer.consume(self.batch - 1, 0)
            else:
                self._silent += time.monotonic() - before
        return batch

    def _wake(self) -> list[Any]:
        """Ask the leaders of resumed partitions something: their threads in the client sleep up to a second.

        Measured with librdkafka 2.16: a partition that was resumed while no other was fetched gave its next
        message after 900 ms, and with a question behind it after 3 ms.
        """
        with suppress(KafkaException, BrokerError):
            self._client.ask_offsets(self._resumed, OFFSET_END, _WAKE_TIMEOUT)
        return []

    def _bounded(self, place: Place, run: list[ClientMessage]) -> list[ClientMessage]:
        """Those messages of a run that are new and below the end, and the position behind them."""
        end = self._assigned.get(place)
        if end is None:  # were already on their way to us when the partition was done
            return []
        position = self.positions[place]
        if run[0].offset() < position:
            run = [message for message in run if message.offset() >= position]
            if not run:
                return run
        last = run[-1].offset()
        if last - position >= len(run):  # some offsets have no message: markers of transactions, or retention
            low, _ = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            self.skipped += max(0, min(low, last) - position)
        if end == _NO_END or last < end - 1:
            self.positions[place] = last + 1
            return run
        self._finish(place)
        return run if last < end else [message for message in run if message.offset() < end]

    def _finish(self, place: Place) -> None:
        self.positions[place] = self._assigned.pop(place)
        self._consumer.incremental_unassign([TopicPartition(*place)])

    def _alive(self) -> None:
        self._silent = 0.0
        self._client.unreachable = None

    def _hear(self, others: list[Any]) -> BrokerError | None:
        """What came that is no message: ends and errors; the first that is not to be lived with."""
        failure: BrokerError | None = None
        for message in others:
            error, place = message.error(), (message.topic(), message.partition())
            if error.code() == EOF:
                self._alive()
                self._eofs[place] = message.offset()
                end = self._assigned.get(place)
                # the end as the answering replica sees it: a follower may lag behind the offset we were given
                if end is not None and end != _NO_END and message.offset() >= end:
                    self._finish(place)
                continue
            try:
                self._client.judge(error, place[0])
            except BrokerError as raised:
                failure = failure or raised
        return failure
