"""What the tests of the writer share.

A stream on some file system, what really lies in it, and a way to strike between any two byte codes.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from auditwire.ids import uuid7
from auditwire.journal import making, segment, turns, writer
from auditwire.journal.base import Draft
from auditwire.journal.budget import Budget
from auditwire.journal.layout import JournalPath
from auditwire.journal.making import Refusal
from auditwire.journal.segment import SEALED, Segment, SegmentDamaged
from auditwire.journal.writer import StreamWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import pytest

    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem

FIRST = 4096
"""Bytes of a segment in these tests, so that there are many of them."""

UNDER_TEST = frozenset(str(module.__file__) for module in (making, writer, segment, turns))


def draft(name: str, size: int = 60) -> Draft:
    return Draft(
        "turn_start", "audit.turn-start", b"s-1", 1_700_000_000_000_000, name, None, b"h", b"b" * size
    )


def shrink(patch: pytest.MonkeyPatch, *, rotate_seconds: float = 0.002) -> None:
    for module in (making, writer):
        patch.setattr(module, "FIRST_SEGMENT", FIRST)
        patch.setattr(module, "RESERVE", 512)
    patch.setattr(writer, "_ROTATE_SECONDS", rotate_seconds)
    patch.setattr(making, "_RETRY_SECONDS", 0.0)


class Stream:
    """A stream that is written, and what was answered to whom."""

    def __init__(
        self,
        fs: FileSystem,
        path: str = "/journal",
        *,
        capacity: int = 1 << 40,
        budget: type[Budget] = Budget,
        segment_bytes: int = FIRST,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fs = fs
        self.path = JournalPath(fs, path)
        self.stream_id = uuid7()
        self.budget = budget(self.path, capacity, monotonic)
        self.directory: StreamDirectory | None = None
        self.answers: dict[str, int | Refusal] = {}
        self.begun: set[str] = set()
        self.writer = StreamWriter(
            fs,
            self.make_directory,
            {},
            self.stream_id,
            self.budget,
            segment_bytes=segment_bytes,
            monotonic=monotonic,
        )

    def problem(self) -> str | None:
        return self.writer.problem

    def room(self) -> bool:
        return self.writer.room

    def make_directory(self) -> StreamDirectory:
        if self.directory is None:
            self.directory = self.path.create_stream(self.stream_id, {})
        return self.directory

    def append(self, name: str, size: int = 60, *, control: bool = False) -> int | Refusal:
        self.begun.add(name)
        answer = self.writer.append(draft(name, size), control=control)
        self.answers[name] = answer
        return answer

    def fill(self) -> None:
        """Append one record, so long that any other needs another segment."""
        assert self.writer.begin()
        here = self.writer._here()
        assert here is not None
        left = here[0].size - here[1] - making.RESERVE
        if left > 400:
            self.append(f"fill-{len(self.begun)}", left - 220)

    def numbers(self, fs: FileSystem | None = None) -> list[int]:
        folder = self.path.open_stream(self.stream_id).path
        return sorted(int(name[:8]) for name in (fs or self.fs).list(folder) if name.endswith(".seg"))

    def stored(self, fs: FileSystem | None = None) -> list[str]:
        """The event ids of what lies there, by sequence. Checks that it is one stream without a hole."""
        fs = fs or self.fs
        names: list[str] = []
        sealed = True
        for number in self.numbers(fs):
            path = self.path.open_stream(self.stream_id).segment_path(number)
            try:
                found = Segment.open(fs, path, mapped=False)
            except SegmentDamaged:  # an exception struck while it was made: the reader passes over it too
                assert not fs.open(path).read(0, FIRST).strip(b"\0")
                continue
            records, end = found.take(found.start, None, 1 << 30, verify=True)
            word = found.word(end)
            found.close()
            assert word in {0, SEALED}, f"segment {number} holds what is no record"
            if not records:
                continue
            assert sealed, f"segment {number} was begun before the one before it was left"
            sealed = word == SEALED
            for offset, record in enumerate(records):
                assert record.sequence == found.first_sequence + offset
                if record.sequence < len(names):  # written anew
                    assert names[record.sequence] == record.event_id
                else:
                    assert record.sequence == len(names)
                    names.append(record.event_id)
        return names

    def check(self, *, interrupted: frozenset[str] = frozenset()) -> list[str]:
        """What is stored agrees with what was answered.

        Args:
            interrupted: Appends that raised: whole or absent.
        """
        names = self.stored()
        assert len(names) == len(set(names)), "a record was published twice"
        for name, answer in self.answers.items():
            if isinstance(answer, Refusal):
                assert name not in names, f"{name} was refused: {answer}"
            else:
                assert names[answer] == name
        told = {name for name, answer in self.answers.items() if not isinstance(answer, Refusal)}
        assert set(names) - told <= interrupted
        assert self.writer.next_sequence == len(names)
        return names


class Strike:
    """Calls something before the k-th byte code of the code under test that this thread executes."""

    def __init__(self, at: int, action: Callable[[], object]) -> None:
        self._at = at
        self._action = action
        self.count = 0
        self.struck = False

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Strike | None:
        if frame.f_code.co_filename not in UNDER_TEST:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not self.struck:
            if self.count == self._at:
                self.struck = True
                self._action()
            self.count += 1
        return self

    def run(self, operation: Callable[[], object]) -> None:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            operation()
        finally:
            sys.settrace(before)


def in_thread(operation: Callable[[], object]) -> None:
    """Wait for another thread, as a signal handler may that shuts an executor down."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            operation()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "a deadlock"
    if failures:
        raise failures[0]
