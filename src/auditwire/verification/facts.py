"""What a check keeps of records while it reads them: facts, sorted and put on disk when memory is full.

In come Kafka messages or records in any order, out come runs, files that
:func:`~auditwire.verification.judge` merges into one report for each stream.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from auditwire.errors import DecodingError
from auditwire.reading.record import headers_of, timestamp_of
from auditwire.stream import type_key
from auditwire.verification.layout import (
    Kind,
    Names,
    Place,
    about,
    code_of_topic,
    code_of_type,
    head,
    is_hashed,
    key_of,
    packed,
    type_of_code,
)
from auditwire.verification.placement import Around, are_as_made, disagreements, is_own_topic
from auditwire.verification.runs import Runs, RunWriter, merged_claims, merged_rows
from auditwire.verification.speech import TALKERS, claims_of
from auditwire.wire import decode, envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from auditwire.events import AuditEvent
    from auditwire.reading.record import ClientMessage, Record
    from auditwire.wire import Envelope

__all__ = ["CarryError", "FactWriter"]

_ROW = Struct(
    ">Q32s20sqq"
)  # the bytes of layout.ROW, those that all records of a type on a partition share as one
_ROW_COST = 128  # bytes of a row in memory: the object, and its place in a list
_STREAM_COST = 4  # rows' worth of memory that a stream costs
_CLAIM_COST = 100  # bytes of a claim in memory besides its own
_FOLD = 100  # so many runs become one: each is a file that is open while streams are judged
_REMEMBERED = Struct(">Q32sqB")
_SEQUENCE = Struct(">Q")


class CarryError(ValueError):
    """What an earlier check carried over cannot be used: another version made it, or it is damaged.

    Read everything again.
    """


class _Kind(NamedTuple):
    """What the records of one type on one partition have in common."""

    shared: bytes  # code of the type, code of the topic, partition
    in_place: bool  # the topic is that of the type
    ce_type: bytes
    talks: bool  # says something of other records


class _Stream(NamedTuple):
    """A stream's facts in memory, and what stands around each of its records."""

    rows: list[bytes]
    claims: list[bytes]
    source: bytes
    key: bytes  # Kafka's, of records without a session


class FactWriter:
    """Takes records, and keeps what a check needs of them: sorted, on disk whenever memory is full.

    For one thread. Several writers, in as many processes, can write into one directory; what they were given
    counts as one.

    **Memory.** Constant in records, streams and checkpoints: ``memory``, and the same again for a moment
    while a run is written. **Disk.** About 110 bytes a record, twice that for a moment when there are more
    than 100 runs.

    Args:
        directory: Where the runs go; it must exist. The caller removes it.
        topics: Event type -> topic, as given to the collector, for types that are not on ``<prefix>.<type>``.
        memory: Bytes of facts that are held before a run is written.
        sessions: Session ids. Streams that have no record of one of them are reported as not ``wanted``.
            None: all are.

    Attributes:
        undecodable: ``headers``: how many records came without headers because a header's name is not UTF-8.

    Raises:
        OSError: A run cannot be written, the disk is full for example. Also raised by all that take records.
    """

    def __init__(
        self,
        directory: Path,
        *,
        topics: Mapping[str, str] | None = None,
        memory: int = 64 << 20,
        sessions: Collection[str] | None = None,
    ) -> None:
        self.undecodable: Counter[str] = Counter()
        self._directory = directory
        self._topics = dict(topics or {})
        self._sessions = None if sessions is None else frozenset(sessions)
        self._capacity = max(memory // _ROW_COST, 1)
        self._room = self._capacity  # in rows
        self._streams: dict[str, _Stream] = {}
        self._wanted: set[str] = set()
        self._kinds: dict[tuple[bytes, str, str, int], _Kind] = {}
        self._names = Names({}, {})
        self._prefix = f"facts-{os.getpid()}-{secrets.token_hex(4)}"
        self._written = 0
        self._runs: list[Path] = []
        self._folded: list[Path] = []
        self._closed = False

    # -- what takes records ---------------------------------------------------------------------------------

    def add(self, message: ClientMessage, found: Envelope, *, counted: bool = True) -> None:
        """Take a message of the Kafka client.

        Args:
            message: The message.
            found: What ``auditwire.wire.envelope`` read of its value.
            counted: True when it lies below the ends that the partitions had when reading began. What a
                checkpoint says that the broker had is believed of those alone: that is there to be read, at
                the latest once all partitions were read to ends taken after that.

        Raises:
            DecodingError: It is a checkpoint, or another record that speaks of records, and what it says
                cannot be read. Nothing was taken.
        """
        topic, partition = message.topic(), message.partition()
        self._take(
            message, found, self._kind_of(found.fingerprint, found.event_type, topic, partition), counted
        )

    def add_run(
        self,
        place: tuple[str, int],
        messages: Iterable[ClientMessage],
        *,
        counted: bool = True,
        on_undecodable: Callable[[ClientMessage, DecodingError], None] | None = None,
    ) -> None:
        """Take messages of one partition.

        Args:
            place: The topic and the partition.
            messages: The messages.
            counted: As for ``add``.
            on_undecodable: Called with each message that is no record of ours, and why. None: they are passed
                over.
        """
        topic, partition = place
        kinds, kind_of, take = self._kinds, self._kind_of, self._take
        for message in messages:
            try:
                found = envelope(message.value())
                fingerprint, event_type = found.fingerprint, found.event_type
                kind = kinds.get((fingerprint, event_type, topic, partition)) or kind_of(
                    fingerprint, event_type, topic, partition
                )
                take(message, found, kind, counted)
            except DecodingError as error:  # noqa: PERF203 - each message for itself
                if on_undecodable is not None:
                    on_undecodable(message, error)

    def add_record(self, record: Record, *, counted: bool = True) -> None:
        """Take a record that a reader handed out.

        Args:
            record: The record.
            counted: As for ``add``.
        """
        if self._room <= 0:
            self._spill()
        event, place = record.event, Place(record.topic, record.partition, record.offset)
        kind = self._kind_of(record.fingerprint, event.event_type, record.topic, record.partition)
        stream = self._stream(record.stream_id)
        stream.rows.append(
            _ROW.pack(record.sequence, record.digest, kind.shared, record.offset, record.timestamp_ms)
        )
        self._room -= 1
        self._look_around(Around.record(record), record.sequence, place, stream)
        if record.timestamp_ms < event.timestamp_us // 1_000:
            self._antedated(record.sequence, record.timestamp_ms, stream)
        if kind.talks:
            self._hear(event, record.stream_id, record.sequence, record.digest, place, counted=counted)
        if self._sessions is not None and event.session_id in self._sessions:
            self._want(record.stream_id, stream)

    def add_remembered(
        self, stream_id: str, last_sequence: int, digest: bytes, last_timestamp_ms: int, *, closed: bool
    ) -> None:
        """Take what a state file knows of a stream: it is to be there as far as that.

        Args:
            stream_id: The stream.
            last_sequence: Its highest sequence then.
            digest: SHA-256 of the body of that record, 32 bytes.
            last_timestamp_ms: The Kafka timestamp of that record; -1: it had none.
            closed: True when it had a closing checkpoint.
        """
        if self._room <= 0:
            self._spill()
        known = _REMEMBERED.pack(last_sequence, digest, last_timestamp_ms, closed)
        self._say(stream_id, head(Kind.REMEMBERED_HEAD, known))
        self._say(stream_id, about(last_sequence, Kind.REMEMBERED, digest))

    def add_carry(self, stream_id: str, blob: bytes) -> None:
        """Take what ``judge`` handed out of a stream in an earlier check.

        Args:
            stream_id: The stream.
            blob: As ``judge`` gave it to ``on_carry``.

        Raises:
            CarryError: Another version made it, or it is damaged.
        """
        raise NotImplementedError

    # -- the end --------------------------------------------------------------------------------------------

    def close(self) -> list[Path]:
        """Write what is still in memory; the files of all that was taken. A second call returns the same."""
        if not self._closed:
            self._spill()
            self._closed = True
        return [*self._folded, *self._runs]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()

    # -- one record -----------------------------------------------------------------------------------------

    def _take(self, message: ClientMessage, found: Envelope, kind: _Kind, counted: bool) -> None:
        if self._room <= 0:
            self._spill()
        stream_id, sequence, digest = found.stream_id, found.sequence, sha256(found.body).digest()
        if kind.talks:
            event = decode(message.value()).event
            place = Place(message.topic(), message.partition(), message.offset())
            self._hear(event, stream_id, sequence, digest, place, counted=counted)
        stream = self._streams.get(stream_id) or self._stream(stream_id)
        timestamp = timestamp_of(message)
        stream.rows.append(_ROW.pack(sequence, digest, kind.shared, message.offset(), timestamp))
        self._room -= 1
        session, key, around = found.session_id, message.key(), headers_of(message, self.undecodable)
        if not (
            kind.in_place
            and (key is None or key == (session.encode() if session else stream.key))
            and are_as_made(around, found, kind.ce_type, stream.source)
        ):
            self._look_around(
                Around(
                    message.topic(),
                    key,
                    around,
                    found.event_id,
                    found.event_type,
                    session,
                    found.trace_id,
                    found.span_id,
                    stream_id,
                ),
                sequence,
                Place(message.topic(), message.partition(), message.offset()),
                stream,
            )
        if timestamp < found.timestamp_us // 1_000:
            self._antedated(sequence, timestamp, stream)
        if self._sessions is not None and session in self._sessions:
            self._want(stream_id, stream)

    def _look_around(self, around: Around, sequence: int, place: Place, stream: _Stream) -> None:
        for what, expected, found in disagreements(around, self._topics):
            self._put(stream, about(sequence, Kind.MISPLACED, packed([what, expected, found, *place])))

    def _antedated(self, sequence: int, timestamp: int, stream: _Stream) -> None:
        """Older than the event; whether too old, its stream's opening tells."""
        if timestamp >= 0:
            self._put(stream, about(sequence, Kind.ANTEDATED, _SEQUENCE.pack(timestamp)))

    def _hear(
        self, event: AuditEvent, stream_id: str, sequence: int, digest: bytes, place: Place, *, counted: bool
    ) -> None:
        for about_stream, claim in claims_of(event, stream_id, sequence, digest, place, counted=counted):
            self._say(about_stream, claim)

    def _want(self, stream_id: str, stream: _Stream) -> None:
        if stream_id not in self._wanted:
            self._wanted.add(stream_id)
            self._put(stream, head(Kind.WANTED))

    def _say(self, stream_id: str, claim: bytes) -> None:
        self._put(self._stream(stream_id), claim)

    def _put(self, stream: _Stream, claim: bytes) -> None:
        stream.claims.append(claim)
        self._room -= (len(claim) + _CLAIM_COST) // _ROW_COST + 1

    def _stream(self, stream_id: str) -> _Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            text = stream_id.encode("utf-8", "surrogatepass")
            stream = self._streams[stream_id] = _Stream([], [], b"/" + text, text)
            self._room -= _STREAM_COST + 4 * len(text) // _ROW_COST
            key = key_of(stream_id)
            if is_hashed(key):
                self._put(stream, head(Kind.NAME, text))
        return stream

    def _kind_of(self, fingerprint: bytes, event_type: str, topic: str, partition: int) -> _Kind:
        kind = self._kinds.get((fingerprint, event_type, topic, partition))
        if kind is None:
            text = type_key(event_type, fingerprint)
            type_code, topic_code = code_of_type(text), code_of_topic(topic)
            self._names.topics[topic_code] = topic
            if type_of_code(type_code) is None:
                self._names.types[type_code] = text
            kind = self._kinds[fingerprint, event_type, topic, partition] = _Kind(
                type_code + topic_code + partition.to_bytes(4, "big", signed=True),
                is_own_topic(topic, event_type, self._topics),
                b"auditwire." + event_type.encode("utf-8", "replace"),
                event_type in TALKERS,
            )
        return kind

    # -- runs -----------------------------------------------------------------------------------------------

    def _spill(self) -> None:
        """Write all that is in memory as a run."""
        streams = sorted((key_of(stream_id), stream) for stream_id, stream in self._streams.items())
        self._streams.clear()
        self._wanted.clear()
        self._room = self._capacity
        if not streams:
            return
        writer = self._writer()
        try:
            for key, stream in streams:
                stream.rows.sort()
                stream.claims.sort()
                writer.write(key, [stream.rows], stream.claims)
                stream.rows.clear()
                stream.claims.clear()
            writer.close(self._names, sessions=self._sessions is not None)
        except BaseException:
            self._discard(writer)
            raise
        self._runs.append(writer.path)
        if len(self._runs) >= _FOLD:
            self._fold()

    def _fold(self) -> None:
        """Make one of many runs."""
        writer = self._writer()
        try:
            with Runs(self._runs) as runs:
                for key, groups in runs.streams():
                    writer.write(key, merged_rows(groups), merged_claims(groups))
            writer.close(self._names, sessions=self._sessions is not None)
        except BaseException:
            self._discard(writer)
            raise
        for path in self._runs:
            path.unlink()
        self._runs = []
        self._folded.append(writer.path)

    def _writer(self) -> RunWriter:
        self._written += 1
        return RunWriter(self._directory / f"{self._prefix}-{self._written:06d}.run")

    @staticmethod
    def _discard(writer: RunWriter) -> None:
        with suppress(OSError):  # the disk is full, perhaps; why writing failed is what is raised
            writer.discard()
