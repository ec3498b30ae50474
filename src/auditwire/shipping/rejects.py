"""Lines that are no events, kept as they are, to be mended and shipped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from auditwire.errors import SinkError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Rejects"]


class Rejects:
    """A file to which lines are appended; made with mode 0600 by the first one, for they are audit data.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def write(self, data: bytes, /) -> None:
        """Append bytes.

        Raises:
            SinkError: The file cannot be opened or written.
        """
        try:
            if self._file is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                self._file = os.fdopen(os.open(self._path, flags, 0o600), "ab")
            self._file.write(data)
        except OSError as error:
            raise self._refused(error) from error

    def flush(self) -> None:
        """Have everything written to the disk.

        Raises:
            SinkError: That failed.
        """
        if self._file is None:
            return
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the file.

        Raises:
            SinkError: What was left could not be written.
        """
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                raise self._refused(error) from error

    def _refused(self, error: OSError) -> SinkError:
        return SinkError(f"the rejected lines could not be written to {self._path}: {error.strerror}")
