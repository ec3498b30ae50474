"""From the client's messages to records in order: what happens in a reader between Kafka and its caller.

::

    Partitions --> Merge --> decode --> Sequencer --> ready
    fetch, pause   by time   or pass    by number     for the caller

Messages wait undecoded in the merge, because most of what waits, waits there. What the filters leave out is
read up to its number only, and passes the sequencer as a number without a record: what is missing is judged
on all that is there.

**Memory.** Bounded by ``memory``: what waits in the merge and in the sequencer, each message with the bytes
of its value and 1 KiB for the rest (key, headers, Python's objects). When the merge has three quarters of
what the sequencer leaves, the partitions that have more waiting than their share are paused, and resumed at
half of it: the client throws away what it has fetched of a partition that is paused, so this must not happen
often. Never paused is a partition that the others wait for: it has nothing waiting. When the sequencer has
more than half, what it waits for is taken out of the merge before its time, and the partitions whose records
it holds are paused until the others have come as far as their share allows. Only when they have, and
everything is full, what has been waited for longest is given up.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from auditwire.errors import DecodingError
from auditwire.events import CheckpointEvent, QuarantineEvent
from auditwire.reading.lookahead import Lookahead
from auditwire.reading.ordering import Merge
from auditwire.reading.position import Position
from auditwire.reading.record import Gap, Record, record_from
from auditwire.reading.sequencing import SETTLE, Aside, Duplicate, Passed, Sequencer
from auditwire.wire import Decoded, decode, decode_into, envelope

if TYPE_CHECKING:
    from collections import Counter, deque
    from collections.abc import Mapping, Sequence

    from auditwire.reading.partitions import Partitions
    from auditwire.reading.record import ClientMessage, Place
    from auditwire.reading.wanted import Wanted

__all__ = ["Flow", "Refused"]

# Messages decoded at once. So few that most of what is made of them is gone again before Python's garbage
# collector counts 700 new objects and looks at them: with 512 the whole took a quarter longer.
_CHUNK = 64
# Messages taken from the client at once: a whole batch may be of one partition and come on top of its share.
_LEAST_BATCH, _MOST_BATCH = 50, 500
_OVERHEAD = 1_024  # bytes that a waiting message costs beside its value
_AHEAD_MS = 3_600_000  # how far a timestamp may lie ahead of this machine's clock before it is not believed
_SETTLE_MS = int(SETTLE * 1_000)
_CLOSE = "close"
_SPEAKS = frozenset((CheckpointEvent, QuarantineEvent))  # of its stream's numbers
_SPEAKING = (CheckpointEvent.event_type, QuarantineEvent.event_type)


class Refused(Aside):
    """A message that could not be decoded, on its way to the caller."""

    __slots__ = ("error", "message")

    def __init__(self, message: ClientMessage, error: DecodingError) -> None:
        self.message = message
        self.error = error


class Flow:
    """The records of some partitions in order. For one thread.

    Args:
        partitions: What is read.
        event_types: The topics, each with the type that its name tells.
        wanted: Which records are made ready.
        judge: False when not all topics are read, so that numbers are absent everywhere.
        since_ms: Records before this Kafka timestamp are passed over.
        until_ms: Records from this Kafka timestamp on are passed over.
        from_beginning: False when reading began at the ends.
        follow: True waits for what is missing for a time, False to the end.
        gap_seconds: That time.
        memory: Bytes of messages that may wait.
        tell_duplicates: True makes duplicates ready too, as such.
        undecodable: For what is counted when a record's headers are read.
        position: Where an earlier reader was.

    Attributes:
        ready: What is to be handed out: records, and ``Gap``, ``Duplicate`` and ``Refused`` in their places.
    """

    def __init__(
        self,
        partitions: Partitions,
        *,
        event_types: Mapping[str, str | None],
        wanted: Wanted,
        judge: bool,
        since_ms: int | None,
        until_ms: int | None,
        from_beginning: bool,
        follow: bool,
        gap_seconds: float,
        memory: int,
        tell_duplicates: bool,
        undecodable: Counter[str],
        position: Position | None,
    ) -> None:
        self._partitions = partitions
        self._event_types = event_types
        # of each topic its type, and what is made of its records; not at once a Record of those that speak
        self._kinds: dict[str, tuple[str | None, type[Record | Decoded]]] = {
            topic: (kind, Decoded if kind in _SPEAKING else Record) for topic, kind in event_types.items()
        }
        self._wanted = wanted
        self._judge = judge
        self._since_ms, self._until_ms = since_ms, until_ms
        self._all = wanted.everything and since_ms is None and until_ms is None
        self._follow = follow
        self._gap_seconds = gap_seconds
        self._memory = memory
        self._undecodable = undecodable
        # of an earlier reader: from where on it had read nothing, and what it had not handed out before that
        self._left = {} if position is None else position.left()
        self._keys = None  # of the wanted sessions
        if wanted.sessions is not None:
            self._keys = frozenset(session.encode("utf-8", "replace") for session in wanted.sessions)
        self._sequencer: Sequencer[Record] = Sequencer(
            size=_record_size,
            whole=not any(partitions.starts.values()) if position is None else position.whole,
            patience=gap_seconds if follow else None,
            judge=judge,
            tell_duplicates=tell_duplicates,
        )
        self.ready: deque[Any] = self._sequencer.ready
        if position is not None:
            self._sequencer.restore(position.streams, position.forgotten)
        self._merge: Merge[Place, ClientMessage] = Merge(_size_of)
        self._open: set[Place] = set()
        self._lookahead = Lookahead(event_types)
        # partitions whose oldest messages are gone: before their first one nothing can be told missing
        kept = {} if position is None else position.starts
        starts, log_starts = partitions.starts, partitions.log_starts
        self._cut = {p for p, cut in log_starts.items() if starts[p] <= cut and kept.get(p, 0) < cut}
        if position is None and (since_ms is not None or not from_beginning):
            begun = int(time.time() * 1_000) if since_ms is None else since_ms
            self._sequencer.floor = begun + _SETTLE_MS
        self._unfinished = -1  # partitions, when they were looked at last
        self._paused: set[Place] = set()
        self._held_back: set[Place] = set()  # those of them whose records wait for the other partitions'
        self._look_again = 0  # when so many bytes are held
        self._clock = 0.0  # seconds during which the partitions were at their ends
        self._ticked = self._looked = self._heard = time.monotonic()
        self._caught_up = self._caught_up_now = False
        self._open_new()

    @property
    def finished(self) -> bool:
        """True when everything was read and is ``ready`` or was taken."""
        return self._partitions.finished and not (self._merge.count or self._sequencer.waiting)

    @property
    def duplicates(self) -> int:
        """Records that were dropped because their number had come before."""
        return self._sequencer.duplicates

    @property
    def reached(self) -> int:
        """The Kafka timestamp up to which records were made ready; -1 before the first."""
        return self._merge.reached

    @property
    def waiting(self) -> int:
        """Messages that were fetched and not handed out."""
        return self._merge.count + len(self._sequencer.held) + len(self.ready)

    def advance(self, wait: float) -> None:
        """Make ready what comes next, if anything comes within some seconds.

        Raises:
            BrokerError: As :meth:`Partitions.fetch`.
        """
        batch, stamps = self._merge.take(_CHUNK)
        if not batch:
            self._balance()
            batch, stamps = self._merge.take(_CHUNK)
        if not batch and not self._partitions.finished:
            self._fetch(wait)
            batch, stamps = self._merge.take(_CHUNK)
        if batch:
            self._read(batch, stamps)
        if self._judge:
            self._relieve()
        self._tick()
        if self._partitions.finished and not self._merge.count:
            self._sequencer.end()

    def position(self) -> Position:
        """Where to go on, once all that is ``ready`` is forgotten."""
        offsets = dict(self._partitions.positions)
        pending: defaultdict[Place, set[int]] = defaultdict(set)
        for place, (frontier, left) in self._left.items():  # is not as far as an earlier reader was
            pending[place].update(offset for offset in left if offset >= offsets[place])
            offsets[place] = max(offsets[place], frontier)
        for message in self._merge.waiting():
            pending[message.topic(), message.partition()].add(message.offset())
        for item in (*self._sequencer.held, *self.ready):
            if isinstance(item, Refused):
                message = item.message
                pending[message.topic(), message.partition()].add(message.offset())
            elif not isinstance(item, Gap):
                record = item.record if isinstance(item, Duplicate) else item
                pending[record.topic, record.partition].add(record.offset)
        return Position(
            whole=self._sequencer.whole,
            forgotten=self._sequencer.forgotten,
            offsets=offsets,
            pending={place: frozenset(waiting) for place, waiting in pending.items()},
            streams=self._sequencer.snapshot(),
        )

    # -- fetching -------------------------------------------------------------------------------------------

    def _fetch(self, wait: float) -> None:
        partitions, merge = self._partitions, self._merge
        runs = partitions.fetch_runs(wait)
        if len(self._open) != len(partitions.starts):  # it may have found new ones
            self._open_new()
        ceiling = int(time.time() * 1_000) + _AHEAD_MS
        for place, run in runs:
            if place in self._left:
                run = self._without_handed_out(place, run)  # noqa: PLW2901 - what is left of it
                if not run:
                    continue
            stamps = [message.timestamp()[1] for message in run]
            if max(stamps) > ceiling:  # would hold this partition back until all others are read
                stamps = [stamp if stamp <= ceiling else -1 for stamp in stamps]
            if place in self._cut:
                self._cut.discard(place)
                self._sequencer.floor = max(self._sequencer.floor, stamps[0] + _SETTLE_MS)
            if self._lookahead.active:
                self._lookahead.note(place, run)
            merge.add(place, run, stamps)
        if runs:
            self._heard = time.monotonic()
        self._balance()

    def _open_new(self) -> None:
        for place in self._partitions.starts.keys() - self._open:
            self._merge.open(place)
        self._open.update(self._partitions.starts)
        self._unfinished = -1  # some may be at their ends from the first
        share = self._memory // (_OVERHEAD * max(1, self._partitions.unfinished))
        self._partitions.batch = min(max(share, _LEAST_BATCH), _MOST_BATCH)

    def _without_handed_out(self, place: Place, run: list[ClientMessage]) -> list[ClientMessage]:
        """What of a run an earlier reader had not handed out."""
        frontier, left = self._left[place]
        if run[-1].offset() >= frontier:
            del self._left[place]
        return [message for message in run if message.offset() >= frontier or message.offset() in left]

    def _balance(self) -> None:
        """Find out who holds up whom, and pause partitions that are far ahead, or resume them."""
        partitions, merge = self._partitions, self._merge
        silent = self._follow and time.monotonic() - self._heard >= self._gap_seconds
        if self._follow or partitions.unfinished != self._unfinished:
            self._unfinished = partitions.unfinished
            for place in merge.blocking if self._follow else merge.unfinished:
                if silent or partitions.at_end(place):
                    merge.at_end(place)
            self._caught_up_now = not (merge.count or merge.blocking)  # for _tick
        used, room = merge.bytes, (self._memory - self._sequencer.bytes) * 3 // 4
        if not self._paused and used < room:
            return
        share = room // max(1, len(merge.unfinished))  # what each partition may have waiting
        if used >= room:
            far = {place for place, size in merge.ahead.items() if size > share} - self._paused
            partitions.pause(far)
            self._paused |= far
            share //= 2
        near = {place for place in self._paused - self._held_back if merge.bytes_of(place) <= share}
        partitions.resume(near)
        self._paused -= near

    def _relieve(self) -> None:
        """When much is held, take what is waited for before its time; without room left, give it up."""
        sequencer, lookahead = self._sequencer, self._lookahead
        if not lookahead.active:
            if sequencer.bytes <= self._memory // 2:
                return
            lookahead.begin(self._merge.not_due())
            self._look_again = 0
        while found := lookahead.find(sequencer.awaited()):
            taken = [m for place, some in found.items() for m in self._merge.remove(place, some)]
            self._read(taken, [message.timestamp()[1] for message in taken])
        if sequencer.bytes <= self._memory // 4:
            lookahead.end()
            self._held_back.clear()
            return
        # and while any is held back, however little waits: the others may have come to their ends meanwhile
        much = bool(self._held_back) or sequencer.bytes > self._memory // 2
        if much and not (self._merge.due or self._others_first()):
            full = self._memory * 7 // 8  # partitions are paused by then
            if self._merge.bytes + sequencer.bytes >= full:
                sequencer.shrink(self._memory * 3 // 8)

    def _others_first(self) -> bool:
        """Pause the partitions whose records are held; False when nothing more is to be had of the others."""
        held = self._sequencer.bytes
        if held >= self._look_again:
            self._look_again = held + self._memory // 16
            places = {(record.topic, record.partition) for record in self._sequencer.held}
            self._held_back = places & set(self._merge.unfinished)
            self._partitions.pause(self._held_back - self._paused)
            self._paused |= self._held_back
        ahead, unfinished = self._merge.ahead, self._merge.unfinished
        share = max(0, self._memory - held) * 3 // 4 // max(1, len(unfinished))
        for place in unfinished:
            if place in self._paused or ahead.get(place, 0) > share:
                continue
            if not self._partitions.at_end(place):
                return True
        self._held_back, self._look_again = set(), 0
        return False

    # -- decoding -------------------------------------------------------------------------------------------

    def _read(self, batch: list[ClientMessage], stamps: list[int]) -> None:
        if self._all:
            self._decode(batch, stamps)
        else:
            self._decode_wanted(batch, stamps)

    def _decode(self, batch: list[ClientMessage], stamps: list[int]) -> None:
        """Decode messages, all of which are wanted."""
        records: list[Record] = []
        special: list[Record] = []
        kinds, undecodable = self._kinds, self._undecodable
        for message in batch:
            event_type, make = kinds[message.topic()]
            try:
                record = decode_into(message.value(), event_type, make)
            except DecodingError as error:
                self._feed(records, stamps[: len(records)])
                self.ready.append(Refused(message, error))
                stamps = stamps[len(records) + 1 :]
                records = []
                continue
            if type(record) is Record:  # as record_from would complete it
                record.late = record.misplaced = False
                record._message = message  # noqa: SLF001
                record._undecodable = undecodable  # noqa: SLF001
            else:
                record = record_from(message, record, undecodable)
                if type(record.event) in _SPEAKS:
                    special.append(record)
            records.append(record)
        self._feed(records, stamps)
        for record in special:
            self._heed(record)

    def _decode_wanted(self, batch: list[ClientMessage], stamps: list[int]) -> None:
        """Decode the messages that are wanted, and find out the numbers of the others."""
        entries: list[Record | Passed] = []
        times: list[int] = []
        special: list[Record] = []
        event_types, undecodable = self._event_types, self._undecodable
        wanted, keys, judge = self._wanted, self._keys, self._judge
        since, until = self._since_ms, self._until_ms
        for message, stamp in zip(batch, stamps, strict=True):
            value, event_type = message.value(), event_types[message.topic()]
            # a key is the session's; one that is another session's need not be looked at further
            other = keys is not None and (key := message.key()) is not None and key not in keys
            if other and not judge:
                continue
            try:
                head = envelope(value, event_type=event_type)
                if (
                    not other
                    and (since is None or stamp >= since)
                    and (until is None or stamp < until)
                    and wanted.matches(head.event_type, head.stream_id, head)
                ):
                    record = record_from(message, decode(value, event_type=event_type), undecodable)
                    entries.append(record)
                    times.append(stamp)
                    if type(record.event) in _SPEAKS:
                        special.append(record)
                elif judge:
                    entries.append(Passed(head.stream_id, head.sequence))
                    times.append(stamp)
                    if head.event_type == QuarantineEvent.event_type:
                        found = decode(value, event_type=event_type)
                        special.append(record_from(message, found, undecodable))
            except DecodingError as error:
                self._feed(entries, times)
                self.ready.append(Refused(message, error))
                entries, times = [], []
        self._feed(entries, times)
        for record in special:
            self._heed(record)

    def _feed(self, entries: Sequence[Record | Passed], stamps: Sequence[int]) -> None:
        if not self._judge:  # nothing is waited for, and so the order of equal timestamps is made here
            order = sorted(range(len(entries)), key=lambda place: (stamps[place], entries[place].sequence))
            entries, stamps = [entries[place] for place in order], [stamps[place] for place in order]
        elif self._lookahead.active:
            self._lookahead.forget((entry.stream_id, entry.sequence) for entry in entries)
        self._sequencer.feed(entries, stamps, self._clock)

    def _heed(self, record: Record) -> None:
        """What a record says of its stream's numbers."""
        event = record.event
        if isinstance(event, CheckpointEvent):
            if event.reason == _CLOSE:
                self._sequencer.closing(record.stream_id, record.sequence)
        elif isinstance(event, QuarantineEvent):
            self._sequencer.excuse(event.quarantined_stream, event.quarantined_sequence)

    # -- time -----------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Let the clock of what is waited for go on while nothing else is to be read, and look at it."""
        now = time.monotonic()
        if self._follow:
            if self._caught_up:
                self._clock += now - self._ticked
            self._caught_up = self._caught_up_now
        self._ticked = now
        self._sequencer.expire(self._clock, self._merge.reached)


def _size_of(messages: Sequence[ClientMessage]) -> int:
    return sum(map(len, messages)) + _OVERHEAD * len(messages)


def _record_size(record: Record) -> int:
    return len(record.value) + 2 * _OVERHEAD
