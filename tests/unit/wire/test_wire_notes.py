"""The notes that the library leaves in the metadata."""

from __future__ import annotations

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from auditwire.wire.notes import add_notes, measured, name_of


@given(text=st.text())
def test_a_measure_is_the_length_in_characters_and_the_digest_of_the_utf8(text: str) -> None:
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert measured(text) == {"length": len(text), "digest": f"sha256:{digest}"}


def test_a_measure_of_much_text_is_the_same_as_in_one_piece() -> None:
    text = "a€\U0001f600" * 1_000_000
    assert measured(text)["digest"] == f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def test_a_short_key_names_itself_and_a_long_one_its_beginning_and_digest() -> None:
    assert name_of("k" * 100) == "k" * 100
    long, other = "k" * 101, "k" * 100 + "l"
    assert name_of(long).startswith("k" * 100)
    assert name_of(long) != name_of(other)
    assert len(name_of("k" * 10_000)) == len(name_of(long)) < 170


def test_notes_are_added_without_changing_the_dictionary_that_was_there() -> None:
    old = {"a": 1}
    metadata: dict[str, Any] = {"notes": old}
    add_notes(metadata, "notes", {"b": 2})
    assert metadata == {"notes": {"a": 1, "b": 2}}
    assert old == {"a": 1}
