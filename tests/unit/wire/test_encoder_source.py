"""Generated encoders: made for every schema, and equal to fastavro on all values."""

from __future__ import annotations

import json
import math
import sys
import threading
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from event_strategies import any_event, reference_body
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.errors import EncodingError
from auditwire.events import ALL_TYPES, AuditEvent, CustomEvent, ModelCallEvent, TurnStartEvent
from auditwire.ids import uuid7
from auditwire.wire import (
    MAX_BODY,
    Encoder,
    FastavroEncoder,
    GeneratedEncoder,
    Inexpressible,
    Schema,
    encoder_source,
    join_body,
    schema_for,
    schema_versions,
)
from auditwire.wire.encoder_source import REFUSED, writer_of
from auditwire.wire.packing import text
from support.wire_samples import STREAM, full_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

every_type = pytest.mark.parametrize("cls", ALL_TYPES.values(), ids=list(ALL_TYPES))


class Text(str):
    """Claims to be any text, and to render as another."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("info")

    def __str__(self) -> str:
        return "something else"

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"other bytes"


class Number(IntEnum):
    SEVEN = 7


class Fraction(float):
    __slots__ = ()


class Items(list[str]):
    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        return iter(["invented"])


class Mapping(dict[str, Any]):
    __slots__ = ()

    def __bool__(self) -> bool:
        return False


class Raising:
    """Neither truth nor text can be had of it."""

    def __bool__(self) -> bool:
        raise RuntimeError("no truth")

    def __str__(self) -> str:
        raise ValueError("no text")


def sized(size: int) -> list[Any]:
    """Texts of so many bytes, in characters of one, two, three and four."""
    return [
        "x" * size,
        "x" * (size % 2) + "é" * (size // 2),
        "x" * (size % 3) + "\u2028" * (size // 3),
        "x" * (size % 4) + "🎈" * (size // 4),
    ]


TEXTS: list[Any] = [
    "",
    "\x00",
    "\ud800",
    "\ud83d\ude00",
    "\x85\u2028\u2029",
    Text("info"),
    *(one for size in (63, 64, 127, 128, 1023, 1024, 8191, 8192) for one in sized(size)),
]
NUMBERS: list[Any] = [
    *(
        sign * 2**power + step
        for power in (0, 6, 13, 14, 20, 31, 62, 63, 64)
        for sign in (1, -1)
        for step in (-1, 0, 1)
    ),
    10**5_000,
    1_700_000_000_000_000,
    2**48,
    2**48 - 1,
    2**55 - 1,
    2**55,
    True,
    Number.SEVEN,
]
DOUBLES: list[Any] = [
    0.0,
    -0.0,
    math.nan,
    -math.nan,
    math.inf,
    -math.inf,
    sys.float_info.max,
    5e-324,
    Fraction(1.5),
]
LISTS: list[Any] = [
    [],
    ["a", "", "é" * 70],
    ["x"] * 70,
    ["a", 1],
    ["a", None],
    ["\ud800"],
    [Text("a")],
    ("a", "b"),
    {"a"},
    Items(["a"]),
]
METADATA: list[Any] = [
    {},
    {"a": 1, "b": -1.5, "c": None, "d": True, "e": False, "f": 'ü"\\\n\x7f\x85\u2028\u2029🎈', "": ""},
    {"a": 2**63 - 1, "b": -(2**63), "c": 1e300, "d": -0.0, "e": 5e-324},
    {"a": 2**63},
    {"a": 10**400},
    {"a": math.nan},
    {"a": math.inf},
    {"a": [1, {"b": None}]},
    {"a": "\ud800"},
    {"\ud800": 1},
    {1: "a"},
    {Text("a"): 1},
    {"a": Text("b")},
    {"a": Number.SEVEN},
    {"a": Raising()},
    Mapping(a=1),
    MappingProxyType({"a": 1}),
]
HUGE: list[Any] = [
    {"a": "x" * MAX_BODY},
    {"a": "x" * MAX_BODY, "b": "y"},
    {"a": "\x00" * (MAX_BODY // 4)},
    {str(i): "y" * 100 for i in range(20_000)},
]
OF_TYPE = {
    "string": TEXTS,
    "long": NUMBERS,
    "double": DOUBLES,
    "boolean": [True, False, 1, 0, 2],
    "array": LISTS,
}
ODD: list[Any] = [None, b"bytes", object(), Raising(), *TEXTS, *NUMBERS, *DOUBLES, *LISTS, *METADATA]
OTHERS: list[Any] = [
    None,
    b"bytes",
    Raising(),
    Text("info"),
    "1",
    True,
    7,
    1.5,
    2**70,
    math.nan,
    ["a"],
    {"a": 1},
]


class Seen:
    """What one encoder makes of an event, and what it reports meanwhile."""

    def __init__(self, make: Callable[..., Encoder], event: Any) -> None:
        reported: list[tuple[str, str]] = []
        encoder = make(
            lambda field: reported.append(("coerced", field)),
            lambda field: reported.append(("truncated", field)),
        )
        try:
            self.told: Any = encoder.bound(STREAM)(event)
        except EncodingError as error:
            self.told = str(error)
        self.reported = reported.copy()
        # then they are those of the call, and another call has others
        self.invented = ("coerced", "event_id") in reported or ("coerced", "timestamp") in reported
        self.fitted: Any = None
        if isinstance(self.told, tuple) and not self.invented:
            head, tail, self.fitted = encoder.encode_fitted(event, STREAM)
            assert (head, tail) == encoder.encode(event, STREAM) == self.told[:2]
            assert describes(self.told, self.fitted)


def describes(told: Any, fitted: AuditEvent) -> bool:
    """True when what is told around the body is what the event says."""
    beside: object = told[2:]
    return beside == (
        fitted.event_type,
        (fitted.session_id or "").encode(),
        fitted.timestamp_us,
        fitted.event_id,
        fitted.trace_id,
        fitted.span_id,
    )


def written(event: AuditEvent) -> Any:
    """What the generated function alone makes of an event of its class; None when it refuses."""
    write = writer_of(schema_for(event.event_type))
    assert write is not None
    try:
        return write(event, text(STREAM))
    except REFUSED:
        return None


def alike(event: Any) -> Seen:
    """What fastavro's encoder makes of an event, once it is known that the generated one makes the same.

    To the last byte and report; and that what the generated function answers at once needs no conversion.
    """
    ours, theirs = Seen(GeneratedEncoder, event), Seen(FastavroEncoder, event)
    assert ours.reported == theirs.reported
    assert theirs.invented or ours.told == theirs.told
    assert repr(ours.fitted) == repr(theirs.fitted)
    at_once = written(event) if type(event) in ALL_TYPES.values() else None
    if at_once is not None:
        assert at_once == theirs.told
        assert theirs.reported == []
        assert ours.fitted is event
    return theirs


@every_type
def test_the_source_is_python_that_depends_on_the_schema_alone(cls: type[AuditEvent]) -> None:
    schema = schema_for(cls.event_type)
    source = encoder_source(schema)
    compile(source, schema.name, "exec")
    assert source == encoder_source(
        Schema(schema.event_type, schema.version, schema.text, schema.fingerprint, "")
    )


@every_type
def test_the_source_imports_what_it_uses_and_nothing_else(cls: type[AuditEvent]) -> None:
    source = encoder_source(schema_for(cls.event_type))
    imported = source.split("wire.packing import ")[1].split("\n")[0].split(", ")
    body = source.split("def encode")[1]
    assert all(name in body for name in imported)


@given(event=any_event, sequence=st.integers(0, 2**63 - 1))
def test_any_event_is_the_bytes_of_the_whole_schema(event: AuditEvent, sequence: int) -> None:
    seen = alike(event)
    assert join_body(seen.told[0], sequence, seen.told[1]) == reference_body(event, STREAM, sequence)
    assert seen.reported == []


@every_type
@pytest.mark.parametrize("full", [False, True], ids=["defaults", "full"])
def test_usual_events_are_written_without_the_thorough_way(cls: type[AuditEvent], full: bool) -> None:
    event = full_event(cls, metadata={"key": "value", "n": 1}) if full else cls()
    found = written(event)
    assert found is not None
    assert join_body(found[0], 7, found[1]) == reference_body(event, STREAM, 7)
    assert describes(found, event)


@every_type
def test_an_odd_value_in_any_field_is_judged_alike(cls: type[AuditEvent]) -> None:
    for name, kind, _, _ in schema_for(cls.event_type).fields:
        if name in {"event_type", "stream_id", "sequence"}:
            continue
        for value in [*OTHERS, *(METADATA if name == "metadata" else OF_TYPE[kind])]:
            event = full_event(cls, metadata={"key": 1})
            setattr(event, "timestamp_us" if name == "timestamp" else name, value)
            alike(event)


@pytest.mark.parametrize("metadata", HUGE, ids=["text", "texts", "escapes", "keys"])
def test_huge_metadata_is_judged_alike(metadata: Any) -> None:
    assert alike(TurnStartEvent(metadata=metadata)).reported == [("truncated", "metadata")]


@given(
    cls=st.sampled_from(list(ALL_TYPES.values())),
    data=st.data(),
    fields=st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True),
)
def test_several_odd_values_at_once_are_judged_alike(
    cls: type[AuditEvent], data: st.DataObject, fields: list[int]
) -> None:
    event = full_event(cls)
    names = [f.name for f in schema_for(cls.event_type).fields[3:] if f.name not in {"stream_id", "sequence"}]
    for index in fields:
        setattr(event, names[index % len(names)], data.draw(st.sampled_from(ODD)))
    alike(event)


@every_type
def test_a_body_fits_or_is_cut_at_the_same_size(cls: type[AuditEvent]) -> None:
    texts = [f.name for f in schema_for(cls.event_type).tail if f.type == "string"]
    if not texts:
        return

    def with_text(length: int) -> AuditEvent:
        return full_event(cls, metadata={}, **{texts[0]: "x" * length})

    most = MAX_BODY - 10 - (sum(map(len, FastavroEncoder().encode(with_text(100_000), STREAM))) - 100_000)
    assert written(with_text(most)) is not None
    assert alike(with_text(most)).reported == []
    assert written(with_text(most + 1)) is None
    assert ("truncated", texts[0]) in alike(with_text(most + 1)).reported


def test_a_severity_that_only_claims_to_be_the_usual_one_is_not_taken_for_it() -> None:
    usual = TurnStartEvent().severity
    assert alike(TurnStartEvent(severity=Text("error"))).told[0].count(b"\x0aerror\x04{}") == 1
    assert alike(TurnStartEvent(severity="".join(usual))).told[0].count(b"\x08info\x04{}") == 1
    assert written(TurnStartEvent(severity=bytes(usual, "ascii").decode())) is not None  # equal, not the same


@pytest.mark.parametrize("name", ["agent_id", "severity", "tenant_id", "prompt_preview", "parent_turn_id"])
def test_a_text_of_any_length_is_written_at_once(name: str) -> None:
    for size in (0, 63, 64, 1_023, 1_024, 1_025, 8_191, 8_192, 100_000):
        event = TurnStartEvent()
        setattr(event, name, "x" * size)
        assert written(event) is not None
        alike(event)


@every_type
def test_a_field_that_was_deleted_gets_its_default_from_both(cls: type[AuditEvent]) -> None:
    event = full_event(cls)
    del event.turn_id
    assert alike(event).reported == [("coerced", "turn_id")]


def test_ids_are_as_long_as_a_header_and_a_key_may_be_and_no_longer() -> None:
    for size in (1_023, 1_024, 16_384, 16_385):
        for name in ("event_id", "session_id"):
            event = full_event(TurnStartEvent, metadata={}, **{name: "é" * (size // 2) + "x" * (size % 2)})
            assert (written(event) is not None) is (size < 1_024)
            assert bool(alike(event).reported) is (size > 16_384)


def test_foreign_events_and_events_of_subclasses_are_judged_alike() -> None:
    class Mine(TurnStartEvent):
        pass

    class Payment:
        event_type = "payment"
        event_id = "p-1"
        timestamp_us = 1_700_000_000_000_000

        def to_dict(self) -> dict[str, Any]:
            return {"amount": 1}

    alike(Mine(event_id="m-1", timestamp_us=1))
    alike(Payment())
    alike(object())


def test_a_class_is_known_after_its_first_event() -> None:
    encoder = GeneratedEncoder()
    encode = encoder.bound(STREAM)
    for number in range(3):
        event = TurnStartEvent(prompt_length=number)
        assert encode(event)[:2] == FastavroEncoder().encode(event, STREAM)
        assert encoder.encode_fitted(event, STREAM)[2] is event
    for preview in ("\ud800", 7):  # refused by an exception, and by None
        odd: Any = TurnStartEvent(prompt_preview=preview)  # type: ignore[arg-type]
        assert encode(odd) == FastavroEncoder().bound(STREAM)(odd)


def test_events_of_many_seconds_are_written_and_few_seconds_remembered() -> None:
    from auditwire.wire.packing import LATE

    for second in range(300):
        event = TurnStartEvent(timestamp_us=1_700_000_000_000_000 + second * 1_048_576)
        assert written(event) is not None
        alike(event)
    assert len(LATE) <= 64


@given(
    us=st.integers(2**48 - 10, 2**48 + 10) | st.integers(2**55 - 10, 2**55 + 10) | st.integers(0, 2**63 - 1)
)
def test_a_time_of_eight_bytes_is_written_at_once_and_any_other_all_the_same(us: int) -> None:
    event = TurnStartEvent(timestamp_us=us)
    assert (written(event) is not None) is (2**48 <= us < 2**55)
    assert alike(event).reported == []


@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("kind", ["string", "long", "double", "boolean", "array"])
def test_every_type_that_the_contract_allows_can_be_generated(kind: str, nullable: bool) -> None:
    """Those too that no field has today: a schema made of a class with such a field."""
    avro: Any = {"type": "array", "items": "string"} if kind == "array" else kind
    schema = with_field("custom_type", ["null", avro] if nullable else avro)
    write = writer_of(schema)
    assert write is not None
    good: dict[str, list[Any]] = {
        "string": ["", "é" * 600],
        "long": [0, -1, 1_023, 1_024, -(2**63), 2**63 - 1],
        "double": [-0.0, 1.5],
        "boolean": [True, False],
        "array": [[], ["a", "b"]],
    }
    for value in [*good[kind], *([None] if nullable else [])]:
        event = CustomEvent(custom_type=value, payload="p")
        found = write(event, text(STREAM))
        assert found is not None
        assert found[1] == of_fastavro(schema, event)
    odd: list[Any] = ["1" if kind == "long" else 1]
    for value in [*odd, *([] if nullable else [None])]:
        assert write(CustomEvent(custom_type=value), text(STREAM)) is None


def with_field(name: str, avro: Any) -> Schema:
    """The schema of custom events, with another type for one field."""
    schema = schema_for("custom")
    raw = json.loads(schema.text)
    for field in raw["fields"]:
        if field["name"] == name:
            field["type"] = avro
    return Schema("custom", "9.9.9", json.dumps(raw), schema.fingerprint, "")


def of_fastavro(schema: Schema, event: AuditEvent) -> bytes:
    from io import BytesIO

    import fastavro

    tail = {
        "type": "record",
        "name": "Tail",
        "fields": json.loads(schema.text)["fields"][-len(schema.tail) :],
    }
    out = BytesIO()
    row = {f.name: getattr(event, f.name) for f in schema.tail}
    fastavro.schemaless_writer(out, fastavro.parse_schema(tail, {}), row)
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda fields: fields.reverse(), "do not begin with the envelope"),
        (lambda fields: fields[-1].update(name="invented"), "CustomEvent has no invented"),
    ],
)
def test_a_schema_of_another_form_is_left_to_fastavro(change: Callable[[Any], None], why: str) -> None:
    schema = schema_for("custom")
    raw = json.loads(schema.text)
    change(raw["fields"])
    other = Schema("custom", "9.9.9", json.dumps(raw), schema.fingerprint, "")
    with pytest.raises(Inexpressible, match=why):
        encoder_source(other)
    assert writer_of(other) is None


@pytest.mark.parametrize("name", ["type", "head", "payload_bytes", "class"])
def test_a_field_whose_name_no_variable_can_have_is_left_to_fastavro(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import make_dataclass

    from auditwire.wire import encoder_source as generating

    schema = schema_for("custom")
    raw = json.loads(schema.text)
    raw["fields"].append({"name": name, "type": "string", "default": "", "doc": "d"})
    other = Schema("custom", "9.9.9", json.dumps(raw), schema.fingerprint, "")
    if name != "class":  # which no field of a class can have either
        cls = make_dataclass("Wider", [(name, str)], bases=(CustomEvent,), kw_only=True)
        monkeypatch.setitem(ALL_TYPES, "custom", cls)
    with pytest.raises(generating.__globals__["Inexpressible"]):
        encoder_source(other)


def test_an_encoder_without_a_generated_one_goes_to_fastavro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditwire.wire.generated.writer_of", lambda _schema: None)
    event = TurnStartEvent(prompt_preview="p")
    assert GeneratedEncoder().bound(STREAM)(event) == FastavroEncoder().bound(STREAM)(event)


def test_released_versions_have_an_encoder_or_are_said_to_have_none() -> None:
    for event_type in ALL_TYPES:
        for schema in schema_versions(event_type):
            writer_of(schema)


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 2**30))
def test_an_event_that_changes_meanwhile_is_one_of_its_states_inside_and_beside_the_body(seed: int) -> None:
    """Another thread swaps session, id and time; what is told beside the body is what stands in it."""
    from auditwire.wire import decode, frame_confluent

    states = [(f"session-{seed}-{i}", uuid7(), 1_700_000_000_000_000 + i, {"n": i}) for i in range(2)]
    event = TurnStartEvent()
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            for session, event_id, us, metadata in states:
                event.session_id, event.event_id, event.timestamp_us = session, event_id, us
                event.metadata = metadata

    changing = threading.Thread(target=change)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    changing.start()
    try:
        for make in (GeneratedEncoder, FastavroEncoder):
            encode = make().bound(STREAM)
            for _ in range(300):
                told = encode(event)
                inside = decode(frame_confluent(1, join_body(told[0], 0, told[1]))).event
                assert describes(told, inside)
    finally:
        stop.set()
        changing.join()
        sys.setswitchinterval(before)


def test_a_list_and_metadata_that_grow_meanwhile_leave_a_body_that_can_be_read() -> None:
    from auditwire.wire import decode, frame_confluent

    event = full_event(ALL_TYPES["skill_authored"], metadata={})
    stop = threading.Event()

    def grow() -> None:
        tools: list[str] = event.unique_tools  # type: ignore[attr-defined]
        while not stop.is_set():
            tools.extend(["tool"] * 50)
            event.metadata.update(dict.fromkeys(map(str, range(50)), 1))
            tools.clear()
            event.metadata.clear()

    growing = threading.Thread(target=grow)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    growing.start()
    try:
        encode = GeneratedEncoder().bound(STREAM)
        for _ in range(500):
            told = encode(event)
            decode(frame_confluent(1, join_body(told[0], 0, told[1])))
    finally:
        stop.set()
        growing.join()
        sys.setswitchinterval(before)


def test_a_nullable_number_is_none_of_the_types_around_it() -> None:
    for value in (None, 0, 5, True, 1.0, "1"):
        alike(full_event(ModelCallEvent, input_tokens=value))
