"""A text stream to which several threads write whole lines.

In come lines, out they go to the stream, each flushed at once. A stream cannot be entered twice by one thread
(a buffered one raises, others mix their parts up), so a line that a signal handler writes inside another
write waits for that one to end.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
import threading
from collections import deque
from typing import TextIO

from auditwire import forksafe
from auditwire.errors import CollectorClosed, SinkError

__all__ = ["LineStream"]

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class LineStream:
    """Writes whole lines of JSON to a text stream that somebody else opened and closes.

    A stream whose encoding cannot hold every character gets JSON's escapes for those beyond ASCII.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._inside = False  # a write of the thread that holds the lock is under way
        self._waiting: deque[str] = deque()
        self._torn = False  # a write failed, and nobody knows how much of it the stream has taken
        self._closed = False
        self._escape = not _is_unicode(getattr(stream, "encoding", None))
        forksafe.register(self)

    def append(self, line: str) -> None:
        """Write one line; ``line`` ends in a newline and holds no other.

        Inside another write of the same thread the line is kept, and written when that one ends; if that
        fails it is tried again by the next call of any method.

        Raises:
            SinkError: The stream refused the line, or flushing it.
            CollectorClosed: This object was closed.
        """
        with self._lock:
            if self._closed:
                raise CollectorClosed("the collector was closed; the event was not written")
            if self._inside:
                self._waiting.append(line)
                return
            try:
                self._inside = True
                self._write(line)
            finally:
                self._inside = False
                # what fails goes on waiting; flush and close tell when it stays so
                with contextlib.suppress(SinkError):
                    self._write_waiting()

    def flush(self) -> None:
        """Write what is waiting; the stream itself was flushed after each line.

        Raises:
            SinkError: The stream refuses, or this call stands inside a write of the same thread, which has to
                end first; the lines go on waiting.
        """
        with self._lock:
            if self._inside and self._waiting:
                count = len(self._waiting)
                raise SinkError(f"{count} events wait for the write that this call interrupted")
            self._write_waiting()

    def close(self) -> None:
        """Flush, and take no more lines. The stream stays open.

        Raises:
            SinkError: As ``flush``; how many events are lost stands in the message.
        """
        with self._lock:
            self._closed = True
            try:
                self._write_waiting()
            except SinkError as error:
                lost = len(self._waiting)
                self._waiting.clear()
                raise SinkError(f"{lost} events could not be written: {error}") from error

    def after_fork(self) -> None:
        """See :mod:`auditwire.forksafe`."""
        lock = forksafe.usable_lock(self._lock)
        if lock is not self._lock:
            self._lock, self._inside = lock, False
        self._waiting.clear()  # they are the parent's to write

    def _write_waiting(self) -> None:
        while self._waiting and not self._inside:  # a handler may add to them until the last moment
            try:
                self._inside = True
                self._write(self._waiting[0])
                self._waiting.popleft()
            finally:
                self._inside = False

    def _write(self, line: str) -> None:
        if self._escape:
            line = _NOT_ASCII.sub(lambda match: json.dumps(match.group())[1:-1], line)
        torn, self._torn = self._torn, True
        try:
            self._stream.write("\n" + line if torn else line)
            self._stream.flush()
        except (OSError, ValueError, RuntimeError) as error:  # Value: closed; Runtime: entered twice
            raise SinkError(f"the stream {_name(self._stream)} refused the event: {error}") from error
        self._torn = False


def _is_unicode(encoding: str | None) -> bool:
    """Whether every character has a place; None is a stream of characters, such as StringIO."""
    try:
        return encoding is None or codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False


def _name(stream: TextIO) -> str:
    return str(getattr(stream, "name", type(stream).__name__))
