"""Delivers streams that other processes left on the journal path, beside the sender's own.

A stream whose ``owner.lock`` can be had is an *orphan*: its process ended without delivering everything.
Whoever has its ``sender.lock`` delivers it, and nobody else does. When all that can be read was taken, what
was found is stated in ``recovery`` records of the adopter's own stream (none after a closing checkpoint of an
undamaged stream); when everything and the statement is acknowledged, the stream's last record is noted for
the next stream to name, and the directory is removed. A stop at any point leaves the rest to the next
adopter; what was sent twice, and statements that were made twice, are equal.

A stream that goes to another cluster or prefix is left alone, and shown. What fails is logged, counted and
tried again with growing pauses; one stream that fails holds up no other.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from auditwire.delivery.foreign import ForeignFeed
from auditwire.delivery.recovered import statements
from auditwire.errors import AuditwireError
from auditwire.journal.reader import StreamReader
from auditwire.journal.segment import Segment, SegmentDamaged
from auditwire.journal.target import Target, boot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditwire.delivery.around import Around
    from auditwire.delivery.feed import Feed
    from auditwire.events import RecoveryEvent
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.layout import JournalPath
    from auditwire.journal.locks import Lock

__all__ = ["LOOK_SECONDS", "MOST", "Adopter", "Adoption"]

log = logging.getLogger("auditwire")

LOOK_SECONDS = 10.0
"""How often the journal path is looked through, unless said otherwise."""

MOST = 8
"""Orphans that are read at once, the oldest first."""

MOST_WAITING = 64
"""Orphans at once, with those that were read to their end and wait for acknowledgements."""

ALIVE_SECONDS = 1.0
"""How often it is looked whether the owner of a live stream still lives."""

RETRY_FIRST, RETRY_LAST = 1.0, 60.0
"""Seconds until a stream that failed is tried again, doubled each time."""

GIVEN_UP_SECONDS = 600.0
"""Seconds until a stream that cannot be delivered is taken up again."""


@dataclass(frozen=True)
class Adoption:
    """What an adopter may take.

    Attributes:
        path: The journal path.
        target: Where the sender's records go.
        serve_live: Whether streams of living owners, who leave delivery to others, are delivered too.
        look_seconds: How often the journal path is looked through.
    """

    path: JournalPath
    target: Target
    serve_live: bool = False
    look_seconds: float = LOOK_SECONDS


class _Case:
    """A stream that is being delivered, and how far its end has come."""

    def __init__(self, feed: ForeignFeed) -> None:
        self.feed = feed
        self.reader: StreamReader | None = None
        self.statement: Iterator[RecoveryEvent | None] | None = None
        self.unwritten: RecoveryEvent | None = None
        self.told = False
        self.written: deque[tuple[int, int]] = deque()
        """Of each recovery record that is not acknowledged: its sequence in the adopter's own stream, and the
        sequence of this stream below which it and those before it list everything that can be read."""
        self.removing = False
        """Whether it is delivered to its end, and its directory may be partly removed."""
        self.retry_at = 0.0
        self.pause = 0.0

    def begin_again(self) -> None:
        """The statement could not be made to its end."""
        if self.reader is not None:
            self.reader.close()
        self.reader = self.statement = self.unwritten = None

    def close(self) -> None:
        self.begin_again()
        self.feed.close()


class Adopter:
    """See the module. For the sender's thread; the properties are for any. Times are monotonic seconds.

    Args:
        adoption: What may be taken.
        around: The sender's parts.
    """

    def __init__(self, adoption: Adoption, around: Around) -> None:
        self._path = adoption.path
        self._target = adoption.target
        self._serve_live = adoption.serve_live
        self._look_seconds = adoption.look_seconds
        self._around = around
        self._own = around.own
        self._feeds = around.feeds
        self._fault = around.fault
        self._cases: dict[str, _Case] = {}
        self._look_at = 0.0
        self._failed: dict[str, tuple[float, float]] = {}  # stream -> tried again at, pause
        self.left_alone: dict[str, str] = {}
        """Stream -> where it goes, for those that go elsewhere."""
        self.waiting = 0
        """Streams that may be taken and were not at the last look: too many at once, or failed."""
        self.looked = False
        """Whether the path was looked through at all."""
        self.finished = 0
        """Streams that were delivered to their end, and removed."""
        self._delivered = 0  # events of those that are no longer being delivered

    # -- any thread -------------------------------------------------------------------------------------

    @property
    def pending(self) -> dict[str, int]:
        """Stream -> records that were read of it and are not acknowledged, for those being delivered."""
        return {name: case.feed.pending for name, case in list(self._cases.items())}

    @property
    def delivered(self) -> int:
        """Events of other streams that the broker acknowledged, control records not counted."""
        feeds = [case.feed for case in list(self._cases.values())]
        return self._delivered + sum(feed.done - feed.control_done for feed in feeds)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be delivered, live streams aside, as of the last look."""
        orphans = any(not case.feed.reader_lives for case in list(self._cases.values()))
        return self.looked and not orphans and not self.waiting

    @property
    def serves_live(self) -> bool:
        """Whether a stream is being delivered whose owner may still write."""
        return any(case.feed.reader_lives for case in list(self._cases.values()))

    # -- the sender's thread ----------------------------------------------------------------------------

    def step(self, now: float) -> None:
        """Look for streams when it is time, and bring to an end those that have been read."""
        if now >= self._look_at:
            self._look_at = now + self._look_seconds
            try:
                self._look(now)
            except OSError:
                self._fault("the journal path could not be looked through")
        for case in list(self._cases.values()):
            if now < case.retry_at:
                continue
            try:
                if self._bring_on(case, now):
                    self._drop(case)
                    self.finished += 1
                    self._look_at = min(self._look_at, now)  # there may be room for another one
            except (OSError, AuditwireError):
                self.failed(case.feed, now)
            except Exception:  # noqa: BLE001 - what one stream's files hold must not stop all others
                self.give_up(case.feed, now)

    def may_take(self, feed: Feed, now: float) -> bool:
        """Whether a feed, one of those of the sender, is not in a pause after a failure."""
        case = self._cases.get(feed.stream_id)
        return case is None or now >= case.retry_at

    def failed(self, feed: Feed, now: float) -> None:
        """A stream's files did not do what was asked of them: log the exception, and pause."""
        case = self._cases.get(feed.stream_id)
        if case is None:
            return
        if self._is_gone(case):
            return
        case.begin_again()
        case.pause = min(RETRY_LAST, max(RETRY_FIRST, case.pause * 2))
        case.retry_at = now + case.pause
        self._fault(f"the journal of stream {feed.stream_id} could not be used: it is tried again")

    def give_up(self, feed: Feed, now: float) -> None:
        """A stream's files do what nobody has thought of: log the exception, and let go of it for long.

        What was read of it may not have come through; it is read again from the beginning then.
        """
        case = self._cases.get(feed.stream_id)
        if case is not None:
            self._fault(f"the journal of stream {feed.stream_id} cannot be delivered: it is left for a while")
            self._failed[feed.stream_id] = now + GIVEN_UP_SECONDS, RETRY_LAST
            self._drop(case)

    def _is_gone(self, case: _Case) -> bool:
        """Whether somebody has removed a stream's directory; it is let go of then."""
        feed = case.feed
        if case.removing or self._path.fs.exists(feed.directory.path):
            return False
        log.error(
            "the journal of stream %s was removed by somebody: what it still held is lost, from record %d on",
            *(feed.stream_id, feed.low),
        )
        self._drop(case)
        return True

    def close(self) -> None:
        """Let go of all streams; what is not delivered waits for the next adopter."""
        for case in list(self._cases.values()):
            self._drop(case)

    def abandon(self) -> None:
        """In a forked child: all of this is the parent's."""
        for case in self._cases.values():
            case.feed.abandon()
            if case.reader is not None:
                case.reader.abandon()

    def _drop(self, case: _Case) -> None:
        feed = case.feed
        if self._cases.pop(feed.stream_id, None) is None:
            return
        self._delivered += feed.done - feed.control_done
        self._feeds.remove(feed)
        try:
            case.close()
        except OSError:
            self._fault(f"the journal of stream {feed.stream_id} could not be closed")

    # -- looking ----------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        left_alone: dict[str, str] = {}
        waiting = 0
        streams = self._path.streams()
        for stream_id in streams:
            if stream_id == self._own.stream_id or stream_id in self._cases:
                continue
            again_at, pause = self._failed.get(stream_id, (0.0, 0.0))
            if now < again_at:
                waiting += 1
                continue
            try:
                waiting += self._consider(stream_id, left_alone, now)
                self._failed.pop(stream_id, None)
            except Exception:  # noqa: BLE001 - one stream's files must not stop all others; it is logged
                waiting += 1
                pause = min(RETRY_LAST, max(RETRY_FIRST, pause * 2))
                self._failed[stream_id] = now + pause, pause
                self._fault(f"the journal of stream {stream_id} could not be adopted: it is tried again")
        for stream_id in self._failed.keys() - set(streams):
            del self._failed[stream_id]
        for error in self._path.sweep():
            log.debug("a leftover of the journal could not be removed: %s", error)
        self.left_alone, self.waiting, self.looked = left_alone, waiting, True

    def _consider(self, stream_id: str, left_alone: dict[str, str], now: float) -> bool:
        """Take a stream if it may be taken; whether it could be, but has to wait."""
        directory = self._path.open_stream(stream_id)
        info = _description(self._path, directory)
        target = Target.from_info(info)
        if target is None and directory.segments():
            left_alone[stream_id] = "unknown: its description cannot be read"
            return False
        if target is not None and not self._target.accepts(target):
            left_alone[stream_id] = f"{target.bootstrap or 'any cluster'}, prefix {target.prefix}"
            return False
        owner = directory.take_owner()
        if owner is None and not (self._serve_live and directory.owner_alive()):
            return False
        return self._take(directory, info or {}, owner, now)

    def _take(self, directory: StreamDirectory, info: dict[str, Any], owner: Lock | None, now: float) -> bool:
        """With the owner's lock, or beside a living owner."""
        around, locks = self._around, [owner]
        try:
            feeds = [case.feed for case in self._cases.values() if not case.feed.reader_lives]
            # those of which all was read wait for topics that may take nothing for days: the next ones begin
            if owner is not None and (
                len(feeds) >= MOST_WAITING or sum(not feed.at_end for feed in feeds) >= MOST
            ):
                return True
            sender = directory.take_sender()
            if sender is None:
                return False  # somebody else delivers it
            locks.append(sender)
            feed = ForeignFeed(
                self._path,
                directory,
                info,
                sender=sender,
                owner=owner,
                live=_Watch(directory, around.monotonic),
                put=around.router.put_place,
                now=now,
                hold=around.hold,
                budget=around.budget,
            )
            locks.clear()  # the feed's from now on
        finally:
            for lock in locks:
                if lock is not None:
                    lock.release()
        self._cases[directory.stream_id] = _Case(feed)
        self._feeds.append(feed)
        log.info(
            "the journal of stream %s (%s) is delivered%s",
            *(directory.stream_id, info.get("service", "unknown service")),
            "" if owner is not None else " for its owner",
        )
        return False

    # -- the end of a stream ----------------------------------------------------------------------------

    def _bring_on(self, case: _Case, now: float) -> bool:
        """One step towards the end of a stream; True when it is removed."""
        feed = case.feed
        if not feed.keep_unreadable(self._around.wall_us()) or not feed.at_end or self._is_gone(case):
            return False
        if feed.owner is None:
            feed.owner = feed.directory.take_owner()
            if feed.owner is None:
                return False  # somebody looks whether it is held, in this instant
        if not case.told:
            self._tell(case)
        own = self._own.window
        while case.written and own.is_done(case.written[0][0]):
            feed.stated(
                case.written.popleft()[1]
            )  # segments go one by one: the statement may need their room
        if not case.told or case.written or feed.waits:
            return False
        feed.move(now, last=True)
        if feed.last is not None and not case.removing:
            digest = sha256(feed.last.body).hexdigest()
            self._path.note_ended(f"{feed.stream_id}:{feed.last.sequence}:{digest}")
        case.removing = True
        feed.directory.remove()
        log.info("the journal of stream %s is delivered to its end and removed", feed.stream_id)
        return True

    def _tell(self, case: _Case) -> None:
        """One step towards all recovery records being written."""
        feed = case.feed
        last = -1 if feed.last is None else feed.last.sequence
        if not feed.damaged and (feed.closed or feed.last is None):
            case.told = True
            return
        if case.statement is None:
            case.reader = StreamReader(self._path.fs, feed.directory, live=lambda: False, moves=False)
            case.statement = statements(
                case.reader,
                feed.stream_id,
                first=feed.unlisted_from,
                last=last,
                unreadable=feed.unreadable,
                machine_restarted=_restarted(feed.info),
            )
        if case.unwritten is None:
            try:
                case.unwritten = next(case.statement)
            except StopIteration:
                case.told = True
                if case.reader is not None:
                    case.reader.close()
                return
        if case.unwritten is not None:
            sequence = self._around.control.append(case.unwritten, frees=not feed.waits)
            if sequence is not None:  # else there is no room: in a later round
                event, case.unwritten = case.unwritten, None
                case.written.append((sequence, event.first_sequence + len(event.entries)))


class _Watch:
    """Whether a stream's owner lives, looked at once in a while."""

    def __init__(self, directory: StreamDirectory, monotonic: Callable[[], float]) -> None:
        self._directory = directory
        self._monotonic = monotonic
        self._next = monotonic() + ALIVE_SECONDS

    def __call__(self) -> bool:
        now = self._monotonic()
        if now < self._next:
            return True
        self._next = now + ALIVE_SECONDS
        return self._directory.owner_alive()


def _restarted(info: dict[str, Any]) -> bool:
    before, now = info.get("boot_id"), boot_id()
    return bool(before and now) and before != now


def _description(path: JournalPath, directory: StreamDirectory) -> dict[str, Any] | None:
    """What the stream says of itself: each segment says it again."""
    info = directory.info()
    if info is not None:
        return info
    for number in directory.segments():
        try:
            segment = Segment.open(path.fs, directory.segment_path(number), mapped=False)
        except SegmentDamaged:
            continue
        segment.close()
        return segment.info
    return None
