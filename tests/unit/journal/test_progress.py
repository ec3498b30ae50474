from __future__ import annotations

import errno
from pathlib import Path

import pytest
from stream_files import Stream

from auditwire.journal.cursor import SLOT_OFFSETS, Position
from auditwire.journal.progress import Progress
from support.simulated_fs import SimulatedFileSystem


@pytest.fixture
def fs() -> SimulatedFileSystem:
    return SimulatedFileSystem()


@pytest.fixture
def stream(fs: SimulatedFileSystem) -> Stream:
    return Stream(Path("/"), fs)


def progress(stream: Stream, *, moves: bool = True) -> Progress:
    return Progress(stream.fs, stream.directory, moves=moves)


def test_a_stream_without_a_cursor_has_no_position(stream: Stream) -> None:
    new = progress(stream)
    assert (new.position, new.problem) == (None, None)
    looking = progress(stream, moves=False)
    assert looking.position is None


def test_a_position_is_there_for_the_next_one(stream: Stream, fs: SimulatedFileSystem) -> None:
    first = progress(stream)
    assert first.move(Position(5, 4, 1), sync=False)
    assert first.move(Position(7, 6, 2), sync=True)
    first.close()
    first.close()
    again = progress(stream)
    assert (again.position, again.certain) == (Position(7, 6, 2), True)
    fs.corrupt(stream.directory.cursor_path, SLOT_OFFSETS[0] + 20, b"\xff")
    older = progress(stream)
    assert (older.position, older.certain) == (Position(5, 4, 1), False)


def test_a_position_that_is_known_is_not_written_again(stream: Stream, fs: SimulatedFileSystem) -> None:
    own = progress(stream)
    own.move(Position(5, 4, 1), sync=False)
    calls = len(fs.log)
    assert own.move(Position(5, 4, 1), sync=False)
    assert len(fs.log) == calls
    assert own.move(Position(5, 4, 1), sync=True)  # to be on disk before segments go
    assert [entry[0] for entry in fs.log[calls:]][-1] == "sync"


def test_who_only_looks_moves_nothing(stream: Stream, fs: SimulatedFileSystem) -> None:
    looking = progress(stream, moves=False)
    calls = len(fs.log)
    assert not looking.move(Position(5, 4, 1), sync=True)
    assert len(fs.log) == calls


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_where_there_is_an_older_cursor_a_failure_keeps_the_segments(
    stream: Stream, fs: SimulatedFileSystem, operation: str
) -> None:
    own = progress(stream)
    own.move(Position(5, 4, 1), sync=True)
    fs.fail(operation, errno.EIO, "*/cursor")
    assert not own.move(Position(9, 9, 2), sync=True)
    assert "error" in str(own.problem)
    assert own.move(Position(9, 9, 2), sync=True)
    assert not own.problem


@pytest.mark.parametrize("operation", ["create", "reserve"])
def test_where_there_never_was_a_cursor_a_full_disk_keeps_no_segment(
    stream: Stream, fs: SimulatedFileSystem, operation: str
) -> None:
    fs.fail(operation, errno.ENOSPC, "*/cursor", times=None)
    own = progress(stream)
    assert own.move(Position(9, 9, 2), sync=True)
    assert "space" in str(own.problem)
    fs.heal()
    assert own.move(Position(9, 9, 2), sync=True)
    assert not own.problem
    assert progress(stream).position == Position(9, 9, 2)


def test_a_cursor_that_cannot_be_opened_is_closed_all_the_same(
    stream: Stream, fs: SimulatedFileSystem
) -> None:
    fs.fail("create", errno.ENOSPC, "*/cursor")
    own = progress(stream)
    own.close()
    assert own.position is None


def test_a_cursor_that_could_not_be_read_may_be_an_older_one(stream: Stream, fs: SimulatedFileSystem) -> None:
    first = progress(stream)
    first.move(Position(5, 4, 1), sync=True)
    first.close()
    fs.fail("read", errno.EIO, "*/cursor")
    own = progress(stream)
    assert own.position is None
    fs.fail("write", errno.EIO, "*/cursor")
    assert not own.move(Position(9, 9, 2), sync=True)
    assert own.move(Position(9, 9, 2), sync=True)
