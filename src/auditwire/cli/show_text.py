"""A session in a terminal: who, when and how much; what needs attention; the turns as a tree; the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from auditwire.cli.lines import SEVERITY_STYLES, aligned
from auditwire.cli.output import printable
from auditwire.cli.show_words import clock, decision, duration, span, tell
from auditwire.sessions import ToolCall, Turn
from auditwire.sessions.totals import most_first
from auditwire.sessions.trail import HONEST_WORDS, count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from auditwire.cli.show_words import Told
    from auditwire.sessions import Entry, Finding, Item, Session, StreamStanding, Trail

__all__ = ["session_lines", "trail_lines"]

_FINDINGS = 20
_FAULTS = 10
_GAPS = 10
_STATES = 6
_DURATION = 11
_CUT = 400
"""Characters of one text of an event in a line, where no terminal's width cuts it."""

_GLYPHS = {
    "turn": "●",
    "model": "◆",
    "switch": "→",
    "error": "✗",
    "skill": "◇",
    "event": "◇",
    "decision": "◇",
}
_MARKS = {"complete": "✓", "recovered": "✓", "open": "…", "fault": "✗", "unchecked": "?"}
_MARK_STYLES = {
    "complete": "bold green",
    "recovered": "bold green",
    "open": "bold yellow",
    "fault": "bold red",
    "unchecked": "bold yellow",
}


def session_lines(session: Session, width: int | None) -> Iterator[Text]:
    """The session without the verdict.

    Args:
        session: The session.
        width: Columns of the terminal: longer lines are cut. None cuts only very long texts.
    """
    yield _fit(Text.assemble(("Session ", "bold"), (printable(session.session_id), "bold")), width)
    for line in aligned([[Text(f"  {name}", "dim"), Text(text)] for name, text in _facts(session)]):
        yield _fit(line, width)
    yield Text()
    if session.findings:
        yield Text("Needs attention", "bold")
        yield from (_fit(_finding(finding), width) for finding in session.findings[:_FINDINGS])
        if len(session.findings) > _FINDINGS:
            yield Text(f"  and {len(session.findings) - _FINDINGS:,} more, marked below", "dim")
        yield Text()
    yield Text("What happened", "bold")
    for line in _tree(session.items, "", width):
        yield _fit(line, width)
    if session.left_out:
        yield Text(
            f"  {count(session.left_out, 'event')} more: counted above and not shown; --limit shows more, "
            "--since and --until show a part",
            "yellow",
        )
    yield Text()


def _fit(line: Text, width: int | None) -> Text:
    line.no_wrap = True
    if width is not None:
        line.truncate(width, overflow="ellipsis")
    return line


def _facts(session: Session) -> Iterator[tuple[str, str]]:
    """The header: names and texts, safe to print."""
    totals = session.totals
    if session.agents:
        yield "agents", printable(", ".join(session.agents))
    if session.principals:
        yield "for", printable(", ".join(f"{kind} {name}".strip() for kind, name in session.principals))
    if session.tenants:
        yield "tenant", printable(", ".join(session.tenants))
    yield (
        "time",
        f"{span(session.began_us, session.ended_us, utc=False)}, {duration(session.duration_ms)}",
    )
    turns = count(totals.turns, "turn")
    if totals.unfinished_turns:
        turns += f" ({totals.unfinished_turns:,} without an end)"
    yield "events", f"{count(totals.events, 'event')}, {turns}"
    if totals.tool_calls:
        states = list(most_first(totals.states).items())[:_STATES]
        others = [f"{number:,} {printable(state)}" for state, number in states]
        yield "tool calls", f"{totals.tool_calls:,}: {', '.join(others)}"
    for model in list(totals.models.values())[:_FINDINGS]:
        name = printable("/".join(filter(None, (model.provider, model.model)))) or "no name"
        failed = f" ({model.failed:,} failed)" if model.failed else ""
        tokens = f"{model.input_tokens:,} + {model.output_tokens:,} tokens"
        yield (
            "model",
            f"{name}: {count(model.calls, 'call')}{failed}, {tokens}, {duration(model.duration_ms)}",
        )
    if session.repeated:
        yield "repeated", f"{count(session.repeated, 'record')} of events that are there already"


def _finding(finding: Finding) -> Text:
    style = SEVERITY_STYLES[finding.level]
    event = finding.entry.event
    return Text.assemble(
        ("  ", ""),
        (f"{clock(event.timestamp_us, utc=False):%H:%M:%S}  ", "dim"),
        (f"{'✗' if finding.level == 'error' else '!'} ", style),
        (printable(finding.subject[:_CUT]), "bold"),
        (" " if finding.subject else ""),
        (finding.what, style),
        (f": {printable(finding.text[:_CUT])}" if finding.text else ""),
    )


# -- the tree ---------------------------------------------------------------------------------------------


def _tree(items: Iterable[Item], guide: str, width: int | None) -> Iterator[Text]:
    """Lines of time, duration, and an item behind the guides of those that it lies in."""
    rest = list(items)
    for place, item in enumerate(rest):
        last = place == len(rest) - 1
        branch = "└─ " if last else "├─ "
        below = guide + ("   " if last else "│  ")
        yield from _item(item, guide + branch, below, width)


def _item(item: Item, guide: str, below: str, width: int | None) -> Iterator[Text]:
    told = tell(item)
    if isinstance(item, Turn):
        yield _line(item.began_us, told.duration_ms, guide, _turn_words(item, told))
        yield from _turn_rest(item, told, below, width)
    elif isinstance(item, ToolCall):
        yield _line(item.began_us, told.duration_ms, guide, _call_words(told))
        for entry in item.around:
            yield _line(entry.event.timestamp_us, None, below, _decision_words(entry))
    else:
        yield _line(item.entry.event.timestamp_us, told.duration_ms, guide, _moment_words(told))


def _turn_rest(turn: Turn, told: Told, guide: str, width: int | None) -> Iterator[Text]:
    if turn.end is None:
        yield from _tree(turn.items, guide, width)
        return
    for item in turn.items:
        yield from _item(item, f"{guide}├─ ", f"{guide}│  ", width)
    answer = Text.assemble(("■ ", "cyan"), ("answer ", "dim"), _words(told.result))
    yield _line(turn.end.event.timestamp_us, None, f"{guide}└─ ", answer)


def _line(us: int, ms: float | None, guide: str, words: Text) -> Text:
    return Text.assemble(
        (f"  {clock(us, utc=False):%H:%M:%S.%f}"[:-3], "dim"),
        (f"{duration(ms):>{_DURATION}}  ", "cyan" if ms else ""),
        (guide, "dim"),
        words,
    )


def _words(text: str) -> str:
    return printable(text if len(text) <= _CUT else f"{text[:_CUT]}…")


def _state(told: Told, gap: str = "  ") -> tuple[str, str]:
    style = SEVERITY_STYLES.get(told.level or "", "yellow")
    return (f"{gap}{printable(told.state)}", f"bold {style}") if told.state else ("", "")


def _turn_words(turn: Turn, told: Told) -> Text:
    tokens = turn.input_tokens + turn.output_tokens
    sums = ", ".join(
        part
        for part in (
            count(turn.calls, "call") if turn.calls else "",
            f"{tokens:,} tokens" if tokens else "",
        )
        if part
    )
    return Text.assemble(
        ("● " if turn.end is not None else "○ ", "bold cyan"),
        (printable(told.title), "bold cyan"),
        _state(told),
        (f"  {_words(told.text)}" if told.text else ""),
        (f"  ({sums})" if sums else "", "dim"),
    )


def _call_words(told: Told) -> Text:
    style = SEVERITY_STYLES.get(told.level or "", "green" if not told.state else "yellow")
    glyph = "✗" if told.level == "error" else "✓" if not told.state else "?"
    return Text.assemble(
        (f"{glyph} ", style),
        (printable(told.title), "magenta"),
        _state(told),
        (f"  {_words(told.text)}" if told.text else ""),
        (f"  → {_words(told.result)}" if told.result else "", style if told.level == "error" else "dim"),
    )


def _moment_words(told: Told) -> Text:
    style = SEVERITY_STYLES.get(told.level or "", "")
    return Text.assemble(
        (f"{_GLYPHS[told.kind]} ", style or "cyan"),
        (printable(told.title), style or ("bold" if told.kind == "switch" else "")),
        _state(told),
        (f"  {_words(told.text)}" if told.text else "", style or "dim"),
    )


def _decision_words(entry: Entry) -> Text:
    label, text, level = decision(entry)
    return Text.assemble(
        ("  ", ""), (f"{label} ", "dim"), (_words(text), SEVERITY_STYLES.get(level or "", ""))
    )


# -- the verdict ------------------------------------------------------------------------------------------


def trail_lines(trail: Trail, width: int | None) -> Iterator[Text]:
    """The verdict on the streams that hold the session; these lines may be folded, they are not cut."""
    mark = Text.assemble((f"{_MARKS[trail.standing]} ", _MARK_STYLES[trail.standing]), trail.sentence)
    yield Text("Trail", "bold")
    yield Text("  ").append_text(mark)
    for stream in trail.streams:
        yield from _stream_lines(stream, width)
    for note in trail.notes:
        yield Text(f"  {printable(note)}", "yellow")
    if trail.standing != "unchecked":
        yield Text(f"  {HONEST_WORDS}", "dim")


def _stream_lines(stream: StreamStanding, width: int | None) -> Iterator[Text]:
    share = stream.share
    service = f" of {printable(stream.service)}" if stream.service else ""
    numbers = f"{share.first_sequence:,} to {share.last_sequence:,}"
    yield Text.assemble(
        (f"  {_MARKS[stream.standing]} ", _MARK_STYLES[stream.standing]),
        ("stream ", ""),
        (printable(share.stream_id), "cyan"),
        f"{service}: {count(share.records, 'record')} of the session, numbers {numbers}",
    )
    yield Text(f"    it {stream.sentence}")
    for first, last, what in stream.open_gaps[:_GAPS]:
        numbers = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        yield Text(f"    record {numbers}: {what}", "yellow")
    if len(stream.open_gaps) > _GAPS:
        yield Text(f"    and {len(stream.open_gaps) - _GAPS:,} more gaps", "yellow")
    for fault in stream.faults[:_FAULTS]:
        yield Text(f"    {printable(fault)}", "red")
    if stream.faults_total > min(_FAULTS, len(stream.faults)):
        more = stream.faults_total - min(_FAULTS, len(stream.faults))
        yield Text(f"    and {count(more, 'fault')} more: see auditwire verify", "red")
    for note in stream.notes:
        yield _fit(Text(f"    {printable(note)}", "dim"), width)
