"""Checks a trail on its broker: reads its topics, judges its streams, compares them with what is remembered.

In come a broker and what is asked, out comes a :class:`~auditwire.verification.outcome.TrailReport`; the
report of each stream is handed out on the way and not kept. Memory does not grow with the topics: facts are
sorted on disk, and one stream is judged at a time.

**A state** (:mod:`.state`) makes a check find what has vanished, shrunk or changed since an earlier one; it
reads everything again. An *incremental* check reads on from where the one before ended. It looks first
whether each partition is still the one that was read: its topic has the same id, it has not become shorter,
and the last message that was read is there, unchanged. Otherwise everything is read again, and ``notes`` say
why. What was removed or rewritten below the last message of a partition, an incremental check does not see:
let a check that is not incremental follow now and then.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from auditwire.errors import ConfigurationError, SinkError
from auditwire.reading.wanted import milliseconds
from auditwire.verification.expect import unseen
from auditwire.verification.facts import CarryError, FactWriter
from auditwire.verification.gathering import Gathered, NotTheSameError, Source, gather, partitions_of
from auditwire.verification.horizon import Horizon
from auditwire.verification.memory import Memory
from auditwire.verification.outcome import TrailReport
from auditwire.verification.processes import Workers, shared_out
from auditwire.verification.state import KnownPartition, State
from auditwire.verification.topics import Told, ask
from auditwire.verification.worker import Judged, Judging, judge_with_carry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from auditwire.reading.record import Place
    from auditwire.reading.wanted import TimeLike
    from auditwire.verification.outcome import Standing
    from auditwire.verification.report import StreamReport

__all__ = ["Stage", "verify_trail"]

Stage = Literal["reading", "judging"]
"""What a check is doing: ``reading`` counts offsets, ``judging`` streams, whose number is not known."""

_TELL_EVERY = 0.2  # seconds


def verify_trail(
    bootstrap_servers: str | None = None,
    *,
    prefix: str = "audit",
    config: Mapping[str, Any] | None = None,
    topics: Mapping[str, str] | None = None,
    since: TimeLike | None = None,
    until: TimeLike | None = None,
    session_id: str | Iterable[str] | None = None,
    sealed: bool = False,
    settled: bool = False,
    state: Path | str | None = None,
    incremental: bool = False,
    retention: timedelta | None = None,
    expect: Iterable[str] = (),
    jobs: int = 1,
    work_directory: Path | str | None = None,
    timeout: float = 30.0,
    fail_fast: bool = False,
    changed_only: bool = False,
    on_report: Callable[[StreamReport, Standing], None] | None = None,
    on_progress: Callable[[Stage, int, int | None], None] | None = None,
) -> TrailReport:
    """Check a trail once: whether anything is missing, changed, forged, doubled or out of place.

    ::

        from auditwire.verification import verify_trail

        def show(stream, counts_for):
            for fault in stream.faults:
                print(stream.stream_id, fault.message, fault.topic, fault.partition, fault.offset)

        trail = verify_trail("localhost:9092", sealed=True, on_report=show)
        print(dict(trail.verdicts), trail.notes)
        raise SystemExit(trail.exit_status)

    All topics of the trail are read to their ends, and each stream's records are compared with its
    checkpoints. Nothing is written to the brokers; the principal needs the operations Describe and Read.
    Memory does not grow with the topics. Checks may run at the same time, in as many threads, unless they
    share a state. ``auditwire verify`` is this function on the command line.

    Args:
        bootstrap_servers: As for :class:`~auditwire.reading.Reader`, with the next two.
        prefix: The topics' prefix.
        config: librdkafka's properties.
        topics: Event type -> topic, for the types that are not on ``<prefix>.<type>``.
        since: Read from this Kafka timestamp on: an aware datetime, ISO-8601 text with an offset, or
            milliseconds since the Unix epoch. Streams that had begun before are not provable to their
            beginning.
        until: Judge what was said to have arrived before this Kafka timestamp.
        session_id: Report only the streams that hold a record of this session, or one of these. Everything is
            read: a stream's records are numbered across its sessions.
        sealed: Ask for each stream's records up to its last checkpoint only: a stream that is being written
            counts as proven then.
        settled: Nothing can be on its way any more: what would be awaited is missing.
        state: The file that remembers what was seen, so that the next check finds what has vanished, shrunk
            or changed since; it is made where there is none. Not with a part of the trail (``since``,
            ``until``, ``session_id``).
        incremental: Read on from where the last check with this state ended.
        retention: For so long the topics keep records: absent older ones are removed, not missing. None
            excuses nothing.
        expect: Services that must have a stream, as ``service.name`` says it.
        jobs: How many processes share the work; 1: this one does it.
        work_directory: Where facts are sorted: some 110 bytes for each record, removed at the end. The
            system's directory for temporary files by default.
        timeout: Seconds that the broker may be silent.
        fail_fast: End at the first stream at fault; nothing is remembered then.
        changed_only: Hand out only the reports of the streams that were judged, and then of those at fault.
            Without ``incremental`` that is all of them; with it, the streams of which nothing new was read
            are counted as they were judged, which takes far less time.
        on_report: Called with each stream's report, and what it counts for, in the order of the ids. The
            reports are not kept.
        on_progress: Called a few times a second with what is done, how much, and how much there is.

    Returns:
        The counts, what is wrong beyond single streams, and the exit status.

    Raises:
        ConfigurationError: A setting is refused, or the state is.
        BrokerError: The broker is away, or refuses.
        SinkError: The facts or the state cannot be written. The state is as it was.
        AuditwireError: A process died.
    """
    sessions = {session_id} if isinstance(session_id, str) else set(session_id or ())
    source = Source(
        bootstrap_servers=bootstrap_servers,
        prefix=prefix,
        config=dict(config or {}),
        topics=dict(topics or {}),
        since_ms=milliseconds("since", since),
        until_ms=milliseconds("until", until),
        sessions=frozenset(sessions),
        timeout=timeout,
    )
    if session_id is not None and not sessions:
        raise ConfigurationError("session_id", "names no session: leave it out to report all streams")
    if retention is not None and retention <= timedelta():
        raise ConfigurationError("retention", f"{retention} is no time for which records are kept")
    _refuse_contradictions(source, state, incremental=incremental)
    with ExitStack() as stack:
        known = None if state is None else stack.enter_context(State(Path(state), prefix=prefix))
        directory = stack.enter_context(_scratch(work_directory))
        check = _Check(
            stack=stack,
            source=source,
            directory=directory,
            state=known,
            incremental=incremental,
            settled=settled,
            retention_ms=None if retention is None else retention // timedelta(milliseconds=1),
            jobs=jobs,
            fail_fast=fail_fast,
            changed_only=changed_only,
            on_report=on_report or (lambda _report, _standing: None),
            on_progress=on_progress or (lambda _stage, _done, _total: None),
            out=TrailReport(prefix=prefix, sealed=sealed),
        )
        return check.run([expect] if isinstance(expect, str) else [*expect])


def _refuse_contradictions(source: Source, state: Path | str | None, *, incremental: bool) -> None:
    partial = {"since": source.since_ms, "until": source.until_ms, "session_id": source.sessions or None}
    given = [name for name, value in partial.items() if value is not None]
    if state is not None and given:
        raise ConfigurationError(
            "state", f"remembers whole trails, and {given[0]} asks for a part of one: leave one out"
        )
    if incremental and state is None:
        raise ConfigurationError("incremental", "needs a state: it goes on from what that remembers")


@contextmanager
def _scratch(parent: Path | str | None) -> Iterator[Path]:
    """A directory for the facts; what goes wrong with it is said with its name."""
    try:
        with tempfile.TemporaryDirectory(prefix="auditwire-verify-", dir=parent) as directory:
            yield Path(directory)
    except OSError as error:
        where = parent or tempfile.gettempdir()
        raise SinkError(
            f"the facts could not be sorted in {where}: {error.strerror or error}; name another place with "
            "--work-directory"
        ) from error


@dataclass(slots=True, kw_only=True)
class _Check:
    """One check; the attributes are the arguments of `verify_trail`."""

    stack: ExitStack
    source: Source
    directory: Path
    state: State | None
    incremental: bool
    settled: bool
    retention_ms: int | None
    jobs: int
    fail_fast: bool
    changed_only: bool
    on_report: Callable[[StreamReport, Standing], None]
    on_progress: Callable[[Stage, int, int | None], None]
    out: TrailReport
    workers: Workers | None = None
    services: set[str] = field(default_factory=set)
    due: float = 0.0

    def run(self, expect: Collection[str]) -> TrailReport:
        known = self._known()
        try:
            gathered, told, memory = self._prepare(known)
        except NotTheSameError as error:
            self.out.notes.append(f"everything was read again: {error}")
            known = {}
            gathered, told, memory = self._prepare(known)
        self._judge(gathered, memory, known=known)
        self._sum_up(gathered, told, memory, expect)
        if self.state is not None and not (self.fail_fast and self.out.standings["fault"]):
            self._remember(gathered, told, known, memory)
        return self.out

    # -- reading --------------------------------------------------------------------------------------------

    def _known(self) -> dict[Place, KnownPartition]:
        """How far the partitions were read, when that is of use."""
        return self.state.partitions() if self.state is not None and self.incremental else {}

    def _prepare(self, known: Mapping[Place, KnownPartition]) -> tuple[Gathered, Told, Memory | None]:
        """Read, and add what is remembered.

        Raises:
            NotTheSameError: Not everything that is known is still so, and everything has to be read.
        """
        gathered, told = self._read(known)
        if self.state is None:
            return gathered, told, None
        if known and (count := self.state.uncarried()):
            raise NotTheSameError(f"of {count} streams the state does not hold what it takes to go on")
        settings = f"settled={self.settled} retention={self.retention_ms}"
        memory = Memory(self.state, incremental=bool(known), settings=settings)
        if not known:
            self.state.begin_anew()
        with FactWriter(self.directory) as writer:
            try:
                memory.give(writer, gathered.runs)
            except CarryError as error:
                raise NotTheSameError(str(error)) from error
            gathered.runs += writer.close()
        return gathered, told, memory

    def _read(self, known: Mapping[Place, KnownPartition]) -> tuple[Gathered, Told]:
        def on_progress(done: int, total: int) -> None:
            self.on_progress("reading", done, total)

        if self.jobs == 1:
            gathered = gather(self.source, self.directory, known=known, on_progress=on_progress)
        else:
            sizes = partitions_of(self.source)
            for place in known:
                if place not in sizes:
                    raise NotTheSameError(f"{place[0]} [{place[1]}] is gone")
            if self.workers is not None:  # some of them are still at the reading that has failed
                self.workers.close()
            self.workers = self.stack.enter_context(Workers(self.source, self.jobs, self.directory))
            parts = shared_out(sizes, self.jobs)
            gathered = self.workers.gather(parts, known=known, on_progress=on_progress)
            if late := partitions_of(self.source).keys() - sizes.keys():
                gathered.add(gather(self.source, self.directory, only=late, counted=False))
        told = ask(self.source, gathered.topics)
        for (topic, _), partition in known.items():
            if partition.topic_id and told.ids.get(topic, partition.topic_id) != partition.topic_id:
                raise NotTheSameError(f"topic {topic} was made anew")
        before = None if self.state is None else self.state.cluster
        if known and before and told.cluster and before != told.cluster:
            raise NotTheSameError(f"it is cluster {told.cluster}, and was {before}")
        return gathered, told

    # -- judging --------------------------------------------------------------------------------------------

    def _horizon(self, gathered: Gathered) -> Horizon | None:
        times = [] if self.source.since_ms is None else [self.source.since_ms]
        cut = bool(times) or any(gathered.log_starts.values())
        if self.retention_ms is not None:
            times.append(time.time_ns() // 1_000_000 - self.retention_ms)
        return Horizon.of(max(times), cut=cut) if times else None

    def _judge(
        self, gathered: Gathered, memory: Memory | None, *, known: Mapping[Place, KnownPartition]
    ) -> None:
        how = Judging(settled=self.settled, horizon=self._horizon(gathered), carry=memory is not None)
        judged: Iterator[Judged]
        if self.workers is None or known:
            judged = judge_with_carry(gathered.runs, how, known=None if memory is None else memory.knows)
        else:  # a process cannot ask the state; what that knows was given as facts
            judged = self.workers.judge(gathered.runs, how)
        reports: Iterator[StreamReport]
        if memory is None:
            reports = (one.report for one in judged if one.report is not None)
        else:
            self.services |= memory.services()
            reports = memory.reports(judged, self.out, changed_only=self.changed_only)
        for report in reports:
            if self._ends_with(report):
                return

    def _ends_with(self, report: StreamReport) -> bool:
        """Count a report and hand it out; True when that is the end."""
        standing = self.out.add(report)
        if report.service is not None:
            self.services.add(report.service)
        self.on_report(report, standing)
        if (now := time.monotonic()) >= self.due:
            self.due = now + _TELL_EVERY
            self.on_progress("judging", self.out.streams, None)
        return self.fail_fast and standing == "fault"

    # -- the end --------------------------------------------------------------------------------------------

    def _sum_up(self, gathered: Gathered, told: Told, memory: Memory | None, expect: Collection[str]) -> None:
        out = self.out
        out.topics, out.partitions = len(gathered.topics), len(gathered.positions)
        out.messages = gathered.messages
        out.compacted = sorted(told.compacted)
        out.undecodable += gathered.undecodable
        if self.state is not None:  # those that are not read again
            out.undecodable += self.state.undecodable()
        out.notes += told.notes
        if self.fail_fast and out.standings["fault"]:
            out.notes.append("the check ended at the first fault: other streams were not judged")
            return
        out.add_unseen(unseen(expect, self.services))
        cut = sum(offset > 0 for offset in gathered.log_starts.values())
        if cut and self.retention_ms is None:
            out.notes.append(
                f"records were removed from the beginning of {cut} partitions: where that was retention, say "
                "how long it keeps records"
            )
        if memory is not None and memory.forgotten:
            out.notes.append(f"{memory.forgotten} streams are older than the retention, and forgotten")

    def _remember(
        self, gathered: Gathered, told: Told, known: Mapping[Place, KnownPartition], memory: Memory | None
    ) -> None:
        state = self.state
        assert state is not None  # noqa: S101 - asked before
        assert memory is not None  # noqa: S101 - as there is a state
        partitions = {}
        for place, position in gathered.positions.items():
            before = known.get(place, KnownPartition(None, 0))
            last = gathered.lasts.get(place, (before.last_offset, before.digest))
            partitions[place] = KnownPartition(told.ids.get(place[0]), position, *last)
        state.replace_partitions(partitions, self.out.undecodable)
        state.commit(time.time_ns() // 1_000, judged_as=memory.judged_as, cluster=told.cluster)
