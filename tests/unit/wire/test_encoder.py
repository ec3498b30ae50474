"""Encoding: byte for byte what an Avro library makes of the whole schema, whatever the values are."""

from __future__ import annotations

import copy
from io import BytesIO
from types import MappingProxyType
from typing import Any

import fastavro
import pytest
from event_strategies import any_event, reference_body
from hypothesis import assume, given
from hypothesis import strategies as st

from auditwire.errors import EncodingError
from auditwire.events import (
    ALL_TYPES,
    AuditEvent,
    CheckpointEvent,
    SkillAuthoredEvent,
    TurnStartEvent,
    event_from_dict,
)
from auditwire.wire import MAX_BODY, decode, frame_confluent, join_body, new_encoder
from support.codecs import both_codecs  # noqa: F401 - a fixture

STREAM = "01890a5d-ac96-774b-bcce-b302099a8057"
SEQUENCES = st.integers(0, 2**63 - 1) | st.integers(0, 300)


def body_of(event: AuditEvent, sequence: int = 0) -> bytes:
    head, tail = new_encoder().encode(event, STREAM)
    return join_body(head, sequence, tail)


def read_back(event: AuditEvent) -> AuditEvent:
    return decode(frame_confluent(1, body_of(event))).event


@given(event=any_event, sequence=SEQUENCES)
def test_head_sequence_and_tail_are_the_bytes_of_the_whole_schema(event: AuditEvent, sequence: int) -> None:
    assert body_of(event, sequence) == reference_body(event, STREAM, sequence)


@pytest.mark.parametrize("cls", ALL_TYPES.values(), ids=lambda cls: cls.event_type)
def test_an_event_of_defaults_is_the_bytes_of_the_whole_schema(cls: type[AuditEvent]) -> None:
    event = cls()
    assert body_of(event, 5) == reference_body(event, STREAM, 5)


@pytest.mark.parametrize("sequence", [0, 63, 64, 8191, 8192, 2**31, 2**62, 2**63 - 1])
def test_the_sequence_stands_between_head_and_tail_as_an_avro_long(sequence: int) -> None:
    assert join_body(b"head", sequence, b"tail") == b"head" + zigzag(sequence) + b"tail"


def zigzag(number: int) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, "long", number)  # type: ignore[arg-type, unused-ignore]
    return out.getvalue()


@pytest.mark.parametrize("sequence", [-1, 2**63])
def test_a_sequence_that_is_no_such_number_is_refused(sequence: int) -> None:
    with pytest.raises(ValueError, match="sequence"):
        join_body(b"", sequence, b"")


@given(event=any_event)
def test_the_event_is_not_changed(event: AuditEvent) -> None:
    before = copy.deepcopy(event)
    new_encoder().encode(event, STREAM)
    assert event == before


@given(event=any_event)
def test_an_event_that_fits_is_handed_back_as_it_is_or_equal(event: AuditEvent) -> None:
    calls: list[str] = []
    _, _, fitted = new_encoder(calls.append, calls.append).encode_fitted(event, STREAM)
    assert fitted == event
    assert calls == []


def test_an_event_of_plain_values_goes_the_short_way() -> None:
    event = TurnStartEvent(metadata={"a": 1, "b": 1.5, "c": None, "d": True, "e": "ü"})
    assert new_encoder().encode_fitted(event, STREAM)[2] is event


@pytest.mark.parametrize(
    ("metadata", "out"),
    [
        ({}, {}),
        ({"a": {"b": [1, {"c": None}]}}, {"a": {"b": [1, {"c": None}]}}),
        ({"n": float("nan"), "i": float("-inf")}, {"n": "NaN", "i": "-Infinity"}),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ({1: "int", "1": "str"}, {"1": "int", "1 (str)": "str"}),
        ({"a": "\ud800"}, {"a": "\ufffd"}),
        ({"\ud800": 1}, {"\ufffd": 1}),
        ({"a": b"x"}, {"a": "b'x'"}),
        ({"a": {1, 2}}, {"a": [1, 2]}),
        ({"a": (1,)}, {"a": [1]}),
        ({"a": 10**5000}, {"a": hex(10**5000)}),
        ({"a": 2**64}, {"a": 2**64}),
        ({"a": "\u2028"}, {"a": "\u2028"}),
    ],
)
def test_metadata_comes_back_as_json_can_express_it(metadata: Any, out: dict[str, Any]) -> None:
    calls: list[str] = []
    event = TurnStartEvent(metadata=metadata)
    head, tail, fitted = new_encoder(calls.append).encode_fitted(event, STREAM)
    assert decode(frame_confluent(1, join_body(head, 0, tail))).event.metadata == fitted.metadata == out
    assert calls == ([] if metadata == out else ["metadata"])


@pytest.mark.parametrize("metadata", [None, "text", 7, ["a"], object])
def test_metadata_that_is_no_dictionary_is_noted(metadata: Any) -> None:
    calls: list[str] = []
    head, tail = new_encoder(calls.append).encode(TurnStartEvent(metadata=metadata), STREAM)
    event = decode(frame_confluent(1, join_body(head, 0, tail))).event
    assert event.metadata == {"auditwire.coerced": {"metadata": str(metadata)}}
    assert calls == ["metadata"]


def test_metadata_in_a_mapping_of_another_class_is_taken() -> None:
    assert read_back(TurnStartEvent(metadata=MappingProxyType({"a": 1}))).metadata == {"a": 1}  # type: ignore[arg-type]


def test_metadata_that_cannot_be_compared_is_still_encoded() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise ValueError("no comparison")

        __hash__ = object.__hash__

        def __str__(self) -> str:
            return "odd"

    assert read_back(TurnStartEvent(metadata={"a": Odd()})).metadata == {"a": "odd"}


def test_metadata_in_itself_and_very_deep_metadata_end_somewhere() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    deep: Any = "bottom"
    for _ in range(100_000):
        deep = [deep]
    event = read_back(TurnStartEvent(metadata={"loop": loop, "deep": deep}))
    assert event.metadata["loop"] == {"loop": "<dict>"}
    assert str(event.metadata["deep"]).strip("[]'") == "<list>"
    while isinstance(deep, list):  # or taking it apart would recurse
        (deep,) = deep


def test_lists_that_share_lists_do_not_explode() -> None:
    shared: list[Any] = []
    for _ in range(60):  # stands for 2**60 lists
        shared = [shared, shared]
    assert len(body_of(TurnStartEvent(metadata={"shared": shared}))) <= MAX_BODY


def test_an_instance_of_a_subclass_goes_through_its_parents_schema() -> None:
    class Mine(TurnStartEvent):
        pass

    event = Mine(prompt_preview="p")
    encoder = new_encoder()
    for _ in range(2):
        fitted = encoder.encode_fitted(event, STREAM)[2]
        assert type(fitted) is TurnStartEvent
        assert fitted.event_id == event.event_id


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(EncodingError, match="no event"):
        new_encoder().encode(object(), STREAM)  # type: ignore[arg-type]


def test_a_fault_that_nothing_helps_against_is_an_encoding_error_that_names_the_event() -> None:
    def broken(field: str) -> None:
        raise RuntimeError("the counter is broken")

    event = TurnStartEvent(prompt_length="x")  # type: ignore[arg-type]
    with pytest.raises(EncodingError, match=f"turn_start event {event.event_id} .*the counter is broken"):
        new_encoder(broken).encode(event, STREAM)


def test_a_checkpoint_is_refused_rather_than_cut() -> None:
    entries = ["x" * 44] * 30_000
    with pytest.raises(EncodingError, match="nothing left that may be cut"):
        new_encoder().encode(CheckpointEvent(entries=entries), STREAM)


def test_a_list_with_an_item_of_another_type_is_seen_on_the_short_way() -> None:
    encoder = new_encoder()
    encoder.encode(SkillAuthoredEvent(unique_tools=["a"]), STREAM)  # the types are known from now on
    event = SkillAuthoredEvent(unique_tools=["a", 1])  # type: ignore[list-item]
    fitted = encoder.encode_fitted(event, STREAM)[2]
    assert isinstance(fitted, SkillAuthoredEvent)
    assert fitted.unique_tools == ["a", "1"]


@given(event=any_event)
def test_an_event_that_went_through_json_is_the_same_record(event: AuditEvent) -> None:
    assume(
        -62_135_596_800_000_000 <= event.timestamp_us <= 253_402_300_799_999_999
    )  # what ISO-8601 text can say
    again = event_from_dict(
        event.to_dict()
    )  # an infinite duration is text there, and a number in the record again
    assert body_of(again) == body_of(event)
