"""The collector's one background thread: numbers, digests, checkpoints, produces, and hears the answers.

One loop, whether all is well, the broker is away, or the collector is closing::

    control records due -> take from the journal -> digest and number -> produce -> poll -> move the mark

It never raises: what goes wrong is counted, logged and tried again. ``step`` is one round without
waiting, so that tests need neither threads nor time.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from auditwire.delivery.adoption import Adopter
from auditwire.delivery.around import Around
from auditwire.delivery.backlog import Hold
from auditwire.delivery.feed import Feed
from auditwire.delivery.framing import message_of, value_of
from auditwire.delivery.health import Health
from auditwire.delivery.latency import LatencyMeter
from auditwire.delivery.parking import Parking
from auditwire.delivery.quarantine import Quarantine
from auditwire.delivery.router import Router
from auditwire.journal.control import Control
from auditwire.journal.disk import DiskJournal

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.delivery.adoption import Adoption
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

AHEAD_SECONDS = 1.0
"""Without an acknowledgement for so long, records that cannot be taken yet are digested where they are."""

_origin = attrgetter("origin")

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
        adoption: Which streams of other processes are delivered too; None for none.
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
        adoption: Adoption | None = None,
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
        self._feeds: list[Feed] = [own]
        self._disk = disk = journal if isinstance(journal, DiskJournal) else None
        self._control = Control(
            journal,
            drafter,
            ledger,
            notes,
            acknowledged=lambda: own.low,
            on_checkpoint=own.checkpoint if journal.durable else None,
            budget=None if disk is None else disk.budget,
        )
        path = None if disk is None else disk.path
        self._quarantine = Quarantine(own, self._control, path, fault=client.fault, wall_us=self._wall_us)
        self._router = Router(
            client,
            directory,
            hash_key=hash_key,
            value_of=value_of,
            message_of=message_of,
            on_acked=self._on_acked,
            on_poison=self._quarantine.withhold,
            on_lost=self._on_lost,
            hold=hold,
            monotonic=monotonic,
            wall_ms=wall_ms,
        )
        around = Around(
            own=own,
            feeds=self._feeds,
            control=self._control,
            router=self._router,
            hold=hold,
            budget=None if disk is None else disk.budget,
            fault=client.fault,
            last_error=lambda: client.last_error,
            wall_us=self._wall_us,
            monotonic=monotonic,
        )
        self._parking = None if disk is None else Parking(disk, around)
        self.adopter = None if adoption is None else Adopter(adoption, around)
        """Delivers other processes' streams; None where none are."""
        self._barriers: deque[Barrier] = deque()
        self._notes = notes
        self._acknowledged = 0
        self._spilled_at = 0
        self._wait = WAIT_FIRST
        self._deadline: float | None = None  # set by close
        self._half_time = 0.0
        self._mended = False
        self.rounds = 0
        """Rounds of the loop so far: a watchdog sees that it lives."""
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
        own, control, adopter = self._own, self._control.written, self.adopter
        pending = self.pending
        now = self._monotonic()
        oldest = own.oldest_seconds(now) if pending else 0.0
        lost, coerced, truncated = self._notes.totals()
        parked = self.parked
        state: State = "ok"
        if parked or lost or truncated or self._quarantine.counts:
            state = "degraded"
        disk = self._disk
        problem = "" if disk is None else disk.problem or ""
        if problem or (pending and min(oldest, now - own.progress_at) > STALLED_SECONDS):
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
            quarantined=dict(self._quarantine.counts),
            resent=self._router.resent,
            producers=self._client.made,
            faults=self._client.faults,
            last_error=self._client.last_error,
            orphans={} if adopter is None else adopter.pending,
            left_alone={} if adopter is None else adopter.left_alone,
            adopted=0 if adopter is None else adopter.finished,
            adopted_delivered=0 if adopter is None else adopter.delivered,
            journal_problem=problem,
            journal_used_bytes=0 if disk is None else disk.budget.used,
            unsynced_records=pending if disk is None else disk.unsynced,
            latency=self._latency.snapshot(),
        )

    def after_fork(self) -> None:
        """In a forked child: all of this is the parent's; close what was inherited, touch nothing else."""
        self.finished = True
        if self.adopter is not None:
            self.adopter.abandon()
        if self._own.parked is not None:
            self._own.parked.abandon()

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
        self._let_go()

    def _let_go(self) -> None:
        """The loop has ended; whatever fails here, the rest is done, for locks are to be free in the end."""
        ends: list[Callable[[], object]] = [lambda: self._move_marks(last=True)]
        if self.adopter is not None:
            ends.append(self.adopter.close)
        if self._own.parked is not None:
            ends.append(self._own.parked.close)
        for end in (*ends, self._client.abandon):
            try:
                end()
            except Exception:  # noqa: BLE001, PERF203 - see above; fault() logs
                self._client.fault("the sender could not let go of something")

    def step(self) -> bool:
        """One round without waiting, but for slices of ``producer.flush``; True when something was done."""
        self.rounds += 1
        now = self._monotonic()
        if self._mended:
            self._mended = False
            self._router.retry_now()
        self._control.step(now)
        self._see_to_disk(now)
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
        return bool(taken or produced or any(feed.busy for feed in self._feeds))

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
            live = self.adopter is not None and self.adopter.serves_live
            longest = WAIT_LAST if live else IDLE
            self._journal.wait(min(longest, self._control.next_due(self._monotonic())))

    def _see_to_disk(self, now: float) -> None:
        if self._parking is not None:
            self._parking.step(now)
        if self.adopter is not None and self._deadline is None:
            self.adopter.step(now)

    def _take(self, now: float) -> int:
        """Records from each feed to the router, the own stream's first; how many."""
        taken = 0
        put = self._router.put
        for feed in self._feeds[:]:
            own = feed is self._own
            if not own and not self._may_take(feed, now):
                continue
            if feed.durable and self._hold.full and not self._make_room():
                # what it said of the round before would keep the thread awake
                feed.busy = own and self._look_ahead(now)
                continue
            try:
                records = feed.take(BATCH, now)
            except OSError:
                self._failed(feed, now)
                continue
            except Exception:
                if own or self.adopter is None:
                    raise
                self.adopter.give_up(feed, now)
                continue
            if own:
                self._control.digest(records, now)
            put(records, now)
            taken += len(records)
        return taken

    def _look_ahead(self, now: float) -> bool:
        """Digest records that cannot be taken for want of memory; whether there were any.

        So that checkpoints list them while there is room for checkpoints, and not when a journal that has
        become full is to be emptied, or an adopter has to state them one by one.
        """
        if self._disk is None or now - self._own.progress_at < AHEAD_SECONDS:
            return False
        try:
            records = self._disk.look_ahead(BATCH)
        except OSError:
            self._failed(self._own, now)
            return False
        self._control.digest(records, now)
        return bool(records)

    def _may_take(self, feed: Feed, now: float) -> bool:
        """Others' records only while there is much room for the own ones, and not while all has to end."""
        feed.busy = False
        if self._deadline is not None or self.adopter is None or not self.adopter.may_take(feed, now):
            return False
        return not self._hold.half_full or (self._make_room() and not self._hold.half_full)

    def _failed(self, feed: Feed, now: float) -> None:
        """A feed's files could not be read or moved; the exception is being handled."""
        feed.busy = False
        if feed is self._own or self.adopter is None:
            self._client.fault("the journal could not be used: it is tried again")
        else:
            self.adopter.failed(feed, now)

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

    def _move_marks(self, *, last: bool = False) -> None:
        now = self._monotonic()
        for feed in self._feeds[:]:
            try:
                feed.move(now, last=last)
            except OSError:  # noqa: PERF203 - one feed's disk must not stop the others
                self._failed(feed, now)
            except Exception:
                if feed is self._own or self.adopter is None:
                    raise
                self.adopter.give_up(feed, now)
        low, barriers = self._own.low, self._barriers
        while barriers:
            mark = barriers[0]
            if mark.sequence is None or (mark.sequence > low and not mark.withdrawn):
                return
            barriers.popleft().release()

    def _wall_us(self) -> int:
        return self._wall_ms() * 1_000

    # -- records and answers ----------------------------------------------------------------------------

    def _on_acked(self, records: list[Record]) -> None:
        now = self._monotonic()
        done = sum(feed.acked(list(own), now) for feed, own in groupby(records, _origin))
        self._acknowledged += done
        if done:
            self._latency.observe(records[0].timestamp_us, self._wall_ms())

    def _on_lost(self, place: Place, reason: str) -> None:
        """A record cannot be read again: what was accepted is lost, and a loss record says so."""
        log.error("record %d of stream %s is lost: %s", place.sequence, place.origin.stream_id, reason)
        self._notes.lost("unreadable")
        place.origin.lost(place.sequence)

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
