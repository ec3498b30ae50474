"""Disks that are full, read-only, out of inodes or gone, for real: mounted, filled and taken away.

All of it happens while the broker is frozen, so that the journal alone has what is accepted.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from durable_support import MEBIBYTE, Disks, Site, permitted
from emit_support import collector, until

from auditwire import JournalFull
from auditwire.events import LossEvent, TurnStartEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from emit_support import Trail

    from auditwire import KafkaCollector
    from rig.broker import Broker


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    disks = Disks(tmp_path)
    yield disks
    disks.unmount()


@pytest.fixture
def site(faulty_broker: Broker, prefix: str, tmp_path: Path) -> Site:
    return Site(faulty_broker, prefix, tmp_path)


class Agent:
    """Emits, and remembers what became of each event."""

    def __init__(self, kafka: KafkaCollector) -> None:
        self.kafka = kafka
        self.accepted: list[str] = []
        self.refused = 0
        self.slowest = 0.0
        self.reason = ""

    def emit(self, count: int = 1, size: int = 10_000) -> bool:
        """Whether the last of the events was accepted."""
        for _ in range(count):
            event = TurnStartEvent(session_id="s", prompt_preview="x" * size)
            begin = time.monotonic()
            try:
                self.kafka.emit(event)
            except JournalFull as error:
                self.refused += 1
                self.reason = str(error)
                accepted = False
            else:
                self.accepted.append(event.event_id)
                accepted = True
            self.slowest = max(self.slowest, time.monotonic() - begin)
        return accepted

    def emit_until_refused(self) -> None:
        while self.emit():
            assert len(self.accepted) < 20_000, "nothing is ever refused"

    def emit_until_accepted(self) -> None:
        until(self.emit, "there is room again")


def assert_accounted_for(trail: Trail, agent: Agent) -> None:
    """What was accepted is delivered, and what was refused is declared, to the last event."""
    delivered = Counter(record.event.event_id for record in trail.unique.values())
    assert delivered.keys() == set(agent.accepted)
    assert set(delivered.values()) == {1}
    declared = [record.event for record in trail.of_type("loss") if isinstance(record.event, LossEvent)]
    assert sum(event.count for event in declared) == agent.refused
    assert {event.reason for event in declared} <= {"journal_full"}
    report = trail.report(agent.kafka.stream_id)
    assert {fault.kind for fault in report.faults} <= {"declared_loss"}, report.to_dict()
    assert (report.missing, report.awaited, report.unproven, report.closed) == ([], [], [], True)


def finish(site: Site, agent: Agent) -> None:
    """Deliver and close; nothing is left on the disk, and nothing is unaccounted for."""
    kafka = agent.kafka
    kafka.flush(60)
    until(lambda: kafka.health().pending_bytes == 0, "the loss records are delivered too")
    until(lambda: kafka.health().journal_problem == "", "the disk takes files again")
    health = kafka.health()
    kafka.close(30)
    assert health.state == ("degraded" if agent.refused else "ok")
    assert health.lost == ({"journal_full": agent.refused} if agent.refused else {})
    assert health.accepted == health.delivered == len(agent.accepted)
    trail = site.trail()
    assert_accounted_for(trail, agent)


# -- no room ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_disk_refuses_with_its_reason_and_recovers_by_itself(
    site: Site, disks: Disks, kind: str
) -> None:
    disk = disks.mount(kind)
    filler = disk / "filler"
    filler.write_bytes(bytes(10 * MEBIBYTE))
    kafka = collector(site.broker, site.prefix, journal=disk / "journal", on_full="drop_newest")
    agent = Agent(kafka)
    agent.emit(100)
    kafka.flush(30)
    assert (kafka.health().state, kafka.health().journal_problem) == ("ok", "")
    site.broker.pause()
    agent.emit_until_refused()
    agent.emit(49)
    assert "No space left on device" in agent.reason
    health = kafka.health()
    assert health.state == "failing"
    assert "No space left on device" in health.journal_problem
    assert health.lost == {"journal_full": 50}
    assert len(agent.accepted) > 300
    filler.unlink()
    before = len(agent.accepted)
    agent.emit_until_accepted()
    assert kafka.health().journal_problem == ""
    agent.emit_until_refused()
    assert len(agent.accepted) > before + 300
    site.broker.unpause()
    finish(site, agent)


def test_a_disk_that_is_full_from_the_beginning_opens_the_stream_when_there_is_room(
    site: Site, disks: Disks
) -> None:
    disk = disks.mount("tmpfs", 4 * MEBIBYTE)
    filler = disk / "filler"
    (disk / "journal").mkdir()
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 4 * MEBIBYTE - 64 * 1024)
    kafka = collector(site.broker, site.prefix, journal=disk / "journal", on_full="drop_newest")
    agent = Agent(kafka)
    agent.emit(20, 100)
    assert agent.refused == 20
    assert "No space left on device" in agent.reason
    assert "No space left on device" in kafka.health().journal_problem
    assert kafka.health().state == "failing"
    filler.unlink()
    until(lambda: kafka.health().journal_problem == "", "the stream is opened, though nobody emits")
    agent.emit_until_accepted()
    agent.emit(20, 100)
    finish(site, agent)


def test_a_full_disk_makes_a_caller_wait_once_and_then_no_more(site: Site, disks: Disks) -> None:
    disk = disks.mount("tmpfs")
    kafka = collector(site.broker, site.prefix, journal=disk / "journal", full_timeout=1.0)
    agent = Agent(kafka)
    agent.emit(10)
    kafka.flush(30)
    site.broker.pause()
    agent.emit_until_refused()
    assert agent.slowest == pytest.approx(1.0, abs=0.8)
    agent.slowest = 0.0
    agent.emit(20)
    assert agent.slowest < 0.8
    site.broker.unpause()
    agent.emit_until_accepted()
    finish(site, agent)


def test_inodes_that_are_used_up_count_as_full(site: Site, disks: Disks) -> None:
    disk = disks.mount("tmpfs", 256 * MEBIBYTE, inodes=40)
    kafka = collector(site.broker, site.prefix, journal=disk / "journal", on_full="drop_newest")
    agent = Agent(kafka)
    agent.emit(100)
    kafka.flush(30)
    site.broker.pause()
    fillers = []
    try:
        for number in range(100):
            fillers.append(disk / f"filler-{number}")
            fillers[-1].touch()
    except OSError:
        fillers.pop()
    agent.emit_until_refused()
    assert "No space left on device" in agent.reason
    assert kafka.health().state == "failing"
    for filler in fillers:
        filler.unlink()
    agent.emit_until_accepted()
    site.broker.unpause()
    finish(site, agent)


# -- no permission ---------------------------------------------------------------------------------------


def immutable(folder: Path, *, yes: bool) -> None:
    for found in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        permitted("chattr", "+i" if yes else "-i", str(found))


def mounted_read_only(folder: Path, *, yes: bool) -> None:
    if yes:
        permitted("mount", "--bind", str(folder), str(folder))
        permitted("mount", "-o", "remount,bind,ro", str(folder))
    else:
        permitted("umount", "-l", str(folder))


@pytest.mark.parametrize(
    ("change", "reason"),
    [(immutable, "Operation not permitted"), (mounted_read_only, "Read-only file system")],
)
def test_a_directory_that_may_not_be_changed_any_more_refuses_and_recovers(
    site: Site, disks: Disks, change: Callable[..., None], reason: str
) -> None:
    disk = disks.mount("ext4", 64 * MEBIBYTE)
    kafka = collector(site.broker, site.prefix, journal=disk / "journal", on_full="drop_newest")
    agent = Agent(kafka)
    agent.emit(100)
    kafka.flush(30)
    site.broker.pause()
    change(disk / "journal", yes=True)
    try:
        agent.emit_until_refused()
        assert reason in agent.reason
        assert reason in kafka.health().journal_problem
        assert kafka.health().state == "failing"
        site.broker.unpause()  # what is accepted is delivered, though nothing can be put away
        until(lambda: kafka.health().delivered == len(agent.accepted), "what was accepted is delivered")
    finally:
        change(disk / "journal", yes=False)
    agent.emit_until_accepted()
    agent.emit(500)
    finish(site, agent)
    assert [found.name for found in (disk / "journal").iterdir()] == ["ended"]


def test_a_directory_that_is_removed_under_a_collector_is_said_and_harms_nothing_else(site: Site) -> None:
    """What was accepted before is delivered from the files that are still open; then nothing is accepted.

    Not even while the open segment has room: a crash would lose what nobody can find.
    """
    kafka = site.collector(on_full="drop_newest")
    agent = Agent(kafka)
    agent.emit(10)
    kafka.flush()  # the sender has the segment open
    site.journal.rename(site.path / "elsewhere")  # first: no file is made in it while it is being removed
    shutil.rmtree(site.path / "elsewhere")
    until(lambda: not agent.emit(1, 10), "nothing is accepted any more")
    assert "directory was removed" in agent.reason
    assert len(agent.accepted) < 1_000  # not before the segment was full
    health = kafka.health()
    assert health.state == "failing"
    assert "directory was removed" in health.journal_problem
    until(lambda: kafka.health().delivered == len(agent.accepted), "what was accepted is delivered")
    used = time.process_time()
    begin = time.monotonic()
    while time.monotonic() < begin + 2:
        agent.emit()
        time.sleep(0.05)
    assert time.process_time() - used < 1.0  # no thread runs round in circles
    kafka.close(5)
    trail = site.trail()
    assert {r.event.event_id for r in trail.events} == set(agent.accepted)
