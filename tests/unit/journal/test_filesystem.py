"""The real file system, on a real directory."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from auditwire.journal.filesystem import REAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = 4096


def descriptors() -> int:
    return len(REAL.list("/proc/self/fd"))


def blocks(path: Path) -> int:
    """Bytes that the file has of the disk."""
    return path.stat().st_blocks * 512


@pytest.fixture
def umask() -> Iterator[None]:
    """A umask that takes all permissions of the group and of others away, and one of the owner."""
    before = os.umask(0o277)
    yield
    os.umask(before)


# contents


def test_a_reserved_file_has_all_its_blocks_and_holds_zeros(tmp_path: Path) -> None:
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.write(0, b"kept")
    file.reserve(64 * PAGE)
    assert file.size() == 64 * PAGE
    assert blocks(tmp_path / "f") >= 64 * PAGE
    assert file.read(0, 1 << 20) == b"kept" + bytes(64 * PAGE - 4)
    file.reserve(PAGE)
    assert file.size() == 64 * PAGE
    file.close()


@pytest.mark.parametrize("refusal", [errno.EOPNOTSUPP, errno.EINVAL])
def test_where_reserving_is_refused_zeros_are_written_and_never_a_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    def refuse(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(refusal, "refused")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.write(0, b"kept")
    file.reserve((1 << 21) + 5)
    file.sync()
    assert file.size() == (1 << 21) + 5
    assert file.read(0, 8) == b"kept" + bytes(4)
    assert blocks(tmp_path / "f") > 1 << 21
    file.close()


def test_a_platform_without_the_call_writes_zeros_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.reserve(PAGE)
    assert file.read(0, 2 * PAGE) == bytes(PAGE)
    file.close()


def test_no_room_is_said_when_reserving_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    file = REAL.open(str(tmp_path / "f"), create=True)
    with pytest.raises(OSError, match="f'") as caught:
        file.reserve(PAGE)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "f")
    file.close()


def test_a_file_too_large_for_the_file_system_is_refused_by_the_kernel_itself(tmp_path: Path) -> None:
    file = REAL.open(str(tmp_path / "f"), create=True)
    with pytest.raises(OSError, match="f'") as caught:
        file.reserve(1 << 62)
    assert caught.value.errno in {errno.EFBIG, errno.ENOSPC}
    file.close()


def test_a_mapping_shares_its_pages_with_reads_writes_and_other_mappings(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    file = REAL.open(path, create=True)
    file.reserve(PAGE)
    reader = REAL.open(path, writable=False)
    buffer, seen = file.map(PAGE, writable=True), reader.map(PAGE, writable=False)
    buffer[8:12] = b"word"
    with memoryview(buffer) as view, view.cast("Q") as words:
        words[0] = 0x0102030405060708
    assert seen[0:12] == bytes([8, 7, 6, 5, 4, 3, 2, 1]) + b"word"
    assert len(seen) == PAGE
    assert reader.read(8, 4) == b"word"
    file.write(8, b"more")
    assert seen[8:12] == b"more"
    file.close()
    reader.close()
    assert seen[8:12] == b"more"  # mappings outlive descriptors
    buffer.close()
    seen.close()


def test_a_mapping_for_reading_refuses_stores(tmp_path: Path) -> None:
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.reserve(PAGE)
    buffer = file.map(PAGE, writable=False)
    with pytest.raises(TypeError):
        buffer[0:1] = b"x"
    buffer.close()
    file.close()


@pytest.mark.parametrize("size", [0, -1, PAGE + 1])
def test_what_the_file_does_not_have_is_not_mapped(tmp_path: Path, size: int) -> None:
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.reserve(PAGE)
    with pytest.raises(ValueError, match="map"):
        file.map(size, writable=True)
    file.close()


def test_a_read_is_short_only_at_the_end(tmp_path: Path) -> None:
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.write(3, b"abc")
    assert file.read(0, 6) == b"\0\0\0abc"
    assert file.read(4, 100) == b"bc"
    assert file.read(100, 1) == b""
    file.truncate(4)
    assert file.read(0, 100) == b"\0\0\0a"
    file.close()


def test_calls_that_do_a_part_are_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread, pwrite = os.pread, os.pwrite
    monkeypatch.setattr(os, "pread", lambda fd, count, offset: pread(fd, min(count, 3), offset))
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:2], offset))
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.write(0, b"0123456789")
    assert file.read(1, 8) == b"12345678"
    file.close()


def test_a_closed_file_does_nothing_more_and_closing_again_hits_no_other_file(tmp_path: Path) -> None:
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.close()
    other = REAL.open(str(tmp_path / "g"), create=True)  # has the number that was freed
    file.close()
    other.write(0, b"x")
    for call in (
        lambda: file.read(0, 1),
        lambda: file.write(0, b"x"),
        lambda: file.reserve(1),
        lambda: file.truncate(0),
        lambda: file.map(1, writable=True),
        file.sync,
        file.size,
        file.inode,
        file.lock,
        file.unlock,
    ):
        with pytest.raises(OSError, match="f'") as caught:
            call()
        assert caught.value.errno == errno.EBADF
    other.close()


def test_a_sync_calls_fdatasync_on_this_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda fd: synced.append(os.fstat(fd).st_ino))
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.sync()
    assert synced == [(tmp_path / "f").stat().st_ino]
    file.close()


# opening


def test_opening_makes_a_file_only_when_told() -> None:
    with pytest.raises(FileNotFoundError):
        REAL.open("/nowhere/at/all", create=True)


def test_a_missing_file_is_made_only_when_told(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    with pytest.raises(FileNotFoundError):
        REAL.open(path)
    REAL.open(path, create=True).close()
    REAL.open(path, create=True).close()
    with pytest.raises(FileExistsError):
        REAL.open(path, exclusive=True)


def test_a_file_that_is_removed_between_two_looks_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f"
    path.touch()
    original = os.open

    def removes_first(name: str, flags: int, mode: int = 0o777) -> int:
        if not flags & os.O_CREAT:
            path.unlink(missing_ok=True)
        return original(name, flags, mode)

    monkeypatch.setattr(os, "open", removes_first)
    file = REAL.open(str(path), create=True)
    assert file.inode() == REAL.inode(str(path))
    file.close()


def test_a_file_opened_for_reading_refuses_writes(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    REAL.open(path, create=True).close()
    file = REAL.open(path, writable=False)
    with pytest.raises(OSError, match="descriptor"):
        file.write(0, b"x")
    file.close()


def test_permissions_do_not_depend_on_the_umask(tmp_path: Path, umask: None) -> None:
    file = REAL.open(str(tmp_path / "f"), create=True, mode=0o660)
    file.close()
    REAL.mkdir(str(tmp_path / "d"), 0o2770)
    assert REAL.mode(str(tmp_path / "f")) == 0o660
    assert REAL.mode(str(tmp_path / "d")) == 0o2770


def test_the_permissions_of_a_file_that_was_there_stay(tmp_path: Path) -> None:
    (tmp_path / "f").touch(mode=0o640)
    REAL.open(str(tmp_path / "f"), create=True, mode=0o666).close()
    assert REAL.mode(str(tmp_path / "f")) == 0o640


def test_a_file_whose_permissions_cannot_be_set_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _mode: int) -> None:
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(os, "fchmod", refuse)
    before = descriptors()
    with pytest.raises(PermissionError):
        REAL.open(str(tmp_path / "f"), create=True)
    assert not REAL.list(str(tmp_path))
    assert descriptors() == before


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "f").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="f'") as caught:
        REAL.open(str(tmp_path / "f"), create=True)
    assert caught.value.errno == errno.ELOOP


def test_a_pipe_of_that_name_does_not_hold_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    file = REAL.open(str(tmp_path / "f"), writable=False)  # a blocking open would wait for a writer
    with pytest.raises(OSError, match="seek"):
        file.read(0, 1)
    file.close()


def test_descriptors_are_closed_on_exec(tmp_path: Path) -> None:
    file = REAL.open(str(tmp_path / "f"), create=True)
    file.reserve(PAGE)
    buffer = file.map(PAGE, writable=True)  # duplicates the descriptor
    command = "import os\nfor n in os.listdir('/proc/self/fd'): print(os.path.realpath(f'/proc/self/fd/{n}'))"
    run = [sys.executable, "-c", command]
    # close_fds=False: nothing but the flag keeps them from the child
    result = subprocess.run(run, stdout=subprocess.PIPE, check=True, close_fds=False)
    assert b"/dev" in result.stdout or b"pipe" in result.stdout
    assert str(tmp_path).encode() not in result.stdout
    buffer.close()
    file.close()


# locks


def test_one_open_of_a_file_has_its_lock_until_it_is_closed_or_unlocks(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    first, second = REAL.open(path, create=True), REAL.open(path)
    assert first.lock()
    assert first.lock()
    assert not second.lock()
    first.unlock()
    assert second.lock()
    assert not first.lock()
    second.close()
    assert first.lock()
    first.close()


def test_a_lock_is_shared_or_one_opens_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    first, second, third = REAL.open(path, create=True), REAL.open(path, writable=False), REAL.open(path)
    assert first.lock(shared=True)
    assert second.lock(shared=True)
    assert not third.lock()
    second.close()
    assert first.lock()
    assert not third.lock(shared=True)
    first.unlock()
    assert third.lock()
    first.close()
    third.close()


def test_an_error_of_locking_is_not_taken_for_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    file = REAL.open(str(tmp_path / "f"), create=True)
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="lock") as caught:
        file.lock()
    assert caught.value.filename == str(tmp_path / "f")
    file.close()


# names


def test_names_are_listed_renamed_and_removed(tmp_path: Path) -> None:
    base = str(tmp_path)
    REAL.mkdir(f"{base}/d", 0o700)
    REAL.open(f"{base}/d/a", create=True).close()
    REAL.open(f"{base}/d/b", create=True).close()
    assert sorted(REAL.list(f"{base}/d")) == ["a", "b"]
    inode = REAL.inode(f"{base}/d/a")
    REAL.rename(f"{base}/d/a", f"{base}/d/b")
    assert REAL.list(f"{base}/d") == ["b"]
    assert REAL.inode(f"{base}/d/b") == inode
    with pytest.raises(OSError, match="empty"):
        REAL.rmdir(f"{base}/d")
    REAL.unlink(f"{base}/d/b")
    REAL.rmdir(f"{base}/d")
    assert not REAL.exists(f"{base}/d")
    assert not REAL.is_directory(f"{base}/d")


def test_a_link_to_a_directory_is_none_and_a_dangling_one_exists(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "d")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    assert REAL.is_directory(str(tmp_path / "d"))
    assert not REAL.is_directory(str(tmp_path / "link"))
    assert REAL.exists(str(tmp_path / "dangling"))
    assert not REAL.exists(str(tmp_path / "dangling" / "below"))


def test_sizes_modes_and_groups_are_told(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    file = REAL.open(path, create=True, mode=0o640)
    file.write(0, b"12345")
    assert REAL.size(path) == 5
    assert REAL.mode(path) == 0o640
    assert REAL.group(path) == (tmp_path / "f").stat().st_gid
    assert REAL.inode(path) == file.inode()
    file.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")
def test_a_file_is_given_to_a_group(tmp_path: Path) -> None:
    REAL.open(str(tmp_path / "f"), create=True).close()
    owner = (tmp_path / "f").stat().st_uid
    REAL.chown_group(str(tmp_path / "f"), 4321)
    assert REAL.group(str(tmp_path / "f")) == 4321
    assert (tmp_path / "f").stat().st_uid == owner


def test_a_directory_that_is_on_a_read_only_file_system_is_not_writable(tmp_path: Path) -> None:
    assert REAL.writable(str(tmp_path))
    assert not REAL.writable("/proc/self")  # root, too, makes nothing here


def test_a_directory_is_synced_as_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd)))
    REAL.sync_directory(str(tmp_path))
    assert [(status.st_ino, stat.S_ISDIR(status.st_mode)) for status in synced] == [
        (tmp_path.stat().st_ino, True)
    ]
    (tmp_path / "f").touch()
    with pytest.raises(NotADirectoryError):
        REAL.sync_directory(str(tmp_path / "f"))


@pytest.mark.parametrize(
    ("number", "raised"), [(errno.EINVAL, False), (errno.EBADF, False), (errno.EIO, True)]
)
def test_where_directories_cannot_be_synced_that_is_accepted_and_an_input_error_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, raised: bool
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    before = descriptors()
    if raised:
        with pytest.raises(OSError, match=str(tmp_path)):
            REAL.sync_directory(str(tmp_path))
    else:
        REAL.sync_directory(str(tmp_path))
    assert descriptors() == before
