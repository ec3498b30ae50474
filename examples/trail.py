"""What the examples share: the broker they use, and a look at the trail they leave.

In comes a broker's address, or none; out come the run's events as the broker has them, and whether any is
missing. Nothing in here is needed to audit an agent.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from auditwire.reading import Reader
from auditwire.testing import EmbeddedBroker
from auditwire.verification import check_streams

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator


def options(doc: str | None) -> argparse.ArgumentParser:
    """A command line that takes the broker's address, and says what the example shows."""
    parser = argparse.ArgumentParser(description=(doc or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "bootstrap",
        nargs="?",
        default=os.environ.get("AUDITWIRE_BOOTSTRAP_SERVERS"),
        metavar="HOST:PORT",
        help="a Kafka broker (default: AUDITWIRE_BOOTSTRAP_SERVERS, else one that ends with the example)",
    )
    return parser


@contextlib.contextmanager
def broker(address: str | None) -> Iterator[str]:
    """The address; of a broker in memory when there is none."""
    if address:
        yield address
    else:
        with EmbeddedBroker() as embedded:
            yield embedded.bootstrap_servers


def show(bootstrap: str, sessions: Collection[str]) -> bool:
    """Print what these sessions left on the broker, stream by stream; True when nothing is missing.

    It reads the topics from their beginning, because a checkpoint names no session: on a broker with years of
    records that takes its time.
    """
    with Reader(bootstrap) as reader:
        records = list(reader)
    # a stream is checked as a whole: what it holds of other sessions, and its checkpoints, belong to it
    streams = {record.stream_id for record in records if record.event.session_id in sessions}
    records = [record for record in records if record.stream_id in streams]
    # partitions arrive in any order; the sequence puts the records of a stream back into theirs
    for record in sorted(records, key=lambda record: (record.stream_id, record.sequence)):
        event = record.event
        print(
            f"{record.stream_id[-4:]} {record.sequence:>3}  {event.session_id or '-':<10} "
            f"{event.turn_id or '-':<12}  {event.event_type:<20}  {getattr(event, 'tool_name', '')}".rstrip()
        )
    # the collectors are closed, so nothing can be on its way any more
    reports = check_streams(records, settled=True)
    for report in reports:
        print(f"stream {report.stream_id}: {report.verdict}, {report.records} records")
        for fault in report.faults:
            print(f"  {fault.message}", file=sys.stderr)
    # no records give no reports, and that proves nothing
    return bool(reports) and all(report.verdict == "complete" for report in reports)
