"""``auditwire schemas codegen``: the source that a process compiles, and what is said when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from auditwire import wire
from auditwire.cli.app import run
from auditwire.cli.schemas import complete_versions
from auditwire.events import ALL_TYPES, TurnStartEvent
from auditwire.wire import FastavroEncoder, Inexpressible, decode, decoder_source, encoder_source, schema_for
from support.wire_samples import STREAM, value_of

if TYPE_CHECKING:
    from auditwire.wire import Schema

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

Captured = pytest.CaptureFixture[str]


def codegen(capsys: Captured, *arguments: str) -> str:
    assert run(["schemas", "codegen", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize("event_type", ALL_TYPES)
def test_the_source_of_each_type_is_printed_as_it_is_compiled(event_type: str, capsys: Captured) -> None:
    assert codegen(capsys, event_type) == encoder_source(schema_for(event_type))
    assert codegen(capsys, event_type, "--decoder") == decoder_source(schema_for(event_type))


def test_a_type_may_be_named_as_its_topic_is(capsys: Captured) -> None:
    assert codegen(capsys, "tool-call-complete") == codegen(capsys, "tool_call_complete")


def test_what_is_printed_is_a_module_that_works(capsys: Captured) -> None:
    event = TurnStartEvent(prompt_preview="p")
    encoder: dict[str, Any] = {}
    exec(codegen(capsys, "turn_start"), encoder)
    head, tail, *_ = encoder["encode"](event, b"\x48" + STREAM.encode())
    assert (head, tail) == FastavroEncoder().encode(event, STREAM)
    decoder: dict[str, Any] = {}
    exec(codegen(capsys, "turn_start", "--decoder"), decoder)
    value = value_of(event)
    assert decoder["decode"](value, 10, "single-object") == decode(value)


def test_a_version_can_be_named(capsys: Captured) -> None:
    version = schema_for("turn_start").version
    assert codegen(capsys, "turn_start", "--version", version) == codegen(capsys, "turn_start")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["turn_strat"], "TYPE: turn_strat is no event type; did you mean turn_start"),
        (["zzz"], "TYPE: zzz is no event type; there are turn_start, turn_end, "),
        (["turn_start", "--version", "9"], "--version: no schema of turn_start came with 9; there is 0.1.0"),
        ([], "Missing argument 'TYPE'"),
    ],
)
def test_what_is_not_there_is_wrong_usage_and_says_what_is(
    arguments: list[str], said: str, capsys: Captured
) -> None:
    assert run(["schemas", "codegen", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


@pytest.mark.parametrize(("flag", "function"), [([], "encoder_source"), (["--decoder"], "decoder_source")])
def test_a_schema_without_a_source_is_a_failure_that_says_why(
    flag: list[str], function: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_schema: Schema) -> NoReturn:
        raise Inexpressible("no variable can have the name 'class'")

    monkeypatch.setattr(wire, function, refuse)
    assert run(["schemas", "codegen", "turn_start", *flag]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "no source is made of turn_start 0.1.0: no variable can have the name 'class'" in err


def test_help_has_examples_and_the_exit_status(capsys: Captured) -> None:
    text = codegen(capsys, "--help")
    assert "auditwire schemas codegen tool_call_complete" in text
    assert "Exits with 1" in text
    assert run(["schemas"]) == 0
    assert "codegen" in capsys.readouterr().out


def test_versions_are_completed() -> None:
    assert schema_for("turn_start").version in complete_versions("")
    assert complete_versions("no-release") == []
