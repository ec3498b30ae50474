from __future__ import annotations

import pytest

from auditwire.events import (
    AgentSwitchEvent,
    AuditEvent,
    ErrorEvent,
    ModelCallEvent,
    ToolCallAttemptEvent,
    TurnEndEvent,
    TurnStartEvent,
)
from auditwire.sessions import Item, Session, Turn
from auditwire.sessions.tree import DEPTH, walk
from support.told import session_of


def start(turn: str | None, parent: str | None = None, agent: str = "a") -> TurnStartEvent:
    return TurnStartEvent(turn_id=turn, agent_id=agent, parent_turn_id=parent)


def end(turn: str, agent: str = "a") -> TurnEndEvent:
    return TurnEndEvent(turn_id=turn, agent_id=agent)


Shape = list[object]


def shape(items: list[Item]) -> Shape:
    """Turn ids, each followed by the shape of what lies in it; other items by their kind."""
    out: Shape = []
    for item in items:
        if isinstance(item, Turn):
            out.append(item.turn_id)
            out += [shape(item.items)] if item.items else []
        else:
            out.append(type(item).__name__)
    return out


def turns(session: Session) -> list[Turn]:
    return [item for item in walk(session.items) if isinstance(item, Turn)]


def test_a_turn_lies_in_the_one_that_its_parent_turn_id_names() -> None:
    session = session_of(start("1"), start("2", "1"), end("2"), ErrorEvent(turn_id="1"), end("1"))
    assert shape(session.items) == ["1", ["2", "Moment"]]
    assert [(turn.depth, turn.state, turn.duration_ms) for turn in turns(session)] == [
        (0, "ended", 4_000.0),
        (1, "ended", 1_000.0),
    ]


def test_a_turn_lies_in_the_open_turn_that_handed_over_to_its_agent() -> None:
    session = session_of(
        start("1"),
        AgentSwitchEvent(turn_id="1", from_agent="a", to_agent="b"),
        start("2", agent="b"),
        end("2", "b"),
        start("3", agent="b"),
    )
    assert shape(session.items) == ["1", ["Moment", "2"], "3"]


def test_a_turn_after_a_hand_over_of_an_ended_turn_stands_beside_it() -> None:
    switch = AgentSwitchEvent(turn_id="1", from_agent="a", to_agent="b")
    assert shape(session_of(start("1"), switch, end("1"), start("2", agent="b")).items) == [
        "1",
        ["Moment"],
        "2",
    ]


def test_a_parent_that_is_named_wins_over_a_hand_over() -> None:
    switch = AgentSwitchEvent(turn_id="1", from_agent="a", to_agent="b")
    session = session_of(start("0"), start("1"), switch, start("2", "0", "b"))
    assert shape(session.items) == ["0", ["2"], "1", ["Moment"]]


def test_a_parent_that_is_not_in_the_session_leaves_the_turn_at_the_top() -> None:
    session = session_of(start("1", "elsewhere"))
    (turn,) = turns(session)
    assert (shape(session.items), turn.parent_turn_id) == (["1"], "elsewhere")


def test_a_parent_whose_start_comes_later_is_found() -> None:
    assert shape(session_of(start("2", "1"), start("1")).items) == ["1", ["2"]]


@pytest.mark.parametrize("parents", [("1", None), ("2", "1"), ("3", "1", "2")])
def test_turns_that_name_each_other_in_a_circle_are_all_there(parents: tuple[str | None, ...]) -> None:
    events = [start(str(number), parent) for number, parent in enumerate(parents, 1)]
    session = session_of(*events)
    assert sorted(turn.turn_id for turn in turns(session)) == [
        str(number + 1) for number in range(len(parents))
    ]


def test_turns_that_lie_too_deep_stand_beside_each_other_on_the_last_level() -> None:
    session = session_of(*(start(str(number), str(number - 1)) for number in range(100)))
    depths = {turn.turn_id: turn.depth for turn in turns(session)}
    assert depths == {str(number): min(number, DEPTH) for number in range(100)}


def test_an_event_of_a_turn_without_a_start_begins_the_turn() -> None:
    session = session_of(ErrorEvent(turn_id="1", agent_id="a"), end("1"))
    (turn,) = turns(session)
    assert (turn.start, turn.agent_id, turn.state, turn.duration_ms) == (None, "a", "ended", None)
    assert (turn.began_us, turn.last_us) == (1_000_000, 2_000_000)


def test_a_start_that_comes_behind_its_turns_events_is_that_turns_start() -> None:
    session = session_of(ErrorEvent(turn_id="2"), start("1"), start("2", "1", "b"), end("2"))
    assert shape(session.items) == ["1", ["2", ["Moment"]]]
    assert turns(session)[1].agent_id == "b"


def test_a_turn_id_that_is_used_again_begins_another_turn() -> None:
    session = session_of(start("1"), end("1"), start("1"), ErrorEvent(turn_id="1"))
    assert shape(session.items) == ["1", "1", ["Moment"]]
    assert [turn.state for turn in turns(session)] == ["ended", "unfinished"]


def test_a_turn_without_an_id_is_a_turn_of_its_own() -> None:
    assert shape(session_of(start(None), start(None)).items) == ["", ""]


def test_a_second_end_stands_as_an_event() -> None:
    assert shape(session_of(start("1"), end("1"), end("1")).items) == ["1", ["Moment"]]


def test_what_names_no_turn_stands_at_the_top() -> None:
    session = session_of(ErrorEvent(), start("1"), ToolCallAttemptEvent(tool_name="x"), TurnEndEvent())
    assert shape(session.items) == ["Moment", "1", "ToolCall", "Moment"]


def test_a_turn_sums_up_what_lies_in_it() -> None:
    session = session_of(
        start("1"),
        ModelCallEvent(turn_id="1", input_tokens=10, output_tokens=1),
        start("2", "1"),
        ModelCallEvent(turn_id="2", input_tokens=5, output_tokens=2),
        ToolCallAttemptEvent(turn_id="2", tool_name="x"),
    )
    outer, inner = turns(session)
    assert (outer.calls, outer.input_tokens, outer.output_tokens) == (1, 15, 3)
    assert (inner.calls, inner.input_tokens, inner.output_tokens) == (1, 5, 2)
    assert (outer.began_us, outer.last_us) == (1_000_000, 5_000_000)
    assert session.totals.turns == session.totals.unfinished_turns == 2


def test_a_clock_that_went_back_leaves_a_turn_without_a_duration() -> None:
    first: list[AuditEvent] = [start("1"), end("1")]
    session = session_of(*first)
    (turn,) = turns(session)
    assert turn.end is not None
    turn.end.event.timestamp_us = 0
    assert turn.duration_ms is None
