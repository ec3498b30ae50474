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
again: everything not known to be on the disk is written anew, from memory, into another segment.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Literal

from auditwire.journal.writer import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.writer import StreamWriter

__all__ = ["SYNC_SECONDS", "SyncMode", "Syncer"]

log = logging.getLogger("auditwire")

SyncMode = Literal["interval", "always", "never"]
"""See the module."""

SYNC_SECONDS = 0.2
"""Pause between two synchronisations in the mode ``interval``."""

_RETRY_LAST = 5.0
_SHARE_SECONDS = 0.5
"""How long a thread waits for another one's fdatasync before it calls its own."""


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
        self._turn = threading.Lock()
        self._listed = -1  # the directory was synchronised when it held segments up to this number
        self._wake: SimpleQueue[None] = SimpleQueue()
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
        while self.synced <= sequence:
            locked = self._turn.acquire(timeout=_SHARE_SECONDS)
            try:
                if self.synced <= sequence and not self._synchronise():
                    return False
            finally:
                if locked:
                    self._turn.release()
        return True

    def sync(self) -> bool:
        """Synchronise everything that is accepted now; whether that succeeded."""
        target = self._writer.next_sequence
        return not target or self.through(target - 1)

    def _synchronise(self) -> bool:
        """One round. Several at the same time do no harm."""
        writer = self._writer
        target = writer.next_sequence
        segments = sorted(writer.segments.items())
        try:
            if segments and segments[-1][0] > self._listed and writer.directory is not None:
                self._fs.sync_directory(writer.directory.path)
                self._listed = segments[-1][0]
            for number, segment in segments:  # the older one first: what is on the disk has no hole before it
                segment.sync()
                if number < writer.tail_number and writer.segments.pop(number, None) is not None:
                    segment.abandon()
        except OSError as error:
            return self._failed(error)
        self.synced = max(self.synced, target)
        self.problem = None
        return True

    def _failed(self, error: OSError) -> bool:
        text = f"{type(error).__name__}: {error}"
        if self.problem is None:
            log.error("the journal could not be synchronised (%s): it is written anew", text)
        self.problem = text
        bad = [n for n in self._writer.segments if n <= self._writer.tail_number]
        replaced = self._writer.replace(self.synced)
        if isinstance(replaced, Refusal):
            return False
        for number in bad:  # their records stand in the new segment; they stay readable for the sender
            segment = self._writer.segments.pop(number, None)
            if segment is not None:
                segment.abandon()
        return False

    # -- the thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Synchronise every ``interval`` seconds while something is not, until closed."""
        pause = self._interval
        while not self._closing:
            if self._mode == "never" or self.synced >= self._writer.next_sequence:
                self._sleep()
                continue
            time.sleep(self._interval)
            done = self._attempt()
            if done:
                pause = self._interval
            else:
                pause = min(_RETRY_LAST, pause * 2)
                self._nap(pause)

    def _attempt(self) -> bool:
        try:
            return self.sync()
        except Exception:
            log.exception("the journal could not be synchronised")
            return False

    def _sleep(self) -> None:
        self.idle = True
        try:
            if self._mode == "never" or self.synced >= self._writer.next_sequence:
                self._nap(60.0)
        finally:
            self.idle = False
            while not self._wake.empty():
                with contextlib.suppress(Empty):
                    self._wake.get_nowait()

    def _nap(self, seconds: float) -> None:
        if not self._closing:
            with contextlib.suppress(Empty):
                self._wake.get(timeout=seconds)

    def wake(self) -> None:
        """End a sleep of ``run``; from any thread."""
        self._wake.put(None)

    def close(self) -> None:
        """Let ``run`` end; what is accepted is synchronised by whoever closes."""
        self._closing = True
        self.wake()
