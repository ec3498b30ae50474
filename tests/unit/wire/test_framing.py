"""Framing: both formats byte for byte, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import DecodingError
from auditwire.wire.framing import MAX_VALUE, frame_confluent, frame_single_object, split


def reason(value: bytes | None) -> str:
    with pytest.raises(DecodingError) as caught:
        split(value)
    return caught.value.reason


def test_single_object_encoding_is_the_marker_the_fingerprint_and_the_body() -> None:
    assert frame_single_object(bytes(range(8)), b"body") == b"\xc3\x01" + bytes(range(8)) + b"body"


def test_the_confluent_wire_format_is_a_zero_the_id_big_endian_and_the_body() -> None:
    assert frame_confluent(0x01020304, b"body") == b"\x00\x01\x02\x03\x04body"


@given(fingerprint=st.binary(min_size=8, max_size=8), body=st.binary())
def test_single_object_framing_comes_apart_as_it_was_put_together(fingerprint: bytes, body: bytes) -> None:
    assert split(frame_single_object(fingerprint, body)) == ("single-object", fingerprint, body)


@given(schema_id=st.integers(0, 2**31 - 1), body=st.binary())
def test_confluent_framing_comes_apart_as_it_was_put_together(schema_id: int, body: bytes) -> None:
    assert split(frame_confluent(schema_id, body)) == ("confluent", schema_id, body)


@pytest.mark.parametrize("length", [0, 7, 9])
def test_a_fingerprint_that_has_not_eight_bytes_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="8 bytes"):
        frame_single_object(bytes(length), b"")


@pytest.mark.parametrize("schema_id", [-1, 2**31])
def test_a_registry_id_that_is_no_java_int_is_refused(schema_id: int) -> None:
    with pytest.raises(ValueError, match="schema id"):
        frame_confluent(schema_id, b"")


def test_none_is_a_tombstone() -> None:
    assert reason(None) == "tombstone"


@pytest.mark.parametrize("value", [b"\xc3\x01", b"\xc3\x01" + bytes(7)])
def test_a_value_that_ends_in_its_framing_is_truncated(value: bytes) -> None:
    assert reason(value) == "truncated"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"\xc3",
        b"\xc3\x02" + bytes(20),
        b"\x00\x80\x00\x00\x00body",
        b"plain text",
        b"\x00",
        bytes(4),
    ],
)
def test_a_value_in_neither_framing_is_foreign(value: bytes) -> None:
    assert reason(value) == "foreign"


def test_a_value_of_more_than_16_mib_is_not_looked_at() -> None:
    assert split(frame_confluent(1, bytes(MAX_VALUE - 5)))[0] == "confluent"
    assert reason(frame_confluent(1, bytes(MAX_VALUE - 4))) == "oversized"
