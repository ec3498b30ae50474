"""What a stream that is written stands on: its directory, the room for it, and a disk that takes files.

In come looks, once in a while and by the sender; out come what is wrong at the moment, in words, and whether
the stream may be written at all.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from auditwire.journal.making import FIRST_SEGMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from auditwire.journal.budget import Budget
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.layout import JournalPath
    from auditwire.journal.locks import Lock

__all__ = ["LOOK_SECONDS", "Standing"]

LOOK_SECONDS = 1.0
"""How often it is looked whether the directory is there, and a disk that refused is tried."""


class Standing:
    """See the module. For any thread, but `look`, which is for one.

    Args:
        path: The journal path.
        stream_id: The stream.
        info: What ``stream.json`` says of it.
        budget: The bytes of the whole path.
        sends: Whether ``sender.lock`` is held too.
        monotonic: Clock, seconds.

    Attributes:
        made: The stream's directory, once it was made.
        gone: Whether somebody removed or renamed it since.
    """

    def __init__(
        self,
        path: JournalPath,
        stream_id: str,
        info: Mapping[str, Any],
        budget: Budget,
        *,
        sends: bool,
        monotonic: Callable[[], float],
    ) -> None:
        self._path = path
        self._stream_id = stream_id
        self._info = info
        self._budget = budget
        self._sends = sends
        self._monotonic = monotonic
        self._look_at = 0.0
        self._over: str | None = None
        self.made: StreamDirectory | None = None
        self.gone = False

    def make(self) -> StreamDirectory:
        """The stream's directory, its locks held; made at the first call that succeeds.

        Raises:
            OSError: It cannot be made now.
            ConfigurationError: It cannot be made, and no waiting mends that.
        """
        # kept at once: what a signal handler raises behind it must not have the stream made a second time
        if self.made is None:
            self.made = self._path.create_stream(self._stream_id, self._info, sends=self._sends)
            self._budget.allocated(1)  # stream.json, in blocks; the locks are empty
        return self.made

    @property
    def locks(self) -> list[Lock]:
        """The locks that are held on the stream."""
        made = self.made
        return [] if made is None else [lock for lock in (made.sender, made.owner) if lock is not None]

    @property
    def lacks_room(self) -> bool:
        """Whether the stream is not to be begun: each start on a full path would leave a directory there."""
        return self.made is None and not self._budget.room_for(FIRST_SEGMENT)

    def current(self, refusal: str | None) -> str | None:
        """What the disk refused the last time; None when it was seen since that it would not refuse it."""
        return None if refusal is self._over else refusal  # each refusal is a text of its own

    def problem(self, refusal: str | None) -> str | None:
        """Why nothing is accepted at the moment, ``refusal`` being what the disk refused the last time."""
        if self.gone:
            return f"the stream's directory was removed: {self._path.path}/{self._stream_id}"
        return "the journal is full" if self.lacks_room else self.current(refusal)

    def look(self, refusal: str | None) -> bool:
        """Look whether all is as it was, if that was not done just now; whether it was done."""
        now = self._monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        owner = None if self.made is None else self.made.owner
        if owner is not None:
            with contextlib.suppress(OSError):  # cannot be told now
                self.gone = not owner.intact()
        if self.made is not None and self.current(refusal) is not None and self._takes_files(self.made):
            self._over = refusal
        return True

    def _takes_files(self, directory: StreamDirectory) -> bool:
        """Whether a segment could be made now, though nobody has asked for one since."""
        fs, path = self._path.fs, f"{directory.path}/.try"
        try:
            file = fs.open(path, create=True, mode=self._path.file_mode)
            try:
                file.reserve(FIRST_SEGMENT)
            finally:
                file.close()
                fs.unlink(path)
        except OSError:
            return False
        return True
