"""Journals as files, without anybody who writes or sends them: what a test wants to lie there."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

from auditwire.events import ErrorEvent
from auditwire.ids import uuid7
from auditwire.journal.cursor import Cursor
from auditwire.journal.drafter import Drafter
from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from auditwire.journal.segment import Segment, pack
from auditwire.journal.target import Target
from auditwire.wire import FastavroEncoder, frame_single_object, join_body, schema_for

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.events import AuditEvent
    from auditwire.journal.filesystem import FileSystem
    from auditwire.journal.locks import Lock

TARGET = Target("broker:9092", "audit")
SIZE = 1 << 14


class JournalFiles:
    """A journal path on which streams are made as a dead process left them."""

    def __init__(self, path: Path, fs: FileSystem = REAL) -> None:
        self.path = path
        self.journal = JournalPath(fs, str(path))

    def stream(self, *, target: Target = TARGET, service: str = "support-bot", **info: Any) -> StreamFiles:
        """A stream whose owner lives, that is: whose lock this process holds, until ``end``."""
        return StreamFiles(self.journal, target, {"service": service, **info})


class StreamFiles:
    """The files of one stream."""

    def __init__(self, journal: JournalPath, target: Target, info: dict[str, Any]) -> None:
        self.stream_id = uuid7()
        self.journal = journal
        self.info = {
            "stream": self.stream_id,
            "target": target.info(),
            "host": "h-1",
            "pid": 7,
            "created": "2026-01-02T03:04:05+00:00",
            **info,
        }
        self.directory = journal.create_stream(self.stream_id, self.info)
        self.sequence = 0
        self.sender: Lock | None = None
        self._drafter = Drafter(self.stream_id, FastavroEncoder(), target.prefix)
        self._offsets: dict[str, int] = {}

    def end(self) -> StreamFiles:
        """Its owner is gone."""
        assert self.directory.owner is not None
        self.directory.owner.release()
        return self

    def serve(self) -> StreamFiles:
        """Somebody sends it."""
        self.sender = self.directory.take_sender()
        assert self.sender is not None
        return self

    def write(self, *events: AuditEvent, file: str = "00000000.seg", seal: bool = False) -> StreamFiles:
        """Records into a segment, which is made when there is none; ``parked/`` files are marked so."""
        path = f"{self.directory.path}/{file}"
        parked = file.startswith("parked/")
        if parked:
            self.journal.make_directory(self.directory.parked_path)
        if file in self._offsets:
            segment = Segment.open(self.journal.fs, path, writable=True)
        else:
            number = int(file.rpartition("/")[2][:8])
            segment = Segment.create(
                self.journal.fs,
                path,
                stream_id=self.stream_id,
                number=number,
                first_sequence=self.sequence,
                info=self.info,
                size=SIZE,
                parked=parked,
            )
        offset = self._offsets.get(file, segment.start)
        for event in events:
            draft = self._drafter.draft(event)
            payload = pack(draft, self.sequence, schema_for(draft.event_type).fingerprint)
            offset = segment.store(offset, payload)
            self.sequence += 1
        if seal:
            segment.seal(offset)
        self._offsets[file] = offset
        segment.close()
        return self

    def errors(self, count: int, *, file: str = "00000000.seg", seal: bool = False) -> StreamFiles:
        """So many error events."""
        events = [
            ErrorEvent(error_type="E", error_message=f"number {self.sequence + i}") for i in range(count)
        ]
        return self.write(*events, file=file, seal=seal)

    def end_of(self, file: str) -> int:
        """The offset behind a file's last record."""
        return self._offsets[file]

    def segment(self, file: str) -> Segment:
        """A file, open to be written by the test itself."""
        return Segment.open(self.journal.fs, f"{self.directory.path}/{file}", writable=True)

    def cursor(self, low: int, listed: int | None = None, segment: int = 0) -> StreamFiles:
        """How far it is delivered."""
        cursor = Cursor.open(self.journal.fs, self.directory.cursor_path, writable=True)
        cursor.write(low, low if listed is None else listed, segment)
        cursor.close()
        return self

    def damage(self, file: str, offset: int, data: bytes) -> StreamFiles:
        """Write over what is there."""
        opened = self.journal.fs.open(f"{self.directory.path}/{file}")
        opened.write(offset, data)
        opened.close()
        return self

    def quarantine(self, event: AuditEvent, reason: str = "MSG_SIZE_TOO_LARGE") -> StreamFiles:
        """A record that the broker refused for good."""
        draft = self._drafter.draft(event)
        body = join_body(draft.head, self.sequence, draft.tail)
        note = {
            "topic": draft.topic,
            "type": draft.event_type,
            "key": base64.b64encode(draft.key).decode(),
            "digest": hashlib.sha256(body).hexdigest(),
            "size": len(body),
            "reason": reason,
            "at": "2026-01-02T03:04:06+00:00",
        }
        value = frame_single_object(schema_for(draft.event_type).fingerprint, body)
        self.keep(f"{self.sequence}.avro", value)
        self.keep(f"{self.sequence}.json", json.dumps(note).encode())
        self.sequence += 1
        return self

    def keep(self, name: str, data: bytes) -> StreamFiles:
        """A file in the stream's quarantine."""
        folder = self.journal.quarantine_path(self.stream_id)
        self.journal.make_directory(folder.rpartition("/")[0])
        self.journal.make_directory(folder)
        file = self.journal.fs.open(f"{folder}/{name}", create=True)
        file.write(0, data)
        file.close()
        return self
