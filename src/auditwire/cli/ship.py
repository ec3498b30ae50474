"""``auditwire ship``: audit events that stand in a file, as lines of JSON, onto the topics."""

from __future__ import annotations

import gzip
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast

import typer

from auditwire.cli.connection import Bootstrap, ConfigFile, Prefix, connection
from auditwire.cli.output import Output, remark
from auditwire.errors import AuditwireError, ConfigurationError, FlushTimeout

if TYPE_CHECKING:
    from auditwire.collectors.kafka import KafkaCollector
    from auditwire.delivery.health import Health
    from auditwire.shipping import Counts, Shipper, Source
    from auditwire.shipping.rejects import Rejects

__all__ = ["ship"]

_JOURNAL_BYTES = 32 << 20
_NEVER_SECONDS = 1e6
"""The collector's patience for room. It is never needed: the shipper waits before there is none."""

_SOON_SECONDS = 10.0
"""What is waited for the broker after Ctrl-C, at most."""

_STILL_SECONDS = 1.0
"""What is waited for it when it has just been silent for the whole of --timeout."""

EPILOG = """\b
Examples:
  auditwire ship audit.jsonl -b localhost:9092
  auditwire ship audit.jsonl --dry-run
  auditwire ship audit.jsonl -b localhost:9092 --follow --state audit.state --rejects audit.rejects
  auditwire tail -b old:9092 --json | auditwire ship - -b new:9092
"""

FileName = Annotated[
    str, typer.Argument(metavar="FILE", help="Lines of JSON, gzip when it ends in .gz; - is standard input.")
]


def ship(
    file: FileName,
    bootstrap: Bootstrap = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Wait for more, also when the log is rotated.")
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="PATH", help="Keep there how far FILE is shipped, and go on there."),
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option("--rejects", metavar="PATH", help="Append lines that are no events to it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Look at every line and ship none; needs no broker.")
    ] = False,
    service: Annotated[
        str,
        typer.Option("--service", metavar="NAME", help="Whose events they are: in headers and checkpoints."),
    ] = "auditwire-ship",
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0.0,
            metavar="SECONDS",
            help="End when the broker has acknowledged nothing for so long; with --follow only at the end.",
        ),
    ] = 60.0,
    create_topics: Annotated[
        bool, typer.Option("--create-topics/--no-create-topics", help="Create topics that are not there.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as a JSON object.")] = False,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Ship audit events from a file of JSON lines: what JSONLSinkCollector or tail --json wrote, or others.

    A line needs a text event_type; a type that is not known goes to the custom topic. Times and ids are kept.
    A line without event_id gets one that follows from what the file holds up to there: shipped a second time,
    renamed, copied, compressed or piped in, it is the same. Control records (checkpoint, loss, ...) belong to
    the stream that wrote them and are left out. A line that is no event is named on stderr, and the status is
    1 at the end.
    """
    _check_options(file, follow=follow, state=state, rejects=rejects, dry_run=dry_run)
    from auditwire.shipping.rejects import Rejects  # noqa: PLC0415 - --help needs no codec

    output = Output(as_json=as_json)
    with ExitStack() as stack:
        source = _source(stack, file, follow=follow, state=state)
        stack.callback(source.close)
        kept = None if rejects is None else Rejects(rejects)
        if kept is not None:
            stack.callback(kept.close)
        target: Any = None
        if not dry_run:
            from auditwire.collectors.kafka import KafkaCollector  # noqa: PLC0415 - loads the Kafka client

            where = connection(bootstrap, prefix, config)
            target = KafkaCollector(
                where.bootstrap,
                config=where.config,
                prefix=where.prefix,
                service=service,
                create_topics=create_topics,
                journal_bytes=_JOURNAL_BYTES,
                full_timeout=_NEVER_SECONDS,
            )
        run = _Run(file, source, target, timeout)
        run.ship(kept, None if dry_run else state)
        run.report(output)
        if run.failure is not None:
            raise run.failure
    raise typer.Exit(0 if run.passed else 1)


def _check_options(
    file: str, *, follow: bool, state: Path | None, rejects: Path | None, dry_run: bool
) -> None:
    """What cannot be together.

    Raises:
        ConfigurationError: It is.
    """
    for option, given in (("--follow", follow), ("--state", state is not None)):
        if given and file == "-":
            raise ConfigurationError(option, "standard input ends with its writer, and is read once")
        if given and file.endswith(".gz"):
            raise ConfigurationError(option, "a compressed file does not grow")
    if follow and dry_run:
        raise ConfigurationError("--dry-run", "it ends with the file: leave out --follow")
    named = {"FILE": None if file == "-" else Path(file), "--state": state, "--rejects": rejects}
    paths = {option: path.resolve() for option, path in named.items() if path is not None}
    for option, path in paths.items():
        same = [other for other in paths if other != option and paths[other] == path]
        if same:
            raise ConfigurationError(same[0], f"{path} is named for {option} already")
        if option != "FILE" and not path.parent.is_dir():
            raise ConfigurationError(option, f"there is no directory {path.parent}")


def _source(stack: ExitStack, file: str, *, follow: bool, state: Path | None) -> Source:
    """What is to be read.

    Raises:
        ConfigurationError: It cannot be, or the state is another file's.
    """
    from auditwire.shipping import FileSource, StreamSource, load_state  # noqa: PLC0415 - see ship

    if file == "-":
        return StreamSource(sys.stdin.buffer, "standard input")
    if file.endswith(".gz"):
        try:
            opened = stack.enter_context(gzip.open(file, "rb"))  # noqa: SIM115 - it is, of the stack
        except OSError as error:
            raise ConfigurationError("FILE", f"{file} cannot be read: {error.strerror}") from error
        return StreamSource(cast("BinaryIO", opened), file)
    path = Path(file).absolute()
    known = None if state is None else load_state(state)
    if known is not None and known.path != str(path):
        raise ConfigurationError("--state", f"{state} is of {known.path}: give each file a state of its own")
    return FileSource(path, follow=follow, state=known, warn=lambda text: remark(text, style="yellow"))


class _Run:
    """One run, from the first line to the summary."""

    def __init__(self, file: str, source: Source, collector: KafkaCollector | None, timeout: float) -> None:
        from auditwire.shipping.trial import Trial  # noqa: PLC0415 - see ship

        self.failure: BaseException | None = None
        self.counts: Counts
        self.health: Health
        self.seconds = 0.0
        self._file = file
        self._source = source
        self._collector = collector
        self._target: Any = Trial() if collector is None else collector
        self._timeout = timeout

    @property
    def passed(self) -> bool:
        """Every line was an event, and every event is on the broker."""
        return not (
            self.counts.rejected
            or self._source.doubts
            or self._undelivered
            or sum(self.health.quarantined.values())
        )

    @property
    def _undelivered(self) -> int:
        return 0 if self._collector is None else self.health.accepted - self.health.delivered

    def ship(self, rejects: Rejects | None, state: Path | None) -> None:
        """Ship everything; what ends it early becomes ``failure``, and what was handed over is delivered."""
        from auditwire.shipping import Shipper  # noqa: PLC0415 - see ship

        with ExitStack() as stack:
            progress = _Progress(stack, self._file, self._source)
            shipper = Shipper(
                self._source,
                self._target,
                bad_line=lambda number, why: remark(f"{self._file}, line {number}: {why}", style="red"),
                warn=lambda text: remark(text, style="yellow"),
                rejects=rejects,
                state_path=state,
                progress=lambda: progress.show(shipper.counts),
                timeout=self._timeout,
            )
            self.counts = shipper.counts
            began = time.monotonic()
            try:
                shipper.run()
            except (KeyboardInterrupt, SystemExit, AuditwireError, OSError) as error:
                self.failure = error
            self._finish(shipper)
            self.seconds = time.monotonic() - began

    def _finish(self, shipper: Shipper) -> None:
        """Wait for what was handed over, remember it, end the stream."""
        patience = self._timeout
        if isinstance(self.failure, FlushTimeout):
            patience = min(patience, _STILL_SECONDS)
        elif self.failure is not None:
            patience = min(patience, _SOON_SECONDS)
        try:
            shipper.commit(patience)
        except AuditwireError as error:
            self.failure = self.failure or error
        try:
            if (
                self._collector is not None
            ):  # all is acknowledged, but for the closing checkpoint; or will not be
                self._collector.close(_STILL_SECONDS if self.failure else patience)
        except FlushTimeout as error:
            self.failure = self.failure or error
        self.health = self._target.health()

    # -- words ----------------------------------------------------------------------------------------------

    def report(self, output: Output) -> None:
        """The summary, on stdout."""
        counts, health = self.counts, self.health
        rejected = sum(counts.rejected.values())
        output.json(
            {
                "file": self._file,
                "dry_run": self._collector is None,
                "stream_id": None if self._collector is None else health.stream_id,
                "lines": counts.lines,
                "bytes": counts.bytes,
                "events": counts.events,
                "acknowledged": health.delivered,
                "custom": counts.custom,
                "derived_ids": counts.derived_ids,
                "untimed": counts.untimed,
                "control_records": counts.control,
                "blank": counts.blank,
                "rejected": dict(sorted(counts.rejected.items())),
                "coerced": health.coerced,
                "truncated": health.truncated,
                "quarantined": health.quarantined,
                "parked": health.parked,
                "seconds": round(self.seconds, 3),
                "error": None if self.failure is None else str(self.failure) or type(self.failure).__name__,
            }
        )
        if self._collector is None:
            output.print(
                f"{_number(counts.events, 'event')} in {_number(counts.lines, 'line')}; none shipped"
            )
        else:
            rate = f"{counts.events / self.seconds:,.0f} events/s" if self.seconds else ""
            output.print(
                f"{_number(counts.events, 'event')} of {_number(counts.lines, 'line')} shipped, "
                f"{health.delivered:,} acknowledged, {self.seconds:.1f} s, {rate}"
            )
        for count, said in (
            (rejected, "rejected: " + ", ".join(f"{why} {n:,}" for why, n in counts.rejected.most_common())),
            (counts.control, "control records left out: they are of the streams that wrote them"),
            (counts.derived_ids, "without event_id: derived from the file's content"),
            (counts.untimed, "without timestamp: the time of shipping, noted in the metadata"),
            (counts.custom, "of types without a schema of their own: on the custom topic"),
            (sum(health.coerced.values()), f"values converted: {_counted(health.coerced)}"),
            (sum(health.truncated.values()), f"values cut to fit: {_counted(health.truncated)}"),
            (
                sum(health.quarantined.values()),
                f"withheld, refused by the broker: {_counted(health.quarantined)}",
            ),
        ):
            if count:
                output.print(f"  {count:,} {said}")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in sorted(counts.items()))


class _Progress:
    """A bar on stderr where a person looks at it; a file that is followed has no end to show."""

    _EVERY = 0.1

    def __init__(self, stack: ExitStack, file: str, source: Source) -> None:
        self._due = 0.0
        self._bar: Any = None
        if source.follow or not sys.stderr.isatty():
            return
        from rich import progress  # noqa: PLC0415 - only where it is shown
        from rich.console import Console  # noqa: PLC0415 - as above

        self._bar = stack.enter_context(
            progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.DownloadColumn(),
                progress.TransferSpeedColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[events]:,} events", markup=False),
                console=Console(stderr=True),
                transient=True,
                auto_refresh=False,
            )
        )
        whole = file != "-" and not file.endswith(".gz")
        done = 0 if source.resumed is None else source.resumed.offset
        total = max(0, Path(file).stat().st_size - done) if whole else None
        self._task = self._bar.add_task(Path(file).name, total=total, events=0)

    def show(self, counts: Counts) -> None:
        """Say how far it is, at most ten times a second."""
        now = time.monotonic()
        if self._bar is not None and now >= self._due:
            self._due = now + self._EVERY
            self._bar.update(self._task, completed=counts.bytes, events=counts.events)
            self._bar.refresh()
