"""Shortening: it fits, only the longest values lose, and what was cut is told."""

from __future__ import annotations

import copy
import hashlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditwire.events import (
    AuditEvent,
    CheckpointEvent,
    CustomEvent,
    QuarantineEvent,
    SkillAuthoredEvent,
    ToolCallFailureEvent,
    TurnStartEvent,
)
from auditwire.jsonable import json_line
from auditwire.wire import MAX_BODY, decode, frame_confluent, join_body, new_encoder
from auditwire.wire.shorten import MAX_ID

STREAM = "01890a5d-ac96-774b-bcce-b302099a8057"
LAST = 2**63 - 1  # the sequence with the most bytes
MB = 1_000_000


def through(event: AuditEvent) -> tuple[Any, int, list[str]]:
    """The event as a reader gets it, the size of its body, and the fields that were reported as cut."""
    cut: list[str] = []
    head, tail, fitted = new_encoder(on_truncated=cut.append).encode_fitted(event, STREAM)
    body = join_body(head, LAST, tail)
    assert len(body) <= MAX_BODY
    decoded = decode(frame_confluent(1, body)).event
    assert decoded == fitted
    return decoded, len(body), cut


def note(text: str) -> dict[str, Any]:
    return {"length": len(text), "digest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"}


@pytest.mark.parametrize("character", ["a", "é", "€", "\U0001f600", '"', "\0"])
def test_the_one_long_value_is_cut_between_characters_and_told(character: str) -> None:
    text = character * 2 * MB
    event, size, cut = through(ToolCallFailureEvent(tool_name="search", error_message=text))
    assert text.startswith(event.error_message)
    assert size > MAX_BODY - 20_000
    assert event.metadata == {"auditwire.truncated": {"error_message": note(text)}}
    assert event.tool_name == "search"
    assert cut == ["error_message"]


@pytest.mark.parametrize("character", ["a", "€", '"', "\0", "\x85"])
def test_a_long_value_of_the_metadata_is_cut_to_what_its_json_may_take(character: str) -> None:
    text = character * 2 * MB
    event, size, cut = through(ToolCallFailureEvent(error_message="short", metadata={"k": text, "n": 1}))
    assert text.startswith(event.metadata["k"])
    assert size > MAX_BODY - 20_000
    assert event.metadata["n"] == 1
    assert event.metadata["auditwire.truncated"] == {"metadata.k": note(text)}
    assert event.error_message == "short"
    assert cut == ["metadata"]


def test_a_long_value_of_the_metadata_that_is_no_text_becomes_the_beginning_of_its_json() -> None:
    value = [{"row": n} for n in range(200_000)]
    event, _, _ = through(TurnStartEvent(metadata={"rows": value}))
    assert json_line(value).startswith(event.metadata["rows"])
    assert event.metadata["auditwire.truncated"] == {"metadata.rows": note(json_line(value))}


def test_an_array_is_cut_between_items_and_the_item_at_the_cut_is_cut_itself() -> None:
    tools = [f"tool {n}" for n in range(200_000)]
    event, size, cut = through(SkillAuthoredEvent(unique_tools=tools))
    *whole, last = event.unique_tools
    assert whole == tools[: len(whole)]
    assert tools[len(whole)].startswith(last)
    assert size > MAX_BODY - 20_000
    assert event.metadata["auditwire.truncated"] == {
        "unique_tools": {**note(json_line(tools)), "items": 200_000}
    }
    assert cut == ["unique_tools"]


def test_one_huge_item_of_an_array_is_cut_and_not_left_out() -> None:
    event, _, _ = through(SkillAuthoredEvent(unique_tools=["first", "x" * 2 * MB]))
    assert event.unique_tools[0] == "first"
    assert len(event.unique_tools[1]) > 800_000


def test_only_the_longest_values_lose() -> None:
    event, size, cut = through(
        ToolCallFailureEvent(
            tool_name="t" * 100_000,
            error_type="e" * 500_000,
            error_message="m" * MB,
            metadata={"k": "v" * 600_000},
        )
    )
    assert event.tool_name == "t" * 100_000
    lengths = [len(event.error_type), len(event.error_message), len(event.metadata["k"])]
    assert max(lengths) - min(lengths) < 100
    assert size > MAX_BODY - 20_000
    assert set(event.metadata["auditwire.truncated"]) == {"error_type", "error_message", "metadata.k"}
    assert cut == ["error_type", "error_message", "metadata"]


def test_a_body_of_exactly_the_limit_is_left_alone_and_one_byte_more_is_cut() -> None:
    head, tail = new_encoder().encode(CustomEvent(payload="x" * 900_000), STREAM)
    room = MAX_BODY - len(join_body(head, LAST, tail))
    event, size, cut = through(CustomEvent(payload="x" * (900_000 + room)))
    assert (size, cut) == (MAX_BODY, [])
    event, _, cut = through(CustomEvent(payload="x" * (900_000 + room + 1)))
    assert cut == ["payload"]
    assert event.metadata["auditwire.truncated"]["payload"]["length"] == 900_000 + room + 1


def test_ten_thousand_keys_keep_their_names_and_the_beginning_of_their_values() -> None:
    metadata = {f"key {n}": f"{n} " * 2_000 for n in range(10_000)}
    event, size, cut = through(TurnStartEvent(prompt_preview="p", metadata=metadata))
    notes = event.metadata.pop("auditwire.truncated")
    assert notes == {"metadata": {**note(json_line(metadata)), "keys": 10_000, "kept": 10_000}}
    assert event.metadata.keys() == metadata.keys()
    assert all(metadata[key].startswith(value) and value for key, value in event.metadata.items())
    assert size > MAX_BODY - 100_000
    assert event.prompt_preview == "p"
    assert cut == ["metadata"]


def test_of_more_keys_than_fit_the_first_are_kept() -> None:
    metadata: dict[str, Any] = {f"k{n:06}": n for n in range(200_000)}
    event, size, _ = through(TurnStartEvent(metadata=metadata))
    notes = event.metadata.pop("auditwire.truncated")["metadata"]
    assert (notes["keys"], notes["kept"]) == (200_000, len(event.metadata))
    assert list(event.metadata.items()) == list(metadata.items())[: len(event.metadata)]
    assert size > MAX_BODY - 100_000


def test_ten_thousand_small_values_beside_a_huge_one_stay_whole() -> None:
    small = {f"key {n}": n for n in range(10_000)}
    event, _, _ = through(TurnStartEvent(metadata={**small, "huge": "x" * 5 * MB}))
    assert {k: event.metadata[k] for k in small} == small
    assert set(event.metadata["auditwire.truncated"]) == {"metadata.huge"}


def test_a_huge_key_goes_by_its_beginning_and_digest() -> None:
    key = "k" * 2 * MB
    event, _, _ = through(TurnStartEvent(metadata={key: "v" * 2 * MB, "other": 1}))
    (name,) = (k for k in event.metadata if k.startswith("kkk"))
    assert hashlib.sha256(key.encode()).hexdigest() in name
    assert event.metadata["auditwire.truncated"] == {f"metadata.{name}": note("v" * 2 * MB)}
    assert event.metadata["other"] == 1


def test_many_huge_keys_leave_the_others_in_place() -> None:
    metadata = {("k" * 20_000) + str(n): n for n in range(100)}
    event, _, _ = through(TurnStartEvent(metadata={"a": 1, **metadata, "z": 2}))
    notes = event.metadata.pop("auditwire.truncated")["metadata"]
    assert (event.metadata["a"], event.metadata["z"]) == (1, 2)
    assert (notes["keys"], notes["kept"]) == (102, len(event.metadata))


@pytest.mark.parametrize("name", ["event_id", "session_id"])
@pytest.mark.parametrize("text", ["i" * 100_000, "€" * 10_000, "i" * 2 * MB])
def test_an_id_that_stands_beside_the_body_too_is_held_shorter(name: str, text: str) -> None:
    event, _, cut = through(TurnStartEvent(**{name: text}))  # type: ignore[arg-type]
    assert text.startswith(getattr(event, name))
    assert MAX_ID - 4 < len(getattr(event, name).encode()) <= MAX_ID
    assert event.metadata == {"auditwire.truncated": {name: note(text)}}
    assert cut == [name]


@pytest.mark.parametrize("text", ["i" * MAX_ID, "€" * (MAX_ID // 3)])
def test_an_id_of_the_greatest_length_is_left_alone(text: str) -> None:
    event, _, cut = through(TurnStartEvent(session_id=text, metadata={"k": "v" * 20_000}))
    assert (event.session_id, cut) == (text, [])


def test_a_long_id_in_a_large_event_is_told_with_its_own_length() -> None:
    event, _, cut = through(TurnStartEvent(session_id="i" * 2 * MB, metadata={"k": "v" * 2 * MB}))
    assert event.metadata["auditwire.truncated"]["session_id"] == note("i" * 2 * MB)
    assert sorted(cut) == ["metadata", "session_id"]


def test_what_was_coerced_in_an_event_that_is_too_large_is_told_whole() -> None:
    event, _, _ = through(TurnStartEvent(prompt_length="\0" * MB, prompt_preview="p" * 2 * MB))  # type: ignore[arg-type]
    assert event.metadata["auditwire.coerced"] == {"prompt_length": "\0" * 1_000}
    assert set(event.metadata["auditwire.truncated"]) == {"prompt_preview"}


def test_an_event_that_is_cut_a_second_time_keeps_the_notes_of_the_first() -> None:
    first = {"old": {"length": 7, "digest": "sha256:0"}}
    event, _, _ = through(
        TurnStartEvent(prompt_preview="p" * 2 * MB, metadata={"auditwire.truncated": first})
    )
    assert event.metadata["auditwire.truncated"] == {**first, "prompt_preview": note("p" * 2 * MB)}


def test_notes_that_are_too_large_to_be_ours_are_cut_as_any_value() -> None:
    foreign = {"auditwire.truncated": {"x": "y" * 2 * MB}, "auditwire.coerced": "z" * 2 * MB}
    event, _, _ = through(TurnStartEvent(metadata=foreign))
    assert "metadata.auditwire.truncated" in event.metadata["auditwire.truncated"]
    assert "metadata.auditwire.coerced" in event.metadata["auditwire.truncated"]


def test_a_control_record_loses_text_but_no_item_of_an_array() -> None:
    entries = ["e" * 44] * 4_000
    event, _, cut = through(CheckpointEvent(entries=entries, resource="r" * 2 * MB))
    assert event.entries == entries
    assert cut == ["resource"]
    event, _, cut = through(QuarantineEvent(reason="r" * 2 * MB))
    assert cut == ["reason"]


def test_the_event_is_not_changed() -> None:
    event = SkillAuthoredEvent(
        source_path="p" * MB,
        unique_tools=["t"] * 300_000,
        metadata={"k": "v" * MB, "auditwire.truncated": {"a": 1}},
    )
    before = copy.deepcopy(event)
    through(event)
    assert event == before


@pytest.mark.parametrize("character", ["a", "\0"])
@pytest.mark.parametrize("place", ["field", "array", "metadata", "nested", "session_id"])
def test_a_value_of_twenty_million_characters_is_cut_in_seconds(character: str, place: str) -> None:
    text = character * 20 * MB + "\ud800"
    event = SkillAuthoredEvent()
    if place == "field":
        event.source_path = text
    elif place == "array":
        event.unique_tools = [text]
    elif place == "session_id":
        event.session_id = text
    else:
        event.metadata = {"k": text if place == "metadata" else {"inner": [text]}}
    began = time.monotonic()
    through(event)
    assert (
        time.monotonic() - began < 20
    )  # a fraction of it on an idle machine; quadratic work would take hours


def test_a_value_of_a_hundred_million_characters_is_cut_in_seconds() -> None:
    event = TurnStartEvent(prompt_preview="\0" * 100 * MB, metadata={"k": "\0" * 100 * MB})
    began = time.monotonic()
    through(event)
    assert time.monotonic() - began < 20


LENGTHS = st.integers(0, 400) | st.integers(0, 400_000)
TEXTS = st.builds(
    lambda unit, n: unit * n, st.sampled_from(["a", "é", "\U0001f600", '"', "\0", "ab\n"]), LENGTHS
)


@settings(max_examples=60, deadline=None)
@given(
    fields=st.lists(TEXTS, min_size=8, max_size=8),
    tools=st.lists(TEXTS, max_size=6),
    metadata=st.dictionaries(TEXTS, TEXTS | st.lists(TEXTS, max_size=3) | st.integers(), max_size=8),
    keys=st.integers(0, 3_000),
)
def test_anything_fits_and_small_events_are_left_alone(
    fields: list[str], tools: list[str], metadata: dict[str, Any], keys: int
) -> None:
    metadata.update({f"key {n}": "v" * (n % 97) for n in range(keys)})
    event = SkillAuthoredEvent(unique_tools=tools, metadata=metadata)
    for name, value in zip(
        ["event_id", "session_id", "turn_id", "agent_id", "tenant_id", "trace_id", "skill_name", "version"],
        fields,
        strict=True,
    ):
        setattr(event, name, value or "x")
    decoded, _, cut = through(event)
    if not cut:
        assert decoded == event
    else:
        assert "auditwire.truncated" in decoded.metadata
