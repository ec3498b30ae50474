"""The simulated file system loses what it may lose, nothing else, and until then behaves like a real one."""

from __future__ import annotations

import errno
import random
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from auditwire.journal.filesystem import REAL
from support.simulated_disk import PAGE, SECTOR
from support.simulated_fs import SimulatedFileSystem, Stopped

if TYPE_CHECKING:
    from auditwire.journal.filesystem import File, FileSystem

SEEDS = range(200)


def file_with(fs: SimulatedFileSystem, path: str, data: bytes, *, durable: bool = True) -> File:
    file = fs.open(path, create=True)
    file.reserve(len(data))
    file.write(0, data)
    if durable:
        file.sync()
        fs.sync_directory("/")
    return file


def outcomes(prepare: object, look: object) -> set[object]:
    """What is there after a power loss, over all seeds."""
    assert callable(prepare)
    assert callable(look)
    found = set()
    for seed in SEEDS:
        fs = SimulatedFileSystem()
        prepare(fs)
        found.add(look(fs.crash(random.Random(seed))))
    return found


def content(fs: SimulatedFileSystem) -> bytes | None:
    return fs.content("/f") if fs.exists("/f") else None


def names(fs: SimulatedFileSystem) -> tuple[str, ...]:
    return tuple(sorted(fs.list("/")))


# file contents


def test_a_page_that_was_not_synced_is_kept_lost_or_torn_at_sectors() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        file_with(fs, "/f", b"o" * PAGE).write(0, b"n" * PAGE)

    found = outcomes(prepare, content)
    assert {b"o" * PAGE, b"n" * PAGE} < found
    for data in found - {b"o" * PAGE, b"n" * PAGE}:
        assert isinstance(data, bytes)
        sectors = {data[start : start + SECTOR] for start in range(0, PAGE, SECTOR)}
        assert sectors == {b"o" * SECTOR, b"n" * SECTOR}


def test_pages_are_lost_in_any_combination() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        file_with(fs, "/f", b"o" * 2 * PAGE).write(0, b"n" * 2 * PAGE)

    found = outcomes(prepare, content)
    assert {(a + b) for a in (b"o" * PAGE, b"n" * PAGE) for b in (b"o" * PAGE, b"n" * PAGE)} < found


def test_a_store_into_a_mapping_is_lost_like_a_write() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        buffer = file_with(fs, "/f", bytes(PAGE)).map(PAGE, writable=True)
        memoryview(buffer).cast("Q")[0] = 7

    found = outcomes(prepare, content)
    assert found == {bytes(PAGE), b"\7" + bytes(PAGE - 1)}


@given(st.data())
def test_what_was_synced_is_never_lost(data: st.DataObject) -> None:
    fs = SimulatedFileSystem()
    file = file_with(fs, "/f", bytes(4 * PAGE))
    buffer = file.map(4 * PAGE, writable=True)
    written = data.draw(st.lists(st.tuples(st.integers(0, 4 * PAGE - 8), st.binary(min_size=8, max_size=8))))
    for offset, eight in written:
        buffer[offset : offset + 8] = eight
    file.sync()
    expected = fs.content("/f")
    page = data.draw(st.integers(0, 3))
    buffer[page * PAGE : page * PAGE + 8] = b"unsynced"
    after = fs.crash(random.Random(data.draw(st.integers(0, 1 << 32)))).content("/f")
    kept = [n for n in range(4) if n != page]
    assert all(after[n * PAGE : (n + 1) * PAGE] == expected[n * PAGE : (n + 1) * PAGE] for n in kept)


def test_a_length_that_was_not_synced_is_lost_or_filled_with_zeros() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        file_with(fs, "/f", b"o" * PAGE).write(PAGE, b"n" * PAGE)

    found = outcomes(prepare, content)
    assert {b"o" * PAGE, b"o" * PAGE + bytes(PAGE), b"o" * PAGE + b"n" * PAGE} < found


def test_a_page_may_become_durable_at_any_time_and_its_later_change_be_lost() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        file = file_with(fs, "/f", b"1" * PAGE)
        file.write(0, b"2" * PAGE)
        fs.write_back(random.Random(0))
        while fs.durable("/f") != b"2" * PAGE:
            fs.write_back(random.Random())
        file.write(0, b"3" * PAGE)

    found = outcomes(prepare, content)
    assert {b"2" * PAGE, b"3" * PAGE} < found
    assert b"1" * PAGE not in found


def test_after_a_failed_sync_a_second_one_succeeds_without_the_data() -> None:
    fs = SimulatedFileSystem()
    file = file_with(fs, "/f", b"o" * 2 * PAGE)
    file.write(0, b"n" * 2 * PAGE)
    fs.fail("sync", errno.EIO)
    with pytest.raises(OSError, match="/f"):
        file.sync()
    file.write(PAGE, b"m" * PAGE)  # this page is dirty again, and is written
    file.sync()
    assert fs.content("/f") == b"n" * PAGE + b"m" * PAGE
    assert fs.durable("/f") == b"o" * PAGE + b"m" * PAGE


# names


def test_a_new_name_is_lost_unless_its_directory_was_synced() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        file_with(fs, "/f", b"x", durable=False).sync()

    def prepare_synced(fs: SimulatedFileSystem) -> None:
        prepare(fs)
        fs.sync_directory("/")

    assert outcomes(prepare, content) == {None, b"x"}
    assert outcomes(prepare_synced, content) == {b"x"}


def test_a_synced_name_may_have_lost_the_content_that_was_not_synced() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        file_with(fs, "/f", b"x", durable=False)
        fs.sync_directory("/")

    assert outcomes(prepare, content) == {b"", b"\0", b"x"}


def test_a_rename_happens_whole_or_not_at_all_until_its_directory_is_synced() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        file_with(fs, "/f", b"old")
        file_with(fs, "/new", b"new")
        fs.rename("/new", "/f")

    def prepare_synced(fs: SimulatedFileSystem) -> None:
        prepare(fs)
        fs.sync_directory("/")

    def look(fs: SimulatedFileSystem) -> object:
        return names(fs), content(fs)

    assert outcomes(prepare, look) == {(("f", "new"), b"old"), (("f",), b"new")}
    assert outcomes(prepare_synced, look) == {(("f",), b"new")}


def test_a_removed_file_comes_back_until_its_directory_is_synced() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        file_with(fs, "/f", b"x")
        fs.unlink("/f")

    def prepare_synced(fs: SimulatedFileSystem) -> None:
        prepare(fs)
        fs.sync_directory("/")

    assert outcomes(prepare, content) == {None, b"x"}
    assert outcomes(prepare_synced, content) == {None}


def test_names_are_kept_in_any_combination_in_which_each_builds_on_what_is_there() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.open("/a", create=True)
        fs.open("/b", create=True)
        fs.rename("/a", "/c")

    assert outcomes(prepare, names) == {(), ("a",), ("b",), ("c",), ("a", "b"), ("b", "c")}


def test_syncing_one_directory_does_not_sync_another() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.mkdir("/d", 0o700)
        fs.open("/d/f", create=True)
        fs.sync_directory("/")

    def look(fs: SimulatedFileSystem) -> object:
        return tuple(fs.list("/d"))

    assert outcomes(prepare, look) == {(), ("f",)}


def test_a_rename_between_directories_is_durable_with_all_that_it_builds_on() -> None:
    fs = SimulatedFileSystem()
    fs.mkdir("/a", 0o700)
    fs.mkdir("/b", 0o700)
    fs.open("/b/other", create=True)
    fs.sync()
    file_with(fs, "/a/f", b"x", durable=False).sync()
    fs.rename("/a/f", "/b/f")
    fs.unlink("/b/other")
    fs.sync_directory("/a")
    for seed in SEEDS:
        after = fs.disk.after_power_loss(random.Random(seed))
        assert {"f"} <= set(after.root.entries["b"].entries) <= {"f", "other"}  # type: ignore[attr-defined]
        assert after.root.entries["a"].entries == {}  # type: ignore[attr-defined]


def test_after_a_sync_of_everything_nothing_is_lost() -> None:
    def prepare(fs: SimulatedFileSystem) -> None:
        fs.mkdir("/d", 0o700)
        file_with(fs, "/d/f", b"x" * PAGE, durable=False)
        fs.open("/gone", create=True)
        fs.unlink("/gone")
        fs.sync()

    def look(fs: SimulatedFileSystem) -> object:
        return tuple(fs.files().items())

    assert outcomes(prepare, look) == {(("/d/f", b"x" * PAGE),)}


def test_a_crash_is_the_same_for_the_same_seed() -> None:
    def after(seed: int) -> dict[str, bytes]:
        fs = SimulatedFileSystem()
        for name in "abcdef":
            file_with(fs, f"/{name}", b"x" * 3 * PAGE, durable=False)
        return fs.crash(random.Random(seed)).files()

    assert after(5) == after(5)
    assert len({tuple(after(seed).items()) for seed in SEEDS}) > 50


# processes


def test_the_death_of_a_process_loses_no_content_and_frees_its_locks() -> None:
    fs = SimulatedFileSystem()
    file = file_with(fs, "/f", b"x" * PAGE, durable=False)
    buffer = file.map(PAGE, writable=True)
    buffer[0:4] = b"last"
    assert file.lock()
    after = fs.kill()
    assert after.content("/f")[:5] == b"lastx"
    assert after.open("/f").lock()


def test_what_a_dead_process_still_stores_is_seen_by_nobody() -> None:
    fs = SimulatedFileSystem()
    buffer = file_with(fs, "/f", bytes(PAGE)).map(PAGE, writable=True)
    view = memoryview(buffer)
    after = fs.kill()
    view[0:4] = b"dead"
    assert after.content("/f") == bytes(PAGE)


@pytest.mark.parametrize("end", ["kill", "crash"])
def test_the_old_handles_are_dead(end: str) -> None:
    fs = SimulatedFileSystem()
    file = file_with(fs, "/f", b"x")
    fs.kill() if end == "kill" else fs.crash(random.Random(1))
    for call in (
        lambda: file.read(0, 1),
        file.sync,
        file.size,
        lambda: fs.open("/f"),
        lambda: fs.exists("/f"),
    ):
        with pytest.raises(Stopped):
            call()
    file.close()


def test_a_lock_holds_between_processes_on_one_disk() -> None:
    fs = SimulatedFileSystem()
    other = fs.process()
    mine = fs.open("/f", create=True)
    theirs = other.open("/f")
    assert mine.lock()
    assert mine.lock()
    assert not theirs.lock()
    theirs.unlock()  # is not theirs to free
    assert not theirs.lock()
    mine.unlock()
    assert theirs.lock()
    other.kill()
    assert mine.lock()


def test_a_lock_is_shared_or_one_opens_alone() -> None:
    fs = SimulatedFileSystem()
    first, second, third = fs.open("/f", create=True), fs.open("/f"), fs.open("/f")
    assert first.lock(shared=True)
    assert second.lock(shared=True)
    assert not third.lock()
    assert not first.lock()
    second.close()
    assert first.lock()
    assert not third.lock(shared=True)
    assert first.lock(shared=True)
    assert third.lock(shared=True)
    first.unlock()
    assert third.lock()


def test_killing_one_process_leaves_the_mapping_of_another_in_place() -> None:
    fs = SimulatedFileSystem()
    other = fs.process()
    writer = file_with(fs, "/f", bytes(PAGE)).map(PAGE, writable=True)
    reader = other.open("/f", writable=False).map(PAGE, writable=False)
    writer[0:4] = b"mine"
    fs.kill()
    assert reader[0:4] == b"mine"
    assert other.open("/f").read(0, 4) == b"mine"


def test_an_interrupt_comes_before_the_call_of_that_number_and_again_at_each_later_one() -> None:
    fs = SimulatedFileSystem()
    fs.interrupt(after=2)
    fs.mkdir("/a", 0o700)
    fs.mkdir("/b", 0o700)
    assert fs.list("/") == ["a", "b"]  # what changes nothing does not count
    for _ in range(2):
        with pytest.raises(Stopped, match="mkdir /c"):
            fs.mkdir("/c", 0o700)
    assert fs.log == [("mkdir", "/a"), ("mkdir", "/b")]
    assert fs.kill().list("/") == ["a", "b"]
    fs.interrupt(None)


# faults


def test_a_fault_strikes_the_named_call_on_the_named_files_as_often_as_told() -> None:
    fs = SimulatedFileSystem()
    fault = fs.fail("create", errno.ENOSPC, "*.seg", times=2)
    fs.open("/a.txt", create=True)
    for _ in range(2):
        with pytest.raises(OSError, match=r"/a\.seg") as caught:
            fs.open("/a.seg", create=True)
        assert caught.value.errno == errno.ENOSPC
    fs.open("/a.seg", create=True)
    assert fault.hits == 2


def test_a_fault_without_a_number_strikes_until_it_is_healed() -> None:
    fs = SimulatedFileSystem()
    fs.fail("*", errno.EIO, times=None)
    for _ in range(3):
        with pytest.raises(OSError, match="error"):
            fs.list("/")
    fs.heal()
    assert fs.list("/") == []


def test_a_fault_can_spare_the_first_calls() -> None:
    fs = SimulatedFileSystem()
    fs.fail("mkdir", errno.EIO, after=2)
    fs.mkdir("/a", 0o700)
    fs.mkdir("/b", 0o700)
    with pytest.raises(OSError, match="/c"):
        fs.mkdir("/c", 0o700)
    fs.mkdir("/c", 0o700)


def test_others_may_act_in_the_instant_before_a_call() -> None:
    fs = SimulatedFileSystem()
    seen = []

    def meanwhile(operation: str, path: str) -> None:
        seen.append((operation, path))
        if operation == "mkdir":
            fs.mkdir(path, 0o700)

    fs.meanwhile = meanwhile
    with pytest.raises(FileExistsError):
        fs.mkdir("/a", 0o700)
    assert fs.list("/") == ["a"]
    assert seen == [("mkdir", "/a"), ("list", "/")]


def test_a_fault_on_either_name_strikes_a_rename() -> None:
    fs = SimulatedFileSystem()
    fs.open("/a", create=True)
    fs.fail("rename", errno.EIO, "/b")
    with pytest.raises(OSError, match="/a"):
        fs.rename("/a", "/b")
    assert fs.list("/") == ["a"]


def test_the_disk_is_full_at_its_capacity_and_has_room_again_when_files_are_gone() -> None:
    fs = SimulatedFileSystem(capacity=4 * PAGE)
    file = fs.open("/a", create=True)
    file.reserve(3 * PAGE)
    file.reserve(3 * PAGE)  # has them
    other = fs.open("/b", create=True)
    with pytest.raises(OSError, match="/b") as caught:
        other.reserve(2 * PAGE)
    assert caught.value.errno == errno.ENOSPC
    assert other.size() == PAGE  # what there was of it
    with pytest.raises(OSError, match="/b"):
        other.write(PAGE, b"x")
    fs.unlink("/a")
    with pytest.raises(OSError, match="/b"):
        other.write(PAGE, b"x")  # it is still open
    file.close()
    other.write(PAGE, b"x")
    assert other.size() == PAGE + 1


def test_inodes_run_out() -> None:
    fs = SimulatedFileSystem(inodes=3)
    fs.mkdir("/d", 0o700)
    fs.open("/d/a", create=True).close()
    with pytest.raises(OSError, match="/d/b") as caught:
        fs.open("/d/b", create=True)
    assert caught.value.errno == errno.ENOSPC
    fs.unlink("/d/a")
    fs.open("/d/b", create=True)


def test_a_read_only_file_system_can_be_read_and_not_changed() -> None:
    fs = SimulatedFileSystem()
    file_with(fs, "/f", b"x")
    fs.read_only = True
    assert not fs.writable("/")
    assert fs.open("/f", writable=False).read(0, 9) == b"x"
    for call in (
        lambda: fs.open("/f"),
        lambda: fs.open("/g", create=True),
        lambda: fs.mkdir("/d", 0o700),
        lambda: fs.unlink("/f"),
    ):
        with pytest.raises(OSError, match="Read-only"):
            call()


def test_a_failing_disk_changes_what_is_read_and_what_is_durable() -> None:
    fs = SimulatedFileSystem()
    file_with(fs, "/f", b"abcd")
    fs.corrupt("/f", 1, b"?")
    assert fs.content("/f") == fs.durable("/f") == b"a?cd"
    fs.cut("/f", 2)
    assert fs.content("/f") == fs.durable("/f") == b"a?"


def test_what_would_kill_by_sigbus_is_an_error_of_the_test() -> None:
    fs = SimulatedFileSystem()
    file = fs.open("/f", create=True)
    file.truncate(PAGE)
    with pytest.raises(AssertionError, match="hole"):
        file.map(PAGE, writable=True)
    file.reserve(PAGE)
    buffer = file.map(PAGE, writable=True)
    with pytest.raises(AssertionError, match="cut"):
        file.truncate(0)
    buffer.close()
    file.truncate(0)


def test_a_mapping_can_be_used_as_a_real_one_can() -> None:
    fs = SimulatedFileSystem()
    file = file_with(fs, "/f", bytes(PAGE))
    buffer = file.map(PAGE, writable=True)
    reader = fs.open("/f", writable=False).map(PAGE, writable=False)
    words = memoryview(buffer).cast("Q")
    thread = threading.Thread(target=lambda: words.__setitem__(1, 1 << 63))
    thread.start()
    thread.join()
    assert memoryview(reader).cast("Q")[1] == 1 << 63
    assert file.read(8, 8) == bytes(7) + b"\x80"
    with pytest.raises(TypeError):
        reader[0:1] = b"x"
    with pytest.raises(ValueError, match="map"):
        file.map(PAGE + 1, writable=False)
    with pytest.raises(BufferError):
        buffer.close()
    words.release()


# the same calls on a real directory and on a simulated one, as long as there is power


class AsTheRealOne(RuleBasedStateMachine):
    """Names and contents are the real file system's, and so are the errors."""

    @initialize()
    def begin(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.base = self._folder.name
        self.simulated = SimulatedFileSystem()

    def teardown(self) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    def both(self, call: object) -> None:
        assert callable(call)

        def outcome(fs: FileSystem, base: str) -> object:
            try:
                return call(fs, base)
            except OSError as error:
                return errno.errorcode[error.errno or 0]

        expected = outcome(REAL, self.base)
        assert outcome(self.simulated, "") == expected

    paths = st.sampled_from(["/a", "/b", "/d", "/d/a", "/d/e", "/d/e/a", "/a/x"])

    @rule(path=paths, create=st.booleans(), exclusive=st.booleans(), data=st.binary(max_size=9))
    def write(self, path: str, create: bool, exclusive: bool, data: bytes) -> None:
        def call(fs: FileSystem, base: str) -> object:
            file = fs.open(base + path, create=create, exclusive=exclusive)
            try:
                file.write(len(data), data)
                return file.size(), file.read(0, 99), file.lock(), file.inode() == fs.inode(base + path)
            finally:
                file.close()

        self.both(call)

    @rule(path=paths, size=st.integers(0, 3 * PAGE), reserve=st.booleans())
    def resize(self, path: str, size: int, reserve: bool) -> None:
        def call(fs: FileSystem, base: str) -> object:
            file = fs.open(base + path)
            try:
                if reserve:
                    file.reserve(size + 1)
                else:
                    file.truncate(size)
                return file.size(), fs.size(base + path), file.read(0, 1 << 20)
            finally:
                file.close()

        self.both(call)

    @rule(path=paths)
    def mkdir(self, path: str) -> None:
        self.both(lambda fs, base: fs.mkdir(base + path, 0o700))

    @rule(path=paths)
    def unlink(self, path: str) -> None:
        self.both(lambda fs, base: fs.unlink(base + path))

    @rule(path=paths)
    def rmdir(self, path: str) -> None:
        self.both(lambda fs, base: fs.rmdir(base + path))

    @rule(old=paths, new=paths)
    def rename(self, old: str, new: str) -> None:
        if not new.startswith(old + "/") and not old.startswith(new + "/"):
            self.both(lambda fs, base: fs.rename(base + old, base + new))

    @rule(path=paths)
    def look(self, path: str) -> None:
        def call(fs: FileSystem, base: str) -> object:
            path_ = base + path
            return fs.exists(path_), fs.is_directory(path_), fs.mode(path_), sorted(fs.list(path_))

        self.both(call)

    @rule()
    def everything(self) -> None:
        files = {
            str(path)[len(self.base) :]: path.read_bytes()
            for path in Path(self.base).rglob("*")
            if path.is_file()
        }
        assert self.simulated.files() == files


TestAsTheRealOne = AsTheRealOne.TestCase
