from __future__ import annotations

import io
import sys
from contextlib import ExitStack
from itertools import count
from typing import Any

import pytest

from auditwire.cli.output import Output
from auditwire.cli.verify_progress import VerifyBar
from auditwire.cli.verify_text import FEW, Printer, round_line, stream_lines, summary_lines
from auditwire.verification.outcome import TrailReport
from auditwire.verification.report import Fault, StreamReport, Verdict
from auditwire.verification.watch import Round


def report(verdict: Verdict = "open", number: int = 1, **values: Any) -> StreamReport:
    told: dict[str, Any] = {"records": 9, "first_sequence": 0, "last_sequence": 8, **values}
    return StreamReport(stream_id=f"s-{number}", verdict=verdict, **told)


def lines(found: StreamReport, *, all_faults: bool = False) -> list[str]:
    return [line.plain for line in stream_lines(found, all_faults=all_faults)][1:]


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (report(), "not closed"),
        (report(recovered_to=8, recoveries=1), "not closed, its journal was read afterwards"),
        (report(closed=True, awaited=[(3, 3)], counts={"awaited": 1}), "1 record awaited (record 3)"),
        (
            report(closed=True, removed=[(0, 3), (5, 6)], counts={"removed": 6}),
            "6 records removed by retention or not read (records 0 to 3, ...)",
        ),
        (
            report(closed=True, withheld=[4], counts={"withheld": 1}),
            "1 record refused by the broker (record 4)",
        ),
        (report(closed=True, absent_streams=["s-0"]), "1 earlier stream absent"),
        (report(closed=True, first_sequence=4), "begins with record 4"),
    ],
)
def test_people_are_told_why_a_stream_is_open(found: StreamReport, why: str) -> None:
    assert lines(found) == [f"  {why}"]


def test_of_many_faults_of_a_stream_the_first_are_shown() -> None:
    found = report("fault")
    for number in range(1_200):
        found.add_fault(Fault(kind="missing", sequence=number, message=f"record {number} is missing"))
    shown = lines(found)
    assert len(shown) == 11
    assert shown[-1] == "  and 1,190 more faults; --all-streams shows more"
    shown = lines(found, all_faults=True)
    assert len(shown) == 1_001
    assert shown[-1] == "  and 200 more faults"


def test_what_comes_from_events_cannot_move_the_cursor() -> None:
    found = report("fault", service="evil\x1b[2J", notes=["a\x1bb"])
    found.stream_id = "s\x1b[2J"
    found.add_fault(
        Fault(kind="placement", sequence=1, message="key\x1b", topic="t\x1b", expected="e\x1b", found="f\x1b")
    )
    text = "\n".join(line.plain for line in stream_lines(found))
    assert "\x1b" not in text
    assert text.count("\\x1b") == 7


def test_a_stream_without_records_has_no_numbers() -> None:
    (row,) = (line.plain for line in stream_lines(report("complete", records=0, first_sequence=-1)))
    assert row.split() == ["s-1", "-", "-", "-", "0", "0", "complete"]


@pytest.mark.parametrize("number", [FEW, FEW + 1])
def test_few_streams_are_all_shown_and_of_many_those_at_fault(
    capsys: pytest.CaptureFixture[str], number: int
) -> None:
    printer = Printer(Output(as_json=False), all_streams=False)
    for one in range(number):
        found = report("complete", one)
        if one in (0, number - 1):
            found.add_fault(Fault(kind="missing", sequence=1, message="gone"))
        printer.stream(found)
    printer.end()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("s-")]
    assert len(rows) == (FEW if number == FEW else 2)


@pytest.mark.parametrize(
    ("values", "verdicts", "sealed", "said"),
    [
        ({}, ["complete"], False, "complete: 1 stream (1 complete), 9 records"),
        ({}, ["open"], False, "nothing wrong, not provable to the end: 1 stream (1 open), 9 records"),
        (
            {"compacted": ["t"]},
            ["open", "recovered"],
            True,
            "not everything could be read: 2 streams (1 recovered, 1 open), 18 records",
        ),
    ],
)
def test_the_last_line_says_what_it_comes_to(
    values: dict[str, Any], verdicts: list[Verdict], sealed: bool, said: str
) -> None:
    out = TrailReport(prefix="audit", sealed=sealed, **values)
    for verdict in verdicts:
        out.add(report(verdict))
    assert [line.plain for line in summary_lines(out)][-1] == said


def test_a_round_that_failed_says_why() -> None:
    made = Round(number=3, began=0.0, seconds=1.0, result="failed", reason="no\nbroker")
    assert round_line(made, "12:00:00").plain == "12:00:00  round 3: failed: no broker"


# -- the bar ------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_says_how_far_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    ticks = count()
    with ExitStack() as stack:
        bar = VerifyBar(stack, clock=lambda: float(next(ticks)))
        bar.show("reading", 0, 10_000)
        bar.show("reading", 5_000, 10_000)
        bar.show("judging", 7, None)
    written = terminal.getvalue()
    for part in ("reading", "50%", "5,000 messages", "5,000/s", "judging", "7 streams"):
        assert part in written


def test_without_a_terminal_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        VerifyBar(stack).show("reading", 1, 2)
    assert capsys.readouterr().err == ""
