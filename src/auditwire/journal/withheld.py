"""What ``quarantine/`` holds: records that the broker refuses for good, and bytes that are no records.

::

    quarantine/<stream id>/
      <sequence>.avro                   the value as it would have stood on its topic: framing and body
      <sequence>.json                   topic, type, key (base64), digest, size, reason, at
      <segment>-<start>-<end>.bytes     bytes of a segment in which no record could be read
      <segment>-<start>-<end>.json      reason, at; the name of both begins with ``parked-`` for a parked copy

The files are for people: nothing reads them but ``auditwire journal``, and nothing removes them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auditwire.journal.trees import names, read_json

if TYPE_CHECKING:
    from auditwire.journal.layout import JournalPath

__all__ = ["Unread", "Withheld", "text_of", "unread_ranges", "withheld_records"]

_WITHHELD = re.compile(r"(0|[1-9][0-9]{0,18})\.(?:avro|json)")
_UNREAD = re.compile(r"(?:parked-)?([0-9]{1,10})-([0-9]{1,10})-([0-9]{1,10})\.(?:bytes|json)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A record in ``quarantine/``: the broker refuses it for good.

    Attributes:
        stream_id: Its stream.
        sequence: Its number there.
        path: The file with its value, as it would have stood on the topic.
        event_type: Its type; this and what follows is empty, or 0, when the note beside it cannot be read.
        topic: The topic that refused it.
        key: Its key, base64.
        digest: SHA-256 of its Avro body, hexadecimal.
        size: Bytes of that body.
        reason: The broker's error.
        at: When, ISO-8601.
    """

    stream_id: str
    sequence: int
    path: str
    event_type: str = ""
    topic: str = ""
    key: str = ""
    digest: str = ""
    size: int = 0
    reason: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """Bytes of a segment in which no record could be read, kept in ``quarantine/``.

    Attributes:
        stream_id: The stream.
        file: The segment, in the stream's directory: ``00000002.seg``, ``parked/00000000.seg``.
        start: The first of the bytes.
        end: The one behind the last.
        path: The file with them.
        reason: What was wrong; empty when the note beside it cannot be read.
        at: When that was found, ISO-8601.
    """

    stream_id: str
    file: str
    start: int
    end: int
    path: str
    reason: str = ""
    at: str = ""


def withheld_records(journal: JournalPath) -> list[Withheld]:
    """The records in ``quarantine/``, by stream and sequence."""
    found: dict[tuple[str, int], Withheld] = {}
    for stream_id, folder, name in _quarantined(journal):
        match = _WITHHELD.fullmatch(name)
        if match is None or (stream_id, int(match[1])) in found:
            continue
        note = read_json(journal.fs, f"{folder}/{match[1]}.json") or {}
        size = note.get("size")
        found[stream_id, int(match[1])] = Withheld(
            stream_id=stream_id,
            sequence=int(match[1]),
            path=f"{folder}/{match[1]}.avro",
            event_type=text_of(note, "type"),
            topic=text_of(note, "topic"),
            key=text_of(note, "key"),
            digest=text_of(note, "digest"),
            size=size if isinstance(size, int) else 0,
            reason=text_of(note, "reason"),
            at=text_of(note, "at"),
        )
    return [found[key] for key in sorted(found)]


def unread_ranges(journal: JournalPath) -> list[Unread]:
    """The unreadable ranges in ``quarantine/``, by stream, file and offset."""
    found: dict[tuple[str, str, int], Unread] = {}
    for stream_id, folder, name in _quarantined(journal):
        match = _UNREAD.fullmatch(name)
        if match is None:
            continue
        stem = name.rpartition(".")[0]
        segment, start, end = (int(part) for part in match.groups())
        note = read_json(journal.fs, f"{folder}/{stem}.json") or {}
        file = f"{'parked/' if name.startswith('parked-') else ''}{segment:08d}.seg"
        found[stream_id, stem, start] = Unread(
            stream_id=stream_id,
            file=file,
            start=start,
            end=end,
            path=f"{folder}/{stem}.bytes",
            reason=text_of(note, "reason"),
            at=text_of(note, "at"),
        )
    return [found[key] for key in sorted(found)]


def _quarantined(journal: JournalPath) -> list[tuple[str, str, str]]:
    """Stream, directory and name of each file in ``quarantine/``."""
    found = []
    for stream_id in sorted(names(journal.fs, f"{journal.path}/quarantine")):
        folder = f"{journal.path}/quarantine/{stream_id}"
        with suppress(NotADirectoryError):
            found += [(stream_id, folder, name) for name in names(journal.fs, folder)]
    return found


def text_of(source: Any, name: str) -> str:
    """A text in a JSON object; empty where it has none, or is none itself."""
    value = source.get(name) if isinstance(source, dict) else None
    return value if isinstance(value, str) else ""
