"""Coercion: what comes out for every odd value in every kind of field, through the encoder and back."""

from __future__ import annotations

import enum
import math
import sys
from collections import deque
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.events import AuditEvent, SkillAuthoredEvent, SkillUsedEvent
from auditwire.wire import decode, frame_confluent, join_body, new_encoder
from support.codecs import both_codecs  # noqa: F401 - a fixture

STREAM = "01890a5d-ac96-774b-bcce-b302099a8057"
MAX_FLOAT = sys.float_info.max

# kind of field -> an event class that has one, and the field's name
FIELDS: dict[str, tuple[type[AuditEvent], str]] = {
    "string": (SkillAuthoredEvent, "source_path"),
    "nullable": (SkillAuthoredEvent, "session_id"),
    "long": (SkillAuthoredEvent, "tool_count"),
    "double": (SkillUsedEvent, "duration_ms"),
    "boolean": (SkillAuthoredEvent, "confirmed_by_user"),
    "array": (SkillAuthoredEvent, "unique_tools"),
}


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Color(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Raising:
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise ValueError("no comparison")

    __hash__ = object.__hash__

    def __int__(self) -> int:
        raise ValueError("no number")

    __float__ = __int__


class LyingClass:
    """An object that passes for text with isinstance, as mocks and proxies do."""

    __class__ = property(lambda _: str)

    def __str__(self) -> str:
        return "a proxy"


class Case(NamedTuple):
    """What goes into a field, what comes out, what is noted, and whether it is reported as coerced."""

    value: Any
    out: Any
    note: str | None = None
    reported: bool = True


def same(value: Any, out: Any = None) -> Case:
    return Case(value, value if out is None else out, None, reported=False)


DEFAULTS: dict[str, Any] = {
    "string": "",
    "nullable": None,
    "long": 0,
    "double": 0.0,
    "boolean": False,
    "array": [],
}


def unfit(kind: str, value: Any, note: str) -> tuple[str, Case]:
    return kind, Case(value, DEFAULTS[kind], note)


HUGE = 10**5_000
CASES: list[tuple[str, Case]] = [
    # None
    unfit("string", None, "None"),
    ("nullable", Case(None, None, None, reported=False)),
    *(unfit(kind, None, "None") for kind in ("long", "double", "boolean", "array")),
    # bool
    *((kind, Case(True, "True")) for kind in ("string", "nullable")),
    ("long", Case(True, 1)),
    ("double", Case(True, 1.0)),
    ("boolean", same(True)),
    unfit("array", True, "True"),
    # int
    *((kind, Case(7, "7")) for kind in ("string", "nullable")),
    ("long", same(7)),
    ("double", Case(7, 7.0)),
    ("boolean", Case(1, True)),
    ("boolean", Case(0, False)),
    unfit("boolean", 7, "7"),
    unfit("array", 7, "7"),
    # int that does not fit
    ("long", same(2**63 - 1)),
    ("long", same(-(2**63))),
    ("long", Case(2**63, 2**63 - 1, "9223372036854775808")),
    ("long", Case(-(2**63) - 1, -(2**63), "-9223372036854775809")),
    ("long", Case(HUGE, 2**63 - 1, hex(HUGE)[:1_000])),
    ("double", Case(2**53, float(2**53))),
    ("double", Case(2**53 + 1, float(2**53), "9007199254740993")),
    ("double", Case(HUGE, MAX_FLOAT, hex(HUGE)[:1_000])),
    ("double", Case(-(10**400), -MAX_FLOAT, str(-(10**400)))),
    ("string", Case(HUGE, hex(HUGE))),
    ("array", Case([HUGE], [hex(HUGE)])),
    # float
    *((kind, Case(2.5, "2.5")) for kind in ("string", "nullable")),
    ("long", Case(2.0, 2)),
    ("long", Case(2.7, 2, "2.7")),
    ("long", Case(1e300, 2**63 - 1, "1e+300")),
    unfit("long", math.nan, "nan"),
    unfit("long", math.inf, "inf"),
    ("double", same(-0.0)),
    ("double", same(math.inf)),
    ("double", same(math.nan)),
    ("boolean", Case(1.0, True)),
    unfit("boolean", math.nan, "nan"),
    unfit("array", 2.5, "2.5"),
    # text
    ("string", same("")),
    ("string", same("Grüße, 世界 \U0001f600 \0")),
    ("nullable", same("")),
    ("long", Case(" 12 ", 12)),
    unfit("long", "12.5", "12.5"),
    unfit("long", "a dozen", "a dozen"),
    unfit("long", "9" * 5_000, "9" * 1_000),
    ("double", Case("1.5", 1.5)),
    ("double", Case("1e999", math.inf)),
    unfit("double", "much", "much"),
    *(("boolean", Case(word, True)) for word in ("true", "TRUE", " yes", "on", "1")),
    *(("boolean", Case(word, False)) for word in ("false", "No", "off", "0")),
    unfit("boolean", "maybe", "maybe"),
    unfit("boolean", "", ""),
    unfit("array", "abc", "abc"),
    unfit("array", "x" * 2_000, "x" * 1_000),
    # text that UTF-8 has no bytes for
    ("string", Case("a\ud800b", "a\ufffdb")),
    ("nullable", Case("\udfff", "\ufffd")),
    ("string", Case("\ud83d\ude00", "\U0001f600")),
    ("array", Case(["\ud800"], ["\ufffd"])),
    unfit("long", "\ud800", "\ufffd"),
    # kin of text and int
    ("string", same(Text("own"), "own")),
    ("string", same(Color.RED, "red")),
    ("nullable", same(Text("own"), "own")),
    ("array", Case([Color.RED, Text("own")], ["red", "own"], None, reported=False)),
    ("long", same(Level.HIGH, 3)),
    # bytes
    ("string", Case(b"x\xff", r"b'x\xff'")),
    ("nullable", Case(bytearray(b"x"), "bytearray(b'x')")),
    ("long", Case(b"7", 7, "b'7'")),
    unfit("long", b"x", "b'x'"),
    unfit("double", b"x", "b'x'"),
    unfit("boolean", b"1", "b'1'"),
    unfit("array", b"x", "b'x'"),
    # containers
    ("string", Case([], "[]")),
    ("string", Case({"a": 1}, "{'a': 1}")),
    unfit("long", [], "[]"),
    unfit("double", [1], "[1]"),
    unfit("boolean", [], "[]"),
    ("array", same([])),
    ("array", same(["a", "b", "a"])),
    ("array", Case(["a", 1, 2.5], ["a", "1", "2.5"])),
    ("array", Case(["a", None], ["a", ""], "['a', None]")),
    ("array", Case(("a",), ["a"])),
    ("array", Case(deque(["a"]), ["a"])),
    ("array", Case({"b", "a"}, ["a", "b"])),
    ("array", Case(frozenset({"b", "a"}), ["a", "b"])),
    ("array", Case({"a": 1}.keys(), ["a"])),
    ("array", Case({"a": 1}.values(), ["1"])),
    unfit("array", {"a": 1}, "{'a': 1}"),
    # numbers of other classes
    ("string", Case(Decimal("1.5"), "1.5")),
    ("long", Case(Decimal("1.5"), 1, "1.5")),
    ("long", Case(Decimal(2), 2)),
    ("double", Case(Decimal("1.5"), 1.5)),
    ("double", Case(Fraction(1, 3), 1 / 3, "1/3")),
    ("boolean", Case(Decimal(1), True)),
    unfit("boolean", Decimal("1.5"), "1.5"),
    # what raises, and what lies
    *(unfit(kind, Raising(), "<unprintable Raising>") for kind in FIELDS),
    ("array", Case(["a", Raising()], ["a", "<unprintable Raising>"])),
    ("string", Case(LyingClass(), "a proxy")),
    unfit("long", LyingClass(), "a proxy"),
    unfit("array", LyingClass(), "a proxy"),
]


def through(event: AuditEvent) -> tuple[AuditEvent, list[str]]:
    """The event as a reader gets it, and the fields that were reported as coerced."""
    reported: list[str] = []
    head, tail, fitted = new_encoder(reported.append).encode_fitted(event, STREAM)
    decoded = decode(frame_confluent(1, join_body(head, 0, tail))).event
    assert decoded.to_dict() == fitted.to_dict()
    return decoded, reported


def equal(ours: Any, wanted: Any) -> bool:
    if isinstance(wanted, float) and math.isnan(wanted):
        return isinstance(ours, float) and math.isnan(ours)
    return type(ours) is type(wanted) and bool(ours == wanted)


@pytest.mark.parametrize(
    ("kind", "case"), CASES, ids=[f"{kind}-{type(c.value).__name__}-{i}" for i, (kind, c) in enumerate(CASES)]
)
def test_a_value_comes_out_of_its_field_as_documented(kind: str, case: Case) -> None:
    cls, name = FIELDS[kind]
    event = cls()
    setattr(event, name, case.value)
    decoded, reported = through(event)
    assert equal(getattr(decoded, name), case.out)
    assert decoded.metadata.get("auditwire.coerced") == (None if case.note is None else {name: case.note})
    assert reported == ([name] if case.reported else [])
    assert getattr(event, name) is case.value
    assert event.metadata == {}


def test_a_default_that_is_not_empty_stands_where_a_value_does_not_fit() -> None:
    event = SkillUsedEvent(outcome=Raising(), triggered_automatically="who knows")  # type: ignore[arg-type]
    decoded, reported = through(event)
    assert isinstance(decoded, SkillUsedEvent)
    assert decoded.outcome == "unknown"
    assert decoded.triggered_automatically is True
    assert reported == ["outcome", "triggered_automatically"]


@pytest.mark.parametrize(
    "time",
    [
        "2026-01-02T03:04:05.000006Z",
        "2026-01-02T04:04:05.000006+01:00",
        datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc),
        datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - a naive time is UTC
        datetime(2026, 1, 2, 2, 4, 5, 6, tzinfo=timezone(timedelta(hours=-1))),
    ],
)
def test_a_time_in_another_form_becomes_microseconds(time: Any) -> None:
    decoded, reported = through(at_time(time))
    assert decoded.timestamp == "2026-01-02T03:04:05.000006+00:00"
    assert reported == ["timestamp"]
    assert decoded.metadata == {}


def at_time(time: Any) -> AuditEvent:
    return SkillUsedEvent(timestamp_us=time)


def test_a_time_that_says_nothing_becomes_the_time_of_the_call() -> None:
    before = SkillUsedEvent()
    decoded, reported = through(at_time("yesterday"))
    after = SkillUsedEvent()
    assert before.timestamp_us <= decoded.timestamp_us <= after.timestamp_us
    assert decoded.metadata == {"auditwire.coerced": {"timestamp": "yesterday"}}
    assert reported == ["timestamp"]


@pytest.mark.parametrize("event_id", ["", None, Raising()])
def test_an_event_never_goes_without_an_id(event_id: Any) -> None:
    decoded, reported = through(SkillUsedEvent(event_id=event_id))
    assert len(decoded.event_id) == 36
    assert reported == ["event_id"]
    assert list(decoded.metadata["auditwire.coerced"]) == ["event_id"]


def test_a_field_that_was_deleted_becomes_the_default_and_is_reported() -> None:
    event = SkillAuthoredEvent(version="1")
    del event.version
    del event.metadata
    decoded, reported = through(event)
    assert isinstance(decoded, SkillAuthoredEvent)
    assert decoded.version == ""
    assert decoded.metadata == {}
    assert reported == ["version", "metadata"]


def test_notes_are_added_to_those_of_an_event_that_is_sent_again() -> None:
    event = SkillAuthoredEvent(tool_count="x", metadata={"auditwire.coerced": {"version": "old"}})  # type: ignore[arg-type]
    decoded, _ = through(event)
    assert decoded.metadata == {"auditwire.coerced": {"version": "old", "tool_count": "x"}}


def test_what_stands_under_the_name_of_the_notes_is_kept() -> None:
    event = SkillAuthoredEvent(tool_count="x", metadata={"auditwire.coerced": "mine"})  # type: ignore[arg-type]
    decoded, _ = through(event)
    assert decoded.metadata == {"auditwire.coerced": {"auditwire.coerced": "mine", "tool_count": "x"}}


def test_mocks_raise_nothing_in_any_field() -> None:
    for cls, name in FIELDS.values():
        for mock in (Mock(), Mock(spec=str), Mock(spec=int), Mock(spec=list)):
            event = cls()
            setattr(event, name, mock)
            _, reported = through(event)
            assert reported == [name]


odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=2**60, max_value=2**2000)
    | st.floats()
    | st.text(st.characters(exclude_categories=[]))
    | st.binary()
    | st.decimals()
    | st.fractions()
    | st.datetimes()
    | st.timedeltas()
    | st.builds(Raising)
    | st.builds(LyingClass)
    | st.sampled_from([Color.RED, Level.HIGH, object()]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=[]), max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(data=st.data(), values=st.lists(odd, min_size=9, max_size=9))
def test_any_values_in_any_fields_are_encoded_and_read_back(data: st.DataObject, values: list[Any]) -> None:
    event = SkillAuthoredEvent()
    names = ["event_id", "timestamp_us", "severity", "metadata", "trace_id", *(n for _, n in FIELDS.values())]
    names.remove("duration_ms")
    for name, value in zip(data.draw(st.permutations(names)), values, strict=False):
        setattr(event, name, value)
    decoded, _ = through(event)
    assert type(decoded) is SkillAuthoredEvent
    assert decoded.event_id
