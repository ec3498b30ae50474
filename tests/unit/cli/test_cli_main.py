"""The console script as a process: statuses, signals, pipes, a missing extra."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from auditwire import AuditEmitter, KafkaCollector
from auditwire._version import __version__
from auditwire.cli import main

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from auditwire.testing import EmbeddedBroker

pytest_plugins = ["cli_support"]
pytestmark = pytest.mark.usefixtures("own_environment")

MAIN = "from auditwire.cli import main; main()"


def start(*arguments: str, code: str = MAIN, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("AUDITWIRE_")},
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            **environment,
        },
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def emit(broker: EmbeddedBroker, prefix: str, count: int = 1) -> None:
    with AuditEmitter(KafkaCollector(broker.bootstrap_servers, prefix=prefix, create_topics=False)) as audit:
        for number in range(count):
            audit.emit_error("E", f"number {number}")


def test_the_version_is_shown() -> None:
    assert finish(start("--version")) == (0, f"auditwire {__version__}\n", "")


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_named_with_the_pip_command(missing: str) -> None:
    block = f"import sys; sys.modules[{missing!r}] = None; "
    status, out, err = finish(start("demo", code=block + MAIN))
    assert (status, out) == (2, "")
    assert err == "auditwire: the command line needs optional packages: pip install 'auditwire[cli]'\n"


def test_a_broken_module_of_our_own_is_not_taken_for_a_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "auditwire.cli.app", None)
    with pytest.raises(ModuleNotFoundError, match="auditwire"):
        main()


def test_main_ends_with_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["auditwire", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"auditwire {__version__}\n"


@pytest.mark.parametrize("gone", [("typer",), ("auditwire.cli.app",)], ids=["extra", "interrupted"])
def test_main_answers_for_its_imports(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gone: tuple[str, ...]
) -> None:
    import builtins

    real = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name == "auditwire.cli.app":
            if gone == ("typer",):
                raise ModuleNotFoundError("No module named 'typer'", name="typer")
            raise KeyboardInterrupt
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == (2 if gone == ("typer",) else 130)
    assert ("pip install 'auditwire[cli]'" in capsys.readouterr().err) == (gone == ("typer",))


def test_ctrl_c_ends_tail_with_130_and_says_nothing(audit_broker: EmbeddedBroker, trail: str) -> None:
    emit(audit_broker, trail)
    process = start(
        "tail", "-b", audit_broker.bootstrap_servers, "--prefix", trail, "--from-beginning", "-t", "error"
    )
    assert process.stdout is not None
    assert "number 0" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert finish(process) == (130, "", "")


def test_ctrl_c_ends_a_demo_that_keeps_its_broker_open() -> None:
    process = start("demo", "--serve", "--json")
    assert process.stderr is not None
    assert "stays open at 127.0.0.1:" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process)
    assert (status, err) == (130, "")
    assert '"verdict": "complete"' in out


def test_ctrl_c_ends_a_demo_at_work() -> None:
    process = start("demo", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert (status, err) == (130, "")


@pytest.mark.parametrize("command", [["topics", "list"], ["topics", "create"], ["tail"]])
def test_ctrl_c_ends_a_command_that_waits_for_a_broker(
    command: list[str], silent_broker: socket.socket
) -> None:
    process = start(*command, "-b", f"127.0.0.1:{silent_broker.getsockname()[1]}")
    connection, _ = silent_broker.accept()
    process.send_signal(signal.SIGINT)
    status, _, err = finish(process)
    assert (status, err) == (130, "")
    connection.close()


def test_sigterm_ends_a_command_with_143(audit_broker: EmbeddedBroker, trail: str) -> None:
    emit(audit_broker, trail)
    process = start("tail", "-b", audit_broker.bootstrap_servers, "--prefix", trail, "--from-beginning")
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    status, _, err = finish(process)
    assert (status, err) == (143, "")


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["lines", "json"])
def test_a_closed_pipe_ends_a_command_in_silence(
    audit_broker: EmbeddedBroker, trail: str, as_json: list[str]
) -> None:
    emit(audit_broker, trail, 3000)  # more than a pipe holds
    process = start(
        "tail", "-b", audit_broker.bootstrap_servers, "--prefix", trail, "--from-beginning", *as_json
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(60) == 141
    process.stderr.close()


def test_a_terminal_that_is_not_utf_8_gets_escapes() -> None:
    status, out, err = finish(start("demo", PYTHONIOENCODING="ascii"))
    assert (status, err) == (0, "")
    assert "\\u2713 " in out


def test_a_password_is_shown_nowhere(tmp_path: Path) -> None:
    config = tmp_path / "client.properties"
    config.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.username=u\nsasl.password=hunter2\n"
        "ssl.key.password=hunter2\nssl.no.such.property=hunter2\n"
    )
    said = ""
    for command in (["tail"], ["topics", "list"], ["topics", "create"], ["demo"]):
        for ending in ([], ["--help"]):
            status, out, err = finish(
                start(*command, "-b", "localhost:1", "--config", str(config), *ending, AUDITWIRE_DEBUG="1")
            )
            said += out + err
            assert status == (0 if ending else 2)
    assert "ssl.no.such.property" in said
    assert "hunter2" not in said
