from __future__ import annotations

import copy
import pickle
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_NOT_AVAILABLE

from auditwire.events import TurnStartEvent
from auditwire.reading import Message, Record
from auditwire.reading.record import headers_of, record_from, timestamp_of
from auditwire.wire import decode, frame_confluent, frame_single_object
from support.stream_builder import record_of

HEADERS: list[tuple[str, bytes | None]] = [("ce_id", b"1"), ("x", None)]


class Given:
    """What is asked of the client's message; counts what was."""

    def __init__(
        self, value: bytes | None, *, headers: Any = HEADERS, kind: int = TIMESTAMP_CREATE_TIME
    ) -> None:
        self.asked: Counter[str] = Counter()
        self._value = value
        self._headers = headers
        self._kind = kind

    def __len__(self) -> int:
        return len(self._value or b"")

    def value(self) -> bytes | None:
        return self._value

    def key(self) -> bytes | None:
        self.asked["key"] += 1
        return b"s1"

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        self.asked["headers"] += 1
        if isinstance(self._headers, Exception):
            raise self._headers
        headers: list[tuple[str, bytes | None]] | None = self._headers
        return headers

    def topic(self) -> str:
        return "audit.turn-start"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 17

    def timestamp(self) -> tuple[int, int]:
        return self._kind, 5


BUILT = record_of(TurnStartEvent(session_id="s1", prompt_preview="p"), 4)
VALUE = frame_single_object(BUILT.fingerprint, BUILT.body)


def fetched(
    value: bytes = VALUE, *, of: str | None = None, **options: Any
) -> tuple[Record, Given, Counter[str]]:
    message, undecodable = Given(value, **options), Counter[str]()
    return record_from(message, decode(value, event_type=of), undecodable), message, undecodable


def test_a_record_takes_from_the_message_what_it_is_asked_for_and_once() -> None:
    record, message, _ = fetched()
    assert message.asked == Counter()
    assert (record.event, record.stream_id, record.sequence, record.late) == (
        BUILT.event,
        BUILT.stream_id,
        4,
        False,
    )
    for _ in range(2):
        assert (record.topic, record.partition, record.offset, record.timestamp_ms) == (
            "audit.turn-start",
            3,
            17,
            5,
        )
        assert (record.key, record.headers) == (b"s1", HEADERS)
        assert (record.value, record.body, record.digest) == (VALUE, BUILT.body, BUILT.digest)
        assert (record.framing, record.fingerprint) == ("single-object", BUILT.fingerprint)
    assert message.asked == Counter(key=1, headers=1)


def test_a_record_in_the_confluent_wire_format_has_its_body_without_those_bytes() -> None:
    record, _, _ = fetched(frame_confluent(7, BUILT.body))
    assert (record.body, record.framing, record.value[:5]) == (BUILT.body, "confluent", b"\0\0\0\0\7")


def test_a_misspelt_name_is_no_attribute() -> None:
    record, _, _ = fetched()
    with pytest.raises(AttributeError, match="'Record' object has no attribute 'stream'"):
        record.stream  # type: ignore[attr-defined]  # noqa: B018 - what raises


def test_a_record_can_be_compared_shown_changed_copied_and_pickled() -> None:
    record, _, _ = fetched()
    other, _, _ = fetched()
    assert record == other
    assert "topic='audit.turn-start'" in repr(record)
    changed = replace(record, offset=18)
    assert (changed.offset, changed.headers, changed == record) == (18, HEADERS, False)
    for twin in (copy.copy(record), pickle.loads(pickle.dumps(record))):
        assert twin == record
        assert twin.value == VALUE


def test_a_record_made_by_hand_has_no_value_and_is_neither_late_nor_misplaced() -> None:
    assert (BUILT.value, BUILT.late, BUILT.misplaced) == (b"", False, False)
    assert BUILT.to_dict()["late"] is False
    assert BUILT.to_dict()["misplaced"] is False


@pytest.mark.parametrize("value", [VALUE, frame_confluent(7, BUILT.body)])
def test_a_record_on_the_topic_of_another_type_says_so_and_stays_what_it_is(value: bytes) -> None:
    record, _, _ = fetched(value, of="turn_end")
    assert (record.misplaced, record.event, record.body) == (True, BUILT.event, BUILT.body)
    assert record.to_dict()["misplaced"] is True
    assert record == pickle.loads(pickle.dumps(record))
    assert record != fetched(value, of="turn_start")[0]


@pytest.mark.parametrize("error", [SystemError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x")])
def test_headers_that_the_client_cannot_read_are_counted_when_they_are_asked_for(error: Exception) -> None:
    record, _, undecodable = fetched(headers=error)
    assert undecodable == Counter()
    assert record.headers == []
    assert record.headers == []
    assert undecodable == Counter(headers=1)


def test_a_message_is_the_clients_in_plain_values() -> None:
    undecodable: Counter[str] = Counter()
    message = Message.of(Given(None, headers=None), undecodable)
    assert message == Message(
        topic="audit.turn-start", partition=3, offset=17, timestamp_ms=5, key=b"s1", headers=[], value=None
    )
    assert headers_of(Given(b"", headers=SystemError()), undecodable) == []
    assert undecodable == Counter(headers=1)


def test_a_message_without_timestamp_has_minus_one() -> None:
    assert timestamp_of(Given(b"", kind=TIMESTAMP_NOT_AVAILABLE)) == -1
