"""How far a stream has come, as its cursor says, for a reader that may move it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.journal.cursor import Cursor, Position

if TYPE_CHECKING:
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem

__all__ = ["Progress"]


class Progress:
    """A stream's cursor. It only makes things quicker: no error of it is raised.

    Args:
        fs: Where the stream is.
        directory: The stream.
        moves: Whether it is moved: the sender's lock is held.

    Attributes:
        position: What the cursor said, or was told last; None without a readable one.
        certain: Whether that is the latest that was written: with one slot damaged, the other may be older
            than the removal of segments.
        problem: What the file system said when it could not be written the last time, or None.
    """

    def __init__(self, fs: FileSystem, directory: StreamDirectory, *, moves: bool) -> None:
        self._fs = fs
        self._path = directory.cursor_path
        self._mode = directory.file_mode
        self._moves = moves
        self.position: Position | None = None
        self.certain = False
        self.problem: str | None = None
        self._cursor: Cursor | None = None
        self._unknown = False
        try:
            self._cursor = self._open()
            self.position = self._cursor.read()
            self.certain = not self._cursor.problems
        except OSError:
            self._unknown = True

    def _open(self) -> Cursor:
        return Cursor.open(self._fs, self._path, writable=self._moves, mode=self._mode)

    def move(self, position: Position, *, sync: bool) -> bool:
        """Write the cursor, unless it says so already; whether segments in front of it may be removed.

        Args:
            position: Where it is moved to.
            sync: Whether it is to be on disk when this returns.
        """
        if not self._moves:
            return False
        if position == self.position and not sync:
            return True
        try:
            if self._cursor is None:
                self._cursor = self._open()
            self._cursor.write(*position)
            if sync:
                self._cursor.sync()
        except OSError as error:
            self.problem = f"{type(error).__name__}: {error}"
            return self._never_written()
        self.position = position
        self.problem = None
        return True

    def _never_written(self) -> bool:
        """A disk so full that there never was a cursor: no older one can tell of segments that are gone."""
        return self.position is None and (not self._unknown or not self._fs.exists(self._path))

    def close(self) -> None:
        """Close the file. Closing again does nothing."""
        if self._cursor is not None:
            self._cursor.close()
