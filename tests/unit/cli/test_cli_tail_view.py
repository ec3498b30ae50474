from __future__ import annotations

import io
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from auditwire import events as ev
from auditwire.cli.output import Output
from auditwire.cli.tail_view import TailView, gap_text
from auditwire.reading import Gap
from support.stream_builder import STREAM, record_of

if TYPE_CHECKING:
    from collections.abc import Callable

TURN = ev.TurnStartEvent(session_id="s-1", turn_id="t", agent_id="planner", prompt_preview="go")
ERROR = ev.ErrorEvent(session_id="s-1", turn_id="t", agent_id="planner", error_type="E", error_message="no")
GAP = Gap(stream_id=STREAM, first=41, last=43, waited_s=30.2, reason="time")


class Terminal(io.TextIOWrapper):
    """A terminal that shows what was written, and is as wide as COLUMNS says."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding)

    def isatty(self) -> bool:
        return True

    def shown(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode(self.encoding)


@pytest.fixture
def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Terminal]:
    """Puts a terminal of 120 columns in the place of stdout."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    def place(encoding: str = "utf-8") -> Terminal:
        terminal = Terminal(encoding)
        monkeypatch.setattr(sys, "stdout", terminal)
        return terminal

    return place


def view(*, tree: bool, as_json: bool = False) -> TailView:
    return TailView(Output(as_json=as_json), tree=tree, session=True)


def test_a_tree_on_a_terminal_has_guide_lines_colours_and_no_header(
    open_terminal: Callable[..., Terminal],
) -> None:
    terminal, shown = open_terminal(), view(tree=True)
    shown.begin()
    shown.show(record_of(TURN, 0))
    shown.show(record_of(ERROR, 1))
    lines = terminal.shown().splitlines()
    assert len(lines) == 2
    assert "┌" in lines[0]
    assert "├" in lines[1]
    assert "\x1b[31m" in lines[1]  # red


def test_no_color_is_kept_to(open_terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal, shown = open_terminal(), view(tree=True)
    shown.show(record_of(TURN, 0))
    shown.show(record_of(ERROR, 1))
    shown.gap(GAP)
    codes = {
        number for code in re.findall(r"\x1b\[([\d;]*)m", terminal.shown()) for number in code.split(";")
    }
    assert codes == {"0", "1", "2"}  # bold and dim are no colours


def test_each_line_is_there_at_once(open_terminal: Callable[..., Terminal]) -> None:
    terminal, shown = open_terminal(), view(tree=True)
    for number, event in enumerate((TURN, ERROR)):
        shown.show(record_of(event, number))
        assert terminal.bytes.getvalue().count(b"\n") == number + 1


def test_a_terminal_that_is_not_utf_8_gets_ascii(open_terminal: Callable[..., Terminal]) -> None:
    terminal = open_terminal("latin-1")
    view(tree=True).show(record_of(TURN, 0))
    assert terminal.shown().isascii()
    assert "m/" in terminal.shown()


def test_columns_have_names_on_a_terminal_and_follow_its_width(
    open_terminal: Callable[..., Terminal], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, shown = open_terminal(), view(tree=False)
    shown.begin()
    shown.show(record_of(TURN, 0))
    assert "time" in terminal.shown().splitlines()[0]
    assert terminal.shown().count("planner") == 1
    monkeypatch.setattr(Output, "width", 40)
    shown.show(record_of(TURN, 0))
    assert terminal.shown().count("planner") == 1  # the agent gives way
    assert len(terminal.shown().splitlines()) == 4


def test_a_pipe_gets_lines_without_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view(tree=False)
    shown.begin()
    record = record_of(ERROR, 0)
    record.late = True
    shown.show(record)
    out = capsys.readouterr().out
    assert out.endswith("late · E: no\n")
    assert out.count("\n") == 1


def test_json_is_flat_and_gaps_are_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    shown = view(tree=True, as_json=True)
    shown.begin()
    shown.show(record_of(TURN, 7))
    shown.gap(GAP)
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["event_type"], found["sequence"], found["stream_id"]) == ("turn_start", 7, STREAM)
    assert (
        captured.err
        == f"auditwire: missing: 3 records, 41 to 43 of stream {STREAM}, did not come within 30 s\n"
    )


def test_a_gap_is_a_line_among_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    view(tree=False).gap(GAP)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == f"! missing: 3 records, 41 to 43 of stream {STREAM}, did not come within 30 s\n"


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        (Gap(STREAM, 5, 5, 30.0, "time"), "missing: record 5 of stream ... did not come within 30 s"),
        (
            Gap(STREAM, 0, 1_999, 0.0, "end"),
            "missing: 2,000 records, 0 to 1999 ... not on the broker up to the end",
        ),
        (Gap(STREAM, 5, 6, 1.0, "memory"), "did not come before memory was full of later ones"),
    ],
)
def test_a_gap_says_what_is_missing_and_why_it_was_given_up(gap: Gap, said: str) -> None:
    for part in said.split(" ... "):
        assert part in gap_text(gap)
