"""Columns of a trail's records: Arrow record batches, and Parquet files.

auditwire has no export to either; this is what one writes with ``Reader`` and pyarrow. The records are those
that ``Reader`` hands out: in order, without duplicates, with gaps told. The columns are the fields of the
schema that a record was written with, by their names, the metadata as the text of a JSON object.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from auditwire.wire import all_schemas
from benchmarks.readers.ours import records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from auditwire.reading import Record
    from auditwire.wire import Schema

__all__ = ["ROWS", "Columns", "batches", "replay_to_arrow", "replay_to_parquet", "write_parquet"]

ROWS = 10_000
"""Of a batch, but for the last one of each schema."""

_TYPES = {
    "string": pa.string(),
    "long": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "array": pa.list_(pa.string()),
}
_OF_RECORD = ("stream_id", "sequence")


def _metadata(record: Record) -> str:
    """As compact as on the wire; most records have none."""
    metadata = record.event.metadata
    return json.dumps(metadata, ensure_ascii=False, separators=(",", ":")) if metadata else "{}"


def _getter(name: str) -> Callable[[Record], Any]:
    if name == "metadata":
        return _metadata
    if name in _OF_RECORD:
        return attrgetter(name)
    return attrgetter("event.timestamp_us" if name == "timestamp" else f"event.{name}")


class Columns:
    """Makes record batches of records of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._columns = [
            (pa.timestamp("us", tz="UTC") if field.name == "timestamp" else _TYPES[field.type], field)
            for field in schema.fields
        ]
        self.schema = pa.schema(
            [pa.field(field.name, kind, nullable=field.nullable) for kind, field in self._columns]
        )
        self._getters = [(kind, _getter(field.name)) for kind, field in self._columns]

    def batch(self, records: Sequence[Record]) -> pa.RecordBatch:
        """A row for each record."""
        arrays = [pa.array(map(get, records), kind, size=len(records)) for kind, get in self._getters]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def batches(records: Iterable[Record]) -> Iterator[tuple[Schema, pa.RecordBatch]]:
    """Records of any schema -> record batches of one schema each."""
    schemas = {schema.fingerprint: schema for schema in all_schemas()}
    makers: dict[bytes, tuple[Schema, Columns, list[Record]]] = {}
    for record in records:
        known = makers.get(record.fingerprint)
        if known is None:
            schema = schemas[record.fingerprint]
            known = makers[record.fingerprint] = (schema, Columns(schema), [])
        schema, columns, waiting = known
        waiting.append(record)
        if len(waiting) == ROWS:
            yield schema, columns.batch(waiting)
            waiting.clear()
    for schema, columns, waiting in makers.values():
        if waiting:
            yield schema, columns.batch(waiting)


def write_parquet(records: Iterable[Record], directory: Path) -> list[Path]:
    """One file for each schema, compressed with zstd, a row group for each batch.

    Args:
        records: In any order; each file keeps it.
        directory: It exists; files are named ``<event_type>-<version>.parquet``.
    """
    writers: dict[Path, parquet.ParquetWriter] = {}
    with ExitStack() as opened:
        for schema, batch in batches(records):
            path = directory / f"{schema.event_type}-{schema.version}.parquet"
            if path not in writers:
                made = parquet.ParquetWriter(path, batch.schema, compression="zstd")
                writers[path] = opened.enter_context(made)
            writers[path].write_batch(batch)
    return list(writers)


def replay_to_arrow(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    """All records in batches, none of which is kept."""
    return sum(batch.num_rows for _, batch in batches(records_of(bootstrap, prefix)))


def replay_to_parquet(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    """All records in files of a temporary directory; counted by what the files say at their end."""
    with tempfile.TemporaryDirectory(prefix="auditwire-") as directory:
        paths = write_parquet(records_of(bootstrap, prefix), Path(directory))
        return sum(parquet.read_metadata(path).num_rows for path in paths)
