"""The kind of file system that a path lies on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditwire.journal.filesystem import REAL, RealFileSystem
from auditwire.journal.mounts import NETWORK_KINDS

if TYPE_CHECKING:
    from pathlib import Path

MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:25 / /data rw,relatime shared:7 master:2 - nfs4 host:/export rw
31 30 0:26 / /data/local rw - xfs /dev/vdb rw
32 27 0:27 / /mnt/with\040space\134and\011tab rw - fuse.sshfs u@h:/ rw
33 27 0:28 / /over rw - nfs host:/a rw
34 33 0:29 / /over rw - tmpfs tmpfs rw
""".lstrip()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "ext4"),
        ("/elsewhere/journal", "ext4"),
        ("/data", "nfs4"),
        ("/data/journal", "nfs4"),
        ("/database", "ext4"),
        ("/data/local", "xfs"),
        ("/data/local/a/b", "xfs"),
        ("/data/localhost", "nfs4"),
        ("/mnt/with space\\and\ttab/journal", "fuse.sshfs"),
        ("/over/journal", "tmpfs"),
    ],
)
def test_the_kind_is_that_of_the_innermost_mount(tmp_path: Path, path: str, expected: str) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert RealFileSystem(str(tmp_path / "mountinfo")).kind(path) == expected


def test_the_kind_of_a_link_is_that_of_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    assert REAL.kind(str(tmp_path / "link" / "self")) == "proc"
    assert REAL.kind("/proc") == "proc"
    assert REAL.kind(str(tmp_path)) != "proc"  # in a chroot no mount is listed, and it is not known


def test_the_kind_is_not_known_where_there_is_no_mountinfo(tmp_path: Path) -> None:
    assert RealFileSystem(str(tmp_path / "nothing")).kind("/") == ""


def test_local_kinds_are_not_taken_for_network_ones() -> None:
    assert {"nfs", "nfs4", "cifs", "9p", "ceph", "fuse.sshfs"} <= NETWORK_KINDS
    assert not NETWORK_KINDS & {
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "overlay",
        "tmpfs",
        "fuse.mergerfs",
        "f2fs",
        "apfs",
    }
