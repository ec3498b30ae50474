"""What ``tail`` writes: JSON lines, a line for each event, or turns as a tree; at once, and never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from auditwire.cli.lines import Lines, record_dict
from auditwire.cli.output import remark
from auditwire.cli.turn_lines import TurnLines
from auditwire.cli.turns import OpenTurns

if TYPE_CHECKING:
    from auditwire.cli.output import Output
    from auditwire.reading import Gap, Record

__all__ = ["TailView"]


class TailView:
    """Shows records and gaps.

    Args:
        output: Where they go; ``--json`` is its.
        tree: Show turns as a tree, not a line for each event that looks the same wherever it belongs.
        session: Show which session an event is of.
    """

    def __init__(self, output: Output, *, tree: bool, session: bool) -> None:
        self._output = output
        self._session = session
        self._turns = OpenTurns() if tree and not output.as_json else None
        self._tree = TurnLines(session=session, ascii_only=output.console.options.ascii_only)
        self._width = output.width
        self._flat = Lines(self._width, session=session)

    def begin(self) -> None:
        """On a terminal, the names of columns; a tree has none."""
        if self._output.live and self._turns is None:
            self._output.print(self._flat.header())
            self._output.print(self._flat.rule())

    def show(self, record: Record) -> None:
        """Show a record.

        Raises:
            ClosedPipe: Nobody reads it.
        """
        if self._output.as_json:
            self._output.json(record_dict(record))
        elif self._turns is None:
            self._output.print(self._lines().row(record.event, late=record.late))
        else:
            for step in self._turns.place(record):
                for line in self._tree.lines(step, self._output.width):
                    self._output.print(line)

    def gap(self, gap: Gap) -> None:
        """Say that records are missing: among the others, or with ``--json`` on stderr.

        Raises:
            ClosedPipe: Nobody reads it.
        """
        said = gap_text(gap)
        if self._output.as_json:
            remark(said, style="red")
        else:
            self._output.print(Text(f"! {said}", "red"))

    def _lines(self) -> Lines:
        """The columns for the terminal as wide as it is now."""
        if self._output.width != self._width:
            self._width = self._output.width
            self._flat = Lines(self._width, session=self._session)
        return self._flat


def gap_text(gap: Gap) -> str:
    """What is missing and how long it was waited for, as a sentence without its end."""
    count = gap.last - gap.first + 1
    which = f"record {gap.first}" if count == 1 else f"{count:,} records, {gap.first} to {gap.last}"
    why = {
        "time": f"did not come within {gap.waited_s:.0f} s",
        "memory": "did not come before memory was full of later ones",
        "end": "not on the broker up to the end",
    }[gap.reason]
    return f"missing: {which} of stream {gap.stream_id}, {why}"
