"""What stands in a journal on disk, as it would come back from the broker once somebody delivered it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.journal.filesystem import REAL
from auditwire.journal.layout import JournalPath
from auditwire.journal.reader import StreamReader
from auditwire.reading import Record
from auditwire.verification import check_streams
from auditwire.wire import decode, frame_single_object, headers

if TYPE_CHECKING:
    from pathlib import Path

    from auditwire.verification import StreamReport


def records_in(path: Path) -> list[Record]:
    """The records of all streams, in the order of stream and sequence. Nothing may be damaged."""
    journal = JournalPath(REAL, str(path))
    found: list[Record] = []
    for stream_id in journal.streams():
        directory = journal.open_stream(stream_id)
        info = directory.info()
        assert info is not None
        reader = StreamReader(REAL, directory, live=lambda: False, moves=False)
        while batch := reader.take(512):
            for stored in batch:
                decoded = decode(frame_single_object(stored.fingerprint, stored.body))
                source = info["source"]
                found.append(
                    Record(
                        event=decoded.event,
                        stream_id=decoded.stream_id,
                        sequence=decoded.sequence,
                        topic=stored.topic,
                        partition=0,
                        offset=stored.sequence,
                        timestamp_ms=stored.timestamp_us // 1_000,
                        key=stored.key,
                        headers=[*headers(stored.event_id, stored.event_type, source, stored.trace)]
                        if source
                        else [],
                        digest=decoded.digest,
                        fingerprint=decoded.fingerprint,
                        framing=decoded.framing,
                        body=decoded.body,
                    )
                )
        assert not reader.damaged
        reader.close()
    return found


def reports_of(path: Path) -> list[StreamReport]:
    """What a reader would say of the streams."""
    return check_streams(records_in(path))
