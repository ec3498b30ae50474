"""What the commands write, and where: results to stdout, everything else to stderr.

A terminal gets colours and its width is kept to; a pipe or a file gets whole, plain lines. Text from events
is somebody else's: control characters in it are shown, never sent to the terminal.
"""

from __future__ import annotations

import json
import os
import sys
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any, NoReturn

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["ClosedPipe", "Output", "abandon_stdout", "hide", "printable", "remark", "without_secrets"]

_UNBOUNDED = 100_000
"""Columns of an output that is no terminal: lines are not folded."""

_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Never show this value: a password from the settings."""
    if secret:
        _secrets.add(secret)


def without_secrets(text: str) -> str:
    """The text with every hidden value replaced. Clients and brokers write messages that we do not know."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def printable(text: str) -> str:
    """The text on one line, with what is not printable as an escape, such as a backslash and ``x1b``.

    Events hold what models, tools and users wrote. Sent raw, it could move the cursor, set the window's title
    or hide other lines.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in " ".join(text.split()))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


class ClosedPipe(Exception):  # noqa: N818 - not an error: whoever read stdout has seen enough
    """Nobody reads stdout any more. Not a BrokenPipeError, which typer would answer itself, with status 1."""


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        """Of itself, rich would end the program with status 1 here."""
        raise ClosedPipe


class Output:
    """Standard output, for people or as JSON lines.

    Args:
        as_json: ``--json`` was given.

    Attributes:
        live: Whether stdout is a terminal that a person looks at now.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._stream: IO[str] = sys.stdout
        if isinstance(self._stream, TextIOWrapper):  # a terminal that is not UTF-8 gets escapes, no error
            self._stream.reconfigure(errors="backslashreplace")
        self.live = self._stream.isatty() and not as_json
        self.console = _Console(
            file=self._stream,
            highlight=False,
            markup=False,
            emoji=False,
            width=None if self.live else _UNBOUNDED,
        )

    @property
    def width(self) -> int | None:
        """Columns of the terminal, None when lines may be as long as they are."""
        return self.console.width if self.live else None

    def print(self, *what: RenderableType) -> None:
        """Write for people; nothing with ``--json``.

        Raises:
            ClosedPipe: Nobody reads it.
        """
        if self.as_json:
            return
        try:
            if what:
                self.console.print(*what, soft_wrap=not self.live)
            else:
                self.console.print()
            self._stream.flush()
        except BrokenPipeError:
            raise ClosedPipe from None

    def json(self, value: dict[str, Any]) -> None:
        """Write one line of JSON; nothing without ``--json``.

        Raises:
            ClosedPipe: Nobody reads it.
        """
        if not self.as_json:
            return
        try:
            self._stream.write(json.dumps(value, ensure_ascii=False) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise ClosedPipe from None


def remark(text: str, style: str = "dim") -> None:
    """Write a line for people on stderr, after the program's name; hidden values are left out."""
    line = f"auditwire: {without_secrets(printable(text))}"
    Console(stderr=True, highlight=False, markup=False, emoji=False).print(line, style=style, soft_wrap=True)


def abandon_stdout() -> None:
    """Let what is still buffered for stdout go nowhere, so that the interpreter's exit does not complain."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
