from __future__ import annotations

import json
import random
from dataclasses import replace

from auditwire.cli.lines import record_dict
from auditwire.events import (
    ApprovalEvent,
    CheckpointEvent,
    ErrorEvent,
    ModelCallEvent,
    QuarantineEvent,
    ToolPolicyDecisionEvent,
    TurnStartEvent,
)
from auditwire.sessions import Entry, Session, SessionBuilder, StreamShare, Turn
from auditwire.sessions.tree import walk
from support.stream_builder import STREAM, record_of
from support.told import ID, OTHER_STREAM, records_of, script, session_of, support_streams


def build(*records: object, most: int = 100) -> Session:
    builder = SessionBuilder(ID, most=most)
    for record in records:
        builder.add(record)  # type: ignore[arg-type] # records, for brevity
    session = builder.build()
    assert session is not None
    return session


def order(session: Session) -> list[tuple[str, int]]:
    return [(entry.stream_id[-1], entry.sequence) for entry in session.entries]


def test_there_is_no_session_of_no_records() -> None:
    builder = SessionBuilder(ID)
    builder.add(record_of(ErrorEvent(session_id="another"), 1))
    builder.add(record_of(CheckpointEvent(session_id=ID), 2))
    assert builder.build() is None


def test_in_a_stream_the_sequence_is_the_order_though_the_clock_goes_back() -> None:
    records = records_of([ErrorEvent() for _ in range(4)])
    records[2].event.timestamp_us = 0
    other = records_of([ErrorEvent()], OTHER_STREAM)
    other[0].event.timestamp_us = records[2].event.timestamp_us + 2_500_000
    assert order(build(*other, *reversed(records))) == [("1", 1), ("1", 2), ("1", 3), ("2", 1), ("1", 4)]


def test_any_order_of_arrival_makes_the_same_session() -> None:
    records = [record for stream in support_streams() for record in stream.records]
    sessions = []
    for seed in range(3):
        random.Random(seed).shuffle(records)
        builder = SessionBuilder(script().SESSION)
        for record in records:
            builder.add(record)
        session = builder.build()
        assert session is not None
        sessions.append(json.dumps(session.to_dict()))
    assert sessions[0] == sessions[1] == sessions[2]


def test_who_acted_for_whom_is_told_once_each() -> None:
    session = session_of(
        TurnStartEvent(agent_id="a", principal_id="dana", principal_type="user", tenant_id="acme"),
        TurnStartEvent(agent_id="b", principal_id="dana", principal_type="user"),
        TurnStartEvent(principal_id="cron", tenant_id="acme"),
    )
    assert session.agents == ["a", "b"]
    assert session.principals == [("user", "dana"), ("", "cron")]
    assert session.tenants == ["acme"]


def test_an_event_that_was_shipped_twice_is_told_once_and_counted() -> None:
    (record,) = records_of([ErrorEvent()])
    again = record_of(record.event, 7, OTHER_STREAM)
    session = build(record, again)
    assert (len(session.entries), session.repeated, session.totals.errors) == (1, 1, 1)
    assert session.streams == [StreamShare(STREAM, 1, 1, 1), StreamShare(OTHER_STREAM, 1, 7, 7)]


def test_another_event_under_a_known_id_is_told_too() -> None:
    (record,) = records_of([ErrorEvent(error_message="one")])
    forged = record_of(replace(record.event, error_message="two"), 7, OTHER_STREAM)  # type: ignore[call-arg]
    session = build(record, forged)
    assert (len(session.entries), session.repeated) == (2, 0)


def test_events_beyond_the_limit_are_counted_and_left_out() -> None:
    session = build(*records_of([ErrorEvent() for _ in range(5)]), most=3)
    assert (len(session.entries), session.left_out, session.totals.errors) == (3, 2, 5)
    assert session.streams == [StreamShare(STREAM, 5, 1, 5)]
    assert session.duration_ms == 4_000.0


def test_the_limit_keeps_the_first_events_whatever_the_order_of_arrival() -> None:
    session = build(*reversed(records_of([ErrorEvent() for _ in range(5)])), most=3)
    assert order(session) == [("1", 1), ("1", 2), ("1", 3)]


def test_totals_count_models_and_decisions() -> None:
    session = session_of(
        ModelCallEvent(provider="p", model="m", input_tokens=10, output_tokens=2, duration_ms=5.0),
        ModelCallEvent(provider="p", model="m", input_tokens=1, status="error", duration_ms=5.0),
        ModelCallEvent(provider="p", model="n", output_tokens=7),
        ToolPolicyDecisionEvent(tool_name="x", action="deny"),
        ToolPolicyDecisionEvent(tool_name="x", action="allow"),
        ApprovalEvent(tool_name="x", decision="yes"),
        ApprovalEvent(tool_name="x", decision="rejected"),
        ApprovalEvent(tool_name="x", decision="later"),
    )
    totals = session.totals
    assert (totals.model_calls, totals.input_tokens, totals.output_tokens) == (3, 11, 9)
    first = totals.models["p", "m"]
    assert (first.calls, first.failed, first.duration_ms) == (2, 1, 10.0)
    assert (totals.decisions, totals.denied, totals.approved, totals.refused) == (2, 1, 1, 1)


def test_the_dictionary_is_json_and_holds_each_event_once_with_its_place() -> None:
    streams = support_streams()
    builder = SessionBuilder(script().SESSION)
    for stream in streams:
        for record in stream.records:
            builder.add(record)
    session = builder.build()
    assert session is not None
    text = json.dumps(session.to_dict()["items"])
    wanted = [r for s in streams for r in s.records if r.event.session_id == script().SESSION]
    for record in wanted:
        assert text.count(f'"digest": "{record.digest.hex()}"') == 1
    assert len(wanted) == session.totals.events == 56


def test_an_entry_says_all_that_a_line_of_tail_says() -> None:
    record = record_of(QuarantineEvent(topic="audit.error"), 3)
    entry = Entry.of(record).to_dict()
    assert entry.items() >= record_dict(record).items()
    assert entry["quarantined_topic"] == "audit.error"


def test_the_session_of_the_example_is_told_in_full() -> None:
    builder = SessionBuilder(script().SESSION)
    for stream in support_streams():
        for record in stream.records:
            builder.add(record)
    session = builder.build()
    assert session is not None
    turns = [item for item in walk(session.items) if isinstance(item, Turn)]
    assert [(turn.turn_id, turn.depth) for turn in turns] == [
        ("concierge-1", 0),
        ("researcher-1", 1),
        ("payments-1", 1),
        ("concierge-2", 0),
    ]
    assert session.agents == ["concierge", "researcher", "payments"]
    assert dict(session.totals.states) == {
        "done": 9,
        "failed": 1,
        "blocked": 1,
        "denied": 1,
        "refused": 1,
        "unfinished": 1,
    }
    assert [(f.level, f.what, f.subject) for f in session.findings] == [
        ("error", "failed", "track_parcel"),
        ("warning", "may be a loop", "refund_state"),
        ("error", "stopped as a loop", "refund_state"),
        ("error", "denied by a policy", "credit"),
        ("error", "model call failed", "vllm/llama-3.3-70b"),
        ("error", "not approved", "update_address"),
        ("error", "error", "concierge"),
        ("warning", "call without an outcome", "send_mail"),
    ]
