"""Who may write a stream, and who may send it: one ``flock`` for each, on a file of its own.

``flock`` and not ``fcntl`` locks: it belongs to the open file, so that other code of the process that opens
and closes the same file does not free it. A forked child inherits it, and would keep it held after its parent
has died: every lock is abandoned in the child, before anything else runs there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire import forksafe

if TYPE_CHECKING:
    from auditwire.journal.filesystem import File, FileSystem

__all__ = ["Lock"]


class Lock:
    """A held lock; free when it is released, or when the process and its forks have ended."""

    __slots__ = ("__weakref__", "_file", "_fs", "path")

    def __init__(self, fs: FileSystem, path: str, file: File) -> None:
        self.path = path
        """The lock file. Whoever renames its directory sets this."""
        self._fs = fs
        self._file: File | None = file
        # before the file is locked: another thread may fork while only `acquire` knows of the lock
        forksafe.register(self)

    @classmethod
    def acquire(cls, fs: FileSystem, path: str, *, mode: int = 0o600) -> Lock | None:
        """Take a lock without waiting; its file is made when there is none.

        None when somebody else has it, when its directory is gone, or when the file that was locked does not
        bear the name any more: ``flock`` succeeds on a removed file, which nobody else will ever look at.

        Raises:
            OSError: The file can be neither opened nor made.
        """
        try:
            file = fs.open(path, create=True, mode=mode)
        except FileNotFoundError:
            return None
        lock = cls(fs, path, file)
        held = False
        try:
            held = file.lock() and lock.intact()
        finally:
            if not held:
                lock.release()
        return lock if held else None

    @staticmethod
    def held(fs: FileSystem, path: str) -> bool:
        """Whether somebody has a lock. Nothing is made, and a file that may only be read can be asked too.

        It is asked by a shared lock of an instant: others who ask do not notice, and who takes the lock in
        this very instant finds it held, and has to look again.

        Raises:
            OSError: The file cannot be opened.
        """
        try:
            file = fs.open(path, writable=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            if not file.lock(shared=True):
                return True
            file.unlock()  # for forks of this moment, too
            return False
        finally:
            file.close()

    def intact(self) -> bool:
        """Whether the lock is held, and its file still bears its name: another could take it otherwise."""
        if self._file is None:
            return False
        try:
            return self._file.inode() == self._fs.inode(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def release(self) -> None:
        """Free the lock, though forked children may have inherited it. Doing so again does nothing."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.unlock()
            finally:
                file.close()

    def after_fork(self) -> None:
        """In every forked child: the lock is the parent's, whoever holds it there at the moment."""
        self.abandon()

    def abandon(self) -> None:
        """In a forked child: close without unlocking, for the lock is the parent's too."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
