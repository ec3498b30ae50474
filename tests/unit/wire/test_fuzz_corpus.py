"""The fuzzer's corpus: kept up with the schemas, and every value in it still judged as it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from auditwire.errors import DecodingError
from auditwire.events import ALL_TYPES
from auditwire.wire import Decoded
from support.codecs import both_codecs  # noqa: F401 - a fixture
from support.wire_samples import samples
from support.wire_twins import checked

CORPUS = Path(__file__).parents[2] / "fuzz" / "corpus"
VALUES = {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_the_corpus_is_read_or_refused_alike_by_all(name: str) -> None:
    for event_type in (None, "turn_start", "skill_used"):
        checked(VALUES[name], event_type)


def test_the_corpus_has_all_samples_as_they_are_now() -> None:
    kept = {name: value for name, value in VALUES.items() if not name.startswith("found-")}
    assert kept == samples(), "write it again: PYTHONPATH=tests python tests/fuzz/seeds.py"


def test_every_type_has_a_seed_that_is_read() -> None:
    read = [checked(value) for value in VALUES.values()]
    assert {found.event.event_type for found in read if isinstance(found, Decoded)} == set(ALL_TYPES)


def test_every_reason_to_refuse_a_value_has_a_seed() -> None:
    read = [checked(value) for value in VALUES.values()]
    # no small value is oversized, and no bytes are a tombstone
    assert {found.reason for found in read if isinstance(found, DecodingError)} == {
        "foreign",
        "unknown_fingerprint",
        "truncated",
        "trailing_bytes",
        "malformed",
    }
