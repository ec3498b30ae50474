from __future__ import annotations

import json
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import DecodingError
from auditwire.reading import Gap, Message
from auditwire.replaying.tally import GAPS_KEPT, StreamTally, Tally
from support.stream_builder import STREAM, StreamBuilder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.reading import Record

OTHER = "01920000-0000-7000-8000-000000000002"


def tallied(records: Iterable[Record]) -> Tally:
    tally = Tally()
    for record in records:
        tally.add(record)
    return tally


def by_hand(records: Iterable[Record]) -> str:
    """A stream's digest as the module's docstring has it, written without the module."""
    digest = b"\0" * 32
    for record in sorted(records, key=lambda r: r.sequence):
        digest = sha256(digest + record.sequence.to_bytes(8, "big") + sha256(record.body).digest()).digest()
    return digest.hex()


def message(offset: int, partition: int = 0) -> Message:
    return Message(
        topic="audit.error",
        partition=partition,
        offset=offset,
        timestamp_ms=0,
        key=None,
        headers=[],
        value=b"?",
    )


def test_a_streams_digest_is_the_one_that_is_documented() -> None:
    records = StreamBuilder().turns(20).close().records
    stream = tallied(records).streams[STREAM]
    assert stream.to_dict() == {"first": 0, "last": 21, "records": 22, "digest": by_hand(records)}


def test_a_known_digest_stays_what_it_is() -> None:
    stream = StreamTally()
    stream.add(7, bytes(range(32)))
    assert stream.digest.hex() == sha256(bytes(32) + (7).to_bytes(8, "big") + bytes(range(32))).hexdigest()
    assert stream.digest.hex() == "c18fb1f8cfeb7ed330a43cb00f49383698e769c0cda8d546143d19712dc11474"


def test_a_changed_a_missing_and_a_renumbered_record_change_the_digest() -> None:
    records = StreamBuilder().turns(5).records
    others = StreamBuilder().turns(5).records  # other event ids, so other digests
    digest = by_hand(records)
    for some in (records[:-1], records[1:], [*records[:2], others[2], *records[3:]]):
        assert tallied(some).streams[STREAM].digest.hex() != digest
    assert tallied(records).streams[STREAM].digest.hex() == digest


def test_records_that_come_late_are_listed_with_their_digests() -> None:
    records = StreamBuilder().turns(6).records
    stream = tallied([*records[1:3], records[0], *records[4:], records[3]]).streams[STREAM]
    assert stream.to_dict() == {
        "first": 0,
        "last": 6,
        "records": 7,
        "digest": by_hand([*records[1:3], *records[4:]]),
        "late": {"0": records[0].digest.hex(), "3": records[3].digest.hex()},
    }


def test_counts_times_and_places() -> None:
    one, two = StreamBuilder().turns(8), StreamBuilder(OTHER)
    records = [*one.records, *two.records]
    records[3].late = True
    records[4].timestamp_ms = -1
    tally = tallied(records)
    tally.duplicate(records[1])
    assert (tally.records, tally.duplicates, tally.late, len(tally.streams)) == (10, 1, 1, 2)
    times = [record.timestamp_ms for record in records if record.timestamp_ms >= 0]
    assert (tally.first_ms, tally.last_ms) == (min(times), max(times))
    assert tally.places["audit.turn-start"][1] == [101, 107, 3]  # sequences 1 and 7, and 1 once more
    assert sum(place[2] for numbers in tally.places.values() for place in numbers.values()) == 11


def test_an_undecodable_message_that_is_read_again_counts_once() -> None:
    tally = Tally()
    foreign, truncated = DecodingError("foreign", ""), DecodingError("truncated", "")
    for offset, partition, error in ((3, 0, foreign), (4, 0, foreign), (3, 1, truncated), (4, 0, foreign)):
        tally.undecoded(message(offset, partition), error)
    tally = Tally.from_dict(tally.to_dict())
    tally.undecoded(message(4), foreign)
    tally.undecoded(message(5), foreign)
    tally.unread({"foreign": 9, "headers": 2, "corrupt": 0})
    tally.unread({"foreign": 9, "headers": 3})
    assert tally.undecodable == {"foreign": 3, "truncated": 1, "headers": 3}


def test_all_gaps_are_counted_and_the_first_thousand_kept() -> None:
    tally = Tally()
    for number in range(GAPS_KEPT + 5):
        tally.gap(Gap(STREAM, number, number, 0.0, "end"))
    assert tally.gap_count == GAPS_KEPT + 5
    assert len(tally.gaps) == GAPS_KEPT
    assert tally.gaps[7] == {"stream_id": STREAM, "first": 7, "last": 7, "reason": "end"}


@given(st.permutations(range(12)), st.integers(0, 12))
def test_a_tally_goes_on_where_a_document_of_it_ended(order: list[int], cut: int) -> None:
    records = _RECORDS
    whole = tallied(records[number] for number in order)
    half = tallied(records[number] for number in islice(order, cut))
    half = Tally.from_dict(json.loads(json.dumps(half.to_dict())))
    for number in order[cut:]:
        half.add(records[number])
    assert half.to_dict() == whole.to_dict()
    first = whole.streams[STREAM]
    assert (first.first, first.last) == (0, max(r.sequence for r in records if r.stream_id == STREAM))


_RECORDS = [*StreamBuilder().turns(6).records, *StreamBuilder(OTHER).turns(4).records]


def test_a_forged_number_below_zero_is_counted_too() -> None:
    record = StreamBuilder().records[0]
    record.sequence = -(1 << 63)
    tally = tallied([record])
    assert Tally.from_dict(tally.to_dict()).to_dict() == tally.to_dict()
    assert tally.streams[STREAM].first == -(1 << 63)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("records", -1),
        ("records", "7"),
        ("streams", {"x": {"first": 0, "last": 0, "records": 1, "digest": "00"}}),
        ("streams", {"x": {"first": 0}}),
        ("places", {"t": {"0": [0, 0, True]}}),
        ("places", []),
        ("undecodable", {"foreign": None}),
    ],
)
def test_a_document_that_is_no_tally_is_refused(member: str, value: object) -> None:
    content = {**tallied(_RECORDS).to_dict(), member: value}
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        Tally.from_dict(content)
