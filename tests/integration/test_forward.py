"""``auditwire forward`` and ``drain`` beside agents that are killed, on a real broker that is killed, too.

An agent writes the id of each event to a file as soon as its ``emit`` returned, with one system call: that is
what the journal promised.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from emit_support import QUICK, read_all, start_script, until

from auditwire.cli.app import run
from auditwire.delivery.topics import create_topics
from auditwire.events import ALL_TYPES
from auditwire.journal.filesystem import REAL
from auditwire.journal.inspection import look
from auditwire.journal.layout import JournalPath
from auditwire.wire import topic_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emit_support import Trail

    from rig.broker import Broker

LONG = 120.0

AGENT = """
import os, sys, time
from auditwire import AuditEmitter, JournalCollector
from auditwire.events import ErrorEvent

JOURNAL, PREFIX, ACCEPTED, COUNT = sys.argv[1:5]
accepted = os.open(ACCEPTED, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
collector = JournalCollector(JOURNAL, prefix=PREFIX, service="agent")
count = int(COUNT)
number = 0
while number != count:  # a negative count is for ever
    event = ErrorEvent(error_message=str(number), session_id=f"s-{number % 7}")
    collector.emit(event)
    os.write(accepted, event.event_id.encode() + b"\\n")
    number += 1
    if count < 0:
        time.sleep(0.001)
"""
CLOSES = AGENT + "collector.close()\n"
DIES = AGENT + "os.kill(os.getpid(), 9)\n"


class Forwarder:
    """``auditwire forward`` in a process of its own; what it says is kept."""

    def __init__(self, path: Path, config: Path, *options: str) -> None:
        code = "from auditwire.cli import main; main()"
        command = [sys.executable, "-c", code, "forward", str(path), "--config", str(config), *options]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self.lines: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        for line in self.process.stderr or ():
            self.lines.append(line)

    def url(self) -> str:
        """Where it answers."""
        found: list[str] = []

        def answering() -> bool:
            found.extend(re.findall(r"answering at (\S+)", "".join(list(self.lines))))
            return bool(found)

        until(answering, "the forwarder's address")
        return found[0]

    def ask(self, path: str) -> tuple[int, bytes]:
        """What it answers."""
        try:
            with urllib.request.urlopen(self.url() + path, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        told: dict[str, Any] = json.loads(self.ask("/health")[1])
        return told

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(number)
        return self.status()

    def status(self) -> int:
        """Its exit status, when it ends by itself."""
        status = self.process.wait(LONG)
        self._listener.join(10)
        return status


@dataclass
class Site:
    """A journal path, the broker that its records go to, the processes on it, and what was accepted."""

    broker: Broker
    prefix: str
    path: Path
    agents: list[subprocess.Popen[str]] = field(default_factory=list)
    forwarders: list[Forwarder] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def config(self) -> Path:
        file = self.path / "client.properties"
        lines = [f"{name}={value}" for name, value in self.broker.client(**QUICK).items()]
        file.write_text("\n".join(lines) + "\n")
        return file

    def agent(self, program: str, count: int) -> subprocess.Popen[str]:
        """Start an agent."""
        arguments = str(self.journal), self.prefix, str(self.path / "accepted"), str(count)
        folder = self.path / f"agent-{len(self.agents)}"
        folder.mkdir()
        self.agents.append(start_script(program, *arguments, path=folder))
        return self.agents[-1]

    def forward(self, *options: str) -> Forwarder:
        """Start a forwarder."""
        self.forwarders.append(Forwarder(self.journal, self.config, "--prefix", self.prefix, *options))
        return self.forwarders[-1]

    def command(self, *words: str) -> int:
        """Run another command with this broker's settings, in this process."""
        return run([*words, "--config", str(self.config), "--prefix", self.prefix])

    def accepted(self) -> Counter[str]:
        """The ids of the events that agents say were accepted."""
        file = self.path / "accepted"
        return Counter(file.read_text().split() if file.exists() else [])

    def streams(self) -> list[str]:
        return JournalPath(REAL, str(self.journal)).streams()

    def trail(self) -> Trail:
        return read_all(self.broker.bootstrap, self.prefix)

    def assert_all_arrived(self) -> Trail:
        """Everything that was accepted stands on the broker, and nothing is wrong with any stream."""
        trail = self.trail()
        arrived = {record.event.event_id for record in trail.events}
        lost = self.accepted().keys() - arrived
        assert not lost, f"{len(lost)} of {len(self.accepted())} are lost"
        wrong = [
            (report.service, report.verdict, [fault.message for fault in report.faults[:5]], report.notes)
            for report in trail.reports
            if report.verdict not in {"complete", "recovered"}
        ]
        assert not wrong, wrong
        return trail


@pytest.fixture
def site(broker: Broker, prefix: str, tmp_path: Path) -> Iterator[Site]:
    yield from _site(broker, prefix, tmp_path)


@pytest.fixture
def faulty_site(faulty_broker: Broker, prefix: str, tmp_path: Path) -> Iterator[Site]:
    yield from _site(faulty_broker, prefix, tmp_path)


def _site(broker: Broker, prefix: str, path: Path) -> Iterator[Site]:
    site = Site(broker, prefix, path)
    yield site
    for process in (*site.agents, *(forwarder.process for forwarder in site.forwarders)):
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def test_agents_that_live_die_and_close_have_everything_delivered(site: Site) -> None:
    forwarder = site.forward("--metrics", "0")
    agents = [site.agent(program, 1500) for program in (CLOSES, DIES, CLOSES, DIES)]
    assert [agent.wait(LONG) for agent in agents] == [0, -9, 0, -9]
    endless = site.agent(AGENT, -1)
    # four agents' streams come to their end while a fifth goes on writing
    until(lambda: forwarder.health()["adopted"] >= 4, "the end of the agents' streams", LONG)
    until(lambda: len(site.accepted()) > 6500, "events of the agent that lives", LONG)
    endless.send_signal(signal.SIGKILL)
    endless.wait()
    until(lambda: forwarder.health()["adopted"] >= 5, "the end of the last stream", LONG)
    assert forwarder.end() == 0
    trail = site.assert_all_arrived()
    assert site.streams() == []
    assert trail.duplicates == 0
    verdicts = Counter(report.verdict for report in trail.reports)
    assert verdicts == {"complete": 3, "recovered": 3}, "two that closed and the forwarder; three that died"


def test_a_forwarder_that_is_killed_is_followed_by_another(site: Site) -> None:
    agent = site.agent(AGENT, -1)
    for _ in range(3):
        forwarder = site.forward("--metrics", "0")
        until(lambda one=forwarder: one.health()["delivered"] > 200, "the delivery of some", LONG)  # type: ignore[misc]
        forwarder.process.kill()
        assert forwarder.status() == -signal.SIGKILL
    agent.kill()
    agent.wait()
    assert site.forward("--once").status() == 0
    site.assert_all_arrived()
    assert site.streams() == []


def test_two_forwarders_at_once_share_the_streams(site: Site) -> None:
    for _ in range(6):
        site.agent(DIES, 400)
    for agent in site.agents:
        agent.wait(LONG)
    both = [site.forward("--once"), site.forward("--once")]
    assert [forwarder.status() for forwarder in both] == [0, 0]
    trail = site.assert_all_arrived()
    assert trail.duplicates == 0, "no stream was sent by both"
    assert site.streams() == []


@pytest.mark.needs("faults")
def test_a_broker_that_dies_and_comes_back_costs_nothing(faulty_site: Site) -> None:
    site = faulty_site
    forwarder = site.forward("--metrics", "0")
    agent = site.agent(AGENT, -1)
    until(lambda: forwarder.health()["delivered"] > 200, "the delivery of some", LONG)
    site.broker.kill()
    until(lambda: forwarder.ask("/health")[0] == 503, "the state failing", LONG)
    assert forwarder.ask("/live")[0] == 200
    during = len(site.accepted())
    until(lambda: len(site.accepted()) > during + 500, "events while there is no broker", LONG)
    assert run(["journal", "status", str(site.journal)]) == 3
    site.broker.start_again()
    until(lambda: forwarder.ask("/health")[0] == 200, "the state ok", LONG)
    agent.kill()
    agent.wait()
    until(lambda: forwarder.health()["adopted"] == 1, "the end of the agent's stream", LONG)
    assert forwarder.end() == 0
    site.assert_all_arrived()


@pytest.mark.needs("create_topics")
def test_what_waits_for_a_topic_is_left_and_delivered_when_there_is_one(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.agent(DIES, 300).wait(LONG)
    drain = ["journal", "drain", str(site.journal), "--no-create-topics"]
    assert site.command(*drain, "--timeout", "3") == 3
    assert "left: " in capsys.readouterr().err
    status = look(JournalPath.look(REAL, str(site.journal)))
    assert any(stream.pending_records >= 300 for stream in status.streams)
    parked = {parked.topic: parked.reason for stream in status.streams for parked in stream.parked}
    assert "does not exist" in parked[topic_name(site.prefix, "error")]
    admin = _admin(site)
    answers = create_topics(admin, [topic_name(site.prefix, event_type) for event_type in ALL_TYPES])
    assert not any(answers.values())
    assert site.command(*drain, "--timeout", "60") == 0
    site.assert_all_arrived()
    assert site.streams() == []


def _admin(site: Site) -> Any:
    from confluent_kafka.admin import AdminClient

    return AdminClient(site.broker.client())


def test_a_journal_that_dead_processes_have_filled_is_emptied(site: Site) -> None:
    """A crash loop leaves small streams, each of which takes a whole file; a forwarder has its own room."""
    program = AGENT.replace(
        'service="agent")', 'service="agent", journal_bytes=8 << 20, on_full="drop_newest")'
    )
    program += "os.kill(os.getpid(), 9)\n"
    deadline = time.monotonic() + LONG
    while (ended := site.agent(program, 5)).wait(LONG) == -signal.SIGKILL:
        assert time.monotonic() < deadline, "it never was full"
    assert ended.stderr is not None
    assert "JournalFull" in ended.stderr.read()
    assert len(site.streams()) >= 5
    assert site.forward("--once", "--journal-bytes", "8MiB").status() == 0
    assert site.streams() == []
    site.assert_all_arrived()
    assert site.agent(program, 5).wait(LONG) == -signal.SIGKILL, "there is room again"


def test_a_collector_that_delivers_itself_is_left_alone(site: Site) -> None:
    from auditwire import AuditEmitter, KafkaCollector

    collector = KafkaCollector(
        site.broker.bootstrap, prefix=site.prefix, journal=site.journal, config=dict(QUICK)
    )
    forwarder = site.forward("--metrics", "0")
    with AuditEmitter(collector) as audit:
        for number in range(500):
            audit.emit_error("E", str(number))
        site.agent(DIES, 100).wait(LONG)
        until(
            lambda: forwarder.health()["adopted"] + collector.health().adopted == 1,
            "the end of the agent's stream",
            LONG,
        )
        assert collector.stream_id not in forwarder.health()["orphans"]
    assert forwarder.end() == 0
    trail = site.assert_all_arrived()
    assert trail.duplicates == 0
    assert len(trail.events) == 600
