"""examples/worker_pool.py: one session over several processes, however they begin."""

from __future__ import annotations

import pytest
from example_support import run, trail_of

from auditwire import CheckpointEvent, ToolCallFailureEvent, TurnEndEvent, TurnStartEvent
from auditwire.testing import EmbeddedBroker


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_deliver_their_own_streams_and_name_the_coordinators_turn(method: str) -> None:
    with EmbeddedBroker() as broker:
        printed = run("worker_pool.py", broker.bootstrap_servers, "--start-method", method)
        trail = trail_of(broker)
    assert printed.startswith("3 words")
    assert len({e.session_id for e in trail.events}) == 1

    starts = [e for e in trail.events if isinstance(e, TurnStartEvent)]
    coordinator, *workers = sorted(starts, key=lambda e: str(e.agent_id))
    assert coordinator.agent_id == "coordinator"
    assert [(e.agent_id, e.parent_agent_id, e.parent_turn_id) for e in workers] == [
        ("worker", "coordinator", coordinator.turn_id)
    ] * 4
    for start in workers:
        _, attempt, outcome, end = trail.types(turn_id=start.turn_id)
        failed = start.prompt_preview == "3.txt"
        assert (attempt, end) == ("tool_call_attempt", "turn_end")
        assert outcome == ("tool_call_failure" if failed else "tool_call_complete")
    assert [e.error_type for e in trail.events if isinstance(e, ToolCallFailureEvent)] == [
        "FileNotFoundError"
    ]
    total = next(e for e in trail.events if isinstance(e, TurnEndEvent) and e.agent_id == "coordinator")
    assert total.content_preview == "3"

    # a worker that got no job has no stream: nothing to tell
    assert 2 <= len(trail.reports) <= 3
    assert {report.verdict for report in trail.reports} == {"complete"}
    # a forked worker has its parent's emitter, and its stream says so; others made their own
    own = next(r.stream_id for r in trail.records if r.event.turn_id == coordinator.turn_id)
    opened = {
        r.stream_id: r.event.parent_stream
        for r in trail.records
        if isinstance(r.event, CheckpointEvent) and r.event.reason == "open"
    }
    assert set(opened.values()) == ({None, own} if method == "fork" else {None})
