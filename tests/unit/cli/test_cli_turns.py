"""Records in, steps out: what a tree of turns grows by, and that it always fits together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from auditwire import events as ev
from auditwire.cli.turns import OpenTurns
from support.stream_builder import STREAM, record_of

if TYPE_CHECKING:
    from auditwire.cli.turns import Step
    from auditwire.reading import Record

NOW = 1_790_000_000_000_000
S = 1_000_000
HOUR = 3_600 * S
OTHER = "01920000-0000-7000-8000-000000000002"


class Story:
    """Records of one session or several, one second after the other."""

    def __init__(self) -> None:
        self.turns = OpenTurns()
        self.sequence = 0
        self.at = NOW

    def tell(
        self, event: ev.AuditEvent, *, stream_id: str = STREAM, late: bool = False, seconds: float = 1
    ) -> list[Step]:
        self.at += round(seconds * S)
        event.timestamp_us = self.at
        record: Record = record_of(event, self.sequence, stream_id)
        record.late = late
        self.sequence += 1
        return self.turns.place(record)

    def one(self, event: ev.AuditEvent, **more: Any) -> Step:
        (step,) = self.tell(event, **more)
        return step

    def start(self, turn_id: str, agent: str = "a", session: str | None = "s", **fields: Any) -> Step:
        return self.one(ev.TurnStartEvent(turn_id=turn_id, agent_id=agent, session_id=session, **fields))

    def end(self, turn_id: str, session: str | None = "s", **more: Any) -> Step:
        return self.one(ev.TurnEndEvent(turn_id=turn_id, session_id=session), **more)

    def event(self, turn_id: str | None, session: str | None = "s", **more: Any) -> list[Step]:
        return self.tell(ev.ErrorEvent(turn_id=turn_id, session_id=session), **more)


def shape(step: Step) -> tuple[str, int | None, tuple[bool, ...], int | None]:
    return (step.kind, None if step.turn is None else step.turn.lane, step.lanes, step.joined)


@pytest.fixture
def story() -> Story:
    return Story()


def test_a_turn_begins_has_events_and_ends_with_its_duration_and_counts(story: Story) -> None:
    assert shape(story.start("t")) == ("begin", 0, (True,), None)
    (step,) = story.event("t")
    assert shape(step) == ("event", 0, (True,), None)
    story.tell(ev.ToolCallAttemptEvent(turn_id="t", session_id="s"))
    end = story.end("t", seconds=2.5)
    assert shape(end) == ("end", 0, (True,), None)
    assert end.duration_us == 4_500_000
    assert end.turn is not None
    assert (end.turn.events, end.turn.calls, end.turn.errors, end.turn.open) == (4, 1, 1, False)
    assert shape(story.start("u")) == ("begin", 0, (True,), None)


def test_a_turn_inside_another_has_its_lane_to_the_right_and_joins_it(story: Story) -> None:
    story.start("t")
    assert shape(story.start("u", parent_turn_id="t")) == ("begin", 1, (True, True), 0)
    assert shape(story.start("v", parent_turn_id="u")) == ("begin", 2, (True, True, True), 1)
    assert shape(story.event("t")[0]) == ("event", 0, (True, True, True), None)
    assert shape(story.end("v")) == ("end", 2, (True, True, True), 1)
    assert shape(story.end("u")) == ("end", 1, (True, True), 0)


def test_turns_beside_each_other_have_lanes_of_their_own_and_a_free_one_is_used_again(story: Story) -> None:
    for turn_id in "tuv":
        story.start(turn_id)
    assert shape(story.end("u")) == ("end", 1, (True, True, True), None)
    assert shape(story.event("v")[0]) == ("event", 2, (True, False, True), None)
    assert shape(story.start("w", parent_turn_id="v")) == ("begin", 3, (True, False, True, True), 2)
    assert shape(story.start("x", parent_turn_id="t")) == ("begin", 1, (True, True, True, True), 0)


def test_a_turn_that_outlives_the_one_around_it_joins_nothing(story: Story) -> None:
    story.start("t")
    story.start("u", parent_turn_id="t")
    story.end("t")
    assert shape(story.event("u")[0]) == ("event", 1, (False, True), None)
    assert shape(story.end("u")) == ("end", 1, (False, True), None)


def test_a_hand_over_puts_the_next_turn_of_that_agent_inside_the_turn(story: Story) -> None:
    story.start("t", "planner")
    story.tell(ev.AgentSwitchEvent(turn_id="t", session_id="s", from_agent="planner", to_agent="reviewer"))
    assert shape(story.start("u", "other")) == ("begin", 1, (True, True), None)
    assert shape(story.start("v", "reviewer")) == ("begin", 2, (True, True, True), 0)
    assert story.start("w", "reviewer").joined is None  # it was handed over once


def test_a_hand_over_by_a_turn_that_has_ended_puts_the_next_one_beside(story: Story) -> None:
    story.start("t", "planner")
    story.tell(ev.AgentSwitchEvent(turn_id="t", session_id="s", to_agent="reviewer"))
    story.end("t")
    assert shape(story.start("v", "reviewer")) == ("begin", 0, (True,), None)


def test_a_turn_is_inside_the_last_open_turn_of_the_agent_it_names(story: Story) -> None:
    story.start("t", "planner")
    story.start("u", "planner")
    story.start("x", "other")
    assert shape(story.start("v", "reviewer", parent_agent_id="planner")) == ("begin", 3, (True,) * 4, 1)
    assert story.start("w", "reviewer", parent_agent_id="nobody").joined is None


def test_a_turn_around_that_is_not_known_is_none(story: Story) -> None:
    story.start("t", "planner")
    assert story.start("u", parent_turn_id="elsewhere", parent_agent_id="planner").joined is None
    assert story.start("v", parent_turn_id="v").joined is None


def test_sessions_have_lanes_of_their_own_and_are_numbered(story: Story) -> None:
    first, second = story.start("t", session="s-1"), story.start("t", session="s-2")
    assert (first.session, second.session) == (0, 1)
    assert shape(second) == ("begin", 0, (True,), None)
    (again,) = story.event("t", session="s-1")
    assert (again.session, again.turn) == (0, first.turn)


def test_without_a_session_turns_are_told_apart_by_their_stream(story: Story) -> None:
    first = story.start("t", session=None)
    (second,) = story.tell(ev.TurnStartEvent(turn_id="t"), stream_id=OTHER)
    assert (first.session, second.session) == (0, 1)


def test_an_event_without_a_turn_stands_beside_the_open_ones(story: Story) -> None:
    story.start("t")
    (step,) = story.event(None)
    assert shape(step) == ("event", None, (True,), None)


def test_the_librarys_own_records_stand_alone(story: Story) -> None:
    story.start("t")
    step = story.one(ev.LossEvent())
    assert (shape(step), step.session) == (("event", None, (), None), None)


def test_an_event_without_session_and_turn_stands_beside_the_turns_of_its_stream(story: Story) -> None:
    story.start("t", session=None)
    (step,) = story.event(None, session=None)
    assert (shape(step), step.session) == (("event", None, (True,), None), 0)
    (step,) = story.event(None, session=None, stream_id=OTHER)
    assert (shape(step), step.session) == (("event", None, (), None), 1)


def test_of_a_turn_whose_start_was_not_seen_this_is_said_once(story: Story) -> None:
    first, second = story.event("t")
    assert shape(first) == ("resume", 0, (True,), None)
    assert shape(second) == ("event", 0, (True,), None)
    assert [step.kind for step in story.event("t")] == ["event"]
    end = story.end("t")
    assert (end.kind, end.duration_us) == ("end", None)


def test_the_end_of_a_turn_that_is_not_open_stands_beside_the_open_ones(story: Story) -> None:
    story.start("t")
    assert shape(story.end("u")) == ("end", None, (True,), None)


def test_what_comes_behind_a_turns_end_opens_nothing(story: Story) -> None:
    story.start("t")
    story.end("t")
    assert [shape(step) for step in story.event("t")] == [("event", None, (), None)]


def test_a_late_record_opens_nothing_and_keeps_its_turn_while_that_is_open(story: Story) -> None:
    (step,) = story.tell(ev.TurnStartEvent(turn_id="t", session_id="s"), late=True)
    assert shape(step) == ("event", None, (), None)
    assert [step.kind for step in story.event("t", late=True)] == ["event"]
    story.start("u")
    (step,) = story.event("u", late=True)
    assert shape(step) == ("event", 0, (True,), None)
    assert story.end("u", late=True).turn is not None


def test_an_id_that_begins_twice_is_a_new_turn(story: Story) -> None:
    first, second = story.start("t"), story.start("t")
    assert first.turn is not second.turn
    assert shape(second) == ("begin", 0, (True,), None)


@pytest.mark.parametrize(
    "last",
    [ev.CheckpointEvent(reason="close"), ev.RecoveryEvent(orphan_stream=STREAM)],
    ids=["closed", "recovered"],
)
def test_a_stream_that_is_over_breaks_the_turns_it_left_open_inner_ones_first(
    story: Story, last: ev.AuditEvent
) -> None:
    story.start("t")
    story.start("u", parent_turn_id="t")
    story.one(ev.TurnStartEvent(turn_id="other", session_id="s"), stream_id=OTHER)
    own = STREAM if isinstance(last, ev.CheckpointEvent) else OTHER
    steps = story.tell(last, stream_id=own)
    assert [shape(step) for step in steps] == [
        ("broken", 1, (True, True, True), 0),
        ("broken", 0, (True, False, True), None),
        ("event", None, (), None),
    ]
    assert [step.session for step in steps] == [0, 0, None]
    assert shape(story.event("other")[0]) == ("event", 2, (False, False, True), None)


def test_another_checkpoint_breaks_nothing(story: Story) -> None:
    story.start("t")
    for reason in ("open", "interval", "heartbeat"):
        assert [step.kind for step in story.tell(ev.CheckpointEvent(reason=reason))] == ["event"]
    assert story.end("t").turn is not None


# -- durations of calls -------------------------------------------------------------------------------------


def call(
    kind: type[ev.AuditEvent], call_id: str | None = None, tool: str = "x", **fields: Any
) -> ev.AuditEvent:
    tool_event: Any = kind
    event: ev.AuditEvent = tool_event(
        turn_id="t", session_id="s", tool_name=tool, tool_call_id=call_id, **fields
    )
    return event


def test_an_outcome_tells_its_duration_or_it_is_the_time_since_the_attempt(story: Story) -> None:
    story.start("t")
    assert story.one(call(ev.ToolCallAttemptEvent)).duration_us is None
    assert story.one(call(ev.ToolCallCompleteEvent, duration_ms=12.5)).duration_us == 12_500
    story.tell(call(ev.ToolCallAttemptEvent))
    assert story.one(call(ev.ToolCallFailureEvent), seconds=2).duration_us == 2 * S
    assert story.one(call(ev.ToolCallFailureEvent)).duration_us is None  # no attempt is left


def test_outcomes_find_their_attempts_by_id_and_without_one_by_tool_and_order(story: Story) -> None:
    story.start("t")
    for call_id, tool in (("1", "x"), ("2", "x"), (None, "x"), (None, "x"), (None, "y")):
        story.tell(call(ev.ToolCallAttemptEvent, call_id, tool))
    found = [
        story.one(call(ev.ToolCallFailureEvent, call_id, tool)).duration_us
        for call_id, tool in (("2", "x"), ("1", "x"), (None, "y"), (None, "x"), (None, "x"), ("3", "x"))
    ]
    assert found == [4 * S, 6 * S, 3 * S, 6 * S, 6 * S, None]


@pytest.mark.parametrize("told", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_a_duration_that_cannot_be_is_taken_from_the_clock(story: Story, told: float) -> None:
    story.start("t")
    story.tell(call(ev.ToolCallAttemptEvent))
    assert story.one(call(ev.ToolCallCompleteEvent, duration_ms=told)).duration_us == S


def test_a_clock_that_was_set_back_gives_no_duration(story: Story) -> None:
    story.start("t")
    story.tell(call(ev.ToolCallAttemptEvent))
    assert story.one(call(ev.ToolCallFailureEvent), seconds=-1).duration_us is None
    assert story.end("t", seconds=-10).duration_us is None


# -- bounds -------------------------------------------------------------------------------------------------


def test_a_turn_without_an_event_for_an_hour_is_forgotten_but_not_the_one_that_waits_for_another(
    story: Story,
) -> None:
    story.start("idle")
    story.start("outer")
    story.start("inner", parent_turn_id="outer")
    story.at += HOUR
    story.event("inner")
    assert shape(story.start("next")) == ("begin", 0, (True, True, True), None)
    assert [step.kind for step in story.event("idle")] == ["resume", "event"]
    assert story.end("inner").joined == 1


def test_the_turn_around_a_new_one_is_never_forgotten_for_it(story: Story) -> None:
    story.start("outer")
    story.at += 2 * HOUR
    assert shape(story.start("inner", parent_turn_id="outer")) == ("begin", 1, (True, True), 0)


def test_of_too_many_turns_the_one_that_had_no_event_for_longest_is_forgotten(story: Story) -> None:
    for number in range(64):
        story.start(f"t{number}")
    story.event("t0")
    step = story.start("one more", parent_turn_id="t1")
    assert shape(step) == ("begin", 2, (True,) * 64, 1)
    assert [step.kind for step in story.event("t2")] == ["resume", "event"]


def test_of_too_many_sessions_the_one_that_was_seen_first_is_forgotten(story: Story) -> None:
    for number in range(1_000):
        story.start("t", session=str(number))
    story.event("t", session="0")
    story.start("t", session="one more")
    assert [step.kind for step in story.event("t", session="0")] == ["event"]
    assert [step.kind for step in story.event("t", session="1")] == ["resume", "event"]


def test_attempts_and_hand_overs_that_come_to_nothing_do_not_pile_up(story: Story) -> None:
    story.start("t")
    for number in range(300):
        story.tell(call(ev.ToolCallAttemptEvent, str(number)))
        story.tell(ev.AgentSwitchEvent(turn_id="t", session_id="s", to_agent=str(number)))
    assert story.one(call(ev.ToolCallFailureEvent, "0")).duration_us is None
    assert story.one(call(ev.ToolCallFailureEvent, "299")).duration_us is not None
    assert story.start("u", "0").joined is None
    assert story.start("v", "299").joined == 0


# -- whatever comes -----------------------------------------------------------------------------------------


class AnyStory(RuleBasedStateMachine):
    """Events of few ids in any order; the lanes that the steps tell must agree with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.open: dict[int, set[int]] = {}
        self.steps: list[Step] = []

    ids = st.sampled_from(["t", "u", "v", "w"])

    @rule(
        kind=st.sampled_from(
            [
                ev.TurnStartEvent,
                ev.TurnEndEvent,
                ev.ErrorEvent,
                ev.ToolCallAttemptEvent,
                ev.AgentSwitchEvent,
                ev.CheckpointEvent,
            ]
        ),
        turn_id=ids | st.none(),
        parent=ids | st.none(),
        session=st.sampled_from(["s", "r", None]),
        agent=st.sampled_from(["a", "b"]),
        stream=st.sampled_from([STREAM, OTHER]),
        late=st.booleans(),
        seconds=st.sampled_from([-1, 0, 1, 4_000]),
    )
    def come(
        self,
        kind: type[ev.AuditEvent],
        turn_id: str | None,
        parent: str | None,
        session: str | None,
        agent: str,
        stream: str,
        late: bool,
        seconds: int,
    ) -> None:
        event = kind(turn_id=turn_id, session_id=session, agent_id=agent)
        if isinstance(event, ev.TurnStartEvent):
            event.parent_turn_id = parent
        if isinstance(event, ev.AgentSwitchEvent):
            event.to_agent = agent
        if isinstance(event, ev.CheckpointEvent):
            event.reason = "close"
        self.steps = self.story.tell(event, stream_id=stream, late=late, seconds=seconds)
        assert self.steps[-1].record.event.event_id == event.event_id

    @invariant()
    def the_lanes_fit_together(self) -> None:
        for step in self.steps:
            assert len(step.lanes) <= 64
            if step.session is None:
                assert step.lanes == ()
                continue
            if step.turn is not None:
                assert step.lanes[step.turn.lane]
            if step.joined is not None:
                assert step.turn is not None
                assert step.joined < step.turn.lane
                assert step.lanes[step.joined]
            shown = {lane for lane, is_open in enumerate(step.lanes) if is_open}
            before = self.open.get(step.session, set())
            began = {step.turn.lane} if step.turn is not None and step.kind in ("begin", "resume") else set()
            assert shown - before <= began  # a lane begins with a step, and with no other
            self.open[step.session] = shown - (
                {step.turn.lane} if step.turn is not None and step.kind in ("end", "broken") else set()
            )
        self.steps = []


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(max_examples=40)


@given(st.lists(st.sampled_from(["s", "e", "x"]), max_size=20))
def test_a_turn_that_begins_and_ends_leaves_no_lane_behind(order: list[str]) -> None:
    story = Story()
    for kind in order:
        if kind == "s":
            story.start("t")
        elif kind == "e":
            story.end("t")
        else:
            story.event("t")
    story.end("t")
    assert story.start("next").lanes == (True,)
