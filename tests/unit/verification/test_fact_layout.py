"""The bytes of facts, held to the tables in the modules that own them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditwire.stream import type_key
from auditwire.verification import FactWriter
from auditwire.verification.layout import (
    IDENTITY,
    ROW,
    ROW_BYTES,
    SEQUENCE,
    TIMESTAMP,
    Kind,
    about,
    code_of_topic,
    code_of_type,
    head,
    is_hashed,
    key_of,
    latest_of,
    payload_of,
    sequence_of,
    text_of,
    timestamp_of,
    type_of_code,
)
from auditwire.wire import schema_for
from support.stream_builder import STREAM, StreamBuilder

if TYPE_CHECKING:
    from pathlib import Path


def test_a_row_has_the_bytes_of_the_table() -> None:
    row = ROW.pack(7, b"d" * 32, b"t" * 8, b"k" * 8, -1, -2, 2**64 - 3)
    assert len(row) == ROW_BYTES == 76
    assert row[0:8] == row[SEQUENCE] == (7).to_bytes(8, "big")
    assert row[8:40] == b"d" * 32
    assert row[40:48] == b"t" * 8
    assert row[8:48] == row[IDENTITY]
    assert row[48:56] == b"k" * 8
    assert row[56:60] == b"\xff" * 4
    assert row[60:68] == b"\xff" * 7 + b"\xfe"
    assert row[68:76] == row[TIMESTAMP] == b"\xff" * 7 + b"\xfd"
    assert (sequence_of(row), timestamp_of(row)) == (7, 2**64 - 3)


@given(st.lists(st.integers(0, 2**63), min_size=1))
def test_of_rows_the_latest_time_is_found(times: list[int]) -> None:
    rows = [ROW.pack(0, bytes(32), bytes(8), bytes(8), 0, 0, time) for time in times]
    assert latest_of(rows) == max(times)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_rows_sort_by_their_sequences(one: int, other: int) -> None:
    rows = [ROW.pack(n, bytes(32), bytes(8), bytes(8), 0, 0, 0) for n in (one, other)]
    assert (rows[0] < rows[1]) == (one < other)


def test_heads_sort_before_what_speaks_of_a_record_and_that_by_sequence() -> None:
    claims = [
        about(2, Kind.PRESENT, b""),
        about(1, Kind.CHECKPOINT, b"x"),
        head(Kind.REMEMBERED_HEAD, b"\xff"),
        about(1, Kind.LISTED, b""),
    ]
    assert [claims.index(claim) for claim in sorted(claims)] == [2, 3, 1, 0]
    assert claims[1] == b"\x80" + (1).to_bytes(8, "big") + b"\x26x"
    assert payload_of(claims[1]) == b"x"


def test_the_key_of_a_stream_is_its_uuid() -> None:
    assert key_of(STREAM) == bytes.fromhex(STREAM.replace("-", ""))
    assert text_of(key_of(STREAM)) == STREAM
    assert not is_hashed(key_of(STREAM))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        STREAM.upper().replace("7", "A"),
        STREAM.replace("-", ""),
        STREAM + "\n",
        "01920000-0000-f000-8000-000000000001",
        "\ud800",
    ],
)
def test_any_other_id_has_a_hashed_key_that_no_uuid_has(text: str) -> None:
    key = key_of(text)
    assert is_hashed(key)
    assert len(key) == 16
    assert key_of(text_of(key)) != key


def test_a_type_that_the_installation_knows_is_its_fingerprint() -> None:
    fingerprint = schema_for("turn_start").fingerprint
    text = type_key("turn_start", fingerprint)
    assert code_of_type(text) == fingerprint
    assert type_of_code(fingerprint) == text


def test_any_other_type_is_a_hash_and_never_that_of_a_known_one() -> None:
    fingerprint = schema_for("turn_start").fingerprint
    for text in (type_key("turn_end", fingerprint), "", "\ud800"):
        assert code_of_type(text) != fingerprint
        assert type_of_code(code_of_type(text)) is None
    assert len(code_of_topic("\ud800")) == 8


def test_a_run_has_the_bytes_of_the_table(tmp_path: Path) -> None:
    records = StreamBuilder().turns(2).records
    with FactWriter(tmp_path) as writer:
        for record in records:
            writer.add_record(record)
    (path,) = writer.close()
    data = path.read_bytes()
    assert data[:8] == data[-8:] == b"AWFACTS\x01"
    index_at, streams, names = (int.from_bytes(data[-32 + i : -24 + i], "big") for i in (0, 8, 16))
    assert streams == 1
    index = data[index_at : index_at + 40]
    assert index[:16] == key_of(STREAM)
    start, rows, claims = (int.from_bytes(index[i : i + 8], "big") for i in (16, 24, 32))
    assert (start, rows) == (8, 3)
    assert data[start:].startswith((0).to_bytes(8, "big") + records[0].digest)
    at = start + rows * ROW_BYTES
    first = data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4], "big")]
    assert first[0] == Kind.CHECKPOINT_HEAD
    assert at + claims == index_at
    texts = json.loads(data[index_at + 40 : -32])
    assert len(data[index_at + 40 : -32]) == names
    assert texts == {
        "topics": {code_of_topic(name).hex(): name for name in ("audit.checkpoint", "audit.turn-start")},
        "types": {},
        "sessions": False,
    }
