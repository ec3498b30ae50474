"""The collector's one background thread: numbers, digests, checkpoints, produces, and hears the answers.

One loop, whether all is well, the broker is away, or the collector is closing::

    control records due -> take from the journal -> digest and number -> produce -> poll -> move the mark

It never raises: what goes wrong is counted, logged and tried again. ``step`` is one round without
waiting, so that tests need neither threads nor time.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from hashlib import sha256
from typing import TYPE_CHECKING

from auditwire.delivery.backlog import Hold
from auditwire.delivery.feed import Feed
from auditwire.delivery.health import Health
from auditwire.delivery.latency import LatencyMeter
from auditwire.delivery.router import Router
from auditwire.events import QuarantineEvent
from auditwire.journal.control import Control
from auditwire.wire import frame_single_object, headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.delivery.backlog import Place
    from auditwire.delivery.client import Client
    from auditwire.delivery.health import State
    from auditwire.delivery.topics import Directory
    from auditwire.journal import Barrier, Journal, Record
    from auditwire.journal.drafter import Drafter
    from auditwire.journal.notes import Notes
    from auditwire.stream import Ledger

__all__ = ["Sender"]

log = logging.getLogger("auditwire")

BATCH = 512
"""Records taken from the journal in one round."""

REST = 0.002
"""Seconds between two rounds that found something: the callers' threads get the interpreter meanwhile."""

WAIT_FIRST, WAIT_LAST = 0.005, 0.05
"""Seconds of waiting for acknowledgements in one round, doubled while nothing happens."""

IDLE = 1.0
"""Seconds of sleep at most when nothing is to be done; librdkafka's events are served at least so often."""

FLUSH_SLICE = 0.05
"""Seconds of ``producer.flush`` in one round, while somebody waits for a flush."""

STALLED_SECONDS = 10.0
"""Without an acknowledgement for so long, though something waits, the health is ``failing``."""


class Sender:
    """See the module. ``close``, ``health`` and the properties are for any thread.

    Args:
        journal: Where records come from.
        client: The producer in use.
        directory: The topics and their partitions.
        ledger: What no checkpoint lists yet.
        drafter: Encodes control records.
        notes: What callers' threads counted.
        hash_key: The partitioner's hash.
        source: The ``ce_source`` header; None sends no headers.
        monotonic: Clock, seconds.
        wall_ms: Clock, milliseconds since the Unix epoch.
        sleep: Sleeps so many seconds.
    """

    def __init__(
        self,
        journal: Journal,
        client: Client,
        directory: Directory,
        ledger: Ledger,
        drafter: Drafter,
        notes: Notes,
        *,
        hash_key: Callable[[bytes], int],
        source: str | None,
        capacity: int,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._journal = journal
        self._client = client
        self._capacity = capacity
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._sleep = sleep
        self._latency = LatencyMeter(wall_ms())
        self._hold = hold = Hold()
        self._own = own = Feed(journal, drafter.stream_id, source, monotonic(), hold)
        self._feeds = [own]
        self._control = Control(
            journal,
            drafter,
            ledger,
            notes,
            acknowledged=lambda: own.low,
            on_checkpoint=own.checkpoint if journal.durable else None,
        )
        self._frames: dict[bytes, bytes] = {}
        self._router = Router(
            client,
            directory,
            hash_key=hash_key,
            value_of=self._value_of,
            headers_of=_headers_of,
            on_acked=self._on_acked,
            on_poison=self._on_poison,
            on_lost=self._on_lost,
            hold=hold,
            monotonic=monotonic,
            wall_ms=wall_ms,
        )
        self._barriers: deque[Barrier] = deque()
        self._notes = notes
        self._acknowledged = 0
        self._spilled_at = 0
        self._wait = WAIT_FIRST
        self._quarantined: Counter[str] = Counter()
        self._deadline: float | None = None  # set by close
        self._half_time = 0.0
        self._mended = False
        self.finished = False

    def open(self) -> None:
        """Write the opening checkpoint, which is record 0; before anybody emits, and before ``run``."""
        self._control.step(self._monotonic())

    # -- any thread -------------------------------------------------------------------------------------

    def close(self, deadline: float) -> None:
        """Accept nothing more, deliver what is there, write the closing checkpoint, and end the loop.

        Args:
            deadline: Monotonic seconds; the loop ends then, whatever is left.
        """
        now = self._monotonic()
        self._half_time = now + (deadline - now) / 2
        self._deadline = deadline
        self._journal.seal()
        self._journal.wake()

    def retry_now(self) -> None:
        """Something was mended, such as the credentials: try what is parked without waiting for its pause."""
        self._mended = True
        self._journal.wake()

    @property
    def pending(self) -> int:
        """Records that are accepted and not acknowledged."""
        return self._own.pending

    @property
    def parked(self) -> dict[str, str]:
        """Topic -> why it takes no records."""
        return self._router.parked

    @property
    def ended(self) -> str | None:
        """``stream:sequence:digest`` when all of the own stream is delivered, the closing checkpoint too."""
        sealed_at, last = self._control.sealed_at, self._control.last
        if sealed_at is None or last is None or last[0] != sealed_at or self.pending:
            return None
        return f"{self._own.stream_id}:{sealed_at}:{last[1].hex()}"

    @property
    def low_water_mark(self) -> int:
        """Every record below this sequence is acknowledged. For the sender's thread, or when it has ended."""
        return self._own.low

    def health(self) -> Health:
        """A snapshot; a count may be older than its neighbour by the record that is under way."""
        own, control = self._own, self._control.written
        pending = self.pending
        now = self._monotonic()
        oldest = own.oldest_seconds(now) if pending else 0.0
        lost, coerced, truncated = self._notes.totals()
        parked = self.parked
        state: State = "ok"
        if parked or lost or truncated or self._quarantined:
            state = "degraded"
        if pending and min(oldest, now - own.progress_at) > STALLED_SECONDS:
            state = "failing"
        if self.finished:
            state = "closed"
        return Health(
            state=state,
            stream_id=own.stream_id,
            accepted=self._journal.next_sequence + self._journal.backlog_drafts - control,
            delivered=own.done - own.control_done,
            control=control,
            pending_records=pending,
            pending_bytes=self._journal.pending_bytes,
            capacity_bytes=self._capacity,
            oldest_seconds=oldest,
            lost=lost,
            coerced=coerced,
            truncated=truncated,
            parked=parked,
            quarantined=dict(self._quarantined),
            resent=self._router.resent,
            producers=self._client.made,
            faults=self._client.faults,
            last_error=self._client.last_error,
            latency=self._latency.snapshot(),
        )

    # -- the loop ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until closed. Whatever happens, the loop goes on."""
        while not self.finished:
            try:
                self._rest(busy=self.step())
            except Exception:  # noqa: BLE001, PERF203 - the loop goes on whatever happens; fault() logs
                self._client.fault("the sender stumbled and goes on")
                self._sleep(WAIT_LAST)
                self._end_when_late()  # a round that fails each time comes to no look at the clock
        self._client.abandon()

    def step(self) -> bool:
        """One round without waiting, but for slices of ``producer.flush``; True when something was done."""
        now = self._monotonic()
        if self._mended:
            self._mended = False
            self._router.retry_now()
        self._control.step(now)
        taken = self._take(now)
        self._barriers.extend(self._journal.barriers())
        produced = self._router.pump(now)
        if self._client.producer is None:  # the next one could not be made yet; the router tries again
            self._sleep(WAIT_LAST)
        elif self._barriers or self._deadline is not None:
            self._client.flush(FLUSH_SLICE)
        else:
            self._client.poll(0)
        self._move_marks()
        if self._deadline is not None:
            self._close_down()
        return bool(taken or produced)

    def _rest(self, *, busy: bool) -> None:
        if self.finished:
            return
        if busy:
            self._wait = WAIT_FIRST
            if not self._barriers and self._deadline is None:
                self._sleep(REST)
        elif any(feed.waits for feed in self._feeds):
            # a wait in C for acknowledgements, longer and longer while there are none: an outage costs little
            before = self._acknowledged
            self._client.poll(self._wait)
            self._wait = WAIT_FIRST if self._acknowledged != before else min(WAIT_LAST, self._wait * 2)
        elif self._deadline is None:
            self._journal.wait(min(IDLE, self._control.next_due(self._monotonic())))

    def _take(self, now: float) -> int:
        """Records from each feed to the router, the own stream's first; how many."""
        taken = 0
        put = self._router.put
        for feed in self._feeds:
            if feed.durable and self._hold.full and not self._make_room():
                continue
            records = feed.take(BATCH, now)
            if feed is self._own:
                self._control.digest(records, now)
            for record in records:
                put(record, now)
            taken += len(records)
        return taken

    def _make_room(self) -> bool:
        """Memory is short. While records get through, what cannot go now waits where it is; else all waits.

        So one partition that is silent holds up no other, and memory does not grow with what waits while the
        broker takes nothing.
        """
        if self._acknowledged == self._spilled_at:
            return False
        self._spilled_at = self._acknowledged
        self._router.spill()
        return True

    def _move_marks(self) -> None:
        now = self._monotonic()
        for feed in self._feeds:
            feed.move(now)
        low, barriers = self._own.low, self._barriers
        while barriers:
            mark = barriers[0]
            if mark.sequence is None or (mark.sequence > low and not mark.withdrawn):
                return
            barriers.popleft().release()

    # -- records and answers ----------------------------------------------------------------------------

    def _value_of(self, record: Record) -> bytes:
        fingerprint = record.fingerprint
        frame = self._frames.get(fingerprint)
        if frame is None:
            frame = self._frames[fingerprint] = frame_single_object(fingerprint, b"")
        return frame + record.body

    def _on_acked(self, records: list[Record]) -> None:
        now = self._monotonic()
        if len(self._feeds) == 1:
            done = self._own.acked(records, now)
        else:
            by_feed: dict[Feed, list[Record]] = {}
            for record in records:
                by_feed.setdefault(record.origin, []).append(record)
            done = sum(feed.acked(records, now) for feed, records in by_feed.items())
        self._acknowledged += done
        if done:
            self._latency.observe(records[0].timestamp_us, self._wall_ms())

    def _on_lost(self, place: Place, reason: str) -> None:
        """A record cannot be read again: what was accepted is lost, and a loss record says so."""
        log.error("record %d of stream %s is lost: %s", place.sequence, place.origin.stream_id, reason)
        self._notes.lost("unreadable")
        place.origin.lost(place.sequence)

    def _on_poison(self, record: Record, reason: str) -> bool:
        """Withhold a record that the broker refuses for good; a quarantine record says so in its stead."""
        digest = sha256(record.body).hexdigest()
        sequence = self._control.append(
            QuarantineEvent(
                quarantined_stream=record.origin.stream_id,
                quarantined_sequence=record.sequence,
                quarantined_digest=digest,
                quarantined_type=record.event_type,
                topic=record.topic,
                size=len(record.body),
                reason=reason,
            )
        )
        if sequence is None:
            return False
        self._own.stands_for[sequence] = record
        self._quarantined[reason] += 1
        log.error(
            "the broker refuses record %d (%s, event %s, %d bytes) on topic %s for good (%s): "
            "it is withheld, quarantine record %d says so",
            *(record.sequence, record.event_type, record.event_id, len(record.body), record.topic, reason),
            sequence,
        )
        return True

    # -- the end ----------------------------------------------------------------------------------------

    def _close_down(self) -> None:
        """Flush, closing checkpoint, flush; each at most until its half of the time is over."""
        now = self._monotonic()
        sealed_at, window = self._control.sealed_at, self._own.window
        if sealed_at is None:
            all_taken = not self._journal.backlog
            if all_taken and (window.low == window.end or now >= self._half_time):
                self._control.write_last(now)
        elif window.low == window.end > sealed_at:
            self.finished = True
        self._end_when_late()

    def _end_when_late(self) -> None:
        if self._deadline is not None and self._monotonic() >= self._deadline:
            self.finished = True


def _headers_of(record: Record) -> list[tuple[str, bytes]] | None:
    source = record.origin.source
    return None if source is None else headers(record.event_id, record.event_type, source, record.trace)
