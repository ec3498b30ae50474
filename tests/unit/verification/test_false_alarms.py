"""Honest trails, whatever happened to processes, network and readers: no fault is ever reported."""

from __future__ import annotations

import random
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import pytest

from auditwire.events import ToolCallAttemptEvent, ToolCallCompleteEvent, TurnStartEvent
from auditwire.verification import FactWriter, Horizon, judge
from auditwire.wire import topic_name
from support.emitters import PARTITIONS, Broker, Emitter, adopted, disk_journal
from support.simulated_fs import SimulatedFileSystem
from support.stored import ClientView

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.journal.base import Record as Journaled
    from auditwire.verification import StreamReport
    from support.stored import Stored

TRAILS = 1_000
GROUPS = 20
OLD = 0.03  # so many events come with an own time, from long ago
MINUTE_US = 60_000_000
BEGIN_US = 1_700_000_000_000_000
OFTEN = ("emit", "deliver", "list")
SELDOM = ("start", "fork", "kill", "adopt", "close", "repeat", "park", "quarantine")
KINDS = (TurnStartEvent, ToolCallAttemptEvent, ToolCallCompleteEvent)
TYPES = {kind.event_type for kind in KINDS}
TOPICS = [topic_name("audit", name) for name in (*TYPES, "checkpoint", "recovery", "quarantine")]


class Process:
    """An emitter on a host of its own, which can be killed."""

    def __init__(self, emitter: Emitter, fs: SimulatedFileSystem) -> None:
        self.emitter = emitter
        self.fs = fs
        self.late: list[tuple[str, Journaled]] = []  # what it adopted and has not delivered yet


class Adopted(NamedTuple):
    """A stream whose journal was read to its end, by an adopter that still delivers it, or states it."""

    stream_id: str
    waiting: set[int]
    last: Journaled
    adopter: Emitter
    stated_to: int  # the adopter's statement ends before that number


class Story:
    """A trail as it comes about: processes begin, work, fork, die, are adopted, and end.

    Args:
        seed: What happens.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.broker = Broker(BEGIN_US)
        self.processes: list[Process] = []
        self.orphans: list[Process] = []
        self.adopted: list[Adopted] = []
        self.ended: list[str] = []
        self.withheld: set[str] = set()
        self.parked: set[str] = set()
        self.count = 0
        self.happened: Counter[str] = Counter()

    def start(self, parent: str | None = None) -> Process:
        self.count += 1
        opened = f"{(self.broker.now_us or 0) // 1_000:012x}"
        stream = f"{opened[:8]}-{opened[8:]}-7000-8000-{self.count:012d}"
        self._note_adopted()
        previous, self.ended = self.ended, []
        fs = SimulatedFileSystem()
        emitter = Emitter(disk_journal(fs, stream), stream, self.broker, previous=previous, parent=parent)
        process = Process(emitter, fs)
        self.processes.append(process)
        return process

    def step(self) -> None:
        """One thing happens."""
        process = self.rng.choice(self.processes) if self.processes else self.start()
        assert self.broker.now_us is not None
        self.broker.now_us += self.rng.choice([0, 1_000, MINUTE_US, 30 * MINUTE_US, 90 * MINUTE_US])
        what = self.rng.choice([*OFTEN, *OFTEN, *OFTEN, *SELDOM])
        self.happened[what] += 1
        getattr(self, f"_{what}")(process)

    def _emit(self, process: Process) -> None:
        for _ in range(self.rng.randint(1, 9)):
            event = self.rng.choice(KINDS)(session_id=f"s{self.rng.randrange(3)}")
            if self.rng.random() < OLD:
                event.timestamp_us = BEGIN_US - self.rng.randrange(BEGIN_US)
            process.emitter.accept(event)
        process.emitter.step()

    def _list(self, process: Process) -> None:
        process.emitter.checkpoint()

    def _start(self, _: Process) -> None:
        if len(self.processes) < 4:
            self.start()

    def _fork(self, process: Process) -> None:
        if len(self.processes) < 4:
            self.start(parent=process.emitter.stream_id)

    def _park(self, _: Process) -> None:
        """A topic takes nothing for a while, or does again."""
        self.parked ^= {self.rng.choice(["audit.turn-start", "audit.tool-call-attempt", "audit.checkpoint"])}

    def _deliver(self, process: Process, *, all_of_it: bool = False) -> None:
        """What is on its way arrives, in part: each topic's records in their order, as one producer sends."""
        emitter = process.emitter
        waiting: dict[str, list[int]] = {}
        for number in emitter.on_the_way:
            waiting.setdefault(emitter.taken[number].topic, []).append(number)
        arriving = []
        for topic, numbers in waiting.items():
            if all_of_it:
                arriving.append(numbers)
            elif topic not in self.parked:
                arriving.append(numbers[: self.rng.randint(0, len(numbers))])
        while any(arriving):
            queue = self.rng.choice([numbers for numbers in arriving if numbers])
            emitter.arrive([queue.pop(0)])
        late, process.late = process.late, []
        for stream, record in late:
            if all_of_it or (record.topic not in self.parked and self.rng.random() < 0.7):
                self.broker.take(stream, [record])
            else:
                process.late.append((stream, record))

    def _repeat(self, process: Process) -> None:
        """A producer that was not told of an acknowledgement sends again."""
        emitter = process.emitter
        arrived = [r for r in emitter.taken if (emitter.stream_id, r.sequence) in self.broker.records]
        if arrived:
            first = self.rng.randrange(len(arrived))
            self.broker.take(emitter.stream_id, arrived[first : first + 3])

    def _kill(self, process: Process) -> None:
        if process.late:
            return  # whoever adopts the adopter would deliver that too; one of them is enough here
        self.processes.remove(process)
        process.fs = process.fs.kill()
        self.orphans.append(process)

    def _adopt(self, process: Process) -> None:
        if self.orphans:
            orphan = self.orphans.pop(0)
            stream = orphan.emitter.stream_id
            found = adopted(orphan.fs, stream, process.emitter, machine_restarted=False)
            withheld = {*orphan.emitter.withheld.values()}
            process.late += [(stream, record) for at, record in found.items() if at not in withheld]
            if found:
                last, taken = found[max(found)], len(process.emitter.taken)
                self.adopted.append(Adopted(stream, {*found} - withheld, last, process.emitter, taken))

    def _note_adopted(self) -> None:
        """Streams of which everything is delivered and stated are for the next stream to name."""
        for one in list(self.adopted):
            delivered = one.waiting <= self.broker.sequences(one.stream_id)
            if delivered and one.adopter.acknowledged >= one.stated_to:
                self.adopted.remove(one)
                self.happened["name an adopted stream"] += 1
                digest = sha256(one.last.body).hexdigest()
                self.ended.append(f"{one.stream_id}:{one.last.sequence}:{digest}")

    def _close(self, process: Process) -> None:
        if process.late:
            return  # an adopter delivers what it adopted before it closes, or is killed
        self.processes.remove(process)
        process.emitter.seal()
        self._deliver(process, all_of_it=True)
        emitter = process.emitter
        last = self.broker.records[emitter.stream_id, emitter.taken[-1].sequence]
        self.ended.append(f"{last.stream_id}:{last.sequence}:{last.digest.hex()}")

    def _quarantine(self, process: Process) -> None:
        """The broker refuses a record for good: a quarantine record says so and stands for it."""
        emitter = process.emitter
        waiting = [
            r for r in emitter.taken if r.sequence in set(emitter.on_the_way) and r.event_type in TYPES
        ]
        if waiting:
            emitter.withhold(self.rng.choice(waiting))
            self.withheld.add(emitter.stream_id)

    def finish(self) -> None:
        """All is adopted, delivered and closed."""
        last = self.start()
        while self.orphans:
            self._adopt(last)
        for process in list(self.processes):
            self._deliver(process, all_of_it=True)
            self._close(process)


def reports_on(
    messages: list[Stored],
    directory: Path,
    *,
    below: dict[tuple[str, int], int] | None = None,
    settled: bool = False,
    horizon: Horizon | None = None,
) -> list[StreamReport]:
    """What a check says of messages; ``below`` are the first ends, the end of reading is what is given."""
    with FactWriter(directory, memory=1 << 14) as facts:
        for message in messages:
            place = message.topic, message.partition
            counted = below is None or message.offset < below[place]
            facts.add_run(place, [ClientView(message)], counted=counted)
        runs = facts.close()
    reports = list(judge(runs, settled=settled, horizon=horizon))
    for run in runs:
        run.unlink()
    return reports


def alarms(reports: list[StreamReport]) -> list[str]:
    return [f"{report.stream_id}: {fault.message}" for report in reports for fault in report.faults]


def read_while_written(story: Story, directory: Path) -> list[StreamReport]:
    """Take the ends E1, one partition after the other, then E2, while things go on; read to E2."""
    places = [(topic, number) for topic in TOPICS for number in range(PARTITIONS)]

    def ends() -> dict[tuple[str, int], int]:
        out = {}
        for place in story.rng.sample(places, len(places)):
            out[place] = sum((m.topic, m.partition) == place for m in story.broker.log)
            if story.rng.random() < 0.3:
                story.step()
        return out

    first = ends()
    for _ in range(story.rng.randrange(3)):
        story.step()
    second = ends()
    seen = [m for m in story.broker.log if m.offset < second[m.topic, m.partition]]
    story.rng.shuffle(seen)
    return reports_on(seen, directory, below=first)


@pytest.mark.parametrize("group", range(GROUPS))
def test_no_fault_is_reported_of_an_honest_trail(group: int, tmp_path: Path) -> None:
    happened: Counter[str] = Counter()
    verdicts: Counter[str] = Counter()
    for seed in range(group, TRAILS, GROUPS):
        story = Story(seed)
        for _ in range(story.rng.randint(5, 60)):
            story.step()
            if story.rng.random() < 0.06:
                assert alarms(read_while_written(story, tmp_path)) == [], f"seed {seed}, while it is written"
                happened["read while written"] += 1
        story.finish()
        reports = reports_on(story.broker.log, tmp_path, settled=True)
        assert alarms(reports) == [], f"seed {seed}, at the end"
        left_open = {report.stream_id for report in reports if report.verdict == "open"}
        assert left_open <= story.withheld, f"seed {seed}"
        assert sum(report.records for report in reports) == len(story.broker.records)
        assert sum(report.duplicates for report in reports) == story.broker.duplicates
        verdicts.update(report.verdict for report in reports)
        happened += story.happened
        assert alarms(after_retention(story, tmp_path)) == [], f"seed {seed}, after retention"
    assert {"kill", "adopt", "fork", "park", "repeat", "close", "quarantine"} <= {*happened}
    assert {"name an adopted stream", "read while written"} <= {*happened}
    assert {"complete", "recovered", "open"} <= {*verdicts}


def after_retention(story: Story, directory: Path) -> list[StreamReport]:
    """A broker has removed records from before a time, from some partitions more of them than from others."""
    log = story.broker.log
    horizon_ms = story.rng.choice([message.timestamp_ms for message in log])
    kept: list[Stored] = []
    for topic in TOPICS:
        for number in range(PARTITIONS):
            own = [m for m in log if (m.topic, m.partition) == (topic, number)]
            old = next((n for n, m in enumerate(own) if m.timestamp_ms >= horizon_ms), len(own))
            kept += own[story.rng.randint(0, old) :]
    return reports_on(kept, directory, settled=True, horizon=Horizon.of(horizon_ms))
