from __future__ import annotations

import logging
import signal
import sys
import threading
from typing import TYPE_CHECKING, NoReturn

import pytest
import typer
from confluent_kafka import KafkaError, KafkaException
from typer.testing import CliRunner

from auditwire.cli import app as cli
from auditwire.cli.app import app, run
from auditwire.cli.output import ClosedPipe
from auditwire.errors import BrokerError, ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

COMMANDS = [["demo"], ["tail"], ["topics", "list"], ["topics", "create"], ["ship"]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes the next command raise what it is given."""

    def prepare(error: BaseException) -> None:
        def fail(**_: object) -> NoReturn:
            raise error

        monkeypatch.setattr(cli, "app", fail)

    return prepare


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    assert result.exit_code == 0
    assert f"auditwire {' '.join(command)} " in result.output.partition("xample")[2]
    assert "--json" in result.output


def test_help_names_the_commands_and_where_to_begin() -> None:
    result = CliRunner().invoke(app, ["-h"])
    assert result.exit_code == 0
    for word in ("demo", "tail", "topics", "Begin with: auditwire demo", "--install-completion"):
        assert word in result.output


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Begin with: auditwire demo" in capsys.readouterr().out


def test_topics_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics"]) == 0
    assert "create  Create the topics of all event types" in capsys.readouterr().out


def test_help_does_not_show_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITWIRE_BOOTSTRAP_SERVERS", "secret.internal:9092")
    result = CliRunner().invoke(app, ["tail", "--help"])
    assert "AUDITWIRE_BOOTSTRAP_SERVERS" in result.output.replace("\n", "")
    assert "secret.internal" not in result.output


def test_the_arguments_of_the_process_are_the_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["auditwire", "--version"])
    assert run() == 0
    assert capsys.readouterr().out.startswith("auditwire ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'; see auditwire --help"),
        (["tail", "--nope"], "; see auditwire tail --help"),
        (["tail", "--limit", "0"], "Invalid value for '--limit'"),
        (["tail"], "--bootstrap: no broker is named"),
        (["demo", "--serve", "--bootstrap", "h:1"], "--serve: there is no broker to keep open"),
        (["tail", "-b", "h:1", "--config", "/no/such/file"], "--config: /no/such/file cannot be read"),
        (["topics", "list", "-b", "h:1", "--prefix", "a b"], "--prefix: 'a b' cannot begin a topic's name"),
    ],
)
def test_wrong_usage_is_one_line_on_stderr_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["auditwire", *arguments])
    assert run() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("auditwire: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


KAFKA = KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigurationError("--x", "wrong"), 2, "--x: wrong"),
        (MissingExtraError("signing", "crypto"), 2, "pip install 'auditwire[crypto]'"),
        (BrokerError("no broker"), 1, "auditwire: no broker\n"),
        (KAFKA, 1, "(_ALL_BROKERS_DOWN)"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
        (ValueError("oops"), 1, "internal error: ValueError: oops (AUDITWIRE_DEBUG=1 shows the traceback)"),
        (typer.BadParameter("bad"), 2, "auditwire: Invalid value: bad\n"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    said: str,
) -> None:
    failing(error)
    assert run(["x"]) == status
    captured = capsys.readouterr().err
    assert said in captured
    assert captured.startswith("auditwire: ")
    assert captured.count("\n") == 1


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (SystemExit(143), 143),
        (SystemExit("words"), 1),
    ],
)
def test_an_end_that_is_asked_for_says_nothing(
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    end: BaseException,
    status: int,
) -> None:
    failing(end)
    assert run(["x"]) == status
    assert capsys.readouterr() == ("", "")


def test_a_closed_pipe_is_141(
    failing: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned: list[bool] = []
    monkeypatch.setattr(cli, "abandon_stdout", lambda: abandoned.append(True))
    failing(ClosedPipe())
    assert run(["x"]) == 141
    assert abandoned


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False), ("", False)])
def test_a_traceback_is_shown_to_who_asks_for_it(
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    shown: bool,
) -> None:
    monkeypatch.setenv("AUDITWIRE_DEBUG", value)
    failing(ValueError("oops"))
    assert run(["x"]) == 1
    assert ("Traceback" in capsys.readouterr().err) == shown


def test_the_librarys_warnings_become_lines_and_librdkafkas_do_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(**_: object) -> int:
        logging.getLogger("auditwire").warning("%d messages", 3)
        logging.getLogger("auditwire").info("not shown")
        logging.getLogger("auditwire.librdkafka").error("not shown")
        return 0

    monkeypatch.setattr(cli, "app", warn)
    before = list(logging.getLogger("auditwire").handlers)
    assert run([]) == 0
    assert capsys.readouterr().err == "auditwire: 3 messages\n"
    assert logging.getLogger("auditwire").handlers == before


def test_sigterm_is_answered_while_a_command_runs_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def mine(*_: object) -> None: ...

    def ended(**_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, mine)
    try:
        monkeypatch.setattr(cli, "app", ended)
        assert run([]) == 143
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_command_may_run_in_another_thread(capsys: pytest.CaptureFixture[str]) -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(run(["--version"])))
    thread.start()
    thread.join()
    assert statuses == [0]
