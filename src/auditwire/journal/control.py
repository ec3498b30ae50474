"""The records that a stream's owner writes about the stream itself: checkpoints, losses, and what it is told.

In come the stream's records in the order of their numbers, to be digested, and what callers' threads noted;
out go control records, into the journal's reserve. Neither threads nor a Kafka client: the sender of a
collector that delivers has one of these, and so has the collector that leaves delivery to a forwarder.
"""

from __future__ import annotations

from contextlib import nullcontext
from hashlib import sha256
from typing import TYPE_CHECKING

from auditwire.events import LossEvent
from auditwire.stream import type_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from auditwire.events import AuditEvent
    from auditwire.journal.base import Journal, Record
    from auditwire.journal.budget import Budget
    from auditwire.journal.drafter import Drafter
    from auditwire.journal.notes import Notes
    from auditwire.stream import Ledger, Reason

__all__ = ["LOSS_SECONDS", "RETRY_SECONDS", "Control"]

LOSS_SECONDS = 1.0
"""Lost events are written down as one record per reason, once in so many seconds."""

RETRY_SECONDS = 1.0
"""A checkpoint that found no room even in the reserve is tried again after so many seconds."""


class Control:
    """Writes one stream's control records. For one thread; times are monotonic seconds.

    Args:
        journal: Where they go.
        drafter: Encodes them.
        ledger: What no checkpoint lists yet.
        notes: What callers' threads counted.
        acknowledged: Gives the sequence below which every record is acknowledged, for the checkpoints.
        on_checkpoint: Called with a checkpoint's sequence and the sequence below which it and those before it
            list every record; None where nobody removes records by it.
        budget: Of the journal path, which control records may exceed that make room for more than they take;
            None where there is no bound, or another process makes room.
    """

    def __init__(
        self,
        journal: Journal,
        drafter: Drafter,
        ledger: Ledger,
        notes: Notes,
        *,
        acknowledged: Callable[[], int],
        on_checkpoint: Callable[[int, int], None] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._journal = journal
        self._drafter = drafter
        self._ledger = ledger
        self._notes = notes
        self._acknowledged = acknowledged
        self._on_checkpoint = on_checkpoint
        self._budget = budget
        self._type_keys: dict[str, str] = {}  # by event type: one process has one schema of each
        self._now = 0.0
        self._opened = False
        self._loss_at = 0.0
        self._checkpoint_at = 0.0
        self._losses_told = False
        self.written = 0
        """Control records written."""
        self.sealed_at: int | None = None
        """Sequence of the closing checkpoint; nothing follows it."""
        self.last: tuple[int, bytes] | None = None
        """Sequence and digest of the last record that was digested."""

    def digest(self, records: Sequence[Record], now: float) -> None:
        """The stream's next records, its control records included: a checkpoint will list them.

        Those that were digested before are passed over.
        """
        if records and records[0].sequence < self._ledger.next_sequence:
            records = records[self._ledger.next_sequence - records[0].sequence :]
        if not records:
            return
        first, last = records[0].sequence, records[-1].sequence
        if last - first != len(records) - 1:  # the caller's order is the stream's, or nothing is digested
            raise ValueError(f"{len(records)} records do not make up {first} to {last}")
        type_keys = self._type_keys
        digested = []
        for record in records:
            event_type = record.event_type
            key = type_keys.get(event_type)
            if key is None:
                key = type_keys[event_type] = type_key(event_type, record.fingerprint)
            digested.append((key, sha256(record.body).digest(), now))
        self._ledger.add_all(first, digested)
        self.last = last, digested[-1][1]

    def append(self, event: AuditEvent, *, frees: bool = False) -> int | None:
        """Write a control record; its sequence, or None when there is no room or the stream is closed.

        The opening checkpoint is written before any other: it is record 0.

        Args:
            event: The record.
            frees: Whether something can be removed when this is acknowledged, and acknowledgements come: it
                may exceed the bound of the journal path then.
        """
        if not self._opened:
            self._checkpoint("open", self._now, frees=frees)
        return self._append(event, frees=frees) if self._opened else None

    def _append(self, event: AuditEvent, *, frees: bool) -> int | None:
        if self.sealed_at is not None:
            return None
        before = self._journal.oldest_us
        if before is not None and before < event.timestamp_us:
            # it gets its number before events that were accepted earlier: a reader puts records in the order
            # of their times first, and would have to hold back all that follows a later one
            event.timestamp_us = before
        draft = self._drafter.draft(event)
        with self._budget.overdrawn() if frees and self._budget is not None else nullcontext():
            sequence = self._journal.append_control(draft)
        if sequence is not None:
            self.written += 1
        return sequence

    def step(self, now: float) -> None:
        """Write what is due: losses, a checkpoint."""
        self._now = now
        self._notes.read()
        if self._notes.losses and now >= self._loss_at:
            self._write_losses(now)
        if now >= self._checkpoint_at and self.sealed_at is None:
            reason = self._ledger.due(now)
            if reason is not None:
                self._checkpoint(reason, now)

    def next_due(self, now: float) -> float:
        """Seconds until ``step`` has something to do if nothing happens meanwhile."""
        due = self._ledger.next_due(now) if now >= self._checkpoint_at else self._checkpoint_at - now
        if self._notes:
            due = min(due, self._loss_at - now)
        return max(0.0, due)

    def write_last(self, now: float) -> None:
        """The losses so far, and in a later call the closing checkpoint, which lists them.

        The losses once only: emits that are refused because the collector closes are losses too, and a thread
        that goes on emitting must not keep it open.
        """
        self._notes.read()
        if self._notes.losses and not self._losses_told:
            self._losses_told = True
            self._write_losses(now)
        else:
            self._checkpoint("close", now)

    def _checkpoint(self, reason: Reason, now: float, *, frees: bool = False) -> None:
        acknowledged = self._acknowledged()
        event = self._ledger.checkpoint(reason, acknowledged=acknowledged)
        # acknowledged records cannot be removed before they are listed, be the journal full or not
        sequence = self._append(event, frees=frees or event.first_sequence < acknowledged)
        if sequence is None:
            self._checkpoint_at = now + RETRY_SECONDS  # a later one lists the same and more
            return
        self._ledger.listed(event, now)
        self._opened = True
        if event.reason == "close":
            self.sealed_at = sequence
        if self._on_checkpoint is not None:
            self._on_checkpoint(sequence, event.first_sequence + len(event.entries))

    def _write_losses(self, now: float) -> None:
        self._loss_at = now + LOSS_SECONDS
        for reason, loss in list(self._notes.losses.items()):
            event = LossEvent(
                count=loss.count, reason=reason, first_lost_us=loss.first, last_lost_us=loss.last
            )
            if self.append(event) is not None:
                del self._notes.losses[reason]
