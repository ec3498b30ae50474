"""The few calls that the disk journal makes to the operating system, behind a protocol.

Everything on disk goes through a `FileSystem`: `REAL` in production; in tests one that fails where it is told
to, and that forgets what was not synced when its power is cut. Errors are ``OSError`` with ``errno``, and
name the file.
"""

# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH208 - a method is one system call

from __future__ import annotations

import errno
import mmap
import os
import stat
import sys
from typing import TYPE_CHECKING, Protocol

from auditwire.journal.mounts import MOUNTINFO, kind

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["REAL", "Buffer", "File", "FileSystem", "RealFile", "RealFileSystem"]

_ZEROS = bytes(1 << 20)
_REFUSED = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


class Buffer(Protocol):
    """A mapped file: what is stored is seen at once by every other mapping of it, in this process or not."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> bytes: ...

    def __setitem__(self, key: slice, value: bytes, /) -> None: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...

    def close(self) -> None:
        """Unmap.

        Raises:
            BufferError: A memoryview of it is still in use.
        """


class File(Protocol):
    """An open file. Not for two threads at once, but that one may ``sync`` while another reads or writes."""

    @property
    def path(self) -> str:
        """As it was opened."""

    def reserve(self, size: int) -> None:
        """Have ``size`` bytes of the disk, zeros where nothing was written; the file never shrinks by it.

        Never sparse: a store into a mapped page that a full disk has no room for kills the process (SIGBUS).

        Raises:
            OSError: ENOSPC or EDQUOT where there is no room. The file may have grown by a part of it.
        """

    def map(self, size: int, *, writable: bool) -> Buffer:
        """Map the first ``size`` bytes, shared.

        Raises:
            OSError: The file system refuses (ENODEV), or memory is short (ENOMEM).
            ValueError: ``size`` is 0, or more than the file has.
        """

    def read(self, offset: int, count: int) -> bytes:
        """The bytes from ``offset`` on, fewer than ``count`` only at the file's end."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of it, or raise OSError; then a part may have been written."""

    def truncate(self, size: int) -> None:
        """Cut the file, or let it grow by a hole. Never on a file that somebody has mapped: SIGBUS."""

    def sync(self) -> None:
        """Return when everything written so far, through mappings too, survives a power loss.

        After an OSError (EIO) a second call may succeed although the data is lost: it must be written anew,
        elsewhere.
        """

    def lock(self, *, shared: bool = False) -> bool:
        """Take the file's lock, without waiting; False while another open of it has the lock.

        The lock belongs to this open and to what a fork makes of it: it is free when all of them are closed,
        or when one of them unlocks. Any number of opens may have it shared, while none has it alone.
        """

    def unlock(self) -> None:
        """Free the lock, for forked children that hold it too."""

    def size(self) -> int:
        """The file's length in bytes."""

    def inode(self) -> tuple[int, int]:
        """What tells this file from any other that bears or bore its name: device and inode."""

    def close(self) -> None:
        """Give up the descriptor. Mappings stay. Closing again does nothing."""


class FileSystem(Protocol):
    """The calls on names. New names, renames and removals survive a power loss after ``sync_directory``."""

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        writable: bool = True,
        mode: int = 0o600,
    ) -> File:
        """Open a file; the descriptor is closed on exec. A symbolic link is refused (ELOOP).

        Args:
            path: The file.
            create: Make it when there is none.
            exclusive: Make it, and fail with FileExistsError when there is one.
            writable: Whether it may be written; making one asks for that.
            mode: The permissions of a file that is made here, whatever the umask.
        """

    def list(self, path: str) -> list[str]:
        """The names in a directory, in no order."""

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory with these permissions, whatever the umask."""

    def rename(self, source: str, target: str) -> None:
        """Rename; a file that bears the new name is replaced in one step."""

    def unlink(self, path: str) -> None:
        """Remove a file's name."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""

    def exists(self, path: str) -> bool:
        """Whether something bears this name, a dangling link included."""

    def is_directory(self, path: str) -> bool:
        """Whether this is a directory, and not a link to one; False where there is nothing."""

    def size(self, path: str) -> int:
        """The length of a file in bytes."""

    def inode(self, path: str) -> tuple[int, int]:
        """Device and inode of what bears this name."""

    def mode(self, path: str) -> int:
        """The permission bits of what bears this name."""

    def group(self, path: str) -> int:
        """The number of the group that it belongs to."""

    def writable(self, path: str) -> bool:
        """Whether this process may make and remove names in a directory."""

    def sync_directory(self, path: str) -> None:
        """Return when the names in this directory survive a power loss."""

    def kind(self, path: str) -> str:
        """The type of the file system that a path lies on, as mountinfo names it; empty when not known."""

    def chown_group(self, path: str, gid: int) -> None:
        """Give a file or a directory to a group."""


class _Naming:
    """Puts the path into errors of calls on descriptors, which do not know it."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = self._path


class RealFile:
    """A `File` of the operating system."""

    __slots__ = ("_fd", "_naming", "path")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._fd = descriptor
        self._naming = _Naming(path)

    @property
    def _open(self) -> int:
        if self._fd < 0:  # mmap would take it for memory without a file, and others raise a ValueError
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)
        return self._fd

    def reserve(self, size: int) -> None:
        with self._naming:
            if hasattr(os, "posix_fallocate"):  # pragma: no branch - not on macOS
                try:
                    os.posix_fallocate(self._open, 0, size)
                except OSError as error:
                    if error.errno not in _REFUSED:
                        raise
                else:
                    return
            self._fill(size)

    def _fill(self, size: int) -> None:
        end = self.size()
        while end < size:
            count = min(len(_ZEROS), size - end)
            self.write(end, _ZEROS[:count])
            end += count

    def map(self, size: int, *, writable: bool) -> Buffer:
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        with self._naming:
            if size <= 0:  # mmap would take 0 for the whole file
                raise ValueError(f"{self.path}: cannot map {size} bytes")
            return mmap.mmap(self._open, size, access=access)

    def read(self, offset: int, count: int) -> bytes:
        with self._naming:
            data = os.pread(self._open, count, offset)
            while len(data) < count:
                more = os.pread(self._open, count - len(data), offset + len(data))
                if not more:
                    break
                data += more
            return data

    def write(self, offset: int, data: bytes) -> None:
        with self._naming, memoryview(data) as rest:
            done = 0
            while done < len(rest):
                done += os.pwrite(self._open, rest[done:], offset + done)

    def truncate(self, size: int) -> None:
        with self._naming:
            os.ftruncate(self._open, size)

    def sync(self) -> None:
        with self._naming:
            if hasattr(os, "fdatasync"):
                os.fdatasync(self._open)
            else:  # pragma: no cover - macOS
                os.fsync(self._open)

    def lock(self, *, shared: bool = False) -> bool:
        if sys.platform == "win32":  # pragma: no cover - there is no disk journal on Windows
            raise OSError(errno.ENOSYS, "no flock on this platform", self.path)
        try:
            with self._naming:
                fcntl.flock(self._open, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        if sys.platform != "win32":  # pragma: no branch - there is no disk journal on Windows
            with self._naming:
                fcntl.flock(self._open, fcntl.LOCK_UN)

    def size(self) -> int:
        with self._naming:
            return os.fstat(self._open).st_size

    def inode(self) -> tuple[int, int]:
        with self._naming:
            status = os.fstat(self._open)
        return status.st_dev, status.st_ino

    def close(self) -> None:
        descriptor, self._fd = self._fd, -1  # first: the number may be another file's as soon as it is closed
        if descriptor >= 0:
            with self._naming:
                os.close(descriptor)


class RealFileSystem:
    """The operating system's files.

    Args:
        mountinfo: Where the mounts are listed (proc_pid_mountinfo(5)).
    """

    def __init__(self, mountinfo: str = MOUNTINFO) -> None:
        self._mountinfo = mountinfo

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        writable: bool = True,
        mode: int = 0o600,
    ) -> RealFile:
        flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_NONBLOCK
        # non-blocking, for somebody's pipe of that name must not hold us up; close-on-exec by PEP 446
        while True:
            if create or exclusive:
                try:
                    return self._create(path, flags, mode)
                except FileExistsError:
                    if exclusive:
                        raise
            try:
                return RealFile(path, os.open(path, flags))
            except FileNotFoundError:
                if not create:  # else it was removed in between, and is made at the next turn
                    raise

    @staticmethod
    def _create(path: str, flags: int, mode: int) -> RealFile:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
        try:
            os.fchmod(descriptor, mode)
        except BaseException:
            os.close(descriptor)
            os.unlink(path)
            raise
        return RealFile(path, descriptor)

    def list(self, path: str) -> list[str]:
        return os.listdir(path)

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(path, mode & 0o777)
        os.chmod(path, mode)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def exists(self, path: str) -> bool:
        return self._status(path) is not None

    def is_directory(self, path: str) -> bool:
        status = self._status(path)
        return status is not None and stat.S_ISDIR(status.st_mode)

    @staticmethod
    def _status(path: str) -> os.stat_result | None:
        try:
            return os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def size(self, path: str) -> int:
        return os.lstat(path).st_size

    def inode(self, path: str) -> tuple[int, int]:
        status = os.lstat(path)
        return status.st_dev, status.st_ino

    def mode(self, path: str) -> int:
        return stat.S_IMODE(os.lstat(path).st_mode)

    def group(self, path: str) -> int:
        return os.lstat(path).st_gid

    def writable(self, path: str) -> bool:
        return os.access(path, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)

    def sync_directory(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with _Naming(path):
                os.fsync(descriptor)
        except OSError as error:
            # some file systems have no such call on directories, and no other way either
            if error.errno not in {errno.EINVAL, errno.EBADF}:
                raise
        finally:
            os.close(descriptor)

    def kind(self, path: str) -> str:
        return kind(path, self._mountinfo)

    def chown_group(self, path: str, gid: int) -> None:
        os.chown(path, -1, gid)


REAL = RealFileSystem()
"""The file system of production."""
