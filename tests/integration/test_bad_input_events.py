"""Events that nobody should emit: each arrives all the same, and never stands in the way of the others."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from emit_support import assert_complete, collector, read_all

from auditwire import AuditEmitter, CollectorClosed
from auditwire.events import CheckpointEvent, ErrorEvent, TurnEndEvent, TurnStartEvent

if TYPE_CHECKING:
    from rig.broker import Broker


class Hostile(str):
    """A text that does not let itself be used."""

    __slots__ = ()

    def __str__(self) -> str:
        raise ValueError("no")

    def encode(self, *_: object) -> bytes:
        raise ValueError("no")


class Unequal:
    """A value that cannot be rendered, compared or hashed."""

    def __str__(self) -> str:
        raise ValueError("no")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise ValueError("no")

    __hash__ = None  # type: ignore[assignment] # that is the point


MISFITS: dict[str, dict[str, Any]] = {
    "event_id a number": {"event_id": 123},
    "event_id None": {"event_id": None},
    "event_id empty": {"event_id": ""},
    "event_id with a lone surrogate": {"event_id": "\ud800x"},
    "event_id of 2 MB": {"event_id": "x" * 2_000_000},
    "session_id zero": {"session_id": 0},
    "session_id a number": {"session_id": 5},
    "session_id False": {"session_id": False},
    "session_id empty": {"session_id": ""},
    "session_id with a lone surrogate": {"session_id": "\ud800x"},
    "session_id bytes": {"session_id": b"abc\xff"},
    "session_id of 5 MB": {"session_id": "s" * 5_000_000},
    "session_id hostile": {"session_id": Hostile("abc")},
    "session_id unusable": {"session_id": Unequal()},
    "trace ids numbers": {"trace_id": 5, "span_id": 6},
    "trace ids bytes": {"trace_id": b"a" * 32, "span_id": b"b" * 16},
    "trace_id alone": {"trace_id": "0af7651916cd43dd8448eb211c80319c"},
    "trace ids malformed": {"trace_id": "x\r\ny: z", "span_id": "\0"},
    "time None": {"timestamp_us": None},
    "time beyond 64 bits": {"timestamp_us": 10**30},
    "time not a number": {"timestamp_us": float("nan")},
    "time infinite": {"timestamp_us": float("inf")},
    "time text": {"timestamp_us": "yesterday"},
    "severity a number": {"severity": 3},
    "metadata None": {"metadata": None},
    "metadata a list": {"metadata": [1, 2]},
    "metadata that cannot be rendered": {"metadata": {"k": Unequal()}},
    "metadata of 10,000 keys": {"metadata": {f"key-{n}": "v" * 50 for n in range(10_000)}},
    "metadata of 100,000 keys": {"metadata": {f"key-{n}": n for n in range(100_000)}},
    "metadata of one key of 5 MB": {"metadata": {"k" * 5_000_000: 1}},
    "length negative": {"prompt_length": -1},
    "length beyond 64 bits": {"prompt_length": 1 << 64},
    "preview None": {"prompt_preview": None},
    "preview of 20 MB": {"prompt_preview": "æ" * 10_000_000},
    "everything of 5 MB": dict.fromkeys(
        ("event_id", "session_id", "turn_id", "agent_id", "tenant_id", "prompt_preview"), "x" * 5_000_000
    ),
}


def test_misfits_arrive_and_so_does_what_was_emitted_between_them(broker: Broker, prefix: str) -> None:
    kafka = collector(broker, prefix)
    for name, values in MISFITS.items():
        kafka.emit(TurnStartEvent(parent_agent_id=name, **values))
        kafka.emit(TurnEndEvent(session_id=name))
    kafka.close()
    health = kafka.health()
    trail = read_all(broker.bootstrap, prefix)
    arrived = [r.event.parent_agent_id for r in trail.events if isinstance(r.event, TurnStartEvent)]
    assert arrived == [*MISFITS]
    assert [r.event.session_id for r in trail.of_type("turn_end")] == [*MISFITS]
    assert_complete(trail.report(kafka.stream_id))
    assert (health.lost, health.quarantined, health.faults) == ({}, {}, 0)


@pytest.mark.parametrize("misfit", ["time None", "time text", "time not a number"])
def test_an_event_without_a_usable_time_has_one_time_in_body_and_kafka_timestamp(
    broker: Broker, prefix: str, misfit: str
) -> None:
    before_ms = time.time_ns() // 1_000_000
    with collector(broker, prefix) as kafka:
        kafka.emit(TurnStartEvent(**MISFITS[misfit]))
    (record,) = read_all(broker.bootstrap, prefix).events
    assert record.timestamp_ms == record.event.timestamp_us // 1_000
    assert before_ms <= record.timestamp_ms <= time.time_ns() // 1_000_000


def test_a_value_of_20_mb_is_cut_and_its_length_and_digest_are_kept(broker: Broker, prefix: str) -> None:
    message = "0123456789" * 2_000_000
    with collector(broker, prefix) as kafka:
        emitter = AuditEmitter(kafka, on_error="raise")
        emitter.emit_error("Huge", message)
    (record,) = read_all(broker.bootstrap, prefix).events
    assert isinstance(record.event, ErrorEvent)
    assert message.startswith(record.event.error_message)
    assert 800_000 < len(record.body) <= 900 * 1_024
    note = record.event.metadata["auditwire.truncated"]["error_message"]
    assert note["length"] == 20_000_000
    assert note["digest"] == f"sha256:{hashlib.sha256(message.encode()).hexdigest()}"
    assert kafka.health().truncated == {"error_message": 1}


def test_an_event_after_close_is_refused(broker: Broker, prefix: str) -> None:
    kafka = collector(broker, prefix)
    kafka.emit(TurnStartEvent())
    kafka.close()
    with pytest.raises(CollectorClosed, match="closed"):
        kafka.emit(TurnStartEvent())
    assert len(read_all(broker.bootstrap, prefix).events) == 1


def test_an_emitter_logs_and_counts_events_after_close_and_the_agent_goes_on(
    broker: Broker, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    emitter = AuditEmitter(collector(broker, prefix))
    emitter.emit_turn_start()
    emitter.close()
    for _ in range(3):
        emitter.emit_turn_start()
    assert emitter.refused == 3
    assert [r.levelname for r in caplog.records if "CollectorClosed" in r.message] == ["ERROR"]


def test_closing_twice_flushing_afterwards_and_asking_for_health_do_no_harm(
    broker: Broker, prefix: str
) -> None:
    kafka = collector(broker, prefix)
    kafka.emit(TurnStartEvent())
    kafka.close()
    kafka.close()
    kafka.flush(0.5)
    health = kafka.health()
    assert (health.state, health.accepted, health.delivered, health.pending_records) == ("closed", 1, 1, 0)
    assert_complete(read_all(broker.bootstrap, prefix).reports[0])


def test_a_control_record_that_a_caller_makes_up_does_not_pass_for_the_librarys_own(
    broker: Broker, prefix: str
) -> None:
    with collector(broker, prefix) as kafka:
        kafka.emit(TurnStartEvent())
        try:
            kafka.emit(CheckpointEvent(reason="close", acknowledged=999, first_sequence=0))
        except Exception as error:  # noqa: BLE001 - refusing it is as good as keeping it apart
            refused: Exception | None = error
        else:
            refused = None
        kafka.emit(TurnStartEvent())
        kafka.flush()
        health = kafka.health()
    assert health.accepted == health.delivered
    (report,) = read_all(broker.bootstrap, prefix).reports
    assert [f for f in report.faults if f.kind != "declared_loss"] == []
    assert report.closed
    assert refused is None or report.declared_lost == 1
