"""What somebody may do to a trail on a broker, and what a check can say of it afterwards.

Each :class:`Mutation` takes an honest trail and gives the messages that are there after it, with what is
expected of a check that has only these messages, and of one that has a state file from before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auditwire.events import (
    AuditEvent,
    CheckpointEvent,
    ErrorEvent,
    QuarantineEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    TurnEndEvent,
    TurnStartEvent,
)
from auditwire.ids import uuid7
from auditwire.stream import Ledger
from support.stored import Stored, as_record, laid_out, stored
from support.stream_builder import StreamBuilder, record_of, rewritten

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable

    from auditwire.reading import Record
    from auditwire.stream import Reason

__all__ = ["MUTATIONS", "OTHER_PREFIX", "Expected", "Mutation", "Trail", "honest_trail"]

OTHER_PREFIX = "copied"

KINDS = (TurnStartEvent, TurnEndEvent, ToolCallAttemptEvent, ToolCallCompleteEvent, ErrorEvent)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a check has to say.

    Attributes:
        status: The exit status of ``auditwire verify``.
        seen: What it names: kinds of fault, or a field of the report that is not empty. None: nothing.
    """

    status: int
    seen: str | None = None

    def __str__(self) -> str:
        return f"{self.status}: {self.seen}" if self.seen else f"{self.status}"


NOTHING = Expected(0)


@dataclass(frozen=True, slots=True)
class Mutation:
    """One thing that may be done.

    Attributes:
        name: What is done.
        apply: Makes the messages that are there afterwards.
        alone: What a check says that knows nothing of earlier ones.
        state: What a check says that has the state file of one before; None: the same.
        why: Why it is seen so late, or not at all; empty where it is seen at once.
        linked: Whether the streams of the trail must name each other, or must not; None: either.
    """

    name: str
    apply: Callable[[random.Random, Trail], list[Stored]]
    alone: Expected
    state: Expected | None = None
    why: str = ""
    linked: bool | None = None

    @property
    def with_state(self) -> Expected:
        return self.state or self.alone


class Trail:
    """An honest trail: streams that were closed, one after the other, in one journal path or not.

    Attributes:
        streams: In the order in which they were opened.
        messages: Theirs, in the order in which they reached the broker.
    """

    def __init__(self, streams: list[StreamBuilder], messages: list[Stored]) -> None:
        self.streams = streams
        self.messages = messages

    def of(self, stream: StreamBuilder) -> list[Stored]:
        """One stream's messages, in the order of their sequences."""
        own = [m for m in self.messages if as_record(m).stream_id == stream.stream_id]
        return sorted(own, key=lambda message: as_record(message).sequence)

    def without(self, gone: Iterable[Stored]) -> list[Stored]:
        ids = {id(message) for message in gone}
        return [message for message in self.messages if id(message) not in ids]

    def instead(self, *pairs: tuple[Stored, Stored]) -> list[Stored]:
        """The messages with others in the places of some."""
        other = {id(old): new for old, new in pairs}
        return [other.get(id(message), message) for message in self.messages]


def honest_trail(rng: random.Random, *, linked: bool | None = None) -> Trail:
    """Closed streams of random lengths, sessions, types and checkpoints, mixed as brokers mix them.

    Args:
        rng: Where the chance comes from.
        linked: Whether each stream names the one before it, as in one journal path; by default by chance.
    """
    linked = rng.random() < 0.5 if linked is None else linked
    streams: list[StreamBuilder] = []
    for number in range(rng.randint(2, 3)):
        before = streams[-1].records[-1] if streams and linked else None
        previous = [f"{before.stream_id}:{before.sequence}:{before.digest.hex()}"] if before else []
        stream = StreamBuilder(f"01920000-0000-7000-8000-{number + 1:012d}", previous=previous)
        stream.now_us += number * 3_600_000_000
        for _ in range(rng.randint(1, 3)):
            for _ in range(rng.randint(4, 12)):
                stream.add(_event(rng))
            stream.checkpoint()
        for _ in range(rng.randint(0, 4)):
            stream.add(_event(rng))
        streams.append(stream.close())
    queues = [[stored(record) for record in stream.records] for stream in streams]
    messages = []
    while any(queues):
        queue = rng.choice([queue for queue in queues if queue])
        messages.append(queue.pop(0))
    return Trail(streams, laid_out(messages))


def _event(rng: random.Random) -> AuditEvent:
    event: AuditEvent = rng.choice(KINDS)(session_id=f"s{rng.randrange(3)}", turn_id=f"t{rng.randrange(9)}")
    if rng.random() < 0.5:
        event.trace_id = f"{rng.getrandbits(128) | 1:032x}"
        event.span_id = f"{rng.getrandbits(64) | 1:016x}"
    return event


# -- choosing -----------------------------------------------------------------------------------------------


def _some_stream(rng: random.Random, trail: Trail) -> StreamBuilder:
    return rng.choice(trail.streams)


def _events(trail: Trail, stream: StreamBuilder) -> list[Stored]:
    """A stream's messages that are no control records."""
    return [m for m in trail.of(stream) if not isinstance(as_record(m).event, CheckpointEvent)]


def _one(rng: random.Random, trail: Trail) -> Stored:
    return rng.choice(_events(trail, _some_stream(rng, trail)))


def _traced(rng: random.Random, trail: Trail) -> Stored:
    return rng.choice([m for m in trail.messages if as_record(m).event.trace_id] or trail.messages)


def _forged(record: Record, message: Stored) -> Stored:
    """A record produced in the place of a message."""
    return replace(
        stored(record),
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        timestamp_ms=message.timestamp_ms,
    )


def _changed_event(rng: random.Random, record: Record) -> Record:
    return rewritten(record, severity=rng.choice(["critical", "none", record.event.severity + "!"]))


# -- what is done -------------------------------------------------------------------------------------------


def _delete_one(rng: random.Random, trail: Trail) -> list[Stored]:
    return trail.without([_one(rng, trail)])


def _delete_range(rng: random.Random, trail: Trail) -> list[Stored]:
    own = trail.of(_some_stream(rng, trail))
    first = rng.randrange(1, len(own) - 3)
    return trail.without(own[first : rng.randrange(first + 2, len(own) - 1)])


def _delete_checkpoint(rng: random.Random, trail: Trail) -> list[Stored]:
    own = trail.of(_some_stream(rng, trail))
    between = [m for m in own[1:-1] if isinstance(as_record(m).event, CheckpointEvent)]
    return trail.without([rng.choice(between)])


def _delete_closing(_: random.Random, trail: Trail) -> list[Stored]:
    return trail.without(trail.of(trail.streams[-1])[-1:])


def _delete_tail(rng: random.Random, trail: Trail) -> list[Stored]:
    own = trail.of(trail.streams[-1])
    return trail.without(own[rng.randrange(1, len(own) - 1) :])


def _delete_last_stream(_: random.Random, trail: Trail) -> list[Stored]:
    return trail.without(trail.of(trail.streams[-1]))


def _delete_named_stream(_: random.Random, trail: Trail) -> list[Stored]:
    return trail.without(trail.of(trail.streams[0]))


def _delete_type(rng: random.Random, trail: Trail) -> list[Stored]:
    topic = _one(rng, trail).topic
    return trail.without([m for m in trail.messages if m.topic == topic])


def _delete_checkpoints(_: random.Random, trail: Trail) -> list[Stored]:
    return trail.without([m for m in trail.messages if m.topic.endswith(".checkpoint")])


def _delete_all(_: random.Random, __: Trail) -> list[Stored]:
    return []


def _edit_field(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    return trail.instead((message, _forged(_changed_event(rng, as_record(message)), message)))


def _edit_checkpoint(rng: random.Random, trail: Trail) -> list[Stored]:
    own = trail.of(_some_stream(rng, trail))
    message = rng.choice([m for m in own[:-1] if isinstance(as_record(m).event, CheckpointEvent)])
    return trail.instead((message, _forged(_changed_event(rng, as_record(message)), message)))


def _edit_closing(rng: random.Random, trail: Trail) -> list[Stored]:
    message = trail.of(trail.streams[-1])[-1]
    return trail.instead((message, _forged(_changed_event(rng, as_record(message)), message)))


def _edit_header(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    name = rng.choice(["ce_id", "ce_type", "ce_source"])
    value = b"/auditwire/svc/" + uuid7().encode() if name == "ce_source" else b"other"
    edited = [(n, value if n == name else v) for n, v in message.headers]
    return trail.instead((message, replace(message, headers=edited)))


def _edit_trace(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _traced(rng, trail)
    edited = [(n, v) for n, v in message.headers if n != "traceparent"]
    return trail.instead((message, replace(message, headers=edited)))


def _add_header(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    return trail.instead((message, replace(message, headers=[*message.headers, ("x-note", b"hello")])))


def _drop_headers(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    return trail.instead((message, replace(message, headers=[])))


def _edit_key(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    return trail.instead((message, replace(message, key=b"another-session")))


def _move_topic(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    types = ("turn-start", "turn-end", "tool-call-attempt", "tool-call-complete", "error")
    others = [f"audit.{name}" for name in types if f"audit.{name}" != message.topic]
    return trail.instead((message, replace(message, topic=rng.choice(others))))


def _edit_time(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    return trail.instead((message, replace(message, timestamp_ms=message.timestamp_ms - 86_400_000)))


def _swap_places(rng: random.Random, trail: Trail) -> list[Stored]:
    first, second = _two(rng, trail)
    return trail.instead((first, second), (second, first))


def _swap_numbers(rng: random.Random, trail: Trail) -> list[Stored]:
    first, second = _two(rng, trail)
    a, b = as_record(first), as_record(second)
    return trail.instead(
        (first, _forged(record_of(b.event, a.sequence, a.stream_id), second)),
        (second, _forged(record_of(a.event, b.sequence, b.stream_id), first)),
    )


def _two(rng: random.Random, trail: Trail) -> tuple[Stored, Stored]:
    """Two events of one topic and key, so that neither stands out where the other stood."""
    by_place: dict[tuple[str, bytes | None, str], list[Stored]] = {}
    for message in trail.messages:
        record = as_record(message)
        if not isinstance(record.event, CheckpointEvent):
            by_place.setdefault((message.topic, message.key, record.stream_id), []).append(message)
    several = [places for places in by_place.values() if len(places) > 1]
    first, second = rng.sample(rng.choice(several), 2)
    return first, second


def _duplicate(rng: random.Random, trail: Trail) -> list[Stored]:
    message = rng.choice(trail.messages)
    return [*trail.messages, replace(message, partition=(message.partition + rng.randrange(6)) % 6)]


def _duplicate_changed(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    return [*trail.messages, _forged(_changed_event(rng, as_record(message)), message)]


def _forge_inside(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    record = as_record(message)
    event = _event(rng)
    event.timestamp_us = record.event.timestamp_us
    return [*trail.messages, stored(record_of(event, record.sequence, record.stream_id))]


def _forge_after_close(rng: random.Random, trail: Trail) -> list[Stored]:
    last = as_record(trail.of(_some_stream(rng, trail))[-1])
    event = _event(rng)
    event.timestamp_us = last.event.timestamp_us + 1_000
    return [*trail.messages, stored(record_of(event, last.sequence + 1, last.stream_id))]


def _forge_stream(rng: random.Random, trail: Trail) -> list[Stored]:
    stream = StreamBuilder("01920000-0000-7000-8000-00000000ffff").turns(rng.randint(1, 9)).close()
    return [*trail.messages, *(stored(record) for record in stream.records)]


def _other_prefix(_: random.Random, trail: Trail) -> list[Stored]:
    return laid_out(trail.messages, OTHER_PREFIX)


def _cut_head(rng: random.Random, trail: Trail) -> list[Stored]:
    own = trail.of(_some_stream(rng, trail))
    return trail.without(own[: rng.randrange(1, len(own) // 2)])


def _rewrite_suffix(rng: random.Random, trail: Trail) -> list[Stored]:
    """Everything of the last stream from some event on, with that event changed and new checkpoints."""
    own = trail.of(trail.streams[-1])
    old = [as_record(message) for message in own]
    at = rng.choice([record.sequence for record in old if not isinstance(record.event, CheckpointEvent)])
    ledger = Ledger(trail="audit", resource='{"service.name":"svc"}')
    pairs = []
    for message, record in zip(own, old, strict=True):
        new = record
        if isinstance(record.event, CheckpointEvent):
            event = record.event
            if record.sequence > at:
                event = ledger.checkpoint(_reason(event), acknowledged=event.acknowledged)
                event.timestamp_us = record.event.timestamp_us
                new = record_of(event, record.sequence, record.stream_id)
            ledger.listed(event, 0.0)
        elif record.sequence == at:
            new = _changed_event(rng, record)
        ledger.add(record.sequence, new.type_key, new.digest, 0.0)
        if new is not record:
            pairs.append((message, _forged(new, message)))
    return trail.instead(*pairs)


def _reason(checkpoint: CheckpointEvent) -> Reason:
    return "close" if checkpoint.reason == "close" else "interval"


def _quarantine(record: Record) -> QuarantineEvent:
    return QuarantineEvent(
        quarantined_stream=record.stream_id,
        quarantined_sequence=record.sequence,
        quarantined_digest=record.digest.hex(),
        quarantined_type=record.event.event_type,
        topic=record.topic,
        size=len(record.body),
        reason="MSG_SIZE_TOO_LARGE",
    )


def _quarantine_after_close(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    record = as_record(message)
    stream = next(s for s in trail.streams if s.stream_id == record.stream_id)
    last = as_record(trail.of(stream)[-1])
    event = _quarantine(record)
    event.timestamp_us = last.event.timestamp_us
    return [*trail.without([message]), stored(record_of(event, last.sequence + 1, last.stream_id))]


def _quarantine_elsewhere(rng: random.Random, trail: Trail) -> list[Stored]:
    message = _one(rng, trail)
    forger = StreamBuilder("01920000-0000-7000-8000-00000000eeee")
    forger.add(_quarantine(as_record(message)))
    return [*trail.without([message]), *(stored(record) for record in forger.close().records)]


MISSING, CHANGED, PLACEMENT, CONFLICT = (
    Expected(1, "missing"),
    Expected(1, "changed"),
    Expected(1, "placement"),
    Expected(1, "conflict"),
)
SHRUNK, VANISHED = Expected(1, "shrunk"), Expected(1, "vanished")

_NO_SIGNATURE = "whoever may write to the topics can write checkpoints too: only a signature tells"
_END = "nothing but an earlier check knows that the stream went further"
_NOT_COVERED = "no digest covers what stands around the body, and consumers do not rely on it"

MUTATIONS = (
    Mutation("one event deleted", _delete_one, MISSING),
    Mutation("a range of a stream deleted", _delete_range, MISSING),
    Mutation("a checkpoint in the middle deleted", _delete_checkpoint, MISSING),
    Mutation("the closing checkpoint of the last stream deleted", _delete_closing, Expected(3), SHRUNK, _END),
    Mutation("the tail of the last stream deleted", _delete_tail, Expected(3), SHRUNK, _END),
    Mutation("a whole stream deleted that no other names", _delete_last_stream, NOTHING, VANISHED, _END),
    Mutation(
        "a whole stream deleted that a later one names",
        _delete_named_stream,
        Expected(3, "absent_streams"),
        VANISHED,
        "it may lie outside of what was read",
        linked=True,
    ),
    Mutation("all events of a type deleted", _delete_type, MISSING),
    Mutation(
        "all checkpoints deleted",
        _delete_checkpoints,
        Expected(3, "awaited"),
        SHRUNK,
        "without checkpoints nothing says what the broker had; with --settled it is a fault",
    ),
    Mutation("everything deleted", _delete_all, Expected(4), VANISHED),
    Mutation("a field of an event edited", _edit_field, CHANGED),
    Mutation("a field of a checkpoint edited", _edit_checkpoint, CHANGED),
    Mutation("a field of the closing checkpoint edited", _edit_closing, NOTHING, CHANGED, "nothing lists it"),
    Mutation("a CloudEvents header edited", _edit_header, PLACEMENT),
    Mutation("the traceparent header removed", _edit_trace, PLACEMENT),
    Mutation("a header of another name added", _add_header, NOTHING, None, _NOT_COVERED),
    Mutation("all headers removed", _drop_headers, NOTHING, None, "a collector can be told to write none"),
    Mutation("a key edited", _edit_key, PLACEMENT),
    Mutation("an event moved to another topic", _move_topic, PLACEMENT),
    Mutation(
        "a Kafka timestamp set back by a day",
        _edit_time,
        Expected(0, "antedated"),
        None,
        "an honest clock that was set looks the same: a note",
    ),
    Mutation(
        "two events swapped on the broker",
        _swap_places,
        NOTHING,
        None,
        "the numbers put them back: nothing is lost by it",
    ),
    Mutation("the numbers of two events swapped", _swap_numbers, CHANGED),
    Mutation("a record doubled", _duplicate, Expected(0, "duplicates"), None, "harmless: readers drop it"),
    Mutation("a record doubled with a change", _duplicate_changed, CONFLICT),
    Mutation("an event forged with a number that is taken", _forge_inside, CONFLICT),
    Mutation("an event forged behind a closed stream", _forge_after_close, Expected(1, "after_close")),
    Mutation("a whole stream forged", _forge_stream, NOTHING, None, _NO_SIGNATURE),
    Mutation(
        "an old trail copied under another prefix",
        _other_prefix,
        NOTHING,
        None,
        "a copy is a trail like any other; `trail` in the report names the one it was written for",
    ),
    Mutation("the head of a stream cut off", _cut_head, MISSING),
    Mutation(
        "the end of a stream rewritten with new checkpoints", _rewrite_suffix, NOTHING, CHANGED, _NO_SIGNATURE
    ),
    Mutation(
        "an event replaced by a quarantine record behind the closed stream",
        _quarantine_after_close,
        Expected(1, "after_close"),
    ),
    Mutation(
        "an event replaced by a quarantine record in a forged stream",
        _quarantine_elsewhere,
        Expected(3, "withheld"),
        None,
        "its bytes are said to be kept by the producer: ask for them",
    ),
)
