"""One topic's records on their way: those that wait for its number of partitions, and its lanes."""

from __future__ import annotations

import logging
from heapq import merge
from typing import TYPE_CHECKING

from auditwire.delivery.backlog import Backlog
from auditwire.delivery.lanes import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from auditwire.delivery.backlog import Hold, Place
    from auditwire.delivery.feed import Feed
    from auditwire.journal import Record

__all__ = ["RETRY_FIRST", "RETRY_LAST", "TopicQueue"]

log = logging.getLogger("auditwire")

RETRY_FIRST, RETRY_LAST = 0.5, 30.0
"""Seconds until a parked topic is tried again, doubled each time."""

_KEYS = 1_024
_NOWHERE: tuple[int, None] = 0, None

KEEP_RECORDS, KEEP_BYTES = 64, 64 << 10
"""What each lane keeps in memory when memory is short."""


class TopicQueue:
    """What the router knows of one topic. For the sender's thread; times are monotonic seconds.

    Args:
        name: The topic.
        hold: Counts what is in memory.
        place: The partition of a key, among so many.
    """

    __slots__ = (
        "_hold",
        "_place",
        "_placed",
        "check_at",
        "flows",
        "lanes",
        "name",
        "partitions",
        "pause",
        "reason",
        "retry_at",
        "waiting",
    )

    def __init__(self, name: str, hold: Hold, place: Callable[[bytes, int], int]) -> None:
        self.name = name
        self._hold = hold
        self._place = place
        self.partitions = 0
        """How many there are; 0 while that is not known."""
        self.lanes: dict[int, Lane] = {}
        self._placed: dict[bytes, tuple[int, Lane]] = {}  # key -> its lane, among so many partitions
        self.waiting = Backlog(hold)
        """Records that came before the number of partitions was known."""
        self.flows = False
        """Whether records go to their lanes at once: the partitions are known, and nothing waits for them."""
        self.reason: str | None = None
        """Why it is parked; kept until a record was acknowledged again."""
        self.retry_at = 0.0
        self.check_at = 0.0
        self.pause = 0.0

    def wait(self, item: Record | Place) -> None:
        """Take what has to wait for the number of partitions, or behind what does."""
        self.flows = False
        self.waiting.put(item)

    def to_lane(self, record: Record, now: float) -> Lane:
        """Put a record into the lane of its partition."""
        key = record.key
        partitions, lane = self._placed.get(key, _NOWHERE)
        if lane is None or partitions != self.partitions:
            lane = self._lane_of(key, now)
        lane.backlog.append(record)
        return lane

    def _lane_of(self, key: bytes, now: float) -> Lane:
        partition = self._place(key, self.partitions)
        lane = self.lanes.get(partition)
        if lane is None:
            lane = self.lanes[partition] = Lane(self.name, partition, self._hold)
            if self.reason is not None:
                lane.narrow_to(0, now)  # a parked topic is tried with one record
        if len(self._placed) >= _KEYS:
            self._placed.clear()
        self._placed[key] = self.partitions, lane
        return lane

    def park(self, reason: str, now: float) -> None:
        """It takes no records: they wait, and it is tried again after a pause."""
        if now >= self.retry_at:  # else another lane has parked it already: one pause for one attempt
            self.pause = min(RETRY_LAST, max(RETRY_FIRST, self.pause * 2))
            self.retry_at = self.check_at = now + self.pause
        if self.reason != reason:
            log.warning("topic %s takes no records (%s): they wait, and are tried again", self.name, reason)
        self.reason = reason

    def recovered(self) -> None:
        """A record was acknowledged."""
        if self.reason is not None:
            log.info("topic %s takes records again", self.name)
            self.reason = None
            self.pause = 0.0
            for lane in self.lanes.values():
                lane.widen()

    def spill(self) -> None:
        """Memory is short: keep in memory only what is next, and nothing that cannot go now."""
        self.waiting.spill(0, 0)
        for lane in self.lanes.values():
            goes = self.reason is None and lane.unacked < lane.window
            lane.backlog.spill(KEEP_RECORDS if goes else 0, KEEP_BYTES)

    def places(self, feed: Feed) -> Iterator[Iterator[Place]]:
        """Where a feed's records lie that wait here, of each queue in order; all of them leave memory."""
        for backlog in self._backlogs():
            backlog.spill(0, 0)
            yield backlog.places(feed)

    def relocate(self, feed: Feed, moved: Mapping[int, int]) -> None:
        """Records that ``places`` named lie elsewhere now: sequence -> position."""
        for backlog in self._backlogs():
            backlog.relocate(feed, moved)

    def _backlogs(self) -> list[Backlog]:
        for lane in self.lanes.values():
            lane.settle_order()
        return [self.waiting, *(lane.backlog for lane in self.lanes.values())]

    def forget_partitions(self) -> None:
        """What waits in lanes waits again for the number of partitions, of each stream in its own order."""
        self.partitions = 0
        self.flows = False
        self.check_at = 0.0
        found: dict[Feed, list[Iterator[Record | Place]]] = {}
        for lane in self.lanes.values():
            for feed, items in lane.drain().items():
                found.setdefault(feed, []).append(items)
        later, self.waiting = self.waiting, Backlog(self._hold)  # these came after all that had a lane
        for several in found.values():
            for item in merge(*several, key=lambda item: item.sequence):
                self.waiting.put(item)
        for items in later.drain().values():
            for item in items:
                self.waiting.put(item)
