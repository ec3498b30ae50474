"""The directory of one stream: what it tells, who may lock it, and how it goes."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from support.journal_paths import BASE, INFO, A, a_file, full_stream
from support.simulated_fs import SimulatedFileSystem
from support.stops import after_every_stop


def test_a_stop_anywhere_in_removing_a_stream_leaves_it_whole_or_a_leftover_that_is_swept() -> None:
    complete = SimulatedFileSystem()
    full_stream(complete, A)
    whole = complete.files(BASE)

    def prepare() -> SimulatedFileSystem:
        fs = SimulatedFileSystem()
        full_stream(fs, A)
        return fs

    def act(fs: SimulatedFileSystem) -> None:
        JournalPath(fs, BASE).open_stream(A).remove()

    seen = set()

    def check(fs: SimulatedFileSystem) -> None:
        journal = JournalPath(fs, BASE)
        seen.add((bool(journal.streams()), len(fs.list(BASE))))
        if journal.streams() == [A]:
            assert fs.files(BASE) == whole
            journal.open_stream(A).remove()
        assert journal.strangers() == []
        assert journal.sweep() == []
        assert fs.list(BASE) == []

    assert after_every_stop(prepare, act, check) >= 10
    assert seen == {(True, 1), (False, 1), (False, 0)}


def test_a_removed_stream_leaves_nothing_and_removing_it_again_does_nothing(tmp_path: Path) -> None:
    journal = JournalPath(REAL, str(tmp_path / "journal"))
    directory = journal.create_stream(A, INFO)
    sender = directory.take_sender()
    assert sender is not None
    journal.make_directory(directory.parked_path)
    (tmp_path / "journal" / A / "parked" / "00000000.seg").touch()
    (tmp_path / "journal" / A / "00000000.seg").touch()
    directory.remove()
    directory.remove()
    assert REAL.list(journal.path) == []
    assert not directory.owner_alive()
    assert directory.segments() == []
    assert directory.info() is None
    assert directory.take_owner() is None
    assert directory.take_sender() is None
    sender.release()


def test_a_removal_that_failed_half_way_is_completed_by_the_next() -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)
    fs.fail("unlink", errno.EIO, "*cursor")
    with pytest.raises(OSError, match="cursor"):
        directory.remove()
    assert fs.list(BASE) == [f".gone-{A}"]
    assert JournalPath(fs, BASE).streams() == []
    directory.remove()
    assert fs.list(BASE) == []


def test_leftovers_of_an_earlier_removal_are_no_obstacle() -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)
    fs.mkdir(f"{BASE}/.gone-{A}", 0o700)
    a_file(fs, f"{BASE}/.gone-{A}/00000000.seg")
    directory.remove()
    assert fs.list(BASE) == []


def test_a_link_in_a_stream_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    directory = JournalPath(REAL, str(tmp_path / "journal")).create_stream(A, INFO)
    Path(directory.parked_path).symlink_to(tmp_path / "precious")
    directory.remove()
    assert (tmp_path / "precious" / "file").exists()
    assert REAL.list(str(tmp_path / "journal")) == []


def test_segments_are_listed_by_number_and_nothing_else_is_one() -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)
    for name in (
        "00000010.seg",
        "100000000.seg",
        "4294967295.seg",
        "0000001.seg",
        "010000000.seg",
        "00000002.seg~",
    ):
        a_file(fs, f"{directory.path}/{name}")
    assert directory.segments() == [0, 1, 10, 100_000_000, 4_294_967_295]
    for number in directory.segments():
        assert fs.exists(directory.segment_path(number))


def test_the_two_locks_of_a_stream_are_had_by_different_processes() -> None:
    fs = SimulatedFileSystem()
    directory = JournalPath(fs, BASE).create_stream(A, INFO)
    forwarder = JournalPath(fs.process(), BASE).open_stream(A)
    sender = forwarder.take_sender()
    assert sender is not None
    assert directory.take_sender() is None
    assert forwarder.owner_alive()
    assert directory.sent()
    sender.release()
    assert not directory.sent()
    assert directory.take_sender() is not None


def test_a_stream_without_the_owners_lock_file_can_be_adopted() -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)
    fs.unlink(f"{directory.path}/owner.lock")
    fs.log.clear()
    assert not directory.owner_alive()
    assert not directory.sent()
    assert "create" not in [operation for operation, _ in fs.log]
    assert directory.take_owner() is not None


def test_an_owner_whose_directory_vanishes_while_it_is_looked_at_is_not_alive() -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)

    def meanwhile(operation: str, path: str) -> None:
        if operation == "open":
            JournalPath(fs, BASE).open_stream(A).remove()

    fs.meanwhile = meanwhile
    assert not directory.owner_alive()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"null", b"\xff", b"{}" + b" " * (1 << 20), b"[" * 100_000],
    ids=["empty", "cut", "list", "null", "bytes", "huge", "deep"],
)
def test_damaged_descriptions_are_none(content: bytes) -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)
    for name in ("stream.json", "state.json"):
        fs.unlink(f"{directory.path}/{name}")
        a_file(fs, f"{directory.path}/{name}", content)
    assert directory.info() is None
    assert directory.read_state() is None


def test_no_descriptors_is_not_taken_for_a_missing_description() -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)
    fs.fail("open", errno.EMFILE)
    with pytest.raises(OSError, match="open files"):
        directory.info()
    for number in (errno.EIO, errno.EACCES):
        fs.fail("read", number)
        assert directory.info() is None
    assert directory.info() == INFO


def test_the_state_is_replaced_in_one_step_and_readable_for_people() -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)
    directory.write_state({"parked": {"audit.tool-call": "größer"}})
    assert directory.read_state() == {"parked": {"audit.tool-call": "größer"}}
    assert "größer" in fs.content(f"{directory.path}/state.json").decode()
    fs.fail("write", errno.ENOSPC)
    with pytest.raises(OSError, match=r"state\.json"):
        directory.write_state({})
    assert directory.read_state() == {"parked": {"audit.tool-call": "größer"}}
    assert ".new-state.json" not in fs.list(directory.path)


def test_a_state_that_a_dead_process_left_half_written_is_overwritten() -> None:
    fs = SimulatedFileSystem()
    directory = full_stream(fs, A)
    a_file(fs, f"{directory.path}/.new-state.json", b"x" * 1000)
    directory.write_state({"a": 1})
    assert json.loads(fs.content(f"{directory.path}/state.json")) == {"a": 1}
    assert directory.segments() == [0, 1]
