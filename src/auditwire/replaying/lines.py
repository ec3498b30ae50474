"""Where lines go: a file, compressed when its name ends in ``.gz``, or a stream such as standard output.

A compressed file is one gzip member (RFC 1952) after the other, each ended where the lines before it were
made safe: so it can be cut back there, and is whole for any reader of gzip, which reads the members as one.
"""

from __future__ import annotations

import os
import stat
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Any, BinaryIO

from auditwire.errors import ConfigurationError, SinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from auditwire.reading import Record

__all__ = ["FileLines", "StreamLines"]

_MODE = 0o600
_BUFFER = 1 << 16
_MARK_BYTES = 1_024
_GZIP = 31  # zlib's number for a gzip header and the largest window
_LEVEL = 6


class FileLines:
    """Lines into a file of their own. For one thread.

    Args:
        path: The file. It is made with mode 0600; one that is there has to be empty, or ``known``.
        line: A record as one line, its newline included.
        known: What ``settle`` said of it last: the file is cut back to that, and goes on there.
        compress: Write gzip.
        each: Write every line at once, for someone who watches the file.

    Raises:
        ConfigurationError: It cannot be opened, holds something, or is not the file that ``known`` is of.
    """

    def __init__(
        self,
        path: Path,
        line: Callable[[Record], bytes],
        *,
        known: Mapping[str, Any] | None = None,
        compress: bool = False,
        each: bool = False,
    ) -> None:
        self._path = path
        self._line = line
        self._each = each
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP) if compress else None
        self._begun = False  # whether the member has a line
        self._file = self._open(known or {})

    def write(self, record: Record) -> None:
        """Write one record.

        Raises:
            SinkError: The file system refused it. What follows must not be written: a line may be incomplete.
        """
        data = self._line(record)
        try:
            if self._compressor is not None:
                self._begun = True
                data = self._compressor.compress(data)
            self._file.write(data)
            if self._each and self._compressor is None:
                self._file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def settle(self) -> dict[str, Any]:
        """Return when everything written is on the disk: ``bytes``, the ``mark`` before them, and ``inode``.

        Raises:
            SinkError: It is not.
        """
        try:
            if self._compressor is not None and self._begun:
                self._end_member()
            self._file.flush()
            os.fsync(self._file.fileno())
            length = self._file.tell()
            inode = os.fstat(self._file.fileno()).st_ino
            return {"bytes": length, "mark": _mark(self._file.fileno(), length), "inode": inode}
        except OSError as error:
            raise self._refused(error) from error

    def finish(self) -> dict[str, Any]:
        """``settle``, when nothing more will come: a compressed file without lines gets an empty member."""
        if self._compressor is not None and not self._begun and not self._file.tell():
            self._begun = True
        return self.settle()

    def close(self) -> None:
        """Close the file; what was not settled may be incomplete."""
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    # -- inside ---------------------------------------------------------------------------------------------

    def _end_member(self) -> None:
        assert self._compressor is not None  # noqa: S101 - for the type checker; who calls has looked
        self._file.write(self._compressor.flush(zlib.Z_FINISH))
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._begun = False

    def _open(self, known: Mapping[str, Any]) -> BinaryIO:
        try:
            # without O_NONBLOCK a named pipe that nobody reads would be waited for
            flags = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK
            if not known.get("bytes"):
                flags |= os.O_CREAT
            descriptor = os.open(self._path, flags, _MODE)
        except OSError as error:
            raise ConfigurationError("--to", f"{self._path} cannot be written: {error.strerror}") from error
        try:
            self._begin(descriptor, known)
        except BaseException:
            os.close(descriptor)
            raise
        file = os.fdopen(descriptor, "wb", buffering=_BUFFER)
        file.seek(0, os.SEEK_END)
        return file

    def _begin(self, descriptor: int, known: Mapping[str, Any]) -> None:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError("--to", f"{self._path} is no regular file; write to - and pipe it there")
        length = known.get("bytes", 0)
        if known and not self._is_known(descriptor, status, known):
            raise ConfigurationError(
                "--resume",
                f"{self._path} is not the file that was written: its first {length:,} bytes are others",
            )
        if not known and status.st_size:
            raise ConfigurationError(
                "--to",
                f"{self._path} holds {status.st_size:,} bytes already: name another file, or remove it",
            )
        os.ftruncate(descriptor, length)

    @staticmethod
    def _is_known(descriptor: int, status: os.stat_result, known: Mapping[str, Any]) -> bool:
        if not known["bytes"]:  # no bytes to know it by
            return not status.st_size or status.st_ino == int(known["inode"])
        if status.st_size < known["bytes"]:
            return False
        return _mark(descriptor, known["bytes"]) == str(known["mark"])

    def _refused(self, error: OSError) -> SinkError:
        return SinkError(f"{self._path} could not be written: {error.strerror}")


def _mark(descriptor: int, length: int) -> str:
    """SHA-256 of the bytes before the offset, 1,024 at most, in hex: a file without them is another one."""
    count = min(length, _MARK_BYTES)
    return sha256(os.pread(descriptor, count, length - count)).hexdigest()


class StreamLines:
    """Lines into a stream that is somebody else's, such as standard output. For one thread.

    Args:
        stream: Gets the bytes.
        line: A record as one line, its newline included.
        each: Send every line at once, not when there are some.
    """

    def __init__(self, stream: BinaryIO, line: Callable[[Record], bytes], *, each: bool = False) -> None:
        self._stream = stream
        self._line = line
        self._each = each
        self._bytes = 0

    def write(self, record: Record) -> None:
        """Write one record.

        Raises:
            BrokenPipeError: Nobody reads it any more.
            SinkError: It was refused for another reason.
        """
        data = self._line(record)
        self._bytes += len(data)
        try:
            self._stream.write(data)
            if self._each:
                self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(f"standard output: {error.strerror}") from error

    def settle(self) -> dict[str, Any]:
        """Send what is still here; how many ``bytes`` there were in all.

        Raises:
            BrokenPipeError: Nobody reads it any more.
            SinkError: It was refused for another reason.
        """
        try:
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise SinkError(f"standard output: {error.strerror}") from error
        return {"bytes": self._bytes}

    finish = settle

    def close(self) -> None:
        """The stream stays open."""
