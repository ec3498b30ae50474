"""The journal path: which streams lie there, and how their directories come and go.

::

    <path>/                       0700
      <stream id>/                one directory a stream; its name is a UUIDv7 in lower case
        stream.json               whose it is, for people and for adopters
        owner.lock, sender.lock   flock: who writes the stream, who sends it
        cursor                    how far it has come
        00000000.seg ...          segments
        parked/                   copies of records whose topic takes none
        state.json                how the sender sees it, for `auditwire journal status`
      quarantine/<stream id>/     what could not be delivered or read, for people
      ended/<stream id>           one line ``stream:sequence:digest``, until a later stream names it
      .new-<stream id>/           being made: its owner.lock is held
      .gone-<stream id>/          being removed

A directory is made under its hidden name, locked, filled, synced and then renamed; it is renamed before
anything in it is removed. Whatever interrupts either leaves a whole stream, or a hidden directory that anyone
may remove once its ``owner.lock`` can be had.

Files are 0600 and directories 0700; with a group 0660 and 2770, so that the group passes on to what is made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from typing import TYPE_CHECKING, Any

from auditwire.errors import ConfigurationError
from auditwire.journal.directory import StreamDirectory
from auditwire.journal.locks import Lock
from auditwire.journal.mounts import NETWORK_KINDS
from auditwire.journal.target import Target, boot_id
from auditwire.journal.trees import (
    LOCK_FILE,
    SENDER_LOCK_FILE,
    json_text,
    names,
    read_text,
    remove_tree,
    tree_size,
    unlink,
    write_text,
)

if sys.platform != "win32":
    import grp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditwire.journal.filesystem import FileSystem

__all__ = ["JournalPath", "StreamDirectory", "Target", "boot_id", "lasting"]

_UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_STREAM = re.compile(_UUID7)
_HIDDEN = re.compile(rf"\.(?:new|gone)-({_UUID7})")
_ENDED = re.compile(rf"({_UUID7}):(?:0|[1-9][0-9]{{0,18}}):[0-9a-f]{{64}}")
_NEW = ".new-"
_ATTEMPTS = 100
_LASTING = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
)


def lasting(error: OSError) -> bool:
    """Whether an error of a journal path stays until somebody changes the path or its permissions.

    All others (ENOSPC, EDQUOT, EIO, EMFILE, ENOMEM ...) may pass by themselves: they count as full.
    """
    return error.errno in _LASTING


class JournalPath:
    """A journal path: all that is done between its streams. Any number of processes use one path.

    Args:
        fs: Where it is.
        path: The directory; made when there is none, with its parents.
        group: Name or number of a group that may read and write it too, for a forwarder under another user.
        force_network: Take a network file system nonetheless.

    Attributes:
        fs: As given.
        path: Absolute, links followed.
        file_mode: The permissions of files that are made in it, 0600 or 0660.

    Raises:
        ConfigurationError: It is no directory, or may not be made or written; it lies on a network file
            system; there is no such group, or it may not be given to it; this is Windows.
        OSError: What may pass: no room, no descriptors, an input/output error.
    """

    def __init__(
        self, fs: FileSystem, path: str, *, group: str | int | None = None, force_network: bool = False
    ) -> None:
        if sys.platform == "win32":  # pragma: no cover - tested on POSIX
            raise ConfigurationError("journal", "there is no disk journal on Windows: use journal=None")
        self.fs = fs
        self.path = os.path.realpath(path)
        self._gid = None if group is None else _group_id(group)
        kind = fs.kind(self.path)
        if kind in NETWORK_KINDS and not force_network:
            raise ConfigurationError(
                "journal",
                f"{self.path} lies on a network file system ({kind}), where neither locks nor mapped files "
                "can be relied on: use a local disk",
            )
        try:
            self._make_path()
            if self._gid is not None:
                self._check_group(self._gid)
        except OSError as error:
            if lasting(error):
                raise ConfigurationError("journal", f"{self.path} cannot be a journal: {error}") from error
            raise
        self._shared = self._gid is not None or bool(fs.mode(self.path) & stat.S_IWGRP)

    @classmethod
    def look(cls, fs: FileSystem, path: str) -> JournalPath:
        """A path that is there, for reading: nothing is made or tested, and a read-only medium will do.

        Raises:
            FileNotFoundError: There is nothing.
            NotADirectoryError: It is no directory.
            OSError: It cannot be looked at.
        """
        journal = cls.__new__(cls)
        journal.fs = fs
        journal.path = os.path.realpath(path)
        journal._gid = None  # noqa: SLF001 - its own
        journal._shared = bool(fs.mode(journal.path) & stat.S_IWGRP)  # noqa: SLF001 - its own
        if not fs.is_directory(journal.path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), journal.path)
        return journal

    def _check_group(self, gid: int) -> None:
        try:
            self._give(self.path)
        except PermissionError as error:
            raise ConfigurationError(
                "journal_group", f"{self.path} cannot be given to group {gid}: {error}"
            ) from error
        if self.fs.mode(self.path) & stat.S_IRWXG != stat.S_IRWXG:
            raise ConfigurationError(
                "journal_group", f"group {gid} has no access to {self.path}: chmod 2770 {self.path}"
            )

    def _make_path(self) -> None:
        missing = []
        path = self.path
        while not self.fs.exists(path):
            missing.append(path)
            path = os.path.dirname(path)  # noqa: PTH120 - text paths throughout the seam
        for made in reversed(missing):
            last = made == self.path
            try:
                self.fs.mkdir(made, (0o700 if self._gid is None else 0o2770) if last else 0o755)
            except FileExistsError:  # another process was quicker
                continue
            if last:
                self._give(made)
            self._sync_parent(path)
            path = made
        if not self.fs.is_directory(self.path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), self.path)
        if not self.fs.writable(self.path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path)

    def _sync_parent(self, path: str) -> None:
        try:
            self.fs.sync_directory(path)
        except PermissionError:
            return  # a directory that one may pass and write, but not read, cannot be synced

    @property
    def file_mode(self) -> int:
        return 0o660 if self._shared else 0o600

    @property
    def _directory_mode(self) -> int:
        return 0o2770 if self._shared else 0o700

    def make_directory(self, path: str) -> None:
        """Make a directory below the path with the right permissions, unless there is one."""
        with contextlib.suppress(FileExistsError):
            self.fs.mkdir(path, self._directory_mode)
            self._give(path)

    def _give(self, path: str) -> None:
        if self._gid is not None and self.fs.group(path) != self._gid:
            self.fs.chown_group(path, self._gid)

    # streams

    def create_stream(
        self, stream_id: str, info: Mapping[str, Any], *, sends: bool = False
    ) -> StreamDirectory:
        """Make the directory of a new stream; its owner's lock is held, and it survives a power loss.

        Args:
            stream_id: A UUIDv7 that no stream has had.
            info: What ``stream.json`` will say.
            sends: Whether the sender's lock is to be held too, from before anybody can see the stream.

        Raises:
            OSError: Nothing is left then, or a hidden directory that `sweep` removes.
        """
        directory = self.open_stream(stream_id)
        hidden = f"{self.path}/{_NEW}{stream_id}"
        self._make_path()  # somebody may have removed it since
        lock, sender = self._make_locked(hidden), None
        try:
            if sends:
                sender = Lock.acquire(self.fs, f"{hidden}/{SENDER_LOCK_FILE}", mode=self.file_mode)
            write_text(self.fs, f"{hidden}/stream.json", json_text(info), self.file_mode, sync=True)
            self.fs.sync_directory(hidden)
            self.fs.rename(hidden, directory.path)
            lock.path = f"{directory.path}/{LOCK_FILE}"
            if sender is not None:
                sender.path = f"{directory.path}/{SENDER_LOCK_FILE}"
            self.fs.sync_directory(self.path)
        except BaseException:
            if sender is not None:
                sender.release()
            self._withdraw(directory, hidden, lock)
            raise
        directory.owner, directory.sender = lock, sender
        return directory

    def _make_locked(self, hidden: str) -> Lock:
        """The hidden directory, with its owner's lock held."""
        for _ in range(_ATTEMPTS):
            try:
                self.make_directory(hidden)
            except FileNotFoundError:  # between its making and its permissions, as below
                if not self.fs.exists(self.path):
                    raise
                continue
            try:
                lock = Lock.acquire(self.fs, f"{hidden}/{LOCK_FILE}", mode=self.file_mode)
            except BaseException:
                self._discard(hidden)
                raise
            if lock is not None:
                return lock
            # another process sweeps, and took it for a leftover in the instant before it was locked
        raise OSError(errno.EBUSY, "others keep removing the directory", hidden)

    def _discard(self, hidden: str) -> None:
        with contextlib.suppress(OSError):  # then it stays for `sweep`; the error before this one is told
            remove_tree(self.fs, hidden)

    def _withdraw(self, directory: StreamDirectory, hidden: str, lock: Lock) -> None:
        self._discard(hidden)
        try:
            with contextlib.suppress(OSError):  # then adopters find a stream without a record
                directory.remove()
        finally:
            lock.release()

    def streams(self) -> list[str]:
        """The streams that lie here, oldest first."""
        return sorted(
            name
            for name in names(self.fs, self.path)
            if _STREAM.fullmatch(name) and self.fs.is_directory(f"{self.path}/{name}")
        )

    def open_stream(self, stream_id: str) -> StreamDirectory:
        """The directory of a stream, whether there is one or not.

        Raises:
            ValueError: This is no stream id.
        """
        if not _STREAM.fullmatch(stream_id):
            raise ValueError(f"{stream_id!r} is no UUIDv7 in lower case")
        return StreamDirectory(self, stream_id)

    def strangers(self) -> list[str]:
        """What lies here and is none of the journal's: left alone, and shown to people. Relative names."""
        found = []
        for name in names(self.fs, self.path):
            ours = name in {"ended", "quarantine"} or _STREAM.fullmatch(name) or _HIDDEN.fullmatch(name)
            if not ours or not self.fs.is_directory(f"{self.path}/{name}"):
                found.append(name)
        found += [
            f"ended/{name}"
            for name in names(self.fs, f"{self.path}/ended")
            if not _HIDDEN.fullmatch(name) and self._ended_line(name) is None
        ]
        return sorted(found)

    def quarantine_path(self, stream_id: str) -> str:
        """Where what could not be delivered or read of a stream is kept."""
        return f"{self.path}/quarantine/{stream_id}"

    # streams that ended, for `previous`

    def ended(self) -> list[str]:
        """Lines ``stream:sequence:digest``: streams that no later stream has named yet, oldest first."""
        lines = map(self._ended_line, sorted(names(self.fs, f"{self.path}/ended")))
        return [line for line in lines if line is not None]

    def _ended_line(self, name: str) -> str | None:
        text = read_text(self.fs, f"{self.path}/ended/{name}") or ""
        match = _ENDED.fullmatch(text.removesuffix("\n"))
        return match[0] if match and match[1] == name else None

    def note_ended(self, line: str) -> None:
        """Remember how a stream ended; it survives a power loss. To be done before its directory is removed.

        Args:
            line: ``stream:sequence:digest``: its last readable record, the digest as 64 hex digits.
        """
        match = _ENDED.fullmatch(line)
        if match is None:
            raise ValueError(f"{line!r} is not stream:sequence:digest")
        folder = f"{self.path}/ended"
        self.make_directory(folder)
        self._sync_parent(self.path)
        write_text(self.fs, f"{folder}/{match[1]}", line + "\n", self.file_mode, sync=True)
        self.fs.sync_directory(folder)

    def forget_ended(self, lines: Iterable[str]) -> None:
        """A later stream has named these, and that is synced. One that says something else by now stays."""
        for line in lines:
            name = line.partition(":")[0]
            if _STREAM.fullmatch(name) and self._ended_line(name) == line:
                unlink(self.fs, f"{self.path}/ended/{name}")

    # leftovers and sizes

    def sweep(self) -> list[OSError]:
        """Remove hidden directories whose owner's lock can be had; what could not be removed is returned.

        Never raises OSError: leftovers take room and harm nobody, and the next sweep tries again.
        """
        failed = []
        try:
            found = names(self.fs, self.path)
        except OSError as error:
            return [error]
        for name in found:
            if not _HIDDEN.fullmatch(name):
                continue
            hidden = f"{self.path}/{name}"
            try:
                self._sweep_one(hidden)
            except NotADirectoryError:
                continue  # a stranger
            except OSError as error:
                failed.append(error)
        try:
            self._sweep_ended()
        except OSError as error:
            failed.append(error)
        return failed

    def _sweep_ended(self) -> None:
        for name in names(self.fs, f"{self.path}/ended"):
            match = _HIDDEN.fullmatch(name)
            # a note is made before its stream is removed: while there is one, it may be about to be renamed
            if match and not self.fs.exists(f"{self.path}/{match[1]}"):
                unlink(self.fs, f"{self.path}/ended/{name}")

    def _sweep_one(self, hidden: str) -> None:
        lock = Lock.acquire(self.fs, f"{hidden}/{LOCK_FILE}", mode=self.file_mode)
        if lock is not None:
            try:
                remove_tree(self.fs, hidden)
            finally:
                lock.release()

    def used(self) -> int:
        """Bytes of all files below the path, each counted in whole blocks of 4,096."""
        return tree_size(self.fs, self.path)


def _group_id(group: str | int) -> int:
    if isinstance(group, str) and not group.isdecimal():
        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            raise ConfigurationError("journal_group", f"there is no group {group!r}") from None
    return int(group)
