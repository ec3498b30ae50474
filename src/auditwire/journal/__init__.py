"""Accepted events wait here until the broker has them.

In come drafts, encoded events without a number, from any thread; out come records, numbered from 0 without a
gap, to the one sender. An event is *accepted* when it is in the journal. Everything behind it may be down
while there is room.
"""

from auditwire.journal.base import Barrier, Draft, Journal, Record
from auditwire.journal.memory import MemoryJournal

__all__ = ["Barrier", "Draft", "Journal", "MemoryJournal", "Record"]
