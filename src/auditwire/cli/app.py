"""The commands put together, and what their errors become: one line on stderr and an exit status.

====== =========================================================================
status when
====== =========================================================================
0      done
1      it failed: no broker, something refused, records lost, a stream at fault
2      wrong usage or settings, a missing extra
3, 4   where a command's help says so: something waits; there is nothing to look at
130    Ctrl-C (128 + SIGINT); 143 for SIGTERM
141    whoever read stdout went away (128 + SIGPIPE), as ``| head`` does
====== =========================================================================

``AUDITWIRE_DEBUG=1`` shows the traceback of whatever ended a command.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auditwire._version import __version__
from auditwire.cli import demo, forward, journal, replay, schemas, ship, show, tail, topics, verify
from auditwire.cli.output import ClosedPipe, abandon_stdout, remark, without_secrets
from auditwire.errors import AuditwireError, ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

__all__ = ["app", "run"]

OK, FAILED, USAGE, INTERRUPTED, CLOSED_PIPE, TERMINATED = 0, 1, 2, 130, 141, 143

app = typer.Typer(
    name="auditwire",
    help="What AI agents do, as an audit trail on Apache Kafka that can be checked for completeness.",
    epilog="Begin with: auditwire demo",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # paragraphs are filled anew, examples kept as they are, no boxes in a pipe
)
app.command("demo", epilog=demo.EPILOG)(demo.demo)
app.command("tail", epilog=tail.EPILOG)(tail.tail)
app.command("show", epilog=show.EPILOG)(show.show)
app.command("replay", epilog=replay.EPILOG)(replay.replay)
app.command("verify", epilog=verify.EPILOG)(verify.verify)
app.command("ship", epilog=ship.EPILOG)(ship.ship)
app.command("forward", epilog=forward.EPILOG)(forward.forward)
app.add_typer(topics.app, name="topics")
app.add_typer(schemas.app, name="schemas")
app.add_typer(journal.app, name="journal")

# typer has had click's exceptions in different places; of all of them this is the base
_UsageOrClickError = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"auditwire {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status. Never raises, whatever the command does.

    Args:
        arguments: Without the program's name; those of the process by default.
    """
    with _warnings_as_lines(), _sigterm_as_exit():
        try:
            status = _status(arguments)
            sys.stdout.flush()
        except (BrokenPipeError, ClosedPipe):
            abandon_stdout()
            status = CLOSED_PIPE
    return status


def _status(arguments: Sequence[str] | None) -> int:
    try:
        words = list(sys.argv[1:] if arguments is None else arguments)
        result = app(args=words, prog_name="auditwire", standalone_mode=False)
    except ClosedPipe:
        raise
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else FAILED
    except Exception as error:  # noqa: BLE001 - the end of the line: everything becomes a sentence
        return _explain(error)
    return result if isinstance(result, int) else OK


def _explain(error: Exception) -> int:
    if os.environ.get("AUDITWIRE_DEBUG", "") not in ("", "0"):
        sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
    if isinstance(error, _UsageOrClickError):
        context = getattr(error, "ctx", None)
        hint = "" if context is None else f"; see {context.command_path} --help"
        remark(f"{error.format_message().rstrip('.')}{hint}", style="red")  # type: ignore[attr-defined] # of ClickException
        return USAGE
    if isinstance(error, (ConfigurationError, MissingExtraError)):
        remark(str(error), style="red")
        return USAGE
    if isinstance(error, AuditwireError):
        remark(str(error), style="red")
        return FAILED
    remark(f"{_what(error)} (AUDITWIRE_DEBUG=1 shows the traceback)", style="red")
    return FAILED


def _what(error: Exception) -> str:
    """An error that is not ours, as a sentence. A KafkaException's KafkaError says it better than itself."""
    cause: Any = error.args[0] if error.args else None
    if hasattr(cause, "name") and hasattr(cause, "str"):
        return f"{cause.str()} ({cause.name()})"
    if isinstance(error, OSError):
        return str(error)
    return f"internal error: {type(error).__name__}: {error}"


class _LogLines(logging.Handler):
    """The library's warnings as lines on stderr, as the commands' own."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "auditwire.librdkafka":
            remark(record.getMessage(), style="yellow")


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    handler = _LogLines(logging.WARNING)
    logging.getLogger("auditwire").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("auditwire").removeHandler(handler)


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does: clients are closed and an embedded broker ends."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
