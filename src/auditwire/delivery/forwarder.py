"""Delivers what other processes write, or left, on a journal path: a sender that emits nothing itself.

::

    streams of living owners that leave delivery to others  \
    streams of dead owners                                   > one producer -> topics
    its own stream: checkpoints, recovery and quarantine    /

Its own stream lies in the same journal path; whatever happens to the forwarder, the next one delivers that
too. The end has two parts: while `caught_up` is not true the streams are delivered as ever; `close` then
writes the closing checkpoint of the own stream and lets go of all others.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from auditwire.delivery.partitioner import PARTITIONERS
from auditwire.delivery.sender import STALLED_SECONDS, Sender
from auditwire.delivery.topics import Directory
from auditwire.journal.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditwire.delivery.adoption import Adoption
    from auditwire.delivery.client import Client
    from auditwire.delivery.health import Health, State
    from auditwire.delivery.topics import TopicSettings
    from auditwire.journal.disk import DiskJournal
    from auditwire.journal.drafter import Drafter
    from auditwire.journal.notes import Notes
    from auditwire.stream import Ledger

__all__ = ["HUNG_SECONDS", "AnyTarget", "Forwarder"]

log = logging.getLogger("auditwire")

HUNG_SECONDS = 60.0
"""Without a round of its loop for so long, a forwarder hangs. A round waits for no broker."""

_ROUNDS = 2
"""It is caught up when that is so in so many rounds, one behind the other."""


@dataclass(frozen=True)
class AnyTarget(Target):
    """Accepts streams for whatever cluster and prefix."""

    def accepts(self, other: Target) -> bool:  # noqa: ARG002 - as the base has it
        return True


class Forwarder:
    """See the module. All methods are for any thread.

    Args:
        client: The producer.
        journal: Of its own stream, opened to be sent from this process; started and closed here.
        drafter: Encodes its own records.
        ledger: Of its own stream.
        notes: Of its own stream.
        adoption: Which streams of others are delivered.
        partitioner: librdkafka's name of it.
        source: The ``ce_source`` header of its own records; None sends none.
        topics: How missing topics are made; None never makes any.
        capacity: The bound of the journal path, for the health.
        monotonic: Clock, seconds.
    """

    def __init__(
        self,
        client: Client,
        journal: DiskJournal,
        drafter: Drafter,
        ledger: Ledger,
        notes: Notes,
        adoption: Adoption,
        *,
        partitioner: str,
        source: str | None,
        topics: TopicSettings | None,
        capacity: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._monotonic = monotonic
        self._sender = _Sender(
            journal,
            client,
            Directory(client.list_topics, client.admin, topics),
            ledger,
            drafter,
            notes,
            hash_key=PARTITIONERS[partitioner],
            source=source,
            capacity=capacity,
            adoption=adoption,
            monotonic=monotonic,
        )
        self._thread = threading.Thread(target=self._run, name="auditwire-sender", daemon=True)

    def start(self) -> None:
        """Begin to deliver, on a thread of its own."""
        self._sender.open()
        self._journal.start()
        self._thread.start()

    def _run(self) -> None:
        self._sender.run()
        self._journal.close(ended=self._sender.ended)

    # -- how it is --------------------------------------------------------------------------------------

    @property
    def live(self) -> bool:
        """Whether its loop goes round, be there a broker or not."""
        return self._thread.is_alive() and self._monotonic() - self._sender.round_at < HUNG_SECONDS

    @property
    def caught_up(self) -> bool:
        """Whether nothing is left to be delivered: no orphan, and nothing of the streams of living owners."""
        return self._sender.settled >= _ROUNDS

    def reached(self, ends: Mapping[str, int]) -> bool:
        """Whether orphans are delivered to their end, and of living owners' streams what was there.

        Args:
            ends: Stream -> one above the last record that was there. One that nobody serves here does not
                count.
        """
        return self._sender.reached(ends)

    @property
    def moved(self) -> int:
        """Grows while something is done: records read or acknowledged, streams brought to their end."""
        return self._sender.moved

    def health(self) -> Health:
        """A snapshot over all streams; see :class:`~auditwire.delivery.health.Health`.

        ``delivered`` counts events of all streams since the start, ``accepted`` these and the records that
        were read and wait; ``pending_bytes`` are those of all files below the path.
        """
        return replace(self._sender.health(), pending_bytes=self._journal.budget.used)

    # -- the end ----------------------------------------------------------------------------------------

    def close(self, deadline: float) -> None:
        """End: take up nothing more, write the closing checkpoint. Returns at once; see `join`.

        Args:
            deadline: Monotonic seconds; it ends then, whatever is left. Called again, the earlier one counts.
        """
        self._sender.close(deadline)

    def join(self, timeout: float) -> bool:
        """Wait for the end; whether it came within ``timeout`` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


class _Sender(Sender):
    """A sender that can say of all its streams together what another says of its own."""

    def __init__(self, *parts: Any, **settings: Any) -> None:
        super().__init__(*parts, **settings)
        self.round_at = self._monotonic()
        self.settled = 0
        """Rounds, one behind the other, in which nothing was left to be done."""
        self.moved = 0

    def step(self) -> bool:
        acknowledged = self._acknowledged
        busy = super().step()
        self.moved += busy or self._acknowledged != acknowledged
        self.settled = self.settled + 1 if self._is_settled() else 0
        self.round_at = self._monotonic()
        return busy

    def _is_settled(self) -> bool:
        adopter = self.adopter
        if adopter is None or not adopter.idle:
            return False
        return not any(feed.busy or feed.pending for feed in self._feeds)

    def reached(self, ends: Mapping[str, int]) -> bool:
        adopter = self.adopter
        others = [feed for feed in self._feeds[:] if feed is not self._own]
        return (
            adopter is not None
            and adopter.idle
            and all(feed.low >= ends.get(feed.stream_id, 0) for feed in others)
        )

    def close(self, deadline: float) -> None:
        super().close(deadline if self._deadline is None else min(deadline, self._deadline))

    def health(self) -> Health:
        own = super().health()
        now = self._monotonic()
        feeds = self._feeds[:]
        delivered = own.delivered + own.adopted_delivered
        pending = sum(feed.pending for feed in feeds)
        oldest = max((feed.oldest_seconds(now) for feed in feeds if feed.pending), default=0.0)
        progress_at = max(feed.progress_at for feed in feeds)
        state: State = "degraded" if own.parked or own.lost or own.quarantined else "ok"
        if pending and min(oldest, now - progress_at) > STALLED_SECONDS:
            state = "failing"
        return replace(
            own,
            state="closed" if self.finished else state,
            accepted=delivered + pending,
            delivered=delivered,
            pending_records=pending,
            oldest_seconds=oldest,
        )
