"""Opens the journals of a collector's streams, in memory or on disk."""

from __future__ import annotations

import json
import os
import socket
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from auditwire._version import __version__
from auditwire.collectors.arguments import check_choice
from auditwire.errors import ConfigurationError
from auditwire.journal import MemoryJournal
from auditwire.journal.disk import DEFAULT_CAPACITY, MIN_CAPACITY, DiskJournal
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from auditwire.journal.target import Target, boot_id
from auditwire.stream import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.syncing import SyncMode

__all__ = ["DiskJournals", "MemoryJournals", "check_memory_only", "open_ledger"]

OnFull = Literal["block", "drop_newest"]


class MemoryJournals:
    """Journals in memory, one for each stream."""

    def __init__(self, capacity: int, on_full: OnFull, full_timeout: float) -> None:
        self.capacity = capacity
        self.on_full: OnFull = on_full
        self.full_timeout = full_timeout

    def open(self, stream_id: str, *, service: str, source: str | None) -> MemoryJournal:  # noqa: ARG002 - as on disk
        """A stream's journal."""
        return MemoryJournal(self.capacity, on_full=self.on_full, full_timeout=self.full_timeout)


class DiskJournals:
    """Journals on disk, all on one path.

    Args:
        path: The directory; made when there is none.
        target: Where the records go.
        capacity: Bytes of the whole path; None for the default.
        on_full: What an append does when there is no room.
        full_timeout: How long it may wait, seconds.
        sync: When the journal is synchronised.
        group: Who else may read and write it.
        on_network: Take a network file system nonetheless.
        sends: Whether this process delivers the streams too.
        fs: The file system.

    Raises:
        ConfigurationError: A setting is wrong, or the directory cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        target: Target,
        *,
        capacity: int | None = None,
        on_full: OnFull = "block",
        full_timeout: float = 5.0,
        sync: SyncMode = "interval",
        group: str | int | None = None,
        on_network: bool = False,
        sends: bool = True,
        fs: FileSystem = REAL,
    ) -> None:
        check_choice("sync", sync, ("interval", "always", "never"))
        self.capacity = DEFAULT_CAPACITY if capacity is None else capacity
        if type(self.capacity) is not int or self.capacity < MIN_CAPACITY:
            raise ConfigurationError("journal_bytes", f"at least {MIN_CAPACITY} on disk, not {capacity!r}")
        try:
            self.path = JournalPath(fs, os.fspath(path), group=group, force_network=on_network)
        except OSError as error:  # no room for a directory, or no descriptor to look at it
            raise ConfigurationError("journal", f"{os.fspath(path)} cannot be used: {error}") from error
        self.target = target
        self.on_full: OnFull = on_full
        self.full_timeout = full_timeout
        self.sync: SyncMode = sync
        self._sends = sends

    def open(self, stream_id: str, *, service: str, source: str | None) -> DiskJournal:
        """A stream's journal. A disk that has no room now is no error: the journal opens when it has."""
        info = {
            "stream": stream_id,
            "target": self.target.info(),
            "service": service,
            "source": source,
            "pid": os.getpid(),
            "boot_id": boot_id(),
            "host": socket.gethostname(),
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "version": __version__,
        }
        return DiskJournal(
            self.path,
            stream_id,
            info,
            capacity=self.capacity,
            on_full=self.on_full,
            full_timeout=self.full_timeout,
            sync=self.sync,
            sends=self._sends,
        )


def check_memory_only(**settings: object) -> None:
    """Settings that are about a disk mean nothing without one.

    Raises:
        ConfigurationError: One of them was given.
    """
    for key, value in settings.items():
        if value not in (None, False, "interval"):
            raise ConfigurationError(key, "is about a journal on disk: give journal=PATH too")


def open_ledger(
    trail: str,
    resource: Mapping[str, Any],
    stream_id: str,
    parent: str | None,
    previous: Sequence[str],
) -> Ledger:
    """The ledger of a new stream of this process."""
    described = {**resource, "service.instance.id": stream_id, "process.pid": os.getpid()}
    return Ledger(
        trail=trail,
        resource=json.dumps(described, ensure_ascii=False, separators=(",", ":")),
        previous=previous,
        parent_stream=parent,
    )
