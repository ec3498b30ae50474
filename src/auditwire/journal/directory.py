"""The directory of one stream: its files, its two locks, and its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from auditwire.journal.locks import Lock
from auditwire.journal.trees import (
    LOCK_FILE,
    SENDER_LOCK_FILE,
    json_text,
    names,
    read_json,
    remove_tree,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from auditwire.journal.layout import JournalPath

__all__ = ["StreamDirectory"]

_SEGMENT = re.compile(r"([0-9]{8}|[1-9][0-9]{8,9})\.seg")


class StreamDirectory:
    """The directory of one stream.

    Attributes:
        path: The directory.
        stream_id: Its name.
        owner: The lock that its maker holds; None for one that was only opened.
        sender: The sender's lock, where its maker asked for it.
        file_mode: The permissions of files that are made in it.
    """

    def __init__(self, journal: JournalPath, stream_id: str, owner: Lock | None = None) -> None:
        self.path = f"{journal.path}/{stream_id}"
        self.stream_id = stream_id
        self.owner = owner
        self.sender: Lock | None = None
        self._journal = journal
        self._fs = journal.fs

    @property
    def file_mode(self) -> int:
        return self._journal.file_mode

    @property
    def parked_path(self) -> str:
        """Where parked records are copied to; `JournalPath.make_directory` makes it."""
        return f"{self.path}/parked"

    @property
    def cursor_path(self) -> str:
        """The cursor file."""
        return f"{self.path}/cursor"

    def segment_path(self, number: int) -> str:
        """The file of a segment."""
        return f"{self.path}/{number:08d}.seg"

    def segments(self) -> list[int]:
        """The numbers of the segments that there are, in order; none for a directory that is gone."""
        matches = map(_SEGMENT.fullmatch, names(self._fs, self.path))
        return sorted(int(match[1]) for match in matches if match)

    def info(self) -> dict[str, Any] | None:
        """What ``stream.json`` says; None when it is missing or damaged (each segment says it again)."""
        return read_json(self._fs, f"{self.path}/stream.json")

    def take_owner(self) -> Lock | None:
        """The right to write the stream; None while its owner lives."""
        return Lock.acquire(self._fs, f"{self.path}/{LOCK_FILE}", mode=self.file_mode)

    def take_sender(self) -> Lock | None:
        """The right to produce its records, to move the cursor and to remove segments; None when taken."""
        return Lock.acquire(self._fs, f"{self.path}/{SENDER_LOCK_FILE}", mode=self.file_mode)

    def owner_alive(self) -> bool:
        """Whether somebody holds the owner's lock; nothing is made, and nothing taken (`Lock.held`)."""
        return Lock.held(self._fs, f"{self.path}/{LOCK_FILE}")

    def sent(self) -> bool:
        """Whether somebody holds the sender's lock; nothing is made, and nothing taken (`Lock.held`)."""
        return Lock.held(self._fs, f"{self.path}/{SENDER_LOCK_FILE}")

    def write_state(self, state: Mapping[str, Any]) -> None:
        """Replace ``state.json``, in one step. Only for the holder of the sender's lock; not synced."""
        write_text(self._fs, f"{self.path}/state.json", json_text(state), self.file_mode)

    def read_state(self) -> dict[str, Any] | None:
        """What ``state.json`` says; None when it is missing or damaged."""
        return read_json(self._fs, f"{self.path}/state.json")

    def remove(self) -> None:
        """Remove the stream with all its files; locks that are held on it stay held until released.

        Does nothing when it is gone. After an OSError it can be called again; what is left is hidden, and
        `JournalPath.sweep` removes it too.
        """
        gone = f"{self._journal.path}/.gone-{self.stream_id}"
        if self._fs.exists(self.path):
            remove_tree(self._fs, gone)  # leftovers of a removal that did not come to its end
            self._fs.rename(self.path, gone)
        # Before anything is removed: a power loss would otherwise bring back the old name with half the files
        if self._fs.exists(gone):
            self._fs.sync_directory(self._journal.path)
            remove_tree(self._fs, gone)
