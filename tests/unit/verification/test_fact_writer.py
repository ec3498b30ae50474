from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from auditwire.events import TurnStartEvent
from auditwire.verification import FactWriter, StreamReport, facts, judge
from auditwire.verification.layout import Place
from auditwire.verification.runs import RunWriter
from auditwire.verification.speech import claims_of
from auditwire.wire import frame_confluent, frame_single_object, schema_for
from support.facts import judged
from support.stored import ClientView, Stored, stored
from support.stream_builder import OPENED_US, STREAM, StreamBuilder, record_of, rewritten

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from auditwire.errors import DecodingError
    from auditwire.reading import Record
    from auditwire.reading.record import ClientMessage

OTHER = "01920000-0000-7000-8000-000000000002"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Checked:
    """What a check of client messages gives."""

    def __init__(self, directory: Path, messages: Iterable[Stored], **options: Any) -> None:
        self.refused: list[str] = []
        with FactWriter(directory, **options) as writer:
            for message in messages:
                place = message.topic, message.partition
                writer.add_run(place, [ClientView(message)], on_undecodable=self.refuse)
        self.writer = writer
        self.reports = list(judge(writer.close()))

    def refuse(self, message: ClientMessage, error: DecodingError) -> None:
        self.refused.append(error.reason)

    @property
    def report(self) -> StreamReport:
        (report,) = self.reports
        return report

    @property
    def kinds(self) -> list[tuple[str, int]]:
        return [(fault.kind, fault.sequence) for fault in self.report.faults]


def messages_of(records: Iterable[Record]) -> list[Stored]:
    return [stored(record) for record in records]


def a_stream() -> StreamBuilder:
    return StreamBuilder().turns(3).checkpoint().turns(2).close()


# -- messages and records -----------------------------------------------------------------------------------


def test_messages_give_the_report_that_their_records_give(tmp_path: Path) -> None:
    stream = a_stream()
    assert Checked(tmp_path, messages_of(stream.records)).reports == judged(stream.records)


def test_messages_in_the_confluent_wire_format_are_read_as_well(tmp_path: Path) -> None:
    records = a_stream().records
    messages = [
        replace(message, value=frame_confluent(7, record.body))
        for message, record in zip(messages_of(records), records, strict=True)
    ]
    assert Checked(tmp_path, messages).reports == judged(records)


def test_a_record_of_a_trace_agrees_with_the_header_of_the_trace(tmp_path: Path) -> None:
    stream = StreamBuilder()
    stream.add(TurnStartEvent(trace_id=TRACE, span_id=SPAN))
    stream.add(TurnStartEvent(trace_id=TRACE))
    stream.add(TurnStartEvent(trace_id="0" * 32, span_id=SPAN))
    messages = messages_of(stream.close().records)
    assert Checked(tmp_path, messages).report.verdict == "complete"
    messages[1].headers[-1] = ("traceparent", b"00-x")
    assert Checked(tmp_path, messages).kinds == [("placement", 1)]


def test_headers_that_were_left_out_or_cannot_be_read_are_no_fault(tmp_path: Path) -> None:
    class Unreadable(ClientView):
        def headers(self) -> list[tuple[str, bytes | None]] | None:
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")

    messages = [replace(message, headers=[]) for message in messages_of(a_stream().records)]
    assert Checked(tmp_path, messages).report.verdict == "complete"
    with FactWriter(tmp_path) as writer:
        for message in messages_of(a_stream().records):
            writer.add_run((message.topic, message.partition), [Unreadable(message)])
    assert next(judge(writer.close())).verdict == "complete"
    assert writer.undecodable == {"headers": 8}


@pytest.mark.parametrize(
    "change",
    [
        {"key": b"x"},
        {"topic": "audit.elsewhere"},
        {"headers": [("ce_id", b"x"), ("ce_type", b"auditwire.turn_start")]},
    ],
)
def test_a_message_out_of_place_is_a_fault_also_when_all_before_it_were_in_order(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    stream = StreamBuilder()
    for _ in range(4):
        stream.add(TurnStartEvent(session_id="s1"))
    messages = messages_of(stream.close().records)
    messages[3] = replace(messages[3], partition=messages[2].partition, **change)
    assert Checked(tmp_path, messages).kinds == [("placement", 3)]


def test_a_message_without_key_and_one_of_another_form_of_source_are_no_fault(tmp_path: Path) -> None:
    messages = messages_of(a_stream().records)
    for message in messages:
        message.key = None
        message.headers[2] = ("ce_source", b"urn:my:agents")
    assert Checked(tmp_path, messages).report.verdict == "complete"


def test_a_source_of_another_stream_is_not_taken_for_this_one_s(tmp_path: Path) -> None:
    messages = messages_of(a_stream().records)
    for message in messages[3:]:
        message.headers[2] = ("ce_source", b"/auditwire/svc/another")
    assert Checked(tmp_path, messages).kinds == [("placement", n) for n in range(3, 8)]


def test_topics_that_the_collector_was_given_are_no_fault(tmp_path: Path) -> None:
    messages = [
        replace(message, topic="turns") if message.topic == "audit.turn-start" else message
        for message in messages_of(a_stream().records)
    ]
    assert Checked(tmp_path, messages, topics={"turn_start": "turns"}).report.verdict == "complete"
    assert len(Checked(tmp_path, messages).report.faults) == 5


def test_a_message_without_timestamp_is_not_antedated(tmp_path: Path) -> None:
    class Timeless(ClientView):
        def timestamp(self) -> tuple[int, int]:
            return 0, 5

    record = stored(StreamBuilder().records[0])
    for view, antedated in ((Timeless(record), []), (ClientView(replace(record, timestamp_ms=5)), [(0, 0)])):
        with FactWriter(tmp_path) as writer:
            writer.add_run((record.topic, 0), [view])
        assert next(judge(writer.close())).antedated == antedated


@pytest.mark.parametrize(
    ("timestamp_us", "told"), [(1_999, 1), (-1, 0), (-(2**63), 0), (2**63 - 1, 2**63 // 1_000)]
)
@pytest.mark.parametrize("read_before", [False, True])
def test_a_record_has_the_time_of_its_event_and_none_before_1970(
    tmp_path: Path, timestamp_us: int, told: int, *, read_before: bool
) -> None:
    record = record_of(TurnStartEvent(timestamp_us=timestamp_us), 0)
    with FactWriter(tmp_path) as writer:
        if read_before:
            writer.add_record(record)
        else:
            writer.add_run((record.topic, 0), [ClientView(stored(record))])
    report = next(judge(writer.close()))
    assert (report.first_timestamp_ms, report.last_timestamp_ms) == (told, told)


# -- what is no record --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"", "foreign"),
        (b"\xc3\x01" + bytes(8), "unknown_fingerprint"),
        (frame_single_object(schema_for("turn_start").fingerprint, b"\x00"), "truncated"),
        (frame_single_object(schema_for("turn_start").fingerprint, bytes(16 << 20)), "oversized"),
    ],
)
def test_what_is_no_record_is_handed_out_and_passed_over(
    tmp_path: Path, value: bytes | None, reason: str
) -> None:
    messages = messages_of(a_stream().records)
    foreign = replace(messages[1], value=value)
    for place in (0, 4, 8):
        checked = Checked(tmp_path, [*messages[:place], foreign, *messages[place:]])
        assert checked.refused == [reason]
        assert checked.report.verdict == "complete"


def test_without_anybody_to_hand_it_to_it_is_passed_over(tmp_path: Path) -> None:
    with FactWriter(tmp_path) as writer:
        writer.add_run(
            ("audit.turn-start", 0), [ClientView(replace(messages_of(a_stream().records)[1], value=None))]
        )
    assert writer.close() == []


def test_a_checkpoint_that_cannot_be_read_to_its_end_is_not_taken(tmp_path: Path) -> None:
    messages = messages_of(a_stream().records)
    messages[4] = replace(messages[4], value=(messages[4].value or b"")[:-3])
    checked = Checked(tmp_path, messages)
    assert (checked.refused, checked.kinds) == (["truncated"], [("missing", 4), ("chain", 7)])


def test_a_record_with_a_spoilt_rest_is_there_and_its_digest_tells(tmp_path: Path) -> None:
    messages = messages_of(a_stream().records)
    messages[2] = replace(messages[2], value=(messages[2].value or b"")[:-1])
    checked = Checked(tmp_path, messages)
    assert (checked.refused, checked.kinds) == ([], [("changed", 2)])


def test_a_stream_id_that_is_no_text_is_refused(tmp_path: Path) -> None:
    good = stored(record_of(TurnStartEvent(timestamp_us=OPENED_US), 0))
    bad = replace(good, value=(good.value or b"").replace(STREAM.encode(), b"\xff" * 36))
    checked = Checked(tmp_path, [good, bad])
    assert checked.refused == ["malformed"]
    assert checked.report.records == 1


# -- sessions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_messages", [True, False])
def test_streams_without_a_record_of_a_wanted_session_are_marked(
    *, as_messages: bool, tmp_path: Path
) -> None:
    one, two = StreamBuilder(), StreamBuilder(OTHER)
    one.add(TurnStartEvent(session_id="s1"))
    one.add(TurnStartEvent(session_id="s1"))
    two.add(TurnStartEvent(session_id="s2"))
    two.add(TurnStartEvent())
    records = one.close().records + two.close().records
    for sessions, wanted in (({"s1"}, [True, False]), ({"s1", "s2"}, [True, True]), (set(), [False, False])):
        if as_messages:
            reports = Checked(tmp_path, messages_of(records), sessions=sessions).reports
        else:
            reports = judged(records, sessions=sessions)
        assert [report.wanted for report in reports] == wanted
    assert all(report.wanted for report in judged(records))


# -- runs ---------------------------------------------------------------------------------------------------


def test_what_does_not_fit_into_memory_is_written_to_disk_and_closing_is_idempotent(tmp_path: Path) -> None:
    with FactWriter(tmp_path, memory=4_096) as writer:
        writer.add_run(
            ("audit.turn-start", 0),
            [ClientView(stored(r)) for r in a_stream().records if r.sequence in (1, 2)],
        )
        for record in StreamBuilder().turns(200).records:
            writer.add_record(record)
    paths = writer.close()
    assert len(paths) > 4
    assert paths == writer.close()
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_whatever_is_taken_may_fill_the_memory(tmp_path: Path) -> None:
    stream = StreamBuilder().turns(2)
    carried: dict[str, bytes] = {}
    with FactWriter(tmp_path) as writer:
        writer.add_record(stream.records[0])
    list(judge(writer.close(), on_carry=carried.__setitem__))
    with FactWriter(tmp_path, memory=1) as writer:
        last = stream.records[2]
        writer.add_carry(STREAM, carried[STREAM])
        writer.add_run((last.topic, 0), [ClientView(stored(stream.records[1]))])
        writer.add_remembered(STREAM, 2, last.digest, last.timestamp_ms, closed=False)
        writer.add_carry(OTHER, carried[STREAM])
        writer.add_run((last.topic, 0), [ClientView(stored(last))])
    assert len(writer.close()) == 5
    report, _ = judge(writer.close())
    assert (report.records, report.faults) == (3, [])


def test_many_runs_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_FOLD", 3)
    stream = StreamBuilder().turns(100).checkpoint().turns(10).close()
    stray = rewritten(stream.records[7], agent_id="x")
    with FactWriter(tmp_path, memory=128 * 30) as writer:
        for record in [*stream.records, *stream.records[3:40], stray]:
            writer.add_record(record)
    paths = writer.close()
    assert {path.name[-10:] for path in paths} >= {"000004.run", "000008.run"}, "each made of three"
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert list(judge(paths)) == judged([*stream.records, *stream.records[3:40], stray])


def test_an_exception_in_the_block_leaves_what_was_written_to_the_caller(tmp_path: Path) -> None:
    def fail(writer: FactWriter) -> None:
        with writer:
            writer.add_record(a_stream().records[0])
            raise KeyError

    with pytest.raises(KeyError):
        fail(FactWriter(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fold", [2, 100])
def test_a_full_disk_is_an_error_and_leaves_no_half_written_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fold: int
) -> None:
    monkeypatch.setattr(facts, "_FOLD", fold)
    write, calls = RunWriter.write, 0

    def full(self: RunWriter, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(errno.ENOSPC, "no space left on device")
        write(self, *args)

    monkeypatch.setattr(RunWriter, "write", full)
    writer = FactWriter(tmp_path, memory=128 * 10)
    records = StreamBuilder().turns(300).records
    with pytest.raises(OSError, match="no space left") as caught:
        list(map(writer.add_record, records))
    assert caught.value.errno == errno.ENOSPC
    assert len(list(tmp_path.iterdir())) == 2


def test_only_some_types_say_something_of_other_records() -> None:
    place = Place("audit.turn-start", 0, 0)
    assert list(claims_of(TurnStartEvent(), STREAM, 1, bytes(32), place, counted=True)) == []


def test_two_writers_in_one_directory_do_not_meet(tmp_path: Path) -> None:
    stream = a_stream()
    one, two = FactWriter(tmp_path), FactWriter(tmp_path)
    for record in stream.records:
        (one if record.sequence % 2 else two).add_record(record)
    assert list(judge([*one.close(), *two.close()])) == judged(stream.records)
