"""What the tests of the disk journal with real processes share: programs, what they accepted, what arrived.

A program writes the id of each event to a file as soon as its ``emit`` returned, with one system call: that
is what the journal promised, whatever became of the program in the next instant.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from emit_support import QUICK, read_all, run_script, start_script, until

from auditwire import KafkaCollector
from auditwire.events import CheckpointEvent
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from emit_support import Ended, Trail

    from rig.broker import Broker

PROLOGUE = """
import json, multiprocessing, os, signal, sys, threading, time
from auditwire import AuditEmitter, CollectorClosed, JournalFull, KafkaCollector
from auditwire.events import ErrorEvent, TurnStartEvent

BOOTSTRAP, PREFIX, JOURNAL, ACCEPTED = sys.argv[1:5]
accepted = os.open(ACCEPTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def make(exit_timeout=25, **options):  # CI does much beside
    config = {"reconnect.backoff.max.ms": 500}
    return KafkaCollector(
        BOOTSTRAP, prefix=PREFIX, journal=JOURNAL, config=config, exit_timeout=exit_timeout, **options
    )

def emit(collector, count, agent):
    for number in range(count):
        event = TurnStartEvent(agent_id=agent, turn_id=str(number), session_id="s")
        collector.emit(event)
        os.write(accepted, event.event_id.encode() + b"\\n")
"""


@dataclass
class Site:
    """A journal path, the broker that its records go to, and what programs say that they accepted."""

    broker: Broker
    prefix: str
    path: Path

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def arguments(self) -> tuple[str, ...]:
        """A program's, for `PROLOGUE`."""
        return self.broker.bootstrap, self.prefix, str(self.journal), str(self.path / "accepted")

    def run(self, body: str, *more: str, timeout: float = 60.0) -> Ended:
        """Run a program to its end."""
        return run_script(PROLOGUE + body, *self.arguments, *more, path=self.path, timeout=timeout)

    def start(self, body: str, *more: str) -> subprocess.Popen[str]:
        """Start a program."""
        return start_script(PROLOGUE + body, *self.arguments, *more, path=self.path)

    def collector(self, **options: Any) -> KafkaCollector:
        """A collector on the path, in this process."""
        config = {**QUICK, **options.pop("config", {})}
        return KafkaCollector(
            self.broker.bootstrap, prefix=self.prefix, journal=self.journal, config=config, **options
        )

    @property
    def accepted(self) -> list[str]:
        """The ids of the events whose emit returned, of all programs."""
        return (self.path / "accepted").read_text().split()

    @property
    def streams(self) -> list[str]:
        """The streams that lie on the path."""
        return JournalPath(REAL, str(self.journal)).streams()

    @property
    def left(self) -> list[str]:
        """What lies on the path, but for notes of streams that ended."""
        return sorted(found.name for found in self.journal.iterdir() if found.name != "ended")

    def recover(self, timeout: float = 60.0) -> str:
        """Let one more collector deliver what others left; its stream. Nothing lies there afterwards."""
        with self.collector() as kafka:
            until(lambda: self.streams == [kafka.stream_id], f"{self.left} is delivered", timeout)
        assert self.left == [], self.left
        return kafka.stream_id

    def trail(self) -> Trail:
        """Everything on the broker."""
        return read_all(self.broker.bootstrap, self.prefix)


MEBIBYTE = 1 << 20


def permitted(*arguments: str) -> None:
    """Run a command; the test is skipped where the machine does not permit it."""
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(arguments[:2])} is not permitted here: {done.stderr.strip()}")


class Disks:
    """File systems of the test's own, mounted below a folder until ``unmount``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mounted: list[Path] = []

    def mount(self, kind: str, size: int = 24 * MEBIBYTE, inodes: int = 0) -> Path:
        """A new one, empty.

        Args:
            kind: ``tmpfs``, or ``ext4`` on an image.
            size: Bytes.
            inodes: How many a tmpfs has; 0 for its own choice.
        """
        number = len(self._mounted)
        folder = self._folder / f"disk-{number}"
        folder.mkdir()
        if kind == "tmpfs":
            options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
            permitted("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
        else:
            image = self._folder / f"image-{number}"
            with image.open("wb") as file:
                file.truncate(size)
            permitted("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
            permitted("mount", "-o", "loop", str(image), str(folder))
        self._mounted.append(folder)
        return folder

    def unmount(self) -> None:
        """All of them, though files may be open."""
        while self._mounted:
            subprocess.run(["umount", "-l", str(self._mounted.pop())], check=True)


def assert_all_delivered(site: Site, trail: Trail, *, unsaid: int = 0, refused: bool = False) -> None:
    """Every event whose emit returned is on the broker, no stream has a fault, and none is left unproven.

    Args:
        site: Where they were accepted.
        trail: What is on the broker.
        unsaid: How many more there may be: a process may die, or be interrupted, between the two lines.
        refused: Whether emits were refused, which the streams declare as losses.
    """
    for report in trail.reports:
        if refused and report.faults:
            assert {fault.kind for fault in report.faults} == {"declared_loss"}, report.to_dict()
            assert (report.missing, report.awaited, report.unreadable, report.unproven) == ([], [], [], [])
        else:
            assert report.faults == [], report.to_dict()
            assert report.verdict in {"complete", "recovered"}, report.to_dict()
    counted = Counter(site.accepted)
    assert set(counted.values()) <= {1}
    delivered = {record.event.event_id for record in trail.events}
    assert len(delivered) == len(trail.unique)  # no event under two numbers
    missing = counted.keys() - delivered
    assert not missing, f"{len(missing)} of {len(counted)}"
    assert len(delivered) <= len(counted) + unsaid


def agents(trail: Trail) -> dict[str, Counter[str | None]]:
    """Stream -> agent -> different events."""
    found: dict[str, Counter[str | None]] = {report.stream_id: Counter() for report in trail.reports}
    for record in trail.unique.values():
        found[record.stream_id][record.event.agent_id] += 1
    return found


def by_agent(trail: Trail) -> Counter[str | None]:
    """Agent -> different events, of all streams."""
    total: Counter[str | None] = Counter()
    for counted in agents(trail).values():
        total += counted
    return total


def parents(trail: Trail) -> dict[str, str | None]:
    """Stream -> the parent's stream, as its opening checkpoint says."""
    return {
        record.stream_id: record.event.parent_stream
        for record in trail.records
        if isinstance(record.event, CheckpointEvent) and record.event.reason == "open"
    }
