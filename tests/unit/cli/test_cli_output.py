from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from auditwire.cli.output import ClosedPipe, Output, abandon_stdout, hide, printable, remark

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@given(st.text())
def test_text_of_events_sends_nothing_to_the_terminal_but_printable_characters(text: str) -> None:
    assert printable(text).isprintable()


def test_control_characters_are_shown_as_escapes_and_line_ends_as_spaces() -> None:
    assert printable("a\n b\tc") == "a b c"
    assert printable("\x1b]0;title\x07") == "\\x1b]0;title\\x07"
    assert printable("abc\u202edef") == "abc\\u202edef"
    assert printable("\ud800") == "\\ud800"


def test_lines_for_people_are_plain_and_whole_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output(as_json=False)
    assert (output.live, output.width) == (False, None)
    output.print(Text("x" * 500, "bold red"))
    output.print()
    output.json({"not": "shown"})
    assert capsys.readouterr().out == "x" * 500 + "\n\n"


def test_json_is_a_line_each_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.print("not shown")
    output.json({"a": "ä"})
    assert capsys.readouterr().out == '{"a": "ä"}\n'


def test_a_terminal_gets_colours_and_its_width_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "77")
    output = Output(as_json=False)
    assert (output.live, output.width) == (True, 77)
    output.print(Text("x", "red"))
    assert terminal.getvalue() == "\x1b[31mx\x1b[0m\n"


def test_json_on_a_terminal_is_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert not Output(as_json=True).live


@pytest.mark.parametrize("as_json", [True, False])
def test_a_closed_pipe_is_said_apart_from_other_errors(
    monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", Closed())
    output = Output(as_json=as_json)
    with pytest.raises(ClosedPipe):
        output.json({}) if as_json else output.print("x")


def test_a_pipe_that_closes_at_the_flush_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class ClosedAtFlush(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", ClosedAtFlush())
    with pytest.raises(ClosedPipe):
        Output(as_json=False).print("x")


def test_a_rich_that_does_not_look_for_closed_pipes_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BrokenPipeError

    output = Output(as_json=False)
    monkeypatch.setattr(output.console, "print", fail)
    with pytest.raises(ClosedPipe):
        output.print("x")


def test_a_remark_goes_to_stderr_with_the_programs_name(capsys: pytest.CaptureFixture[str]) -> None:
    hide("hunter2")
    hide("")
    remark("password hunter2\nis \x1b[31mwrong " + "x" * 200)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "auditwire: password *** is \\x1b[31mwrong " + "x" * 200 + "\n"


def test_what_was_buffered_for_a_closed_pipe_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    stream: Any = os.fdopen(write, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    stream.write(json.dumps({}))
    os.close(read)
    abandon_stdout()
    stream.close()  # would raise BrokenPipeError
