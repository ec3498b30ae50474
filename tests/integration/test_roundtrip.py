"""From ``emit_*`` to a broker and back: the same event, and the bytes that the schema says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire import AuditEmitter
from auditwire.events import TurnStartEvent

from emit_support import collector, read_all

if TYPE_CHECKING:
    from rig.broker import Broker


def test_one_turn_start_goes_to_the_broker_and_comes_back_equal(broker: Broker, prefix: str) -> None:
    with collector(broker, prefix) as kafka:
        emitter = AuditEmitter(kafka, session_id="s-1", agent_id="planner")
        turn = emitter.emit_turn_start(prompt="What is the weather in Trondheim?")
        emitter.flush()
    (record,) = read_all(broker.bootstrap, prefix).of_type("turn_start")
    assert isinstance(record.event, TurnStartEvent)
    assert record.event.turn_id == turn
    assert record.event.session_id == "s-1"
    assert record.event.agent_id == "planner"
    assert record.event.prompt_preview == "What is the weather in Trondheim?"
    assert record.topic == f"{prefix}.turn-start"
