"""``auditwire show``: one session told for people, in the terminal, as JSON, or as a page."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from auditwire.cli.connection import Bootstrap, ConfigFile, Connection, Prefix, connection
from auditwire.cli.filters import Filters, Since, Until
from auditwire.cli.output import ClosedPipe, Output, remark
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from auditwire.sessions import Session, Trail

__all__ = ["show"]

NOTHING_FOUND = 4
_STDOUT = "-"

EPILOG = """\b
Examples:
  auditwire show support-4711 -b localhost:9092
  auditwire show support-4711 -b localhost:9092 --since 2h
  auditwire show support-4711 -b localhost:9092 --html support-4711.html
  auditwire show support-4711 -b localhost:9092 --json | jq '.session.findings[]'

\b
Exit status:
  0  the session was shown, and no stream that holds it is at fault
  1  it was shown, and a stream that holds it is at fault; or it could not be read
  2  wrong usage or settings
  4  nothing was found: no event has this session's id
"""


def show(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id, exactly.")],
    bootstrap: Bootstrap = None,
    since: Since = None,
    until: Until = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write the session as one page that needs nothing else; - writes it to stdout.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over the --html file.")] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="One JSON object: the session as a tree, and the verdict on its trail."),
    ] = False,
    verdict: Annotated[
        bool,
        typer.Option(
            "--verdict/--no-verdict",
            help="Check the streams that hold the session, which reads the trail once more; or do not.",
        ),
    ] = True,
    limit: Annotated[
        int,
        typer.Option("--limit", "-n", min=1, metavar="N", help="Keep this many events; count the others."),
    ] = 50_000,
    prefix: Prefix = "audit",
    config: ConfigFile = None,
) -> None:
    """Tell a session for people: its turns, tool calls, decisions and errors, and whether any is missing.

    All events with the session's id are put together: turns with those that they caused, each tool call with
    its outcome and what was decided about it, and what needs attention. At the end stands the verdict on the
    streams that hold the session. A trail is read from its beginning; --since and --until make that shorter.
    """
    if not session:
        raise ConfigurationError("SESSION", "it is empty; is a variable of the shell not set?")
    _check_page(html, force=force, as_json=as_json)
    from auditwire.cli.show_reading import judge_streams, read_session  # noqa: PLC0415 - --help needs no codec

    where = connection(bootstrap, prefix, config)
    filters = Filters.parse(since=since, until=until)
    found = read_session(where, session, filters, limit)
    if found is None:
        raise typer.Exit(NOTHING_FOUND)
    trail = judge_streams(where, found, filters, check=verdict)
    output = Output(as_json=as_json)
    output.json({"session": found.to_dict(), "trail": trail.to_dict()})
    if html is not None:
        _write_page(html, found, trail, where)
    elif not as_json:
        _print(output, found, trail)
    raise typer.Exit(1 if trail.standing == "fault" else 0)


def _check_page(path: Path | None, *, force: bool, as_json: bool) -> None:
    """Refuse a page that could not be written, before anything is read for it.

    Raises:
        ConfigurationError: It would be mixed with JSON, replace a file, or has no directory.
    """
    if path is None:
        return
    if str(path) == _STDOUT:
        if as_json:
            raise ConfigurationError("--html", "- and --json both write to stdout: name a file")
        return
    if not path.resolve().parent.is_dir():
        raise ConfigurationError("--html", f"the directory {path.resolve().parent} does not exist")
    if path.exists() and not force:
        raise ConfigurationError("--html", f"{path} is there already; --force writes over it")


def _print(output: Output, session: Session, trail: Trail) -> None:
    from auditwire.cli.show_text import session_lines, trail_lines  # noqa: PLC0415 - --help needs none of it

    for line in (*session_lines(session, output.width), *trail_lines(trail, output.width)):
        output.print(line)


def _write_page(path: Path, session: Session, trail: Trail, where: Connection) -> None:
    """The page, whole or not at all: a reader never sees half of it."""
    from auditwire.cli.show_html import page  # noqa: PLC0415 - --help needs none of it

    text = page(session, trail, where=f"{where.bootstrap}, topics {where.prefix}.*").encode()
    if str(path) == _STDOUT:
        try:
            sys.stdout.buffer.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise ClosedPipe from None
        return
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.resolve().parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    remark(f"{path}: {session.totals.events:,} events, {len(text) // 1024:,} KiB. {trail.sentence}")
