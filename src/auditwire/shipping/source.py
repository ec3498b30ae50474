"""Where a log's bytes come from: a file that may grow and be rotated, or a stream.

Out come bytes in the order in which they were written. How a :class:`FileSource` follows its log:

======================== ===================================================================================
what happens to the file what is done
======================== ===================================================================================
it grows                 read on
renamed, and a new one   the old one is read to its end, and until nothing has come for two seconds (its
made in its place        writer may not have noticed yet); then the new one from its beginning
copied and truncated     noticed by the bytes before the place of reading, which are read again each time:
                         also when the file has already grown beyond that place. The copy is looked for and
                         read to its end, then the file from its beginning
rotated while nobody     the file that has the state's mark is looked for, by inode, then among the names
looked                   that rotations give; read on in it, then the rotations after it, by their time
not there                followed: waited for
======================== ===================================================================================

Names that rotations give: ``app.log.1``, ``app.log-20260131``, ``app.log.2026-01-31_10``,
``app-20260131.log``. Compressed ones are not read, but named in a warning.
"""

from __future__ import annotations

import os
import re
import stat
import time
import zlib
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, Protocol

from auditwire.errors import AuditwireError, ConfigurationError
from auditwire.shipping.state import MARK_BYTES, Mark, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FileSource", "Source", "StreamSource"]

CHUNK = 256 << 10
"""Bytes read at a time: of the shortest lines no more than a quarter of the journal holds."""

ROTATED_SECONDS = 2.0

_NUMBER = r"[.-][0-9][0-9T_.:-]*"
_COMPRESSED = r"\.(?:gz|bz2|xz|zst)"


class Source(Protocol):
    """What a Shipper reads.

    Attributes:
        resumed: The state from which this source goes on; None when it begins at the beginning.
        follow: What has no more bytes now may have more later.
        doubts: How often something was rotated away that may not have been shipped; each was warned of.
    """

    resumed: State | None
    follow: bool
    doubts: int

    def read(self) -> bytes:
        """The next bytes; empty when there are none now."""

    def over(self) -> bool:
        """Asked when there are none now: whether this file is finished and another comes after it."""

    def turn(self) -> bool:
        """Go to that one; True when it is a copy of the same, in which the reading goes on."""

    def state(self, offset: int, line: int, chain: bytes) -> State | None:
        """What to remember of this place; None when it cannot be found again."""

    def close(self) -> None:
        """Release what is open."""


class StreamSource:
    """A stream that is read once: standard input, or a compressed file.

    Args:
        stream: Yields bytes.
        name: For messages.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        self._name = name
        self.resumed: State | None = None
        self.follow = False
        self.doubts = 0

    def read(self) -> bytes:
        """The next bytes.

        Raises:
            AuditwireError: It is damaged.
        """
        try:
            return self._read(CHUNK)
        except (EOFError, OSError, zlib.error) as error:
            raise AuditwireError(f"{self._name} cannot be read to its end: {error}") from error

    def over(self) -> bool:
        """Never: a stream has one end."""
        return False

    def turn(self) -> bool:
        """There is nowhere to go."""
        return False

    def state(self, offset: int, line: int, chain: bytes) -> State | None:  # noqa: ARG002 - of the protocol
        """None: a stream cannot be gone on with."""
        return None

    def close(self) -> None:
        """Whoever opened the stream closes it."""


class FileSource:
    """A file; see the module for rotations.

    Args:
        path: The file.
        follow: Wait for what is appended.
        state: Where to go on.
        warn: Is told, in a sentence, what may not have been shipped.
        clock: Seconds, monotonic.
        patience: Seconds without growth after which a file that was renamed is finished.

    Raises:
        ConfigurationError: The file cannot be read, or is no regular file.
    """

    def __init__(
        self,
        path: Path,
        *,
        follow: bool = False,
        state: State | None = None,
        warn: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        patience: float = ROTATED_SECONDS,
    ) -> None:
        self._path = path
        self._warn = warn
        self._clock = clock
        self._patience = patience
        self._fd = -1
        self._offset = 0
        self._mark = b""
        self._replaced = False
        self._quiet_since: float | None = None
        self._later: deque[Path] = deque()
        self.follow = follow
        self.doubts = 0
        self.resumed: State | None = None
        try:
            self._begin(state)
        except OSError as error:
            raise ConfigurationError("FILE", f"{path} cannot be read: {error.strerror}") from error

    # -- reading --------------------------------------------------------------------------------------------

    def read(self) -> bytes:
        """See :class:`Source`. The bytes before are read too, and compared: a truncated file is another."""
        if self._fd < 0 and not self._open_new(self._path):
            return b""
        before = len(self._mark)
        data = os.pread(self._fd, before + CHUNK, self._offset - before)
        if not data.startswith(self._mark):
            self._replaced = True
            return b""
        if len(data) == before:
            return b""
        self._offset += len(data) - before
        self._mark = data[-MARK_BYTES:]
        self._quiet_since = None
        return data[before:]

    def over(self) -> bool:
        """See :class:`Source`."""
        if self._replaced or self._later:
            return True
        if self._fd < 0 or self._is_at(self._path):
            self._quiet_since = None
            return False
        if not self.follow:
            return True
        now = self._clock()
        if self._quiet_since is None:
            self._quiet_since = now
        return now - self._quiet_since >= self._patience

    def turn(self) -> bool:
        """See :class:`Source`."""
        if self._replaced:
            self._replaced = False
            fd = self._find(Mark.of(self._mark), self._offset, None)
            if fd is not None:
                self._use(fd, self._offset, self._mark)
                return True
            self._doubt(
                f"{self._path} was truncated or written anew, and no copy was found beside it: it is read "
                "from its beginning; what was written before, since the last look, is not shipped"
            )
            self._offset, self._mark = 0, b""
            return False
        while self._later:
            if self._open_new(self._later.popleft()):
                return False
        if not self._open_new(self._path):  # gone in this instant: waited for
            self.close()
            self._offset, self._mark = 0, b""
        return False

    def state(self, offset: int, line: int, chain: bytes) -> State | None:
        """See :class:`Source`."""
        before = len(self._mark)
        if self._fd < 0 or os.pread(self._fd, before, self._offset - before) != self._mark:
            return None
        file = os.fstat(self._fd)
        mark = _mark_at(self._fd, offset, min(offset, MARK_BYTES))
        return State(str(self._path), file.st_dev, file.st_ino, offset, line, chain.hex(), mark)

    def close(self) -> None:
        """Close the file."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    # -- finding the place ----------------------------------------------------------------------------------

    def _begin(self, state: State | None) -> None:
        if state is None:
            if not self._open_new(self._path) and not self.follow:
                raise FileNotFoundError(0, "there is no such file")
            return
        if self._open_new(self._path) and self._has(self._fd, state.mark, state.offset, state.inode):
            self._use(self._fd, state.offset, self._before(self._fd, state.offset))
            self.resumed = state
            return
        fd = self._find(state.mark, state.offset, state.inode)
        if fd is not None:
            self._use(fd, state.offset, self._before(fd, state.offset))
            self.resumed = state
            self._queue_rotations(os.fstat(fd))
        elif state.offset:
            names = ", ".join(path.name for _, path in self._rotations(compressed=True)) or "none"
            self._doubt(
                f"the file whose first {state.offset} bytes are shipped was rotated away and is not found: "
                f"what it held behind them may not be shipped (its rotations: {names}). Ship them "
                "by themselves; what was shipped before keeps its ids"
            )

    def _queue_rotations(self, found: os.stat_result) -> None:
        """What was rotated after the file that was found is read after it."""
        skipped = []
        for changed, path in self._rotations(compressed=True):
            if changed > found.st_mtime_ns and not _same(_stat(path), found):
                if re.search(f"{_COMPRESSED}$", path.name):
                    skipped.append(path.name)
                else:
                    self._later.append(path)
        if skipped:
            self._doubt(f"compressed meanwhile, and not read: {', '.join(skipped)}. Ship them by themselves")

    def _find(self, mark: Mark, offset: int, inode: int | None) -> int | None:
        """The open rotation that has this mark there, the one with this inode first."""
        with os.scandir(self._path.parent) as entries:
            renamed = [self._path.with_name(entry.name) for entry in entries if entry.inode() == inode]
        newest_first = [path for _, path in reversed(self._rotations(compressed=False))]
        for path in (*renamed, *newest_first):
            with suppress(OSError):  # what cannot be read is not the file that was
                fd = _open(path)
                if fd is None:
                    continue
                if self._has(fd, mark, offset, inode):
                    return fd
                os.close(fd)
        return None

    def _rotations(self, *, compressed: bool) -> list[tuple[int, Path]]:
        """Time of the last change and path, the oldest first."""
        name, stem, suffix = map(re.escape, (self._path.name, self._path.stem, self._path.suffix))
        ending = f"(?:{_COMPRESSED})?" if compressed else ""
        pattern = re.compile(f"(?:{name}{_NUMBER}|{stem}{_NUMBER}{suffix}){ending}")
        with os.scandir(self._path.parent) as entries:
            names = [entry.name for entry in entries if pattern.fullmatch(entry.name)]
        found = ((path, _stat(path)) for path in map(self._path.with_name, names))
        return sorted((status.st_mtime_ns, path) for path, status in found if status is not None)

    @staticmethod
    def _has(fd: int, mark: Mark, offset: int, inode: int | None) -> bool:
        if not offset:  # no bytes to know it by
            return os.fstat(fd).st_ino == inode
        return _mark_at(fd, offset, mark.length) == mark

    @staticmethod
    def _before(fd: int, offset: int) -> bytes:
        length = min(offset, MARK_BYTES)
        return os.pread(fd, length, offset - length)

    # -- what is open ---------------------------------------------------------------------------------------

    def _open_new(self, path: Path) -> bool:
        fd = _open(path)
        if fd is None:
            return False
        self._use(fd, 0, b"")
        return True

    def _use(self, fd: int, offset: int, mark: bytes) -> None:
        if fd != self._fd:
            self.close()
        self._fd, self._offset, self._mark, self._quiet_since = fd, offset, mark, None

    def _is_at(self, path: Path) -> bool:
        """The open file stands under this name, or nothing does."""
        there = _stat(path)
        return there is None or _same(there, os.fstat(self._fd))

    def _doubt(self, text: str) -> None:
        self.doubts += 1
        self._warn(text)


def _open(path: Path) -> int | None:
    """A descriptor of a regular file; None when there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not hang
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "it is no regular file; pipe it in, and name it -")
    return fd


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _same(one: os.stat_result | None, other: os.stat_result) -> bool:
    return one is not None and (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _mark_at(fd: int, offset: int, length: int) -> Mark:
    return Mark.of(os.pread(fd, length, offset - length))
