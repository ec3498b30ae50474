from __future__ import annotations

import dataclasses
import enum
import json
import math
import sys
from collections import OrderedDict, UserDict, deque
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire import jsonable
from auditwire.jsonable import json_line, plain, text_of, whole

if TYPE_CHECKING:
    from collections.abc import Iterator


class Unprintable:
    def __str__(self) -> str:
        raise ValueError


class Liar:
    """A proxy that fails even when it is asked for its class."""

    @property  # type: ignore[misc]  # what is tested
    def __class__(self) -> Any:
        raise RuntimeError


class Meta(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]  # what is tested
        raise RuntimeError


class Nameless(metaclass=Meta):
    def __str__(self) -> str:
        raise RuntimeError


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Word(str, enum.Enum):
    YES = "yes"


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Pair:
    a: int


class Shouting(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "SHOUT"


class Broken(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError


class Endless(list[int]):
    def __iter__(self) -> Iterator[int]:
        while True:
            yield 1


class Huge(int):
    """An integer of 5,000 digits that hypothesis can print."""

    def __repr__(self) -> str:
        return "Huge()"


hostile = st.sampled_from(
    [
        Unprintable(),  # not Liar: hypothesis itself asks its examples for their class
        Nameless(),
        Colour.RED,
        Level.HIGH,
        Word.YES,
        Pair(1),
        Point(1, 2),
        Shouting("x"),
        Broken(a=1),
        b"\xff",
        bytearray(b"\x00"),
        memoryview(b"m"),
        Huge(10**5_000),
        Huge(-(10**5_000)),
        math.nan,
        math.inf,
        -math.inf,
        "\ud800",
        "\udfff\ud800",
        "\u2028\x85\u2029\n\r\x0b\x0c\x1c",
        1j,
        object,
        Exception("\udc00"),
        datetime(2026, 1, 1, tzinfo=timezone.utc),
        PurePosixPath("/x"),
        deque([1]),
        UserDict(a=1),
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | hostile
texts = st.text(st.characters())  # surrogates included
keys = texts | st.integers() | st.none() | st.booleans() | st.floats() | st.just(Colour.RED)
anything = st.recursive(
    scalars | texts,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(keys, inner)
        | st.tuples(inner, inner)
        | st.sets(texts | st.integers())
    ),
)


@given(value=anything)
def test_any_value_becomes_one_line_of_json_that_utf8_can_hold(value: object) -> None:
    line = json_line(plain(value))
    line.encode()
    assert len(line.splitlines()) <= 1
    assert json.loads(line, parse_constant=pytest.fail) == plain(value)


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**2000), 2**2000)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
        ),
        max_leaves=20,
    )
)
def test_what_json_can_express_stays_as_it_is(value: object) -> None:
    assert plain(value) == value
    assert json.loads(json_line(plain(value))) == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        (Shouting("quiet"), "quiet"),
        (Word.YES, "yes"),
        (Level.HIGH, 3),
        (Colour.RED, "Colour.RED"),
        (Point(1, 2), [1, 2]),
        ((1, (2,)), [1, [2]]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (b"\xff", "b'\\xff'"),
        (bytearray(b"x"), "bytearray(b'x')"),
        (Pair(1), "Pair(a=1)"),
        (datetime(2026, 1, 1, tzinfo=timezone.utc), "2026-01-01 00:00:00+00:00"),
        (Unprintable(), "<unprintable Unprintable>"),
        (Nameless(), "<unprintable Nameless>"),
        ([Broken(a=1)], ["<unprintable Broken>"]),
        (Endless(), "<Endless>"),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ({Unprintable(): 1}, {"<unprintable Unprintable>": 1}),
    ],
)
def test_what_json_cannot_express_becomes(value: object, expected: object) -> None:
    out = plain(value)
    assert out == expected
    assert type(out) is type(expected)


def test_a_proxy_that_hides_its_class_becomes_text() -> None:
    value = Liar()
    assert plain({"proxy": value}) == {"proxy": object.__repr__(value)}


def test_a_key_never_hides_another() -> None:
    out = plain({"1": "text", 1: "number", 1.0 + 1j: "complex", "1 (int)": "third"})
    assert out == {"1": "text", "1 (int)": "number", "(1+1j)": "complex", "1 (int) (str)": "third"}


def test_an_integer_of_any_size_is_kept() -> None:
    assert plain(10**600) == 10**600
    assert plain(10**5_000) == hex(10**5_000)
    assert plain({10**5_000: -(10**5_000)}) == {hex(10**5_000): hex(-(10**5_000))}


@pytest.mark.skipif(
    not hasattr(sys, "set_int_max_str_digits"), reason="this Python writes any number of digits"
)
def test_integers_can_be_written_at_the_lowest_limit_of_digits() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        for bits in range(2_000, 2_200):
            assert json.loads(json_line(plain(2**bits))) in (2**bits, hex(2**bits))
    finally:
        sys.set_int_max_str_digits(before)


def test_a_container_in_itself_is_named_where_it_comes_again() -> None:
    loop: list[Any] = [1]
    loop += [loop, {"inner": loop}]
    assert plain(loop) == [1, "<list>", {"inner": "<list>"}]
    table: dict[str, Any] = {}
    table["self"] = table
    assert plain(table) == {"self": "<dict>"}


def test_a_container_that_comes_twice_side_by_side_is_written_twice() -> None:
    shared = ["x"]
    assert plain([shared, shared]) == [["x"], ["x"]]


def test_what_is_nested_deeper_than_32_levels_is_named() -> None:
    value: Any = "bottom"
    for _ in range(33):
        value = [value]
    out = plain(value)
    for _ in range(32):
        [out] = out
    assert out == "<list>"


def test_nesting_as_deep_as_python_allows_is_no_error() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    assert json_line(plain(value)).count("[") == 32


def test_lists_that_share_lists_do_not_grow_without_bound() -> None:
    value: Any = "x"
    for _ in range(31):  # 2 ** 31 values when written out
        value = [value, value]
    out = json_line(plain(value))
    assert "<list>" in out
    assert len(out) < 20_000_000


def test_text_beyond_the_budget_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonable, "_BUDGET", 10_000)
    text = "x" * 4_000
    assert plain([text, text, text, "end"]) == [text, text, "<str>", "<str>"]
    assert plain({"a": list(range(1_000))}) == {"a": "<list>"}
    assert plain(dict.fromkeys(range(1_000))) == "<dict>"


def test_a_dictionary_that_other_threads_fill_meanwhile_does_not_raise() -> None:
    class Filling(dict[Any, Any]):
        def items(self) -> Any:
            for item in super().items():
                self[object()] = 1
                yield item

    assert plain([Filling(a=1)]) == ["<unprintable Filling>"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_an_interruption_passes_through(stop: type[BaseException]) -> None:
    class Interrupted:
        def __str__(self) -> str:
            raise stop

    with pytest.raises(stop):
        plain({"a": [Interrupted()]})


def test_unicode_line_breaks_are_escaped_and_come_back() -> None:
    text = "a\u2028b\u2029c\x85d\u00e9"
    line = json_line(text)
    assert line == '"a\\u2028b\\u2029c\\u0085d\u00e9"'
    assert json.loads(line) == text


@given(text=texts)
def test_whole_text_can_be_encoded_and_keeps_every_real_character(text: str) -> None:
    out = whole(text)
    out.encode()
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert out == text


@given(value=anything)
def test_text_of_never_raises(value: object) -> None:
    assert type(text_of(value)) is str
    text_of(value).encode()
