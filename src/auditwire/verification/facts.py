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
from operator import itemgetter
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.errors import DecodingError
from auditwire.reading.record import headers_of
from auditwire.stream import type_key
from auditwire.verification.carry import CarryError, read_carry
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
from auditwire.verification.placement import Around, disagreements, is_own_topic
from auditwire.verification.runs import Runs, RunWriter, merged_claims, merged_rows
from auditwire.verification.speech import TALKERS, claims_of
from auditwire.wire import decode, envelope, schema_by_fingerprint, traceparent
from auditwire.wire.codec import readers_of
from auditwire.wire.codegen import REFUSALS
from auditwire.wire.framing import HEADER_BYTES, MAX_VALUE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from auditwire.events import AuditEvent
    from auditwire.reading.record import ClientMessage, Record
    from auditwire.wire import Envelope
    from auditwire.wire.codegen import Outline, Outliner

__all__ = ["CarryError", "FactWriter"]  # the first stands beside what raises it

_SPECVERSION = ("ce_specversion", b"1.0")  # headers, as the sender makes them
_CONTENT_TYPE = ("content-type", b"application/avro")
_HEADER = HEADER_BYTES["single-object"]
_CONFLUENT = HEADER_BYTES["confluent"]
_REFUSALS = (KeyError, TypeError, *REFUSALS)  # no header known so far; no value; what the decoder refuses
_SOURCE = 2  # where it puts ce_source
_ROW = Struct(
    ">Q32s20sqQ"
)  # the bytes of layout.ROW, those that all records of a type on a partition share as one
_ROW_COST = 128  # bytes of a row in memory: the object, and its place in a list
_STREAM_COST = 4  # rows' worth of memory that a stream costs
_CLAIM_COST = 100  # bytes of a claim in memory besides its own
_FOLD = 100  # so many runs become one: each is a file that is open while streams are judged
_REMEMBERED = Struct(">Q32sqB")
_SEQUENCE = Struct(">Q")


class _Kind(NamedTuple):
    """What the records of one type on one partition have in common."""

    shared: bytes  # code of the type, code of the topic, partition
    in_place: bool  # the topic is that of the type
    ce_type: tuple[str, bytes]
    talks: bool  # says something of other records


class _Stream:
    """A stream's facts in memory, and what stands around each of its records."""

    __slots__ = ("claims", "rows", "source", "stream_id", "wanted")

    def __init__(self, stream_id: str) -> None:
        self.rows: list[bytes] = []
        self.claims: list[bytes] = []
        self.stream_id = stream_id
        self.wanted = False
        self.source: tuple[str, bytes | None] = ("ce_source", None)  # as in a record looked at


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
        self._sessions = None if sessions is None else frozenset(map(_utf8, sessions))
        self._capacity = max(memory // _ROW_COST, 1)
        self._room = self._capacity  # in rows
        self._streams: dict[bytes, _Stream] = {}  # by the id in UTF-8
        self._kinds: dict[tuple[str, int], dict[bytes, tuple[Outliner, _Kind]]] = {}
        self._names = Names({}, {})
        self._prefix = f"facts-{os.getpid()}-{secrets.token_hex(4)}"
        self._written = 0
        self._runs: list[Path] = []
        self._folded: list[Path] = []
        self._closed = False

    # -- what takes records ---------------------------------------------------------------------------------

    def add_run(  # noqa: C901 - every record goes through it: no call in it that can be left out
        self,
        place: tuple[str, int],
        messages: Collection[ClientMessage],
        *,
        counted: bool = True,
        on_undecodable: Callable[[ClientMessage, DecodingError], None] | None = None,
    ) -> None:
        """Take messages of one partition.

        Args:
            place: The topic and the partition.
            messages: The messages.
            counted: True when they lie below the ends that the partitions had when reading began. What a
                checkpoint says that the broker had is believed of those alone: that is there to be read, at
                the latest once all partitions were read to ends taken after that.
            on_undecodable: Called with each message that is no record of ours, or a checkpoint that cannot be
                read to its end, and why; nothing of it is taken. None: they are passed over.
        """
        if self._room <= 0:
            self._spill()
        self._room -= len(messages)
        streams, kinds, pack = self._streams, self._kinds_on(*place), _ROW.pack
        for message in messages:
            value: Any = message.value()  # None is refused with all else that is no record
            try:
                try:
                    outline_of, (shared, in_place, ce_type, talks) = kinds[value[:_HEADER]]
                    outline = outline_of(value, _HEADER) if len(value) <= MAX_VALUE else None
                except _REFUSALS:
                    outline = None
                if outline is None:
                    outline, (shared, in_place, ce_type, talks) = self._look_closer(value, place)
                stream_id, sequence, event_id, time_us, session, trace_id, span_id = outline
                stream = streams.get(stream_id) or self._stream_read(stream_id)
                event = decode(value).event if talks else None
                key, headers = message.key(), headers_of(message, self.undecodable)
                # what is as the sender makes it is compared as a whole, the rest one by one
                made = [_SPECVERSION, ("ce_id", event_id), stream.source, ce_type, _CONTENT_TYPE]
                if trace_id is not None:
                    made += _traced(trace_id, span_id)
                if not (
                    (headers == made or not headers)
                    and (key == (session or stream_id) or key is None)
                    and in_place
                ):
                    around = _around(envelope(value), place[0], key, headers)
                    self._look_around(around, sequence, Place(*place, message.offset()), stream)
            except DecodingError as error:
                if on_undecodable is not None:
                    on_undecodable(message, error)
                continue
            offset, (timed, timestamp) = message.offset(), message.timestamp()
            if not timed:  # confluent_kafka.TIMESTAMP_NOT_AVAILABLE
                timestamp = -1
            digest = sha256(value[_HEADER:] if value[0] else value[_CONFLUENT:]).digest()
            time_ms = time_us // 1_000
            since_1970 = time_ms if time_ms > 0 else 0  # noqa: FURB136 - as above: max() is a call
            stream.rows.append(pack(sequence, digest, shared, offset, since_1970))
            if timestamp < time_ms:
                self._antedated(sequence, timestamp, stream)
            if event is not None:
                self._hear(event, stream.stream_id, sequence, digest, Place(*place, offset), counted=counted)
            if self._sessions is not None and session in self._sessions:
                self._want(stream)

    def add_record(self, record: Record, *, counted: bool = True) -> None:
        """Take a record that a reader handed out.

        Args:
            record: The record.
            counted: As for ``add_run``.
        """
        if self._room <= 0:
            self._spill()
        event, place = record.event, Place(record.topic, record.partition, record.offset)
        self._kinds_on(record.topic, record.partition)
        kind = self._kind_of(record.fingerprint, event.event_type, record.topic, record.partition)
        stream = self._stream(record.stream_id)
        time_ms = event.timestamp_us // 1_000
        stream.rows.append(
            _ROW.pack(record.sequence, record.digest, kind.shared, record.offset, max(time_ms, 0))
        )
        self._room -= 1
        self._look_around(Around.record(record), record.sequence, place, stream)
        if record.timestamp_ms < time_ms:
            self._antedated(record.sequence, record.timestamp_ms, stream)
        if kind.talks:
            self._hear(event, record.stream_id, record.sequence, record.digest, place, counted=counted)
        if self._sessions is not None and event.session_id and _utf8(event.session_id) in self._sessions:
            self._want(stream)

    def add_remembered(
        self, stream_id: str, last_sequence: int, digest: bytes, last_timestamp_ms: int, *, closed: bool
    ) -> None:
        """Take what a state file knows of a stream: it is to be there as far as that.

        Args:
            stream_id: The stream.
            last_sequence: Its highest sequence then.
            digest: SHA-256 of the body of that record, 32 bytes.
            last_timestamp_ms: The latest time of an event of the stream then, milliseconds since the Unix
                epoch.
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
        if self._room <= 0:
            self._spill()
        carried = read_carry(blob)
        self._names.add(carried.names)
        stream = self._stream(stream_id)
        stream.rows += carried.rows
        self._room -= len(carried.rows)
        for claim in carried.claims:
            self._put(stream, claim)

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

    def _look_around(self, around: Around, sequence: int, place: Place, stream: _Stream) -> None:
        in_order = True
        for what, expected, found in disagreements(around, self._topics):
            in_order = False
            self._put(stream, about(sequence, Kind.MISPLACED, packed([what, expected, found, *place])))
        if in_order and len(around.headers) > _SOURCE and around.headers[_SOURCE][0] == stream.source[0]:
            stream.source = around.headers[_SOURCE]

    def _antedated(self, sequence: int, timestamp: int, stream: _Stream) -> None:
        """Older than the event; whether too old, its stream's opening tells."""
        if timestamp >= 0:
            self._put(stream, about(sequence, Kind.ANTEDATED, _SEQUENCE.pack(timestamp)))

    def _hear(
        self, event: AuditEvent, stream_id: str, sequence: int, digest: bytes, place: Place, *, counted: bool
    ) -> None:
        for about_stream, claim in claims_of(event, stream_id, sequence, digest, place, counted=counted):
            self._say(about_stream, claim)

    def _want(self, stream: _Stream) -> None:
        if not stream.wanted:
            stream.wanted = True
            self._put(stream, head(Kind.WANTED))

    def _say(self, stream_id: str, claim: bytes) -> None:
        self._put(self._stream(stream_id), claim)

    def _put(self, stream: _Stream, claim: bytes) -> None:
        stream.claims.append(claim)
        self._room -= (len(claim) + _CLAIM_COST) // _ROW_COST + 1

    def _stream(self, stream_id: str) -> _Stream:
        key = _utf8(stream_id)
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(stream_id)
            self._room -= _STREAM_COST + 2 * len(key) // _ROW_COST
            if is_hashed(key_of(stream_id)):
                self._put(stream, head(Kind.NAME, key))
        return stream

    def _stream_read(self, raw: bytes) -> _Stream:
        """The stream of an id as it stands in a record."""
        try:
            return self._stream(raw.decode())
        except UnicodeDecodeError as error:
            raise DecodingError("malformed", f"a stream id that is not UTF-8: {error.reason}") from error

    # -- what records have in common -------------------------------------------------------------------------

    def _kinds_on(self, topic: str, partition: int) -> dict[bytes, tuple[Outliner, _Kind]]:
        """The kinds of records on a partition, by the header of their single-object encoding."""
        kinds = self._kinds.get((topic, partition))
        if kinds is None:
            kinds = self._kinds[topic, partition] = {}
            self._names.topics[code_of_topic(topic)] = topic
        return kinds

    def _kind_of(self, fingerprint: bytes, event_type: str, topic: str, partition: int) -> _Kind:
        text = type_key(event_type, fingerprint)
        code = code_of_type(text)
        if type_of_code(code) is None:
            self._names.types[code] = text
        return _Kind(
            shared=code + code_of_topic(topic) + partition.to_bytes(4, "big", signed=True),
            in_place=is_own_topic(topic, event_type, self._topics),
            ce_type=("ce_type", b"auditwire." + event_type.encode("utf-8", "replace")),
            talks=event_type in TALKERS,
        )

    def _look_closer(self, value: bytes | None, place: tuple[str, int]) -> tuple[Outline, _Kind]:
        """What the quick look at a value did not tell.

        Raises:
            DecodingError: It is no record of ours.
        """
        found = envelope(value)
        kind = self._kind_of(found.fingerprint, found.event_type, *place)
        schema = schema_by_fingerprint(found.fingerprint)
        if found.framing == "single-object" and schema is not None:
            self._kinds_on(*place)[found.value[:_HEADER]] = readers_of(schema).outline, kind
        texts = (found.session_id, found.trace_id, found.span_id)
        session, trace_id, span_id = (None if text is None else text.encode() for text in texts)
        stream_id, event_id = found.stream_id.encode(), found.event_id.encode()
        return (stream_id, found.sequence, event_id, found.timestamp_us, session, trace_id, span_id), kind

    # -- runs -----------------------------------------------------------------------------------------------

    def _spill(self) -> None:
        """Write all that is in memory as a run."""
        streams = sorted(((key_of(s.stream_id), s) for s in self._streams.values()), key=itemgetter(0))
        self._streams.clear()
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


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _traced(trace_id: bytes, span_id: bytes | None) -> list[tuple[str, bytes]]:
    """The header of a record that has a trace."""
    span = None if span_id is None else span_id.decode("utf-8", "replace")
    trace = traceparent(trace_id.decode("utf-8", "replace"), span)
    return [] if trace is None else [("traceparent", trace)]


def _around(
    found: Envelope, topic: str, key: bytes | None, headers: Sequence[tuple[str, bytes | None]]
) -> Around:
    return Around(
        topic,
        key,
        headers,
        found.event_id,
        found.event_type,
        found.session_id,
        found.trace_id,
        found.span_id,
        found.stream_id,
    )
