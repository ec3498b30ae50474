"""What a state gives to a check, and what it takes from it.

To a check that reads everything it gives how far it knows each stream: the judge says what has vanished,
shrunk or changed. To an incremental one it gives what was carried of each stream. From both it takes the
reports, one by one.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from auditwire.verification.report import Fault, StreamReport
from auditwire.verification.state import KnownStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from auditwire.verification.facts import FactWriter
    from auditwire.verification.state import State

__all__ = ["Memory", "report_from"]

_KEEP = frozenset({"vanished", "shrunk", "changed", "conflict"})
"""Faults after which a known stream is remembered as it was, so that the next check finds them again."""


class Memory:
    """See the module.

    Args:
        state: The file.
        incremental: Whether the check reads on from where the last one ended.

    Attributes:
        forgotten: How many known streams are gone and excused by retention.
    """

    def __init__(self, state: State, *, incremental: bool) -> None:
        self._state = state
        self._faulty = state.faulty() if incremental else {}
        self._incremental = incremental
        self.forgotten = 0

    def give(self, writer: FactWriter) -> None:
        """Give what is known.

        Raises:
            CarryError: What was carried was made by another version, or is damaged.
        """
        if self._incremental:
            for stream_id, facts in self._state.carried():
                writer.add_carry(stream_id, facts)
        else:
            for known in self._state.streams():
                writer.add_remembered(
                    known.stream_id, known.last_sequence, known.digest, known.last_ms, closed=known.closed
                )

    def knows(self, stream_id: str) -> bool:
        """True when an earlier check has seen the stream."""
        return self._state.stream(stream_id) is not None

    def take(self, report: StreamReport, facts: bytes | None) -> StreamReport | None:
        """Remember a stream.

        Args:
            report: Its report.
            facts: What is to be carried of it; None of a stream at fault.

        Returns:
            The report that holds: of a stream that an incremental check knows to be at fault, the earlier
            one, since the records that showed it were not read again. None of a stream that retention has
            removed.
        """
        before = self._faulty.pop(report.stream_id, None)
        if before is not None:
            return report_from(json.loads(before))
        known = self._state.stream(report.stream_id)
        if not report.records and known is not None:
            report.service = report.service or known.service
            if report.removed and not report.faults:
                self._state.forget(report.stream_id)
                self.forgotten += 1
                return None
        if report.last_digest is not None:
            wrong = any(fault.kind in _KEEP for fault in report.faults)
            self._state.remember(_seen(report, report.last_digest), unless_known=wrong)
        self._state.carry(report.stream_id, facts)
        self._state.blame(report.stream_id, _text(report) if report.faults else None)
        return report

    def rest(self) -> Iterator[StreamReport]:
        """Reports of the streams at fault that an incremental check met no record of."""
        for text in self._faulty.values():
            yield report_from(json.loads(text))


def _seen(report: StreamReport, digest: str) -> KnownStream:
    return KnownStream(
        report.stream_id,
        report.last_sequence,
        bytes.fromhex(digest),
        report.closed,
        report.last_timestamp_ms,
        report.service,
    )


def _text(report: StreamReport) -> str:
    return json.dumps(report.to_dict(), separators=(",", ":"))


def report_from(told: dict[str, Any]) -> StreamReport:
    """The report that :meth:`StreamReport.to_dict` made the members of."""
    values: dict[str, Any] = {
        name: [tuple(ends) for ends in value] if _is_ranges(value) else value for name, value in told.items()
    }
    values["faults"] = [Fault(**fault) for fault in told["faults"]]
    return StreamReport(**values)


def _is_ranges(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)
