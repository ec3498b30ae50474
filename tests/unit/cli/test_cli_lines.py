from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from auditwire import events as ev
from auditwire.cli.lines import _DETAILS, Lines, aligned, detail, duration_text, record_dict
from auditwire.events import ALL_TYPES
from auditwire.reading import Record

EXAMPLES: list[tuple[ev.AuditEvent, str]] = [
    (ev.TurnStartEvent(prompt_preview="hello"), "hello"),
    (ev.TurnEndEvent(content_preview="done", function_calls_count=1), "1 call · done"),
    (ev.TurnEndEvent(function_calls_count=2), "2 calls"),
    (ev.ToolCallAttemptEvent(arguments_preview="{}"), "{}"),
    (ev.ToolCallCompleteEvent(duration_ms=1.25, result_preview="4"), "1.2 ms · 4"),
    (ev.ToolCallCompleteEvent(status="cached", result_preview="4"), "cached · 4"),
    (ev.ToolCallFailureEvent(error_type="E", error_message="no"), "E: no"),
    (ev.ToolPolicyDecisionEvent(action="deny", policy_source="rule 1"), "deny · rule 1"),
    (ev.ToolLoopWarningEvent(pattern="same", call_count=3), "3 calls · same"),
    (ev.ToolLoopBlockEvent(pattern="same", call_count=4), "4 calls · same"),
    (ev.SandboxDecisionEvent(backend_type="docker", reason="r"), "docker · r"),
    (ev.HookMutationEvent(hook_name="h", mutated_field="f"), "h changed f"),
    (ev.ErrorEvent(error_type="E", error_message="no", error_context="there"), "E: no · there"),
    (ev.AgentSwitchEvent(from_agent="a", to_agent="b", reason="r"), "a → b · r"),
    (
        ev.SkillUsedEvent(skill_name="s", version="1", outcome="success", duration_ms=2.0),
        "s 1 · success · 2.0 ms",
    ),
    (ev.SkillAuthoredEvent(skill_name="s", tool_count=2, unique_tools=["a", "b"]), "s · 2 calls · a, b"),
    (ev.SkillFeedbackEvent(skill_name="s", rating="positive", reason="r"), "s · positive from user · r"),
    (ev.ModelCallEvent(model="m", provider="p", duration_ms=1.0), "p/m · 1.0 ms"),
    (
        ev.ModelCallEvent(model="m", status="error", error_type="E", input_tokens=1),
        "m · error E · 1 + 0 tokens",
    ),
    (ev.ApprovalEvent(decision="approved", approver_id="me", reason="r"), "approved by user me · r"),
    (ev.CustomEvent(custom_type="mine", payload="{}"), "mine {}"),
    (ev.CheckpointEvent(reason="open", entries=["x"]), "open · lists 1 record"),
    (ev.RecoveryEvent(orphan_stream="o", last_sequence=7), "stream o · to record 7"),
    (
        ev.QuarantineEvent(quarantined_sequence=7, quarantined_type="error", size=9, reason="r"),
        "record 7 · error of 9 bytes · r",
    ),
    (ev.LossEvent(count=2, reason="journal_full"), "2 events · journal_full"),
]


@pytest.mark.parametrize(("event", "said"), EXAMPLES, ids=[type(event).__name__ for event, _ in EXAMPLES])
def test_the_detail_says_what_matters_of_a_type(event: ev.AuditEvent, said: str) -> None:
    assert detail(event) == said


def test_every_type_has_a_detail_and_an_example() -> None:
    assert set(_DETAILS) == set(ALL_TYPES.values()) == {type(event) for event, _ in EXAMPLES}


def test_an_event_of_another_class_has_none() -> None:
    assert detail(ev.AuditEvent()) == ""


def test_columns_stand_below_each_other_and_nothing_is_cut_without_a_terminal() -> None:
    lines = Lines(None, session=True)
    long = ev.ErrorEvent(session_id="s-1", agent_id="a" * 30, error_type="E", error_message="x" * 300)
    short = ev.ToolCallAttemptEvent(
        session_id="s-1", agent_id="planner", tool_name="search", arguments_preview="{}"
    )
    assert (
        lines.header().plain
        == "time          type                  session         agent       tool          detail"
    )
    assert (
        lines.row(short).plain[12:] == "  tool_call_attempt     s-1             planner     search        {}"
    )
    assert lines.row(long).plain.endswith("  " + "a" * 30 + "  " + " " * 14 + "E: " + "x" * 300)


@given(
    width=st.integers(1, 200),
    session=st.booleans(),
    event=st.builds(
        ev.ToolCallFailureEvent,
        agent_id=st.text(max_size=30) | st.none(),
        tool_name=st.text(max_size=30),
        session_id=st.text(max_size=30) | st.none(),
        error_message=st.text(max_size=300),
    ),
)
def test_no_line_is_wider_than_the_terminal(
    width: int, session: bool, event: ev.ToolCallFailureEvent
) -> None:
    lines = Lines(width, session=session)
    for line in (lines.header(), lines.rule(), lines.row(event)):
        assert line.cell_len <= width
        assert line.plain.isprintable()


def test_a_narrow_terminal_keeps_time_type_and_detail() -> None:
    assert Lines(80, session=False).header().plain.split() == ["time", "type", "agent", "tool", "detail"]
    assert Lines(70, session=False).header().plain.split() == ["time", "type", "tool", "detail"]
    assert Lines(50, session=True).header().plain.split() == ["time", "type", "detail"]


def test_the_rule_is_as_wide_as_the_columns() -> None:
    assert Lines(80, session=False).rule().cell_len == 80
    assert Lines(None, session=False).rule().plain.split("  ")[-1] == "──────"


@pytest.mark.parametrize(
    ("event", "style"),
    [
        (ev.ErrorEvent(), "red"),
        (ev.ToolLoopWarningEvent(), "yellow"),
        (ev.TurnStartEvent(), "bold"),
        (ev.ToolCallAttemptEvent(), ""),
        (ev.CheckpointEvent(), "dim"),
        (ev.LossEvent(), "red"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_type_has_the_colour_of_the_severity(event: ev.AuditEvent, style: str) -> None:
    row = Lines(None, session=False).row(event)
    start = row.plain.index(event.event_type)
    styles = [str(span.style) for span in row.spans if span.start <= start < span.end]
    assert styles == ([style] if style else [])


@pytest.mark.parametrize(
    ("microseconds", "said"),
    [
        (0, "0.0 ms"),
        (49, "0.0 ms"),
        (12_345, "12.3 ms"),
        (999_949, "999.9 ms"),
        (999_950, "1.00 s"),
        (1_000_000, "1.00 s"),
        (9_994_999, "9.99 s"),
        (9_995_000, "10.0 s"),
        (59_949_999, "59.9 s"),
        (59_950_000, "1 min 0 s"),
        (125_900_000, "2 min 5 s"),
        (3_599_999_999, "59 min 59 s"),
        (3_720_000_000, "1 h 2 min"),
        (273_600_000_000, "3 d 4 h"),
    ],
)
def test_a_duration_has_three_digits_or_two_units(microseconds: int, said: str) -> None:
    assert duration_text(microseconds) == said


def test_a_late_record_says_so() -> None:
    assert Lines(None, session=False).row(ev.ErrorEvent(), late=True).plain.endswith("late · :")


def test_a_quarantine_keeps_its_own_topic_under_another_name() -> None:
    record = Record(
        event=ev.QuarantineEvent(topic="audit.error"),
        stream_id="s",
        sequence=4,
        topic="audit.quarantine",
        partition=1,
        offset=9,
        timestamp_ms=0,
        key=None,
        headers=[],
        digest=b"",
        fingerprint=b"",
        framing="single-object",
        body=b"",
    )
    said = record_dict(record)
    assert (said["quarantined_topic"], said["topic"]) == ("audit.error", "audit.quarantine")
    assert (said["stream_id"], said["sequence"], said["partition"], said["offset"]) == ("s", 4, 1, 9)


def test_cells_are_aligned_and_lines_end_where_their_text_does() -> None:
    rows = [
        [Text("topic"), Text("n")],
        [Text("a"), Text("10")],
        [Text("long"), Text("3"), Text("x")],
        [Text("b")],
    ]
    assert [line.plain for line in aligned(rows, right=(1,), gap=2)] == [
        "topic   n",
        "a      10",
        "long    3  x",
        "b",
    ]
    assert aligned([]) == []
