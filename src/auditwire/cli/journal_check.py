"""``auditwire journal check``: every record read, every checksum looked at."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from auditwire.cli.journal_path import (
    DAMAGED,
    OK,
    AsJson,
    PathName,
    bytes_text,
    count_text,
    readable,
    the_journal,
)
from auditwire.cli.output import Output, printable, remark
from auditwire.cli.progress import Bar

if TYPE_CHECKING:
    from auditwire.journal.contents import Damage
    from auditwire.journal.directory import StreamDirectory
    from auditwire.journal.filesystem import FileSystem

__all__ = ["EPILOG", "check"]

EPILOG = """\b
Example:
  auditwire journal check /var/lib/agent/audit
"""


def check(path: PathName, as_json: AsJson = False) -> None:
    """Read every record of a journal and check its checksum; say which bytes are damaged.

    Changes nothing. Exits with 0 when all of it can be read, 1 on damage, and 4 when there is no journal.
    """
    from auditwire.journal.contents import size_of  # noqa: PLC0415 - --help needs no journal

    output = Output(as_json=as_json)
    journal = the_journal(path)
    streams = [journal.open_stream(stream_id) for stream_id in journal.streams()]
    checked = [_Checked(stream.stream_id) for stream in streams]
    with readable(), ExitStack() as stack:
        bar = Bar(stack, "checking", sum(size_of(journal.fs, stream) for stream in streams), "bytes")
        for stream, one in zip(streams, checked, strict=True):
            one.read(journal.fs, stream, bar)
    for one in checked:
        output.json(one.to_dict())
        output.print(Text(one.line(), "red" if one.damage else ""))
        for damage in one.damage:
            where = f"{damage.file}, bytes {damage.start} to {damage.end}"
            output.print(Text(f"  {where}: {printable(damage.reason)}", "red"))
    if not checked:
        remark("there is no stream in it")
    raise typer.Exit(DAMAGED if any(one.damage for one in checked) else OK)


@dataclass
class _Checked:
    """What was read of one stream.

    Attributes:
        stream_id: The stream.
        alive: Whether its owner lives: it goes on, and only what was there is checked.
        records: How many, parked copies not counted.
        parked: The copies.
        size: Bytes of both.
        first: The lowest sequence; None where there is no record.
        last: The highest one.
        damage: What cannot be read.
    """

    stream_id: str
    alive: bool = False
    records: int = 0
    parked: int = 0
    size: int = 0
    first: int | None = None
    last: int | None = None
    damage: list[Damage] = field(default_factory=list)

    def read(self, fs: FileSystem, stream: StreamDirectory, bar: Bar) -> None:
        from auditwire.journal.contents import Damage, read_parked, read_stream  # noqa: PLC0415 - see check
        from auditwire.journal.inspection import held  # noqa: PLC0415 - see check

        self.alive = held(stream.owner_alive) is not False
        for found in read_stream(fs, stream, alive=self.alive, progress=bar.add):
            if isinstance(found, Damage):
                self.damage.append(found)
                continue
            self.records += 1
            self.size += found.size
            self.first = found.sequence if self.first is None else min(self.first, found.sequence)
            self.last = found.sequence if self.last is None else max(self.last, found.sequence)
        sent = held(stream.sent) is not False
        for found in read_parked(fs, stream, alive=sent, progress=bar.add):
            if isinstance(found, Damage):
                self.damage.append(found)
            else:
                self.parked += 1
                self.size += found.size

    def to_dict(self) -> dict[str, Any]:
        return {
            "stream_id": self.stream_id,
            "owner_alive": self.alive,
            "records": self.records,
            "parked_copies": self.parked,
            "bytes": self.size,
            "first_sequence": self.first,
            "last_sequence": self.last,
            "damage": [damage._asdict() for damage in self.damage],
        }

    def line(self) -> str:
        text = f"stream {self.stream_id}: {count_text(self.records, 'record')}"
        if self.records:
            text += f" ({self.first} to {self.last})"
        if self.parked:
            text += f", {count_text(self.parked, 'parked copy').replace('copys', 'copies')}"
        text += f", {bytes_text(self.size)}"
        if self.alive:
            text += ", still written"
        return text + (f": {count_text(len(self.damage), 'damaged place')}" if self.damage else ": whole")
