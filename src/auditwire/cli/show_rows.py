"""The rows of a session's page: turns that can be folded, and in them calls and events with all they hold.

Each row's details have the events behind it: their fields as JSON, and where each stands on Kafka. The JSON
stands in the row as long as a session is small. In a large one it stands once, in a block of data that the
page's script takes it from, so that the browser has no elements to make for it.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

from auditwire.cli.show_markup import Html, element, joined, said, visible
from auditwire.cli.show_words import anchor, clock, decision, duration, tell
from auditwire.sessions import ToolCall, Turn
from auditwire.sessions.tree import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditwire.cli.show_words import Told
    from auditwire.sessions import Entry, Item, Moment

__all__ = ["INLINE", "OPEN", "ROWS", "Rows"]

ROWS = 20_000
"""Rows of turns, calls and events in a page; how many more there are is said."""

INLINE = 1_500
"""Events up to which the JSON of each stands in its row."""

OPEN = 400
"""Rows up to which turns are unfolded when the page is opened."""

_JSON = 20_000
_JSON_WHOLE = 48_000_000
"""Characters of the JSON of one event, and of all of them."""

_TEXT, _SHORT = 600, 200

_BADGES = {"turn": "", "tool": "✓", "model": "✦", "decision": "§", "error": "✕", "switch": "→"}
_LEVEL_BADGES = {"error": "✕", "warning": "!"}
_KIND_NAMES = {
    "tool": "tool call",
    "model": "model call",
    "decision": "decision",
    "error": "error",
    "switch": "hand-off",
    "skill": "skill",
    "event": "event",
}


class Rows:
    """Writes the rows of one page.

    Args:
        events: How many events the session has: whether it is large.
        colours: Agent -> the number of its colour.

    Attributes:
        left_out: Turns, calls and events that have no row.
        data: The JSON of the events that do not stand in their rows, by the number there.
        anchors: What links can lead to.
    """

    def __init__(self, events: int, colours: dict[str, int]) -> None:
        self._inline = events <= INLINE
        self._open = events <= OPEN
        self._colours = colours
        self._room = ROWS
        self._json_room = _JSON_WHOLE
        self.left_out = 0
        self.data: list[str] = []
        self.anchors: set[str] = set()

    def list_of(self, items: Iterable[Item]) -> Html:
        """The items as a list; those for which there is no room are counted in ``left_out``."""
        rows = []
        for item in items:
            if self._room <= 0:
                self.left_out += sum(1 for _ in walk([item]))
                continue
            self._room -= 1
            rows.append(self._turn(item) if isinstance(item, Turn) else self._row(item))
        return element("ol", joined(rows), class_="rows")

    # -- turns ----------------------------------------------------------------------------------------------

    def _turn(self, turn: Turn) -> Html:
        told = tell(turn)
        inner = [self.list_of(turn.items)]
        if turn.end is not None:
            inner.append(self._answer(told))
        ends = [entry for entry in (turn.start, turn.end) if entry is not None]
        if ends:
            inner.append(self._events(ends, "Start and end of the turn"))
        return element(
            "li",
            element(
                "details",
                element("summary", self._turn_head(turn, told)),
                element("div", joined(inner), class_="inside"),
                open=self._open,
                class_=f"turn c{self._colour(turn.agent_id)}",
                id=self._anchor(turn),
            ),
        )

    def _turn_head(self, turn: Turn, told: Told) -> Html:
        tokens = turn.input_tokens + turn.output_tokens
        sums = [
            f"{turn.calls:,} call{'' if turn.calls == 1 else 's'}" if turn.calls else "",
            f"{tokens:,} tokens" if tokens else "",
        ]
        head = element(
            "span",
            _time(turn.began_us),
            element("span", said(told.title, _SHORT), class_="agent"),
            _state(told),
            element("span", " · ".join(part for part in sums if part), class_="sums"),
            _took(told),
            class_="line",
        )
        return joined([head, element("span", said(told.text, _TEXT), class_="prompt") if told.text else None])

    @staticmethod
    def _answer(told: Told) -> Html:
        label = element("span", "Answer", class_="label")
        text = said(told.result, _TEXT) or element("span", "nothing", class_="cut")
        return element("p", label, text, class_="answer")

    # -- calls and events -----------------------------------------------------------------------------------

    def _row(self, item: ToolCall | Moment) -> Html:
        told = tell(item)
        entries = item.entries if isinstance(item, ToolCall) else [item.entry]
        began_us = item.began_us if isinstance(item, ToolCall) else entries[0].event.timestamp_us
        head = element(
            "span",
            _time(began_us),
            _badge(told),
            element("span", said(told.title, _SHORT), class_="name"),
            _state(told),
            said(told.text, _TEXT, "text"),
            _took(told),
            class_="line",
        )
        more = [head]
        if told.result:
            more.append(element("span", said(told.result, _TEXT), class_="result"))
        if isinstance(item, ToolCall) and item.around:
            more.append(
                element("span", joined(_decision(entry) for entry in item.around), class_="decisions")
            )
        return element(
            "li",
            element(
                "details",
                element("summary", joined(more)),
                element("div", self._blocks(entries), class_="events"),
                class_=" ".join(filter(None, ("row", told.kind, told.level))),
                id=self._anchor(item),
                data_kind=told.kind,
            ),
        )

    def _anchor(self, item: Item) -> str:
        name = anchor(item)
        self.anchors.add(name)
        return name

    def _colour(self, agent_id: str | None) -> int:
        return self._colours.get(agent_id or "", len(set(self._colours.values())))

    # -- the events behind a row ----------------------------------------------------------------------------

    def _events(self, entries: Sequence[Entry], title: str) -> Html:
        blocks = element("div", self._blocks(entries), class_="events")
        return element("details", element("summary", title), blocks, class_="ends")

    def _blocks(self, entries: Iterable[Entry]) -> Html:
        return joined(self._block(entry) for entry in entries)

    def _block(self, entry: Entry) -> Html:
        event = entry.event
        place = [
            ("topic", entry.topic),
            ("partition", f"{entry.partition}"),
            ("offset", f"{entry.offset:,}"),
            ("stream", entry.stream_id),
            ("sequence", f"{entry.sequence:,}"),
            ("sha-256", entry.digest),
        ]
        facts = joined(
            element("div", element("dt", name), element("dd", value), class_=name) for name, value in place
        )
        stamp = f"{clock(event.timestamp_us, utc=True):%Y-%m-%d %H:%M:%S.%f} UTC"
        title = element("p", element("b", event.event_type), " ", element("time", stamp), class_="source")
        return element("section", title, element("dl", facts, class_="place"), self._json(entry))

    def _json(self, entry: Entry) -> Html:
        text = self._raw(entry)
        if text is None:
            note = "Its JSON is left out of this page, which is large enough; auditwire show --json has it."
            return element("p", note, class_="note")
        if self._inline:
            escaped = Html(
                escape(text, quote=False)
            )  # not by element(), which would escape the line ends too
            return element("pre", escaped, tabindex="0", aria_label=f"{entry.event.event_type} as JSON")
        self.data.append(text)
        return element("pre", "The JSON is shown by the page's script.", data_json=len(self.data) - 1)

    def _raw(self, entry: Entry) -> str | None:
        """The event as JSON without invisible characters but line ends; None where there is no room."""
        if self._json_room <= 0:
            return None
        whole = json.dumps(entry.event.to_dict(), indent=1, ensure_ascii=False)
        text = visible(whole[:_JSON], keep="\n")
        if len(whole) > _JSON:
            text += f"\n… cut here: {len(whole):,} characters in all"
        self._json_room -= len(text)
        return text


def _time(us: int) -> Html:
    when = clock(us, utc=True)
    return element("time", f"{when:%H:%M:%S}", element("small", f".{when:%f}"[:4]), datetime=when.isoformat())


def _badge(told: Told) -> Html:
    glyph = _LEVEL_BADGES.get(told.level or "") or ("?" if told.state else _BADGES.get(told.kind, "•"))
    return element(
        "span",
        element("span", glyph, aria_hidden="true"),
        element("span", f"{_KIND_NAMES.get(told.kind, told.kind)}: ", class_="unseen"),
        class_="badge",
    )


def _state(told: Told) -> Html | None:
    return element("span", said(told.state, _SHORT), class_="state") if told.state else None


def _took(told: Told) -> Html:
    return element("span", duration(told.duration_ms), class_="took")


def _decision(entry: Entry) -> Html:
    label, text, level = decision(entry)
    return element(
        "span", element("b", label), " ", said(text, _SHORT), class_=f"decision {level or ''}".rstrip()
    )
