from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from auditwire.errors import SinkError
from auditwire.shipping.rejects import Rejects

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_are_appended_and_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "rejects"
    for text in (b"one\n", b"two\n"):
        rejects = Rejects(path)
        rejects.write(text)
        rejects.write(b"more\n")
        rejects.close()
    assert path.read_bytes() == b"one\nmore\ntwo\nmore\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_without_a_line_there_is_no_file(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "rejects")
    rejects.flush()
    rejects.close()
    assert list(tmp_path.iterdir()) == []


def test_after_a_flush_the_lines_are_in_the_file(tmp_path: Path) -> None:
    rejects = Rejects(tmp_path / "rejects")
    rejects.write(b"one\n")
    rejects.flush()
    assert (tmp_path / "rejects").read_bytes() == b"one\n"
    rejects.close()


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"could not be written to .*: Is a directory"):
        Rejects(tmp_path).write(b"one\n")


@pytest.mark.parametrize("method", ["flush", "close"])
def test_a_full_disk_is_told(tmp_path: Path, method: str) -> None:
    from pathlib import Path as AnyPath

    if not AnyPath("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    rejects = Rejects(AnyPath("/dev/full"))
    rejects.write(b"one\n")
    with pytest.raises(SinkError, match=r"/dev/full: No space left on device"):
        getattr(rejects, method)()
    if method == "flush":
        with pytest.raises(SinkError):
            rejects.close()
