"""What the commands on a journal have in common: its path, their statuses, and how sizes and ages read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from auditwire.cli.output import remark
from auditwire.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.journal.layout import JournalPath

__all__ = [
    "DAMAGED",
    "NO_JOURNAL",
    "OK",
    "WAITING",
    "AnyTarget",
    "AsJson",
    "CreateTopics",
    "PathName",
    "age_text",
    "bytes_text",
    "count_text",
    "readable",
    "the_journal",
]

OK, DAMAGED, WAITING, NO_JOURNAL = 0, 1, 3, 4

_KIBI = 1024
_TIMES = ((86_400, "d"), (3_600, "h"), (60, "min"))

AsJson = Annotated[bool, typer.Option("--json", help="A JSON object a line.")]
PathName = Annotated[
    str, typer.Argument(metavar="PATH", envvar="AUDITWIRE_JOURNAL", help="The journal's directory.")
]
AnyTarget = Annotated[
    bool, typer.Option("--any-target", help="Deliver streams for other brokers and prefixes, too.")
]
CreateTopics = Annotated[
    bool,
    typer.Option(
        "--create-topics/--no-create-topics",
        envvar="AUDITWIRE_CREATE_TOPICS",
        help="Create topics that are not there.",
    ),
]


def the_journal(path: str) -> JournalPath:
    """The journal in a directory.

    Raises:
        typer.Exit: There is none; said on stderr.
        ConfigurationError: It may not be looked at.
    """
    from auditwire.journal.filesystem import REAL  # noqa: PLC0415 - --help needs no journal
    from auditwire.journal.inspection import open_path  # noqa: PLC0415 - as above

    with readable():
        journal = open_path(REAL, path)
    if journal is None:
        remark(f"there is no journal in {path}", style="red")
        raise typer.Exit(NO_JOURNAL)
    return journal


@contextmanager
def readable() -> Iterator[None]:
    """Reading a journal; what may not be read is wrong usage, and no damage.

    Raises:
        ConfigurationError: It may not be looked at.
    """
    try:
        yield
    except PermissionError as error:
        raise ConfigurationError("PATH", f"{error.filename} may not be read: {error.strerror}") from error


def bytes_text(count: float) -> str:
    """A size for people: ``1.5 MiB``."""
    if count < _KIBI:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= _KIBI
        if count < _KIBI:
            return f"{count:.1f} {unit}"
    return f"{count / _KIBI:,.1f} TiB"


def age_text(seconds: float) -> str:
    """An age for people: ``1.5 h``."""
    for size, unit in _TIMES:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def count_text(count: int, noun: str) -> str:
    """``1 record``, ``2,000 records``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
