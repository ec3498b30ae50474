from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from auditwire.cli import show_text
from auditwire.cli.show_text import session_lines, trail_lines
from auditwire.cli.show_words import clock
from auditwire.events import (
    AgentSwitchEvent,
    AuditEvent,
    ErrorEvent,
    ModelCallEvent,
    ToolCallAttemptEvent,
    ToolCallCompleteEvent,
    ToolPolicyDecisionEvent,
    TurnEndEvent,
    TurnStartEvent,
)
from auditwire.sessions import StreamStanding, Trail, judge_trail
from support.told import session_of

if TYPE_CHECKING:
    from auditwire.sessions import Session

WIDE = 200


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times as in UTC, wherever the test is run."""
    monkeypatch.setattr(show_text, "clock", lambda us, **_: clock(us, utc=True))


def lines(session: Session, width: int | None = None) -> list[str]:
    return [line.plain for line in session_lines(session, width)]


def tree(*events: AuditEvent) -> list[str]:
    found = lines(session_of(*events))
    return [line.rstrip() for line in found[found.index("What happened") + 1 : -1]]


def test_turns_lie_in_each_other_and_end_with_their_answer() -> None:
    assert tree(
        TurnStartEvent(turn_id="1", agent_id="a", prompt_preview="go"),
        AgentSwitchEvent(turn_id="1", from_agent="a", to_agent="b", reason="why"),
        TurnStartEvent(turn_id="2", agent_id="b"),
        ModelCallEvent(turn_id="2", model="m", duration_ms=250.0, input_tokens=9, output_tokens=1),
        TurnEndEvent(turn_id="2", content_preview="found"),
        TurnEndEvent(turn_id="1", content_preview="done"),
        ErrorEvent(error_type="E", error_message="m"),
    ) == [
        "  00:00:01.000     5.00 s  ├─ ● a  go  (10 tokens)",
        "  00:00:02.000             │  ├─ → a → b  why",
        "  00:00:03.000     2.00 s  │  ├─ ● b  (10 tokens)",
        "  00:00:04.000   250.0 ms  │  │  ├─ ◆ m  9 + 1 tokens",
        "  00:00:05.000             │  │  └─ ■ answer found",
        "  00:00:06.000             │  └─ ■ answer done",
        "  00:00:07.000             └─ ✗ error  E: m",
    ]


def test_a_turn_that_did_not_end_is_open_to_its_last_event() -> None:
    found = tree(
        TurnStartEvent(turn_id="1", agent_id="a"),
        ToolCallAttemptEvent(turn_id="1", tool_name="x", arguments_preview="q"),
    )
    assert found == [
        "  00:00:01.000             └─ ○ a  no end recorded  (1 call)",
        "  00:00:02.000                └─ ? x  no outcome recorded  q",
    ]


def test_a_call_shows_what_went_in_what_came_out_and_what_was_decided() -> None:
    call = {"tool_name": "x", "tool_call_id": "1"}
    found = tree(
        ToolCallAttemptEvent(**call, arguments_preview="q"),  # type: ignore[arg-type] # texts
        ToolPolicyDecisionEvent(**call, action="allow", policy_source="p"),  # type: ignore[arg-type] # texts
        ToolCallCompleteEvent(**call, result_preview="r"),  # type: ignore[arg-type] # texts
    )
    assert found == [
        "  00:00:01.000     2.00 s  └─ ✓ x  q  → r",
        "  00:00:02.000                  policy allow · p",
    ]


def test_text_of_events_moves_no_cursor_and_breaks_no_line() -> None:
    hostile = "\x1b[2J\u202e\na"
    session = session_of(
        TurnStartEvent(agent_id=hostile, principal_id=hostile, tenant_id=hostile, prompt_preview=hostile),
        ToolCallAttemptEvent(tool_name=hostile, arguments_preview=hostile),
        ErrorEvent(error_type=hostile, error_message=hostile),
        ModelCallEvent(model=hostile),
    )
    for line in lines(session):
        assert line.isprintable()


def test_lines_fit_a_terminal_and_are_whole_without_one() -> None:
    session = session_of(ErrorEvent(error_type="E", error_message="m" * 300))
    assert max(len(line) for line in lines(session, 60)) == 60
    assert any(line.endswith("m" * 300) for line in lines(session))


def test_a_very_long_text_is_cut_even_without_a_terminal() -> None:
    session = session_of(ErrorEvent(error_type="E", error_message="m" * 3_000))
    assert max(len(line) for line in lines(session)) < 600


def test_many_findings_are_counted() -> None:
    found = lines(session_of(*(ErrorEvent() for _ in range(25))))
    assert "  and 5 more, marked below" in found


def test_the_head_tells_repeated_records_and_models_that_failed() -> None:
    session = session_of(ModelCallEvent(model="m", status="error"), ModelCallEvent())
    session.repeated = 1
    text = "\n".join(lines(session))
    assert "m: 1 call (1 failed), 0 + 0 tokens" in text
    assert "no name: 1 call, 0 + 0 tokens" in text
    assert "1 record of events that are there already" in text


def test_what_is_left_out_is_said() -> None:
    session = session_of(ErrorEvent())
    session.left_out = 2
    assert any(line.startswith("  2 events more: counted above") for line in lines(session))


# -- the verdict --------------------------------------------------------------------------------------------


def standing(**more: object) -> StreamStanding:
    share = session_of(ErrorEvent()).streams[0]
    return StreamStanding(share, "fault", sentence="has 3 faults", **more)  # type: ignore[arg-type]


def verdict(stream: StreamStanding) -> list[str]:
    return [
        line.plain
        for line in trail_lines(Trail("fault", "The trail is at fault.", [stream], ["of the trail"]), None)
    ]


def test_a_fault_is_told_with_gaps_faults_and_notes() -> None:
    found = verdict(
        standing(
            service="svc\x1b",
            gaps=[(1, 1, "missing"), (4, 4, "not arrived yet"), (6, 1_009, "unaccounted for")],
            faults=["record 1 is missing\u202e"],
            faults_total=3,
            notes=["a note"],
        )
    )
    assert found[:2] == ["Trail", "  ✗ The trail is at fault."]
    assert found[2].endswith(" of svc\\x1b: 1 record of the session, numbers 1 to 1")
    assert found[3:9] == [
        "    it has 3 faults",
        "    record 4: not arrived yet",
        "    record 6 to 1,009: unaccounted for",
        "    record 1 is missing\\u202e",
        "    and 2 faults more: see auditwire verify",
        "    a note",
    ]
    assert found[9] == "  of the trail"


def test_many_gaps_and_faults_are_counted() -> None:
    found = verdict(
        standing(
            gaps=[(n, n, "not arrived yet") for n in range(0, 30, 2)],
            faults=[f"fault {n}" for n in range(15)],
            faults_total=15,
        )
    )
    assert "    and 5 more gaps" in found
    assert "    and 5 faults more: see auditwire verify" in found


def test_what_was_not_checked_claims_nothing() -> None:
    found = [line.plain for line in trail_lines(judge_trail(session_of(ErrorEvent()), None), WIDE)]
    assert found[1].startswith("  ? Not checked")
    assert not any(line.startswith("  Unsigned") for line in found)
