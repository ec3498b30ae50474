"""Withholds records that the broker refuses for good: a quarantine record says so in their stead.

Where the journal is on disk their bytes are kept, synced, before that record is written; in memory nothing is
kept. What is kept, and how it is named, stands in :mod:`auditwire.journal.withheld`, which reads it.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from collections import Counter
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import TYPE_CHECKING

from auditwire.delivery.framing import value_of
from auditwire.events import QuarantineEvent
from auditwire.journal.trees import json_text, unlink, write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from auditwire.delivery.feed import Feed
    from auditwire.journal import Record
    from auditwire.journal.control import Control
    from auditwire.journal.layout import JournalPath

__all__ = ["Quarantine", "iso", "keep_withheld"]

log = logging.getLogger("auditwire")


class Quarantine:
    """See the module. For the sender's thread; ``counts`` is for any.

    Args:
        own: The sender's own feed, whose quarantine records stand for withheld ones of any.
        control: Writes them.
        path: Where bytes are kept; None for a journal in memory.
        fault: Counts and logs the exception that is being handled.
        wall_us: Clock, microseconds since the epoch.
    """

    def __init__(
        self,
        own: Feed,
        control: Control,
        path: JournalPath | None,
        *,
        fault: Callable[[str], None],
        wall_us: Callable[[], int],
    ) -> None:
        self._own = own
        self._control = control
        self._path = path
        self._fault = fault
        self._wall_us = wall_us
        self.counts: Counter[str] = Counter()
        """Reason -> records withheld."""

    def withhold(self, record: Record, reason: str) -> bool:
        """Withhold a record; False when that cannot be done now, and it has to be tried again."""
        stream_id = record.origin.stream_id
        if self._path is not None:
            try:
                keep_withheld(self._path, stream_id, record, value_of(record), reason, at_us=self._wall_us())
            except OSError:
                self._fault("a record that is to be withheld could not be kept: it is tried again")
                return False
        sequence = self._control.append(
            QuarantineEvent(
                quarantined_stream=stream_id,
                quarantined_sequence=record.sequence,
                quarantined_digest=sha256(record.body).hexdigest(),
                quarantined_type=record.event_type,
                topic=record.topic,
                size=len(record.body),
                reason=reason,
            ),
            frees=True,
        )
        if sequence is None:
            return False
        self._own.stands_for[sequence] = record
        self.counts[reason] += 1
        log.error(
            "the broker refuses record %d of stream %s (%s, event %s, %d bytes) on topic %s for good (%s): "
            "it is withheld, quarantine record %d says so",
            *(record.sequence, stream_id, record.event_type, record.event_id, len(record.body)),
            *(record.topic, reason, sequence),
        )
        return True


def iso(at_us: int) -> str:
    """Microseconds since the epoch as ISO-8601, UTC."""
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=at_us)).isoformat()


def keep_withheld(
    journal: JournalPath, stream_id: str, record: Record, value: bytes, reason: str, *, at_us: int
) -> str:
    """Keep a record that is withheld; what is kept already stays. It survives a power loss on return.

    Args:
        journal: The journal path.
        stream_id: The record's stream, which need not be the caller's.
        record: The record.
        value: Its value as it would have stood on the topic: framing and body.
        reason: Why the broker refuses it.
        at_us: Now, microseconds since the epoch.

    Returns:
        The path of the file with the value.

    Raises:
        OSError: The files cannot be written.
    """
    fs = journal.fs
    folder = journal.quarantine_path(stream_id)
    above = folder.rpartition("/")[0]
    path, note = f"{folder}/{record.sequence}.avro", f"{folder}/{record.sequence}.json"
    if fs.exists(note):  # written last
        return path
    journal.make_directory(above)
    journal.make_directory(folder)
    temporary = f"{folder}/.new-{record.sequence}.avro"
    file = fs.open(temporary, create=True, mode=journal.file_mode)
    try:
        try:
            file.truncate(0)  # a leftover's
            file.write(0, value)
            file.sync()
        finally:
            file.close()
        fs.rename(temporary, path)
    except OSError:
        unlink(fs, temporary)
        raise
    said = {
        "stream": stream_id,
        "sequence": record.sequence,
        "type": record.event_type,
        "topic": record.topic,
        "key": b64encode(record.key).decode("ascii"),
        "event_id": record.event_id,
        "digest": sha256(record.body).hexdigest(),
        "size": len(record.body),
        "reason": reason,
        "at": iso(at_us),
    }
    write_text(fs, note, json_text(said), journal.file_mode, sync=True)
    for directory in (folder, above, journal.path):
        fs.sync_directory(directory)
    return path
