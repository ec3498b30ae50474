"""Small files and whole directories, on a real directory and with the faults of a simulated one."""

from __future__ import annotations

import errno
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.journal import trees
from auditwire.journal.filesystem import REAL
from support.simulated_fs import SimulatedFileSystem
from support.stops import after_every_stop

if TYPE_CHECKING:
    from pathlib import Path


@given(st.text())
def test_a_text_that_was_written_is_read(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    fs = SimulatedFileSystem()
    trees.write_text(fs, "/f", text, 0o640)
    assert trees.read_text(fs, "/f") == text
    assert fs.list("/") == ["f"]
    assert fs.mode("/f") == 0o640


def test_a_text_is_replaced_as_a_whole_wherever_it_is_stopped() -> None:
    def prepare() -> SimulatedFileSystem:
        fs = SimulatedFileSystem()
        trees.write_text(fs, "/f", "old" * 3000, 0o600, sync=True)
        fs.sync()
        return fs

    def act(fs: SimulatedFileSystem) -> None:
        trees.write_text(fs, "/f", "new", 0o600, sync=True)

    seen = set()

    def check(fs: SimulatedFileSystem) -> None:
        text = trees.read_text(fs, "/f")
        assert text in {"old" * 3000, "new"}
        seen.add(text)

    assert after_every_stop(prepare, act, check) == 5
    assert len(seen) == 2


def test_a_name_that_the_environment_gave_in_bytes_that_are_no_utf_8_is_kept_as_an_escape() -> None:
    fs = SimulatedFileSystem()
    said = {"service": b"caf\xe9".decode(errors="surrogateescape")}
    trees.write_text(fs, "/stream.json", trees.json_text(said), 0o600)
    assert trees.read_json(fs, "/stream.json") == said


def test_a_text_that_is_not_synced_may_be_lost_with_its_name_kept() -> None:
    seen = set()
    for seed in range(50):
        fs = SimulatedFileSystem()
        trees.write_text(fs, "/f", "text", 0o600)
        fs.sync_directory("/")
        seen.add(trees.read_text(fs.crash(random.Random(seed)), "/f"))
    assert {"", "text"} <= seen


@pytest.mark.parametrize("operation", ["write", "sync", "rename"])
def test_a_text_that_cannot_be_written_leaves_the_old_one_and_nothing_else(operation: str) -> None:
    fs = SimulatedFileSystem()
    trees.write_text(fs, "/f", "old", 0o600)
    fs.fail(operation, errno.EDQUOT)
    with pytest.raises(OSError, match="/") as caught:
        trees.write_text(fs, "/f", "new", 0o600, sync=True)
    assert caught.value.errno == errno.EDQUOT
    assert fs.files() == {"/f": b"old"}


def test_a_name_that_is_no_readable_file_has_no_text(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "bytes").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b" " * ((1 << 20) + 1))
    for name in ("folder", "link", "bytes", "large", "nothing", "bytes/below"):
        assert trees.read_text(REAL, str(tmp_path / name)) is None
    (tmp_path / "large").write_bytes(b" " * (1 << 20))
    assert trees.read_text(REAL, str(tmp_path / "large")) == " " * (1 << 20)


def test_a_tree_is_removed_with_all_that_is_in_it_and_the_lock_last() -> None:
    fs = SimulatedFileSystem()
    for folder in ("/t", "/t/a", "/t/a/b", "/t/z"):
        fs.mkdir(folder, 0o700)
    for path in ("/t/owner.lock", "/t/a/f", "/t/a/b/f", "/t/zz"):
        fs.open(path, create=True).close()
    fs.log.clear()
    trees.remove_tree(fs, "/t")
    assert fs.list("/") == []
    assert fs.log[-2:] == [("unlink", "/t/owner.lock"), ("rmdir", "/t")]
    trees.remove_tree(fs, "/t")


def test_a_directory_that_others_fill_while_it_is_removed_stays() -> None:
    fs = SimulatedFileSystem()
    fs.mkdir("/t", 0o700)

    def meanwhile(operation: str, path: str) -> None:
        if operation == "rmdir":
            fs.open("/t/new", create=True).close()

    fs.meanwhile = meanwhile
    trees.remove_tree(fs, "/t")
    assert fs.files() == {"/t/new": b""}


def test_what_others_remove_meanwhile_is_no_error() -> None:
    fs = SimulatedFileSystem()
    fs.mkdir("/t", 0o700)
    fs.open("/t/f", create=True).close()

    def meanwhile(operation: str, path: str) -> None:
        if operation in {"unlink", "rmdir"}:
            getattr(fs, operation)(path)

    fs.meanwhile = meanwhile
    trees.remove_tree(fs, "/t")
    assert fs.list("/") == []


def test_a_directory_that_cannot_be_removed_is_an_error() -> None:
    fs = SimulatedFileSystem()
    fs.mkdir("/t", 0o700)
    fs.fail("rmdir", errno.EROFS)
    with pytest.raises(OSError, match="/t"):
        trees.remove_tree(fs, "/t")


@pytest.mark.parametrize(("size", "counted"), [(0, 0), (1, 4096), (4096, 4096), (4097, 8192)])
def test_sizes_are_those_of_whole_blocks(size: int, counted: int) -> None:
    assert trees.BLOCK == 4096
    assert trees.in_blocks(size) == counted
