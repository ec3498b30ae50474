"""Trails of which nothing is wrong, that were tampered with, or that stand in other places."""

from __future__ import annotations

from vector_cases import Base, expect, whole
from vector_messages import HOUR_MS, HUGE, OPENED_US, A, B, Stream

from auditwire.events import CheckpointEvent, TurnEndEvent
from auditwire.stream import pack_entry
from auditwire.wire import frame_confluent


def untouched(base: Base) -> None:
    """Streams of which nothing is wrong."""
    case, a, m = base.trails.case, base.a, base.messages
    case("a closed stream", "6 10 11 14 15 16 17 35 43 44", a.names, whole(a))
    empty = Stream(m, "e").close()
    case("a closed stream without any event", "10 17 43", empty.names, whole(empty))
    confluent = Stream(m, "c", confluent=True).turns(2).close()
    case("a closed stream in Confluent framing", "2 3 43", confluent.names, whole(confluent))
    body = (m.named["a1"].value or b"")[10:]
    m.changed("a1-confluent", "a1", value=frame_confluent(7, body), offset=9_002)
    case("a record in both framings", "2 6 8", [*a.names, "a1-confluent"], whole(a, duplicates=1))
    case("all records twice, backwards", "8", [*a.names, *a.names][::-1], whole(a, duplicates=8))
    case(
        "a stream that is still written",
        "15 35 43 44",
        base.f.names,
        expect(A, "open", 9, to=8, sealed=3, ack=4, unproven=[[4, 8]]),
    )


def tampered(base: Base) -> None:
    """Records that are not what they were."""
    case, a, m = base.trails.case, base.a, base.messages
    case("an edited field", "6 13 43 44", a.swapped(_3="a3-edited"), base.of_a(faults=[("changed", 3)]))
    m.edited("a1-as-5", "a1", sequence=5)
    m.edited("a5-as-1", "a5", sequence=1)
    both = [("changed", 1), ("changed", 5)]
    case("two records swapped", "13", a.swapped(_1="a1-as-5", _5="a5-as-1"), base.of_a(faults=both))
    m.record("a1-as-turn-end", TurnEndEvent(session_id="s1", timestamp_us=OPENED_US + 1_000), A, 1)
    case(
        "a record of another type",
        "13",
        a.swapped(_1="a1-as-turn-end"),
        base.of_a(faults=[("changed", 1)]),
    )
    conflict = base.of_a(faults=[("conflict", 3)])
    case("a second, different record", "9 13", [*a.names, "a3-edited"], conflict)
    case("the same, the different one first", "9 13", ["a3-edited", *a.names], conflict)
    m.record("a8", TurnEndEvent(timestamp_us=OPENED_US + 9_000), A, 8)
    case(
        "a record behind the closing checkpoint",
        "17",
        [*a.names, "a8"],
        base.of_a(records=9, to=8, unproven=[[8, 8]], faults=[("after_close", 8)]),
    )
    typed = Stream(m, "g").turns(1)
    event = typed.draft()
    event.types[1] = "turn_end:0000000000000000"
    case(
        "a checkpoint that lists the digest under another type",
        "7 13",
        typed.add(event).names,
        expect(A, "fault", 3, to=2, sealed=1, ack=2, unproven=[[2, 2]], faults=[("changed", 1)]),
    )


def absent(base: Base) -> None:
    """Records that are not there."""
    case, a, m = base.trails.case, base.a, base.messages
    for name, gone, missing in (
        ("one record deleted", (2,), [[2, 2]]),
        ("two in a row deleted", (2, 3), [[2, 3]]),
        ("the head deleted", (0, 1, 2), [[0, 2]]),
        ("all of a type deleted, or its topic not read", (1, 5), [[1, 1], [5, 5]]),
    ):
        faults = [("missing", first) for first, _ in missing]
        there = base.of_a(records=8 - len(gone), missing=missing, faults=faults)
        case(name, "1 16 29 30 43 44", a.without(*gone), there)
    case(
        "the tail deleted: what comes behind the last checkpoint cannot be known",
        "29 35 43",
        a.names[:-1],
        expect(A, "open", 7, to=6, sealed=3, ack=4, unproven=[[4, 6]]),
    )
    h = Stream(m, "h").turns(6).checkpoint(acknowledged=4)
    there = expect(A, "open", 7, to=7, sealed=6, ack=4, awaited=[[5, 5]], unproven=[[7, 7]])
    case("a listed record that was not acknowledged", "29 33", h.without(5), there)
    settled = {
        **there,
        "verdict": "fault",
        "awaited": [],
        "missing": [[5, 5]],
        "faults": [["missing", 5]],
    }
    case("the same when nothing can be on its way", "33", h.without(5), settled, settled=True)
    case(
        "a gap across what was acknowledged",
        "16 30 33",
        h.without(2, 3, 4, 5),
        {**there, "verdict": "fault", "records": 4, "missing": [[2, 3]], "awaited": [[4, 5]]}
        | {"faults": [["missing", 2]]},
    )
    first_ends = {f"{h[7].topic}/{h[7].partition}": h[7].offset}
    case(
        "the same, its checkpoint behind the first ends",
        "16 40",
        h.without(2, 3, 4, 5),
        {**there, "records": 4, "acknowledged": 0, "awaited": [[2, 5]]},
        first_ends=first_ends,
    )
    i = Stream(m, "i").turns(2)
    case(
        "an opening checkpoint that has not come yet",
        "10 29 33",
        i.names[1:],
        expect(A, "open", 2, to=2, sealed=-1, ack=0, awaited=[[0, 0]], unproven=[[1, 2]]),
    )


def checkpoints(base: Base) -> None:
    """Checkpoints that are absent, or not what they should be."""
    case, a, m = base.trails.case, base.a, base.messages
    case(
        "a checkpoint deleted",
        "14 15 30 35",
        a.without(4),
        base.of_a(
            records=7,
            sealed=-1,
            missing=[[4, 4]],
            unproven=[[0, 3]],
            faults=[("missing", 4), ("chain", 7)],
        ),
    )
    j = Stream(m, "j").turns(3).checkpoint(acknowledged=0).turns(2).checkpoint(acknowledged=2)
    case(
        "a checkpoint that has not come yet",
        "14 33 35",
        j.without(4),
        expect(A, "open", 7, to=7, sealed=-1, ack=2, awaited=[[4, 4]], unproven=[[0, 3], [7, 7]]),
    )
    m.edited("a7-again", "a7", reason="interval", first_sequence=0, entries=[], types=[])
    case(
        "a checkpoint that begins before the end of the one before it",
        "14 15",
        a.swapped(_7="a7-again"),
        base.of_a(sealed=3, closed=False, unproven=[[4, 7]], faults=[("chain", 7)]),
    )
    k = Stream(m, "k", opened=False).turns(2)
    opening = expect(A, "fault", 2, to=1, sealed=-1, ack=0, unproven=[[0, 1]], faults=[("opening", 0)])
    case("a stream that does not begin with a checkpoint", "10", k.names, opening)
    l2 = Stream(m, "l").turns(1).checkpoint("open")
    again = expect(A, "fault", 3, to=2, sealed=1, ack=2, unproven=[[2, 2]], faults=[("opening", 2)])
    case("a second opening checkpoint", "10", l2.names, again)
    for number, (name, entry) in enumerate(
        (
            ("a foreign character", "A" * 43 + "+"),
            ("43 characters", "A" * 43),
            ("a type that there is not", pack_entry(9, bytes(32))),
        )
    ):
        bad = Stream(m, f"entry{number}-").turns(1)
        event = bad.draft(acknowledged=0)
        event.entries[1] = entry
        there = expect(A, "fault", 3, to=2, sealed=1, ack=0, unproven=[[1, 2]], faults=[("chain", 2)])
        case(f"a checkpoint with an entry of {name}", "11", bad.add(event).names, there)
    own = Stream(m, "own").turns(1)
    event = own.draft(acknowledged=0)
    event.entries.append(pack_entry(0, bytes(32)))
    there = expect(A, "fault", 3, to=2, sealed=2, ack=0, unproven=[[2, 2]], faults=[("chain", 2)])
    case("a checkpoint that lists itself", "12", own.add(event).names, there)
    early = Stream(m, "early").turns(2)
    closing = early.draft("close")
    early.turns(1).add(closing)
    there = expect(A, "open", 5, to=4, sealed=2, ack=3, closed=True, unproven=[[3, 3]])
    case("a closing checkpoint that does not list all before it", "17 43", early.names, there)
    far = Stream(m, "far").turns(1).checkpoint(acknowledged=100).turns(2)
    there = expect(A, "open", 4, to=4, sealed=1, ack=2, awaited=[[3, 3]], unproven=[[2, 2], [4, 4]])
    case("a checkpoint that vouches for records behind itself", "16", far.without(3), there)
    huge = Stream(m, "huge")
    event = CheckpointEvent(reason="interval", acknowledged=HUGE, first_sequence=-HUGE)
    event.timestamp_us = OPENED_US
    m.record("huge-1", event, A, HUGE)
    there = expect(A, "fault", 2, to=HUGE, sealed=-1, ack=HUGE, missing=[[1, HUGE - 1]])
    there |= {"unproven": [[0, 0], [HUGE, HUGE]], "faults": [["chain", HUGE], ["missing", 1]]}
    case("numbers that nobody could have written", "46", [*huge.names, "huge-1"], there)


def placed(base: Base) -> None:
    """What stands around a record."""
    case, a, m = base.trails.case, base.a, base.messages
    around = dict(a[2].headers)

    def with_headers(name: str, *changes: tuple[str, bytes | None]) -> str:
        kept = [pair for pair in a[2].headers if pair[0] not in dict(changes)]
        return m.changed(name, "a2", headers=(*kept, *(pair for pair in changes if pair[1] is not None)))

    one, trace = b"x", around["traceparent"] or b""
    wrong: list[tuple[str, str, str]] = [
        ("another topic", "36", m.changed("a2-topic", "a2", topic="audit.turn-start", offset=9_003)),
        ("another key", "37", m.changed("a2-key", "a2", key=b"somebody else")),
        ("an empty key", "37", m.changed("a2-empty-key", "a2", key=b"")),
        ("another ce_id", "38", with_headers("a2-id", ("ce_id", one))),
        ("no ce_type beside its ce_id", "38", with_headers("a2-type", ("ce_type", None))),
        ("a second ce_id", "38", with_headers("a2-ids", ("ce_id", around["ce_id"]), ("ce_id", one))),
        ("another traceparent", "38", with_headers("a2-trace", ("traceparent", one))),
        (
            "the source of another stream",
            "38",
            with_headers("a2-source", ("ce_source", b"/auditwire/svc/another")),
        ),
    ]
    for name, rules, changed in wrong:
        case(f"a record under {name}", rules, a.swapped(_2=changed), base.of_a(faults=[("placement", 2)]))
    fine: list[tuple[str, str, str]] = [
        ("no key", "37", m.changed("a2-no-key", "a2", key=None)),
        ("no headers", "38", m.changed("a2-no-headers", "a2", headers=())),
        (
            "two traceparents",
            "38",
            with_headers("a2-traces", ("traceparent", one), ("traceparent", trace)),
        ),
        ("a source of another form", "38", with_headers("a2-urn", ("ce_source", b"urn:my:agents"))),
        ("headers of others", "38", with_headers("a2-more", ("x-mirrored-from", b"\xff"))),
    ]
    for name, rules, changed in fine:
        case(f"a record under {name}", rules, a.swapped(_2=changed), whole(a))
    m.changed("a1-elsewhere", "a1-confluent", topic="audit.turn-end", offset=9_004)
    moved = base.of_a(faults=[("placement", 1)])
    case("a record in Confluent framing on another topic", "3 36", a.swapped(_1="a1-elsewhere"), moved)
    for number in (1, 5):
        m.changed(f"a{number}-renamed", f"a{number}", topic="turns")
    renamed = a.swapped(_1="a1-renamed", _5="a5-renamed")
    case(
        "a topic of another name that the collector was given",
        "1 36",
        renamed,
        whole(a),
        topics={"turn_start": "turns"},
    )
    case("the same, unsaid", "36", renamed, base.of_a(faults=[("placement", 1), ("placement", 5)]))
    early = OPENED_US // 1_000 - HOUR_MS
    m.changed("a3-early", "a3", timestamp_ms=early)
    m.changed("a3-earlier", "a3", timestamp_ms=early - 1)
    case("a Kafka timestamp of an hour before the stream", "39", a.swapped(_3="a3-early"), whole(a))
    case("an earlier Kafka timestamp", "39", a.swapped(_3="a3-earlier"), whole(a, antedated=[[3, 3]]))


def read(base: Base) -> None:
    """What was read, and what it comes to."""
    case, a, f = base.trails.case, base.a, base.f
    case("nothing at all", "41 44", [], status=4)
    case("nothing but values of others", "5 41 44", ["foreign"], status=4, undecodable={"foreign": 1})
    case(
        "values of others beside a stream",
        "5 44",
        [*a.names, "foreign"],
        whole(a),
        undecodable={"foreign": 1},
    )
    case(
        "a value that claims to be a record and cannot be read",
        "5 44",
        ["damaged", *a.names],
        whole(a),
        status=4,
        undecodable={"truncated": 1},
    )
    case("a compacted topic", "42 44", a.names, whole(a), status=4, compacted=["audit.error"])
    lacking = base.of_a(records=7, missing=[[2, 2]], faults=[("missing", 2)])
    case("a compacted topic and a fault", "42 44", a.without(2), lacking, compacted=["audit.error"])
    open_end = expect(A, "open", 9, to=8, sealed=3, ack=4, unproven=[[4, 8]])
    case("an open end, asked for what is sealed", "45", f.names, open_end, sealed=True, status=0)
    h = [name for name in base.messages.named if name[0] == "h" and name[1:].isdigit()]
    awaited = expect(A, "open", 7, to=7, sealed=6, ack=4, awaited=[[5, 5]], unproven=[[7, 7]])
    case(
        "a record awaited below the last listed one, asked for what is sealed",
        "45",
        [name for name in h if name != "h5"],
        awaited,
        sealed=True,
        status=3,
    )


def removed(base: Base) -> None:
    """Retention: the id of each stream says that it was opened at OPENED_US."""
    case, a = base.trails.case, base.a
    opened = OPENED_US // 1_000
    head = base.of_a("open", 5, removed=[[0, 2]])
    case(
        "a head that may be older than the horizon", "34 43", a.without(0, 1, 2), head, horizon_ms=opened + 1
    )
    missing = {**head, "verdict": "fault", "removed": [], "missing": [[0, 2]], "faults": [["missing", 0]]}
    case("a head that is not", "34", a.without(0, 1, 2), missing, horizon_ms=opened)
    one = base.of_a("open", 7, removed=[[2, 2]])
    case("a record behind one that is older than the horizon", "34", a.without(2), one, horizon_ms=opened + 2)
    gone = {**one, "verdict": "fault", "removed": [], "missing": [[2, 2]], "faults": [["missing", 2]]}
    case("a record behind one that is not", "34", a.without(2), gone, horizon_ms=opened + 1)
    for name, kafka_ms in (("late", opened + 2 * HOUR_MS), ("early", opened), ("none", -1)):
        base.messages.changed(f"a1-{name}", "a1", partition=0, offset=9_005, timestamp_ms=kafka_ms)
    case(
        "a record behind one that was delivered hours later",
        "34",
        [name.replace("a1", "a1-late") for name in a.without(2)],
        one,
        horizon_ms=opened + 2,
    )
    case(
        "a record behind one with an older Kafka timestamp than its event",
        "34",
        [name.replace("a1", "a1-early") for name in a.without(2)],
        gone,
        horizon_ms=opened + 1,
    )
    case(
        "a record behind one of which such a copy was made",
        "34",
        [*a.without(2), "a1-early"],
        {**gone, "duplicates": 1},
        horizon_ms=opened + 1,
    )
    case(
        "a record behind one without a Kafka timestamp",
        "34",
        [name.replace("a1", "a1-none") for name in a.without(2)],
        one,
        horizon_ms=opened + 2,
    )
    dated = Stream(base.messages, "dated").turns(2)
    dated.add(TurnEndEvent(), at_us=-1).turns(2).close()
    there = whole(dated, missing=[[4, 4]], faults=[("missing", 4)])
    there |= {"verdict": "fault", "records": 6}
    case(
        "a record behind an event of 1969, which is behind one that is not older than the horizon",
        "34",
        dated.without(4),
        there,
        horizon_ms=opened + 2,
    )
    there = {**there, "verdict": "open", "removed": [[4, 4]], "missing": [], "faults": []}
    case("the same, that one older", "34", dated.without(4), there, horizon_ms=opened + 3)
    case(
        "a checkpoint that retention removed",
        "14 34 45",
        a.names[5:],
        base.of_a("open", 3, sealed=-1, removed=[[0, 4]]),
        horizon_ms=opened + 1,
        sealed=True,
    )
    other = Stream(base.messages, "no-uuid", "a stream of another id").turns(2).close()
    there = {**whole(other, removed=[[0, 0]]), "verdict": "open", "records": 3}
    case("a head of a stream whose id has no time", "34", other.names[1:], there, horizon_ms=opened + 2)
    there = {**there, "verdict": "fault", "removed": [], "missing": [[0, 0]], "faults": [["missing", 0]]}
    case("the same, its next record not older", "34", other.names[1:], there, horizon_ms=opened + 1)
    hole = ["f0", "f1", "f2", "f3", "f4", "f5", "f7", "f8", *(f"hole{n}" for n in range(4))]
    case(
        "an unreadable record behind one that is older than the horizon",
        "34",
        hole,
        base.of_f("open", 8, recoveries=2, removed=[[6, 6]]),
        expect(B, "complete", 4, to=3, sealed=2, ack=3, closed=True),
        horizon_ms=opened + 6,
    )
    case(
        "a record that is awaited stays that",
        "34",
        [f"h{n}" for n in (0, 1, 2, 3, 4, 6, 7)],
        expect(A, "open", 7, to=7, sealed=6, ack=4, awaited=[[5, 5]], unproven=[[7, 7]]),
        horizon_ms=opened + 9,
    )
