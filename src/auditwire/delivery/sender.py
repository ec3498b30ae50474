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
from typing import TYPE_CHECKING, Any

from auditwire.delivery.health import Health
from auditwire.delivery.latency import LatencyMeter
from auditwire.delivery.router import Router
from auditwire.delivery.window import AckWindow
from auditwire.events import CONTROL_TYPES, LossEvent, QuarantineEvent
from auditwire.stream import type_key
from auditwire.wire import frame_single_object, headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.delivery.client import Client
    from auditwire.delivery.health import State
    from auditwire.delivery.notes import Notes
    from auditwire.delivery.topics import Directory
    from auditwire.events import AuditEvent
    from auditwire.journal import Barrier, Journal, Record
    from auditwire.journal.drafter import Drafter
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

LOSS_SECONDS = 1.0
"""Lost events are written down as one record per reason, once in so many seconds."""

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
        self._ledger = ledger
        self._drafter = drafter
        self._source = source
        self._capacity = capacity
        self._monotonic = monotonic
        self._wall_ms = wall_ms
        self._sleep = sleep
        self._latency = LatencyMeter(wall_ms())
        self._window = AckWindow()
        self._frames: dict[bytes, bytes] = {}
        self._type_keys: dict[str, str] = {}
        self._router = Router(
            client,
            directory,
            hash_key=hash_key,
            value_of=self._value_of,
            headers_of=self._headers_of if source is not None else None,
            on_acked=self._on_acked,
            on_poison=self._on_poison,
            monotonic=monotonic,
            wall_ms=wall_ms,
        )
        self._barriers: deque[Barrier] = deque()
        self._taken_at: deque[tuple[int, float]] = deque()  # (end of a batch, when it was taken)
        self._stands_for: dict[int, Record] = {}  # sequence of a quarantine record -> what it stands for
        self._notes = notes
        self._loss_at = 0.0
        self._control_at = 0.0
        self._done = 0
        self._control = 0
        self._control_done = 0
        self._progress_at = monotonic()
        self._wait = WAIT_FIRST
        self._quarantined: Counter[str] = Counter()
        self._deadline: float | None = None  # set by close
        self._half_time = 0.0
        self._sealed_at: int | None = None  # sequence of the closing checkpoint
        self._losses_told = False
        self._mended = False
        self.finished = False

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
        return max(0, self._window.end - self._done) + self._journal.backlog

    @property
    def parked(self) -> dict[str, str]:
        """Topic -> why it takes no records."""
        return self._router.parked

    @property
    def low_water_mark(self) -> int:
        """Every record below this sequence is acknowledged. For the sender's thread, or when it has ended."""
        return self._window.low

    def health(self) -> Health:
        """A snapshot; a count may be older than its neighbour by the record that is under way."""
        pending = self.pending
        now = self._monotonic()
        try:
            oldest = now - self._taken_at[0][1] if pending else 0.0
        except IndexError:
            oldest = 0.0
        lost, coerced, truncated = self._notes.totals()
        parked = self.parked
        state: State = "ok"
        if parked or lost or truncated or self._quarantined:
            state = "degraded"
        if pending and min(oldest, now - self._progress_at) > STALLED_SECONDS:
            state = "failing"
        if self.finished:
            state = "closed"
        return Health(
            state=state,
            stream_id=self._drafter.stream_id,
            accepted=self._journal.next_sequence + self._journal.backlog_drafts - self._control,
            delivered=self._done - self._control_done,
            control=self._control,
            pending_records=pending,
            pending_bytes=self._journal.pending_bytes,
            capacity_bytes=self._capacity,
            oldest_seconds=max(0.0, oldest),
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
        self._write_control(now)
        records = self._journal.take(BATCH)
        if records:
            self._number(records, now)
        self._barriers.extend(self._journal.barriers())
        produced = self._router.pump(now)
        if self._client.producer is None:  # the next one could not be made yet; the router tries again
            self._sleep(WAIT_LAST)
        elif self._barriers or self._deadline is not None:
            self._client.flush(FLUSH_SLICE)
        else:
            self._client.poll(0)
        self._move_mark()
        if self._deadline is not None:
            self._close_down()
        return bool(records or produced)

    def _rest(self, *, busy: bool) -> None:
        if self.finished:
            return
        if busy:
            self._wait = WAIT_FIRST
            if not self._barriers and self._deadline is None:
                self._sleep(REST)
        elif self._window.low < self._window.end:
            # a wait in C for acknowledgements, longer and longer while there are none: an outage costs little
            before = self._done
            self._client.poll(self._wait)
            self._wait = WAIT_FIRST if self._done != before else min(WAIT_LAST, self._wait * 2)
        elif self._deadline is None:
            now = self._monotonic()
            due = self._ledger.next_due(now) if now >= self._control_at else self._control_at - now
            if self._notes:
                due = min(due, max(0.0, self._loss_at - now))
            self._journal.wait(min(IDLE, max(0.0, due)))

    def _number(self, records: list[Record], now: float) -> None:
        add, put, type_keys = self._ledger.add, self._router.put, self._type_keys
        self._window.extend(len(records))
        if not self._taken_at:
            self._progress_at = now
        for record in records:
            event_type = record.event_type
            key = type_keys.get(event_type)
            if key is None:
                key = type_keys[event_type] = type_key(event_type, record.fingerprint)
            add(record.sequence, key, sha256(record.body).digest(), now)
            put(record)
        self._taken_at.append((records[-1].sequence + 1, now))

    def _move_mark(self) -> None:
        low = self._window.low
        while self._taken_at and self._taken_at[0][0] <= low:
            self._taken_at.popleft()
        barriers = self._barriers
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

    def _headers_of(self, record: Record) -> list[tuple[str, bytes]]:
        return headers(record.event_id, record.event_type, self._source or "", record.trace)

    def _on_acked(self, records: list[Record]) -> None:
        size = done = control = 0
        mark, stands_for = self._window.mark, self._stands_for
        for record in records:
            if not mark(record.sequence):
                continue  # an answer from before a new producer
            done += 1
            size += record.size
            if record.event_type in CONTROL_TYPES:
                control += 1
                poison = stands_for.pop(record.sequence, None) if stands_for else None
                if poison is not None and mark(poison.sequence):
                    done += 1
                    size += poison.size
                    control += poison.event_type in CONTROL_TYPES
        self._control_done += control  # first: who reads in between sees too few delivered, never too many
        self._done += done
        self._progress_at = self._monotonic()
        self._journal.release(size)
        if done:
            self._latency.observe(records[0].timestamp_us, self._wall_ms())

    def _on_poison(self, record: Record, reason: str) -> bool:
        """Withhold a record that the broker refuses for good; a quarantine record says so in its stead."""
        digest = sha256(record.body).hexdigest()
        sequence = self._append_control(
            QuarantineEvent(
                quarantined_stream=self._drafter.stream_id,
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
        self._stands_for[sequence] = record
        self._quarantined[reason] += 1
        log.error(
            "the broker refuses record %d (%s, event %s, %d bytes) on topic %s for good (%s): "
            "it is withheld, quarantine record %d says so",
            *(record.sequence, record.event_type, record.event_id, len(record.body), record.topic, reason),
            sequence,
        )
        return True

    # -- control records --------------------------------------------------------------------------------

    def _append_control(self, event: AuditEvent) -> int | None:
        if self._sealed_at is not None:
            return None  # nothing follows the closing checkpoint
        sequence = self._journal.append_control(self._drafter.draft(event))
        if sequence is not None:
            self._control += 1
        return sequence

    def _write_control(self, now: float) -> None:
        self._notes.read()
        if self._notes.losses and now >= self._loss_at:
            self._write_losses(now)
        if now >= self._control_at and self._sealed_at is None:
            reason = self._ledger.due(now)
            if reason is not None:
                self._checkpoint(reason, now)

    def _checkpoint(self, reason: Any, now: float) -> int | None:
        event = self._ledger.checkpoint(reason, acknowledged=self._window.low)
        sequence = self._append_control(event)
        if sequence is None:
            self._control_at = now + IDLE  # no room even in the reserve: a later one lists the same and more
        else:
            self._ledger.listed(event, now)
            if event.reason == "close":
                self._sealed_at = sequence
        return sequence

    def _write_losses(self, now: float) -> None:
        self._loss_at = now + LOSS_SECONDS
        for reason, loss in list(self._notes.losses.items()):
            event = LossEvent(
                count=loss.count, reason=reason, first_lost_us=loss.first, last_lost_us=loss.last
            )
            if self._append_control(event) is not None:
                del self._notes.losses[reason]

    # -- the end ----------------------------------------------------------------------------------------

    def _close_down(self) -> None:
        """Flush, closing checkpoint, flush; each at most until its half of the time is over."""
        now = self._monotonic()
        if self._sealed_at is None:
            all_taken = not self._journal.backlog
            if all_taken and (self._window.low == self._window.end or now >= self._half_time):
                self._write_last(now)
        elif self._window.low == self._window.end > self._sealed_at:
            self.finished = True
        self._end_when_late()

    def _end_when_late(self) -> None:
        if self._deadline is not None and self._monotonic() >= self._deadline:
            self.finished = True

    def _write_last(self, now: float) -> None:
        """The losses so far, and in a later round the closing checkpoint, which lists them.

        The losses once only: emits that are refused because the collector closes are losses too, and a thread
        that goes on emitting must not keep it open.
        """
        self._notes.read()
        if self._notes.losses and not self._losses_told:
            self._losses_told = True
            self._write_losses(now)
        else:
            self._checkpoint("close", now)
