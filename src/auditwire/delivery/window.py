"""Which of the numbered records are done, and up to where all of them are."""

from __future__ import annotations

__all__ = ["AckWindow"]

_COMPACT = 1 << 16


class AckWindow:
    """One byte for each record that is not below the low-water mark; the mark is found by one C search.

    For one thread. ``low`` is the sequence below which every record is done: acknowledged by the broker, or
    stood for by an acknowledged quarantine record.

    Args:
        start: The first sequence; every record below it is done.
    """

    __slots__ = ("_base", "_done", "_scan")

    def __init__(self, start: int = 0) -> None:
        self._base = start  # sequence of _done[0]
        self._done = bytearray()
        self._scan = 0  # everything before it is done

    def extend(self, count: int) -> None:
        """The next ``count`` sequences exist, and are not done."""
        self._done.extend(bytes(count))

    def skip_to(self, sequence: int) -> None:
        """The sequences from ``end`` up to this one will never come; nothing when ``end`` is beyond it."""
        missing = sequence - self.end
        if missing > _COMPACT and self.low == self.end:  # a gap of any length takes no memory
            self._base, self._done, self._scan = sequence, bytearray(), 0
        elif missing > 0:
            self._done.extend(b"\x01" * missing)

    def mark(self, sequence: int) -> bool:
        """This record is done; False when it already was (an older answer came first)."""
        index = sequence - self._base
        if index < 0 or self._done[index]:
            return False
        self._done[index] = 1
        return True

    def is_done(self, sequence: int) -> bool:
        """Whether this record, which exists or existed, is done."""
        index = sequence - self._base
        return index < 0 or (index < len(self._done) and self._done[index] == 1)

    def first_open(self, sequence: int) -> int:
        """The first sequence from this one on that is not done; ``end`` when all are."""
        found = self._done.find(0, max(0, sequence - self._base))
        return self.end if found < 0 else self._base + found

    def copy(self) -> AckWindow:
        """Another window with the same records done."""
        twin = AckWindow(self._base)
        twin._done, twin._scan = self._done[:], self._scan
        return twin

    @property
    def low(self) -> int:
        """The first sequence that is not done."""
        found = self._done.find(0, self._scan)
        self._scan = len(self._done) if found < 0 else found
        if self._scan >= _COMPACT:
            del self._done[: self._scan]
            self._base += self._scan
            self._scan = 0
        return self._base + self._scan

    @property
    def end(self) -> int:
        """One more than the last sequence that exists."""
        return self._base + len(self._done)
