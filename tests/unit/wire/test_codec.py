"""The choice between the two codecs: by variable or call, for encoding and decoding, and to the same end."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from event_strategies import any_event
from hypothesis import given
from hypothesis import strategies as st

from auditwire import from_env
from auditwire.config import SETTINGS, read_setting
from auditwire.errors import ConfigurationError
from auditwire.events import ALL_TYPES, AuditEvent, TurnStartEvent
from auditwire.wire import (
    CODECS,
    Codec,
    Decoded,
    FastavroEncoder,
    GeneratedEncoder,
    current_codec,
    decode,
    envelope,
    fastavro_decoder,
    frame_confluent,
    frame_single_object,
    new_encoder,
    schema_for,
    use_codec,
)
from auditwire.wire.codec import readers_of
from support.wire_samples import STREAM, body_of, full_event, value_of
from support.wire_twins import checked, generated

if TYPE_CHECKING:
    from collections.abc import Iterator

every_type = pytest.mark.parametrize("cls", ALL_TYPES.values(), ids=list(ALL_TYPES))


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    use_codec(None)
    yield
    use_codec(None)


# -- the choice --------------------------------------------------------------------------------------------


def test_the_generated_codec_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDITWIRE_CODEC", raising=False)
    assert current_codec() == "generated"
    assert type(new_encoder()) is GeneratedEncoder


def test_the_variable_chooses_when_a_codec_is_first_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITWIRE_CODEC", "fastavro")
    assert current_codec() == "fastavro"
    assert type(new_encoder()) is FastavroEncoder
    monkeypatch.setenv("AUDITWIRE_CODEC", "generated")
    assert current_codec() == "fastavro"
    use_codec(None)
    assert current_codec() == "generated"


def test_a_variable_that_is_set_to_nothing_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITWIRE_CODEC", "")
    assert current_codec() == "generated"


def test_a_call_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITWIRE_CODEC", "fastavro")
    use_codec("generated")
    assert current_codec() == "generated"


def test_another_word_is_an_error_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="expected generated or fastavro, not 'avro'") as raised:
        use_codec("avro")  # type: ignore[arg-type]
    assert raised.value.key == "codec"
    monkeypatch.setenv("AUDITWIRE_CODEC", "Generated")
    for need in (current_codec, new_encoder, lambda: decode(value_of(TurnStartEvent()))):
        with pytest.raises(ConfigurationError) as raised:
            need()
        assert raised.value.key == "AUDITWIRE_CODEC"


def test_the_emitter_that_the_environment_describes_has_its_codec() -> None:
    with from_env({"AUDITWIRE_COLLECTOR": "null", "AUDITWIRE_CODEC": "fastavro"}):
        assert current_codec() == "fastavro"
    with from_env({"AUDITWIRE_COLLECTOR": "null"}):  # which says nothing of it
        assert current_codec() == "fastavro"
    with pytest.raises(ConfigurationError, match="AUDITWIRE_CODEC"):
        from_env({"AUDITWIRE_COLLECTOR": "null", "AUDITWIRE_CODEC": "other"})


def test_the_setting_takes_the_names_of_the_codecs() -> None:
    setting = next(one for one in SETTINGS if one.variable == "AUDITWIRE_CODEC")
    assert tuple(read_setting(setting, {"AUDITWIRE_CODEC": name}) for name in CODECS) == CODECS
    assert setting.accepts == " or ".join(f"`{name}`" for name in CODECS)


def test_what_was_met_before_is_read_by_the_codec_that_was_chosen_since() -> None:
    value, schema = value_of(TurnStartEvent()), schema_for("turn_start")
    for name in (*CODECS, *CODECS):
        use_codec(name)
        assert decode(value) == decode(value)
        assert (readers_of(schema) is fastavro_decoder.readers_of(schema)) is (name == "fastavro")


# -- fastavro, as a decoder --------------------------------------------------------------------------------


def choose(name: Codec) -> None:
    """Choose the codec, and have it met every type: of the first record of each the interpreter reads."""
    if current_codec() != name:
        use_codec(name)
        for event_type, cls in ALL_TYPES.items():
            for hint in (None, event_type):
                decode(value_of(cls()), event_type=hint)


@given(event=any_event, sequence=st.integers(0, 2**63 - 1), confluent=st.booleans())
def test_both_read_the_same_of_what_was_written(event: AuditEvent, sequence: int, confluent: bool) -> None:
    value = frame_confluent(3, body_of(event, sequence)) if confluent else value_of(event, sequence)
    of = {}
    for name in CODECS:
        choose(name)
        of[name] = decode(value), envelope(value)
    assert repr(of["generated"]) == repr(of["fastavro"])  # equal where a NaN is not
    assert of["fastavro"][0].event == event


@every_type
def test_fastavro_reads_what_was_written_itself(cls: type[AuditEvent]) -> None:
    readers = fastavro_decoder.readers_of(schema_for(cls.event_type))
    for event in (cls(), full_event(cls)):
        value = value_of(event)
        decoded = generated(readers.decode, value)
        assert decoded is not None
        assert decoded == decode(value)
        short = generated(readers.envelope, value)
        assert short == envelope(value)
        assert readers.outline(value, 10) is None


@every_type
def test_a_record_cut_off_or_with_more_behind_it_is_judged_alike(cls: type[AuditEvent]) -> None:
    choose("fastavro")
    value = value_of(full_event(cls))
    assert isinstance(checked(value), Decoded)
    assert not isinstance(checked(value + b"\x00"), Decoded)
    for end in range(10, len(value)):
        assert not isinstance(checked(value[:end]), Decoded)


@given(
    event=any_event,
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=3)), min_size=1, max_size=4),
    confluent=st.booleans(),
    hint=st.none() | st.sampled_from([*ALL_TYPES, "another"]),
)
def test_changed_bytes_are_judged_alike(
    event: AuditEvent, changes: list[tuple[int, bytes]], confluent: bool, hint: str | None
) -> None:
    choose("fastavro")
    value = bytearray(frame_confluent(1, body_of(event)) if confluent else value_of(event))
    for at, new in changes:
        place = at % len(value) if value else 0
        value[place : place + 1] = new
    checked(bytes(value), hint)


@given(event_type=st.sampled_from(list(ALL_TYPES)), body=st.binary(max_size=300))
def test_any_bytes_are_judged_alike(event_type: str, body: bytes) -> None:
    choose("fastavro")
    checked(frame_single_object(schema_for(event_type).fingerprint, body))


def test_a_union_branch_below_zero_is_not_taken_for_the_last_one() -> None:
    """As fastavro alone takes it: -1 is Python's last index."""
    value = value_of(TurnStartEvent(parent_agent_id="p"))
    assert value.endswith(b"\x02\x02p")
    choose("fastavro")
    assert not isinstance(checked(value[:-3] + b"\x01\x02p"), Decoded)


def test_a_stream_id_is_the_same_for_both() -> None:
    for name in CODECS:
        choose(name)
        assert decode(value_of(TurnStartEvent())).stream_id == STREAM


# -- what is loaded ----------------------------------------------------------------------------------------

LOADED = """
import sys
from auditwire.events import ALL_TYPES
from auditwire.wire import all_schemas, decode, frame_single_object, join_body, new_encoder, schema_for
encoder = new_encoder()
all_schemas()
for event_type, cls in ALL_TYPES.items():
    head, tail = encoder.encode(cls(metadata={"key": 1}), "stream")
    value = frame_single_object(schema_for(event_type).fingerprint, join_body(head, 1, tail))
    assert decode(value).sequence == 1
print("fastavro" in sys.modules)
"""


def test_usual_events_are_written_and_read_without_loading_the_library() -> None:
    ended = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
