"""Reads a trail's topics from Kafka and yields records.

Partitions are assigned, not subscribed: no consumer group is joined, nothing is committed, and a principal
that may only describe and read the topics can use it. Any number of readers can read the same trail.

**Order.** Records of one partition come in the order of their offsets. Across partitions there is no order
yet: records of one stream are spread over topics and partitions, and their sequence puts them together again.

**End.** Without ``follow`` the end offsets are taken when the reader is made, and each partition is read up
to there. A partition is done when its position has reached that offset, not when a message of that offset
came: the last offsets may be a transaction's markers, which are no messages.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError, DecodingError
from auditwire.events import ALL_TYPES
from auditwire.reading.record import Message, Record
from auditwire.wire import decode, event_type_of, topic_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Reader"]

log = logging.getLogger("auditwire")

_SLICE = 0.25  # seconds of the longest wait inside the client: what stop() and Ctrl-C wait for


class Reader:
    """A trail's records, as an iterator and a context manager.

    ::

        with Reader("localhost:9092") as reader:
            for record in reader:
                print(record.event.to_json())

    For one thread, except ``stop``.

    Args:
        bootstrap_servers: ``host:port``, several with commas; may stand in ``config`` instead.
        prefix: The topics' prefix, as given to the collector.
        config: librdkafka's properties for the consumer, and ``logger``, ``error_cb``, ``stats_cb``,
            ``throttle_cb``, ``oauth_cb``.
        topics: A mapping of event types to topics, as given to the collector: the other types are read from
            the prefix's topics. Or the names of the topics to read, and no others.
        types: Event types to yield, for example ``{"turn_start"}``; the default is all, control records
            included.
        session_id: Yield only events of this session.
        from_beginning: False begins at the ends that the partitions have when the reader is made; needs
            ``follow``. Topics and partitions that appear later are read from their beginning in any case.
        follow: Go on when the end is reached, and wait for more, until ``stop``.
        timeout: Seconds that the broker may be silent: when the reader is made, and, unless it follows, while
            it reads. A reader that follows waits for a lost broker for ever.
        refresh: Seconds between two looks for new topics and partitions; for ``follow``.
        on_undecodable: Called with each :class:`Message` that is no record of ours and the
            :class:`~auditwire.errors.DecodingError` that says why. What it raises comes out of the reader.

    Attributes:
        undecodable: Messages that could not be decoded, counted by the error's ``reason``. Further reasons:
            ``corrupt``, what the client itself could not read (checksum, compression), and ``headers``,
            records that come without headers because a header's name is not UTF-8. ``close`` logs the counts.

    Raises:
        ConfigurationError: A setting contradicts what the reader promises, or librdkafka refuses it.
        BrokerError: No broker answered in time, a topic may not be read, or a topic given by name does not
            exist. Also raised while reading.
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        prefix: str = "audit",
        config: Mapping[str, Any] | None = None,
        topics: Mapping[str, str] | Iterable[str] | None = None,
        types: Iterable[str] | None = None,
        session_id: str | None = None,
        from_beginning: bool = True,
        follow: bool = False,
        timeout: float = 30.0,
        refresh: float = 5.0,
        on_undecodable: Callable[[Message, DecodingError], None] | None = None,
    ) -> None:
        if not (from_beginning or follow):
            raise ConfigurationError("from_beginning", "False reads nothing unless follow is True")
        # a program that emits and never reads does not pay for the client's import
        from auditwire.reading.partitions import Partitions  # noqa: PLC0415

        self.undecodable: Counter[str] = Counter()
        self._types = _known_types(types)
        self._session_id = session_id
        self._on_undecodable = on_undecodable
        self._event_types = _event_types(prefix, topics, self._types)
        self._fetched: deque[Message] = deque()
        self._stop = threading.Event()
        self._closed = False
        self._partitions = Partitions(
            bootstrap_servers,
            config,
            wanted=self._event_types,
            must_exist=topics is not None and not isinstance(topics, Mapping) and not follow,
            from_beginning=from_beginning,
            follow=follow,
            timeout=timeout,
            refresh=refresh,
            undecodable=self.undecodable,
        )

    # -- for the user ---------------------------------------------------------------------------------------

    @property
    def topics(self) -> list[str]:
        """The topics that are read, or were read to their ends, in alphabetical order."""
        return sorted(self._partitions.topics)

    @property
    def finished(self) -> bool:
        """True when nothing more will come: every partition is read to its end, or ``stop`` was called."""
        return self._stop.is_set() or self._closed or (self._partitions.finished and not self._fetched)

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        while not self.finished:
            record = self.poll(_SLICE)
            if record is not None:
                return record
        raise StopIteration

    def poll(self, timeout: float = 1.0) -> Record | None:
        """The next record, or None when none came in time or the reader is ``finished``.

        Args:
            timeout: Seconds to wait at most; 0 takes what is there.

        Raises:
            BrokerError: Reading failed; see the class.
        """
        deadline = time.monotonic() + timeout
        while not self.finished:
            while self._fetched:
                record = self._decode(self._fetched.popleft())
                if record is not None:
                    return record
            remaining = deadline - time.monotonic()
            self._partitions.fetch(min(_SLICE, max(remaining, 0.0)), self._fetched)
            if remaining <= 0 and not self._fetched:
                break
        return None

    def stop(self) -> None:
        """End the iteration within a second; for any thread or signal handler."""
        self._stop.set()

    def close(self) -> None:
        """Close the connection. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._partitions.close()
        if self.undecodable:
            counts = ", ".join(f"{reason} {count}" for reason, count in self.undecodable.most_common())
            log.warning("%d messages could not be decoded: %s", sum(self.undecodable.values()), counts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside ---------------------------------------------------------------------------------------------

    def _decode(self, message: Message) -> Record | None:
        """The record, or None for what is no record or is not asked for."""
        try:
            found = decode(message.value, event_type=self._event_types.get(message.topic))
        except DecodingError as error:
            self.undecodable[error.reason] += 1
            if self._on_undecodable is not None:
                self._on_undecodable(message, error)
            return None
        event = found.event
        if self._types is not None and event.event_type not in self._types:
            return None
        if self._session_id is not None and event.session_id != self._session_id:
            return None
        return Record(
            event=event,
            stream_id=found.stream_id,
            sequence=found.sequence,
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            timestamp_ms=message.timestamp_ms,
            key=message.key,
            headers=message.headers,
            digest=found.digest,
            fingerprint=found.fingerprint,
            framing=found.framing,
            body=found.body,
        )


def _known_types(types: Iterable[str] | None) -> frozenset[str] | None:
    if types is None:
        return None
    chosen = frozenset([types] if isinstance(types, str) else types)
    unknown = sorted(chosen.difference(ALL_TYPES))
    if unknown or not chosen:
        raise ConfigurationError(
            "types",
            f"{', '.join(unknown) or 'nothing'} is no event type; known are {', '.join(sorted(ALL_TYPES))}",
        )
    return chosen


def _event_types(
    prefix: str, topics: Mapping[str, str] | Iterable[str] | None, types: frozenset[str] | None
) -> dict[str, str | None]:
    """The topics to read, each with the type of its events where the name tells it."""
    if topics is not None and not isinstance(topics, Mapping):
        names = [topics] if isinstance(topics, str) else list(topics)
        if not names:
            raise ConfigurationError("topics", "name a topic, or leave it out to read all of the prefix")
        return {name: _known(event_type_of(prefix, name)) for name in names}
    chosen = types or ALL_TYPES.keys()
    renamed = topics or {}
    unknown = sorted(renamed.keys() - ALL_TYPES.keys())
    if unknown:
        raise ConfigurationError("topics", f"{', '.join(unknown)} is no event type")
    return {renamed.get(name) or topic_name(prefix, name): name for name in sorted(chosen)}


def _known(event_type: str | None) -> str | None:
    return event_type if event_type in ALL_TYPES else None
