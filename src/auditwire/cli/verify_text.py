"""How a check of a trail reads in a terminal: a line a stream, its faults below it, a sentence at the end.

Where there are more streams than a person reads, those at fault are shown and the others are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from auditwire.cli.journal_path import count_text
from auditwire.cli.output import printable
from auditwire.verification.ranges import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.cli.output import Output
    from auditwire.verification.outcome import TrailReport
    from auditwire.verification.report import Fault, StreamReport
    from auditwire.verification.watch import Round

__all__ = ["FEW", "Printer", "round_line", "stream_lines", "summary_lines"]

FEW = 20
"""Streams that are all shown."""

_FEW_FAULTS = 10
_NAME = 36
_STYLES = {"complete": "green", "recovered": "green", "open": "yellow", "fault": "bold red"}
_RESULT_STYLES = {
    "complete": "green",
    "open": "yellow",
    "fault": "bold red",
    "nothing": "yellow",
    "failed": "red",
}


class Printer:
    """Prints the streams of one check as they are judged.

    Args:
        output: Where to.
        all_streams: Show every stream, and every fault.
    """

    def __init__(self, output: Output, *, all_streams: bool) -> None:
        self._output = output
        self._all = all_streams
        self._kept: list[StreamReport] | None = None if all_streams else []
        self._began = False

    def stream(self, report: StreamReport) -> None:
        """Print a stream, or keep it until it is known whether there are few."""
        if self._kept is None:
            if self._all or report.faults:
                self._print(report)
            return
        self._kept.append(report)
        if len(self._kept) > FEW:
            kept, self._kept = self._kept, None
            for one in kept:
                self.stream(one)

    def end(self) -> None:
        """Print what was kept."""
        for report in self._kept or ():
            self._print(report)
        self._kept = None

    def _print(self, report: StreamReport) -> None:
        if not self._began:
            self._began = True
            names = ("stream", "service", "first", "last", "records", "chkpts")
            self._output.print(_line(*names, Text("verdict"), "dim"))
        for line in stream_lines(report, all_faults=self._all):
            self._output.print(line)


def stream_lines(report: StreamReport, *, all_faults: bool = False) -> Iterator[Text]:
    """A stream: its line, its faults, what is not proven, and its notes."""
    yield _row(report)
    yield from _details(report, all_faults=all_faults)


def _line(
    name: str,
    service: str,
    first: str,
    last: str,
    records: str,
    checkpoints: str,
    verdict: Text,
    style: str = "",
) -> Text:
    text = f"{name:<{_NAME}}  {service:<16}  {first:>5}  {last:>11}  {records:>11}  {checkpoints:>6}  "
    return Text(text, style).append_text(verdict)


def _row(report: StreamReport) -> Text:
    verdict = Text(report.verdict, _STYLES[report.verdict])
    there = report.records > 0
    return _line(
        printable(report.stream_id),
        _short(report.service or "-", 16),
        str(report.first_sequence) if there else "-",
        f"{report.last_sequence:,}" if there else "-",
        f"{report.records:,}",
        f"{report.checkpoints:,}",
        verdict,
    )


def _short(text: str, width: int) -> str:
    text = printable(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def _details(report: StreamReport, *, all_faults: bool) -> Iterator[Text]:
    shown = report.faults if all_faults else report.faults[:_FEW_FAULTS]
    for fault in shown:
        yield from _fault_lines(fault)
    if (left := report.faults_total - len(shown)) > 0:
        hint = "" if all_faults else "; --all-streams shows more"
        yield Text(f"  and {count_text(left, 'more fault')}{hint}", "red")
    if report.verdict == "open":
        yield Text(f"  {'; '.join(_why_open(report))}", "yellow")
    for note in report.notes:
        yield Text(f"  {printable(note)}", "dim")


def _fault_lines(fault: Fault) -> Iterator[Text]:
    """A fault: what it is, where the record is, what was expected and what was found."""
    yield Text(f"  {fault.kind}: {printable(fault.message)}", "red")
    if fault.topic is not None:
        place = f"{printable(fault.topic)} [{fault.partition}] at offset {fault.offset}"
        yield Text(f"    record    {fault.sequence} on {place}")
    if fault.expected is not None:
        yield Text(f"    expected  {printable(fault.expected)}")
    if fault.found is not None:
        yield Text(f"    found     {printable(fault.found)}")


def _why_open(report: StreamReport) -> Iterator[str]:
    """Why nothing more is proven of a stream."""
    if not report.closed:
        yield "not closed" if report.recovered_to < 0 else "not closed, its journal was read afterwards"
    for name, verb in (
        ("awaited", "awaited"),
        ("withheld", "refused by the broker"),
        ("removed", "removed by retention or not read"),
        ("unaccounted", "not accounted for"),
        ("unproven", "listed by no checkpoint"),
    ):
        if count := report.counts.get(name, 0):
            where: list[tuple[int, int]] = (
                [(n, n) for n in report.withheld] if name == "withheld" else getattr(report, name)
            )
            more = ", ..." if len(where) > 1 else ""
            yield f"{count_text(count, 'record')} {verb} ({in_words(*where[0])}{more})"
    if report.absent_streams:
        yield f"{count_text(len(report.absent_streams), 'earlier stream')} absent"
    if report.first_sequence > 0 and not report.removed:
        yield f"begins with record {report.first_sequence}"


# -- the end ------------------------------------------------------------------------------------------------


def summary_lines(out: TrailReport) -> Iterator[Text]:
    """What a check comes to."""
    for fault in out.trail_faults:
        yield Text(printable(fault.message), "red")
    for name in out.compacted:
        yield Text(f"topic {name} is compacted: the broker removes records of it", "yellow")
    if out.undecodable:
        counts = ", ".join(f"{reason} {count:,}" for reason, count in out.undecodable.most_common())
        yield Text(f"messages that are no records: {counts}", "yellow" if out.doubtful else "dim")
    for note in out.notes:
        yield Text(printable(note), "yellow")
    if not out.streams:
        yield Text(f"nothing found: no stream under the prefix {out.prefix}", "bold yellow")
        return
    verdicts = ", ".join(
        f"{out.verdicts[name]:,} {name}"
        for name in ("complete", "recovered", "open", "fault")
        if out.verdicts[name]
    )
    style = {0: "bold green", 1: "bold red"}.get(out.exit_status, "bold yellow")
    yield Text(f"{_CONCLUSION[out.exit_status, out.sealed]}: ", style).append(
        f"{count_text(out.streams, 'stream')} ({verdicts}), {count_text(out.records, 'record')}",
        "not bold default",
    )


_CONCLUSION = {
    (0, False): "complete",
    (0, True): "complete up to the last checkpoints",
    (1, False): "at fault",
    (1, True): "at fault",
    (3, False): "nothing wrong, not provable to the end",
    (3, True): "nothing wrong, not provable to the last checkpoints",
    (4, False): "not everything could be read",
    (4, True): "not everything could be read",
}


def round_line(made: Round, time: str) -> Text:
    """A round of a watch in a line."""
    line = Text(f"{time}  round {made.number}: ").append(made.result, _RESULT_STYLES[made.result])
    report = made.report
    if report is None:
        return line.append(f": {printable(made.reason or '')}")
    verdicts = ", ".join(f"{count:,} {name}" for name, count in sorted(report.verdicts.items()))
    return line.append(
        f": {count_text(report.streams, 'stream')} ({verdicts or 'none'}), "
        f"{count_text(report.messages, 'message')} read in {made.seconds:.1f} s"
    )
