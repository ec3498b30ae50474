"""A journal path: streams come and go whole, whatever stops the process or the machine meanwhile."""

from __future__ import annotations

import errno
import grp
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from auditwire.errors import ConfigurationError
from auditwire.ids import uuid7
from auditwire.journal.cursor import Cursor
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath, lasting
from auditwire.journal.locks import Lock
from auditwire.journal.mounts import NETWORK_KINDS
from support.journal_paths import BASE, DIGEST, INFO, A, B, C, a_file, full_stream, line
from support.simulated_disk import PAGE
from support.simulated_fs import CHANGING, SimulatedFileSystem
from support.stops import SEEDS, after_every_stop

# the path


def test_a_path_is_made_with_its_parents_for_its_owner_alone(tmp_path: Path) -> None:
    journal = JournalPath(REAL, str(tmp_path / "a" / "b"))
    assert journal.path == str(tmp_path / "a" / "b")
    assert REAL.mode(str(tmp_path / "a")) == 0o755
    assert REAL.mode(journal.path) == 0o700
    assert journal.file_mode == 0o600
    JournalPath(REAL, journal.path)


def test_a_path_that_was_made_survives_a_power_loss() -> None:
    for seed in SEEDS:
        fs = SimulatedFileSystem()
        JournalPath(fs, BASE)
        assert fs.crash(random.Random(seed)).is_directory(BASE)


def test_a_relative_path_and_a_link_lead_to_one_place_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert JournalPath(REAL, "link/journal").path == str(tmp_path / "real" / "journal")


def test_a_parent_that_cannot_be_read_is_not_synced_and_no_obstacle() -> None:
    fs = SimulatedFileSystem()
    fs.fail("sync_directory", errno.EACCES, "/srv")
    assert JournalPath(fs, BASE).streams() == []


def test_two_processes_that_make_one_path_both_have_it() -> None:
    fs = SimulatedFileSystem()
    other = fs.process()

    def meanwhile(operation: str, path: str) -> None:
        if operation == "mkdir":
            JournalPath(other, path)

    fs.meanwhile = meanwhile
    assert JournalPath(fs, BASE).streams() == []


@pytest.mark.parametrize("kind", sorted(NETWORK_KINDS))
def test_a_network_file_system_is_refused_unless_forced_and_nothing_is_made_there(kind: str) -> None:
    fs = SimulatedFileSystem(kind=kind)
    with pytest.raises(ConfigurationError, match=rf"journal: .*network file system \({kind}\)"):
        JournalPath(fs, BASE)
    assert fs.list("/") == []
    JournalPath(fs, BASE, force_network=True)


def test_a_file_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for path in (tmp_path / "f", tmp_path / "f" / "below"):
        with pytest.raises(ConfigurationError, match="cannot be a journal") as caught:
            JournalPath(REAL, str(path))
        assert caught.value.key == "journal"


def test_a_path_that_may_not_be_written_is_refused() -> None:
    fs = SimulatedFileSystem()
    JournalPath(fs, BASE)
    fs.read_only = True
    for path in (BASE, f"{BASE}/below"):
        with pytest.raises(ConfigurationError, match="cannot be a journal"):
            JournalPath(fs, path)
    with pytest.raises(ConfigurationError, match="cannot be a journal"):
        JournalPath(REAL, "/proc/self")  # where root, too, makes nothing


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG])
def test_what_no_waiting_mends_is_a_configuration_error(number: int) -> None:
    fs = SimulatedFileSystem()
    fs.fail("mkdir", number)
    with pytest.raises(ConfigurationError, match=BASE):
        JournalPath(fs, BASE)
    assert lasting(OSError(number, ""))


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM]
)
def test_what_may_pass_stays_an_os_error(number: int) -> None:
    fs = SimulatedFileSystem()
    fs.fail("mkdir", number)
    with pytest.raises(OSError, match="srv") as caught:
        JournalPath(fs, BASE)
    assert caught.value.errno == number
    assert not lasting(caught.value)
    JournalPath(fs, BASE)


def test_a_path_can_be_looked_at_where_nothing_may_be_changed() -> None:
    fs = SimulatedFileSystem(kind="nfs")
    made = JournalPath(fs, BASE, force_network=True)
    made.create_stream(A, INFO)
    made.note_ended(line(B))
    fs.read_only = True
    fs.log.clear()
    journal = JournalPath.look(fs, BASE)
    directory = journal.open_stream(A)
    assert (journal.path, journal.streams(), journal.ended(), journal.strangers()) == (
        BASE,
        [A],
        [line(B)],
        [],
    )
    assert (directory.info(), directory.segments(), directory.file_mode) == (INFO, [], 0o600)
    assert directory.owner_alive()
    assert not directory.sent()
    assert journal.used() == made.used() > 0
    assert {operation for operation, _ in fs.log} <= {"lock"}


def test_looking_at_what_is_no_journal_path_makes_nothing() -> None:
    fs = SimulatedFileSystem()
    with pytest.raises(FileNotFoundError):
        JournalPath.look(fs, BASE)
    a_file(fs, "/file")
    with pytest.raises(NotADirectoryError):
        JournalPath.look(fs, "/file")
    assert fs.files() == {"/file": b"x"}


# groups


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")
def test_with_a_group_all_that_is_made_belongs_to_it_and_it_may_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    journal = JournalPath(REAL, str(tmp_path / "journal"), group="4321")
    directory = journal.create_stream(A, INFO)
    journal.make_directory(directory.parked_path)
    directory.write_state({})
    Cursor.open(REAL, directory.cursor_path, writable=True, mode=directory.file_mode).close()
    journal.note_ended(line(B))
    for folder in (journal.path, directory.path, directory.parked_path, f"{journal.path}/ended"):
        assert (REAL.group(folder), REAL.mode(folder)) == (4321, 0o2770)
    files = [path for path in Path(journal.path).rglob("*") if path.is_file()]
    assert len(files) == 5
    for path in files:
        assert (REAL.group(str(path)), REAL.mode(str(path))) == (4321, 0o660)


def test_a_path_that_a_group_may_write_is_used_as_such_without_being_told() -> None:
    fs = SimulatedFileSystem()
    JournalPath(fs, BASE, group=4321)
    journal = JournalPath(fs, BASE)  # a forwarder's
    directory = journal.create_stream(A, INFO)
    assert journal.file_mode == directory.file_mode == 0o660
    assert fs.mode(directory.path) == 0o2770
    assert fs.group(directory.path) == fs.group(f"{directory.path}/stream.json") == 4321


def test_a_group_is_found_by_its_name() -> None:
    entry = grp.getgrgid(0)
    fs = SimulatedFileSystem()
    assert fs.group(JournalPath(fs, BASE, group=entry.gr_name).path) == 0


def test_a_group_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no group 'nobody-of-that-name'") as caught:
        JournalPath(SimulatedFileSystem(), BASE, group="nobody-of-that-name")
    assert caught.value.key == "journal_group"


def test_a_group_that_the_path_may_not_be_given_to_is_refused() -> None:
    fs = SimulatedFileSystem()
    JournalPath(fs, BASE)
    fs.fail("chown_group", errno.EPERM)
    with pytest.raises(ConfigurationError, match="cannot be given to group 4321") as caught:
        JournalPath(fs, BASE, group=4321)
    assert caught.value.key == "journal_group"


def test_a_path_that_was_private_so_far_is_not_opened_to_a_group_but_how_is_said() -> None:
    fs = SimulatedFileSystem()
    JournalPath(fs, BASE)
    with pytest.raises(ConfigurationError, match=f"chmod 2770 {BASE}"):
        JournalPath(fs, BASE, group=4321)


# a stream comes


def test_a_new_stream_is_locked_described_and_durable() -> None:
    for seed in SEEDS:
        fs = SimulatedFileSystem()
        journal = JournalPath(fs, BASE)
        directory = journal.create_stream(A, INFO)
        assert directory.path == f"{BASE}/{A}"
        assert directory.owner is not None
        assert directory.owner.intact()
        assert directory.owner_alive()
        assert directory.take_owner() is None
        assert directory.info() == INFO
        assert directory.segments() == []
        assert journal.streams() == [A]
        after = JournalPath(fs.crash(random.Random(seed)), BASE)
        assert after.open_stream(A).info() == INFO
        assert not after.open_stream(A).owner_alive()


def test_a_stream_whose_maker_sends_it_can_be_sent_by_nobody_else_from_its_first_instant() -> None:
    fs = SimulatedFileSystem()
    journal, other = JournalPath(fs, BASE), JournalPath(fs.process(), BASE)
    seen = []

    def meanwhile(operation: str, path: str) -> None:
        for stream in other.streams():
            seen.append(operation)
            assert other.open_stream(stream).take_sender() is None

    fs.meanwhile = meanwhile
    directory = journal.create_stream(A, INFO, sends=True)
    assert directory.sender is not None
    assert directory.sender.intact()
    assert directory.take_sender() is None
    assert "sync_directory" in seen


def test_a_stream_whose_maker_does_not_send_it_can_be_sent_by_others() -> None:
    directory = JournalPath(SimulatedFileSystem(), BASE).create_stream(A, INFO)
    assert directory.sender is None
    assert directory.take_sender() is not None


def test_a_stream_that_could_not_be_made_leaves_neither_lock() -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    for operation in ("create", "rename", "sync_directory"):
        fs.fail(operation, errno.EIO, after=1)
        with pytest.raises(OSError, match="journal"):
            journal.create_stream(A, INFO, sends=True)
        assert fs.list(BASE) == []
    directory = journal.create_stream(A, INFO, sends=True)
    assert directory.sender is not None


def test_a_new_stream_is_private(tmp_path: Path) -> None:
    directory = JournalPath(REAL, str(tmp_path / "journal")).create_stream(A, INFO)
    assert REAL.mode(directory.path) == 0o700
    assert sorted(REAL.list(directory.path)) == ["owner.lock", "stream.json"]
    for name in REAL.list(directory.path):
        assert REAL.mode(f"{directory.path}/{name}") == 0o600


def test_a_stop_anywhere_in_making_a_stream_leaves_a_whole_one_or_a_leftover_that_is_swept() -> None:
    def prepare() -> SimulatedFileSystem:
        fs = SimulatedFileSystem()
        JournalPath(fs, BASE)
        return fs

    def act(fs: SimulatedFileSystem) -> None:
        JournalPath(fs, BASE).create_stream(A, INFO, sends=True)

    seen = set()

    def check(fs: SimulatedFileSystem) -> None:
        journal = JournalPath(fs, BASE)
        seen.add((bool(journal.streams()), len(fs.list(BASE))))
        for stream in journal.streams():
            directory = journal.open_stream(stream)
            assert directory.info() == INFO
            owner = directory.take_owner()
            assert owner is not None
            owner.release()
        assert journal.strangers() == []
        assert journal.sweep() == []
        assert fs.list(BASE) == journal.streams()
        journal.create_stream(B, INFO)

    assert after_every_stop(prepare, act, check) >= 9
    assert seen == {(False, 0), (False, 1), (True, 1)}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EACCES])
def test_an_error_anywhere_in_making_a_stream_is_raised_and_leaves_nothing(number: int) -> None:
    struck = 0
    for operation in sorted(CHANGING | {"open"}):
        for after in range(3):
            fs = SimulatedFileSystem()
            journal = JournalPath(fs, BASE)
            fault = fs.fail(operation, number, after=after)
            if created(journal, number):
                assert fault.hits == 0
            else:
                struck += fault.hits
                assert fs.list(BASE) == []
            fs.heal()
            journal.create_stream(B, INFO)
    assert struck == 1 + 2 + 2 + 1 + 1 + 1 + 1 + 2 + 2  # each of the calls that there are


def created(journal: JournalPath, number: int) -> bool:
    try:
        journal.create_stream(A, INFO)
    except OSError as error:
        if error.errno != number:
            raise
        return False
    return True


def test_what_an_error_leaves_that_cannot_even_be_removed_is_swept_later() -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    fs.fail("write", errno.EIO, "*stream.json")
    fs.fail("rmdir", errno.EIO)
    with pytest.raises(OSError, match=r"stream\.json"):
        journal.create_stream(A, INFO)
    assert fs.list(BASE) == [f".new-{A}"]
    assert journal.streams() == []
    assert journal.sweep() == []
    assert fs.list(BASE) == []


def test_a_stream_that_bears_its_name_but_is_not_durable_is_taken_back() -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    fs.fail("sync_directory", errno.EIO, BASE)
    with pytest.raises(OSError, match=BASE):
        journal.create_stream(A, INFO)
    assert fs.list(BASE) == []


def test_a_stream_that_cannot_be_taken_back_is_one_without_records_for_adopters() -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    fs.fail("sync_directory", errno.EIO, BASE, times=None)
    fs.fail("rename", errno.EIO, "*.gone-*", times=None)
    with pytest.raises(OSError, match=BASE):
        journal.create_stream(A, INFO)
    directory = journal.open_stream(A)
    assert journal.streams() == [A]
    assert directory.info() == INFO
    assert not directory.owner_alive()


def test_a_path_that_somebody_removed_is_made_anew_for_the_next_stream() -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    fs.rmdir(BASE)
    assert journal.streams() == []
    assert journal.strangers() == []
    assert journal.sweep() == []
    journal.create_stream(A, INFO)
    assert journal.streams() == [A]


def test_a_stream_that_is_swept_while_it_is_made_is_made_again() -> None:
    fs = SimulatedFileSystem()
    journal, sweeper = JournalPath(fs, BASE), JournalPath(fs.process(), BASE)
    swept = 0

    def meanwhile(operation: str, path: str) -> None:
        nonlocal swept
        if operation in {"open", "lock"} and path.endswith("owner.lock") and swept < 5:
            swept += 1
            assert sweeper.sweep() == []  # the directory is there, and nobody has its lock yet

    fs.meanwhile = meanwhile
    directory = journal.create_stream(A, INFO)
    assert swept == 5
    assert directory.owner is not None
    assert directory.owner.intact()
    assert directory.info() == INFO
    assert fs.list(BASE) == [A]


def test_a_stream_that_is_swept_before_it_has_its_permissions_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, sweeper = JournalPath(REAL, str(tmp_path)), JournalPath(REAL, str(tmp_path))
    chmod, swept = os.chmod, 0

    def swept_before(path: str, mode: int) -> None:
        nonlocal swept
        if "/.new-" in path and not swept:
            swept += 1
            assert sweeper.sweep() == []
        chmod(path, mode)

    monkeypatch.setattr(os, "chmod", swept_before)
    directory = journal.create_stream(A, INFO)
    assert swept == 1
    assert directory.owner is not None
    assert directory.owner.intact()


def test_a_stream_that_is_always_swept_is_given_up() -> None:
    fs = SimulatedFileSystem()
    journal, sweeper = JournalPath(fs, BASE), JournalPath(fs.process(), BASE)

    def meanwhile(operation: str, path: str) -> None:
        if operation == "lock":
            sweeper.sweep()

    fs.meanwhile = meanwhile
    with pytest.raises(OSError, match="others keep removing") as caught:
        journal.create_stream(A, INFO)
    assert caught.value.errno == errno.EBUSY


def test_a_sweep_leaves_a_directory_alone_that_is_being_made() -> None:
    fs = SimulatedFileSystem()
    journal, sweeper = JournalPath(fs, BASE), JournalPath(fs.process(), BASE)
    seen = []

    def meanwhile(operation: str, path: str) -> None:
        if operation == "rename":
            assert sweeper.sweep() == []
            seen.append(sorted(fs.list(BASE)))

    fs.meanwhile = meanwhile
    journal.create_stream(A, INFO)
    assert seen == [[f".new-{A}"]] * 2
    assert journal.open_stream(A).info() == INFO


# a stream goes


def test_a_sweep_takes_what_dead_processes_left_and_says_what_it_cannot_remove() -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    for name in (f".new-{A}", f".gone-{B}", f".gone-{C}", ".new-folder", f".old-{A}"):
        fs.mkdir(f"{BASE}/{name}", 0o700)
        a_file(fs, f"{BASE}/{name}/file")
    held = Lock.acquire(fs.process(), f"{BASE}/.gone-{C}/owner.lock")
    assert held is not None
    fault = fs.fail("unlink", errno.EIO, f"*{B}*")
    assert [error.errno for error in journal.sweep()] == [errno.EIO]
    assert fault.hits == 1
    assert sorted(fs.list(BASE)) == [f".gone-{B}", f".gone-{C}", ".new-folder", f".old-{A}"]
    held.release()
    assert journal.sweep() == []
    assert sorted(fs.list(BASE)) == [".new-folder", f".old-{A}"]


def test_a_sweep_raises_nothing_where_the_path_cannot_be_read() -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    fs.fail("list", errno.EIO, times=None)
    assert [error.errno for error in journal.sweep()] == [errno.EIO]
    fs.heal()
    fs.mkdir(f"{BASE}/ended", 0o700)
    fs.fail("list", errno.EIO, f"{BASE}/ended")
    assert [error.errno for error in journal.sweep()] == [errno.EIO]


def test_two_processes_may_sweep_at_once(tmp_path: Path) -> None:
    journal = JournalPath(REAL, str(tmp_path / "journal"))
    for n in range(60):
        folder = tmp_path / "journal" / f".gone-{uuid7(n * 1_000_000_000)}"
        folder.mkdir()
        for name in ("owner.lock", "00000000.seg", "cursor"):
            (folder / name).touch()
    script = textwrap.dedent(
        """
        import sys
        from auditwire.journal.filesystem import REAL
        from auditwire.journal.layout import JournalPath
        journal = JournalPath(REAL, sys.argv[1])
        sys.stdin.read()
        failed = []
        while REAL.list(journal.path):
            failed += journal.sweep()
        print(failed)
        """
    )
    run = [sys.executable, "-c", script, journal.path]
    sweepers = [
        subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    for sweeper in sweepers:
        assert sweeper.stdin is not None
        sweeper.stdin.close()
        sweeper.stdin = None
    assert [sweeper.communicate(timeout=120)[0] for sweeper in sweepers] == ["[]\n"] * 3
    assert REAL.list(journal.path) == []


# what lies there


def test_streams_are_listed_oldest_first_and_all_else_is_a_stranger(tmp_path: Path) -> None:
    journal = JournalPath(REAL, str(tmp_path / "journal"))
    for stream in (B, A):
        lock = journal.create_stream(stream, INFO).owner
        assert lock is not None
        lock.release()
    base = tmp_path / "journal"
    journal.note_ended(line(C))
    journal.make_directory(f"{journal.path}/quarantine")
    (base / f".new-{C}").mkdir()
    (base / "notes.txt").touch()
    (base / "lost+found").mkdir()
    (base / A.upper()).mkdir()
    (base / "0195f1a0-0000-4000-8000-000000000000").mkdir()  # version 4
    (base / C).touch()  # a file
    (base / f".gone-{C}").touch()
    link = uuid7(4_000_000_000)
    (base / link).symlink_to(base / A)
    assert journal.streams() == [A, B]
    assert journal.strangers() == sorted(
        ["notes.txt", "lost+found", A.upper(), "0195f1a0-0000-4000-8000-000000000000", C, f".gone-{C}", link]
    )
    assert journal.sweep() == []
    assert (base / f".gone-{C}").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", A.upper(), A + "x", "x" + A, A + "\n", "notes"])
def test_only_a_uuid7_in_lower_case_names_a_stream(name: str) -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        JournalPath(SimulatedFileSystem(), BASE).open_stream(name)


def test_sizes_are_counted_in_blocks_with_all_that_lies_below(tmp_path: Path) -> None:
    journal = JournalPath(REAL, str(tmp_path / "journal"))
    assert journal.used() == 0
    directory = journal.create_stream(A, INFO)
    assert journal.used() == PAGE  # stream.json; the lock is empty
    journal.make_directory(directory.parked_path)
    for path, size in (
        (directory.segment_path(0), 3 * PAGE),
        (f"{directory.parked_path}/00000000.seg", PAGE + 1),
    ):
        file = REAL.open(path, create=True)
        file.reserve(size)
        file.close()
    assert journal.used() == 6 * PAGE


def test_what_vanishes_while_sizes_are_counted_does_not_count() -> None:
    fs = SimulatedFileSystem()
    full_stream(fs, A)
    journal = JournalPath(fs, BASE)
    used = journal.used()
    fs.fail("size", errno.ENOENT, "*00000000.seg", times=None)
    assert journal.used() == used - 2 * PAGE


# ended streams


def test_how_streams_ended_is_remembered_until_it_is_named() -> None:
    for seed in SEEDS:
        fs = SimulatedFileSystem()
        journal = JournalPath(fs, BASE)
        journal.note_ended(line(B))
        journal.note_ended(line(A, 0))
        fs = fs.crash(random.Random(seed))
        journal = JournalPath(fs, BASE)
        assert journal.ended() == [line(A, 0), line(B)]
        assert journal.strangers() == []
        journal.forget_ended([line(A, 0), line(C), "nonsense"])
        assert journal.ended() == [line(B)]


def test_a_stream_that_ended_later_than_what_was_named_stays_remembered() -> None:
    journal = JournalPath(SimulatedFileSystem(), BASE)
    journal.note_ended(line(A, 7))
    named = journal.ended()
    journal.note_ended(line(A, 9))
    journal.forget_ended(named)
    assert journal.ended() == [line(A, 9)]


def test_a_stop_anywhere_in_noting_leaves_the_note_before_or_after_it() -> None:
    def prepare() -> SimulatedFileSystem:
        fs = SimulatedFileSystem()
        journal = JournalPath(fs, BASE)
        journal.create_stream(A, INFO)
        journal.note_ended(line(A, 1))
        return fs

    def act(fs: SimulatedFileSystem) -> None:
        JournalPath(fs, BASE).note_ended(line(A, 2))

    seen = set()

    def check(fs: SimulatedFileSystem) -> None:
        journal = JournalPath(fs, BASE)
        assert journal.strangers() == []
        seen.add(tuple(journal.ended()))
        journal.open_stream(A).remove()
        assert journal.sweep() == []
        assert fs.list(BASE) == ["ended"]
        assert fs.list(f"{BASE}/ended") == [A]

    assert after_every_stop(prepare, act, check) >= 5
    assert seen == {(line(A, 1),), (line(A, 2),)}


def test_a_note_being_written_is_not_swept_while_its_stream_is_there() -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    journal.create_stream(A, INFO)
    journal.make_directory(f"{BASE}/ended")
    a_file(fs, f"{BASE}/ended/.new-{A}")
    a_file(fs, f"{BASE}/ended/.new-{B}")
    assert journal.sweep() == []
    assert fs.list(f"{BASE}/ended") == [f".new-{A}"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"{A}:7",
        f"{A}:-7:{DIGEST}",
        f"{A}:07:{DIGEST}",
        f"{A}:7:{DIGEST[1:]}",
        f"{B}:7:{DIGEST}",
        "\xff",
    ],
)
def test_a_malformed_note_is_ignored_and_shown_as_a_stranger(text: str) -> None:
    fs = SimulatedFileSystem()
    journal = JournalPath(fs, BASE)
    journal.make_directory(f"{BASE}/ended")
    a_file(fs, f"{BASE}/ended/{A}", text.encode("latin-1"))
    fs.mkdir(f"{BASE}/ended/folder", 0o700)
    assert journal.ended() == []
    assert journal.strangers() == [f"ended/{A}", "ended/folder"]
    journal.forget_ended([text])
    assert fs.exists(f"{BASE}/ended/{A}")


@pytest.mark.parametrize("text", ["", f"{A}:7", f"{A}:7:{DIGEST}\n", f"{A.upper()}:7:{DIGEST}"])
def test_only_a_well_formed_line_is_noted(text: str) -> None:
    with pytest.raises(ValueError, match="stream:sequence:digest"):
        JournalPath(SimulatedFileSystem(), BASE).note_ended(text)


def test_what_is_kept_of_a_stream_lies_under_its_id() -> None:
    journal = JournalPath(SimulatedFileSystem(), BASE)
    assert journal.quarantine_path(A) == f"{BASE}/quarantine/{A}"
    assert journal.open_stream(A).parked_path == f"{BASE}/{A}/parked"
