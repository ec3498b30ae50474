"""Streams whose files are not what they should be: made by another user, by hand, or by a broken disk.

A forwarder delivers what several users wrote. Whatever lies in one stream's directory, the others are
delivered, nothing outside of the journal is touched, and the sender's thread neither ends nor waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_adoption import Shore, lies

from auditwire.errors import DecodingError
from auditwire.journal.format import FIXED
from auditwire.wire import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from test_sender import World

    from support.journal_files import StreamFiles

FILES = (
    *("stream.json", "cursor", "owner.lock", "sender.lock", "state.json"),
    *("00000000.seg", "00000001.seg", "parked", "parked/00000000.seg"),
)


@pytest.fixture
def shore(tmp_path: Path) -> Iterator[Shore]:
    made = Shore(tmp_path / "journal", serve_live=True)
    yield made
    for world in list(made.worlds):
        made.end(world)


def stream_of(shore: Shore) -> StreamFiles:
    stream = shore.files.stream().errors(3, seal=True).errors(3, file="00000001.seg")
    stream.sequence = 1
    stream.errors(1, file="parked/00000000.seg").cursor(2, 0)
    stream.directory.write_state({"at": "now"})
    return stream.end()


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(f"/proc/self/fd/{folder}/{path.name}")  # the path may be too long for an address
    finally:
        os.close(folder)


KINDS: dict[str, Callable[[Path, Path], object]] = {
    "directory": lambda path, _: path.mkdir(),
    "full directory": lambda path, _: (path / "a" / "b").mkdir(parents=True),
    "pipe": lambda path, _: os.mkfifo(path),
    "socket": lambda path, _: _socket(path),
    "link": lambda path, outside: path.symlink_to(outside),
    "link to a directory": lambda path, outside: path.symlink_to(outside.parent),
    "dangling link": lambda path, _: path.symlink_to(path.parent / "nothing"),
    "endless": lambda path, _: path.symlink_to("/dev/zero"),
    "empty": lambda path, _: path.write_bytes(b""),
    "zeros": lambda path, _: path.write_bytes(bytes(1 << 16)),
    "noise": lambda path, _: path.write_bytes(random.Random(7).randbytes(1 << 16)),
    "text": lambda path, _: path.write_text(json.dumps({"target": "x", "parked": 3, "source": ["\ud800"]})),
}


def replace(path: Path, kind: str, outside: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            child.unlink()
        path.rmdir()
    elif path.exists():
        path.unlink()
    KINDS[kind](path, outside)


def sent(world: World, stream: StreamFiles) -> set[int]:
    """The sequences of a stream that arrived and can be decoded."""
    found = set()
    for message in world.log:
        with contextlib.suppress(DecodingError):
            record = decode(message.value())
            if record.stream_id == stream.stream_id:
                found.add(record.sequence)
    return found


def deliver(shore: Shore, good: StreamFiles) -> World:
    """Rounds until the good stream is delivered; none of them raises."""
    world = shore.sender()
    for _ in range(60):
        world.rounds(1, seconds=0.5)
        if not lies(good):
            break
    assert sent(world, good) == {0, 1, 2}
    assert not lies(good)
    world.rounds(10, seconds=0.5)
    return world


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_whatever_bears_the_name_of_a_file_of_a_stream_the_others_are_delivered(
    shore: Shore, tmp_path: Path, name: str, kind: str
) -> None:
    outside = tmp_path / "outside" / "file"
    outside.parent.mkdir()
    outside.write_bytes(b"not the journal's")
    bad, good = stream_of(shore), shore.files.stream().errors(3).end()
    replace(Path(bad.directory.path) / name, kind, outside)
    deliver(shore, good)
    assert outside.read_bytes() == b"not the journal's"
    assert [path.name for path in outside.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "said",
    [
        {"source": "\ud800", "service": "\x00"},
        {"source": "s" * 10_000, "service": ["x"]},
        {"source": 7, "service": {"a": 1}, "boot_id": ["x"], "pid": "x", "host": 3},
        {"service": 10**4000},
    ],
)
def test_whatever_a_stream_says_of_itself_the_others_are_delivered(
    shore: Shore, said: dict[str, Any]
) -> None:
    bad = shore.files.stream(**{"service": "x", **said}).errors(3).end()
    good = shore.files.stream().errors(3).end()
    world = deliver(shore, good)
    assert sent(world, bad) == {0, 1, 2}
    assert not lies(bad)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(40))
def test_records_of_any_content_hold_up_no_others(shore: Shore, seed: int) -> None:
    """Whole records with true checksums, whose fields say anything."""
    rng = random.Random(seed)
    bad = shore.files.stream()
    segment = bad.errors(1).segment("00000000.seg")
    offset = bad.end_of("00000000.seg")
    for sequence in range(1, 9):
        words = [b"", b"\0", b"audit.error", "é".encode(), rng.randbytes(8), b"x" * 300, b"checkpoint"]
        name, topic, event_id = rng.choice(words), rng.choice(words), rng.choice(words)
        kind = rng.randbytes(8) + bytes([len(name) & 255]) + name + topic
        key, body = rng.choice(words), rng.choice([b"", rng.randbytes(30), b"\xff" * 40])
        trace = rng.choice([b"", rng.randbytes(55)])
        at = rng.choice([0, -(1 << 63), (1 << 63) - 1, 1_700_000_000_000_000])
        fixed = FIXED.pack(sequence, at, len(kind), len(key), len(event_id), len(trace), 0, len(body))
        offset = segment.store(offset, fixed + kind + key + event_id + trace + body)
    segment.close()
    bad.end()
    good = shore.files.stream().errors(3).end()
    world = deliver(shore, good)
    assert world.client.faults == 0
