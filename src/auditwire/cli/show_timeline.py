"""The timeline of a session's page: a lane for each agent, its turns above its tool and model calls.

The picture is SVG whose horizontal places are percentages, so that it has no width of its own. It repeats
what the list below it says: links lead there, and readers who do not see it miss nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from auditwire import events as ev
from auditwire.cli.show_markup import Html, element, joined, visible
from auditwire.cli.show_scale import Scale
from auditwire.cli.show_words import anchor, clock, duration, tell
from auditwire.sessions import Moment, ToolCall, Turn
from auditwire.sessions.tree import walk

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from auditwire.cli.show_words import Told
    from auditwire.sessions import Item, Session

__all__ = ["BARS", "LANES", "timeline"]

BARS = 2_000
"""Bars and marks that are drawn; how many more there are is said."""

LANES = 12
"""Agents with a lane; the others share the last one."""

_COLOURS = 8
_LABEL, _TURN, _BAR, _GAP, _PADDING = 20, 8, 12, 4, 10
_ROWS = 4
_TITLE = 160
_AXIS = 34
_NEAR = 9.0
_THINNEST = 0.35


@dataclass(slots=True)
class _Bar:
    """Something that has a place in time, in percent of the width."""

    item: Item
    told: Told
    began_us: int
    ended_us: int
    left: float = 0.0
    right: float = 0.0


@dataclass(slots=True)
class _Lane:
    """An agent's bars: turns above, calls in rows below each other where they overlap."""

    name: str
    colour: int
    turns: list[_Bar] = field(default_factory=list)
    rows: list[list[_Bar]] = field(default_factory=list)
    marks: list[_Bar] = field(default_factory=list)

    @property
    def height(self) -> int:
        return _LABEL + _TURN + _GAP + max(1, len(self.rows)) * (_BAR + _GAP) + _PADDING

    def stack(self, bar: _Bar) -> None:
        """Put a call into the first row that is free there; the last row takes the rest."""
        for row in self.rows:
            if row[-1].ended_us <= bar.began_us:
                row.append(bar)
                return
        if len(self.rows) < _ROWS:
            self.rows.append([bar])
        else:
            self.rows[-1].append(bar)


def timeline(session: Session, anchors: Collection[str]) -> Html:
    """The picture, and what it means.

    Args:
        session: The session.
        anchors: What links can lead to.
    """
    bars, left_out = _bars(session)
    scale = Scale([time for bar in bars for time in (bar.began_us, bar.ended_us)])
    lanes = _lanes(session, bars, scale)
    y = 0
    drawn: list[Html] = []
    for lane in lanes:
        drawn.append(_draw_lane(lane, y, anchors))
        y += lane.height
    parts = [_draw_pauses(scale, y), *drawn, _draw_axis(session, scale, y)]
    picture = element(
        "svg",
        joined(parts),
        class_="timeline",
        width="100%",
        height=y + _AXIS,
        aria_hidden="true",
        focusable="false",
    )
    notes = ["Times are UTC."]
    if scale.pauses:
        notes.append("Hatched pauses are drawn short; their length is written below them.")
    if left_out:
        notes.append(f"{left_out:,} more calls and events are not drawn.")
    return joined(
        [
            element("div", picture, class_="scroll"),
            element("p", _legend(), " ".join(notes), class_="note legend"),
        ]
    )


def _legend() -> Html:
    """What the shapes are; in the colour of the first lane, where they have the lane's."""
    names = [
        ("turn", "turn"),
        ("tool", "tool call"),
        ("model", "model call"),
        ("mark", "hand-off"),
        ("error", "failed or denied"),
        ("warning", "look at it"),
    ]
    return element(
        "span",
        joined(element("span", name, class_=f"key key-{kind}") for kind, name in names),
        class_="keys c0",
    )


def _bars(session: Session) -> tuple[list[_Bar], int]:
    """What is drawn, in order, and how many more there are."""
    bars: list[_Bar] = []
    for item in walk(session.items):
        told = tell(item)
        if isinstance(item, Moment) and told.level is None and told.kind not in {"model", "switch"}:
            continue
        began, ended = _times(item, told)
        bars.append(_Bar(item, told, began, max(began, ended)))
    drawn = _chosen(bars)
    return drawn, len(bars) - len(drawn)


def _chosen(bars: list[_Bar]) -> list[_Bar]:
    """What there is room for: turns, then what needs attention, then some of the rest from everywhere."""
    if len(bars) <= BARS:
        return bars
    turns = [bar for bar in bars if isinstance(bar.item, Turn)]
    calls = [bar for bar in bars if not isinstance(bar.item, Turn)]
    drawn = turns[:BARS]
    for group in ([b for b in calls if b.told.level], [b for b in calls if not b.told.level]):
        step = max(1, -(-len(group) // max(1, BARS - len(drawn))))
        drawn += group[::step][: BARS - len(drawn)]
    return sorted(drawn, key=lambda bar: bar.item.number)


def _times(item: Item, told: Told) -> tuple[int, int]:
    if isinstance(item, Turn):
        return item.began_us, item.last_us
    if isinstance(item, ToolCall):
        last = max(entry.event.timestamp_us for entry in item.entries)
        return item.began_us, item.ended_us or last
    at = item.entry.event.timestamp_us
    took = told.duration_ms if isinstance(item.entry.event, ev.ModelCallEvent) else None
    return at - int((took or 0.0) * 1_000), at


def _agent(item: Item) -> str:
    if isinstance(item, Moment):
        return item.entry.event.agent_id or ""
    return item.agent_id or ""


def _lanes(session: Session, bars: Iterable[_Bar], scale: Scale) -> list[_Lane]:
    lanes: dict[str, _Lane] = {}
    for name in session.agents[:LANES]:
        lanes[name] = _Lane(name, len(lanes) % _COLOURS)
    others = _Lane("other agents" if len(session.agents) > LANES else "no agent", _COLOURS)
    for bar in bars:
        lane = lanes.get(_agent(bar.item), others)
        bar.left, bar.right = scale.at(bar.began_us), scale.at(bar.ended_us)
        bar.right = max(bar.right, bar.left + _THINNEST)
        if isinstance(bar.item, Turn):
            lane.turns.append(bar)
        elif isinstance(bar.item, ToolCall) or bar.told.kind == "model":
            lane.stack(bar)
        else:
            lane.marks.append(bar)
    shown = [*lanes.values(), others]
    return [lane for lane in shown if lane.turns or lane.rows or lane.marks]


def _draw_lane(lane: _Lane, y: int, anchors: Collection[str]) -> Html:
    middle = y + _LABEL + _TURN / 2
    bars = y + _LABEL + _TURN + _GAP
    parts = [
        element("line", x1="0", x2="100%", y1=y + 0.5, y2=y + 0.5, class_="lane"),
        element("text", visible(lane.name)[:60], x="0", y=y + 15, class_="label"),
    ]
    parts += [_linked(bar, _draw_bar(bar, y + _LABEL, _TURN, "turn"), anchors) for bar in lane.turns]
    for number, row in enumerate(lane.rows):
        top = bars + number * (_BAR + _GAP)
        # what needs attention on top: a call that took no time would vanish under the one behind it
        above = sorted(row, key=lambda bar: bar.told.level is not None)
        parts += [_linked(bar, _draw_bar(bar, top, _BAR, bar.told.kind), anchors) for bar in above]
    parts += [_linked(bar, _draw_mark(bar, middle), anchors) for bar in lane.marks]
    return element("g", joined(parts), class_=f"c{lane.colour}")


def _draw_bar(bar: _Bar, y: float, height: int, kind: str) -> Html:
    level = f" {bar.told.level}" if bar.told.level else ""
    return element(
        "rect",
        x=f"{bar.left:.3f}%",
        y=y,
        width=f"{bar.right - bar.left:.3f}%",
        height=height,
        rx=2,
        class_=f"bar {kind}{level}",
    )


def _draw_mark(bar: _Bar, y: float) -> Html:
    level = bar.told.level or "plain"
    return element("circle", cx=f"{bar.left:.3f}%", cy=y, r=5, class_=f"mark {level}")


def _linked(bar: _Bar, shape: Html, anchors: Collection[str]) -> Html:
    told = bar.told
    words = [told.title, told.state, duration(told.duration_ms), f"{clock(bar.began_us, utc=True):%H:%M:%S}"]
    title = element("title", ", ".join(word for word in words if word)[:_TITLE])
    name = anchor(bar.item)
    return element("a", title, shape, href=f"#{name}" if name in anchors else None, tabindex="-1")


def _draw_pauses(scale: Scale, height: int) -> Html:
    hatch = element(
        "pattern",
        element("line", x1="0", y1="0", x2="0", y2="6", class_="hatch"),
        id="hatch",
        width="6",
        height="6",
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    parts = [element("defs", hatch)]
    for pause in scale.pauses:
        width = f"{pause.right - pause.left:.3f}%"
        middle = f"{(pause.left + pause.right) / 2:.3f}%"
        parts += [
            element("rect", x=f"{pause.left:.3f}%", y=0, width=width, height=height, fill="url(#hatch)"),
            element("text", duration(pause.us / 1_000), x=middle, y=height + 30, class_="pause"),
        ]
    return joined(parts)


def _draw_axis(session: Session, scale: Scale, y: int) -> Html:
    """Times below: where turns begin at the top, and at both ends, as far as they have room."""
    starts = [item.began_us for item in session.items if isinstance(item, Turn)]
    parts = [element("line", x1="0", x2="100%", y1=y + 0.5, y2=y + 0.5, class_="lane")]
    last = scale.at(session.ended_us)
    taken = [last]
    for us in sorted({session.began_us, *starts}):
        at = scale.at(us)
        if all(abs(at - other) >= _NEAR for other in taken):
            taken.append(at)
            parts += _tick(us, at, y, "start")
    parts += _tick(session.ended_us, last, y, "end")
    return element("g", joined(parts), class_="axis")


def _tick(us: int, at: float, y: int, anchor: str) -> list[Html]:
    text = f"{clock(us, utc=True):%H:%M:%S}"
    return [
        element("line", x1=f"{at:.3f}%", x2=f"{at:.3f}%", y1=y, y2=y + 5, class_="lane"),
        element("text", text, x=f"{at:.3f}%", y=y + 17, class_=f"tick {anchor}"),
    ]
