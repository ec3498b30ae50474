"""Events as lines of JSON, in a file or a text stream.

In comes one event, out goes one line (``to_json``, UTF-8 in a file). Lines are whole, from however many
threads and processes: :mod:`~auditwire.collectors.linefile`, :mod:`~auditwire.collectors.linestream`.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, TextIO

from auditwire.collectors.base import Managed
from auditwire.collectors.linefile import LineFile
from auditwire.collectors.linestream import LineStream
from auditwire.errors import ConfigurationError, EncodingError
from auditwire.events import AuditEvent
from auditwire.jsonable import json_line, plain

if TYPE_CHECKING:
    from auditwire.events import EventLike

__all__ = ["JSONLSinkCollector"]


class JSONLSinkCollector(Managed):
    """Appends each event to a file, or writes it to a text stream, as one line of JSON.

    An event is with the operating system when ``emit`` returns: it survives the death of the process, and
    after ``flush`` also that of the machine. Thread-safe; may be called from signal handlers, and after
    ``fork``.

    A file may be shared with other processes that write to it through this class. A full disk refuses events
    and leaves no half line, except in front of a program that appends without taking the file's ``flock``.
    The file must be readable as well as writable. On Windows whole lines are kept among the threads of one
    process only.

    Args:
        path_or_stream: A path, whose file is made with mode 0600 when it is not there; or an open text
            stream, which is flushed after each line and never closed.
        lock_timeout: Seconds that an append to a file waits for another process's lock; then it is refused.
        system: The ``os`` module, or what stands for it in a test.

    Raises:
        ConfigurationError: The file's directory is not there, the path is a directory, or it is neither a
            path nor a text stream.
        SinkError: The file could not be opened.
    """

    __slots__ = ("_sink",)

    def __init__(
        self,
        path_or_stream: str | os.PathLike[str] | TextIO,
        *,
        lock_timeout: float = 5.0,
        system: Any = os,
    ) -> None:
        self._sink: LineFile | LineStream
        if isinstance(path_or_stream, (str, os.PathLike)):
            self._sink = LineFile(path_or_stream, lock_timeout=lock_timeout, system=system)
        elif _is_text_stream(path_or_stream):
            self._sink = LineStream(path_or_stream)
        else:
            raise ConfigurationError(
                "path_or_stream", f"{type(path_or_stream).__name__} is neither a path nor a text stream"
            )

    def emit(self, event: AuditEvent | EventLike) -> None:
        """Write the event.

        Raises:
            SinkError: The file or stream refused it; ``retriable``.
            EncodingError: It is of a foreign class, and its ``to_dict`` failed.
            CollectorClosed: The collector was closed.
        """
        line = _line(event)
        if isinstance(self._sink, LineFile):
            self._sink.append(line.encode())
        else:
            self._sink.append(line)

    def flush(self) -> None:
        """Have the operating system write the file to its disk (``fsync``); flush the stream.

        Raises:
            SinkError: That failed.
        """
        if isinstance(self._sink, LineFile):
            self._sink.sync()
        else:
            self._sink.flush()

    def reopen(self) -> None:
        """Open the path anew, for log rotation: rename the file, then call this (from a signal handler, say).

        A stream has nothing to open anew.

        Raises:
            SinkError: The path could not be opened; events go on to the old file.
            CollectorClosed: The collector was closed.
        """
        if isinstance(self._sink, LineFile):
            self._sink.reopen()

    def close(self) -> None:
        """Flush and close the file; a stream is flushed and left open. Closing twice does nothing.

        Raises:
            SinkError: As ``flush``; the file is closed nevertheless.
        """
        self._sink.close()


def _line(event: AuditEvent | EventLike) -> str:
    if isinstance(event, AuditEvent):
        return event.to_json() + "\n"
    try:
        fields = dict(event.to_dict())
        return json_line(plain({"event_type": event.event_type, **fields})) + "\n"
    except Exception as error:
        raise EncodingError(f"{type(event).__name__}: event_type or to_dict() failed: {error!r}") from error


def _is_text_stream(value: object) -> bool:
    binary = isinstance(value, (io.RawIOBase, io.BufferedIOBase))
    return not binary and callable(getattr(value, "write", None)) and callable(getattr(value, "flush", None))
