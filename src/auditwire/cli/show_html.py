"""A session as one page that needs nothing else: no network, no font, no library, and no script to be read.

The page's policy (``Content-Security-Policy``) forbids it every request, and every style and script but the
two that stand in it, by their hashes: what an event holds could not run even if it got past the escaping.
Without a script all is there but the filter, and, of a session of more than 1,500 events, the events' JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from auditwire._version import __version__
from auditwire.cli.show_markup import Html, element, joined, said
from auditwire.cli.show_rows import OPEN, Rows
from auditwire.cli.show_timeline import timeline
from auditwire.cli.show_words import anchor, clock, duration, span
from auditwire.sessions.totals import most_first
from auditwire.sessions.trail import HONEST_WORDS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from auditwire.sessions import Finding, Session, StreamStanding, Trail

__all__ = ["page"]

_FINDINGS, _MORE, _FAULTS, _GAPS, _AGENTS, _TABLE = 10, 200, 20, 20, 50, 50
_TEXT = 300
_MILLION = 1_000_000
_COLOURS = 8

_VERDICTS = {
    "complete": ("✓", "Complete"),
    "recovered": ("✓", "Recovered"),
    "open": ("…", "Not closed yet"),
    "fault": ("✕", "Fault"),
    "unchecked": ("?", "Not checked"),
}


@cache
def _asset(name: str) -> str:
    return resources.files("auditwire.cli").joinpath(name).read_text(encoding="utf-8")


def page(session: Session, trail: Trail, *, where: str) -> str:
    """The page.

    Args:
        session: The session.
        trail: The verdict on the streams that hold it.
        where: Where it was read: said in the page's last line.
    """
    colours = {name: number % _COLOURS for number, name in enumerate(session.agents)}
    rows = Rows(len(session.entries), colours)
    listed = rows.list_of(session.items)
    style, script = _asset("show.css"), _asset("show.js")
    parts = {
        "policy": (
            f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "title": element("title", f"{session.session_id[:_TEXT]} · auditwire"),
        "style": style,
        "script": script,
        "head": _head(session, colours),
        "verdict": _verdict(trail),
        "numbers": _numbers(session),
        "attention": _attention(session, rows.anchors),
        "timeline": timeline(session, rows.anchors),
        "controls": _controls(session),
        "rows": joined([listed, _left_out(session, rows.left_out)]),
        "data": _data(rows.data),
        "foot": element(
            "p", f"auditwire {__version__}, read from {where}. This page makes no request to anybody."
        ),
    }
    return Template(_asset("show.html")).substitute(parts)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(texts: list[str]) -> Html:
    """The JSON of a large session's events, for the script; no text in it can end the block."""
    if not texts:
        return Html("")
    text = json.dumps(texts, ensure_ascii=True).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="events">{text}</script>')


# -- the parts ----------------------------------------------------------------------------------------------


def _head(session: Session, colours: dict[str, int]) -> Html:
    agents = [
        element("span", said(name, 80), class_=f"chip c{colours[name]}") for name in session.agents[:_AGENTS]
    ]
    if len(session.agents) > _AGENTS:
        agents.append(element("span", f"and {len(session.agents) - _AGENTS:,} more", class_="cut"))
    people = ", ".join(f"{kind} {name}".strip() for kind, name in session.principals[:_AGENTS])
    when = span(session.began_us, session.ended_us, utc=True)
    facts = [
        ("Agents", joined(agents) if agents else None),
        ("On behalf of", said(people, _TEXT)),
        ("Tenant", said(", ".join(session.tenants[:_AGENTS]), _TEXT)),
        ("Time", element("span", f"{when} · {duration(session.duration_ms)}")),
    ]
    listed = joined(
        element("div", element("dt", name), element("dd", value))
        for name, value in facts
        if value is not None
    )
    return joined(
        [
            element("p", "Agent session", class_="eyebrow"),
            element("h1", said(session.session_id, _TEXT)),
            element("dl", listed, class_="facts"),
        ]
    )


def _verdict(trail: Trail) -> Html:
    glyph, word = _VERDICTS[trail.standing]
    sentence = trail.sentence.removeprefix(f"{word}: ")
    streams = joined(_stream(stream) for stream in trail.streams)
    return element(
        "section",
        element("span", glyph, class_="seal", aria_hidden="true"),
        element(
            "div",
            element("h2", word, id="verdict"),
            element("p", sentence[:1].upper() + sentence[1:]),
            element(
                "details",
                element("summary", "The streams, and what this proves"),
                element("ul", streams, class_="streams"),
                joined(element("p", said(note, _TEXT)) for note in trail.notes),
                element("p", HONEST_WORDS, class_="note"),
                open=trail.standing in {"fault", "open"},
            ),
        ),
        class_=f"verdict {trail.standing}",
        aria_labelledby="verdict",
    )


def _stream(stream: StreamStanding) -> Html:
    share = stream.share
    numbers = f"{share.records:,} records of the session, {share.first_sequence:,} to {share.last_sequence:,}"
    gaps = [
        element(
            "li", f"record {first:,}: {what}" if first == last else f"records {first:,} to {last:,}: {what}"
        )
        for first, last, what in stream.open_gaps[:_GAPS]
    ]
    if len(stream.open_gaps) > _GAPS:
        gaps.append(element("li", f"and {len(stream.open_gaps) - _GAPS:,} more gaps"))
    faults = [element("li", said(fault, _TEXT)) for fault in stream.faults[:_FAULTS]]
    if stream.faults_total > len(faults):
        more = f"and {stream.faults_total - len(faults):,} more faults: see auditwire verify"
        faults.append(element("li", more))
    return element(
        "li",
        element(
            "p",
            element("span", _VERDICTS[stream.standing][1], class_=f"word {stream.standing}"),
            " ",
            element("b", said(stream.service, _TEXT)) if stream.service else None,
            " ",
            element("code", share.stream_id),
        ),
        element("p", f"{numbers}. The stream {stream.sentence}."),
        element("ul", joined(gaps), class_="gaps") if gaps else None,
        element("ul", joined(faults), class_="faults") if faults else None,
        joined(element("p", said(note, _TEXT), class_="note") for note in stream.notes[:_GAPS]),
    )


def _numbers(session: Session) -> Html:
    totals = session.totals
    not_done = totals.tool_calls - totals.states["done"]
    tiles = [
        (
            "Turns",
            totals.turns,
            f"{totals.unfinished_turns:,} without an end" if totals.unfinished_turns else "",
        ),
        ("Tool calls", totals.tool_calls, f"{not_done:,} not done" if not_done else ""),
        ("Model calls", totals.model_calls, ""),
        ("Tokens", totals.input_tokens + totals.output_tokens, f"{totals.input_tokens:,} in"),
        ("Hand-offs", totals.switches, ""),
        ("Denied", totals.denied + totals.refused + totals.loop_blocks, ""),
        ("Errors", totals.errors, ""),
        ("Events", totals.events, ""),
    ]
    drawn = [
        element(
            "div",
            element("dt", name),
            element("dd", _short(number), element("small", note) if note and number else None),
            class_="tile" if number else "tile none",
        )
        for name, number, note in tiles
    ]
    return joined([element("dl", joined(drawn), class_="tiles"), _tables(session)])


def _short(number: int) -> str:
    """The number, in millions where it has no room otherwise."""
    return f"{number:,}" if number < _MILLION else f"{number / _MILLION:,.2f} M"


def _tables(session: Session) -> Html:
    models = [
        (
            "/".join(filter(None, (m.provider, m.model))) or "no name",
            m.calls,
            m.failed,
            m.input_tokens,
            m.output_tokens,
        )
        for m in session.totals.models.values()
    ]
    tables = []
    if models:
        tables.append(_table(("Model", "calls", "failed", "tokens in", "tokens out"), models))
    states = list(most_first(session.totals.states).items())
    if states:
        tables.append(_table(("Tool calls that are", "calls"), states))
    tables.append(_table(("Event type", "events"), list(most_first(session.totals.types).items())))
    return element(
        "details",
        element("summary", "More numbers"),
        element("div", joined(tables), class_="tables"),
        class_="numbers",
    )


def _table(header: tuple[str, ...], rows: Sequence[tuple[str | int, ...]]) -> Html:
    body = [
        element(
            "tr",
            element("th", said(str(row[0]), 80), scope="row"),
            joined(element("td", f"{number:,}") for number in row[1:]),
        )
        for row in rows[:_TABLE]
    ]
    head = joined(element("th", name, scope="col") for name in header)
    return element("table", element("thead", element("tr", head)), element("tbody", joined(body)))


def _attention(session: Session, anchors: Collection[str]) -> Html:
    if not session.findings:
        return element("p", "Nothing failed, nothing was denied, and everything ended.", class_="calm")
    first = _findings(session.findings[:_FINDINGS], anchors)
    rest = session.findings[_FINDINGS:]
    if not rest:
        return first
    more = element("p", f"and {len(rest) - _MORE:,} more, marked below", class_="note")
    return joined(
        [
            first,
            element(
                "details",
                element("summary", f"{len(rest):,} more"),
                _findings(rest[:_MORE], anchors),
                more if len(rest) > _MORE else None,
                class_="numbers",
            ),
        ]
    )


def _findings(findings: Sequence[Finding], anchors: Collection[str]) -> Html:
    return element("ol", joined(_finding(finding, anchors) for finding in findings), class_="findings")


def _finding(finding: Finding, anchors: Collection[str]) -> Html:
    us = finding.entry.event.timestamp_us
    name = anchor(finding.item)
    return element(
        "li",
        element(
            "a",
            element("time", f"{clock(us, utc=True):%H:%M:%S}"),
            element("b", said(finding.subject, 80)) if finding.subject else None,
            element("span", finding.what, class_="what"),
            said(finding.text, _TEXT, "text"),
            href=f"#{name}" if name in anchors else None,
        ),
        class_=finding.level,
    )


def _controls(session: Session) -> Html:
    kinds = [
        ("tool", "Tools"),
        ("model", "Models"),
        ("decision", "Decisions"),
        ("switch", "Hand-offs"),
        ("skill", "Skills"),
        ("error", "Errors"),
        ("event", "Other"),
    ]
    chips = joined(
        element("button", label, type="button", data_show=kind, aria_pressed="true") for kind, label in kinds
    )
    trouble = element(
        "button", "Only what needs attention", type="button", id="trouble", aria_pressed="false"
    )
    return (
        element(
            "div",
            element(
                "input", type="search", id="search", placeholder="Filter by text", aria_label="Filter by text"
            ),
            element("div", chips, trouble, role="group", aria_label="What is shown", class_="chips"),
            element(
                "div",
                element("button", "Unfold all", type="button", id="unfold"),
                element("button", "Fold all", type="button", id="fold"),
                class_="folds",
            ),
            element("p", "", role="status", id="shown"),
            class_="controls",
            hidden=True,
        )
        if len(session.entries)
        else Html("")
    )


def _left_out(session: Session, rows: int) -> Html | None:
    """What is not on the page, and where it is."""
    notes: Iterator[str] = (
        note
        for number, note in (
            (rows, f"{rows:,} more turns, calls and events have no row here, which keeps the page usable."),
            (session.left_out, f"{session.left_out:,} later events are counted and not told (--limit)."),
            (session.repeated, f"{session.repeated:,} records hold an event again that is told already."),
            (len(session.entries) > OPEN, "Turns are folded: the session is long."),
        )
        if number
    )
    text = " ".join(notes)
    if not text:
        return None
    return element(
        "p", f"{text} auditwire show --json has everything; --since and --until show a part.", class_="note"
    )
