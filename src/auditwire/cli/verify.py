"""``auditwire verify``: whether a trail is complete and unchanged."""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditwire.cli.connection import Bootstrap, ConfigFile, Prefix, connection
from auditwire.cli.filters import Filters, Since, Until
from auditwire.cli.output import ClosedPipe, Output, remark, without_secrets
from auditwire.errors import AuditwireError, ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Collection

    from auditwire.verification.outcome import Standing
    from auditwire.verification.report import StreamReport

__all__ = ["EPILOG", "verify"]

NOT_CHECKED = 4

EPILOG = """\b
Examples:
  auditwire verify -b localhost:9092
  auditwire verify -b localhost:9092 --sealed --state /var/lib/audit/state --expect services.txt
  auditwire verify -b localhost:9092 --retention 400d --json | jq -r 'select(.verdict == "fault").stream_id'
  auditwire verify -b localhost:9092 --watch --every 60 --state state --metrics 127.0.0.1:9465
"""


def verify(
    bootstrap: Bootstrap = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Ask for each stream's records up to its last checkpoint only.")
    ] = False,
    settled: Annotated[
        bool,
        typer.Option("--settled", help="All writers have ended: what would be awaited is missing."),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state", metavar="FILE", help="Remember what was seen; say what has vanished or changed since."
        ),
    ] = None,
    incremental: Annotated[
        bool,
        typer.Option("--incremental", help="Read only what came since the last check; with --state."),
    ] = False,
    expect: Annotated[
        Path | None,
        typer.Option("--expect", metavar="FILE", help="Services that must have a stream, one a line."),
    ] = None,
    retention: Annotated[
        str | None,
        typer.Option(
            "--retention",
            metavar="DURATION",
            help="For so long the topics keep records (400d): absent older ones are removed, not missing.",
        ),
    ] = None,
    sessions: Annotated[
        list[str] | None,
        typer.Option(
            "--session",
            "-s",
            metavar="ID",
            help="Report only streams with a record of this session; several may be given.",
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=64, metavar="N", help="Processes that share the work.")
    ] = 1,
    watch: Annotated[
        bool, typer.Option("--watch", help="Check again and again, incrementally, until a signal ends it.")
    ] = False,
    every: Annotated[
        float,
        typer.Option("--every", min=0.1, metavar="SECONDS", help="With --watch: from check to check."),
    ] = 60.0,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", metavar="[HOST:]PORT", help="With --watch: answer /metrics, /health and /live there."
        ),
    ] = None,
    metrics_file: Annotated[
        Path | None,
        typer.Option(
            "--metrics-file",
            metavar="FILE",
            help="With --watch: keep the metrics there, for node_exporter's textfile collector.",
        ),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="End at the first fault; with --watch, too.")
    ] = False,
    all_streams: Annotated[
        bool,
        typer.Option("--all-streams", "-v", help="Show every stream; else, of many, those at fault."),
    ] = False,
    work_directory: Annotated[
        Path | None,
        typer.Option(
            "--work-directory",
            metavar="DIR",
            show_default="the system's",
            help="Where facts are sorted: about 110 bytes for each record, for the time of the check.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, metavar="SECONDS", help="End when the broker is silent for so long."
        ),
    ] = 30.0,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A JSON object for each stream, then one for the trail; or one a round."),
    ] = False,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Prove that a trail is complete: nothing missing, changed, forged, doubled or out of place.

    All topics are read to their ends, and each stream's records are compared with its checkpoints, which list
    them. With --json, each line has a member "object" that is "stream", "trail" or "round".

    Exits with 0 when every stream is complete and closed, or with --sealed proven to its last checkpoint; 1
    when something is wrong: records missing, changed or forged, events that the producer had to refuse, a
    stream that --state knows and that has vanished or shrunk, an expected service without a stream; 2 for
    wrong usage; 3 when nothing is wrong but not everything is proven: streams that are open, records that
    the broker refused or retention removed; 4 when nothing was found, topics are compacted, messages cannot
    be read, or the check could not be made: no broker, a full disk. Of several, 1, 4, 3, 0 is the order.
    """
    where = connection(bootstrap, prefix, config)
    for name, value in {"--metrics": metrics, "--metrics-file": metrics_file}.items():
        if value is not None and not watch:
            raise ConfigurationError(name, "tells of a watch: give --watch, too")
    if incremental and not watch and state is None:
        raise ConfigurationError("--incremental", "needs --state: it goes on from what that remembers")
    asked = _Asked.parse(since, until, retention, expect)
    if watch and (asked.since_ms, asked.until_ms, sessions) != (None, None, None):
        raise ConfigurationError("--watch", "checks whole trails: leave out --since, --until and --session")
    arguments: dict[str, Any] = {
        "prefix": where.prefix,
        "config": where.config,
        "since": asked.since_ms,
        "until": asked.until_ms,
        "session_id": sessions or None,
        "sealed": sealed,
        "settled": settled,
        "state": state,
        "incremental": incremental or watch,
        "retention": asked.retention,
        "expect": asked.expected,
        "jobs": jobs,
        "work_directory": work_directory,
        "timeout": timeout,
    }
    command = _Command(where.bootstrap, arguments, Output(as_json=as_json), all_streams)
    try:
        status = (
            command.watch(every, metrics, metrics_file, fail_fast=fail_fast)
            if watch
            else command.once(fail_fast=fail_fast)
        )
    except ConfigurationError as error:
        raise _of_option(error, arguments) from error
    except (MissingExtraError, ClosedPipe):
        raise
    except Exception as error:  # status 1 would say that the trail is at fault
        remark(f"the check could not be made: {_words(error)}", style="red")
        raise typer.Exit(NOT_CHECKED) from error
    raise typer.Exit(status)


def _of_option(error: ConfigurationError, arguments: Collection[str]) -> ConfigurationError:
    """The same of the option that was written, where it is about an argument of ``verify_trail``."""
    if error.key not in arguments:
        return error
    return ConfigurationError(f"--{error.key}".replace("_", "-"), str(error).removeprefix(f"{error.key}: "))


def _words(error: Exception) -> str:
    if isinstance(error, (AuditwireError, OSError)):
        return str(error)
    if os.environ.get("AUDITWIRE_DEBUG", "") not in ("", "0"):
        sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
    return f"internal error: {type(error).__name__}: {error} (AUDITWIRE_DEBUG=1 shows the traceback)"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What options with a form of their own ask for."""

    since_ms: int | None
    until_ms: int | None
    retention: timedelta | None
    expected: tuple[str, ...]

    @classmethod
    def parse(
        cls, since: str | None, until: str | None, retention: str | None, expect: Path | None
    ) -> _Asked:
        from auditwire.cli.times import time_us  # noqa: PLC0415 - --help needs no more than the options
        from auditwire.verification.expect import read_expected  # noqa: PLC0415 - as above

        range_ = Filters.parse(since=since, until=until)
        kept: timedelta | None = None
        if retention is not None:
            now_us = time.time_ns() // 1_000
            kept = timedelta(microseconds=now_us - time_us(retention, "--retention", now_us=now_us))
            if kept <= timedelta():
                raise ConfigurationError("--retention", f"{retention} is no duration; write 400d or 12h")
        return cls(range_.since_ms, range_.until_ms, kept, () if expect is None else read_expected(expect))


@dataclass(frozen=True, slots=True)
class _Command:
    """A check, once or again and again."""

    bootstrap: str
    arguments: dict[str, Any]
    output: Output
    all_streams: bool

    def once(self, *, fail_fast: bool) -> int:
        """Check once; the exit status."""
        from auditwire.cli.verify_progress import VerifyBar  # noqa: PLC0415 - --help needs no codec
        from auditwire.cli.verify_text import Printer, summary_lines  # noqa: PLC0415 - as above
        from auditwire.verification import verify_trail  # noqa: PLC0415 - as above

        printer = Printer(self.output, all_streams=self.all_streams)

        def on_report(report: StreamReport, standing: Standing) -> None:
            self.output.json({"object": "stream", "standing": standing, **report.to_dict()})
            printer.stream(report)

        with ExitStack() as stack:
            out = verify_trail(
                self.bootstrap,
                **self.arguments,
                fail_fast=fail_fast,
                on_report=on_report,
                on_progress=VerifyBar(stack).show,
            )
        printer.end()
        self.output.json({"object": "trail", **out.to_dict()})
        for line in summary_lines(out):
            self.output.print(line)
        return out.exit_status

    def watch(self, every: float, metrics: str | None, metrics_file: Path | None, *, fail_fast: bool) -> int:
        """Check again and again; the exit status of the last round, where a fault ends it."""
        import tempfile  # noqa: PLC0415 - --help needs no more than the options

        from auditwire.cli.verify_watch import Watching  # noqa: PLC0415 - as above

        with ExitStack() as stack:
            arguments = self.arguments
            if arguments["state"] is None:
                # forgotten with the process: the next one reads everything again
                scratch = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="auditwire-verify-", dir=arguments["work_directory"])
                )
                arguments = {**arguments, "state": Path(scratch, "state")}
            watching = Watching(stack, self.bootstrap, arguments, self.output, metrics, metrics_file)
            return watching.run(every, fail_fast=fail_fast)
