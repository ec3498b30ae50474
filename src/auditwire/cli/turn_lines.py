"""How the steps of a tree of turns read in a terminal: guide lines, colours, durations, one line each.

::

    12:00:01.123  s-1  ┌ planner 3f2ac17e90bb  Count the words of my notes.
    12:00:01.130  s-1  ├ → read_file  {"path": "notes/monday.md"}
    12:00:01.131  s-1  ├ ✓ read_file  0.9 ms · Met with Ana.
    12:00:01.140  s-1  ├─┐ reviewer 88aa01c2d3e4  Check report.md.
    12:00:01.141  s-1  │ ├ ✗ read_file  0.4 ms · FileNotFoundError: report.md
    12:00:01.150  s-1  ├─┘ reviewer  10.0 ms · 1 call · 1 error · It is not there.
    12:00:01.200  s-1  └ planner  77.0 ms · 1 call · The report is missing.

A line holds all of an event that has room; what an event says is shown through ``printable``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from auditwire import events as ev
from auditwire.cli.lines import SEVERITY_STYLES, detail, duration_text
from auditwire.cli.output import printable
from auditwire.sessions.vocabulary import is_denial, is_refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from auditwire.cli.turns import Step
    from auditwire.events import AuditEvent

__all__ = ["TurnLines"]

_PALETTE = (
    "cyan",
    "green",
    "magenta",
    "blue",
    "bright_cyan",
    "bright_green",
    "bright_magenta",
    "bright_blue",
)
"""Of sessions, in turn. Yellow and red say that something is wrong."""

_MARKS: dict[str, tuple[str, str]] = {
    "tool_call_attempt": ("→", "dim"),
    "tool_call_complete": ("✓", "green"),
    "tool_call_failure": ("✗", "red"),
}
_NAMES = {
    "tool_call_attempt": "",
    "tool_call_complete": "",
    "tool_call_failure": "",
    "tool_policy_decision": "policy",
    "tool_loop_warning": "loop",
    "tool_loop_block": "loop blocked",
    "sandbox_decision": "sandbox",
    "hook_mutation": "hook",
    "agent_switch": "hand-off",
    "skill_used": "skill",
    "skill_authored": "new skill",
    "skill_feedback": "feedback",
    "model_call": "model",
}
"""What an event is called in front of what matters of it, where its type's name is not short."""

_ASCII = str.maketrans("│├┌└┐┘─┼┊┆→✓✗·…", r"|+/\\/-+::>vx-~")

_LEAST_WORDS = 20  # columns that lanes leave to words
_MOST_LANES = 12
_LITTLE = 6  # columns that show the end of a name alone
_ID_WIDTH = 100  # a terminal that has room for turn ids


@dataclass(frozen=True, slots=True)
class _Layout:
    """What a terminal of some width has room for.

    Attributes:
        time: Columns of the time, 0 for none.
        session: Columns of the session.
        lanes: How many lanes stand apart; the others share the last.
        ids: Show ids of turns.
    """

    time: int
    session: int
    lanes: int
    ids: bool


@lru_cache(maxsize=8)
def _layout(width: int | None, *, session: bool) -> _Layout:
    if width is None:
        return _Layout(12, 14 if session else 0, _MOST_LANES, ids=True)
    wide, narrow, tiny = 100, 60, 30
    time = 12 if width >= narrow else 8 if width >= tiny else 0
    label = 0
    if session and width >= tiny:
        label = 14 if width >= wide else 10 if width >= narrow else 5
    taken = sum(columns + 1 for columns in (time, label) if columns)
    lanes = min(max((width - taken - _LEAST_WORDS) // 2, 2), _MOST_LANES)
    return _Layout(time, label, lanes, ids=width >= _ID_WIDTH)


class TurnLines:
    """Draws steps.

    Args:
        session: Show which session a line is of.
        ascii_only: The terminal shows nothing but ASCII: guide lines are made of it.
    """

    def __init__(self, *, session: bool, ascii_only: bool = False) -> None:
        self._session = session
        self._ascii = ascii_only
        self._day = datetime.now().astimezone().date()

    def lines(self, step: Step, width: int | None) -> list[Text]:
        """The step's line; before it a line with the date, where that is not the one of the line before.

        Args:
            step: What is shown.
            width: Columns of the terminal: what has no room is cut. None cuts nothing.
        """
        layout = _layout(width, session=self._session)
        at = datetime.fromisoformat(step.record.event.timestamp).astimezone()
        lines = []
        if at.date() != self._day:
            self._day = at.date()
            lines.append(Text(f"{self._day:%Y-%m-%d}", "dim bold"))
        line = Text(no_wrap=True)
        if layout.time:
            line.append(at.strftime("%H:%M:%S.%f")[: layout.time] + " ", "dim")
        if layout.session:
            line.append(_label(step, layout.session) + " ", self._colour(step) or "dim")
        line.append_text(self._guides(step, layout.lanes))
        line.append_text(_words(step, layout))
        line.rstrip()
        lines.append(line)
        for ready in lines:
            if self._ascii:
                ready.plain = ready.plain.translate(_ASCII)
            if width is not None:
                ready.truncate(width, overflow="crop" if self._ascii else "ellipsis")
        return lines

    def _colour(self, step: Step) -> str:
        if step.session is None:
            return ""
        return _PALETTE[step.session % len(_PALETTE)] if self._session else "dim"

    def _guides(self, step: Step, most: int) -> Text:
        """Two columns for each lane; the lanes behind the last that has room share its columns."""
        colour = self._colour(step)
        lane = None if step.turn is None else min(step.turn.lane, most - 1)
        joined = step.joined if step.joined is not None and step.joined < most - 1 else None
        shared = len(step.lanes) > most
        lanes = [*step.lanes[: most - 1], any(step.lanes[most - 1 :])] if shared else step.lanes
        text = Text()
        for number, (symbol, link) in enumerate(_cells(lanes, lane, joined, step.kind)):
            several = shared and number == most - 1 and symbol == "│"
            text.append("┊" if several else symbol, f"{colour} bold" if number == lane else colour)
            text.append(link, colour)
        return text


_OWN = {"begin": "┌", "resume": "┆", "event": "├", "end": "└", "broken": "└"}
_OWN_JOINED = {"begin": "┐", "end": "┘", "broken": "┘"}


def _cells(lanes: Sequence[bool], lane: int | None, joined: int | None, kind: str) -> list[tuple[str, str]]:
    """For each lane the sign in its column, and what leads to the next."""
    cells = []
    for number, is_open in enumerate(lanes):
        between = lane is not None and joined is not None and joined < number < lane
        link = "─" if between or (joined is not None and number == joined) else " "
        if number == lane:
            symbol = _OWN[kind] if joined is None else _OWN_JOINED[kind]
        elif number == joined:
            symbol = "├"
        elif between:
            symbol = "┼" if is_open else "─"
        else:
            symbol = "│" if is_open else " "
        cells.append((symbol, link))
    return cells


def _label(step: Step, columns: int) -> str:
    """The session, or of what has none the part of the stream's id in which streams differ.

    Of what is too long, beginning and end are shown; where there is little room, the end.
    """
    session_id = step.record.event.session_id if step.turn is None else step.turn.session_id
    # milliseconds of its beginning, and a counter
    text = printable(session_id or f"~{step.record.stream_id[9 : 18 if columns > _LITTLE else 13]}")
    if cell_len(text) <= columns:
        return text + " " * (columns - cell_len(text))
    head, tail = Text(text), Text(text)
    head.truncate(columns // 3 if columns > _LITTLE else 0, overflow="crop")
    head.rstrip()  # half a wide character is cropped to a space
    room = columns - 1 - head.cell_len
    while tail.cell_len > room:
        tail = tail[1:]
    return head.plain + "…" + tail.plain + " " * (room - tail.cell_len)


def _words(step: Step, layout: _Layout) -> Text:
    text = Text()
    if step.record.late:
        text.append("late ", "yellow bold")
    if step.kind == "event":
        return text.append_text(_event(step, layout))
    return text.append_text(_turn(step, layout))


def _turn(step: Step, layout: _Layout) -> Text:
    """The words of a turn's beginning or end."""
    event = step.record.event
    turn = step.turn
    agent = event.agent_id if turn is None else turn.agent_id
    text = Text().append(printable(agent or "turn"), "bold")
    turn_id = event.turn_id if turn is None else turn.turn_id
    if turn_id and (layout.ids or not agent):
        text.append(f" {printable(turn_id)}", "dim")
    if step.kind == "begin":
        text.append("  ").append(printable(detail(event)))
    elif step.kind == "resume":
        text.append("  its start is not shown", "dim")
    elif step.kind == "broken":
        why = "was recovered" if isinstance(event, ev.RecoveryEvent) else "was closed"
        text.append(f"  had not ended when its stream {why}", "yellow")
    else:
        text.append("  ").append_text(_ending(step))
    return text


def _ending(step: Step) -> Text:
    event, turn = step.record.event, step.turn
    said = event if isinstance(event, ev.TurnEndEvent) else ev.TurnEndEvent()
    parts = []
    if step.duration_us is not None:
        parts.append(Text(duration_text(step.duration_us), "bold"))
    calls = said.function_calls_count or (0 if turn is None else turn.calls)
    parts.append(Text(f"{calls} call" + ("" if calls == 1 else "s")))
    if turn is not None and turn.errors:
        parts.append(Text(f"{turn.errors} error" + ("" if turn.errors == 1 else "s"), "red"))
    if said.content_preview:
        parts.append(Text(printable(said.content_preview)))
    return Text(" · ").join(parts)


def _event(step: Step, layout: _Layout) -> Text:
    """The words of a single event."""
    event, turn = step.record.event, step.turn
    style = SEVERITY_STYLES.get(event.severity, "dim" if event.event_type in ev.CONTROL_TYPES else "")
    if not style and _refused(event):
        style = "yellow"
    text = Text()
    shared = turn is not None and turn.lane >= layout.lanes - 1 and len(step.lanes) > layout.lanes
    if event.agent_id and (turn is None or shared or event.agent_id != turn.agent_id):
        text.append(f"{printable(event.agent_id)} ", "bold")
    mark, mark_style = _MARKS.get(event.event_type, ("·", "dim"))
    text.append(f"{mark} ", style or mark_style)
    name = printable(_NAMES.get(event.event_type, event.event_type))
    text.append(name, style)
    tool = printable(getattr(event, "tool_name", "") or "")
    if tool:
        text.append(" " if name else "").append(tool, style or "magenta")
    said = printable(_said(event, step.duration_us))
    if said:
        text.append("  ").append(said, style)
    return text


def _refused(event: AuditEvent) -> bool:
    """Whether somebody said no."""
    if isinstance(event, ev.ToolPolicyDecisionEvent):
        return is_denial(event.action)
    return isinstance(event, ev.ApprovalEvent) and is_refusal(event.decision)


def _said(event: AuditEvent, duration_us: int | None) -> str:
    """What matters of the event, with its call's duration where it has one."""
    took = "" if duration_us is None else duration_text(duration_us)
    if isinstance(event, ev.ToolCallCompleteEvent):
        status = "" if event.status == "success" else event.status
        return " · ".join(filter(None, (status, took, event.result_preview)))
    if isinstance(event, ev.ToolCallFailureEvent):
        return " · ".join(filter(None, (took, detail(event))))
    return detail(event)
