"""A `FileSystem` in memory that loses its power, kills its process and fails when it is told to.

    fs = SimulatedFileSystem()                  # empty; names start at "/"
    journal = JournalPath(fs, "/journal")
    ...
    fs = fs.crash(random.Random(7))             # the disk as it may be after a power loss
    fs = fs.kill()                              # or: after the death of the process; nothing is lost

After either, everything that was made with the old one is dead: its calls raise `Stopped`, but for ``close``.

    fs.fail("sync", errno.EIO, "*.seg")         # the next one; times=None for all, until heal()
    fs.interrupt(after=5)                       # the sixth call that changes anything raises Stopped instead
    fs.meanwhile = lambda operation, path: ...  # what others do in the instant before each call
    fs.corrupt(path, 100, b"?")                 # as a failing disk does: in the cache and on the disk
    fs.write_back(random.Random(7))             # some written pages become durable, as they may at any time
    fs.sync()                                   # everything becomes durable
    other = fs.process()                        # another process on the same disk: locks hold between the two

Capacity and inodes end in ENOSPC. `log` has the calls that changed something, for tests of their order.
"""

from __future__ import annotations

import errno
import os
import weakref
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from support.simulated_disk import PAGE, Content, Directory, Disk, Edit, Inode, Mapping, pages

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

CHANGING = frozenset(
    {
        "chown_group",
        "create",
        "lock",
        "mkdir",
        "rename",
        "reserve",
        "rmdir",
        "sync",
        "sync_directory",
        "truncate",
        "unlink",
        "write",
    }
)
"""Operations that `interrupt` counts and `log` has. ``create`` is an ``open`` that makes a file."""


class Stopped(BaseException):
    """The process, or the whole machine, stopped before this call: no code that handles errors runs then."""


class Fault:
    """What `SimulatedFileSystem.fail` was told.

    Attributes:
        hits: How often it has struck.
    """

    def __init__(self, operation: str, number: int, pattern: str, times: int | None, after: int) -> None:
        self.operation = operation
        self.errno = number
        self.pattern = pattern
        self.left = times
        self.spared = after
        self.hits = 0

    def strikes(self, operation: str, paths: tuple[str, ...]) -> bool:
        if self.left == 0 or not fnmatchcase(operation, self.operation):
            return False
        if not any(fnmatchcase(path, self.pattern) for path in paths):
            return False
        if self.spared > 0:
            self.spared -= 1
            return False
        self.hits += 1
        if self.left is not None:
            self.left -= 1
        return True


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class SimulatedFile:
    """A `File`."""

    def __init__(self, fs: SimulatedFileSystem, path: str, inode: Content, *, writable: bool) -> None:
        self.path = path
        self._fs = fs
        self._inode = inode
        self._writable = writable
        self._closed = False
        inode.opens += 1

    def _enter(self, operation: str, *, writes: bool = False) -> Content:
        self._fs.enter(operation, self.path)
        if self._closed or (writes and not self._writable):
            raise _error(errno.EBADF, self.path)
        return self._inode

    def reserve(self, size: int) -> None:
        inode = self._enter("reserve", writes=True)
        self._allocate(inode, range(pages(size)), size)

    def _allocate(self, inode: Content, wanted: range, end: int) -> None:
        missing = [page for page in wanted if page not in inode.allocated]
        free = self._fs.disk.free() if missing else None
        full = free is not None and free < len(missing)
        if full:
            missing = missing[: max(0, free or 0)]
            end = min(end, missing[-1] * PAGE + PAGE if missing else 0)
        inode.allocated.update(missing)
        if end > inode.size:
            os.ftruncate(inode.descriptor, end)
        if full:
            raise _error(errno.ENOSPC, self.path)

    def map(self, size: int, *, writable: bool) -> Mapping:
        return self._enter("map", writes=writable).map(size, writable=writable, owner=self._fs)

    def read(self, offset: int, count: int) -> bytes:
        return os.pread(self._enter("read").descriptor, count, offset)

    def write(self, offset: int, data: bytes) -> None:
        inode = self._enter("write", writes=True)
        if data:
            end = offset + len(data)
            self._allocate(inode, range(offset // PAGE, pages(end)), end)
            os.pwrite(inode.descriptor, data, offset)

    def truncate(self, size: int) -> None:
        self._enter("truncate", writes=True).truncate(size)

    def sync(self) -> None:
        try:
            inode = self._enter("sync")
        except OSError:
            self._inode.sync_failed()
            raise
        inode.sync()

    def lock(self, *, shared: bool = False) -> bool:
        inode = self._enter("lock")
        if inode.holder not in {None, self} or (not shared and inode.sharers - {self}):
            return False
        if shared:
            inode.holder = None
            inode.sharers.add(self)
        else:
            inode.holder = self
            inode.sharers.discard(self)
        return True

    def unlock(self) -> None:
        self._unlock(self._enter("unlock"))

    def _unlock(self, inode: Content) -> None:
        inode.sharers.discard(self)
        if inode.holder is self:
            inode.holder = None

    def size(self) -> int:
        return self._enter("size").size

    def inode(self) -> tuple[int, int]:
        return 1, self._enter("inode").number

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._inode.opens -= 1
            self._unlock(self._inode)


class SimulatedFileSystem:
    """See the module.

    Args:
        capacity: Bytes of the disk; None for no bound.
        inodes: How many files and directories there may be, the root included; None for no bound.
        kind: The type that it says it is.

    Attributes:
        disk: The inodes.
        log: Operation and path of each call that changed something.
        read_only: Whether changes are refused with EROFS.
        meanwhile: Called before each call, with its operation and path; not for calls that it makes itself.
    """

    def __init__(self, capacity: int | None = None, inodes: int | None = None, *, kind: str = "ext4") -> None:
        self.disk = Disk(capacity, inodes)
        self.log: list[tuple[str, str]] = []
        self.read_only = False
        self.meanwhile: Callable[[str, str], None] | None = None
        self._kind = kind
        self._faults: list[Fault] = []
        self._files: weakref.WeakSet[SimulatedFile] = weakref.WeakSet()
        self._left: int | None = None
        self._dead = False

    # what tests do to it

    def crash(self, rng: random.Random) -> SimulatedFileSystem:
        """The file system after a power loss, which `rng` decides. This one is dead from now on."""
        return self._successor(self.disk.after_power_loss(rng))

    def kill(self) -> SimulatedFileSystem:
        """The file system after the death of this process: nothing lost, no lock held by it."""
        for file in list(self._files):
            file.close()
        for inode in self.disk.contents():
            owners = {mapping.owner for mapping in inode.mappings()}
            if owners == {self}:
                inode.detach()
        return self._successor(self.disk)

    def process(self) -> SimulatedFileSystem:
        """The same disk as another process has it; `kill` ends one of them.

        What a killed process has mapped together with a living one, it must not store into any more.
        """
        other = SimulatedFileSystem(kind=self._kind)
        other.disk = self.disk
        other.read_only = self.read_only
        return other

    def _successor(self, disk: Disk) -> SimulatedFileSystem:
        successor = self.process()
        successor.disk = disk
        self._dead = True
        return successor

    def fail(
        self, operation: str, number: int, pattern: str = "*", times: int | None = 1, after: int = 0
    ) -> Fault:
        """Let calls fail.

        Args:
            operation: A method's name, ``create`` for an ``open`` that makes a file, or a pattern of them.
            number: The errno.
            pattern: The paths, as fnmatch has it (``*`` matches ``/`` too); of a rename either one.
            times: How often; None for always.
            after: How many such calls succeed before.
        """
        fault = Fault(operation, number, pattern, times, after)
        self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Let nothing fail any more."""
        self._faults = []

    def interrupt(self, after: int | None) -> None:
        """Let `after` more calls that change something succeed, and stop at the next one; None for never."""
        self._left = after

    def corrupt(self, path: str, offset: int, data: bytes) -> None:
        """Overwrite bytes of a file, in the cache and on the disk."""
        inode = self._content(path)
        os.pwrite(inode.descriptor, data, offset)
        durable = bytearray(inode.durable.ljust(offset + len(data), b"\0"))
        durable[offset : offset + len(data)] = data
        inode.durable = bytes(durable)

    def cut(self, path: str, size: int) -> None:
        """Shorten a file, in the cache and on the disk."""
        inode = self._content(path)
        inode.truncate(size)
        inode.durable = inode.durable[:size]

    def content(self, path: str) -> bytes:
        """What processes read."""
        return self._content(path).read()

    def durable(self, path: str) -> bytes:
        """What the disk holds of a file that has this name now."""
        return self._content(path).durable

    def write_back(self, rng: random.Random) -> None:
        """Let some of what was written become durable, as it may at any time."""
        for inode in self.disk.contents():
            inode.write_back(rng)

    def sync(self) -> None:
        """Let everything become durable."""
        self.disk.sync()

    def files(self, path: str = "/") -> dict[str, bytes]:
        """Content of all files below a directory, by path."""
        found: dict[str, bytes] = {}
        for name, inode in sorted(self._directory(path).entries.items()):
            child = f"{path.rstrip('/')}/{name}"
            if isinstance(inode, Content):
                found[child] = inode.read()
            else:
                found |= self.files(child)
        return found

    # names

    def enter(self, operation: str, *paths: str) -> None:
        """Every call begins here: it may be stopped, or fail."""
        if self._dead:
            raise Stopped(f"{operation} {paths[0]}: its process is dead")
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile(operation, paths[0])
            self.meanwhile = meanwhile
        if operation in CHANGING and self._left is not None:
            if self._left == 0:
                raise Stopped(f"before {operation} {paths[0]}")
            self._left -= 1
        for fault in self._faults:
            if fault.strikes(operation, paths):
                raise _error(fault.errno, paths[0])
        if operation in CHANGING:
            if self.read_only and operation not in {"lock", "sync", "sync_directory"}:
                raise _error(errno.EROFS, paths[0])
            self.log.append((operation, paths[-1]))

    def _lookup(self, path: str) -> Inode:
        inode: Inode = self.disk.root
        for name in filter(None, path.split("/")):
            if not isinstance(inode, Directory):
                raise _error(errno.ENOTDIR, path)
            if name not in inode.entries:
                raise _error(errno.ENOENT, path)
            inode = inode.entries[name]
        return inode

    def _directory(self, path: str) -> Directory:
        inode = self._lookup(path)
        if not isinstance(inode, Directory):
            raise _error(errno.ENOTDIR, path)
        return inode

    def _content(self, path: str) -> Content:
        inode = self._lookup(path)
        if not isinstance(inode, Content):
            raise _error(errno.EISDIR, path)
        return inode

    def _place(self, path: str) -> tuple[Directory, str]:
        folder, _, name = path.rstrip("/").rpartition("/")
        return self._directory(folder), name

    def _make(self, path: str, kind: type[Content | Directory], mode: int) -> Inode:
        parent, name = self._place(path)
        if name in parent.entries:
            raise _error(errno.EEXIST, path)
        bound = self.disk.inodes
        if bound is not None and len(list(self.disk.all())) >= bound:
            raise _error(errno.ENOSPC, path)
        inode = kind(self.disk.number(), mode, parent.gid if parent.mode & 0o2000 else os.getegid())
        self.disk.change(Edit(parent, name, inode))
        return inode

    def open(
        self,
        path: str,
        *,
        create: bool = False,
        exclusive: bool = False,
        writable: bool = True,
        mode: int = 0o600,
    ) -> SimulatedFile:
        self.enter("open", path)
        parent, name = self._place(path)
        if create or exclusive:
            if name not in parent.entries:
                self.enter("create", path)
                self._make(path, Content, mode)
            elif exclusive:
                raise _error(errno.EEXIST, path)
        if self.read_only and writable:
            raise _error(errno.EROFS, path)
        inode = self._content(path)
        file = SimulatedFile(self, path, inode, writable=writable)
        self.disk.opened.append(weakref.ref(inode))
        self._files.add(file)
        return file

    def list(self, path: str) -> list[str]:
        self.enter("list", path)
        return list(self._directory(path).entries)

    def mkdir(self, path: str, mode: int) -> None:
        self.enter("mkdir", path)
        self._make(path, Directory, mode)

    def rename(self, source: str, target: str) -> None:
        self.enter("rename", source, target)
        from_directory, from_name = self._place(source)
        to_directory, to_name = self._place(target)
        inode = self._lookup(source)
        replaced = to_directory.entries.get(to_name)
        if replaced is inode:
            return
        if isinstance(replaced, Directory) and not isinstance(inode, Directory):
            raise _error(errno.EISDIR, target)
        if isinstance(replaced, Content) and isinstance(inode, Directory):
            raise _error(errno.ENOTDIR, target)
        if isinstance(replaced, Directory) and replaced.entries:
            raise _error(errno.ENOTEMPTY, target)
        self.disk.change(Edit(from_directory, from_name, None), Edit(to_directory, to_name, inode))

    def unlink(self, path: str) -> None:
        self.enter("unlink", path)
        self._content(path)
        self.disk.change(Edit(*self._place(path), None))

    def rmdir(self, path: str) -> None:
        self.enter("rmdir", path)
        if self._directory(path).entries:
            raise _error(errno.ENOTEMPTY, path)
        self.disk.change(Edit(*self._place(path), None))

    def exists(self, path: str) -> bool:
        self.enter("exists", path)
        try:
            self._lookup(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def is_directory(self, path: str) -> bool:
        return self.exists(path) and isinstance(self._lookup(path), Directory)

    def size(self, path: str) -> int:
        self.enter("size", path)
        inode = self._lookup(path)
        return inode.size if isinstance(inode, Content) else PAGE

    def inode(self, path: str) -> tuple[int, int]:
        self.enter("inode", path)
        return 1, self._lookup(path).number

    def mode(self, path: str) -> int:
        self.enter("mode", path)
        return self._lookup(path).mode

    def group(self, path: str) -> int:
        self.enter("group", path)
        return self._lookup(path).gid

    def writable(self, path: str) -> bool:
        self.enter("writable", path)
        self._directory(path)
        return not self.read_only

    def sync_directory(self, path: str) -> None:
        self.enter("sync_directory", path)
        self.disk.sync_directory(self._directory(path))

    def kind(self, path: str) -> str:
        self.enter("kind", path)
        return self._kind

    def chown_group(self, path: str, gid: int) -> None:
        self.enter("chown_group", path)
        self._lookup(path).gid = gid
