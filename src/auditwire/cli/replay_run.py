"""One run of ``auditwire replay``: put together, run, remembered and said."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire.cli.output import ClosedPipe, Output, remark
from auditwire.cli.replay_output import File, Kafka, Opening, Stdout, copied_topic
from auditwire.cli.replay_progress import ReplayBar
from auditwire.cli.replay_words import counted, number, size
from auditwire.cli.stopping import Stopping
from auditwire.errors import AuditwireError, ConfigurationError
from auditwire.reading import Reader
from auditwire.replaying.replay import Replay
from auditwire.replaying.state import State, load_state, save_state
from auditwire.replaying.tally import Tally
from auditwire.replaying.target import look

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.cli.connection import Connection
    from auditwire.cli.filters import Filters
    from auditwire.cli.replay_output import Destination
    from auditwire.reading import Record
    from auditwire.replaying.state import Status

__all__ = ["Job", "run_job"]

OK, NOTHING = 0, 4

_SOON_SECONDS = 10.0
"""What is waited for acknowledgements after Ctrl-C, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is asked for.

    Attributes:
        source: The trail that is read.
        target: The trail that it is copied to; None for lines.
        file: Where lines go; ``-`` is stdout, None for a copy.
        manifest: Where the manifest of a copy goes; None for lines.
        resume: Where to keep how far it is; None for nowhere.
        speed: How many times as fast as it happened.
        max_pause: Seconds of the longest pause; None for no bound.
        selection: The filters as they were given.
        filters: The filters for the time, Unix microseconds, that they count from.
        create_topics: Whether missing topics of a copy are made.
        retention_days: How long those keep records.
        timeout: Seconds that a broker may be silent.
    """

    source: Connection
    target: Connection | None
    file: str | None
    manifest: Path | None
    resume: Path | None
    speed: float
    max_pause: float | None
    selection: dict[str, Any]
    filters: Callable[[int], Filters]
    create_topics: bool
    retention_days: int
    timeout: float


def run_job(job: Job, *, as_json: bool) -> int:
    """Run it, and say what came of it.

    Returns:
        The exit status.

    Raises:
        ConfigurationError: It cannot be done so.
        AuditwireError: It could not be done to the end; what was done is said before.
        KeyboardInterrupt, SystemExit: It was stopped; the same.
        ClosedPipe: Nobody reads stdout any more.
    """
    output = Output(as_json=as_json)
    source_id = look(job.source.admin(), job.source.bootstrap, job.timeout).id
    with ExitStack() as stack:
        destination = _destination(job, source_id)
        state = _state(job, source_id, destination)
        if state.status == "done":
            _say_done(job, state, output)
            return OK
        run = _Run(job, state, destination, source_id)
        run.run(stack)
        run.report(output)
        if run.failure is not None:
            raise run.failure
        run.stopping.raise_signal()
    return OK if run.tally.records else NOTHING


def _destination(job: Job, source_id: str | None) -> Destination:
    if job.target is not None:
        return Kafka(
            job.source,
            job.target,
            source_id,
            create=job.create_topics,
            retention_days=job.retention_days,
            timeout=job.timeout,
        )
    each = job.speed != float("inf")
    if job.file == "-":
        return Stdout(each=each)
    return File(Path(str(job.file)).absolute(), each=each)


def _state(job: Job, source_id: str | None, destination: Destination) -> State:
    """The state to go on from, or a new one.

    Raises:
        ConfigurationError: The state is of another job, or the manifest's file is there without one.
    """
    described = {
        "source": {"cluster_id": source_id, "prefix": job.source.prefix},
        "selection": job.selection,
        "target": destination.described,
        "manifest": None if job.manifest is None else str(job.manifest.absolute()),
    }
    state = None if job.resume is None else load_state(job.resume)
    if state is None:
        if job.manifest is not None and job.manifest.exists():
            raise ConfigurationError(
                "--manifest", f"{job.manifest} exists: it may be another copy's; name another file"
            )
        return State(job=described, began_us=time.time_ns() // 1_000)
    for what, value in described.items():
        if state.job.get(what) != value:
            raise ConfigurationError(
                "--resume",
                f"{job.resume} is of another replay: its {what} was {state.job.get(what)}, and is {value}. "
                "Give each replay a state of its own",
            )
    return state


def _say_done(job: Job, state: State, output: Output) -> None:
    tally = Tally.from_dict(state.tally)
    output.json({"already_done": True, **_counts(tally), **state.output})
    output.print(
        f"Already done: {number(tally.records, 'record')} of {number(len(tally.streams), 'stream')} were "
        f"replayed. Remove {job.resume} and what was written to do it anew"
    )


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "records": tally.records,
        "streams": len(tally.streams),
        "duplicates": tally.duplicates,
        "gaps": tally.gap_count,
        "late": tally.late,
        "undecodable": dict(tally.undecodable),
    }


class _Run:
    """From the first record to the summary."""

    def __init__(self, job: Job, state: State, destination: Destination, source_id: str | None) -> None:
        self.tally = Tally.from_dict(state.tally)
        self.failure: AuditwireError | None = None
        self.stopping = Stopping()
        self._job = job
        self._state = state
        self._destination = destination
        self._source_id = source_id
        self._before = self.tally.records
        self._complete = False
        self._seconds = 0.0
        self._filters = job.filters(state.began_us)
        state.crashes += state.status == "running"
        state.runs += 1
        state.status = "running"

    def run(self, stack: ExitStack) -> None:
        """Replay; what ends it early becomes ``failure``."""
        job, state = self._job, self._state
        reader = stack.enter_context(
            Reader(
                job.source.bootstrap,
                prefix=job.source.prefix,
                config=job.source.config,
                start=state.position,
                timeout=job.timeout,
                on_undecodable=self.tally.undecoded,
                on_gap=self.tally.gap,
                on_duplicate=self._duplicate,
                **self._filters.reader_arguments(),
            )
        )
        sink = self._destination.open(Opening(reader.topics, state.output, self._hurried))
        stack.callback(_let_go, sink)
        if job.resume is not None:
            if not state.output:  # else a file that holds something would not be known by the next run
                state.output = sink.settle()
            self._save_state()
        with ExitStack() as shown, self.stopping:
            bar = ReplayBar(
                shown, self._destination.name, lambda: reader.progress, lambda: self.tally.records
            )
            self._replay = replay = Replay(
                reader,
                sink,
                self.tally,
                wanted=self._filters.matches if self._filters.where else lambda _: True,
                duplicates=self._destination.keeps_duplicates,
                save=self._save,
                stopped=self.stopping.wanted,
                progress=bar.show,
                speed=job.speed,
                max_pause=job.max_pause,
            )
            began = time.monotonic()
            try:
                replay.run()
            except BrokenPipeError:
                raise ClosedPipe from None
            except AuditwireError as error:
                self.failure = error
            self._seconds = time.monotonic() - began
            self._complete = replay.complete

    def _duplicate(self, record: Record) -> None:
        self._replay.duplicate(record)

    def _hurried(self) -> float | None:
        return max(0.0, _SOON_SECONDS - self.stopping.seconds) if self.stopping.wanted() else None

    # -- what is remembered ---------------------------------------------------------------------------------

    def _save(self, position: dict[str, Any], said: dict[str, Any], status: Status) -> None:
        state = self._state
        state.position, state.output = position, said
        if status == "done" and not self.tally.records:
            status = "ended"  # what was asked for may still come
        if self._job.manifest is not None and self._job.target is not None and status == "done":
            self._write_manifest(self._job.manifest, self._job.target)
        state.status = status
        if self._job.resume is not None:
            self._save_state()

    def _save_state(self) -> None:
        assert self._job.resume is not None  # noqa: S101 - for the type checker; who calls has looked
        self._state.tally = self.tally.to_dict()
        self._state.saved_us = time.time_ns() // 1_000
        save_state(self._job.resume, self._state)

    def _write_manifest(self, path: Path, target: Connection) -> None:
        from auditwire.replaying.files import replace_json  # noqa: PLC0415 - only copies have one
        from auditwire.replaying.manifest import manifest_of  # noqa: PLC0415 - as above

        filters = self._filters
        times = {"since_ms": filters.since_ms, "until_ms": filters.until_ms}
        given = {name: value for name, value in times.items() if value is not None}
        content = manifest_of(
            self.tally,
            source={"cluster_id": self._source_id, "prefix": self._job.source.prefix},
            target=self._destination.described,
            target_topic=partial(copied_topic, self._job.source, target),
            selection={**self._job.selection, **given},
            began_us=self._state.began_us,
            ended_us=time.time_ns() // 1_000,
            untimed=self._state.output.get("untimed", 0),
            runs=self._state.runs,
            crashes=self._state.crashes,
        )
        replace_json(path, content, indent=1)

    # -- words ----------------------------------------------------------------------------------------------

    def report(self, output: Output) -> None:
        """The summary: on stdout, or on stderr where stdout has the lines."""
        tally, job = self.tally, self._job
        now = tally.records - self._before
        rate = now / self._seconds if self._seconds else 0.0
        output.json(
            {
                "to": self._destination.name,
                "complete": self._complete,
                **_counts(tally),
                "resumed_after": self._before,
                "output": self._state.output,
                "manifest": str(job.manifest) if self._has_manifest else None,
                "seconds": round(self._seconds, 3),
                "error": None if self.failure is None else str(self.failure),
            }
        )
        say = remark if job.file == "-" else output.print
        if self._complete and not tally.records:
            say(f"Nothing to replay: {job.source.bootstrap} has no such record on {job.source.prefix}.*")
            return
        say(
            f"{number(now, 'record')} of {number(len(tally.streams), 'stream')} to {self._destination.name}"
            f"{self._size()}, {self._seconds:.1f} s, {rate:,.0f} records/s"
        )
        for line in self._more():
            say(f"  {line}")
        if not self._complete:
            remark(
                "not complete: "
                + (
                    "what was written stays; --resume would have made it possible to go on"
                    if job.resume is None
                    else f"the same command goes on from {job.resume}"
                ),
                style="yellow",
            )

    @property
    def _has_manifest(self) -> bool:
        return self._job.manifest is not None and self._complete and self.tally.records > 0

    def _size(self) -> str:
        written = self._state.output
        if "acknowledged" in written:
            return f", {written['acknowledged']:,} acknowledged"
        return f", {size(written['bytes'])}" if "bytes" in written else ""

    def _more(self) -> list[str]:
        tally = self.tally
        lines = []
        if self._before:
            lines.append(
                f"{number(self._before, 'record')} before, in {number(self._state.runs - 1, 'earlier run')}"
            )
        if tally.duplicates:
            what = "copied too" if self._destination.keeps_duplicates else "left out"
            lines.append(f"{number(tally.duplicates, 'duplicate')}, {what}")
        if tally.gap_count:
            lines.append(
                f"{number(tally.gap_count, 'gap')}: numbers that are not there; auditwire verify judges"
            )
        if tally.late:
            lines.append(f"{number(tally.late, 'record')} out of order: they came after they were given up")
        if tally.undecodable:
            lines.append(f"left out, no records: {counted(tally.undecodable)}")
        if self._has_manifest:
            lines.append(f"manifest: {self._job.manifest}")
        return lines


def _let_go(sink: Any) -> None:
    with suppress(AuditwireError):  # what was not written was said
        sink.close()
