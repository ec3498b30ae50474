"""A disk behind a page cache: what is written, and what of it survives a power loss.

File contents lie in memory files of the kernel, so that mappings are real ones. What is durable is kept
beside them: a sync copies the contents over, and a crash chooses, page by page, between the two.

What a power loss may do here is what ext4 may do, or worse:

- Of a file, each 4,096-byte page that was written since the last sync is kept, lost (its durable content, or
  zeros where there was none) or torn at 512-byte sectors. The length is the durable one or the written one.
- Of a directory, each entry that was made, renamed or removed since its last sync is kept or not, in any
  combination in which each kept change finds what it changed. One rename is kept whole or not at all.
- Syncing a file does not sync its name (ext4 would), and a rename does not sync the file (ext4 often would).
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

PAGE = 4096
SECTOR = 512


def pages(size: int) -> int:
    return -(-size // PAGE)


class Mapping(mmap.mmap):
    """A real mapping, of which one can tell whether it is still open."""

    owner: object = None


class Inode:
    """A file or a directory, whatever its names."""

    def __init__(self, number: int, mode: int, gid: int) -> None:
        self.number = number
        self.mode = mode
        self.gid = gid


class Directory(Inode):
    def __init__(self, number: int, mode: int, gid: int) -> None:
        super().__init__(number, mode, gid)
        self.entries: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}


class Content(Inode):
    """A file: its page cache and what is durable of it."""

    def __init__(self, number: int, mode: int, gid: int) -> None:
        super().__init__(number, mode, gid)
        self.durable = b""
        self.allocated: set[int] = set()
        self.holder: object = None  # the open file that has the lock alone
        self.sharers: set[object] = set()  # those that share it
        self.opens = 0
        self._lost: dict[int, bytes] = {}  # pages that a failed sync left clean but not durable
        self._mappings: list[weakref.ref[Mapping]] = []
        self._set_descriptor()

    def _set_descriptor(self) -> None:
        self.descriptor = os.memfd_create("simulated", os.MFD_CLOEXEC)
        self._close = weakref.finalize(self, os.close, self.descriptor)

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def read(self) -> bytes:
        return os.pread(self.descriptor, self.size, 0)

    def mappings(self) -> list[Mapping]:
        found = [mapping for ref in self._mappings if (mapping := ref()) is not None]
        return [mapping for mapping in found if not mapping.closed]

    def map(self, size: int, *, writable: bool, owner: object) -> Mapping:
        if size > self.size or size <= 0:
            raise ValueError(f"cannot map {size} bytes of a file of {self.size}")
        if writable and not self.allocated.issuperset(range(pages(size))):
            raise AssertionError("a hole is mapped for writing: SIGBUS on a full disk")
        mapping = Mapping(self.descriptor, size, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        mapping.owner = owner
        self._mappings.append(weakref.ref(mapping))
        return mapping

    def truncate(self, size: int) -> None:
        if any(len(mapping) > size for mapping in self.mappings()):
            raise AssertionError("a mapped file is cut: SIGBUS")
        os.ftruncate(self.descriptor, size)
        self.allocated = {page for page in self.allocated if page < pages(size)}

    def replace(self, data: bytes) -> None:
        """Both the cache and the disk hold this from now on."""
        os.ftruncate(self.descriptor, len(data))
        os.pwrite(self.descriptor, data, 0)
        self.durable = data
        self.allocated = set(range(pages(len(data))))
        self._lost = {}

    def detach(self) -> None:
        """Mappings made so far are of another file from now on: their process is dead, and must not write."""
        data = self.read()
        self._close.detach()
        os.close(self.descriptor)
        self._set_descriptor()
        os.ftruncate(self.descriptor, len(data))
        os.pwrite(self.descriptor, data, 0)
        self._mappings = []

    def sync(self) -> None:
        content = bytearray(self.read())
        for page, lost in list(self._lost.items()):
            span = slice(page * PAGE, page * PAGE + len(lost))
            if content[span] == lost:  # the kernel takes it for clean
                content[span] = self.durable[span].ljust(len(lost), b"\0")
            else:
                del self._lost[page]
        self.durable = bytes(content)

    def sync_failed(self) -> None:
        """What is dirty counts as clean, and is not on the disk: a later sync succeeds without it."""
        content = self.read()
        for page in self.dirty():
            self._lost[page] = content[page * PAGE : (page + 1) * PAGE]

    def dirty(self) -> list[int]:
        """The pages whose content is not durable."""
        content = self.read()
        return [
            page
            for page in range(pages(max(len(content), len(self.durable))))
            if content[page * PAGE : (page + 1) * PAGE] != self.durable[page * PAGE : (page + 1) * PAGE]
        ]

    def write_back(self, rng: random.Random) -> None:
        """What the kernel may do at any time: some pages become durable."""
        self.durable = self.survivor(rng, torn=False)

    def survivor(self, rng: random.Random, *, torn: bool = True) -> bytes:
        """The content after a power loss."""
        content = self.read()
        if content == self.durable:
            return content
        result = bytearray(self.durable.ljust(len(content), b"\0"))
        written = content.ljust(len(result), b"\0")
        mood = rng.choice(("keep", "lose", "mix", "mix"))
        for page in self.dirty():
            fate = rng.choice(("keep", "lose", "tear" if torn else "keep")) if mood == "mix" else mood
            for start in range(page * PAGE, min((page + 1) * PAGE, len(result)), SECTOR):
                if fate == "keep" or (fate == "tear" and rng.random() < 0.5):
                    result[start : start + SECTOR] = written[start : start + SECTOR]
        size = len(content) if mood == "keep" else rng.choice((len(content), len(self.durable)))
        return bytes(result[:size])


class Edit(NamedTuple):
    """One name of a directory, before and after."""

    directory: Directory
    name: str
    after: Inode | None

    @property
    def key(self) -> tuple[int, str]:
        return id(self.directory), self.name


Change = tuple[Edit, ...]
"""What one call did to names; durable as a whole or not at all."""


class Disk:
    """Inodes, names, and the changes of names that are not durable yet."""

    def __init__(self, capacity: int | None, inodes: int | None) -> None:
        self.capacity = capacity
        self.inodes = inodes
        self.pending: list[Change] = []
        self.opened: list[weakref.ref[Content]] = []
        self._number = 1
        self.root = Directory(1, 0o755, 0)

    def number(self) -> int:
        self._number += 1
        return self._number

    def all(self) -> Iterator[Inode]:
        """Every inode that takes room: it has a name, or is open."""
        found: dict[int, Inode] = {}
        waiting: list[Inode] = [self.root]
        while waiting:
            inode = waiting.pop()
            found[inode.number] = inode
            if isinstance(inode, Directory):
                waiting += inode.entries.values()
        self.opened = [ref for ref in self.opened if (file := ref()) is not None and file.opens]
        for ref in self.opened:
            if (file := ref()) is not None:
                found[file.number] = file
        return iter(found.values())

    def contents(self) -> Iterator[Content]:
        return (inode for inode in self.all() if isinstance(inode, Content))

    def free(self) -> int | None:
        """Pages that are left; None without a bound."""
        if self.capacity is None:
            return None
        return self.capacity // PAGE - sum(len(file.allocated) for file in self.contents())

    def change(self, *edits: Edit) -> None:
        for directory, name, after in edits:
            if after is None:
                del directory.entries[name]
            else:
                directory.entries[name] = after
        self.pending.append(edits)

    def sync_directory(self, directory: Directory) -> None:
        wanted: set[tuple[int, str]] = set()
        done: list[Change] = []
        for change in reversed(self.pending):
            keys = {edit.key for edit in change}
            # a change takes along the earlier ones that it builds on
            if keys & wanted or any(edit.directory is directory for edit in change):
                wanted |= keys
                done.append(change)
        self.pending = [change for change in self.pending if not any(change is other for other in done)]
        for change in reversed(done):
            for edit in change:
                _apply(edit.directory.durable, edit)

    def sync(self) -> None:
        """Everything, as sync(2) does."""
        for change in self.pending:
            for edit in change:
                _apply(edit.directory.durable, edit)
        self.pending = []
        for file in self.contents():
            file.sync()

    def after_power_loss(self, rng: random.Random) -> Disk:
        tables: dict[int, dict[str, Inode]] = {}

        def table(directory: Directory) -> dict[str, Inode]:
            return tables.setdefault(id(directory), dict(directory.durable))

        for change in self._kept(rng):
            for edit in change:
                _apply(table(edit.directory), edit)
        disk = Disk(self.capacity, self.inodes)
        copies: dict[int, Inode] = {}

        def copy(inode: Inode) -> Inode:
            if inode.number in copies:
                return copies[inode.number]
            twin: Inode
            if isinstance(inode, Directory):
                twin = copies[inode.number] = Directory(inode.number, inode.mode, inode.gid)
                twin.entries = {name: copy(child) for name, child in table(inode).items()}
                twin.durable = dict(twin.entries)
            else:
                assert isinstance(inode, Content)
                twin = copies[inode.number] = Content(inode.number, inode.mode, inode.gid)
                twin.replace(inode.survivor(rng))
            return twin

        root = copy(self.root)
        assert isinstance(root, Directory)
        disk.root = root
        disk._number = self._number
        return disk

    def _kept(self, rng: random.Random) -> list[Change]:
        mood = rng.choice(("all", "none", "prefix", "mix", "mix"))
        if mood == "all":
            return self.pending
        if mood == "none":
            return []
        if mood == "prefix":  # what ext4's journal does
            return self.pending[: rng.randint(0, len(self.pending))]
        kept: list[Change] = []
        lost: set[tuple[int, str]] = set()
        for change in self.pending:
            keys = {edit.key for edit in change}
            if keys & lost or rng.random() < 0.5:
                lost |= keys
            else:
                kept.append(change)
        return kept


def _apply(table: dict[str, Inode], edit: Edit) -> None:
    if edit.after is None:
        table.pop(edit.name, None)
    else:
        table[edit.name] = edit.after
