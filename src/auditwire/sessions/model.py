"""What a session consists of: turns, tool calls and single events, as a tree.

All of it is data; :mod:`auditwire.sessions.builder` makes it. Times are microseconds since the Unix epoch by
the clocks of the hosts that emitted the events.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from auditwire import events as ev
from auditwire.sessions.totals import Totals
from auditwire.sessions.vocabulary import is_denial, is_refusal

if TYPE_CHECKING:
    from typing import TypeAlias

    from auditwire.events import AuditEvent
    from auditwire.reading.record import Record
    from auditwire.sessions.findings import Finding

__all__ = ["Entry", "Item", "Moment", "Pairing", "Session", "StreamShare", "ToolCall", "Turn"]

Pairing = Literal["alone", "id", "order", "guess"]
"""How the attempt and the outcome of a tool call were found to belong together:

========= ==================================================================================================
``alone`` there is only one of them
``id``    both have the same ``tool_call_id``
``order`` at least one has no id; it was the only call of this tool that was open in the turn
``guess`` as ``order``, but several calls of this tool were open: the first of them was taken
========= ==================================================================================================
"""


@dataclass(slots=True)
class Entry:
    """An event of the session and where it stands: a record without its bytes.

    Attributes:
        event: The event.
        stream_id: The stream it belongs to.
        sequence: Its number in that stream.
        topic: Where it is on Kafka, with ``partition`` and ``offset``.
        partition: Its partition.
        offset: Its offset.
        timestamp_ms: Kafka's timestamp, milliseconds since the Unix epoch; -1 when there is none.
        digest: SHA-256 of the Avro body, lower-case hex: what checkpoints list.
        number: Its place in the session, from 0.
    """

    event: AuditEvent
    stream_id: str
    sequence: int
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    digest: str
    number: int = -1

    @classmethod
    def of(cls, record: Record) -> Entry:
        """What is kept of a record."""
        return cls(
            record.event,
            record.stream_id,
            record.sequence,
            record.topic,
            record.partition,
            record.offset,
            record.timestamp_ms,
            record.digest.hex(),
        )

    def to_dict(self) -> dict[str, Any]:
        """The event's fields, then where it stands; the same keys as a line of ``tail --json``, and more."""
        out = self.event.to_dict()
        if "topic" in out:  # of a quarantine event: the topic that refused the record
            out["quarantined_topic"] = out.pop("topic")
        for name in ("stream_id", "sequence", "topic", "partition", "offset", "timestamp_ms", "digest"):
            out[name] = getattr(self, name)
        return out


@dataclass(slots=True)
class Moment:
    """An event that stands by itself: a model call, an error, a hand-off, a skill, ...

    Attributes:
        entry: The event.
    """

    entry: Entry

    @property
    def number(self) -> int:
        """Its place in the session."""
        return self.entry.number

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types; ``kind`` is ``event``."""
        return {"kind": "event", **self.entry.to_dict()}


@dataclass(slots=True)
class ToolCall:
    """A tool call: its attempt, its outcome, and what was decided about it.

    Attributes:
        tool_name: The tool.
        call_id: ``tool_call_id``; None when neither attempt nor outcome has one.
        agent_id: Who called it.
        attempt: The attempt; None when it is not among the events.
        outcome: The completion or the failure; None when there is none.
        around: Policy decisions, approvals, sandbox decisions, hook mutations, and warnings and blocks of
            loops that belong to this call, in their order.
        pairing: How attempt and outcome were found to belong together.
    """

    tool_name: str
    call_id: str | None
    agent_id: str | None
    attempt: Entry | None = None
    outcome: Entry | None = None
    around: list[Entry] = field(default_factory=list)
    pairing: Pairing = "alone"

    @property
    def state(self) -> str:
        """What became of it.

        ``done``, ``failed``, or the status that its completion tells (``denied``, ``deferred``, ...); without
        an outcome ``denied``, ``blocked`` or ``refused`` when a policy, the guard against loops or an
        approver said so, ``undecided`` when it was not even attempted, else ``unfinished``.
        """
        if self.outcome is not None:
            event = self.outcome.event
            status = getattr(event, "status", "failed")
            return "done" if status == "success" else status or "done"
        for entry in self.around:
            event = entry.event
            if isinstance(event, ev.ToolLoopBlockEvent):
                return "blocked"
            if isinstance(event, ev.ToolPolicyDecisionEvent) and is_denial(event.action):
                return "denied"
            if isinstance(event, ev.ApprovalEvent) and is_refusal(event.decision):
                return "refused"
        return "undecided" if self.attempt is None else "unfinished"

    @property
    def number(self) -> int:
        """The place of its first event in the session."""
        return min(entry.number for entry in self.entries)

    @property
    def entries(self) -> list[Entry]:
        """All its events: the attempt, what was decided, the outcome."""
        ends = (self.attempt, *self.around, self.outcome)
        return [entry for entry in ends if entry is not None]

    @property
    def began_us(self) -> int:
        """When it began: the attempt's time, or the outcome's less its duration."""
        if self.attempt is None and self.outcome is not None:
            return self.outcome.event.timestamp_us - int(self._told_ms * 1_000)
        return min(entry.event.timestamp_us for entry in self.entries)

    @property
    def ended_us(self) -> int | None:
        """When it ended; None without an outcome."""
        return None if self.outcome is None else self.outcome.event.timestamp_us

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds: as its completion tells, else the time between attempt and outcome; None: unknown."""
        if self._told_ms:
            return self._told_ms
        if self.attempt is None or self.outcome is None or self.pairing == "guess":
            return None
        return _positive_ms(self.attempt.event.timestamp_us, self.outcome.event.timestamp_us)

    @property
    def _told_ms(self) -> float:
        told = 0.0 if self.outcome is None else getattr(self.outcome.event, "duration_ms", 0.0)
        return told if 0.0 < told < float("inf") else 0.0

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types; ``kind`` is ``tool_call``."""
        return {
            "kind": "tool_call",
            "tool_name": self.tool_name,
            "tool_call_id": self.call_id,
            "agent_id": self.agent_id,
            "state": self.state,
            "duration_ms": self.duration_ms,
            "pairing": self.pairing,
            "attempt": None if self.attempt is None else self.attempt.to_dict(),
            "around": [entry.to_dict() for entry in self.around],
            "outcome": None if self.outcome is None else self.outcome.to_dict(),
        }


@dataclass(slots=True)
class Turn:
    """One request to an agent and its answer, with all that happened in between.

    Attributes:
        turn_id: Its id.
        agent_id: Whose turn it is.
        parent_turn_id: The turn that caused it; None when it came from outside.
        start: Its ``turn_start``; None when that is not among the events.
        end: Its ``turn_end``; None when that is not among the events.
        items: What happened, in order: tool calls, single events, and the turns that this one caused.
        depth: How many turns it lies in.
        calls: Tool calls in it and in the turns below it.
        input_tokens: Tokens that went into model calls, in it and below it.
        output_tokens: Tokens that came out of them.
        number: The place of its first event in the session.
        began_us: When it began: its start's time, or that of the earliest event in it.
        last_us: When it ended: its end's time, or that of the latest event in it or below it.
    """

    turn_id: str
    agent_id: str | None
    parent_turn_id: str | None = None
    start: Entry | None = None
    end: Entry | None = None
    items: list[Item] = field(default_factory=list)
    depth: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    number: int = -1
    began_us: int = 0
    last_us: int = 0

    @property
    def state(self) -> str:
        """``ended``, or ``unfinished`` when its end is not among the events."""
        return "unfinished" if self.end is None else "ended"

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from its start to its end; None where one is missing or the clock went back."""
        if self.start is None or self.end is None:
            return None
        return _positive_ms(self.start.event.timestamp_us, self.end.event.timestamp_us)

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types, with all below it; ``kind`` is ``turn``."""
        return {
            "kind": "turn",
            "turn_id": self.turn_id,
            "agent_id": self.agent_id,
            "parent_turn_id": self.parent_turn_id,
            "state": self.state,
            "duration_ms": self.duration_ms,
            "tool_calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "start": None if self.start is None else self.start.to_dict(),
            "items": [item.to_dict() for item in self.items],
            "end": None if self.end is None else self.end.to_dict(),
        }


Item: TypeAlias = "Turn | ToolCall | Moment"
"""What a session or a turn consists of."""


@dataclass(slots=True)
class StreamShare:
    """What of the session is in one stream.

    Attributes:
        stream_id: The stream.
        records: How many of its records belong to the session.
        first_sequence: The lowest sequence among them.
        last_sequence: The highest one.
    """

    stream_id: str
    records: int
    first_sequence: int
    last_sequence: int


@dataclass(slots=True)
class Session:
    """A session, told from its events.

    Attributes:
        session_id: Its id.
        began_us: The earliest event's time.
        ended_us: The latest event's time.
        agents: Who acted, in the order in which they came.
        principals: On whose behalf, as ``(type, id)``; the type may be empty.
        tenants: Which tenants.
        items: What happened, in order: turns, and what belongs to no turn.
        entries: Its events in order; ``number`` is the place here.
        totals: Counts over all its events, those left out included.
        findings: What needs attention, in order.
        streams: The streams that hold it, in the order in which they were opened.
        left_out: Events beyond the limit: they are in ``totals`` and ``streams``, and nowhere else.
        repeated: Records that hold an event again that is there already, as after shipping a log twice.
    """

    session_id: str
    began_us: int
    ended_us: int
    agents: list[str] = field(default_factory=list)
    principals: list[tuple[str, str]] = field(default_factory=list)
    tenants: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    findings: list[Finding] = field(default_factory=list)
    streams: list[StreamShare] = field(default_factory=list)
    left_out: int = 0
    repeated: int = 0

    @property
    def duration_ms(self) -> float:
        """Milliseconds from the earliest to the latest event."""
        return (self.ended_us - self.began_us) / 1_000

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types. Each event stands once, at its place in the tree."""
        return {
            "session_id": self.session_id,
            "began": ev.iso_from_us(self.began_us),
            "ended": ev.iso_from_us(self.ended_us),
            "duration_ms": self.duration_ms,
            "agents": self.agents,
            "principals": [{"type": kind or None, "id": name} for kind, name in self.principals],
            "tenants": self.tenants,
            "totals": self.totals.to_dict(),
            "findings": [finding.to_dict() for finding in self.findings],
            "items": [item.to_dict() for item in self.items],
            "streams": [asdict(share) for share in self.streams],
            "left_out": self.left_out,
            "repeated": self.repeated,
        }


def _positive_ms(began_us: int, ended_us: int) -> float | None:
    """None when the clock went back in between."""
    return None if ended_us < began_us else (ended_us - began_us) / 1_000
