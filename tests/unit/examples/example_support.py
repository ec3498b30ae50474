"""Runs an example as its reader would, against a broker that the test looks at afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from auditwire.reading import Reader
from auditwire.verification import check_streams

if TYPE_CHECKING:
    from auditwire.events import AuditEvent
    from auditwire.reading import Record
    from auditwire.testing import EmbeddedBroker
    from auditwire.verification import StreamReport

EXAMPLES = Path(__file__).parents[3] / "examples"


class Trail(NamedTuple):
    """What an example left on the broker: its records by stream and sequence, and the streams' reports."""

    records: list[Record]
    reports: list[StreamReport]

    @property
    def events(self) -> list[AuditEvent]:
        """Without control records."""
        return [r.event for r in self.records if r.event.event_type != "checkpoint"]

    def types(self, session_id: str | None = None, turn_id: str | None = None) -> list[str]:
        return [
            e.event_type
            for e in self.events
            if session_id in (None, e.session_id) and turn_id in (None, e.turn_id)
        ]


def run(name: str, *arguments: str) -> str:
    """What the example printed; it has to end with 0 and to write nothing on stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AUDITWIRE_")}
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=90,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), ended
    return ended.stdout


def trail_of(broker: EmbeddedBroker) -> Trail:
    """Everything on the broker, read once the example has ended."""
    with Reader(broker.bootstrap_servers) as reader:
        records = sorted(reader, key=lambda record: (record.stream_id, record.sequence))
    return Trail(records, check_streams(records, settled=True))
