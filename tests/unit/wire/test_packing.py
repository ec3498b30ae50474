"""The parts of generated encoders: the bytes of the table in the module, by an Avro library and by hand."""

from __future__ import annotations

import json
import math
from io import BytesIO
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.jsonable import json_line
from auditwire.wire import MAX_BODY
from auditwire.wire.packing import LATE, LONG, LOW, PRESENT, TABLE, array, double, flat_json, long, text

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAT = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


class Text(str):
    __slots__ = ()


class Growing(list[str]):
    """Another thread adds to it while it is read."""

    def __iter__(self) -> Iterator[str]:
        for item in super().__iter__():
            if len(self) < 10:
                self.append("more")
            yield item
        self.clear()


def avro(kind: Any, value: object) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, kind, value)
    return out.getvalue()


@given(st.integers(-(2**63), 2**63 - 1) | st.integers(-20_000, 20_000))
def test_a_long_is_avros(number: int) -> None:
    assert long(number) == avro("long", number)


@pytest.mark.parametrize(
    ("number", "stored"),
    [
        (0, b"\x00"),
        (-1, b"\x01"),
        (63, b"\x7e"),
        (-64, b"\x7f"),
        (64, b"\x80\x01"),
        (-65, b"\x81\x01"),
        (8_191, b"\xfe\x7f"),
        (8_192, b"\x80\x80\x01"),
        (2**63 - 1, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        (-(2**63), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    ],
)
def test_longs_where_the_number_of_bytes_changes(number: int, stored: bytes) -> None:
    assert long(number) == stored


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400])
def test_a_number_of_more_than_64_bits_is_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        long(number)


def test_the_tables_hold_what_would_be_computed() -> None:
    assert list(LONG) == [long(number) for number in range(TABLE)]
    assert list(PRESENT) == [avro(["null", "string"], "x" * size)[: -size or None] for size in range(TABLE)]
    assert list(LOW) == [bytes((bits | 0x80,)) for bits in range(128)]


@given(st.integers(2**48, 2**55 - 1))
def test_a_time_of_eight_bytes_is_three_looked_up_and_five_remembered(us: int) -> None:
    low = LOW[us << 1 & 127] + LOW[us >> 6 & 127] + LOW[us >> 13 & 127]
    assert low + LATE[us >> 20] == long(us) == avro("long", us)


@pytest.mark.parametrize("us", [2**48 - 1, 2**55, 0, -1])
def test_a_time_of_another_number_of_bytes_is_refused(us: int) -> None:
    with pytest.raises(ValueError, match="eight bytes"):
        LATE[us >> 20]


@given(st.text())
def test_a_text_is_avros(value: str) -> None:
    assert text(value) == avro("string", value)


@given(st.floats())
def test_a_double_is_avros(value: float) -> None:
    assert double(value) == avro("double", value)


@given(st.lists(st.text(), max_size=100))
def test_an_array_is_avros(items: list[str]) -> None:
    assert array(items) == avro({"type": "array", "items": "string"}, items)


@pytest.mark.parametrize("items", [[None], ["a", 1], [b"a"], [Text("a")], [["a"]]])
def test_an_array_of_anything_but_text_is_refused(items: list[Any]) -> None:
    with pytest.raises(TypeError):
        array(items)


@pytest.mark.parametrize("begin", [["a"], ["a", "b", "c"]])
def test_a_list_that_changes_while_it_is_read_is_counted_by_what_was_read(begin: list[str]) -> None:
    stored = array(Growing(begin))
    assert stored == avro({"type": "array", "items": "string"}, [*begin, *["more"] * (10 - len(begin))])


@given(st.dictionaries(st.text(), FLAT | NUMBERS, max_size=5))
def test_flat_metadata_is_the_text_of_the_general_encoder(metadata: dict[str, Any]) -> None:
    assert flat_json(metadata) == json_line(metadata)


@given(
    st.dictionaries(
        st.text('\x7f\x80\x84\x85\x86\u2027\u2028\u2029\u202a"\\\n\x00é🎈'), st.text("\x85\u2028\u2029a")
    )
)
def test_flat_metadata_is_one_line_whatever_splits_lines(metadata: dict[str, str]) -> None:
    shown = flat_json(metadata)
    assert shown == json_line(metadata)
    assert shown is not None
    assert len(shown.splitlines()) == 1
    assert json.loads(shown) == metadata


@pytest.mark.parametrize(
    "metadata",
    [
        {1: "a"},
        {None: "a"},
        {Text("a"): "b"},
        {"a": Text("b")},
        {"a": math.nan},
        {"a": math.inf},
        {"a": -math.inf},
        {"a": 2**63},
        {"a": -(2**63) - 1},
        {"a": 10**5_000},
        {"a": []},
        {"a": {}},
        {"a": ()},
        {"a": b"b"},
        {"a": "x" * MAX_BODY},
        {"a": "x" * (MAX_BODY // 2), "b": "x" * (MAX_BODY // 2)},
        {"x" * MAX_BODY: 1},
        {"a": "x" * (MAX_BODY + 1)},
        {"fine": 1, "a": object()},
    ],
)
def test_metadata_that_needs_thought_is_refused(metadata: dict[Any, Any]) -> None:
    assert flat_json(metadata) is None


def test_no_metadata_is_an_empty_object() -> None:
    assert flat_json({}) == "{}"
