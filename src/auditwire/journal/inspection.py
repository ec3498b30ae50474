"""What lies in a journal path, for people: in come the files, out come numbers.

Nothing is changed and nothing is kept from anyone; a read-only medium will do. Whether a lock is held is
asked by a shared lock of an instant. That costs a stream's owner nothing, for it has its locks before the
stream's name can be seen; who looks in that instant for streams to deliver takes this one for looked after,
and looks again later.

`look` is quick, whatever waits: it counts by the headers of the segments and reads two of them, and it trusts
what it reads. What :mod:`auditwire.journal.contents` reads is all of it, with checksums.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.journal.contents import Damage, open_whole, read_parked
from auditwire.journal.cursor import Cursor
from auditwire.journal.layout import JournalPath, Target
from auditwire.journal.segment import Segment
from auditwire.journal.trees import names
from auditwire.journal.withheld import Unread, Withheld, text_of, unread_ranges, withheld_records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditwire.journal.cursor import Position
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem

__all__ = [
    "JournalStatus",
    "Parked",
    "StreamStatus",
    "held",
    "look",
    "open_path",
    "position_of",
]

_BATCH = 4096
_LOOKS = 3
_LOOK_AGAIN_SECONDS = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A topic that takes none of a stream's records.

    Attributes:
        topic: Its name.
        reason: Why, as the stream's sender was told; empty when nobody wrote it down.
        since: When that was first seen, ISO-8601; empty when nobody wrote it down.
        records: Copies of its records under ``parked/``; some of them may have been delivered since.
        bytes: Theirs.
    """

    topic: str
    reason: str = ""
    since: str = ""
    records: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """One stream.

    Attributes:
        stream_id: Its id.
        owner_alive: Whether the process that writes it lives, or a fork of it that holds its lock; None when
            that cannot be found out.
        served: Whether somebody sends its records; None when that cannot be found out.
        target: Where its records are to go; None when no file says it.
        service: The service that writes it, "" when no file says it.
        host: Its host.
        pid: Its process; None when no file says it.
        created: When it was begun, ISO-8601.
        pending_records: Records from the first one on that the broker has not acknowledged, parked copies not
            counted. It may have acknowledged some of those behind the first.
        pending_bytes: Theirs, up to the unused rest of a segment each.
        oldest_us: Timestamp of the first of them, microseconds since the epoch; None for none.
        next_sequence: One above the last record that lies there.
        parked: Topics that take none of its records.
        damage: What is wrong with the segments that were looked at, and with their headers.
        last_error: What its sender complained of last, "" for nothing.
    """

    stream_id: str
    owner_alive: bool | None
    served: bool | None
    target: Target | None
    service: str
    host: str
    pid: int | None
    created: str
    pending_records: int = 0
    pending_bytes: int = 0
    oldest_us: int | None = None
    next_sequence: int = 0
    parked: list[Parked] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatus:
    """A journal path.

    Attributes:
        path: Absolute, links followed.
        used_bytes: Of all files, in whole blocks.
        streams: Oldest first.
        withheld: Records that the broker refuses for good.
        unread: Ranges in which nothing could be read.
        ended: Lines ``stream:sequence:digest``: delivered streams that no later one has named yet.
        strangers: What lies here and is none of the journal's.
    """

    path: str
    used_bytes: int
    streams: list[StreamStatus]
    withheld: list[Withheld]
    unread: list[Unread]
    ended: list[str]
    strangers: list[str]


def open_path(fs: FileSystem, path: str) -> JournalPath | None:
    """A journal path that is there; None when there is none: nothing is made.

    An empty directory is one in which nothing was written yet; one in which only other things lie is none.

    Raises:
        OSError: It cannot be read.
    """
    try:
        journal = JournalPath.look(fs, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    strangers = journal.strangers()
    ours = set(names(fs, journal.path)) - set(strangers)
    return journal if ours or not strangers else None


def look(journal: JournalPath) -> JournalStatus:
    """The state of a journal path; what changes while it is looked at is seen before or after the change.

    Raises:
        OSError: A file cannot be read.
    """
    streams = [
        status
        for stream_id in journal.streams()
        if (status := _look_at(journal.fs, journal.open_stream(stream_id))) is not None
    ]
    return JournalStatus(
        path=journal.path,
        used_bytes=journal.used(),
        streams=streams,
        withheld=withheld_records(journal),
        unread=unread_ranges(journal),
        ended=journal.ended(),
        strangers=journal.strangers(),
    )


# -- one stream ---------------------------------------------------------------------------------------------


def held(ask: Callable[[], bool]) -> bool | None:
    """Whether somebody holds a lock for longer than an instant; None when that cannot be found out.

    Args:
        ask: `StreamDirectory.owner_alive`, or `StreamDirectory.sent`.
    """
    for look_again in range(_LOOKS):
        if look_again:
            time.sleep(_LOOK_AGAIN_SECONDS)
        try:
            if not ask():
                return False
        except OSError:
            return None
    return True


def position_of(fs: FileSystem, directory: StreamDirectory) -> Position | None:
    """How far a stream has come, as its cursor says; None where there is no whole one."""
    cursor = Cursor.open(fs, directory.cursor_path, writable=False)
    try:
        return cursor.read()
    finally:
        cursor.close()


def _look_at(fs: FileSystem, directory: StreamDirectory) -> StreamStatus | None:
    """None for a stream that was delivered and removed meanwhile."""
    alive, served = held(directory.owner_alive), held(directory.sent)
    heads, damage = _heads(fs, directory, alive=alive is not False)
    try:
        info = directory.info() or next((segment.info for segment in heads), {})
        position = position_of(fs, directory)
        waiting = _waiting(heads, 0 if position is None else position.low)
    finally:
        for segment in heads:
            segment.close()
    state = directory.read_state() or {}
    if state.get("orphan") is True:  # who delivers it holds the lock of the owner, which has ended
        alive = False
    parked = _parked(fs, directory, state, damage, served=served is not False)
    if not fs.exists(directory.path):
        return None
    pid = info.get("pid")
    return StreamStatus(
        stream_id=directory.stream_id,
        owner_alive=alive,
        served=served,
        target=Target.from_info(info),
        service=text_of(info, "service"),
        host=text_of(info, "host"),
        pid=pid if isinstance(pid, int) else None,
        created=text_of(info, "created"),
        pending_records=waiting.records,
        pending_bytes=waiting.bytes,
        oldest_us=waiting.oldest_us,
        next_sequence=waiting.end,
        parked=parked,
        damage=damage,
        last_error=text_of(state, "last_error"),
    )


def _heads(fs: FileSystem, directory: StreamDirectory, *, alive: bool) -> tuple[list[Segment], list[Damage]]:
    """The segments, open, and what is wrong with the headers of the others."""
    heads: list[Segment] = []
    damage: list[Damage] = []
    numbers = directory.segments()
    for number in numbers:
        opened = open_whole(fs, directory, f"{number:08d}.seg")
        if isinstance(opened, Segment):
            heads.append(opened)
        elif opened is not None and not (alive and number == numbers[-1]):
            damage.append(opened)
    return heads, damage


class _Waiting(NamedTuple):
    records: int
    bytes: int
    oldest_us: int | None
    end: int


def _waiting(heads: list[Segment], low: int) -> _Waiting:
    """What there is from ``low`` on: how much, since when, and the number behind it."""
    if not heads:
        return _Waiting(0, 0, None, 0)
    low = max(low, heads[0].first_sequence)
    # the last one that begins at it or below: after a medium's error a later one may begin below an earlier
    begin = max(number for number, segment in enumerate(heads) if segment.first_sequence <= low)
    at, sequence, oldest = _walk(heads[begin], low)
    last = heads[-1]
    if begin == len(heads) - 1:
        end, after = _end(last, at, sequence)
        return _Waiting(max(0, after - low), end - at, oldest, after)
    end, after = _end(last, last.start, last.first_sequence)
    size = heads[begin].size - at + end - last.start
    size += sum(segment.size - segment.start for segment in heads[begin + 1 : -1])
    if oldest is None:  # all of this segment is done
        oldest = _walk(heads[begin + 1], low)[2]
    records = max(0, after - low)
    return _Waiting(records, size if records else 0, oldest if records else None, after)


def _walk(segment: Segment, low: int) -> tuple[int, int, int | None]:
    """Offset, sequence and timestamp of a segment's first record that is not below ``low``, or of its end."""
    offset, sequence = segment.start, segment.first_sequence
    while True:
        before = offset
        records, offset = segment.take(offset, sequence, _BATCH, verify=False)
        if not records:
            return offset, sequence, None
        for record in records:
            if record.sequence >= low:
                return before, record.sequence, record.timestamp_us
            before += record.size
        sequence = records[-1].sequence + 1


def _end(segment: Segment, offset: int, sequence: int) -> tuple[int, int]:
    """Where a segment's records end, and the sequence that the next one has or would have."""
    while True:
        records, offset = segment.take(offset, sequence, _BATCH, verify=True)
        if not records:
            return offset, sequence
        sequence = records[-1].sequence + 1


def _parked(
    fs: FileSystem,
    directory: StreamDirectory,
    state: Mapping[str, Any],
    damage: list[Damage],
    *,
    served: bool,
) -> list[Parked]:
    """Topics that take none: those that the sender wrote down, and those whose copies lie there."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for found in read_parked(fs, directory, alive=served):
        if isinstance(found, Damage):
            damage.append(found)
        else:
            counts[found.topic] += 1
            sizes[found.topic] += found.size
    written = state.get("parked")
    said: dict[str, Any] = written if isinstance(written, dict) else {}
    return [
        Parked(
            topic=topic,
            reason=text_of(said.get(topic), "reason"),
            since=text_of(said.get(topic), "since"),
            records=counts[topic],
            bytes=sizes[topic],
        )
        for topic in sorted(said.keys() | counts.keys())
    ]
