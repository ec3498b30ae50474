"""What parked topics mean for a journal on disk: copies of their records when room is short, and state.json.

The records of a topic that takes none stay where they are, in segments that everything around them has left.
**Only when the journal is under pressure**, and a stream's oldest segment is held by such records alone, they
are copied to ``parked/`` (:mod:`auditwire.journal.parked`) and the segment goes. Copying each at once would
cost every short refusal, such as a topic that is being created, two more writes and a sync; done this way a
short one costs nothing, and a long one still cannot fill the journal with what others have delivered.
Where more than half of the records are parked nothing is copied: it would free less than it takes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from auditwire.delivery.foreign import ForeignFeed
from auditwire.delivery.quarantine import iso
from auditwire.errors import AuditwireError
from auditwire.journal.format import PARKED
from auditwire.journal.parked import ParkedLog

if TYPE_CHECKING:
    from auditwire.delivery.around import Around
    from auditwire.delivery.backlog import Place
    from auditwire.delivery.feed import Feed
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.disk import DiskJournal

__all__ = ["Parking"]

STEP_SECONDS = 1.0
"""How often it is looked whether something has to be done."""

_NOTHING: dict[str, Any] = {"parked": {}, "orphan": False}

BATCH = 512
"""Records of one stream that are copied in one round."""


class Parking:
    """See the module. For the sender's thread; times are monotonic seconds.

    Args:
        journal: The sender's own.
        around: The sender's parts.
    """

    def __init__(self, journal: DiskJournal, around: Around) -> None:
        self._journal = journal
        self._around = around
        self._router = around.router
        self._feeds = around.feeds
        self._fault = around.fault
        self._next = 0.0
        self._since: dict[str, str] = {}
        self._told: dict[str, dict[str, Any]] = {}  # stream -> what its state.json says

    def step(self, now: float) -> None:
        """Look whether records have to be copied, and whether state.json has to be written."""
        if now < self._next:
            return
        self._next = now + STEP_SECONDS
        parked = self._router.parked
        if parked and self._journal.pressure:
            for feed in self._feeds:
                self._relieve(feed)
        if parked or self._told or len(self._feeds) > 1:
            self._tell(parked)

    # -- copies -----------------------------------------------------------------------------------------

    def _relieve(self, feed: Feed) -> None:
        places: list[Place] = []
        expected = feed.needed
        for place in self._router.parked_places(feed):
            if place.position >= PARKED or place.sequence < expected:
                continue  # copied before
            if place.sequence != expected or len(places) == BATCH:
                break
            places.append(place)
            expected = feed.first_needed(place.sequence + 1)
        if not places or 2 * len(places) > expected - places[0].sequence:
            return
        try:
            self._copy(feed, places)
        except (OSError, AuditwireError):
            self._fault("records of parked topics could not be copied: they stay where they are")

    def _copy(self, feed: Feed, places: list[Place]) -> None:
        if feed.parked is None:
            directory = self._directory(feed)
            if directory is None:
                return
            feed.parked = ParkedLog(
                self._journal.path,
                directory,
                directory.info() or {},
                budget=self._journal.budget,
                origin=feed,
            )
        self._router.relocate(feed, feed.park(places))

    def _directory(self, feed: Feed) -> StreamDirectory | None:
        return feed.directory if isinstance(feed, ForeignFeed) else self._journal.directory

    # -- state.json -------------------------------------------------------------------------------------

    def _tell(self, parked: dict[str, str]) -> None:
        at = iso(self._around.wall_us())
        self._since = {topic: self._since.get(topic, at) for topic in parked}
        waiting = {
            topic: {"reason": why, "since": self._since[topic]} for topic, why in sorted(parked.items())
        }
        for feed in self._feeds:
            # its adopter holds the owner's lock of an orphan: the lock does not tell that the owner is gone
            said = {"parked": waiting, "orphan": isinstance(feed, ForeignFeed) and feed.owner is not None}
            known = self._told.get(feed.stream_id)
            directory = self._directory(feed)
            if directory is None or known == said or (known is None and said == _NOTHING):
                continue
            state = {"at": at, **said, "last_error": self._around.last_error(), "sender_pid": os.getpid()}
            try:
                directory.write_state(state)
                self._told[feed.stream_id] = said
            except OSError:
                self._fault(f"what is parked could not be written down for stream {feed.stream_id}")
        for gone in self._told.keys() - {feed.stream_id for feed in self._feeds}:
            del self._told[gone]
