"""On what kind of file system a path lies, as Linux lists it in ``/proc/self/mountinfo``."""

from __future__ import annotations

import os

__all__ = ["MOUNTINFO", "NETWORK_KINDS", "kind"]

MOUNTINFO = "/proc/self/mountinfo"
"""See proc_pid_mountinfo(5). There is none on other systems."""

NETWORK_KINDS = frozenset(
    {
        "9p",
        "acfs",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "fuse.ceph",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.mount-s3",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
        "virtiofs",
    }
)
"""File systems whose files another host may hold, as mountinfo names them.

On these, ``flock`` may hold on one host only, another host's readers do not see mapped pages in the order in
which they were written, and a write that was accepted may still fail at close. The journal's promises rest on
all three.
"""


def kind(path: str, mountinfo: str = MOUNTINFO) -> str:
    """The type of the innermost mount that a path lies in, links followed; empty where nothing is listed."""
    try:
        with open(mountinfo, "rb") as file:  # noqa: PTH123 - text paths throughout the seam
            lines = file.read().splitlines()
    except OSError:
        return ""
    real = os.fsencode(os.path.realpath(path))
    best, found = -1, b""
    for line in lines:
        fields, _, source = line.partition(b" - ")
        point = _unescape(fields.split(b" ")[4])
        under = real == point or real.startswith(point.rstrip(b"/") + b"/")
        if under and len(point) >= best:  # of equals the last one: it was mounted over the others
            best, found = len(point), source.split(b" ")[0]
    return found.decode("ascii", "backslashreplace")


def _unescape(field: bytes) -> bytes:
    """A mount point with its octal escapes (space, tab, newline, backslash) undone."""
    head, *rest = field.split(b"\\")
    return head + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)
