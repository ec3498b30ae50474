"""How steps read: guide lines, names, durations, and what gives way in a narrow terminal."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from auditwire import events as ev
from auditwire.cli.turn_lines import TurnLines
from auditwire.cli.turns import OpenTurns
from auditwire.events import ALL_TYPES
from support.stream_builder import STREAM, record_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

NOON = 1_772_366_400_000_000  # 2026-03-01T12:00:00Z
S = 1_000_000


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def drawn(
    *events: ev.AuditEvent,
    width: int | None = None,
    session: bool = False,
    ascii_only: bool = False,
    late: bool = False,
) -> list[Text]:
    """The lines of events that come half a second after each other."""
    turns, lines, out = OpenTurns(), TurnLines(session=session, ascii_only=ascii_only), []
    for number, event in enumerate(events):
        if event.timestamp_us > 1_780_000_000_000_000:  # was not set
            event.timestamp_us = NOON + number * 500_000
        record = record_of(event, number)
        record.late = late
        for step in turns.place(record):
            out += lines.lines(step, width)
    return out


def plain(*events: ev.AuditEvent, **options: Any) -> list[str]:
    """Their text without the line with the date, and without the time."""
    lines = [line.plain for line in drawn(*events, **options)]
    return [re.sub(r"^[\d:.]{8,12} ", "", line) for line in lines if line != "2026-03-01"]


def a_story() -> list[ev.AuditEvent]:
    base: dict[str, Any] = {"session_id": "s-1", "turn_id": "t1", "agent_id": "planner"}
    inner: dict[str, Any] = {"session_id": "s-1", "turn_id": "t2", "agent_id": "reviewer"}
    return [
        ev.TurnStartEvent(**base, prompt_preview="count\nwords"),
        ev.ModelCallEvent(**base, model="m", duration_ms=3.0),
        ev.ToolCallAttemptEvent(**base, tool_name="read", arguments_preview="{}"),
        ev.ToolCallCompleteEvent(**base, tool_name="read", result_preview="18", duration_ms=1.25),
        ev.TurnStartEvent(**inner, parent_turn_id="t1", prompt_preview="check"),
        ev.ToolCallAttemptEvent(**inner, tool_name="read"),
        ev.ToolPolicyDecisionEvent(**inner, tool_name="read", action="deny", policy_source="rule 1"),
        ev.ErrorEvent(**base, error_type="E", error_message="no"),
        ev.ToolCallFailureEvent(**inner, tool_name="read", error_type="E", error_message="gone"),
        ev.TurnEndEvent(**inner, content_preview="bad", function_calls_count=1),
        ev.TurnEndEvent(**base, content_preview="done"),
    ]


def test_a_session_reads_as_a_tree() -> None:
    assert plain(*a_story()) == [
        "┌ planner t1  count words",
        "├ · model  m · 3.0 ms",
        "├ → read  {}",
        "├ ✓ read  1.2 ms · 18",
        "├─┐ reviewer t2  check",
        "│ ├ → read",
        "│ ├ · policy read  deny · rule 1",
        "├ │ · error  E: no",
        "│ ├ ✗ read  1.50 s · E: gone",
        "├─┘ reviewer t2  2.50 s · 1 call · 1 error · bad",
        "└ planner t1  5.00 s · 1 call · 1 error · done",
    ]


def test_a_terminal_that_is_not_utf_8_gets_guide_lines_of_ascii() -> None:
    lines = plain(*a_story(), ascii_only=True, width=100)
    assert all(line.isascii() for line in lines)
    assert lines[4] == "+-\\ reviewer t2  check"
    assert lines[5] == "| + > read"
    assert lines[9] == "+-/ reviewer t2  2.50 s - 1 call - 1 error - bad"
    assert [
        len(line.plain) for line in drawn(ev.ErrorEvent(error_message="x" * 99), ascii_only=True, width=40)
    ] == [10, 40]


def start(number: int, parent: int | None = None) -> ev.AuditEvent:
    around = None if parent is None else f"t{parent}"
    return ev.TurnStartEvent(session_id="s", turn_id=f"t{number}", parent_turn_id=around)


def end(number: int) -> ev.AuditEvent:
    return ev.TurnEndEvent(session_id="s", turn_id=f"t{number}")


def test_lanes_between_a_turn_and_the_one_around_it_are_crossed() -> None:
    lines = plain(start(0), start(1), start(2), end(1), start(3, 2), start(4, 0), start(5, 0))
    assert lines[3:] == [
        "│ └ │ turn t1  1.00 s · 0 calls",
        "│   ├─┐ turn t3",
        "├─┐ │ │ turn t4",
        "├─┼─┼─┼─┐ turn t5",
    ]


def test_a_turn_whose_surrounding_one_has_ended_ends_alone() -> None:
    lines = plain(start(0), start(1, 0), start(2, 1), end(1), start(3, 2), end(2), end(3))
    assert lines[4:] == [
        "│   ├─┐ turn t3",
        "│   └ │ turn t2  1.50 s · 0 calls",
        "│     └ turn t3  1.00 s · 0 calls",
    ]


def test_a_lane_without_a_turn_is_crossed_by_a_line() -> None:
    lines = plain(start(0), start(1), start(2, 0), end(1), end(2))
    assert lines[2] == "├─┼─┐ turn t2"
    assert lines[4] == "├───┘ turn t2  1.00 s · 0 calls"


def test_lanes_that_have_no_room_share_the_last_and_their_agents_are_named() -> None:
    starts = [ev.TurnStartEvent(session_id="s", turn_id=f"t{n}", agent_id=f"a{n}") for n in range(6)]
    event = ev.ErrorEvent(session_id="s", turn_id="t4", agent_id="a4", error_type="E", error_message="no")
    own = ev.ErrorEvent(session_id="s", turn_id="t0", agent_id="a0", error_type="E", error_message="no")
    nested = ev.TurnStartEvent(session_id="s", turn_id="t6", agent_id="a6", parent_turn_id="t0")
    deeper = ev.TurnStartEvent(session_id="s", turn_id="t7", agent_id="a7", parent_turn_id="t6")
    lines = plain(*starts, event, own, nested, deeper, width=40)
    assert lines[4:6] == ["│ │ │ │ ┌ a4", "│ │ │ │ ┌ a5"]
    assert lines[6] == "│ │ │ │ ├ a4 · error  E: no"
    assert lines[7] == "├ │ │ │ ┊ · error  E: no"
    assert lines[8] == "├─┼─┼─┼─┐ a6"
    assert lines[9] == "│ │ │ │ ┌ a7"


def test_sessions_are_told_apart_by_name_and_colour() -> None:
    lines = drawn(
        ev.TurnStartEvent(session_id="s-1", turn_id="t"),
        ev.TurnStartEvent(session_id="s-2", turn_id="t"),
        ev.ErrorEvent(session_id="s-1", turn_id="t"),
        ev.LossEvent(),
        session=True,
    )[1:]
    assert [line.plain[13:30] for line in lines] == [
        "s-1            ┌ ",
        "s-2            ┌ ",
        "s-1            ├ ",
        f"~{STREAM[9:18]}     · ",
    ]
    colours = [
        {str(span.style).removesuffix(" bold") for span in line.spans if 13 <= span.start < 29}
        for line in lines[:3]
    ]
    assert colours[0] == colours[2] == {"cyan"}
    assert colours[1] == {"green"}


@pytest.mark.parametrize(
    ("session", "width", "shown"),
    [
        ("s-1", 40, "s-1  "),
        ("demo-12345678", 40, "…5678"),
        ("demo-12345678", 60, "dem…345678"),
        ("0199d3b2-7c1e-7abc-8def-0123456789ab", 100, "0199…3456789ab"),
        ("日本語日本語日本語", 60, "日…日本語 "),
    ],
)
def test_of_a_long_session_beginning_and_end_are_shown(session: str, width: int, shown: str) -> None:
    line = drawn(ev.ErrorEvent(session_id=session), session=True, width=width)[1].plain
    start = 9 if width < 60 else 13
    assert line[start:].startswith(shown)


def test_the_turns_own_agent_is_not_repeated() -> None:
    base: dict[str, Any] = {"session_id": "s", "turn_id": "t"}
    lines = plain(
        ev.TurnStartEvent(**base, agent_id="planner"),
        ev.ErrorEvent(**base, agent_id="planner"),
        ev.ErrorEvent(**base, agent_id="helper"),
        ev.ErrorEvent(session_id="s", agent_id="planner"),
    )
    assert lines[1:] == ["├ · error  :", "├ helper · error  :", "│ planner · error  :"]


def test_turns_that_are_not_seen_whole_say_so() -> None:
    base: dict[str, Any] = {"session_id": "s", "turn_id": "t"}
    assert plain(ev.ErrorEvent(**base, agent_id="a"), ev.TurnEndEvent(session_id="s", turn_id="u")) == [
        "┆ a t  its start is not shown",
        "├ · error  :",
        "│ turn u  0 calls",
    ]
    for last, why in (
        (ev.CheckpointEvent(reason="close"), "was closed"),
        (ev.RecoveryEvent(orphan_stream=STREAM), "was recovered"),
    ):
        lines = plain(ev.TurnStartEvent(**base, agent_id="a"), last, session=True)
        assert lines[1] == f"s              └ a t  had not ended when its stream {why}"
        assert lines[2].startswith("~")


def test_a_late_record_is_marked() -> None:
    assert plain(ev.ErrorEvent(session_id="s"), late=True) == ["late · error  :"]


def test_a_completion_that_is_no_success_says_what_it_is() -> None:
    event = ev.ToolCallCompleteEvent(tool_name="x", status="cached", duration_ms=2.0, result_preview="r")
    assert plain(event) == ["✓ x  cached · 2.0 ms · r"]
    assert plain(ev.ToolCallCompleteEvent(tool_name="x")) == ["✓ x"]


def test_the_date_is_said_where_it_changes() -> None:
    lines = [
        line.plain
        for line in drawn(
            *(ev.LossEvent(timestamp_us=NOON + hours * 3_600 * S) for hours in (0, 1, 24, 24, 1))
        )
    ]
    assert [line for line in lines if "loss" not in line] == ["2026-03-01", "2026-03-02", "2026-03-01"]
    assert lines[0] == "2026-03-01"
    now = ev.LossEvent(timestamp_us=time.time_ns() // 1_000)
    (step,) = OpenTurns().place(record_of(now, 0))
    for _ in range(2):  # at midnight the first try may see another day begin
        lines_of_today = TurnLines(session=False).lines(step, None)
        if len(lines_of_today) == 1:
            break
    assert len(lines_of_today) == 1


def style_of(line: Text, words: str) -> str:
    start = line.plain.index(words)
    return " ".join(str(span.style) for span in line.spans if span.start <= start < span.end)


def test_errors_are_red_warnings_yellow_and_the_librarys_own_records_dim() -> None:
    lines = drawn(
        ev.ErrorEvent(error_type="E"),
        ev.ToolLoopWarningEvent(pattern="P"),
        ev.CheckpointEvent(reason="open"),
        ev.ToolCallCompleteEvent(tool_name="x", result_preview="R"),
    )[1:]
    assert style_of(lines[0], "E:") == "red"
    assert style_of(lines[1], "loop") == "yellow"
    assert style_of(lines[2], "checkpoint") == "dim"
    assert (style_of(lines[3], "✓"), style_of(lines[3], "R")) == ("green", "")


def test_of_a_turn_the_agent_is_bold_and_what_was_said_is_not() -> None:
    first, *_, last = drawn(*a_story())[1:]
    assert (style_of(first, "planner"), style_of(first, "count words"), str(first.style)) == ("bold", "", "")
    assert (style_of(last, "5.00 s"), style_of(last, "1 error"), style_of(last, "done")) == (
        "bold",
        "red",
        "",
    )


def test_a_refusal_is_yellow() -> None:
    lines = drawn(
        ev.ToolPolicyDecisionEvent(tool_name="x", action="Deny"),
        ev.ApprovalEvent(tool_name="x", decision="rejected"),
        ev.ToolPolicyDecisionEvent(tool_name="x", action="allow"),
        ev.ApprovalEvent(tool_name="x", decision="approved"),
    )[1:]
    assert [style_of(line, "policy" if "policy" in line.plain else "approval") for line in lines] == [
        "yellow",
        "yellow",
        "",
        "",
    ]


@pytest.mark.parametrize("event_type", sorted(ALL_TYPES))
def test_every_type_is_drawn_on_one_line(event_type: str) -> None:
    (line,) = plain(ALL_TYPES[event_type](session_id="s", agent_id="a"))
    assert line.startswith(("a ", "a:"))


TEXTS = st.text(max_size=40)


@given(
    width=st.integers(1, 160),
    session=st.booleans(),
    ascii_only=st.booleans(),
    events=st.lists(
        st.builds(
            ev.ToolCallFailureEvent,
            turn_id=st.sampled_from("tuvwxyz"),
            session_id=TEXTS | st.none(),
            agent_id=TEXTS | st.none(),
            tool_name=TEXTS,
            error_message=TEXTS,
        )
        | st.builds(
            ev.TurnStartEvent,
            turn_id=st.sampled_from("tuvwxyz"),
            session_id=st.just("s"),
            parent_turn_id=st.sampled_from("tuvwxyz"),
            prompt_preview=TEXTS,
        )
        | st.builds(
            ev.TurnEndEvent,
            turn_id=st.sampled_from("tuvwxyz"),
            session_id=st.just("s"),
            content_preview=TEXTS,
        ),
        max_size=8,
    ),
)
def test_no_line_is_wider_than_the_terminal_or_does_anything_to_it(
    width: int, session: bool, ascii_only: bool, events: list[ev.AuditEvent]
) -> None:
    for line in drawn(*events, width=width, session=session, ascii_only=ascii_only):
        assert cell_len(line.plain) <= width
        assert line.plain.isprintable()


def test_a_narrow_terminal_shortens_time_and_session_and_leaves_out_ids() -> None:
    def first(width: int | None) -> str:
        return drawn(*a_story()[:1], width=width, session=True)[1].plain

    assert first(None) == "12:00:00.000 s-1            ┌ planner t1  count words"
    assert first(100) == "12:00:00.000 s-1            ┌ planner t1  count words"
    assert first(80) == "12:00:00.000 s-1        ┌ planner  count words"
    assert first(40) == "12:00:00 s-1   ┌ planner  count words"
    assert first(29) == "┌ planner  count words"
