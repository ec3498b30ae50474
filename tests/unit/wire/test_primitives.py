"""What generated decoders are made of, each function held to the interpreter's of the same kind."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import DecodingError
from auditwire.wire import MAX_BODY, interpreter, primitives

if TYPE_CHECKING:
    from collections.abc import Callable

    Read = Callable[[bytes, int], Any]


def outcome(read: Read, value: bytes) -> Any:
    try:
        return read(value, 1)
    except DecodingError as e:
        return e.reason, str(e)


LENGTHS = [
    (b"\x80\x01", 64),
    (b"\xfe\x7f", 8_191),
    (b"\x80\x80\x01", 8_192),
    (b"\xfe\xff\x7f", 2**20 - 1),
    (b"\x80\x80\x80\x01", 2**20),
    (b"\xfe\xff\xff\x7f", 2**27 - 1),
    (b"\x80\x80\x80\x80\x01", 2**27),
    (b"\xfe\xff\xff\xff\x7f", 2**34 - 1),
    (b"\x80\x80\x80\x80\x80\x01", 2**34),
    (b"\x81\x01", -65),
    (b"\xff\x7f", -8_192),
    (b"\x81\x80\x01", -8_193),
    (b"\xff\xff\x7f", -(2**20)),
    (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", 2**63 - 1),
]


@pytest.mark.parametrize(("encoded", "number"), LENGTHS)
def test_a_long_of_several_bytes_is_read(encoded: bytes, number: int) -> None:
    value = b"?" + encoded
    assert primitives.long(value, 1) == interpreter.read_long(value, 1) == (number, len(value))


def of_groups(groups: list[int]) -> bytes:
    """A long of these groups of seven bits, the lowest first."""
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


LONGS = st.lists(st.integers(0, 0x7F), min_size=1, max_size=10).map(of_groups)


@given(encoded=LONGS)
def test_a_long_of_any_length_is_what_the_interpreter_reads_or_refuses(encoded: bytes) -> None:
    value = b"?" + encoded.ljust(10, b"?")
    expected = outcome(interpreter.read_long, value)
    assert outcome(primitives.long, value) == outcome(primitives.instant, value) == expected


@given(encoded=st.one_of(LONGS, st.binary(min_size=8)))
def test_the_tables_give_the_time_in_eight_bytes_or_nothing(encoded: bytes) -> None:
    value = encoded.ljust(8, b"?")[:8] + b"??"
    number, behind = interpreter.read_long(value, 0)
    primitives.HIGH.clear()
    assert primitives.instant(value, 0) == (number, behind)
    low, middle, high = struct.unpack_from("<HH4s", value)
    found = primitives.HIGH.get(high, primitives.NEVER) + primitives.LOW[low] + primitives.MIDDLE[middle]
    if behind == 8 and number >= 0:
        assert found == number
    else:
        assert found < 0


def test_what_is_remembered_of_times_is_bounded() -> None:
    for number in range(primitives._MOST_HIGH + 10):
        value = bytes([0x80] * 4 + [number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, 0x80, 1])
        assert primitives.instant(value, 0) == interpreter.read_long(value, 0)
        assert 0 < len(primitives.HIGH) <= primitives._MOST_HIGH


@pytest.mark.parametrize("text", ["p" * 64, "é" * 4_095, "p" * 8_192])
def test_a_string_of_several_bytes_of_length_is_read_or_passed_over(text: str) -> None:
    raw = text.encode()
    size = len(raw) << 1
    length = bytes([size & 0x7F | 0x80, size >> 7]) if size < 2**14 else b"\x80\x80\x01"
    value = b"?" + length + raw
    assert primitives.string(value, 1) == interpreter.read_string(value, 1) == (text, len(value))
    assert primitives.skip(value, 1) == len(value)


@pytest.mark.parametrize("encoded", [encoded for encoded, number in LENGTHS if number < 0])
def test_a_negative_length_is_refused(encoded: bytes) -> None:
    value = b"?" + encoded + b"p" * 20_000
    with pytest.raises(DecodingError) as caught:
        primitives.skip(value, 1)
    assert caught.value.reason == "malformed"
    with pytest.raises(DecodingError):
        primitives.string(value, 1)


@given(value=st.binary(max_size=40).map(lambda rest: b"?" + rest))
def test_any_bytes_are_an_array_as_the_interpreter_reads_it_or_refused(value: bytes) -> None:
    try:
        found = outcome(primitives.array, value)
    except (IndexError, ValueError):
        return  # refused: the caller asks the interpreter
    expected = outcome(interpreter.read_array, value)
    # what ends behind the value is refused where all is compared
    assert found == expected or found[1] > len(value)


@pytest.mark.parametrize("text", ['{"a":[1,{"b":null}]}', '{ "a" : "\\u00e9" }'])
def test_a_json_object_is_read(text: str) -> None:
    assert primitives.json_object(text) == interpreter.read_metadata(text)


def test_a_json_object_larger_than_any_record_of_ours_is_refused_unread() -> None:
    with pytest.raises(DecodingError) as caught:
        primitives.json_object('{"a":"' + "b" * MAX_BODY + '"}')
    assert caught.value.reason == "oversized"
