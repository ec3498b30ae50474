"""Reads a trail's topics from Kafka and yields records.

Partitions are assigned, not subscribed: no consumer group is joined, nothing is committed, and a principal
that may only describe and read the topics can use it. Any number of readers can read the same trail.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError
from auditwire.reading.flow import Flow, Refused
from auditwire.reading.position import Position
from auditwire.reading.record import Gap, Message, Progress, Record
from auditwire.reading.sequencing import Duplicate
from auditwire.reading.wanted import Wanted, event_types, known_types, milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from auditwire.errors import DecodingError
    from auditwire.reading.wanted import TimeLike

__all__ = ["Reader"]

log = logging.getLogger("auditwire")

_SLICE = 0.25  # seconds of the longest wait inside the client: what stop() and Ctrl-C wait for
_MEMORY = 64 * 1024 * 1024


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
            included. One or several, as for the next ones; of several filters all must hold.
        session_id: Yield only events of this session, or of these.
        turn_id: Of this turn.
        agent_id: Of this agent.
        stream_id: Of this stream.
        severity: Of this severity: ``info``, ``warning`` or ``error``.
        since: Yield only records whose Kafka timestamp is not older: an aware datetime, ISO-8601 text with an
            offset, or milliseconds since the Unix epoch. A record's Kafka timestamp is its event's time,
            except that it is never more than an hour older than the moment that it was sent: what was sent
            later than that is found by an hour before its sending.
        until: Yield only records whose Kafka timestamp is older; not with ``follow``.
        start: The ``position`` of an earlier reader of the same topics: goes on exactly there.
        from_beginning: False begins at the ends that the partitions have when the reader is made; needs
            ``follow``. Topics and partitions that appear later are read from their beginning in any case.
        follow: Go on when the end is reached, and wait for more, until ``stop``.
        timeout: Seconds that the broker may be silent: when the reader is made, and, unless it follows, while
            it reads. A reader that follows waits for a lost broker for ever.
        refresh: Seconds between two looks for new topics and partitions; for ``follow``.
        gap_seconds: Seconds that a missing number of a stream is waited for; for ``follow``.
        memory: Bytes of messages that may wait in the reader for others; 64 MiB by default.
        on_undecodable: Called with each :class:`Message` that is no record of ours and the
            :class:`~auditwire.errors.DecodingError` that says why. What it raises comes out of the reader.
        on_gap: Called with each :class:`Gap`, before the record behind it is handed out.
        on_duplicate: Called with each record that the filters let through and that is dropped because one of
            its stream and number was handed out before. It need not be equal to that one.

    Attributes:
        undecodable: Messages that could not be decoded, counted by the error's ``reason``. Further reasons:
            ``corrupt``, what the client itself could not read (checksum, compression), and ``headers``,
            records whose headers were asked for and are empty because a header's name is not UTF-8. ``close``
            logs the counts.
        duplicates: Records that were dropped because their stream's number was handed out before.
        gaps: Gaps that were reported.
        late: Records that came after their gap was reported.
        misplaced: Records that lie on the topic of another event type and were handed out all the same. No
            sender of ours puts them there; ``auditwire verify`` calls it a fault.

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
        types: str | Iterable[str] | None = None,
        session_id: str | Iterable[str] | None = None,
        turn_id: str | Iterable[str] | None = None,
        agent_id: str | Iterable[str] | None = None,
        stream_id: str | Iterable[str] | None = None,
        severity: str | Iterable[str] | None = None,
        since: TimeLike | None = None,
        until: TimeLike | None = None,
        start: Mapping[str, Any] | None = None,
        from_beginning: bool = True,
        follow: bool = False,
        timeout: float = 30.0,
        refresh: float = 5.0,
        gap_seconds: float = 30.0,
        memory: int = _MEMORY,
        on_undecodable: Callable[[Message, DecodingError], None] | None = None,
        on_gap: Callable[[Gap], None] | None = None,
        on_duplicate: Callable[[Record], None] | None = None,
    ) -> None:
        if not (from_beginning or follow):
            raise ConfigurationError("from_beginning", "False reads nothing unless follow is True")
        if follow and until is not None:
            raise ConfigurationError("until", "contradicts follow, which has no end")
        # a program that emits and never reads does not pay for the client's import
        from auditwire.reading.partitions import Partitions  # noqa: PLC0415

        self.undecodable: Counter[str] = Counter()
        self.gaps = self.late = self.misplaced = 0
        since_ms, until_ms = milliseconds("since", since), milliseconds("until", until)
        kinds = known_types(types)
        wanted = Wanted(
            types=kinds,
            session_id=session_id,
            turn_id=turn_id,
            agent_id=agent_id,
            stream_id=stream_id,
            severity=severity,
        )
        self._follow = follow
        self._on_undecodable = on_undecodable
        self._on_gap = on_gap
        self._on_duplicate = on_duplicate
        self._event_types = event_types(prefix, topics, kinds)
        self._stopped = False
        self._closed = False
        position = None if start is None else Position.parse("start", start)
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
            since_ms=since_ms,
            until_ms=until_ms,
            memory=memory,
            starts=None if position is None else position.starts,
        )
        self._flow = Flow(
            self._partitions,
            event_types=self._event_types,
            wanted=wanted,
            judge=kinds is None and (topics is None or isinstance(topics, Mapping)),
            since_ms=since_ms,
            until_ms=until_ms,
            from_beginning=from_beginning,
            follow=follow,
            gap_seconds=gap_seconds,
            memory=memory,
            tell_duplicates=on_duplicate is not None,
            undecodable=self.undecodable,
            position=position,
        )
        self._ready = self._flow.ready

    # -- for the user ---------------------------------------------------------------------------------------

    @property
    def topics(self) -> list[str]:
        """The topics that are read, or were read to their ends, in alphabetical order."""
        return sorted(self._partitions.topics)

    @property
    def finished(self) -> bool:
        """True when nothing more will come: every partition is read to its end, or ``stop`` was called."""
        return self._stopped or self._closed or (not self._ready and self._flow.finished)

    @property
    def duplicates(self) -> int:
        """Records that were dropped because their stream's number had come before."""
        return self._flow.duplicates

    @property
    def skipped(self) -> int:
        """Offsets that retention removed before they could be read, while it read or since ``start``."""
        return self._partitions.skipped

    @property
    def unreachable(self) -> str | None:
        """None while the brokers answer; else what the client said last, such as ``Connection refused``."""
        return self._partitions.unreachable

    @property
    def position(self) -> dict[str, Any]:
        """Where to go on: for ``start`` of a later reader, in JSON's own types.

        Between two records it stands for all that was handed out, and nothing more; what a callback was
        called with is handed out too. It takes milliseconds and grows with the number of streams: not for
        each record. It may also be taken of a reader that is closed.
        """
        return self._flow.position().to_dict()

    @property
    def progress(self) -> Progress:
        """How far it has come, by offsets."""
        partitions = self._partitions
        done = sum(partitions.positions.values()) - sum(partitions.starts.values()) - self._flow.waiting
        total = None
        if not self._follow:
            total = sum(max(0, end - partitions.starts[p]) for p, end in partitions.ends.items())
        return Progress(max(0, done), total, self._flow.reached)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records; as ``next`` on the reader itself, and faster."""
        ready = self._ready
        while True:
            while ready and not self._stopped:
                item = ready.popleft()
                if type(item) is not Record or item.late or item.misplaced:
                    item = self._told(item)
                    if item is None:
                        continue
                yield item
            if self.finished:
                return
            self._flow.advance(_SLICE)

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
            while self._ready:
                record = self._told(self._ready.popleft())
                if record is not None:
                    return record
            remaining = deadline - time.monotonic()
            self._flow.advance(min(_SLICE, max(remaining, 0.0)))
            if remaining <= 0 and not self._ready:
                break
        return None

    def stop(self) -> None:
        """End the iteration within a second; for any thread or signal handler."""
        self._stopped = True

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

    def _told(self, item: Record | Gap | Duplicate[Record] | Refused) -> Record | None:
        """The record, if it is one; of anything else the caller is told."""
        if isinstance(item, Record):
            self.late += item.late
            self.misplaced += item.misplaced
            return item
        if isinstance(item, Gap):
            self.gaps += 1
            if self._on_gap is not None:
                self._on_gap(item)
        elif isinstance(item, Duplicate):
            if self._on_duplicate is not None:
                self._on_duplicate(item.record)
        else:
            self.undecodable[item.error.reason] += 1
            if self._on_undecodable is not None:
                self._on_undecodable(Message.of(item.message, self.undecodable), item.error)
        return None
