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

__all__ = ["Lines", "aligned", "detail", "record_dict"]

_LEAST_DETAIL = 20

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
        width: Columns of the terminal: the last column is cut to fit. None cuts nothing.
        session: Show the session too.
    """

    def __init__(self, width: int | None, *, session: bool) -> None:
        self._columns = [("time", 12), ("type", 20), ("agent", 10), ("tool", 12)]
        if session:
            self._columns.insert(2, ("session", 14))
        taken = sum(columns + 2 for _, columns in self._columns)
        self._rest = None if width is None else max(_LEAST_DETAIL, width - taken)

    def header(self) -> Text:
        """The columns' names."""
        return self._line([(name, "dim") for name, _ in self._columns], ("detail", "dim"))

    def rule(self) -> Text:
        """A line below the header."""
        rest = 6 if self._rest is None else self._rest
        return Text(
            "  ".join("─" * width for width in [*(columns for _, columns in self._columns), rest]), "dim"
        )

    def row(self, event: AuditEvent) -> Text:
        """One event: its type in the colour of its severity, the library's own records dim."""
        control = event.event_type in ev.CONTROL_TYPES
        style = SEVERITY_STYLES.get(event.severity, "dim" if control else "")
        time = datetime.fromisoformat(event.timestamp).astimezone().strftime("%H:%M:%S.%f")[:12]
        cells = {
            "time": (time, "dim"),
            "type": (event.event_type, style or "bold"),
            "session": (event.session_id or "", "dim"),
            "agent": (event.agent_id or "", "cyan"),
            "tool": (getattr(event, "tool_name", ""), "magenta"),
        }
        return self._line([cells[name] for name, _ in self._columns], (detail(event), style))

    def _line(self, cells: list[tuple[str, str]], last: tuple[str, str]) -> Text:
        line = Text(no_wrap=True)
        for (value, style), (_, columns) in zip(cells, self._columns, strict=True):
            cell = Text(printable(value), style)
            if self._rest is None:
                cell.pad_right(max(0, columns - cell.cell_len))
            else:
                cell.truncate(columns, overflow="ellipsis", pad=True)
            line.append_text(cell).append("  ")
        cell = Text(printable(last[0]), last[1])
        if self._rest is not None:
            cell.truncate(self._rest, overflow="ellipsis")
        line.append_text(cell)
        line.rstrip()
        return line


def detail(event: AuditEvent) -> str:
    """What matters of an event beside agent and tool, as one line of unsafe text: see ``printable``."""
    describe = _DETAILS.get(type(event))
    return "" if describe is None else describe(event)


def _with(head: str, *rest: str) -> str:
    """The parts that say something, between middle dots."""
    return " · ".join(part for part in (head, *rest) if part)


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
