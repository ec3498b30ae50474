"""What a stream stands on; the journal as a whole is in test_disk."""

from __future__ import annotations

import errno

import pytest

from auditwire.ids import uuid7
from auditwire.journal.budget import Budget
from auditwire.journal.layout import JournalPath
from auditwire.journal.making import FIRST_SEGMENT
from auditwire.journal.standing import LOOK_SECONDS, Standing
from support.simulated_fs import SimulatedFileSystem

PATH = "/journal"


class Ground:
    """A standing on a simulated disk, and the time."""

    def __init__(self, capacity: int = 8 << 20) -> None:
        self.fs = SimulatedFileSystem()
        self.now = 100.0
        path = JournalPath(self.fs, PATH)
        self.budget = Budget(path, capacity, lambda: self.now)
        self.stream_id = uuid7()
        self.standing = Standing(
            path, self.stream_id, {}, self.budget, sends=True, monotonic=lambda: self.now
        )

    def look(self, refusal: str | None = None) -> bool:
        self.now += LOOK_SECONDS
        return self.standing.look(refusal)


def test_a_directory_is_made_once_with_both_locks_and_counted() -> None:
    ground = Ground()
    standing = ground.standing
    assert (standing.made, standing.locks) == (None, [])
    ground.fs.fail("mkdir", errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        standing.make()
    used = ground.budget.used
    made = standing.make()
    assert standing.make() is made
    assert len(standing.locks) == 2
    assert all(lock.intact() for lock in standing.locks)
    assert ground.budget.used == used + 4096


def test_a_stream_is_not_to_be_begun_where_its_first_segment_would_not_fit() -> None:
    ground = Ground(capacity=FIRST_SEGMENT - 1)
    assert ground.standing.lacks_room
    assert ground.standing.problem(None) == "the journal is full"
    assert ground.standing.problem("something else") == "the journal is full"
    ground.standing.make()  # somebody knew better
    assert not ground.standing.lacks_room


def test_it_is_looked_once_a_second_and_never_in_vain() -> None:
    ground = Ground()
    assert ground.look()
    assert not ground.standing.look(None)
    assert ground.look()
    assert ground.fs.files(PATH) == {}  # nothing is tried before there is a stream


def test_a_refusal_holds_until_the_disk_was_seen_to_take_files() -> None:
    ground = Ground()
    ground.standing.make()
    first, again = (str(OSError(errno.ENOSPC, "no space")) for _ in range(2))
    fault = ground.fs.fail("reserve", errno.ENOSPC, times=2)
    for _ in range(2):
        assert ground.look(first)
        assert ground.standing.problem(first) == first
    assert fault.hits == 2
    ground.look(first)
    assert ground.standing.problem(first) is None
    assert ground.standing.problem(again) == again  # the same words, and another refusal
    assert not [path for path in ground.fs.files(PATH) if path.endswith(".try")]


def test_a_directory_that_is_not_there_any_more_is_named() -> None:
    ground = Ground()
    made = ground.standing.make()
    ground.look()
    assert not ground.standing.gone
    ground.fs.rename(made.path, "/elsewhere")
    ground.look()
    assert ground.standing.problem(None) == f"the stream's directory was removed: {made.path}"
