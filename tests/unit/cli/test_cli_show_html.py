"""The page: what it must have, what it must not, and what hostile events cannot do to it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import fields
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.cli import show_html, show_rows, show_timeline
from auditwire.cli.show_html import page
from auditwire.events import (
    EVENT_TYPES,
    AuditEvent,
    ErrorEvent,
    ModelCallEvent,
    ToolCallAttemptEvent,
    TurnStartEvent,
)
from auditwire.sessions import Session, SessionBuilder, StreamStanding, Trail, judge_trail
from auditwire.verification import check_streams
from support.told import records_of, script, session_of, support_streams

if TYPE_CHECKING:
    from auditwire.reading import Record

HOSTILE = (
    '</script></style></title><script>alert(1)</script><img src=x onerror="alert(1)">&\'"--><!-- '
    "\u202e\x00\x1b[31m"
)


class Page(HTMLParser):
    """A page as a browser takes it in."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = text
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.headings: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.texts: list[str] = []
        self._path: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag in {"h1", "h2", "h3"}:
            self.headings.append(tag)
        if tag not in {"meta", "input"}:
            self._path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._path.pop() == tag

    def handle_data(self, data: str) -> None:
        where = self._path[-1] if self._path else ""
        {"script": self.scripts, "style": self.styles}.get(where, self.texts).append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def values(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


def support() -> tuple[Session, list[Record]]:
    records = [record for stream in support_streams() for record in stream.records]
    builder = SessionBuilder(script().SESSION)
    for record in records:
        builder.add(record)
    session = builder.build()
    assert session is not None
    return session, records


def page_of(session: Session, trail: Trail | None = None) -> Page:
    return Page(page(session, trail or judge_trail(session, None), where="localhost:9092, topics audit.*"))


@pytest.fixture(scope="module")
def example() -> Page:
    session, records = support()
    return page_of(session, judge_trail(session, check_streams(records)))


def test_the_page_holds_every_event_with_its_place_and_its_json(example: Page) -> None:
    session, _ = support()
    for entry in session.entries:
        assert entry.digest in example.text
        assert f'"event_id": "{entry.event.event_id}"' in example.text
    assert example.tags["pre"] == len(session.entries) == 56


def test_the_page_asks_nobody_for_anything(example: Page) -> None:
    addressed = [v for name in ("src", "href", "action", "data", "poster") for v in example.values(name)]
    assert all(value.startswith("#") for value in addressed)
    assert example.tags.keys() & {"img", "link", "iframe", "object", "embed", "base", "form"} == set()
    assert "url(" not in example.styles[0]
    assert "@import" not in example.styles[0]
    for word in ("fetch(", "XMLHttpRequest", "import(", "WebSocket", "sendBeacon", "innerHTML", "eval("):
        assert word not in "".join(example.scripts)


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(example: Page) -> None:
    (policy,) = (value for value in example.values("content") if "default-src" in value)
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for text in (example.styles[0], example.scripts[-1])
    ]
    assert policy == (
        f"default-src 'none'; style-src {hashes[0]}; script-src {hashes[1]}; base-uri 'none'; "
        "form-action 'none'"
    )
    assert example.values("style") == []
    assert [name for _, name, _ in example.attributes if name.startswith("on")] == []


def test_links_lead_somewhere_and_ids_are_there_once(example: Page) -> None:
    ids = Counter(example.values("id"))
    assert set(ids.values()) == {1}
    wanted = [value[1:] for value in example.values("href")] + example.values("aria-labelledby")
    assert set(wanted) <= ids.keys()
    assert len(wanted) > 20


def test_the_page_can_be_read_by_its_headings(example: Page) -> None:
    assert example.headings == ["h1", "h2", "h2", "h2", "h2", "h2"]
    assert ("html", "lang", "en") in example.attributes
    assert example.tags["main"] == example.tags["header"] == example.tags["footer"] == 1
    unnamed = [tag for tag, name, _ in example.attributes if tag == "input" and name == "aria-label"]
    assert len(unnamed) == example.tags["input"]


def test_all_but_the_filter_is_there_without_a_script(example: Page) -> None:
    hidden = [tag for tag, name, _ in example.attributes if name == "hidden"]
    assert hidden == ["div"]
    assert "The JSON is shown by the page's script" not in example.text


@pytest.mark.parametrize(
    ("missing", "word"),
    [((), "Complete"), (((0, 5),), "Fault")],
)
def test_the_verdict_stands_at_the_top(missing: tuple[tuple[int, int], ...], word: str) -> None:
    session, records = support()
    streams = sorted({record.stream_id for record in records})
    gone = {(streams[place], sequence) for place, sequence in missing}
    kept = [record for record in records if (record.stream_id, record.sequence) not in gone]
    read = page_of(session, judge_trail(session, check_streams(kept)))
    assert read.text.index(word) < read.text.index("Turns")
    assert ("record 5 is missing" in read.text) == bool(missing)


def test_many_gaps_and_faults_are_counted() -> None:
    session = session_of(ErrorEvent())
    stream = StreamStanding(
        session.streams[0],
        "fault",
        gaps=[(n, n + n % 4, "not arrived yet") for n in range(0, 60, 2)],
        faults=[f"fault {n}" for n in range(25)],
        faults_total=40,
        notes=["a note"],
    )
    text = page_of(session, Trail("fault", "The trail is at fault.", [stream], ["of the trail"])).text
    assert "of the trail" in text
    assert "record 0: not arrived yet" in text
    assert "records 2 to 4: not arrived yet" in text
    assert "and 10 more gaps" in text
    assert "and 20 more faults: see auditwire verify" in text
    assert "a note" in text


# -- hostile events -----------------------------------------------------------------------------------------


def every_type(text: str) -> list[AuditEvent]:
    """An event of each type whose texts are all this one, but for what ties them together."""
    events = []
    for cls in EVENT_TYPES.values():
        values: dict[str, Any] = {"turn_id": f"t{text}", "agent_id": text, "principal_id": text}
        values |= {"tenant_id": text, "principal_type": text, "metadata": {text: [text]}}
        for item in fields(cls):
            if item.type in {"str", "str | None"} and item.name not in {*values, "event_id", "session_id"}:
                values[item.name] = text
            elif item.type == "list[str]":
                values[item.name] = [text]
        events.append(cls(**values))
    return events


def test_no_text_of_an_event_makes_an_element_or_an_attribute() -> None:
    texts = "x" * len(HOSTILE), HOSTILE  # of one length: a text that is cut has a note
    harmless, hostile = (page_of(session_of(*every_type(text))) for text in texts)
    assert hostile.tags == harmless.tags
    assert Counter(name for _, name, _ in hostile.attributes) == Counter(
        name for _, name, _ in harmless.attributes
    )
    assert hostile.scripts == harmless.scripts
    assert "<script>alert(1)</script>" in hostile.text


def test_a_hostile_session_id_is_text_too() -> None:
    builder = SessionBuilder(HOSTILE)
    for record in records_of([ErrorEvent(session_id=HOSTILE)]):
        builder.add(record)
    session = builder.build()
    assert session is not None
    read = page_of(session)
    assert (read.tags["script"], read.tags["img"], read.tags["title"]) == (1, 0, 2)


def test_characters_that_change_how_text_is_read_are_shown_as_escapes() -> None:
    read = page_of(session_of(ErrorEvent(error_message="a\u202eb\u2066c\x1bd", agent_id="x\u200b")))
    for character in "\u202e\u2066\x1b\u200b":
        assert character not in read.source
    assert "a\\u202eb\\u2066c\\x1bd" in read.text


def test_the_json_of_a_large_session_cannot_end_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_rows, "INLINE", 0)
    read = page_of(session_of(*every_type(HOSTILE)))
    data, code = read.scripts
    texts = json.loads(data)
    assert "<" not in data
    assert code == page_of(session_of(ErrorEvent())).scripts[-1]
    assert read.tags["script"] == 2
    assert sorted(map(int, read.values("data-json"))) == list(range(len(texts)))
    assert sum("&lt;/script&gt;" in text for text in texts) == 0
    assert any("</script>" in text for text in texts)
    assert "\x1b" not in "".join(texts)


def test_a_huge_text_is_cut_and_says_so() -> None:
    read = page_of(session_of(ErrorEvent(error_message="y" * 400_000)))
    assert len(read.source) < 120_000
    assert re.search(r"cut here: 40\d,\d\d\d characters in all", read.text)


def test_json_beyond_what_a_page_may_hold_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_rows, "_JSON_WHOLE", 100)
    read = page_of(session_of(ErrorEvent(), ErrorEvent()))
    assert read.tags["pre"] == 1
    assert read.text.count("Its JSON is left out of this page") == 1


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["1", "2", "3", None]), st.text(max_size=5)), max_size=8))
def test_any_tree_of_turns_becomes_a_page_with_unique_anchors(plan: list[tuple[str | None, str]]) -> None:
    events: list[AuditEvent] = [ErrorEvent()]
    for turn, text in plan:
        events.append(TurnStartEvent(turn_id=turn, parent_turn_id=text or None, agent_id=text))
        events.append(ToolCallAttemptEvent(turn_id=turn, tool_name=text))
    read = page_of(session_of(*events))
    ids = Counter(read.values("id"))
    assert set(ids.values()) == {1}
    assert {value[1:] for value in read.values("href")} <= ids.keys()


# -- many events --------------------------------------------------------------------------------------------


def test_what_has_no_room_is_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_rows, "ROWS", 3)
    events: list[AuditEvent] = [ErrorEvent() for _ in range(5)]
    read = page_of(session_of(*events, TurnStartEvent(turn_id="t"), ErrorEvent(turn_id="t")))
    assert read.text.count("error_type") == 3
    assert "4 more turns, calls and events have no row here" in read.text
    links = {value[1:] for value in read.values("href")}
    assert links <= set(read.values("id"))


def test_a_long_session_is_folded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    start = TurnStartEvent(turn_id="t")
    short = page_of(session_of(start))
    monkeypatch.setattr(show_rows, "OPEN", 0)
    monkeypatch.setattr(show_html, "OPEN", 0)
    folded = page_of(session_of(start))
    assert (short.values("open"), folded.values("open")) == ([""], [])
    assert "Turns are folded" in folded.text


def test_events_beyond_the_limit_and_repeated_ones_are_said() -> None:
    session = session_of(ErrorEvent())
    session.left_out, session.repeated = 7, 2
    text = page_of(session).text
    assert "7 later events are counted and not told" in text
    assert "2 records hold an event again" in text


def test_many_findings_are_folded_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_html, "_MORE", 3)
    text = page_of(session_of(*(ErrorEvent() for _ in range(15)))).text
    assert "5 more" in text
    assert "and 2 more, marked below" in text


def test_a_timeline_of_many_bars_keeps_turns_and_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show_timeline, "BARS", 4)
    events: list[AuditEvent] = [TurnStartEvent(turn_id="t"), ErrorEvent(turn_id="t")]
    events += [ModelCallEvent(turn_id="t", model="m") for _ in range(10)]
    read = page_of(session_of(*events))
    assert read.text.count("8 more calls and events are not drawn") == 1
    drawn = [v for tag, name, v in read.attributes if name == "class" and tag in {"rect", "circle"}]
    assert sorted(drawn) == ["bar model", "bar model", "bar turn warning", "mark error"]


def test_agents_beyond_the_lanes_share_one() -> None:
    events = [TurnStartEvent(turn_id=f"t{n}", agent_id=f"agent {n:02}") for n in range(60)]
    read = page_of(session_of(*events))
    assert "other agents" in read.text
    assert "and 10 more" in read.text


def test_calls_that_overlap_lie_below_each_other_and_the_last_row_takes_the_rest() -> None:
    calls = [ToolCallAttemptEvent(tool_name=f"t{n}", tool_call_id=str(n)) for n in range(7)]
    read = page_of(session_of(*calls))
    tops = {
        value for tag, name, value in read.attributes if tag == "rect" and name == "y" and float(value) > 0
    }
    assert len(tops) == 1  # none of them overlaps: a call without an outcome has no length
    session = session_of(*calls, *(ErrorEvent() for _ in range(2)))
    for call in session.items[:7]:
        call.outcome = session.entries[-1]  # type: ignore[union-attr] # tool calls
    read = page_of(session)
    tops = {
        value for tag, name, value in read.attributes if tag == "rect" and name == "y" and float(value) > 0
    }
    assert len(tops) == 4


def test_a_calm_session_says_that_nothing_needs_attention() -> None:
    read = page_of(session_of(ModelCallEvent(model="m")))
    assert "Nothing failed, nothing was denied, and everything ended." in read.text


def test_large_numbers_are_told_in_millions() -> None:
    text = page_of(session_of(ModelCallEvent(model="m", input_tokens=6_072_400))).text
    assert "6.07 M" in text
    assert "6,072,400 in" in text
