"""A file to which several threads and processes append whole lines.

In come the bytes of one line each, out they go to the end of the file, whole or not at all:

- One line is one ``write`` on a descriptor opened with O_APPEND, under a thread lock and an advisory lock of
  the file (``flock``), which all processes that append through this module respect.
- A short write is completed; what cannot be completed (disk full) is taken back with ``ftruncate``, but only
  when it is still the end of the file.
- Where a part of a line stands at the end nevertheless (a writer was killed within its write), the next line
  starts on a new one: the file's last byte is looked at before each write.

A signal handler may append while the same thread is inside an append. A forked child opens the file anew:
locks of a descriptor that two processes share do not exclude the two from each other, and outlive a killed
owner.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire import forksafe
from auditwire.errors import AuditwireError, CollectorClosed, ConfigurationError, SinkError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LineFile"]

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
_MODE = 0o600
_FIRST_PAUSE, _LONGEST_PAUSE = 0.000_5, 0.01  # seconds between two looks at a lock that another process holds


class LineFile:
    """Appends whole lines to the file at a path.

    Args:
        path: Made with mode 0600 when it is not there; its directory must be.
        lock_timeout: Seconds to wait for another process's lock before an append is refused.
        system: The ``os`` module, or what stands for it in a test.
        clock: Seconds, monotonic.
        sleep: Waits so many seconds.

    Raises:
        ConfigurationError: The directory is not there, or the path is a directory.
        SinkError: The file could not be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lock_timeout: float = 5.0,
        system: Any = os,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._path = Path(path).absolute()  # the directory may be another when the file is opened again
        self._lock_timeout = lock_timeout
        self._os = system
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.RLock()
        self._inside = False  # an append of the thread that holds the lock is under way
        self._changes = 0  # lines and files since the start: shows an append what happened inside of it
        self._torn = False  # of what is no regular file: the last line is incomplete
        self._closed = False
        self._fd, self._regular = self._open()
        forksafe.register(self)

    def append(self, line: bytes) -> None:
        """Append one line; ``line`` ends in a newline and holds no other.

        Raises:
            SinkError: Nothing was appended.
            CollectorClosed: The file was closed.
        """
        with self._lock:
            if self._closed:
                raise CollectorClosed(f"{self._path} was closed; the event was not written")
            if self._inside:  # the file's lock is this thread's already
                self._append(line)
                return
            self._inside = True
            try:
                self._take()
                self._append(line)
            finally:
                # Here and not in a method: a signal handler could raise between the call and its first line,
                # and other processes would wait for this lock for ever.
                try:
                    if sys.platform != "win32":  # pragma: no branch - tested on POSIX
                        fcntl.flock(self._fd, fcntl.LOCK_UN)
                finally:
                    self._inside = False
                    self._close_descriptor()  # when a signal handler inside this append closed the file

    def sync(self) -> None:
        """Return when what was appended is on the disk (``fsync``), not only with the operating system.

        Other threads go on appending meanwhile. Closed files, and what is no regular file, have nothing to
        wait for.

        Raises:
            SinkError: The disk failed; lines appended since the last ``sync`` may be lost.
        """
        with self._lock:
            if self._closed or not self._regular:
                return
            fd = self._os.dup(self._fd)  # may be closed or reopened while this one is waited for
        try:
            self._os.fsync(fd)
        except OSError as error:
            raise SinkError(f"{self._path}: could not be written to disk: {error.strerror}") from error
        finally:
            self._os.close(fd)

    def reopen(self) -> None:
        """Open the path anew, after somebody renamed the file; from then on lines go to the new one.

        Raises:
            SinkError: The path could not be opened; lines go on to the old file.
            CollectorClosed: The file was closed.
        """
        with self._lock:
            if self._closed:
                raise CollectorClosed(f"{self._path} was closed")
            self._renew()

    def close(self) -> None:
        """Sync and close. Closing twice does nothing.

        Raises:
            SinkError: As ``sync``; the file is closed nevertheless.
        """
        try:
            self.sync()
        finally:
            with self._lock:
                self._closed = True
                if not self._inside:  # else the append that this call interrupted does it
                    self._close_descriptor()

    def after_fork(self) -> None:
        """See :mod:`auditwire.forksafe`."""
        lock = forksafe.usable_lock(self._lock)
        if lock is not self._lock:
            self._lock, self._inside = lock, False
        if not self._closed:
            # gone or forbidden in the meantime? the descriptor that the parent shares still works
            with contextlib.suppress(AuditwireError, OSError):
                self._renew()

    def _open(self) -> tuple[int, bool]:
        try:
            fd = self._os.open(self._path, _FLAGS, _MODE)
        except FileNotFoundError as error:
            raise ConfigurationError(
                "path", f"the directory {self._path.parent} does not exist: create it"
            ) from error
        except IsADirectoryError as error:
            raise ConfigurationError("path", f"{self._path} is a directory: name a file") from error
        except OSError as error:
            raise SinkError(f"{self._path}: could not be opened: {error.strerror}") from error
        return fd, sys.platform != "win32" and stat.S_ISREG(self._os.fstat(fd).st_mode)

    def _renew(self) -> None:
        fd, self._regular = self._open()
        # The number stays: the append that a signal handler interrupted for this must not hold a closed one.
        self._os.dup2(fd, self._fd, inheritable=False)
        self._os.close(fd)
        self._torn = False
        self._changes += 1

    def _close_descriptor(self) -> None:
        if self._closed and self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._os.close(fd)

    def _take(self) -> None:
        """Take the file's lock, which other processes respect; never wait for ever."""
        if sys.platform == "win32":  # pragma: no cover - tested on POSIX
            return
        deadline, pause = None, _FIRST_PAUSE
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = self._clock()
                deadline = now + self._lock_timeout if deadline is None else deadline
                if now >= deadline:
                    raise SinkError(
                        f"{self._path}: another process has held the file's lock for {self._lock_timeout} s; "
                        "the event was not written"
                    ) from None
            except OSError as error:
                raise SinkError(f"{self._path}: could not be locked: {error.strerror}") from error
            else:
                return
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _append(self, line: bytes) -> None:
        try:
            while not self._write(line):
                pass
        except OSError as error:
            raise SinkError(f"{self._path}: {error.strerror}; the event was not written") from error
        self._changes += 1

    def _write(self, line: bytes) -> bool:
        """Write the line; False when another came between its parts, and it has to be written again."""
        data = memoryview(b"\n" + line if self._ends_within_a_line() else line)
        changes, written, begin = self._changes, 0, None
        try:
            while written < len(data):
                if written:  # the last write was short; what follows has to stand right behind it
                    if self._changes != changes:
                        return False
                    if self._regular:
                        end = self._end()
                        if end is None or begin not in (None, end - written):
                            return False
                        begin = end - written
                written += self._os.write(self._fd, data[written:])
                self._torn = written < len(data)
        except BaseException:
            self._take_back(begin, written)
            raise
        return True

    def _ends_within_a_line(self) -> bool:
        if not self._regular:
            return self._torn
        size: int = self._os.fstat(self._fd).st_size
        return size > 0 and self._os.pread(self._fd, 1, size - 1) != b"\n"

    def _end(self) -> int | None:
        """Where what this descriptor wrote last ends; None when that is no longer the end of the file."""
        end: int = self._os.lseek(self._fd, 0, os.SEEK_CUR)  # O_APPEND leaves the offset there
        return end if end == self._os.fstat(self._fd).st_size else None

    def _take_back(self, begin: int | None, written: int) -> None:
        """Cut off the part of a line, but only if it is certain that this is all that is cut off."""
        # OSError: an append-only file, for one; the next line then starts on a new one
        with contextlib.suppress(OSError):
            if begin is not None and self._end() == begin + written:
                self._os.ftruncate(self._fd, begin)
