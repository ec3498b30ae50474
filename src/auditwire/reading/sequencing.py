"""Puts the records of each stream into the order of their numbers, drops duplicates, says what is missing.

In come records in about the right order, out come the same records with each stream in its order; what comes
too early is held until its number is due. A pure data structure: no Kafka, and time is passed in.

**What is waited for.** A number that did not come while a higher one did. It is given up

========== ==================================================================================================
``time``   when ``patience`` seconds have gone by, on the caller's clock or between the Kafka timestamps that
           were reached; ``None`` waits for ever
``memory`` when the caller says that too much is held: the stream that has waited longest goes on first
``end``    when the caller says that nothing more comes
========== ==================================================================================================

Given up is a :class:`Gap`; the records behind it go on, and what of it comes later is handed out with
``late``.

**Where a stream begins.** With 0 when everything is read from the start of the logs (``whole``). Otherwise
some of the oldest records may lie before the point where reading began in their partition, and so what comes
in the first second (``SETTLE``) of a stream is put in order and its lowest number is the stream's beginning;
what is missing there is not waited for, and no gap. The same holds up to ``floor``, a Kafka timestamp before
which partitions may have been cut off. What comes from before the beginning is handed out with ``late``.

**What is remembered.** Per stream the next number, the numbers that were given up (as ranges; beyond 256 of
them the oldest two become one, and a duplicate between them is handed out twice rather than lost), and the
records that are held. Of closed streams the last 4,096, and of open ones 100,000: of a stream that was
forgotten, what comes is handed out as of one that is met in its middle.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, defaultdict, deque
from heapq import heappop, heappush
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeVar

from auditwire.reading.record import Gap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "CLOSED_STREAMS",
    "MAX_RANGES",
    "OPEN_STREAMS",
    "SETTLE",
    "Aside",
    "Duplicate",
    "Passed",
    "Sequencer",
    "StreamState",
    "ranges_of",
]

SETTLE = 1.0
"""Seconds in which a stream that is met in its middle may still turn out to begin lower."""

MAX_RANGES = 256
"""Ranges of given up numbers that are remembered of a stream."""

CLOSED_STREAMS = 4_096
"""Closed streams that are remembered."""

OPEN_STREAMS = 100_000
"""Open streams that are remembered."""

_ALL_RANGES = 100_000  # of all streams: beyond it each keeps one
_HELD_BYTES = 256  # what holding costs beside the record
_OPENING = -1
_first_of = itemgetter(0)


Range = tuple[int, int]
"""A range of numbers, both ends included."""


class Ordered(Protocol):
    """What is put in order: a record."""

    stream_id: str
    sequence: int
    late: bool


R = TypeVar("R", bound=Ordered)


class Passed(NamedTuple):
    """A number that is there, of a record that is not to be handed out."""

    stream_id: str
    sequence: int


class Aside:
    """What has a place among the records that are ready, and none in a stream's order."""

    __slots__ = ()


class Duplicate(Aside, Generic[R]):
    """A record whose number was handed out before."""

    __slots__ = ("record",)

    def __init__(self, record: R) -> None:
        self.record = record


class _Excused:
    """Holds the place of a record that will not come."""


_EXCUSED = _Excused()


class StreamState(NamedTuple):
    """What of a stream was handed out, to go on from.

    Attributes:
        next: Every number below it was handed out or passed over, or is in ``missing``.
        missing: Ranges, both ends included, that were given up.
        passed: Ranges from ``next`` on that need not come again.
        closing: The number of the closing checkpoint; -1 when it did not come yet.
    """

    next: int
    missing: list[Range]
    passed: list[Range]
    closing: int


class _Stream(Generic[R]):
    """What is known of one stream.

    Attributes:
        next: The first number that was not passed; -1 while the beginning is not known.
        held: The records above it (None where none is wanted), and when they came: on the clock, and the
            timestamp that was reached then.
        order: Their numbers, as a heap.
        missing: Ranges below ``next`` that were given up, or lie before the beginning.
        closing: The number of the closing checkpoint.
        seen: When it was last heard of, in calls of ``feed``.
    """

    __slots__ = ("closing", "held", "missing", "next", "order", "seen")

    def __init__(self, first: int) -> None:
        self.next = first
        self.held: dict[int, tuple[R | _Excused | None, float, int]] = {}
        self.order: list[int] = []
        self.missing: list[Range] = []
        self.closing = _OPENING
        self.seen = 0


class Sequencer(Generic[R]):
    """Many streams in order. For one thread.

    Args:
        size: Bytes that a held record counts for.
        whole: True when every stream begins with 0.
        patience: Seconds that a missing number is waited for; None waits to the end.
        judge: False waits for nothing: records go out as they come, for a reader that does not see all of a
            stream, to which every number may be absent.
        tell_duplicates: True puts a :class:`Duplicate` into ``ready`` for each record that is dropped.

    Attributes:
        ready: What is to be handed out: records, and :class:`Gap` and :class:`Duplicate` where they belong.
        bytes: What all held records count for.
        duplicates: Records that were dropped because their number had come before.
        floor: Kafka timestamp, milliseconds, before which what is missing is no gap.
        whole: As given.
        forgotten: The greatest stream id that was forgotten: a stream that is met anew and has no greater one
            may have been known. Stream ids are UUIDv7 and rise with time.
    """

    def __init__(
        self,
        *,
        size: Callable[[R], int],
        whole: bool,
        patience: float | None,
        judge: bool = True,
        tell_duplicates: bool = False,
    ) -> None:
        self.ready: deque[Any] = deque()
        self.bytes = 0
        self.duplicates = 0
        self.floor = _OPENING
        self._size = size
        self.whole = whole
        self.forgotten = ""
        self._judge = judge
        self._patience = patience
        self._tell_duplicates = tell_duplicates
        self._streams: dict[str, _Stream[R]] = {}
        self._closed: OrderedDict[str, int] = OrderedDict()  # -> the number behind the last
        # streams that wait, and since when; those that waited longest first
        self._waiting: dict[str, tuple[float, int]] = {}
        self._ranges = 0
        self._calls = 0
        self._clock = 0.0
        self._reached = _OPENING

    @property
    def waiting(self) -> int:
        """Streams that wait for a number."""
        return len(self._waiting)

    def awaited(self) -> list[tuple[str, int]]:
        """The streams that wait, each with the number that it waits for."""
        found = ((stream_id, self._streams[stream_id].next) for stream_id in self._waiting)
        return [(stream_id, number) for stream_id, number in found if number != _OPENING]

    def feed(self, batch: Iterable[R | Passed], stamps: Iterable[int], clock: float) -> None:
        """Take records.

        Args:
            batch: The records. A number that is ``Passed`` is there, and not to be handed out.
            stamps: The Kafka timestamp of each.
            clock: Seconds of a clock that may stand still.
        """
        self._calls = calls = self._calls + 1
        self._clock = clock
        streams, out = self._streams, self.ready.append
        for item, stamp in zip(batch, stamps, strict=True):
            sequence = item.sequence
            stream = streams.get(item.stream_id)
            if stream is None or sequence != stream.next or stream.order:
                self._take_unusual(item, stream, stamp)
                continue
            stream.seen = calls
            stream.next = sequence + 1
            if type(item) is not Passed:
                out(item)
        if len(streams) > OPEN_STREAMS:
            self._forget()

    def excuse(self, stream_id: str, sequence: int) -> None:
        """A number of which another record says that it will not come: it is not waited for.

        No gap is reported for it; if it comes all the same, it is ``late``.
        """
        stream = self._streams.get(stream_id)
        if stream is None or not self._judge or sequence in stream.held or sequence < stream.next:
            return
        if sequence == stream.next:
            self._leave_out(stream, sequence, sequence)
            stream.next += 1
            self._go_on(stream_id, stream)
        else:
            self._hold(stream_id, stream, sequence, _EXCUSED, self._reached)

    def closing(self, stream_id: str, sequence: int) -> None:
        """A stream's closing checkpoint was given to ``feed``: nothing comes behind this number."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.closing = sequence
            self._retire(stream_id, stream)

    def expire(self, clock: float, reached: int) -> None:
        """Give up what was waited for long enough.

        Args:
            clock: As for ``feed``.
            reached: The highest Kafka timestamp of what was given to ``feed``.
        """
        self._clock, self._reached = clock, reached
        if self._patience is None and self.whole and self.floor == _OPENING and not self.forgotten:
            return  # nothing has a limit of time
        for stream_id in [*self._waiting]:
            stream = self._streams[stream_id]
            while stream.order and self._is_over(stream, *self._waiting[stream_id]):
                self._give_up(stream_id, "time")

    def shrink(self, limit: int) -> None:
        """Let those streams go on that waited longest, until what is held counts for less."""
        while self._waiting and self.bytes > limit:
            self._give_up(next(iter(self._waiting)), "memory")

    def end(self) -> None:
        """Nothing more comes: hand out all that is held."""
        while self._waiting:
            self._give_up(next(iter(self._waiting)), "end")

    # -- one record -----------------------------------------------------------------------------------------

    def _take_unusual(self, item: R | Passed, stream: _Stream[R] | None, stamp: int) -> None:
        """A number that is not the next of a stream that waits for nothing."""
        record = None if isinstance(item, Passed) else item
        if stream is None:
            self._meet(item.stream_id, item.sequence, record, stamp)
        else:
            stream.seen = self._calls
            self._take(item.stream_id, stream, item.sequence, record, stamp)

    def _meet(self, stream_id: str, sequence: int, record: R | None, stamp: int) -> None:
        """The first record of a stream, or one of a stream that was closed."""
        behind = self._closed.get(stream_id)
        if behind is not None and sequence < behind:
            self._closed.move_to_end(stream_id)
            self._drop(record)
            return
        if behind is None:
            known = (self.whole and stream_id > self.forgotten) or not self._judge
            first = 0 if known else _OPENING
        else:
            first = behind
        stream = self._streams[stream_id] = _Stream(first)
        stream.seen = self._calls
        if behind is not None:
            del self._closed[stream_id]
        self._take(stream_id, stream, sequence, record, stamp)

    def _take(self, stream_id: str, stream: _Stream[R], sequence: int, record: R | None, stamp: int) -> None:
        if sequence == stream.next or (stream.next == _OPENING and sequence == 0):
            stream.next = sequence + 1
            if record is not None:
                self.ready.append(record)
            self._go_on(stream_id, stream)
        elif sequence > stream.next and not self._judge:
            self._leave_out(stream, stream.next, sequence - 1)
            stream.next = sequence + 1
            if record is not None:
                self.ready.append(record)
        elif sequence > stream.next:
            known = stream.held.get(sequence)
            if known is None:
                self._hold(stream_id, stream, sequence, record, stamp)
            elif known[0] is _EXCUSED:
                stream.held[sequence] = record, *known[1:]
                self.bytes += self._cost(record) - self._cost(_EXCUSED)
            else:
                self._drop(record)
        elif self._carve(stream, sequence):
            if record is not None:
                record.late = self._judge
                self.ready.append(record)
            self._retire(stream_id, stream)
        else:
            self._drop(record)

    def _hold(
        self, stream_id: str, stream: _Stream[R], sequence: int, record: R | _Excused | None, stamp: int
    ) -> None:
        since = self._clock, max(stamp, self._reached)  # an old record waits from when it came
        stream.held[sequence] = record, *since
        heappush(stream.order, sequence)
        self.bytes += self._cost(record)
        if stream_id not in self._waiting:
            self._waiting[stream_id] = since

    def _cost(self, record: R | _Excused | None) -> int:
        if record is None or isinstance(record, _Excused):
            return _HELD_BYTES
        return _HELD_BYTES + self._size(record)

    def _drop(self, record: R | None) -> None:
        self.duplicates += 1
        if record is not None and self._tell_duplicates:
            self.ready.append(Duplicate(record))

    def _go_on(self, stream_id: str, stream: _Stream[R]) -> None:
        """Hand out what was held for the number that came, or was given up."""
        held, order = stream.held, stream.order
        while order and order[0] == stream.next:
            record = held.pop(heappop(order))[0]
            self.bytes -= self._cost(record)
            if isinstance(record, _Excused):
                self._leave_out(stream, stream.next, stream.next)
            elif record is not None:
                self.ready.append(record)
            stream.next += 1
        self._waiting.pop(stream_id, None)
        if order:
            self._waiting[stream_id] = held[order[0]][1:]
        elif stream.closing != _OPENING:
            self._retire(stream_id, stream)

    # -- what is missing ------------------------------------------------------------------------------------

    def _is_over(self, stream: _Stream[R], clock: float, reached: int) -> bool:
        """Whether a stream has waited long enough since then."""
        patience = SETTLE if stream.next == _OPENING or reached < self.floor else self._patience
        if patience is None:
            return False
        return self._clock - clock >= patience or self._reached - reached >= patience * 1_000

    def _give_up(self, stream_id: str, reason: Literal["time", "memory", "end"]) -> None:
        """Let a stream go on behind what it waits for."""
        stream = self._streams[stream_id]
        clock, reached = self._waiting[stream_id]
        first, upper = max(stream.next, 0), stream.order[0]
        if stream.next != _OPENING and reached >= self.floor:
            waited = 0.0
            if reason == "time":
                waited = max(self._clock - clock, (self._reached - reached) / 1_000)
            self.ready.append(Gap(stream_id, first, upper - 1, waited, reason))
        if first < upper:  # a stream's beginning may be 0
            self._leave_out(stream, first, upper - 1)
        stream.next = upper
        self._go_on(stream_id, stream)

    def _leave_out(self, stream: _Stream[R], first: int, last: int) -> None:
        stream.missing.append((first, last))
        self._ranges += 1
        self._bound_ranges(stream)

    def _bound_ranges(self, stream: _Stream[R]) -> None:
        missing = stream.missing
        limit = MAX_RANGES if self._ranges <= _ALL_RANGES else 1
        while len(missing) > limit:
            missing[:2] = [(missing[0][0], missing[1][1])]
            self._ranges -= 1

    def _carve(self, stream: _Stream[R], sequence: int) -> bool:
        """Take a number out of those that were given up; False when it is not among them."""
        index = bisect_right(stream.missing, sequence, key=_first_of) - 1
        if index < 0 or sequence > stream.missing[index][1]:
            return False
        first, last = stream.missing[index]
        rest = [part for part in ((first, sequence - 1), (sequence + 1, last)) if part[0] <= part[1]]
        stream.missing[index : index + 1] = rest
        self._ranges += len(rest) - 1
        self._bound_ranges(stream)
        return True

    # -- to go on later -------------------------------------------------------------------------------------

    @property
    def held(self) -> list[R]:
        """The records that are held."""
        found = (entry[0] for stream_id in self._waiting for entry in self._streams[stream_id].held.values())
        return [record for record in found if record is not None and not isinstance(record, _Excused)]

    def snapshot(self) -> dict[str, StreamState]:
        """What was handed out of each stream, without what is held or ``ready``."""
        ahead: defaultdict[str, list[Range]] = defaultdict(list)
        late: defaultdict[str, list[int]] = defaultdict(list)
        for item in self.ready:
            if isinstance(item, Gap):
                ahead[item.stream_id].append((item.first, item.last))
            elif isinstance(item, Aside):
                continue
            elif item.late:
                late[item.stream_id].append(item.sequence)
            else:
                ahead[item.stream_id].append((item.sequence, item.sequence))
        states = {
            stream_id: _state(ahead[stream_id], late[stream_id], behind, [], [], behind - 1)
            for stream_id, behind in self._closed.items()
        }
        for stream_id, stream in self._streams.items():
            if stream.next != _OPENING:
                passed = sorted(number for number, entry in stream.held.items() if entry[0] is None)
                states[stream_id] = _state(
                    ahead[stream_id], late[stream_id], stream.next, stream.missing, passed, stream.closing
                )
        return states

    def restore(self, states: Mapping[str, StreamState], forgotten: str = "") -> None:
        """Go on from a ``snapshot``, and what was ``forgotten``; before the first ``feed``."""
        self.forgotten = forgotten
        for stream_id, state in states.items():
            stream = self._streams[stream_id] = _Stream(state.next)
            stream.missing = list(state.missing)
            self._ranges += len(stream.missing)
            stream.closing = state.closing
            for first, last in state.passed:
                for sequence in range(first, last + 1):
                    self._take(stream_id, stream, sequence, None, _OPENING)
            self._retire(stream_id, stream)

    # -- what is remembered ---------------------------------------------------------------------------------

    def _retire(self, stream_id: str, stream: _Stream[R]) -> None:
        """Keep of a stream that is closed and complete no more than that."""
        if stream.next > stream.closing != _OPENING and not (stream.order or stream.missing):
            del self._streams[stream_id]
            self._closed[stream_id] = stream.next
            if len(self._closed) > CLOSED_STREAMS:
                self.forgotten = max(self.forgotten, self._closed.popitem(last=False)[0])

    def _forget(self) -> None:
        """Forget a tenth of the streams: those that were not heard of for longest, unless they wait."""
        idle = [stream_id for stream_id, stream in self._streams.items() if not stream.order]
        idle.sort(key=lambda stream_id: self._streams[stream_id].seen)
        for stream_id in idle[: OPEN_STREAMS // 10]:
            self._ranges -= len(self._streams.pop(stream_id).missing)
            self.forgotten = max(self.forgotten, stream_id)


def _state(
    ahead: list[Range], late: list[int], behind: int, missing: list[Range], passed: list[int], closing: int
) -> StreamState:
    """The state of a stream as it was before what is ready was made ready.

    Args:
        ahead: Records and gaps that are ready, in order.
        late: Numbers of late records that are ready.
        behind: The stream's next number.
        missing: What was given up below it.
        passed: What was passed over above it, in order.
        closing: The number of the closing checkpoint.
    """
    low = min((first for first, _ in ahead), default=behind)
    below = [(first, min(last, low - 1)) for first, last in missing if first < low]
    below += [(number, number) for number in late if number < low]
    above = [(max(first, low), last) for first, last in missing if last >= low]
    above += ahead
    above += [(number, number) for number in late if number >= low]
    return StreamState(
        low, sorted(below), [*_between(low, behind, sorted(above)), *ranges_of(passed)], closing
    )


def _between(low: int, behind: int, holes: list[Range]) -> list[Range]:
    """What of the numbers from ``low`` to before ``behind`` lies in none of the holes."""
    found: list[Range] = []
    for first, last in [*holes, (behind, behind)]:
        if low < first:
            found.append((low, first - 1))
        low = max(low, last + 1)
    return found


def ranges_of(numbers: list[int]) -> list[Range]:
    """Rising numbers as ranges, both ends included."""
    found: list[Range] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found
