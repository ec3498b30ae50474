from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import hashlib
import json
import math
import pathlib
import re
import subprocess
import sys
import threading
import tracemalloc
import types
import uuid
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.jsonable import whole
from auditwire.render import Renderer
from auditwire.render_bounds import MAX_CHARS, MAX_DEPTH, MAX_VALUES
from auditwire.render_text import TextWalk

if TYPE_CHECKING:
    from collections.abc import Iterator


def text(value: Any) -> str:
    """The text of what must be rendered whole and without a failure."""
    failures: list[Any] = []
    walk = TextWalk(lambda value, error: failures.append((value, error)))
    found = walk.text(value)
    assert type(found) is str
    assert (failures, walk.items_left_out, walk.chars_left_out) == ([], 0, 0)
    return found


def failing(value: Any) -> tuple[str, list[Any]]:
    failures: list[Any] = []
    return TextWalk(lambda value, _: failures.append(value)).text(value), failures


class Colour(enum.Enum):
    RED = "red"
    MANY = ("a", 1)


class Level(enum.IntEnum):
    HIGH = 3


class Word(str, enum.Enum):
    YES = "yes"


@dataclasses.dataclass
class Order:
    item: str
    count: int = 1
    password: str = dataclasses.field(default="hush", repr=False)
    extra: Any = None


@dataclasses.dataclass
class Slotted:
    __slots__ = ("a", "never_set")
    a: int
    never_set: int


class Point(NamedTuple):
    x: int
    y: int


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "a lie"


class Raising:
    def __str__(self) -> str:
        raise ValueError("no text for you")


class Plain:
    pass


class Masked:
    def get_secret_value(self) -> str:
        raise AssertionError("never asked")


# -- what becomes what -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        (Text("itself"), "itself"),
        (None, ""),
        (True, "True"),
        (0, "0"),
        (-7, "-7"),
        (1.5, "1.5"),
        (math.inf, "inf"),
        (Level.HIGH, "3"),
        (Colour.RED, "red"),
        (Colour.MANY, '["a",1]'),
        (Word.YES, "yes"),
        (1 << 2_048, hex(1 << 2_048)),
        (-(1 << 2_048), hex(-(1 << 2_048))),
        (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/tmp/x"), "/tmp/x"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc), "2026-01-02T03:04:05+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.time(3, 4), "03:04:00"),
        (dt.timedelta(hours=1), "1:00:00"),
        (b"a\x00", "b'a\\x00'"),
        (bytearray(b"a"), "b'a'"),
        (memoryview(b"abc"), "<memoryview of 3 bytes>"),
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (ValueError("bad", {"q": 1}), 'ValueError: bad, {"q":1}'),
        (KeyError("k"), "KeyError: 'k'"),
        (range(3), "range(0, 3)"),
        (Masked(), "**********"),
        (Plain(), "<test_render_text.Plain object>"),
        (text, "<function text>"),
        (Plain, "<class 'test_render_text.Plain'>"),
        (1 + 2j, "(1+2j)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_no_structure_has_the_text_that_says_most(value: Any, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"q": "é\n", "n": [1, 2.5, None, True]}, '{"q":"é\\n","n":[1,2.5,null,true]}'),
        ({}, "{}"),
        ([], "[]"),
        ((), "[]"),
        (set(), "[]"),
        ({1: 2, None: 3, (1, 2): 4}, '{"1":2,"None":3,"[1,2]":4}'),
        ({"1": 1, 1: 2, "None": 3, None: 4}, '{"1":1,"1 (int)":2,"None":3,"None (NoneType)":4}'),
        ({"a": math.nan, "b": -math.inf, "c": 1 << 9_000}, None),
        (Point(1, 2), "[1,2]"),
        ({3, 1, 2}, "[1,2,3]"),
        (frozenset("ba"), '["a","b"]'),
        (collections.deque([1]), "[1]"),
        ({"a": 1}.keys(), '["a"]'),
        ({"a": 1}.values(), "[1]"),
        ({"a": 1}.items(), '[["a",1]]'),
        (collections.UserDict(a=1), '{"a":1}'),
        (types.MappingProxyType({"a": 1}), '{"a":1}'),
        (collections.OrderedDict(a=1), '{"a":1}'),
        (Order("nut"), '{"item":"nut","count":1,"password":"**********","extra":null}'),
        ([Colour.RED, Level.HIGH, Word.YES, Text("x")], '["red",3,"yes","x"]'),
        ([pathlib.PurePosixPath("/x"), b"b", ValueError("v"), Masked()], None),
        ({"d": dt.date(2026, 1, 2), "n": decimal.Decimal("1.5")}, '{"d":"2026-01-02","n":"1.5"}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_structure_is_compact_json(value: Any, expected: str | None) -> None:
    found = text(value)
    assert expected is None or found == expected
    json.loads(found, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_what_json_has_no_word_for_is_text_in_it() -> None:
    value = {"a": math.nan, "b": -math.inf, "c": 1 << 9_000, "d": [b"b", ValueError("v"), Masked()]}
    assert json.loads(text(value)) == {
        "a": "NaN",
        "b": "-Infinity",
        "c": hex(1 << 9_000),
        "d": ["b'b'", "ValueError: v", "**********"],
    }


def test_a_dataclass_shows_what_is_set_and_masks_what_its_repr_hides() -> None:
    slotted = Slotted(1, 2)
    del slotted.never_set
    assert text(slotted) == '{"a":1}'
    assert "hush" not in text([Order("nut", extra=Order("bolt"))])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)


@given(value=st.lists(JSON, max_size=4) | st.dictionaries(st.text(), JSON, max_size=4))
def test_what_json_can_express_is_what_json_dumps_makes_of_it(value: Any) -> None:
    assert text(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**700), 10**700)
    | st.floats()
    | st.lists(st.characters() | st.sampled_from("\ud800\udfff")).map("".join)
    | st.binary()
    | st.decimals()
    | st.datetimes()
    | st.uuids()
    | st.sampled_from([Colour.RED, Level.HIGH, Raising(), Plain(), Masked(), Order("x"), iter([])]),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=6)
        | st.builds(Order, st.text(), extra=inner)
        | st.builds(ValueError, inner)
    ),
    max_leaves=30,
)


@given(value=ANYTHING, max_values=st.integers(0, 40), max_chars=st.integers(0, 200))
def test_anything_has_a_text_of_bounded_size(value: Any, max_values: int, max_chars: int) -> None:
    walk = TextWalk(max_values=max_values, max_chars=max_chars)
    found = walk.text(value)
    assert type(found) is str
    if type(value) is not str:
        # each value can bring punctuation and one mark, each character an escape of six
        assert len(found) <= 120 * (max_values + 2) + 6 * (max_chars + 2_500)
    left_out = re.findall(r"<(\d+) more items>|<\w+ of (\d+) items>", found)
    assert sum(int(a or b) for a, b in left_out) == walk.items_left_out
    if isinstance(value, (list, dict)):
        json.loads(found)


@given(value=ANYTHING, limit=st.integers(0, 50))
def test_preview_length_and_digest_are_of_one_text(value: Any, limit: int) -> None:
    full = TextWalk().text(value)
    shown, length, digest = Renderer(limit, digests="sha256").preview(value)
    assert shown == full[:limit]
    assert length == len(full)
    assert digest == "sha256:" + hashlib.sha256(whole(full).encode()).hexdigest()


@given(value=ANYTHING)
def test_two_renderings_of_one_object_are_equal(value: Any) -> None:
    assert TextWalk().text(value) == TextWalk().text(value)


def test_a_text_is_the_same_in_another_process() -> None:
    code = (
        "from auditwire.render_text import TextWalk\n"
        "class Plain: pass\n"
        "print(TextWalk().text([{'b', 'a', 'c', 'd'}, Plain(), len, {'k': Plain.__init__}]))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
    assert "0x" not in found.pop()


# -- what is never consumed, run or believed -------------------------------------------------------


def numbers() -> Iterator[int]:
    yield from (1, 2, 3)


async def waiting() -> None: ...


async def ticking() -> Any:
    yield 1


class Stream:
    """Tokens from a model: reading them is the agent's business."""

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> str:
        raise AssertionError("consumed")


class AsyncStream:
    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> str:
        raise AssertionError("consumed")


def test_generators_and_iterators_are_named_and_not_consumed(tmp_path: pathlib.Path) -> None:
    generator, mapped = numbers(), map(str, [1, 2])
    coroutine = waiting()
    path = tmp_path / "lines"
    path.write_text("one\n")
    with path.open() as lines:
        found = [text(v) for v in (generator, mapped, coroutine, ticking(), Stream(), AsyncStream(), lines)]
        assert lines.read() == "one\n"
    coroutine.close()
    assert found == [
        "<generator numbers>",
        "<map>",
        "<coroutine waiting>",
        "<async_generator ticking>",
        "<test_render_text.Stream>",
        "<test_render_text.AsyncStream>",
        "<_io.TextIOWrapper>",
    ]
    assert (list(generator), list(mapped)) == ([1, 2, 3], ["1", "2"])
    assert text({"chunks": numbers()}) == '{"chunks":"<generator numbers>"}'


def test_a_proxy_that_loads_when_its_class_is_asked_for_stays_unloaded() -> None:
    class Lazy:
        @property  # type: ignore[misc]
        def __class__(self) -> type:
            raise AssertionError("evaluated")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError("evaluated")

        def __repr__(self) -> str:
            return "<lazy>"

    assert text(Lazy()) == "<lazy>"
    assert text({"a": Lazy()}) == '{"a":"<lazy>"}'


def test_a_container_is_what_it_holds_whatever_its_methods_say() -> None:
    class Lying(dict[str, int]):
        def items(self) -> Any:
            raise AssertionError("asked")

        def __len__(self) -> int:
            return 10**9

    class Endless(list[int]):
        def __iter__(self) -> Iterator[int]:
            while True:
                yield 1

    assert text(Lying(a=1)) == '{"a":1}'
    assert text({"a": Endless([1])}) == '{"a":[1]}'


# -- failures ----------------------------------------------------------------------------------------


def test_what_raises_is_named_and_reported_and_the_rest_is_shown() -> None:
    bad = Raising()
    assert failing(bad) == ("<unprintable Raising>", [bad])
    found, failures = failing({"a": 1, "b": bad, "c": [bad, 2], bad: 3})
    assert found == (
        '{"a":1,"b":"<unprintable Raising>","c":["<unprintable Raising>",2],"<unprintable Raising>":3}'
    )
    assert failures == [bad] * 3
    assert TextWalk().text(bad) == "<unprintable Raising>"


def test_a_structure_that_fails_in_the_middle_leaves_no_half_of_it() -> None:
    class Half(collections.UserDict[str, int]):
        def items(self) -> Any:
            yield "a", 1
            raise OSError("connection lost")

    half = Half(a=1)
    found, failures = failing(half)
    assert found == "<unprintable Half>"
    assert failures[0] is half
    assert len(failures) == 1
    assert failing([1, Half(), 2])[0] == '[1,"<unprintable Half>",2]'


def test_a_lying_str_and_a_failing_property_are_failures() -> None:
    class NoText:
        def __str__(self) -> str:
            return 3  # type: ignore[return-value]  # noqa: PLE0307 - what is tested

    @dataclasses.dataclass
    class Loading:
        a: int

        def __getattribute__(self, name: str) -> Any:
            raise OSError(name)

    value, loading = NoText(), Loading(1)
    assert failing(value) == ("<unprintable NoText>", [value])
    found, failures = failing(loading)
    assert found == "<unprintable Loading>"
    assert [type(failure) for failure in failures] == [Loading]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [1, v], lambda v: {v: 1}, lambda v: {"a": [v]}])
def test_an_interruption_passes_through(stop: type[BaseException], wrap: Any) -> None:
    class Interrupted:
        def __str__(self) -> str:
            raise stop

    with pytest.raises(stop):
        TextWalk().text(wrap(Interrupted()))


def test_near_the_recursion_limit_there_is_a_text_or_a_failure_and_no_error() -> None:
    found: list[tuple[str, list[Any]]] = []
    value = [[[[[[[[1]]]]]]]]

    def descend() -> None:
        try:
            descend()
        except RecursionError:
            # raises again, into the frame above, while there is no room for the call itself
            found.append(failing(value))

    descend()
    [(text, failures)] = found
    assert failures
    assert "<unprintable " in text


# -- bounds ------------------------------------------------------------------------------------------


def left_out(value: Any) -> tuple[str, int, int]:
    walk = TextWalk()
    return walk.text(value), walk.items_left_out, walk.chars_left_out


def test_a_container_that_holds_itself_is_shown_once() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    loop: dict[str, Any] = {}
    loop["self"] = {"again": loop}
    assert text(ring) == '[1,"<cyclic list>"]'
    assert text(loop) == '{"self":{"again":"<cyclic dict>"}}'
    order = Order("x")
    order.extra = [order]
    assert '"extra":["<cyclic Order>"]' in text(order)


def test_what_is_held_twice_but_not_in_itself_is_shown_twice() -> None:
    shared = [1]
    assert text([shared, shared]) == "[[1],[1]]"


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)])
def test_a_structure_of_10_000_levels_is_shown_to_its_32nd(make: Any) -> None:
    value: Any = "core"
    for _ in range(10_000):
        value = make(value)
    found, items, _ = left_out(value)
    assert found.count("[") + found.count("{") == MAX_DEPTH
    assert f"<{type(value).__name__} of 1 items>" in found
    assert items == 1
    while not isinstance(value, str):  # taken apart by hand: Python would recurse
        value = next(iter(value.values() if isinstance(value, dict) else value))


def test_lists_that_share_lists_are_not_multiplied() -> None:
    value: list[Any] = ["x"]
    for _ in range(30):
        value = [value, value]
    began = perf_counter()
    found, items, _ = left_out(value)
    assert items > 0
    assert len(found) < 40 * MAX_VALUES
    assert perf_counter() - began < 10


HUGE = 1_000_000


@pytest.mark.parametrize(
    "value",
    [
        list(range(HUGE)),
        tuple(range(HUGE)),
        set(range(HUGE)),
        dict.fromkeys(range(HUGE)),
        dict.fromkeys(range(HUGE)).keys(),
        collections.deque(range(HUGE)),
        collections.UserDict(dict.fromkeys(range(HUGE))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_of_a_huge_container_10_000_items_are_shown_and_the_rest_is_counted(value: Any) -> None:
    tracemalloc.start()
    try:
        found, items, chars = left_out(value)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (items, chars) == (HUGE - MAX_VALUES, 0)
    parsed = json.loads(found)
    assert len(parsed) == MAX_VALUES + 1
    assert found.endswith(f'"<{HUGE - MAX_VALUES} more items>"{found[-1]}')
    assert peak < 20_000_000


def test_the_bound_of_values_is_one_for_all_levels() -> None:
    found, items, _ = left_out([list(range(100)) for _ in range(1_000)])
    rows = json.loads(found)
    assert sum(len(row) for row in rows if isinstance(row, list)) <= MAX_VALUES
    assert items == 1_000 * 100 - sum(
        sum(isinstance(n, int) for n in row) for row in rows if isinstance(row, list)
    ) - 99 * (1_000 - len([row for row in rows if isinstance(row, list)]))


@pytest.mark.parametrize("blob", ["x" * 100_000_000, b"x" * 100_000_000], ids=["str", "bytes"])
def test_100_mb_in_a_structure_cost_no_copy_of_them(blob: Any) -> None:
    tracemalloc.start()
    try:
        found, _, chars = left_out({"blob": blob, "after": 1})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    shown = json.loads(found)["blob"]
    assert shown.startswith(("xxx", "b'xxx"))
    assert re.search(rf"<{chars} more (characters|bytes)>$", shown)
    assert chars == 100_000_000 - shown.count("x")
    assert len(found) <= MAX_CHARS + 100
    assert peak < 10 * MAX_CHARS


def test_100_mb_of_bytes_are_cut_by_themselves_too() -> None:
    found, _, left = left_out(b"\x00" * 100_000_000)
    assert len(found) <= MAX_CHARS + 100
    assert found.endswith(f"<{left} more bytes>")
    assert found.count("\\x00") == MAX_CHARS // 4


def test_the_text_of_a_foreign_object_is_cut() -> None:
    class Long:
        def __repr__(self) -> str:
            return "r" * (MAX_CHARS + 5)

    assert left_out(Long()) == ("r" * MAX_CHARS + "<5 more characters>", 0, 5)


def test_a_key_is_cut_as_any_text() -> None:
    found, _, chars = left_out({"k" * (MAX_CHARS + 7): 1, "next": 2})
    assert chars == 7
    assert found.endswith('<7 more characters>":1,"...":"<1 more items>"}') or '"next"' in found


@pytest.mark.parametrize("bits", [2_049, 4 * MAX_CHARS + 1, 10**9])
def test_an_integer_of_any_size_has_a_text_at_once(bits: int) -> None:
    number = 1 << (bits - 1)
    began = perf_counter()
    found = text(number)
    assert perf_counter() - began < 5
    assert found == (hex(number) if bits <= 4 * MAX_CHARS else f"<int of {bits} bits>")
    assert json.loads(text([number])) == [found]


def test_an_exception_that_carries_much_is_cut() -> None:
    found, items, _ = left_out(ValueError("bad rows", list(range(HUGE))))
    assert found.startswith("ValueError: bad rows, [0,1,2")
    assert items == HUGE - MAX_VALUES + 2  # the arguments are values themselves
    found, items, chars = left_out(ValueError("x" * (MAX_CHARS + 9)))
    assert (len(found), items, chars) == (MAX_CHARS + len("ValueError: <9 more characters>"), 0, 9)


def test_an_exception_with_a_text_of_its_own_keeps_it() -> None:
    class CodedError(Exception):
        def __str__(self) -> str:
            return "E42"

    assert text(CodedError("x")) == "CodedError: E42"


def test_a_dictionary_that_changes_while_it_is_read_does_no_harm() -> None:
    shared = {str(n): n for n in range(2_000)}
    done = threading.Event()

    def churn() -> None:
        n = 0
        while not done.is_set():
            shared[f"x{n % 100}"] = n
            shared.pop(f"x{(n + 50) % 100}", None)
            n += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(50):
            found = TextWalk().text(shared)
            assert found == "<unprintable dict>" or len(json.loads(found)) >= 2_000
    finally:
        done.set()
        thread.join()


@settings(max_examples=30)
@given(size=st.integers(0, 30), room=st.integers(0, 30))
def test_items_shown_and_items_left_out_are_all_there_are(size: int, room: int) -> None:
    for value in ([7] * size, dict.fromkeys(range(size))):
        walk = TextWalk(max_values=room)
        found = json.loads(walk.text(value))
        assert walk.items_left_out == max(size - room, 0)
        assert len(found) == min(size, room) + (size > room)
