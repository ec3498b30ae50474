"""``auditwire verify`` on disks that are full, for real: small file systems, mounted and filled.

A check that cannot be made is no verdict, and what its state knows stays as it was.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest
from durable_support import MEBIBYTE, Disks

from auditwire.cli.app import run
from support.trails import Trail, told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rig.broker import Broker

pytestmark = pytest.mark.needs("create_topics")

Captured = pytest.CaptureFixture[str]

KIBIBYTE = 1 << 10
EVENTS = 2_000  # facts of about 150 KiB


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    disks = Disks(tmp_path)
    yield disks
    disks.unmount()


@pytest.fixture
def own(broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Trail:
    """A trail that the environment names; its topics are made when they are needed."""
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", broker.bootstrap)
    monkeypatch.setenv("AUDITWIRE_PREFIX", prefix)
    return Trail(broker.bootstrap, prefix, create_topics=True)


def fill(disk: Path, *, but: int = 0) -> Path:
    """Leave so many bytes free; the file that has the others."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4 * KIBIBYTE)):
            pass
    os.truncate(file, max(0, file.stat().st_size - but))
    return file


def content(state: str) -> list[str]:
    with closing(sqlite3.connect(state)) as database:
        return [*database.iterdump()]


def no_verdict(capsys: Captured, *arguments: str) -> str:
    """What is said of a check that could not be made."""
    status = run(["verify", *arguments])
    captured = capsys.readouterr()
    assert status == 4, captured
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_facts_that_do_not_fit_into_the_work_directory_are_no_verdict(
    own: Trail, disks: Disks, capsys: Captured, tmp_path: Path, jobs: str
) -> None:
    state = str(tmp_path / "state")
    own.write(events=10)
    told(capsys, "--state", state)
    before = content(state)
    own.write(events=EVENTS)
    disk = disks.mount("tmpfs", 64 * KIBIBYTE)
    arguments = ["--state", state, "--work-directory", str(disk), "--jobs", jobs]
    said = no_verdict(capsys, *arguments)
    assert f"the check could not be made: the facts could not be sorted in {disk}: No space left" in said
    assert "name another place with --work-directory" in said
    assert content(state) == before
    assert list(disk.iterdir()) == []  # what was written is removed
    assert told(capsys, "--state", state)[1]["streams"] == 2


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_state_that_cannot_be_made_for_want_of_room_is_no_verdict_and_leaves_nothing(
    own: Trail, disks: Disks, capsys: Captured, kind: str
) -> None:
    own.write(events=1)
    disk = disks.mount(kind, 4 * MEBIBYTE)
    there = {file.name for file in disk.iterdir()}
    filler = fill(disk)
    state = disk / "state"
    said = no_verdict(capsys, "--state", str(state))
    assert f"the check could not be made: the state could not be written to {state}: " in said
    assert {file.name for file in disk.iterdir()} == {*there, "filler"}
    filler.unlink()
    assert told(capsys, "--state", str(state))[1]["streams"] == 1


@pytest.mark.parametrize("room", [0, 16 * KIBIBYTE])
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_state_that_does_not_fit_any_more_is_no_verdict_and_stays_as_it_was(
    own: Trail, disks: Disks, capsys: Captured, kind: str, room: int
) -> None:
    disk = disks.mount(kind, 4 * MEBIBYTE)
    state = str(disk / "state")
    first = own.write(events=1)
    told(capsys, "--state", state, "--incremental")
    before = content(state)
    for _ in range(40):  # streams of about a KB each in the state
        own.write(events=1)
    filler = fill(disk, but=room)
    for arguments in (["--incremental"], []):
        said = no_verdict(capsys, "--state", state, *arguments)
        assert f"the check could not be made: the state could not be written to {state}: " in said
        assert said.rstrip().endswith("it is as it was")
    filler.unlink()
    assert content(state) == before
    streams, trail = told(capsys, "--state", state, "--incremental")
    assert (len(streams), trail["notes"]) == (41, [])
    assert first in {stream["stream_id"] for stream in streams}
