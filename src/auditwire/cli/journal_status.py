"""``auditwire journal status``: streams, their owners and senders, what waits, and what is wrong."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from auditwire.cli.journal_path import (
    DAMAGED,
    OK,
    WAITING,
    PathName,
    age_text,
    bytes_text,
    count_text,
    readable,
    the_journal,
)
from auditwire.cli.lines import aligned
from auditwire.cli.output import Output, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.journal.contents import Damage
    from auditwire.journal.inspection import JournalStatus, StreamStatus
    from auditwire.journal.layout import Target
    from auditwire.journal.withheld import Unread, Withheld

__all__ = ["EPILOG", "status"]

_SHOWN = 20
"""Lines of one kind of damage for people."""

EPILOG = """\b
Examples:
  auditwire journal status /var/lib/agent/audit
  auditwire journal status /var/lib/agent/audit --json | jq .pending_records
  auditwire journal status /var/lib/agent/audit --older-than 300 || alert
"""


def status(
    path: PathName,
    older_than: Annotated[
        float,
        typer.Option(
            "--older-than",
            min=0.0,
            metavar="SECONDS",
            help="Records of a stream whose oldest waits for less are no reason for status 3.",
        ),
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show the streams of a journal: who writes and sends them, what waits, and what is wrong.

    Takes as long with much as with little: it counts by the segments' headers. "check" reads everything.

    Exits with 0 when nothing waits and nothing is wrong, 3 when records wait or a topic takes none, 1 when a
    record is withheld or something is unreadable or damaged, and 4 when there is no journal.
    """
    from auditwire.journal.inspection import look  # noqa: PLC0415 - --help needs no journal

    output = Output(as_json=as_json)
    with readable():
        found = look(the_journal(path))
    now_us = time.time_ns() // 1000
    code = _verdict(found, now_us, older_than)
    output.json(_status_dict(found, now_us, code))
    if found.streams:
        names = (
            "stream", "service", "owner", "sender", "pending", "size", "oldest", "parked", "prefix", "broker",
        )  # fmt: skip
        rows = [[Text(name, "dim") for name in names], *(_cells(each, now_us) for each in found.streams)]
        for line in aligned(rows, right=(4, 5, 6, 7)):
            output.print(line)
        output.print()
    for text, style in _details(found):
        output.print(Text(printable(text), style))
    output.print(_summary(found))
    raise typer.Exit(code)


def _verdict(found: JournalStatus, now_us: int, older_than: float) -> int:
    if found.withheld or found.unread or any(stream.damage for stream in found.streams):
        return DAMAGED
    if any(stream.parked or _overdue(stream, now_us, older_than) for stream in found.streams):
        return WAITING
    return OK


def _overdue(stream: StreamStatus, now_us: int, older_than: float) -> bool:
    return bool(stream.pending_records) and (_oldest(stream, now_us) or 0.0) >= older_than


def _oldest(stream: StreamStatus, now_us: int) -> float | None:
    """Seconds since the oldest record that waits was made."""
    if stream.oldest_us is None:
        return None
    return max(0.0, (now_us - stream.oldest_us) / 1e6)  # the clock may have been put back since


def _status_dict(found: JournalStatus, now_us: int, code: int) -> dict[str, Any]:
    ages = [age for stream in found.streams if (age := _oldest(stream, now_us)) is not None]
    return {
        "path": found.path,
        "status": code,
        "used_bytes": found.used_bytes,
        "pending_records": sum(stream.pending_records for stream in found.streams),
        "pending_bytes": sum(stream.pending_bytes for stream in found.streams),
        "oldest_seconds": max(ages, default=None),
        "streams": [_stream_dict(stream, now_us) for stream in found.streams],
        "quarantined": [asdict(each) for each in found.withheld],
        "unreadable": [asdict(each) for each in found.unread],
        "ended": found.ended,
        "strangers": found.strangers,
    }


def _stream_dict(stream: StreamStatus, now_us: int) -> dict[str, Any]:
    out = asdict(stream)
    del out["oldest_us"]
    out["oldest_seconds"] = _oldest(stream, now_us)
    out["oldest_at"] = None if stream.oldest_us is None else _iso(stream.oldest_us)
    out["damage"] = [damage._asdict() for damage in stream.damage]
    return out


def _iso(microseconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(microseconds / 1e6, tz=timezone.utc).isoformat()
    except (ValueError, OverflowError, OSError):  # of a record that holds no time that there is
        return None


def _cells(stream: StreamStatus, now_us: int) -> list[Text]:
    age = _oldest(stream, now_us)
    owner = {True: Text("alive", "green"), False: Text("ended", "yellow"), None: Text("?", "red")}
    sender = {True: Text("yes", "green"), False: Text("no", "yellow"), None: Text("?", "red")}
    parked = sum(parked.records for parked in stream.parked)
    return [
        Text(stream.stream_id),
        Text(printable(stream.service) or "?"),
        owner[stream.owner_alive],
        sender[stream.served],
        Text(f"{stream.pending_records:,}", "yellow" if stream.pending_records else ""),
        Text(bytes_text(stream.pending_bytes) if stream.pending_records else ""),
        Text("" if age is None else age_text(age)),
        Text(f"{parked:,}" if stream.parked else "", "red"),
        *_target(stream.target),
    ]


def _target(target: Target | None) -> tuple[Text, Text]:
    if target is None:
        return Text("?", "red"), Text("?", "red")
    return Text(printable(target.prefix)), Text(printable(target.bootstrap) or "any", "dim")


def _details(found: JournalStatus) -> Iterable[tuple[str, str]]:
    """What somebody has to look at, a line each; of many the first ones."""
    for stream in found.streams:
        for parked in stream.parked:
            since = f" since {parked.since}" if parked.since else ""
            copied = f"{parked.records:,} copied, {bytes_text(parked.bytes)}"
            reason = parked.reason or "no reason is written down"
            where = f"topic {parked.topic} takes no records of stream {stream.stream_id}{since}"
            yield f"parked: {where}: {reason}; {copied}", "yellow"
        yield from _first([f"damaged: {_where(each)}: {each.reason}" for each in stream.damage])
        if stream.last_error:
            yield f"last error of the sender of stream {stream.stream_id}: {stream.last_error}", "dim"
    yield from _first([_withheld_text(each) for each in found.withheld])
    yield from _first([f"unreadable: {_where(each)}: {_said(each)}" for each in found.unread])
    if found.strangers:
        yield f"none of the journal's, and left alone: {', '.join(found.strangers)}", "dim"


def _where(each: Damage | Unread) -> str:
    return f"{each.file} of stream {each.stream_id}, bytes {each.start} to {each.end}"


def _withheld_text(each: Withheld) -> str:
    what = f"({each.event_type or '?'}, {bytes_text(each.size)}) for topic {each.topic or '?'}"
    return f"quarantined: record {each.sequence} of stream {each.stream_id} {what}: {_said(each)}"


def _said(each: Withheld | Unread) -> str:
    return f"{each.reason}, {each.at}" if each.reason else "its note cannot be read"


def _first(lines: list[str]) -> Iterable[tuple[str, str]]:
    for line in lines[:_SHOWN]:
        yield line, "red"
    if len(lines) > _SHOWN:
        yield f"and {len(lines) - _SHOWN:,} more; --json shows all", "red"


def _summary(found: JournalStatus) -> str:
    pending = sum(stream.pending_records for stream in found.streams)
    text = (
        f"{count_text(len(found.streams), 'stream')}, {count_text(pending, 'record')} pending, "
        f"{bytes_text(found.used_bytes)} used"
    )
    if found.ended:
        text += f", {len(found.ended)} delivered and not named by a later stream yet"
    return text
