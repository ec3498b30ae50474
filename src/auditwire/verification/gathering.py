"""Reads a trail's topics and writes down what a check needs of each record.

In come broker, prefix and bounds, out come files of facts (:mod:`.facts`) and what was met on the way. It is
the part of a check that costs the most; several processes can each take some of the partitions.

**Ends.** A record may arrive later than a checkpoint that says it has arrived: topics are read one after the
other, and while one is read the others grow. So the ends E1 of all partitions are taken first, and only the
checkpoints below them say what must be there. After all E1, of every process, new ends E2 are taken and read
to: what such a checkpoint vouches for lies below E2.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from auditwire.errors import AuditwireError
from auditwire.events import ALL_TYPES
from auditwire.reading.client import Client, name_of
from auditwire.reading.partitions import Partitions
from auditwire.verification.facts import FactWriter
from auditwire.wire import topic_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    from auditwire.errors import DecodingError
    from auditwire.reading.record import ClientMessage, Place
    from auditwire.verification.state import KnownPartition

__all__ = ["Gathered", "NotTheSameError", "Source", "gather", "partitions_of", "topics_of"]

_SLICE = 0.25  # seconds of the longest wait inside the client: what Ctrl-C waits for
_TELL_EVERY = 0.2

_MEMORY = 24 << 20
"""Bytes of facts in memory; with the client's queues a process stays below 300 MB, whatever it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is read. It crosses to other processes by pickle.

    Attributes:
        bootstrap_servers: As for :class:`~auditwire.reading.Reader`, with the next three.
        config: librdkafka's properties.
        prefix: The topics' prefix.
        topics: Event type -> topic, for the types that are not on ``<prefix>.<type>``.
        since_ms: Kafka timestamps from here on, milliseconds since the Unix epoch; None: from the beginning.
        until_ms: Kafka timestamps before it, and an hour more, so that what was on its way arrives; None: to
            the end.
        sessions: Session ids; only streams with a record of one are reported. Empty: all streams.
        timeout: Seconds that the broker may be silent.
    """

    bootstrap_servers: str | None
    prefix: str
    config: Mapping[str, Any] = field(default_factory=dict)
    topics: Mapping[str, str] = field(default_factory=dict)
    since_ms: int | None = None
    until_ms: int | None = None
    sessions: frozenset[str] = frozenset()
    timeout: float = 30.0


@dataclass(slots=True, kw_only=True)
class Gathered:
    """What was read.

    Attributes:
        runs: The files of facts.
        messages: How many messages.
        undecodable: Those that are no records, by reason.
        topics: The topics that there are.
        log_starts: Of each partition the first offset that the broker still has.
        starts: Of each partition where reading began.
        positions: Of each partition where it ended.
        lasts: Of each partition the offset of the last message, and the SHA-256 of its value.
    """

    runs: list[Path] = field(default_factory=list)
    messages: int = 0
    undecodable: Counter[str] = field(default_factory=Counter)
    topics: set[str] = field(default_factory=set)
    log_starts: dict[Place, int] = field(default_factory=dict)
    starts: dict[Place, int] = field(default_factory=dict)
    positions: dict[Place, int] = field(default_factory=dict)
    lasts: dict[Place, tuple[int, bytes]] = field(default_factory=dict)

    def add(self, other: Gathered) -> None:
        """Take in what another process read."""
        self.runs += other.runs
        self.messages += other.messages
        self.undecodable.update(other.undecodable)
        self.topics |= other.topics
        self.log_starts.update(other.log_starts)
        self.starts.update(other.starts)
        self.positions.update(other.positions)
        self.lasts.update(other.lasts)


class NotTheSameError(AuditwireError):
    """A partition is not the one that the state knows: the topic was made anew, or its end was cut off."""


def topics_of(source: Source) -> set[str]:
    """The topics to read."""
    return {source.topics.get(name) or topic_name(source.prefix, name) for name in ALL_TYPES}


def partitions_of(source: Source) -> dict[Place, int]:
    """The partitions that there are now, and how many offsets each holds.

    Raises:
        ConfigurationError: A setting is refused.
        BrokerError: The broker is away, or refuses.
    """
    client = Client(
        source.bootstrap_servers, source.config, timeout=source.timeout, follow=False, undecodable=Counter()
    )
    try:
        found = client.find(topics_of(source), must_exist=False)
        starts, ends = client.log_starts(found), client.ends(found)
        return {place: ends[place] - starts[place] for place in found}
    finally:
        client.close()


def gather(
    source: Source,
    directory: Path,
    *,
    only: Collection[Place] | None = None,
    known: Mapping[Place, KnownPartition] | None = None,
    counted: bool = True,
    on_began: Callable[[], None] = lambda: None,
    all_began: Callable[[], None] = lambda: None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Gathered:
    """Read to E1, take E2, read to E2.

    Args:
        source: What to read.
        directory: Where the facts go; it exists.
        only: Read these partitions alone.
        known: Go on where these partitions were read to, after looking whether they are still the same ones.
        counted: False where the partitions were found after another process's E2: their checkpoints may
            speak of records that it has not read.
        on_began: Called when E1 is taken.
        all_began: Returns when all processes that share the work have taken their E1.
        on_progress: Gets how many offsets were read, and how many there are to read; a few times a second.

    Raises:
        ConfigurationError: A setting is refused.
        BrokerError: The broker is away, or refuses.
        NotTheSameError: A known partition is another one now.
        OSError: The facts cannot be written.
    """
    out = Gathered()
    expected = {} if known is None else {p: k for p, k in known.items() if only is None or p in only}
    with FactWriter(
        directory, topics=source.topics, sessions=source.sessions or None, memory=_MEMORY
    ) as writer:
        partitions = Partitions(
            source.bootstrap_servers,
            source.config,
            wanted=topics_of(source),
            timeout=source.timeout,
            undecodable=out.undecodable,
            since_ms=source.since_ms,
            until_ms=source.until_ms,
            starts={place: k.resume_at for place, k in expected.items()},
            only=only,
        )
        try:
            first_ends = dict(partitions.ends) if counted else {}
            recheck = _Recheck(expected, partitions)
            on_began()
            due = 0.0
            for ends in (1, 2):
                if ends > 1:
                    all_began()
                    partitions.extend()
                while not partitions.finished:
                    for place, fetched in partitions.fetch_runs(_SLICE):
                        run = recheck.without_known(place, fetched) if recheck.left else fetched
                        if run:
                            _take(run, place, first_ends.get(place, 0), source.until_ms, writer, out)
                    if (now := time.monotonic()) >= due:
                        due = now + _TELL_EVERY
                        _tell(partitions, on_progress)
                recheck.refuse_unseen()
            _tell(partitions, on_progress)
            out.topics = partitions.topics
            out.starts, out.positions = partitions.starts, partitions.positions
            out.log_starts = partitions.log_starts
        finally:
            partitions.close()
        out.runs = writer.close()
        out.undecodable += writer.undecodable
    return out


def _take(
    run: list[ClientMessage],
    place: Place,
    first_end: int,
    until_ms: int | None,
    writer: FactWriter,
    out: Gathered,
) -> None:
    """Write down what came from one partition."""

    def on_undecodable(_message: ClientMessage, error: DecodingError) -> None:
        out.undecodable[error.reason] += 1

    if run[-1].offset() < first_end and until_ms is None:
        writer.add_run(place, run, counted=True, on_undecodable=on_undecodable)
    else:
        for counted in (True, False):
            part = [m for m in run if counted is _counts(m, first_end, until_ms)]
            writer.add_run(place, part, counted=counted, on_undecodable=on_undecodable)
    out.messages += len(run)
    out.lasts[place] = run[-1].offset(), _digest(run[-1])


def _counts(message: ClientMessage, first_end: int, until_ms: int | None) -> bool:
    # a checkpoint that is younger than what is asked for may speak of records that are not read
    return message.offset() < first_end and (until_ms is None or message.timestamp()[1] < until_ms)


def _tell(partitions: Partitions, on_progress: Callable[[int, int], None]) -> None:
    starts, ends, positions = partitions.starts, partitions.ends, partitions.positions
    done = sum(positions[place] - start for place, start in starts.items())
    on_progress(done, sum(max(ends[place] - start, 0) for place, start in starts.items()))


class _Recheck:
    """Whether the known partitions are still the same ones: the last message read is there, unchanged.

    It is read again and not taken a second time.

    Args:
        expected: What is known.
        partitions: What there is.

    Raises:
        NotTheSameError: A partition is gone, or ends before it did.
    """

    def __init__(self, expected: Mapping[Place, KnownPartition], partitions: Partitions) -> None:
        self.left: dict[Place, KnownPartition] = {}
        self._same: set[Place] = set()
        for place, known in expected.items():
            if place not in partitions.starts:
                raise NotTheSameError(f"{name_of(place)} is gone")
            if partitions.ends[place] < known.next_offset:
                raise NotTheSameError(
                    f"{name_of(place)} was read to offset {known.next_offset}, and ends at "
                    f"{partitions.ends[place]} now"
                )
            # retention may have removed it meanwhile; that is no sign of another topic
            if known.last_offset >= partitions.log_starts[place]:
                self.left[place] = known

    def without_known(self, place: Place, run: list[ClientMessage]) -> list[ClientMessage]:
        """The messages of a partition but for what was read before, whose last record is compared.

        Raises:
            NotTheSameError: It is another one, or is not there.
        """
        known = self.left.get(place)
        if known is None:
            return run
        if place not in self._same:
            first = run[0]
            if first.offset() != known.last_offset or _digest(first) != known.digest:
                raise NotTheSameError(
                    f"{name_of(place)} has another message at offset {known.last_offset} than it had"
                )
            self._same.add(place)
        if run[-1].offset() >= known.next_offset - 1:
            del self.left[place]
        return [message for message in run if message.offset() >= known.next_offset]

    def refuse_unseen(self) -> None:
        """Refuse partitions that were read to their ends without the known message.

        Raises:
            NotTheSameError: There is one.
        """
        for place, known in self.left.items():
            if place not in self._same:
                raise NotTheSameError(
                    f"{name_of(place)} has no message at offset {known.last_offset} any more"
                )


def _digest(message: ClientMessage) -> bytes:
    return sha256(message.value() or b"").digest()
