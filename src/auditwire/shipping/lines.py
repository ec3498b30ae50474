"""Bytes in pieces of any size to numbered lines, in memory that a long line cannot exceed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MAX_LINE", "Line", "Splitter"]

MAX_LINE = 16 << 20
"""Bytes of the longest line that is looked at; a record holds 900 KiB, so that most of it is cut anyway."""

_KEPT = 4096


class Line(NamedTuple):
    """One line of a log.

    Attributes:
        number: Counted from 1, empty lines included.
        end: Offset in bytes behind the line and its line break.
        raw: Its bytes without the line feed; of a line that is too long its first 4,096.
        length: Bytes of the whole line without the line feed.
        ended: A line break ended it; False for what stands behind the last one.
    """

    number: int
    end: int
    raw: bytes
    length: int
    ended: bool

    @property
    def too_long(self) -> bool:
        """``raw`` is the beginning only."""
        return self.length > len(self.raw)


class Splitter:
    """Cuts bytes at line feeds. Holds at most one line, and of one that is too long only its beginning.

    Args:
        offset: Where the first byte stands.
        number: Lines before it.
        limit: Bytes of the longest line that is kept whole.
        spill: Is given the bytes of a line that is too long, in pieces and with its line break, as they come.
    """

    def __init__(
        self,
        offset: int = 0,
        number: int = 0,
        *,
        limit: int = MAX_LINE,
        spill: Callable[[bytes], object] | None = None,
    ) -> None:
        self._end = offset
        self._number = number
        self._limit = limit
        self._spill = spill
        self._parts: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in ``data``, which is to be used up before the next call."""
        start = 0
        while (at := data.find(b"\n", start)) >= 0:
            yield self._line(data[start:at], ended=True)
            start = at + 1
        self._hold(data[start:])

    def finish(self) -> Line | None:
        """What stands behind the last line break; None when nothing does."""
        return self._line(b"", ended=False) if self._length else None

    def _line(self, last: bytes, *, ended: bool) -> Line:
        if self._length or len(last) > self._limit:
            self._hold(last)
            if ended and self._length > self._limit:
                self._out(b"\n")
            last = b"".join(self._parts)
        length = self._length or len(last)
        self._parts, self._length = [], 0
        self._end += length + ended
        self._number += 1
        return Line(self._number, self._end, last, length, ended)

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        self._length += len(part)
        if self._length <= self._limit:
            self._parts.append(part)
        elif self._length - len(part) > self._limit:
            self._out(part)
        else:  # with this part
            whole = b"".join((*self._parts, part))
            self._out(whole)
            self._parts = [whole[: min(_KEPT, self._limit)]]

    def _out(self, data: bytes) -> None:
        if self._spill is not None:
            self._spill(data)
