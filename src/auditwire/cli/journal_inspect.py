"""``auditwire journal inspect``: the records that lie in a journal, as ``tail`` shows those on the topics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from auditwire.cli.journal_path import DAMAGED, OK, AsJson, PathName, readable, the_journal
from auditwire.cli.lines import Lines
from auditwire.cli.output import Output, printable
from auditwire.errors import ConfigurationError, DecodingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.journal.base import Record
    from auditwire.journal.contents import Damage
    from auditwire.journal.layout import JournalPath
    from auditwire.journal.withheld import Unread, Withheld

__all__ = ["EPILOG", "inspect"]

_HEAD = 64
"""Bytes of an unreadable range that are shown."""

EPILOG = """\b
Examples:
  auditwire journal inspect /var/lib/agent/audit
  auditwire journal inspect /var/lib/agent/audit 019a2f --pending --limit 20
  auditwire journal inspect /var/lib/agent/audit --quarantined --json
"""


def inspect(
    path: PathName,
    stream: Annotated[
        str, typer.Argument(metavar="[STREAM]", help="Only this stream; the beginning of its id is enough.")
    ] = "",
    pending: Annotated[
        bool, typer.Option("--pending", help="Only records that the broker has not acknowledged.")
    ] = False,
    parked: Annotated[
        bool, typer.Option("--parked", help="The copies of records whose topics take none.")
    ] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="The records that the broker refuses for good.")
    ] = False,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="The bytes in which no record could be read.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, metavar="N", help="End after this many.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the records that lie in a journal, oldest stream first; those delivered stay for a while.

    Of a stream that is written, what is there now. Exits with 1 when something that was to be shown could not
    be read, and with 4 when there is no journal.
    """
    if sum((pending, parked, quarantined, unreadable)) > 1:
        raise ConfigurationError(
            "--pending", "of --pending, --parked, --quarantined, --unreadable one at most"
        )
    output = Output(as_json=as_json)
    show = _Shown(output, limit)
    journal = the_journal(path)
    with readable():
        if quarantined:
            show.withheld(journal, stream)
        elif unreadable:
            show.unread(journal, stream)
        else:
            show.records(_records(journal, stream, parked=parked, pending=pending))
    raise typer.Exit(DAMAGED if show.failed else OK)


def _records(
    journal: JournalPath, stream: str, *, parked: bool, pending: bool
) -> Iterator[tuple[str, Record | Damage]]:
    """Stream and what lies in its files."""
    from auditwire.journal.base import Record  # noqa: PLC0415 - --help needs no journal
    from auditwire.journal.contents import read_parked, read_stream  # noqa: PLC0415 - as above
    from auditwire.journal.inspection import held, position_of  # noqa: PLC0415 - as above

    for stream_id in _named(journal.streams(), stream):
        directory = journal.open_stream(stream_id)
        if parked:
            sent = held(directory.sent) is not False
            found = read_parked(journal.fs, directory, alive=sent)
        else:
            found = read_stream(journal.fs, directory, alive=held(directory.owner_alive) is not False)
        position = position_of(journal.fs, directory) if pending else None
        low = 0 if position is None else position.low
        for each in found:
            if not isinstance(each, Record) or each.sequence >= low:
                yield stream_id, each


def _named(streams: list[str], beginning: str) -> list[str]:
    """Those that are meant.

    Raises:
        ConfigurationError: None of them begins so.
    """
    found = [stream_id for stream_id in streams if stream_id.startswith(beginning)]
    if beginning and not found:
        raise ConfigurationError("STREAM", f"no stream here begins with {beginning}")
    return found


class _Shown:
    """Puts them out, one by one; whatever the bytes are."""

    def __init__(self, output: Output, limit: int | None) -> None:
        self.failed = False
        self._output = output
        self._limit = limit
        self._count = 0
        self._lines = Lines(output.width, session=True)
        if output.live:
            output.print(self._lines.header())
            output.print(self._lines.rule())

    @property
    def _done(self) -> bool:
        return self._count == self._limit

    def records(self, found: Iterator[tuple[str, Record | Damage]]) -> None:
        from auditwire.journal.base import Record  # noqa: PLC0415 - see _records
        from auditwire.journal.contents import place_of  # noqa: PLC0415 - see _records
        from auditwire.wire import frame_single_object  # noqa: PLC0415 - see _records

        for stream_id, each in found:
            if isinstance(each, Record):
                value = frame_single_object(each.fingerprint, each.body)
                self._value(value, each.event_type, _place(stream_id, each, *place_of(each)))
            else:
                self._failed(each._asdict(), f"{each.file}, bytes {each.start} to {each.end}: {each.reason}")
            if self._done:
                return

    def withheld(self, journal: JournalPath, stream: str) -> None:
        from auditwire.journal.withheld import withheld_records  # noqa: PLC0415 - see _records

        for each in withheld_records(journal):
            if each.stream_id.startswith(stream) and not self._done:
                self._withheld(journal, each)

    def _withheld(self, journal: JournalPath, each: Withheld) -> None:
        place = {
            "stream_id": each.stream_id,
            "sequence": each.sequence,
            "topic": each.topic,
            # apart: events have a reason, too
            "quarantine": {name: getattr(each, name) for name in ("reason", "at", "digest", "key", "path")},
        }
        try:
            value = _bytes_of(journal, each.path)
        except OSError as error:
            self._failed(place, f"record {each.sequence} of stream {each.stream_id}: {error}")
            return
        self._value(value, each.event_type, place, note=f"{each.reason} by {each.topic} at {each.at}")

    def unread(self, journal: JournalPath, stream: str) -> None:
        from auditwire.journal.withheld import unread_ranges  # noqa: PLC0415 - see _records

        for each in unread_ranges(journal):
            if each.stream_id.startswith(stream) and not self._done:
                self._unread(journal, each)

    def _unread(self, journal: JournalPath, each: Unread) -> None:
        place = {name: getattr(each, name) for name in each.__slots__}
        where = f"{each.file} of stream {each.stream_id}, bytes {each.start} to {each.end}"
        try:
            head = _bytes_of(journal, each.path, _HEAD)
        except OSError as error:
            self._failed(place, f"{where}: {error}")
            return
        self._count += 1
        self._output.json({**place, "head": head.hex()})
        self._output.print(Text(printable(f"{where}: {each.reason}, {each.at}; kept in {each.path}"), "red"))
        self._output.print(Text(f"  {head.hex(' ', 8)}", "dim"))

    def _value(self, value: bytes, event_type: str, place: dict[str, Any], note: str = "") -> None:
        from auditwire.wire import decode  # noqa: PLC0415 - see _records

        try:
            event = decode(value, event_type=event_type or None).event
            row = self._lines.row(event)
            fields = event.to_dict()
        except (DecodingError, ValueError, OverflowError) as error:  # a time that no calendar has, too
            size = f"{len(value)} bytes of type {event_type or '?'}"
            self._failed(place, f"record {place['sequence']} of stream {place['stream_id']}, {size}: {error}")
            return
        self._count += 1
        if "topic" in fields:  # of a quarantine event: the one that refused the record
            fields["quarantined_topic"] = fields.pop("topic")
        self._output.json({**fields, **place})
        self._output.print(row)
        if note:
            self._output.print(Text(f"  {printable(note)}", "red"))

    def _failed(self, place: dict[str, Any], text: str) -> None:
        self.failed = True
        self._count += 1
        self._output.json({**place, "error": text})
        self._output.print(Text(printable(text), "red"))


def _place(stream_id: str, record: Record, file: str, offset: int) -> dict[str, Any]:
    return {
        "stream_id": stream_id,
        "sequence": record.sequence,
        "topic": record.topic,
        "file": file,
        "offset": offset,
    }


def _bytes_of(journal: JournalPath, path: str, count: int = 64 << 20) -> bytes:
    file = journal.fs.open(path, writable=False)
    try:
        return file.read(0, count)
    finally:
        file.close()
