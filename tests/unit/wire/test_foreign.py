"""Foreign events: whatever has a type and a dictionary is kept, whole, as a custom event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.errors import EncodingError
from auditwire.events import ALL_TYPES, AuditEvent, CustomEvent, TurnStartEvent, now_us
from auditwire.wire import as_audit_event, decode, frame_confluent, join_body, new_encoder
from support.codecs import both_codecs  # noqa: F401 - a fixture

STREAM = "01890a5d-ac96-774b-bcce-b302099a8057"


class Foreign:
    """An event of another library."""

    def __init__(self, data: Any = None, event_type: Any = "payment", **attributes: Any) -> None:
        self.data = {} if data is None else data
        self.event_type = event_type
        self.__dict__.update(attributes)

    def to_dict(self) -> Any:
        return self.data


def custom(event: object) -> CustomEvent:
    out = as_audit_event(event)
    assert type(out) is CustomEvent
    return out


@pytest.mark.parametrize("cls", ALL_TYPES.values())
def test_an_event_of_a_known_class_is_itself(cls: type[AuditEvent]) -> None:
    event = cls()
    assert as_audit_event(event) is event


def test_a_foreign_event_becomes_a_custom_one_with_its_fields_as_json() -> None:
    event = custom(Foreign({"event_type": "payment", "amount": 12.5, "to": "Zoë", "items": [1, None]}))
    assert event.custom_type == "payment"
    assert event.payload == '{"amount":12.5,"to":"Zoë","items":[1,null]}'


def test_what_fits_the_envelope_is_taken_over_from_the_dictionary() -> None:
    data = {
        "event_id": "e-1",
        "timestamp": "2026-01-02T03:04:05Z",
        "session_id": "s",
        "turn_id": "t",
        "agent_id": "a",
        "principal_id": "p",
        "principal_type": "user",
        "tenant_id": None,
        "severity": "warning",
        "metadata": {"k": 1},
        "trace_id": "0" * 32,
        "span_id": "0" * 16,
    }
    event = custom(Foreign(data))
    assert event.payload == "{}"
    assert {k: v for k, v in event.to_dict().items() if k in data} == {
        **data,
        "timestamp": "2026-01-02T03:04:05.000000+00:00",
    }


def test_what_fits_the_envelope_is_taken_over_from_attributes_too() -> None:
    event = custom(Foreign({}, session_id="s", event_id="e-1", timestamp_us=1_767_323_045_000_000))
    assert (event.session_id, event.event_id, event.timestamp_us) == ("s", "e-1", 1_767_323_045_000_000)


def test_what_does_not_fit_the_envelope_stays_in_the_payload() -> None:
    data = {"event_id": "", "session_id": 7, "severity": None, "metadata": ["m"], "timestamp": "noon"}
    event = custom(Foreign(data))
    assert json.loads(event.payload) == data
    assert len(event.event_id) == 36
    assert (event.session_id, event.severity, event.metadata) == (None, "info", {})


@pytest.mark.parametrize(
    ("time", "us"),
    [
        ("2026-01-02T03:04:05.000006+00:00", 1_767_323_045_000_006),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc), 1_767_323_045_000_006),
        (1_767_323_045.25, 1_767_323_045_250_000),
        (1_767_323_045_000_006, 1_767_323_045_000_006),
    ],
)
def test_a_clear_time_is_taken_over(time: object, us: int) -> None:
    event = custom(Foreign({"timestamp": time}))
    assert event.timestamp_us == us
    assert event.payload == "{}"


@pytest.mark.parametrize(
    "time", [1_767_323_045, 1_767_323_045_000, 2**70, -5.0, 1e300, float("nan"), True, None]
)
def test_a_time_that_could_mean_several_things_stays_in_the_payload(time: object) -> None:
    before = now_us()
    event = custom(Foreign({"timestamp": time}))
    assert before <= event.timestamp_us <= now_us()
    assert "timestamp" in json.loads(event.payload)


def test_of_two_times_the_one_in_microseconds_counts_and_the_other_is_kept() -> None:
    event = custom(Foreign({"timestamp": "2020-01-01T00:00:00Z", "timestamp_us": 1_767_323_045_000_006}))
    assert event.timestamp_us == 1_767_323_045_000_006
    assert json.loads(event.payload) == {"timestamp": "2020-01-01T00:00:00Z"}


def test_a_type_in_the_dictionary_that_is_another_is_kept() -> None:
    assert json.loads(custom(Foreign({"event_type": "other"})).payload) == {"event_type": "other"}


def test_a_plain_audit_event_goes_to_custom_as_base() -> None:
    event = AuditEvent(session_id="s", metadata={"a": 1})
    out = custom(event)
    assert (out.custom_type, out.payload) == ("base", "{}")
    assert (out.event_id, out.timestamp_us, out.session_id, out.metadata) == (
        event.event_id,
        event.timestamp_us,
        "s",
        {"a": 1},
    )


@dataclass(slots=True, kw_only=True)
class Payment(AuditEvent):
    event_type: ClassVar[str] = "payment"
    amount: float = 0.0
    to: object = None


def test_a_subclass_with_a_type_of_its_own_goes_to_custom_with_its_fields() -> None:
    event = Payment(session_id="s", amount=2.5, to="Zoë")
    out = custom(event)
    assert (out.custom_type, out.payload) == ("payment", '{"amount":2.5,"to":"Zoë"}')
    assert (out.event_id, out.timestamp_us, out.session_id) == (event.event_id, event.timestamp_us, "s")


def test_a_field_whose_text_raises_does_not_lose_the_event() -> None:
    class Raising:
        def __str__(self) -> str:
            raise ValueError

    assert json.loads(custom(Payment(to=Raising())).payload)["to"] == "<unprintable Raising>"


class Mine(TurnStartEvent):
    """Without slots: anything can be set on it."""


@dataclass(slots=True, kw_only=True)
class Wider(TurnStartEvent):
    budget: int = 0


def test_a_subclass_with_a_known_type_goes_through_its_schema_and_loses_nothing() -> None:
    event = Wider(prompt_preview="p", budget=3, metadata={"a": 1})
    out = as_audit_event(event)
    assert type(out) is TurnStartEvent
    assert (out.event_id, out.timestamp_us, out.prompt_preview) == (event.event_id, event.timestamp_us, "p")
    assert out.metadata == {"a": 1, "auditwire.unknown_fields": {"budget": 3}}
    assert event.metadata == {"a": 1}


def test_what_was_set_on_an_event_without_slots_is_kept() -> None:
    event = Mine(metadata="odd")  # type: ignore[arg-type]
    event.note = "mine"  # type: ignore[attr-defined]
    assert as_audit_event(event).metadata == {
        "metadata": "odd",
        "auditwire.unknown_fields": {"note": "mine"},
    }


def test_a_deleted_field_of_a_subclass_becomes_the_default() -> None:
    event = Wider()
    del event.prompt_preview
    out = as_audit_event(event)
    assert isinstance(out, TurnStartEvent)
    assert out.prompt_preview == ""


def test_another_librarys_event_of_a_known_type_goes_to_custom() -> None:
    event = custom(Foreign({"prompt": "p"}, event_type="turn_start"))
    assert (event.custom_type, event.payload) == ("turn_start", '{"prompt":"p"}')


def test_any_mapping_is_taken() -> None:
    assert custom(Foreign(MappingProxyType({"a": 1}))).payload == '{"a":1}'


def test_the_dictionary_of_the_event_is_not_taken_apart() -> None:
    data = {"event_id": "e", "a": 1}
    custom(Foreign(data))
    assert data == {"event_id": "e", "a": 1}


def test_an_attribute_that_raises_is_as_good_as_none() -> None:
    class Odd(Foreign):
        @property
        def session_id(self) -> str:
            raise RuntimeError

    assert custom(Odd({})).session_id is None


class WithoutDict:
    event_type = "x"


class RaisingDict(Foreign):
    def to_dict(self) -> Any:
        raise ValueError("no fields")


class RaisingType:
    @property
    def event_type(self) -> str:
        raise ValueError("no type")


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (object(), "no event_type"),
        (None, "no event_type"),
        ({"event_type": "x"}, "no event_type"),
        (Foreign({}, event_type=7), "no event_type"),
        (Foreign({}, event_type=""), "no event_type"),
        (WithoutDict(), "no to_dict"),
        (Foreign([1]), "returned list"),
        (RaisingDict(), "ValueError: no fields"),
        (RaisingType(), "ValueError: no type"),
    ],
)
def test_what_is_no_event_is_refused_with_the_reason(event: object, why: str) -> None:
    with pytest.raises(EncodingError, match=why):
        as_audit_event(event)


@given(
    data=st.dictionaries(
        st.sampled_from(["event_id", "timestamp", "metadata", "severity", "session_id", "payload", "x"])
        | st.text(),
        st.none()
        | st.integers()
        | st.floats()
        | st.text()
        | st.datetimes()
        | st.dictionaries(st.text(), st.text()),
    )
)
def test_any_dictionary_becomes_an_event_that_is_encoded_and_read_back(data: dict[str, Any]) -> None:
    event = as_audit_event(Foreign(data))
    head, tail, fitted = new_encoder().encode_fitted(event, STREAM)
    assert decode(frame_confluent(1, join_body(head, 0, tail))).event == fitted
