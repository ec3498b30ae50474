"""A journal path on a simulated disk, and what may lie there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.ids import uuid7
from auditwire.journal.cursor import Cursor
from auditwire.journal.layout import JournalPath

if TYPE_CHECKING:
    from auditwire.journal.directory import StreamDirectory
    from support.simulated_fs import SimulatedFileSystem

BASE = "/srv/journal"
A, B, C = (uuid7(n * 1_000_000_000) for n in (1, 2, 3))
DIGEST = "0123456789abcdef" * 4
INFO = {"stream": A, "service": "billing", "target": {"bootstrap": "k1:9092", "prefix": "audit"}}


def line(stream: str, sequence: int = 7) -> str:
    return f"{stream}:{sequence}:{DIGEST}"


def a_file(fs: SimulatedFileSystem, path: str, data: bytes = b"x") -> None:
    file = fs.open(path, create=True)
    file.write(0, data)
    file.close()


def full_stream(fs: SimulatedFileSystem, stream: str) -> StreamDirectory:
    """A durable stream with all that one can have, of a process that is dead."""
    journal = JournalPath(fs, BASE)
    directory = journal.create_stream(stream, INFO)
    journal.make_directory(directory.parked_path)
    for path in (
        directory.segment_path(0),
        directory.segment_path(1),
        f"{directory.parked_path}/00000000.seg",
    ):
        a_file(fs, path)
    cursor = Cursor.open(fs, directory.cursor_path, writable=True)
    cursor.write(1, 1, 0)
    cursor.close()
    directory.write_state({"parked": {}})
    assert directory.owner is not None
    directory.owner.release()
    fs.sync()
    return directory
