"""The test vectors of docs/verification.md, and what this library says of one of their trails."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auditwire.errors import DecodingError
from auditwire.verification import FactWriter, Horizon, judge
from auditwire.verification.outcome import TrailReport
from auditwire.wire import decode
from support.stored import ClientView, Stored

if TYPE_CHECKING:
    from auditwire.reading.record import ClientMessage
    from auditwire.verification import StreamReport

__all__ = ["FILE", "VECTORS", "comparable", "expected", "judged", "reason_of", "stored"]

FILE = Path(__file__).parents[1] / "vectors" / "verification.json"
VECTORS: dict[str, Any] = json.loads(FILE.read_text(encoding="ascii"))

_JUDGED = ("stream_id", "verdict", "records", "last_sequence", "sealed_to", "acknowledged")
_FIELDS = (*_JUDGED, *VECTORS["defaults"])


def _raw(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)


def stored(name: str) -> Stored:
    """A message by its name."""
    said = VECTORS["messages"][name]
    return Stored(
        topic=said["topic"],
        partition=said["partition"],
        offset=said["offset"],
        timestamp_ms=said["timestamp_ms"],
        key=_raw(said["key"]),
        headers=[(header, _raw(value)) for header, value in said["headers"]],
        value=_raw(said["value"]),
    )


def reason_of(value: bytes | None) -> str | None:
    """Why a value is no record; None: it is one."""
    try:
        decode(value)
    except DecodingError as error:
        return error.reason
    return None


def judged(trail: dict[str, Any], directory: Path) -> tuple[TrailReport, list[StreamReport]]:
    """What the check of a live trail says of one of the vectors' trails.

    Args:
        trail: As in the file; what is expected of it is not looked at.
        directory: For the facts.
    """
    ends = trail.get("first_ends", {})
    out = TrailReport(
        prefix=VECTORS["prefix"], sealed=trail.get("sealed", False), compacted=trail.get("compacted", [])
    )

    def undecodable(_message: ClientMessage, error: DecodingError) -> None:
        out.undecodable[error.reason] += 1

    with FactWriter(directory, topics=trail.get("topics")) as writer:
        for message in map(stored, trail["records"]):
            end = ends.get(f"{message.topic}/{message.partition}")
            writer.add_run(
                (message.topic, message.partition),
                [ClientView(message)],
                counted=end is None or message.offset < end,
                on_undecodable=undecodable,
            )
        runs = writer.close()
    horizon = Horizon(trail["horizon_ms"]) if "horizon_ms" in trail else None
    reports = sorted(
        judge(runs, settled=trail.get("settled", False), horizon=horizon), key=lambda report: report.stream_id
    )
    for report in reports:
        out.add(report)
    return out, reports


def expected(stream: dict[str, Any]) -> dict[str, Any]:
    """What the vectors expect of a stream, with what is left out there."""
    return {**VECTORS["defaults"], **stream}


def comparable(report: StreamReport) -> dict[str, Any]:
    """A report in the form of the vectors, faults as kinds and sequences, each pair once."""
    said = report.to_dict()
    faults = sorted({(fault["kind"], fault["sequence"]) for fault in said["faults"]})
    return {**{name: said[name] for name in _FIELDS}, "faults": [list(fault) for fault in faults]}
