"""From the page cache to the disk: what survives the loss of power, and when.

=============  ==========================================================================================
``interval``   a loss of power costs at most the last 200 ms, plus what one synchronisation takes
``always``     it costs nothing that ``emit`` returned for; threads that emit at once share one fdatasync
``never``      it costs what the operating system had not written yet, usually the last 30 s
=============  ==========================================================================================

A killed process loses nothing in any of them: what is in the page cache belongs to the operating system.

``os.fdatasync`` on the descriptor, never ``mmap.flush``: that one holds the interpreter's lock and stops all
threads for as long as the disk takes.

When a synchronisation fails, the kernel may have dropped the pages, and a second one may claim success
without having written them (https://wiki.postgresql.org/wiki/Fsync_Errors). So the segment is not trusted
again: everything not known to be on the disk is written anew, from memory, into another segment. The kernel
tells of a failure only once: whoever synchronises a segment while another thread does, or after one that
never told how it ended (a signal handler raised there), does not trust its own success before the other's.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Literal

from auditwire.journal.base import Wakeup
from auditwire.journal.making import Refusal
from auditwire.journal.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.segment import Segment
    from auditwire.journal.writer import StreamWriter

__all__ = ["SYNC_SECONDS", "SyncMode", "Syncer"]

log = logging.getLogger("auditwire")

SyncMode = Literal["interval", "always", "never"]
"""See the module."""

SYNC_SECONDS = 0.2
"""Pause between two synchronisations in the mode ``interval``."""

_RETRY_LAST = 30.0
"""The longest pause while the disk refuses: each attempt writes into a segment of its own."""

_SHARE_SECONDS = 0.5
"""How long a thread waits for another one's fdatasync before it calls its own."""

_ROUNDS = 3
"""Synchronisations that one call tries: after a failure everything stands in another segment."""

_LOOKS = 100
_IDLE_SECONDS = 60.0


class Syncer:
    """Synchronises one stream's segments. Thread-safe; ``run`` is for a thread of its own.

    Args:
        fs: The file system.
        writer: Whose segments.
        mode: See the module.
        interval: Seconds between two synchronisations.
        monotonic: Clock, seconds.
    """

    def __init__(
        self,
        fs: FileSystem,
        writer: StreamWriter,
        mode: SyncMode = "interval",
        *,
        interval: float = SYNC_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fs = fs
        self._writer = writer
        self._mode = mode
        self._interval = interval
        self._monotonic = monotonic
        self._turns = Turns()
        self._doubts: dict[int, list[object]] = {}  # by segment: a mark for each success that is not told
        self._listed = -1  # the directory was synchronised when it held segments up to this number
        self._failures = 0  # and how many of them were followed by writing anew
        self._anew = 0
        self._retry_at = float("-inf")
        self._wake = Wakeup()
        self._closing = False
        self.idle = False
        """True while ``run`` sleeps until somebody calls ``wake``."""
        self.synced = 0
        """Every record below this sequence is on the disk."""
        self.problem: str | None = None
        """What the last synchronisation failed with; None when it succeeded."""

    def through(self, sequence: int) -> bool:
        """Return when the record is on the disk: True; or False when the disk refuses.

        Threads that come while one synchronises wait for it, and one of them then does it for all of them.
        The wait has an end: a signal handler may have interrupted the one that synchronises, and wait for us.
        """
        for _ in range(_ROUNDS):
            if self.synced > sequence:
                return True
            claim = self._turns.claim()
            try:
                deadline = self._monotonic() + _SHARE_SECONDS
                while self._turns.wait(claim, max(0.0, deadline - self._monotonic())):
                    if self.synced > sequence:
                        return True
                if not self._synchronise():
                    return False
            finally:
                claim.finish()
        return self.synced > sequence

    def sync(self) -> bool:
        """Synchronise everything that is accepted now; whether that succeeded."""
        target = self._writer.next_sequence
        return not target or self.through(target - 1)

    def _synchronise(self) -> bool:
        """One round, or what a failed one asks for; False when it is of no use to try again now.

        Several at the same time do no harm.
        """
        if self._monotonic() < self._retry_at:
            return False
        writer = self._writer
        # Both are read first. What is published later may have gone into a segment after it was synchronised;
        # and a segment that was left by then gets nothing more.
        target, left = writer.next_sequence, writer.tail_number
        numbers = sorted(writer.segments)
        try:
            if numbers and numbers[-1] > self._listed and writer.directory is not None:
                self._fs.sync_directory(writer.directory.path)
                self._listed = numbers[-1]
        except OSError as error:
            return self._write_anew(f"{type(error).__name__}: {error}")
        for number in numbers:  # the older one first: what is on the disk has no hole before it
            segment = writer.segments.get(number)
            if segment is None:
                continue  # another thread has done it
            problem = self._sync_segment(number, segment)
            if problem is None:
                if number < left:
                    self._let_go(number)
            elif writer.segments.get(number) is segment:
                return self._write_anew(problem)
            else:
                return True  # another thread has put it away meanwhile: look again
        self.synced = max(self.synced, target)
        self.problem = None
        self._failures = self._anew = 0
        return True

    def _sync_segment(self, number: int, segment: Segment) -> str | None:
        """Why the segment cannot be trusted, or None."""
        doubts = self._doubts.setdefault(number, [])
        mark = object()
        doubts.append(mark)  # first: whatever strikes from here on leaves it there
        try:
            segment.sync()
        except OSError as error:
            if error.errno is None:
                raise  # a signal handler's
            return f"{type(error).__name__}: {error}"
        doubts.remove(mark)
        for _ in range(_LOOKS):
            if not doubts or number not in self._writer.segments:
                break
            time.sleep(_SHARE_SECONDS / _LOOKS)
        return "another synchronisation of the same file did not tell its end" if doubts else None

    def _let_go(self, number: int) -> None:
        segment = self._writer.segments.pop(number, None)
        self._doubts.pop(number, None)
        if segment is not None:
            segment.abandon()

    def _write_anew(self, problem: str) -> bool:
        """Put everything that is not on the disk into another segment; whether that succeeded."""
        if self.problem is None:
            log.error("the journal could not be synchronised (%s): it is written anew", problem)
        self.problem = problem
        self._failures += 1
        pause = min(_RETRY_LAST, self._interval * 2 ** min(self._failures, 20))
        bad = [number for number in sorted(self._writer.segments) if number <= self._writer.tail_number]
        if isinstance(self._writer.replace(self.synced), Refusal):
            self._retry_at = self._monotonic() + pause
            return False
        self._anew += 1
        if self._anew > 1:  # the first time another segment may be all that it takes
            self._retry_at = self._monotonic() + pause
        for number in bad:  # their records stand in the new segment; they stay readable for the sender
            self._let_go(number)
        return True

    # -- the thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Synchronise every ``interval`` seconds while something is not, until closed."""
        while not self._closing:
            if self._is_done():
                self._sleep()
                continue
            self._nap(max(self._interval, self._retry_at - self._monotonic()))
            if not self._closing:
                self._attempt()

    def _is_done(self) -> bool:
        return self._mode == "never" or self.synced >= self._writer.next_sequence

    def _attempt(self) -> None:
        try:
            self.sync()
        except Exception as error:
            log.exception("the journal could not be synchronised")
            self.problem = f"{type(error).__name__}: {error}"

    def _sleep(self) -> None:
        self.idle = True
        try:
            if self._is_done():
                # nobody wakes this for a record whose append a signal handler ended in between
                self._nap(_IDLE_SECONDS)
        finally:
            self.idle = False
            self._wake.clear()

    def _nap(self, seconds: float) -> None:
        if not self._closing:
            self._wake.sleep(seconds)

    def wake(self) -> None:
        """End a sleep of ``run``; from any thread."""
        self._wake.give()

    def close(self) -> None:
        """Let ``run`` end; what is accepted is synchronised by whoever closes."""
        self._closing = True
        self._retry_at = float("-inf")  # that one tries, whatever the last pause was
        self.wake()
