"""How many bytes a journal path may take of the disk, for all processes that use it together."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

from auditwire.journal.trees import in_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditwire.journal.layout import JournalPath

__all__ = ["OVERDRAFT", "OVERDRAFT_FILE", "REFRESH", "RETRY", "Budget"]

OVERDRAFT = 8
"""The bound may be exceeded by this part of it, one eighth, to write what frees more than it takes."""
OVERDRAFT_FILE = 1 << 20
"""Bytes of one file at most that does so."""

REFRESH = 5.0
"""Seconds after which the files are measured again while there is room."""
RETRY = 0.2
"""Seconds after which they are measured again while there is none: another process may have freed some."""


class Budget:
    """The bound on the whole path. Safe for any thread and inside signal handlers.

    The files are measured by a walk; between two walks only what this process tells is counted. Processes
    that take room in the same seconds can together exceed the bound by what they take in them.

    Args:
        journal_path: The path to measure.
        capacity: Bytes that all its files together may have.
        monotonic: The clock, in seconds.
    """

    def __init__(self, journal_path: JournalPath, capacity: int, monotonic: Callable[[], float]) -> None:
        self.capacity = capacity
        self._journal_path = journal_path
        self._monotonic = monotonic
        # what was measured, and what was told since; a deque, whose append no thread or signal interrupts
        self._measured: tuple[int, deque[int]] = (0, deque())
        self._next = float("-inf")
        self._overdraft = 0

    @contextmanager
    def overdrawn(self) -> Iterator[None]:
        """Let small files exceed the bound for a moment: they say that larger ones are not needed any more.

        Without, a path that one process has filled would stay full for ever: its streams can be delivered but
        not removed before that was stated, and there would be no room for the statement.
        """
        self._overdraft = max(2 * OVERDRAFT_FILE, self.capacity // OVERDRAFT)
        try:
            yield
        finally:
            self._overdraft = 0

    @property
    def used(self) -> int:
        """Bytes that the files take."""
        self._refresh()
        return self._known()

    def room_for(self, size: int) -> bool:
        """Whether a file of this size may still be made."""
        self._refresh()
        needed = self._known() + in_blocks(size)
        if needed <= self.capacity + (self._overdraft if size <= OVERDRAFT_FILE else 0):
            return True
        self._next = min(self._next, self._monotonic() + RETRY)
        return False

    def allocated(self, size: int) -> None:
        """This process has made a file of this size."""
        self._measured[1].append(in_blocks(size))

    def freed(self, size: int) -> None:
        """This process has removed a file of this size."""
        self._measured[1].append(-in_blocks(size))

    def _known(self) -> int:
        measured, changes = self._measured
        return measured + sum(changes.copy())

    def _refresh(self) -> None:
        now = self._monotonic()
        if now < self._next:
            return
        self._next = now + REFRESH
        try:
            measured = self._journal_path.used()
        except OSError:
            return  # cannot be read now: what was known stands; whoever makes the file hears of the error
        self._measured = (measured, deque())
