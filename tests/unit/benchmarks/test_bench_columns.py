"""What the peers and our columns make of the same values is the same."""

from __future__ import annotations

import io
from datetime import timezone
from typing import TYPE_CHECKING, Any

import fastavro
import pytest
from benchmarks.decode import SCHEMA, values_of

from auditwire.events import ALL_TYPES, TurnStartEvent
from auditwire.reading import Record
from auditwire.wire import decode, schema_for
from support.wire_samples import full_event, value_of

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("pyarrow", reason="needs auditwire[bench]")
pytest.importorskip("pyruhvro", reason="needs auditwire[bench]")
pytest.importorskip("authlib", reason="needs auditwire[bench]")

from benchmarks.readers import columns, deserializer, ruhvro
from pyarrow import parquet


def dictionary(value: bytes) -> dict[str, Any]:
    """By fastavro, which all are held against."""
    event_type = decode(value).event.event_type
    read = fastavro.schemaless_reader(io.BytesIO(value[10:]), schema_for(event_type).parsed, None)
    assert isinstance(read, dict)
    return read


def record(value: bytes) -> Record:
    found = decode(value)
    return Record(
        event=found.event,
        stream_id=found.stream_id,
        sequence=found.sequence,
        topic="audit.any",
        partition=0,
        offset=0,
        timestamp_ms=0,
        key=None,
        headers=[],
        digest=found.digest,
        fingerprint=found.fingerprint,
        framing=found.framing,
        body=found.body,
    )


def every_type() -> list[bytes]:
    """Two values of each type, the second one with as little as may be."""
    none = dict.fromkeys(("session_id", "turn_id", "agent_id", "principal_id", "principal_type", "tenant_id"))
    sparse: dict[str, Any] = {**none, "trace_id": None, "span_id": None, "metadata": {}}
    events = [full_event(cls, **given) for cls in ALL_TYPES.values() for given in ({}, sparse)]
    return [value_of(event, number) for number, event in enumerate(events)]


def rows(batches: list[Any]) -> list[dict[str, Any]]:
    """Of all batches, in the order of their sequences; times with the zone that pyruhvro leaves out."""
    found = [row for batch in batches for row in batch.to_pylist()]
    for row in found:
        row["timestamp"] = row["timestamp"].replace(tzinfo=timezone.utc)
    return sorted(found, key=lambda row: int(row["sequence"]))


def test_the_deserializer_reads_values_of_every_type_as_fastavro_does() -> None:
    read = deserializer.reader("trail")
    for value in every_type():
        assert read(value) == dictionary(value)


def test_pyruhvro_reads_values_of_every_type_as_fastavro_does() -> None:
    values = every_type()
    batches = list(ruhvro.batches([values[:7], values[7:]]))
    assert len(batches) == len(ALL_TYPES)
    assert rows(batches) == [dictionary(value) for value in values]


def test_columns_of_records_of_every_type_hold_what_fastavro_reads() -> None:
    values = every_type()
    batches = [batch for _, batch in columns.batches(map(record, values))]
    assert len(batches) == len(ALL_TYPES)
    assert rows(batches) == [dictionary(value) for value in values]


def test_columns_have_the_names_and_types_of_pyruhvro_and_know_the_time_zone() -> None:
    ((_, ours),) = columns.batches(map(record, values_of(5, rich=True)))
    (theirs,) = ruhvro.batches([values_of(5, rich=True)])
    assert ours.schema.names == theirs.schema.names == [field.name for field in SCHEMA.fields]
    assert str(ours.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    assert [field for field in ours.schema if field.name != "timestamp"] == [
        field for field in theirs.schema if field.name != "timestamp"
    ]


@pytest.mark.parametrize("given", [9, 10, 11, 25])
def test_batches_are_full_but_for_the_last_and_hold_every_row(
    given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "ROWS", 10)
    monkeypatch.setattr(ruhvro, "ROWS", 10)
    values = [value_of(full_event(TurnStartEvent), number) for number in range(given)]
    ours = [batch for _, batch in columns.batches(map(record, values))]
    theirs = list(ruhvro.batches([value] for value in values))
    full, rest = divmod(given, 10)
    assert [batch.num_rows for batch in ours] == [10] * full + [rest] * bool(rest)
    assert [batch.num_rows for batch in theirs] == [10] * full + [rest] * bool(rest)
    assert [row["sequence"] for row in rows(ours)] == [row["sequence"] for row in rows(theirs)]
    assert [row["sequence"] for row in rows(ours)] == list(range(given))


def test_parquet_files_hold_the_rows_of_their_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "ROWS", 1)  # a row group for each of two batches
    values = every_type()
    paths = columns.write_parquet(map(record, values), tmp_path)
    assert {path.name.partition("-")[0] for path in paths} == set(ALL_TYPES)
    assert set(tmp_path.iterdir()) == set(paths)
    assert {parquet.read_metadata(path).num_row_groups for path in paths} == {2}
    # ParquetFile: a dataset would take columns from the names of directories
    tables = [parquet.ParquetFile(path).read() for path in paths]
    assert rows(tables) == [dictionary(value) for value in values]
