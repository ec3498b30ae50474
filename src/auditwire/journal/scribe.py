"""The background thread of a collector that leaves delivery to another process.

It digests what is accepted and writes the stream's control records; nothing else, and nothing about Kafka.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from auditwire.journal.control import Control
from auditwire.journal.cursor import Cursor

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.journal.disk import DiskJournal
    from auditwire.journal.drafter import Drafter
    from auditwire.journal.notes import Notes
    from auditwire.stream import Ledger

__all__ = ["Scribe"]

log = logging.getLogger("auditwire")

_BATCH = 512
_REST = 0.02
"""Seconds between two rounds that found something; nobody waits for a digest."""

_IDLE = 1.0


class Scribe:
    """See the module. ``close`` and the properties are for any thread.

    Args:
        journal: The stream's.
        drafter: Encodes control records.
        ledger: What no checkpoint lists yet.
        notes: What callers' threads counted.
        monotonic: Clock, seconds.
        sleep: Sleeps so many seconds.
    """

    def __init__(
        self,
        journal: DiskJournal,
        drafter: Drafter,
        ledger: Ledger,
        notes: Notes,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._journal = journal
        self._monotonic = monotonic
        self._sleep = sleep
        self._control = Control(journal, drafter, ledger, notes, acknowledged=self.acknowledged)
        self._deadline: float | None = None
        self._stumbled = False
        self.finished = False

    def open(self) -> None:
        """Write the opening checkpoint, which is record 0; before anybody emits, and before ``run``."""
        self._control.step(self._monotonic())

    # -- any thread -------------------------------------------------------------------------------------

    def close(self, deadline: float) -> None:
        """Accept nothing more, write the closing checkpoint, and end; at the deadline at the latest."""
        self._deadline = deadline
        self._journal.seal()
        self._journal.wake()

    @property
    def pending(self) -> int:
        """Records that a loss of power would cost."""
        return self._journal.unsynced

    @property
    def parked(self) -> dict[str, str]:
        """Nothing: who delivers knows."""
        return {}

    @property
    def ended(self) -> str | None:
        """None: who delivers says when everything is."""
        return None

    @property
    def written(self) -> int:
        """Control records written."""
        return self._control.written

    def acknowledged(self) -> int:
        """The sequence below which every record is acknowledged, as the process that delivers says."""
        directory = self._journal.directory
        if directory is None:
            return 0
        # opened anew for each checkpoint: a file that stayed open would be one more that a fork inherits
        try:
            cursor = Cursor.open(self._journal.path.fs, directory.cursor_path, writable=False)
            try:
                position = cursor.read()
            finally:
                cursor.close()
        except OSError as error:  # the checkpoint claims less than it could, which is true all the same
            log.debug("the cursor cannot be read: %s", error)
            return 0
        return 0 if position is None else position.low

    # -- the loop ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until closed. Whatever happens, the loop goes on."""
        while not self.finished:
            try:
                busy = self.step()
                self._stumbled = False
                if busy:
                    self._sleep(_REST)
                elif not self.finished:
                    self._journal.wait(min(_IDLE, self._control.next_due(self._monotonic())))
            except Exception:
                if not self._stumbled:  # once in a row
                    self._stumbled = True
                    log.exception("the journal's thread stumbled and goes on")
                self._sleep(_IDLE)
            if self._deadline is not None and self._monotonic() >= self._deadline:
                self.finished = True

    def step(self) -> bool:
        """One round without waiting; True when something was done."""
        now = self._monotonic()
        self._control.step(now)
        records = self._journal.take(_BATCH)
        self._control.digest(records, now)
        for mark in self._journal.barriers():
            mark.release()
        if self._deadline is not None and not records:
            if self._control.sealed_at is None:
                self._control.write_last(now)
                return True
            self.finished = not self._journal.backlog
        return bool(records)
