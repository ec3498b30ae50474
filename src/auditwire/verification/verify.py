"""Checks records that a program holds: the same judgement as that of a trail, on what it is given.

``auditwire.stream`` specifies what is compared.

It does not look at signatures, nor at what an earlier check saw: whoever rewrites records *and* checkpoints,
cuts off the end of a stream, or deletes a whole stream, is found out only where another stream names what is
gone.

**Not yet.** A stream's records travel on many partitions. In an honest stream that is being written, a record
may arrive later than records with higher sequences, and later than the checkpoint that lists it. Only a
checkpoint's ``acknowledged`` says what had arrived: an absent record below the highest one is missing, an
absent record above it is awaited.

**A process that was killed, a machine that lost power.** Such a stream has no closing checkpoint. The
recovery record of whoever adopted its journal says how far the journal goes, and lists what no checkpoint
lists. A kill takes nothing from the journal. A loss of power may take what was not synced yet, and the broker
may have got some of that before: records behind the journal's end are unproven, not wrong, and a number that
is absent there is unaccounted for, not missing. A number that is absent *before* the journal's end was
accepted and is gone: where the journal could not be read it is unreadable, else it is missing once nothing
can be on its way.
"""

from __future__ import annotations

import tempfile
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from auditwire.verification.facts import FactWriter
from auditwire.verification.judging import judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from auditwire.reading.record import Record
    from auditwire.verification.report import StreamReport

__all__ = ["check_streams"]


def check_streams(
    records: Iterable[Record], *, topics: Mapping[str, str] | None = None, settled: bool = False
) -> list[StreamReport]:
    """Check every stream that the records belong to.

    All records of a stream are needed, the control records included: what a filter took out is missing here.
    What a recovery or quarantine record says of another stream is found only if both are given.

    Memory is constant in the number of records, apart from the reports: what a check keeps of a record, about
    110 bytes, goes into a temporary directory, which is removed at the end.

    Args:
        records: Records in any order; the same one may come several times.
        topics: Event type -> topic, as given to the collector, for types that are not on ``<prefix>.<type>``.
        settled: True when nothing can be on its way any more: the processes have ended, their journals are
            drained, and the topics were read to their ends after that. What would be awaited is then missing.

    Returns:
        One report for each stream that has a record, or of which a recovery record says that it had; in the
        order of the ids, which is the order in which they were opened. No records give no reports, and that
        proves nothing.

    Raises:
        OSError: The temporary directory cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="auditwire-check-") as directory:
        with FactWriter(Path(directory), topics=topics) as writer:
            for record in records:
                writer.add_record(record)
        return sorted(judge(writer.close(), settled=settled), key=attrgetter("stream_id"))
