"""How an event reads in a terminal: one line of time, type, agent, tool and what matters of this type."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.text import Text

from auditwire import events as ev
from auditwire.cli.output import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from auditwire.events import AuditEvent
    from auditwire.reading import Record

__all__ = ["Lines", "aligned", "detail", "duration_text", "record_dict"]

_GAP = "  "
_RULE = 20
_LEAST_DETAIL = 22

_NARROWER = (("time", 8), ("session", 8), ("agent", 0), ("session", 0), ("tool", 0))
"""What gives way, in this order, while a terminal leaves less than that to the detail; 0 is not shown."""

_STRUCTURE = ("turn_start", "turn_end", "agent_switch")

SEVERITY_STYLES = {"warning": "yellow", "error": "red"}


def record_dict(record: Record) -> dict[str, Any]:
    """The record as ``--json`` prints it: the event's fields, then where it stands.

    A ``quarantine`` event has a ``topic`` of its own, the one that refused the record: it becomes
    ``quarantined_topic``.
    """
    out = record.event.to_dict()
    if "topic" in out:
        out["quarantined_topic"] = out.pop("topic")
    out["stream_id"] = record.stream_id
    out["sequence"] = record.sequence
    out["topic"] = record.topic
    out["partition"] = record.partition
    out["offset"] = record.offset
    return out


def aligned(rows: Sequence[Sequence[Text]], right: Collection[int] = (), gap: int = 3) -> list[Text]:
    """Rows as lines whose columns stand below each other, without spaces at their ends.

    Args:
        rows: Cells; a row may be shorter than others.
        right: Columns whose cells are put to the right: numbers.
        gap: Spaces between columns.
    """
    widths = [
        max(row[column].cell_len for row in rows if column < len(row))
        for column in range(max(map(len, rows), default=0))
    ]
    lines = []
    for row in rows:
        line = Text()
        for column, cell in enumerate(row):
            space = " " * (widths[column] - cell.cell_len)
            line.append(space if column in right else "").append_text(cell)
            line.append(("" if column in right else space) + " " * gap)
        line.rstrip()
        lines.append(line)
    return lines


class Lines:
    """Lays out events in columns that stand below each other.

    Args:
        width: Columns of the terminal: what has no room is cut, or left out. None cuts nothing.
        session: Show the session too.
    """

    def __init__(self, width: int | None, *, session: bool) -> None:
        self._width = width
        self._columns = {"time": 12, "type": 20, "session": 14, "agent": 10, "tool": 12}
        if not session:
            del self._columns["session"]
        for name, columns in _NARROWER:
            if width is not None and width - self._taken < _LEAST_DETAIL and name in self._columns:
                self._columns[name] = columns
                if not columns:
                    del self._columns[name]

    @property
    def _taken(self) -> int:
        return sum(self._columns.values()) + len(_GAP) * len(self._columns)

    def header(self) -> Text:
        """The columns' names."""
        return self._line({name: (name, "dim") for name in self._columns}, ("detail", "dim"))

    def rule(self) -> Text:
        """A line below the header."""
        rest = len("detail") if self._width is None else self._width - self._taken
        return self._line(dict.fromkeys(self._columns, ("─" * _RULE, "dim")), ("─" * rest, "dim"), end="")

    def row(self, event: AuditEvent, *, late: bool = False) -> Text:
        """One event in the colour of its severity; turns bold, the library's own records dim.

        Args:
            event: What is shown.
            late: Say that it came after it had been given up.
        """
        style = SEVERITY_STYLES.get(event.severity, "dim" if event.event_type in ev.CONTROL_TYPES else "")
        time = datetime.fromisoformat(event.timestamp).astimezone().strftime("%H:%M:%S.%f")
        cells = {
            "time": (time[: self._columns["time"]], "dim"),
            "type": (event.event_type, style or ("bold" if event.event_type in _STRUCTURE else "")),
            "session": (event.session_id or "", "dim"),
            "agent": (event.agent_id or "", "cyan"),
            "tool": (getattr(event, "tool_name", ""), "magenta"),
        }
        return self._line(cells, (_with("late" if late else "", detail(event)), style))

    def _line(self, cells: dict[str, tuple[str, str]], last: tuple[str, str], end: str = "…") -> Text:
        line = Text(no_wrap=True)
        for name, columns in self._columns.items():
            value, style = cells[name]
            cell = Text(printable(value), style)
            if self._width is None and end:
                cell.pad_right(max(0, columns - cell.cell_len))
            else:
                cell.truncate(columns, overflow="ellipsis" if end else "crop", pad=True)
            line.append_text(cell).append(_GAP)
        line.append(printable(last[0]), last[1])
        line.rstrip()
        if self._width is not None:
            line.truncate(self._width, overflow="ellipsis" if end else "crop")
        return line


def detail(event: AuditEvent) -> str:
    """What matters of an event beside agent and tool, as one line of unsafe text: see ``printable``."""
    describe = _DETAILS.get(type(event))
    return "" if describe is None else describe(event)


def _with(head: str, *rest: str) -> str:
    """The parts that say something, between middle dots."""
    return " · ".join(part for part in (head, *rest) if part)


_S, _MIN, _H, _D = 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000
_SHORT_DURATIONS = ((999_950, 1_000, "ms", 1), (9_995_000, _S, "s", 2), (59_950_000, _S, "s", 1))
_LONG_DURATIONS = ((_D, "d", _H, "h"), (_H, "h", _MIN, "min"), (_MIN, "min", _S, "s"))


def duration_text(microseconds: int) -> str:
    """A duration of 0 or more: ``12.3 ms``, ``1.24 s``, ``2 min 5 s``, ``1 h 2 min``, ``3 d 4 h``."""
    for bound, unit, name, digits in _SHORT_DURATIONS:
        if microseconds < bound:
            return f"{microseconds / unit:.{digits}f} {name}"
    microseconds = max(microseconds, _MIN)  # what rounds up to a minute
    unit, name, smaller, smaller_name = next(scale for scale in _LONG_DURATIONS if microseconds >= scale[0])
    return f"{microseconds // unit} {name} {microseconds % unit // smaller} {smaller_name}"


def _ms(duration: float) -> str:
    return f"{duration:.1f} ms" if duration else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


_DETAILS: dict[type[AuditEvent], Callable[[Any], str]] = {
    ev.TurnStartEvent: lambda e: e.prompt_preview,
    ev.TurnEndEvent: lambda e: _with(_count(e.function_calls_count, "call"), e.content_preview),
    ev.ToolCallAttemptEvent: lambda e: e.arguments_preview,
    ev.ToolCallCompleteEvent: lambda e: _with(
        "" if e.status == "success" else e.status, _ms(e.duration_ms), e.result_preview
    ),
    ev.ToolCallFailureEvent: lambda e: f"{e.error_type}: {e.error_message}",
    ev.ToolPolicyDecisionEvent: lambda e: _with(e.action, e.policy_source),
    ev.ToolLoopWarningEvent: lambda e: _with(_count(e.call_count, "call"), e.pattern),
    ev.ToolLoopBlockEvent: lambda e: _with(_count(e.call_count, "call"), e.pattern),
    ev.SandboxDecisionEvent: lambda e: _with(e.backend_type, e.context, e.reason),
    ev.HookMutationEvent: lambda e: f"{e.hook_name} changed {e.mutated_field}",
    ev.ErrorEvent: lambda e: _with(f"{e.error_type}: {e.error_message}", e.error_context),
    ev.AgentSwitchEvent: lambda e: _with(f"{e.from_agent} → {e.to_agent}", e.reason),
    ev.SkillUsedEvent: lambda e: _with(f"{e.skill_name} {e.version}".rstrip(), e.outcome, _ms(e.duration_ms)),
    ev.SkillAuthoredEvent: lambda e: _with(
        f"{e.skill_name} {e.version}".rstrip(), _count(e.tool_count, "call"), ", ".join(e.unique_tools)
    ),
    ev.SkillFeedbackEvent: lambda e: _with(e.skill_name, f"{e.rating} from {e.source}", e.reason),
    ev.ModelCallEvent: lambda e: _with(
        "/".join(filter(None, (e.provider, e.model))),
        "" if e.status == "success" else f"{e.status} {e.error_type}".rstrip(),
        _ms(e.duration_ms),
        f"{e.input_tokens} + {e.output_tokens} tokens" if e.input_tokens or e.output_tokens else "",
    ),
    ev.ApprovalEvent: lambda e: _with(
        f"{e.decision} by {e.approver_type} {e.approver_id}".rstrip(), e.reason
    ),
    ev.CustomEvent: lambda e: f"{e.custom_type} {e.payload}",
    ev.CheckpointEvent: lambda e: _with(e.reason, f"lists {_count(len(e.entries), 'record')}"),
    ev.RecoveryEvent: lambda e: _with(f"stream {e.orphan_stream}", f"to record {e.last_sequence}"),
    ev.QuarantineEvent: lambda e: _with(
        f"record {e.quarantined_sequence}", f"{e.quarantined_type} of {e.size} bytes", e.reason
    ),
    ev.LossEvent: lambda e: _with(_count(e.count, "event"), e.reason),
}
