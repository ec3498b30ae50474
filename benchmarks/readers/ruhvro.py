"""pyruhvro, which decodes Avro in Rust into Arrow record batches: 10,000 records of one schema at a time.

It takes bodies and the schema's text. What it makes holds no Python object for a record, so that it is the
peer of what makes columns, not of what makes events. It does not see bytes behind a body's end, and its
timestamps have no time zone.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pyarrow as pa  # noqa: TC002 - pyruhvro needs it and does not ask for it: here it is found missing
from pyruhvro import deserialize_array

from auditwire.wire import all_schemas
from benchmarks.readers.consumer import HEADER, values_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["ROWS", "batch", "batches", "to_arrow"]

ROWS = 10_000
"""Of a batch, but for the last one of each schema."""


def batch(bodies: list[bytes], text: str) -> pa.RecordBatch:
    """A row for each body.

    Args:
        bodies: Avro bodies without framing, all of one schema.
        text: That schema.
    """
    made: pa.RecordBatch = deserialize_array(bodies, text)
    return made


def batches(chunks: Iterable[Sequence[bytes]]) -> Iterator[pa.RecordBatch]:
    """Values in single-object encoding, of any schema -> record batches of one schema each."""
    texts = {schema.fingerprint: schema.text for schema in all_schemas()}
    waiting: defaultdict[bytes, list[bytes]] = defaultdict(list)
    for values in chunks:
        for value in values:
            waiting[value[2:HEADER]].append(value[HEADER:])
        for fingerprint in [known for known, bodies in waiting.items() if len(bodies) >= ROWS]:
            yield batch(waiting.pop(fingerprint), texts[fingerprint])
    for fingerprint, bodies in waiting.items():
        yield batch(bodies, texts[fingerprint])


def to_arrow(bootstrap: str, prefix: str, _: Sequence[str]) -> int:
    """All records in batches, none of which is kept."""
    return sum(made.num_rows for made in batches(values_of(bootstrap, prefix)))
