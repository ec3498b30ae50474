"""Reads a trail in a consumer group: many processes share the partitions, and Kafka keeps how far they are.

For programs that process each event once it came, such as an alert or a copy into a database. Neither the
order of streams nor gaps can be told by one member of a group, which sees only some of the partitions: for
that there is :class:`~auditwire.reading.Reader`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError, DecodingError
from auditwire.reading.record import Message, Record, record_from
from auditwire.reading.wanted import Wanted, event_types, known_types
from auditwire.wire import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from auditwire.reading.record import ClientMessage, Place

__all__ = ["GroupReader"]

log = logging.getLogger("auditwire")

_SLICE = 0.25  # seconds of the longest wait inside the client
_BATCH = 100  # messages taken from the client at once
_ALIVE = 10.0  # seconds after which the client hears of us although messages are left: Kafka's limit is 300


class GroupReader:
    """A member of a consumer group that hands out a trail's records, as an iterator and a context manager.

    ::

        with GroupReader("localhost:9092", group_id="alerts") as reader:
            for record in reader:
                alert(record.event)

    Each record is handed out at least once to some member of the group. It counts as processed when the next
    one is asked for, or ``commit`` is called: only then its offset may be committed. So a record during whose
    processing the program dies, or raises out of the loop, is handed out again, to this member or another.
    Committed are processed records every 5 s (``auto.commit.interval.ms``), when partitions move to another
    member, and by ``commit`` and ``close``.

    Records of one partition come in the order of their offsets. Duplicates are not dropped.

    The principal needs Describe and Read on the topics, and Read on the group. For one thread, except
    ``stop``.

    Args:
        bootstrap_servers: ``host:port``, several with commas; may stand in ``config`` instead.
        group_id: The consumer group.
        prefix: As for :class:`Reader`, with the next ones.
        config: librdkafka's properties. ``auto.offset.reset`` says where a group begins that has committed
            nothing: ``earliest`` unless given. ``enable.auto.commit=False`` leaves committing to ``commit``.
        topics: A mapping of event types to topics, or the names of the topics to read.
        types: Event types to hand out; the others count as processed. So for the next ones.
        session_id: Only events of this session, or of these.
        turn_id: Of this turn.
        agent_id: Of this agent.
        stream_id: Of this stream.
        severity: Of this severity.
        timeout: Seconds that the broker may be silent when the reader is made, and at a ``commit``.
        on_undecodable: Called with each :class:`Message` that is no record of ours, and the error that says
            why; it counts as processed afterwards. What it raises comes out of the reader, and the message
            comes again.

    Attributes:
        undecodable: Messages that could not be decoded, counted by the error's ``reason``.
        misplaced: Records that lie on the topic of another event type and were handed out all the same.

    Raises:
        ConfigurationError: A setting contradicts what the reader promises, or librdkafka refuses it.
        BrokerError: No broker answered in time, or topic or group may not be read. Also raised while reading.
    """

    def __init__(
        self,
        bootstrap_servers: str | None = None,
        *,
        group_id: str,
        prefix: str = "audit",
        config: Mapping[str, Any] | None = None,
        topics: Mapping[str, str] | Iterable[str] | None = None,
        types: str | Iterable[str] | None = None,
        session_id: str | Iterable[str] | None = None,
        turn_id: str | Iterable[str] | None = None,
        agent_id: str | Iterable[str] | None = None,
        stream_id: str | Iterable[str] | None = None,
        severity: str | Iterable[str] | None = None,
        timeout: float = 30.0,
        on_undecodable: Callable[[Message, DecodingError], None] | None = None,
    ) -> None:
        if not group_id:
            raise ConfigurationError("group_id", "name a consumer group")
        # a program that emits and never reads does not pay for the client's import
        from auditwire.reading.membership import Membership  # noqa: PLC0415

        self.undecodable: Counter[str] = Counter()
        self.misplaced = 0
        kinds = known_types(types)
        self._wanted = Wanted(
            types=kinds,
            session_id=session_id,
            turn_id=turn_id,
            agent_id=agent_id,
            stream_id=stream_id,
            severity=severity,
        )
        self._event_types = event_types(prefix, topics, kinds)
        self._on_undecodable = on_undecodable
        self._fetched: deque[ClientMessage] = deque()
        self._current: ClientMessage | None = None  # handed out, and perhaps not processed yet
        self._heard = time.monotonic()
        self._stop = threading.Event()
        self._closed = False
        self._membership = Membership(
            bootstrap_servers,
            config,
            group_id=group_id,
            wanted=self._event_types,
            must_exist=topics is not None and not isinstance(topics, Mapping),
            timeout=timeout,
            undecodable=self.undecodable,
            on_revoked=self._forget,
        )

    # -- for the user ---------------------------------------------------------------------------------------

    @property
    def assigned(self) -> list[Place]:
        """The partitions that this member has now, as topic and number, in order."""
        return sorted(self._membership.assigned)

    def __iter__(self) -> Iterator[Record]:
        return self

    def __next__(self) -> Record:
        while not (self._stop.is_set() or self._closed):
            record = self.poll(_SLICE)
            if record is not None:
                return record
        raise StopIteration

    def poll(self, timeout: float = 1.0) -> Record | None:
        """The next record, or None when none came in time; the one before counts as processed.

        Args:
            timeout: Seconds to wait at most; 0 takes what is there.

        Raises:
            BrokerError: Reading failed; see the class.
        """
        deadline = time.monotonic() + timeout
        self._finish_current()
        while not (self._stop.is_set() or self._closed):
            now = time.monotonic()
            if not self._fetched or now - self._heard >= _ALIVE:
                wait = 0.0 if self._fetched else min(_SLICE, max(0.0, deadline - now))
                self._fetched.extend(self._membership.fetch(1 if self._fetched else _BATCH, wait))
                self._heard = time.monotonic()
            while self._fetched:
                record = self._next()
                if record is not None:
                    return record
            if time.monotonic() >= deadline:
                break
        return None

    def commit(self) -> None:
        """Commit all that was handed out, the record that was handed out last included.

        Raises:
            BrokerError: It could not be committed, perhaps because the group has just been rebalanced; what
                is not committed by this member or another is handed out again.
        """
        self._finish_current()
        self._membership.commit()

    def stop(self) -> None:
        """End the iteration within a second; for any thread or signal handler."""
        self._stop.set()

    def close(self) -> None:
        """Commit what is processed, leave the group and close the connection. A second call does nothing.

        The record that was handed out last does not count as processed: ``commit`` before, if it is.
        """
        if self._closed:
            return
        self._closed = True
        self._membership.close()
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

    def _next(self) -> Record | None:
        """The record in the next message, None for what is none or is not wanted."""
        message = self._fetched[0]
        try:
            found = decode(message.value(), event_type=self._event_types.get(message.topic()))
        except DecodingError as error:
            self.undecodable[error.reason] += 1
            if self._on_undecodable is not None:
                self._on_undecodable(Message.of(message, self.undecodable), error)
            found = None
        self._fetched.popleft()
        wanted = self._wanted
        if found is not None and (
            wanted.everything or wanted.matches(found.event.event_type, found.stream_id, found.event)
        ):
            self._current = message
            self.misplaced += found.misplaced
            return record_from(message, found, self.undecodable)
        self._membership.done(message)
        return None

    def _finish_current(self) -> None:
        if self._current is not None:
            self._membership.done(self._current)
            self._current = None

    def _forget(self, places: set[Place]) -> None:
        """Partitions are another member's now: what is left of them is not ours to hand out."""
        self._fetched = deque(m for m in self._fetched if (m.topic(), m.partition()) not in places)
        current = self._current
        if current is not None and (current.topic(), current.partition()) in places:
            self._current = None
