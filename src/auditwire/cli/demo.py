"""``auditwire demo``: a small agent at work, its events on a broker and back, and whether any is missing."""

from __future__ import annotations

import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from auditwire.cli.connection import ConfigFile, Connection, connection
from auditwire.cli.lines import Lines, aligned, record_dict
from auditwire.cli.output import Output, remark
from auditwire.errors import AuditwireError, ConfigurationError, FlushTimeout

if TYPE_CHECKING:
    from auditwire.collectors.kafka import KafkaCollector
    from auditwire.delivery.health import Health
    from auditwire.reading import Reader, Record
    from auditwire.verification import StreamReport

__all__ = ["demo"]

_PAUSE = 0.05
_POLL = 0.05
_CLOSE_SECONDS = 20.0
_ARRIVAL_SECONDS = 20.0
_NEW_TOPICS_SECONDS = 0.5
_REAL_PREFIX = "audit-demo"

EPILOG = """\b
Examples:
  auditwire demo
  auditwire demo --serve
  auditwire demo --bootstrap localhost:9092 --prefix audit-demo
  auditwire demo --json | jq -r .event_type
"""


def demo(
    bootstrap: Annotated[
        str | None,
        typer.Option(
            "--bootstrap",
            "-b",
            metavar="HOST:PORT",
            help="Use this broker; without it one is started for the demo.",
        ),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the demo's broker open until Ctrl-C, and show its address.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A JSON object for each event, and one with the summary at the end."),
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(
            "--prefix",
            metavar="TEXT",
            show_default=f"audit; {_REAL_PREFIX} with --bootstrap",
            help="Of the topics.",
        ),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Watch a small agent at work: its events go to Kafka, come back, and are checked for completeness.

    The agent's tools really run, in a temporary directory; it asks no model and no network. Without
    --bootstrap everything stays on this machine: the broker is the one for tests that comes with the Kafka
    client. AUDITWIRE_BOOTSTRAP_SERVERS and AUDITWIRE_PREFIX are not read: no demo ends in a real trail by
    accident.
    """
    if serve and bootstrap:
        raise ConfigurationError("--serve", "there is no broker to keep open with --bootstrap")
    from auditwire.testing import EmbeddedBroker  # noqa: PLC0415 - --help starts no broker

    output = Output(as_json=as_json)
    began = time.monotonic()
    with ExitStack() as stack:
        if bootstrap:
            where = connection(bootstrap, prefix or _REAL_PREFIX, config)
        else:
            broker = stack.enter_context(EmbeddedBroker(prefix=prefix or "audit"))
            where = Connection(broker.bootstrap_servers, prefix or "audit", {})
        run = _Run(where, output, embedded=not bootstrap)
        run.watch()
        run.report(time.monotonic() - began)
        _say_what_next(output, where, embedded=not bootstrap, serve=serve)
        if serve:
            _serve(where)
    raise typer.Exit(0 if run.passed else 1)


@dataclass
class _Run:
    """One session of the agent, watched on the broker."""

    where: Connection
    output: Output
    embedded: bool
    records: list[Record] = field(default_factory=list)
    health: Health | None = None
    verdict: StreamReport | None = None
    failure: BaseException | None = None

    @property
    def lost(self) -> int:
        """Events that were emitted and are not acknowledged."""
        assert self.health is not None  # noqa: S101 - for the type checker; there is one after watch()
        return self.health.accepted - self.health.delivered + sum(self.health.lost.values())

    @property
    def passed(self) -> bool:
        return self.lost == 0 and self.verdict is not None and self.verdict.verdict == "complete"

    def watch(self) -> None:
        """Run the agent in a thread, and show its events as they come back from the broker."""
        from auditwire.collectors.kafka import KafkaCollector  # noqa: PLC0415 - --help loads no Kafka client
        from auditwire.reading import Reader  # noqa: PLC0415 - as above
        from auditwire.verification import check_streams  # noqa: PLC0415 - as above

        self._say_hello()
        with Reader(
            self.where.bootstrap,
            prefix=self.where.prefix,
            config=self.where.config,
            from_beginning=False,
            follow=True,
            timeout=_ARRIVAL_SECONDS,
            refresh=_NEW_TOPICS_SECONDS,
        ) as reader:
            collector = KafkaCollector(
                self.where.bootstrap,
                config=self.where.config,
                prefix=self.where.prefix,
                service="auditwire-demo",
                create_topics=not self.embedded,
            )
            stop, ended = threading.Event(), threading.Event()
            agent = threading.Thread(target=self._work, args=(collector, stop, ended), name="demo-agent")
            agent.start()
            try:
                self._show(reader, collector, ended)
            finally:
                stop.set()
                agent.join()
        self.health = collector.health()
        reports = check_streams(self.records, settled=True)
        self.verdict = reports[0] if reports else None
        if self.failure is not None and not isinstance(self.failure, FlushTimeout):
            raise self.failure

    def _work(self, collector: KafkaCollector, stop: threading.Event, ended: threading.Event) -> None:
        """The agent's thread: the session, then close, which delivers what is left."""
        from auditwire.cli.demo_agent import DemoAgent, Stopped  # noqa: PLC0415 - loaded where it runs
        from auditwire.emitter import AuditEmitter  # noqa: PLC0415 - as above

        session = f"demo-{collector.stream_id[-12:-4]}"
        try:
            with tempfile.TemporaryDirectory(prefix="auditwire-demo-") as workspace:
                audit = AuditEmitter(collector, session, on_error="raise")
                pause = _PAUSE if self.output.live else 0.0
                DemoAgent(audit, Path(workspace), stop, pause).run()
        except Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that watches
            self.failure = error
        try:
            collector.close(_CLOSE_SECONDS)
        except AuditwireError as error:
            self.failure = self.failure or error
        finally:
            ended.set()

    def _show(self, reader: Reader, collector: KafkaCollector, ended: threading.Event) -> None:
        """Show the stream's records in its order, until all that were written are there.

        They come from many partitions, in no order; their sequence has no gaps, so that each can wait for
        those before it.
        """
        lines = Lines(self.output.width, session=False)
        self.output.print(lines.header())
        self.output.print(lines.rule())
        waiting: dict[int, Record] = {}
        shown = 0
        deadline = float("inf")
        while time.monotonic() < deadline:
            record = reader.poll(_POLL)
            if record is not None and record.stream_id == collector.stream_id:
                self.records.append(record)
                waiting[record.sequence] = record
            while shown in waiting:
                self._row(lines, waiting.pop(shown))
                shown += 1
            if ended.is_set():
                if deadline == float("inf"):
                    deadline = time.monotonic() + _ARRIVAL_SECONDS
                health = collector.health()
                if shown >= health.accepted + health.control or self.failure is not None:
                    break
        for sequence in sorted(waiting):  # behind a record that is not there
            self._row(lines, waiting[sequence])

    def _row(self, lines: Lines, record: Record) -> None:
        self.output.json(record_dict(record))
        self.output.print(lines.row(record.event))

    # -- words ----------------------------------------------------------------------------------------------

    def _say_hello(self) -> None:
        kind = ", in memory" if self.embedded else ""
        self.output.print(
            Text.assemble(
                ("auditwire demo", "bold"),
                f"  broker {self.where.bootstrap}{kind}; topics {self.where.prefix}.*",
            )
        )
        self.output.print()

    def report(self, seconds: float) -> None:
        """Topics, counts and verdict."""
        assert self.health is not None  # noqa: S101 - for the type checker; there is one after watch()
        topics = Counter(record.topic for record in self.records)
        health, verdict = self.health, self.verdict
        self.output.json(
            {
                "summary": {
                    "bootstrap_servers": self.where.bootstrap,
                    "stream_id": health.stream_id,
                    "topics": dict(sorted(topics.items())),
                    "accepted": health.accepted,
                    "acknowledged": health.delivered,
                    "lost": self.lost,
                    "control_records": health.control,
                    "verdict": None if verdict is None else verdict.verdict,
                    "stream": None if verdict is None else verdict.to_dict(),
                    "seconds": round(seconds, 3),
                }
            }
        )
        self.output.print()
        for line in _topic_lines(topics, wide=(self.output.width or 0) >= _WIDE):
            self.output.print(line)
        self.output.print()
        self.output.print(
            Text.assemble(
                _mark(passed=self.lost == 0),
                f"{health.accepted} accepted, {health.delivered} acknowledged, {self.lost} lost",
            )
        )
        for reason, count in health.lost.items():
            self.output.print(Text(f"  {count} lost: {reason}", "red"))
        for reason, count in health.quarantined.items():
            self.output.print(Text(f"  {count} withheld: {reason}", "red"))
        for topic, why in health.parked.items():
            self.output.print(Text(f"  {topic} takes no records: {why}", "red"))
        self._report_stream(verdict)
        self.output.print(Text(f"  {seconds:.1f} s from the start to the verdict", "dim"))

    def _report_stream(self, verdict: StreamReport | None) -> None:
        if verdict is None:
            self.output.print(
                Text.assemble(_mark(passed=False), "nothing was read back: there is no verdict")
            )
            return
        said = {
            "complete": (
                f"stream complete and closed: {verdict.records} records, {verdict.checkpoints} checkpoints, "
                "none missing or changed"
            ),
            "recovered": (
                f"stream not closed, and recovered from its journal: {verdict.records} records, "
                f"{verdict.checkpoints} checkpoints, none missing or changed"
            ),
            "open": f"stream not closed: {verdict.records} records, {verdict.checkpoints} checkpoints",
            "fault": f"stream at fault: {len(verdict.faults)} found in {verdict.records} records",
        }
        self.output.print(Text.assemble(_mark(passed=verdict.verdict == "complete"), said[verdict.verdict]))
        for fault in verdict.faults:
            self.output.print(Text(f"  {fault.kind}: {fault.message}", "red"))
        for note in verdict.notes:
            self.output.print(Text(f"  {note}", "dim"))
        self.output.print(Text(f"  {verdict.stream_id}, not signed", "dim"))


_WIDE = 100


def _mark(*, passed: bool) -> tuple[str, str]:
    return ("✓ ", "green") if passed else ("✗ ", "bold red")


def _topic_lines(topics: Counter[str], *, wide: bool) -> list[Text]:
    """Topics and how many records came from each; in two halves beside each other where there is room."""
    cells = [[Text(name), Text(str(count))] for name, count in sorted(topics.items())]
    header = [Text("topic", "dim"), Text("records", "dim")]
    if not wide:
        return aligned([header, *cells], right=(1,))
    half = (len(cells) + 1) // 2
    pairs = zip_longest(cells[:half], cells[half:], fillvalue=list[Text]())
    return aligned([header * 2, *(left + right for left, right in pairs)], right=(1, 3), gap=4)


def _say_what_next(output: Output, where: Connection, *, embedded: bool, serve: bool) -> None:
    prefix = "" if where.prefix == "audit" else f" --prefix {where.prefix}"
    steps = [("auditwire demo --serve", "keeps this broker open")]
    if serve or not embedded:
        steps = [
            (f"export AUDITWIRE_BOOTSTRAP_SERVERS={where.bootstrap}", ""),
            (f"auditwire tail{prefix} --from-beginning", "the same events again"),
            (f"auditwire topics list{prefix}", "what lies on the broker"),
        ]
    if embedded:
        steps.append(("auditwire demo --bootstrap localhost:9092", "uses a broker of yours"))
    steps.append(('AuditEmitter(KafkaCollector("localhost:9092"))', "in your agent: see README.md"))
    output.print()
    output.print(Text("Next", "bold"))
    for line in aligned([[Text(f"  {command}", "cyan"), Text(why, "dim")] for command, why in steps]):
        output.print(line)


def _serve(where: Connection) -> None:
    """Say where the broker is, and wait for Ctrl-C or SIGTERM."""
    remark(
        f"the broker stays open at {where.bootstrap}; Ctrl-C ends it, and its records with it", style="bold"
    )
    _wait()


def _wait() -> None:
    threading.Event().wait()
