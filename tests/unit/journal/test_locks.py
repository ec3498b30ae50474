"""Locks between real processes; what only a race or a fault brings about is done on a simulated disk."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from auditwire.journal.filesystem import REAL
from auditwire.journal.locks import Lock
from support.simulated_fs import SimulatedFileSystem, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROLOGUE = """
import os, sys
from auditwire.journal.filesystem import REAL
from auditwire.journal.locks import Lock
path = sys.argv[1]
def say(word):
    print(word, flush=True)
def hear():
    return sys.stdin.readline()
"""


class Child:
    """A process that takes and frees locks, and says so line by line."""

    def __init__(self, path: str, script: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROLOGUE + textwrap.dedent(script), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=60)


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        child.end()


def free(path: str) -> bool:
    lock = Lock.acquire(REAL, path)
    if lock is None:
        return False
    lock.release()
    return True


# real processes


def test_a_lock_is_had_by_one_process_and_free_when_it_releases_it(
    tmp_path: Path, children: list[Child]
) -> None:
    path = str(tmp_path / "owner.lock")
    child = Child(
        path, "lock = Lock.acquire(REAL, path); say('held'); hear(); lock.release(); say('freed'); hear()"
    )
    children.append(child)
    assert child.hear() == "held"
    assert not free(path)
    child.go_on()
    assert child.hear() == "freed"
    assert free(path)


def test_the_lock_of_a_killed_holder_is_free(tmp_path: Path, children: list[Child]) -> None:
    path = str(tmp_path / "owner.lock")
    child = Child(path, "lock = Lock.acquire(REAL, path); say('held'); hear()")
    children.append(child)
    assert child.hear() == "held"
    child.process.send_signal(signal.SIGKILL)
    child.process.wait(timeout=60)
    assert free(path)


FORKING = """
    lock = Lock.acquire(REAL, path)
    if os.fork() == 0:
        {in_child}
        say('forked')
        hear()
        os._exit(0)
    {in_parent}
"""


def test_a_forked_child_that_abandons_the_lock_leaves_it_with_its_parent(
    tmp_path: Path, children: list[Child]
) -> None:
    path = str(tmp_path / "owner.lock")
    child = Child(path, FORKING.format(in_child="lock.abandon()", in_parent="os.wait(); say('over'); hear()"))
    children.append(child)
    assert child.hear() == "forked"
    assert not free(path)
    child.go_on()
    assert child.hear() == "over"
    assert not free(path)  # the child has ended, and the parent still holds it


INHERITING = """
    lock = Lock.acquire(REAL, path)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        say('forked')
        os.read(reading, 1)  # until the parent has ended
        os._exit(0)
    hear()
    lock.release()
    say('freed')
    hear()
"""


def test_a_lock_that_forked_children_inherited_is_free_when_the_parent_releases_it(
    tmp_path: Path, children: list[Child]
) -> None:
    path = str(tmp_path / "owner.lock")
    child = Child(path, INHERITING)
    children.append(child)
    assert child.hear() == "forked"
    assert not free(path)
    child.go_on()
    assert child.hear() == "freed"
    assert free(path)  # while the child lives, and has it open


def test_a_killed_parents_lock_is_free_though_its_child_lives_and_never_heard_of_it(
    tmp_path: Path, children: list[Child]
) -> None:
    path = str(tmp_path / "owner.lock")
    in_child = "say(os.getpid()); hear()"
    child = Child(path, FORKING.format(in_child=in_child, in_parent="hear(); os.kill(os.getpid(), 9)"))
    children.append(child)
    assert int(child.hear()) > 0
    assert not free(path)
    child.process.kill()
    child.process.wait(timeout=60)
    assert free(path)
    child.go_on()
    assert child.hear() == "forked"
    child.go_on()


def test_a_lock_that_the_parent_holds_is_not_had_by_its_child(tmp_path: Path, children: list[Child]) -> None:
    path = str(tmp_path / "owner.lock")
    in_child = "lock.abandon(); say(Lock.acquire(REAL, path))"
    child = Child(path, FORKING.format(in_child=in_child, in_parent="os.wait()"))
    children.append(child)
    assert child.hear() == "None"
    child.go_on()


def test_asking_whether_a_lock_is_held_makes_nothing_and_disturbs_nobody(
    tmp_path: Path, children: list[Child]
) -> None:
    path = str(tmp_path / "owner.lock")
    assert not Lock.held(REAL, path)
    assert not REAL.exists(path)
    child = Child(
        path, "lock = Lock.acquire(REAL, path); say('held'); hear(); lock.release(); say('freed'); hear()"
    )
    children.append(child)
    assert child.hear() == "held"
    assert Lock.held(REAL, path)
    child.go_on()
    assert child.hear() == "freed"
    (tmp_path / "owner.lock").chmod(0o400)
    reader = REAL.open(path, writable=False)
    assert reader.lock(shared=True)  # another one who asks
    assert not Lock.held(REAL, path)
    assert Lock.acquire(REAL, path) is None
    reader.close()
    assert free(path)
    assert not Lock.held(REAL, f"{path}/below")


# one process


def test_a_lock_is_not_had_twice_in_one_process(tmp_path: Path) -> None:
    path = str(tmp_path / "owner.lock")
    first = Lock.acquire(REAL, path)
    assert first is not None
    assert Lock.acquire(REAL, path) is None
    first.release()
    first.release()
    first.abandon()
    second = Lock.acquire(REAL, path)
    assert second is not None
    first.release()
    assert Lock.acquire(REAL, path) is None
    second.release()


def test_an_abandoned_lock_of_a_process_that_has_not_forked_is_free(tmp_path: Path) -> None:
    path = str(tmp_path / "owner.lock")
    lock = Lock.acquire(REAL, path)
    assert lock is not None
    lock.abandon()
    assert not lock.intact()
    assert free(path)


def test_opening_and_closing_the_lock_file_elsewhere_does_not_free_it(tmp_path: Path) -> None:
    path = tmp_path / "owner.lock"
    lock = Lock.acquire(REAL, str(path))
    assert lock is not None
    path.read_bytes()
    assert not free(str(path))
    lock.release()


def test_a_missing_lock_file_is_made_with_the_given_permissions(tmp_path: Path) -> None:
    path = str(tmp_path / "owner.lock")
    lock = Lock.acquire(REAL, path, mode=0o660)
    assert lock is not None
    assert REAL.mode(path) == 0o660
    lock.release()


def test_there_is_no_lock_in_a_directory_that_is_gone(tmp_path: Path) -> None:
    assert Lock.acquire(REAL, str(tmp_path / "gone" / "owner.lock")) is None


def test_a_lock_knows_when_its_file_does_not_bear_its_name_any_more(tmp_path: Path) -> None:
    path = str(tmp_path / "a" / "owner.lock")
    REAL.mkdir(str(tmp_path / "a"), 0o700)
    lock = Lock.acquire(REAL, path)
    assert lock is not None
    assert lock.intact()
    REAL.rename(str(tmp_path / "a"), str(tmp_path / "b"))
    assert not lock.intact()
    lock.path = str(tmp_path / "b" / "owner.lock")
    assert lock.intact()
    REAL.unlink(lock.path)
    REAL.open(lock.path, create=True).close()
    assert not lock.intact()
    (tmp_path / "file").touch()
    lock.path = str(tmp_path / "file" / "owner.lock")
    assert not lock.intact()
    lock.release()
    assert not lock.intact()


def test_a_file_that_is_replaced_between_open_and_lock_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    path = str(tmp_path / "owner.lock")
    REAL.open(path, create=True).close()
    original = fcntl.flock

    def replaced_meanwhile(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            REAL.unlink(path)
            REAL.open(path, create=True).close()
        original(descriptor, operation)  # succeeds: nobody else has the file that was removed

    monkeypatch.setattr(fcntl, "flock", replaced_meanwhile)
    descriptors = len(REAL.list("/proc/self/fd"))
    assert Lock.acquire(REAL, path) is None
    assert len(REAL.list("/proc/self/fd")) == descriptors


# faults


@pytest.mark.parametrize(
    ("operation", "number"), [("lock", errno.ENOLCK), ("inode", errno.EIO), ("open", errno.EMFILE)]
)
def test_an_error_is_raised_and_holds_nothing(operation: str, number: int) -> None:
    fs = SimulatedFileSystem()
    fs.fail(operation, number)
    with pytest.raises(OSError, match="owner") as caught:
        Lock.acquire(fs, "/owner.lock")
    assert caught.value.errno == number
    lock = Lock.acquire(fs, "/owner.lock")
    assert lock is not None


def test_an_error_of_unlocking_closes_the_file_all_the_same() -> None:
    fs = SimulatedFileSystem()
    lock = Lock.acquire(fs, "/owner.lock")
    assert lock is not None
    fs.fail("unlock", errno.EIO)
    with pytest.raises(OSError, match="owner"):
        lock.release()
    assert Lock.acquire(fs, "/owner.lock") is not None


def test_a_process_that_stops_while_it_takes_a_lock_leaves_it_free() -> None:
    for after in range(2):
        fs = SimulatedFileSystem()
        fs.interrupt(after)
        with pytest.raises(Stopped):
            Lock.acquire(fs, "/owner.lock")
        assert Lock.acquire(fs.kill(), "/owner.lock") is not None
