"""What is known of the completeness of a session: the verdict on the streams that hold it, in sentences.

In come a session and the reports of a check of its streams, out comes a :class:`Trail`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from auditwire.verification.ranges import in_words, overlaps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from auditwire.sessions.model import Session, StreamShare
    from auditwire.verification import Fault, StreamReport

__all__ = ["HONEST_WORDS", "Standing", "StreamStanding", "Trail", "judge_trail"]

Standing = Literal["complete", "recovered", "open", "fault", "unchecked"]
"""As :data:`auditwire.verification.Verdict`; ``unchecked`` where no check was made."""

_WORST_FIRST: tuple[Standing, ...] = ("fault", "unchecked", "open", "recovered", "complete")

_FAULTY_GAPS = ("missing", "lost with a journal that cannot be read")

_DOUBTFUL = ("missing", "awaited", "unreadable", "unaccounted", "removed", "withheld", "unproven")

_FAULTS = 20
"""Faults of one stream that are told in words."""

HONEST_WORDS = (
    "Unsigned checkpoints show loss, doubling, reordering and edits by anyone who does not rewrite the "
    "checkpoints too. They cannot show that a whole stream was removed, that every process reported, or that "
    "what was reported is true."
)


@dataclass(slots=True)
class StreamStanding:
    """What is known of one stream that holds part of the session.

    Attributes:
        share: What of the session is in it.
        standing: The verdict on the stream.
        service: The service that wrote it; None when no checkpoint tells.
        records: Records of the stream that were looked at, those of other sessions included.
        sealed: Every record from the session's first to its last in this stream is there, and is the one that
            a checkpoint or a recovery record lists.
        sentence: The verdict in words.
        gaps: Ranges of sequences that are not there, first and last, each with what is known of them.
        faults: What is wrong, each as a sentence; at most 20.
        faults_total: How many there are.
        notes: What cannot be proven, and why.
    """

    share: StreamShare
    standing: Standing
    service: str | None = None
    records: int = 0
    sealed: bool = False
    sentence: str = ""
    gaps: list[tuple[int, int, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    faults_total: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def open_gaps(self) -> list[tuple[int, int, str]]:
        """The gaps that are no faults: those are told as faults."""
        return [gap for gap in self.gaps if gap[2] not in _FAULTY_GAPS]


@dataclass(slots=True)
class Trail:
    """What is known of the completeness of a session.

    Attributes:
        standing: The worst of its streams'.
        sentence: The same for people.
        streams: Each stream that holds part of the session.
        notes: What the check says of the trail as a whole.
    """

    standing: Standing
    sentence: str
    streams: list[StreamStanding]
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """In JSON's own types."""
        streams = []
        for stream in self.streams:
            out = asdict(stream)
            share = out.pop("share")
            out["gaps"] = [{"first": first, "last": last, "what": what} for first, last, what in stream.gaps]
            verdict = {"verdict": out.pop("standing"), "session_records": share.pop("records")}
            streams.append({**share, **verdict, **out})
        return {
            "verdict": self.standing,
            "sentence": self.sentence,
            "streams": streams,
            "notes": list(self.notes),
        }


def judge_trail(
    session: Session, reports: Iterable[StreamReport] | None, *, notes: Iterable[str] = ()
) -> Trail:
    """The verdict on a session.

    Args:
        session: The session.
        reports: The reports on its streams; those on others are left aside. None: no check was made.
        notes: What the check says of the trail as a whole.
    """
    known = {report.stream_id: report for report in reports or ()}
    streams = [_standing(share, known.get(share.stream_id)) for share in session.streams]
    standing = min((stream.standing for stream in streams), key=_WORST_FIRST.index)
    return Trail(standing, _sentence(standing, streams), streams, list(notes))


def _standing(share: StreamShare, report: StreamReport | None) -> StreamStanding:
    if report is None:
        return StreamStanding(share, "unchecked", sentence="was not checked")
    gaps = _gaps(report)
    sealed = _is_sealed(share, report, gaps)
    return StreamStanding(
        share,
        report.verdict,
        service=report.service,
        records=report.records,
        sealed=sealed,
        sentence=_of_stream(share, report, sealed=sealed),
        gaps=gaps,
        faults=[_fault(fault) for fault in report.faults[:_FAULTS]],
        faults_total=report.faults_total,
        notes=list(report.notes),
    )


def _is_sealed(share: StreamShare, report: StreamReport, gaps: list[tuple[int, int, str]]) -> bool:
    absent = [(first, last) for first, last, _ in gaps]
    doubtful = (*absent, *report.unproven)
    told = sum(last - first + 1 for first, last in doubtful)
    if report.verdict == "fault" or sum(report.counts.get(name, 0) for name in _DOUBTFUL) > told:
        return False  # where ranges were left out of the report, they may be here
    return not overlaps(doubtful, share.first_sequence, share.last_sequence)


def _gaps(report: StreamReport) -> list[tuple[int, int, str]]:
    gaps = [
        (first, last, what)
        for what, ranges in (
            (_FAULTY_GAPS[0], report.missing),
            ("not arrived yet", report.awaited),
            (_FAULTY_GAPS[1], report.unreadable),
            ("unaccounted for", report.unaccounted),
            ("before what was read, or removed by retention", report.removed),
        )
        for first, last in ranges
    ]
    gaps += [(number, number, "refused by the broker, kept by the producer") for number in report.withheld]
    return sorted(gaps)


def _fault(fault: Fault) -> str:
    where = "" if fault.topic is None else f" ({fault.topic} [{fault.partition}] @ {fault.offset})"
    return f"{fault.message}{where}"


def _of_stream(share: StreamShare, report: StreamReport, *, sealed: bool) -> str:
    """One stream's verdict; the subject is the stream."""
    if report.verdict == "complete":
        return f"is closed, and all its {count(report.records, 'record')} are there and unchanged"
    if report.verdict == "recovered":
        return (
            "ended without being closed; its journal was read afterwards, and all that it held, up to record "
            f"{report.recovered_to}, is there and unchanged"
        )
    if report.verdict == "fault":
        return f"has {count(report.faults_total, 'fault')}"
    state = "is closed" if report.closed else "is still open, or its process ended without closing it"
    if sealed:
        here = in_words(share.first_sequence, share.last_sequence)
        return f"{state}; nothing between the session's first and last record ({here}) is missing or changed"
    rest = "not all of the session's records are there and listed by a checkpoint"
    if 0 <= report.listed_to < share.last_sequence:
        rest += f" (listed up to record {report.listed_to}, the session goes on to {share.last_sequence})"
    return f"{state}; nothing is wrong, but {rest}"


def _sentence(standing: Standing, streams: list[StreamStanding]) -> str:
    held = f"{count(sum(s.share.records for s in streams), 'record')} in {count(len(streams), 'stream')}"
    if standing == "fault":
        bad = sum(stream.standing == "fault" for stream in streams)
        of = "the stream that holds" if len(streams) == 1 else f"{bad} of {len(streams)} streams that hold"
        has = "has" if bad == 1 else "have"
        return (
            f"The trail is at fault: {of} this session {has} faults. What is shown here may be incomplete or "
            "altered."
        )
    if standing == "unchecked":
        return f"Not checked: the session is {held}; whether any is missing or changed is not known."
    if standing == "complete":
        return f"Complete: the session is {held}, and no record of {_these(streams)} is missing or changed."
    if standing == "recovered":
        return (
            f"Complete as far as its processes came: the session is {held}. A process ended without closing "
            "its stream; its journal was read afterwards, and nothing that it had accepted is missing or "
            "changed."
        )
    if all(stream.sealed or stream.standing in {"complete", "recovered"} for stream in streams):
        return (
            f"Complete so far: the session is {held}, and between its first and last record in each none is "
            "missing or changed. A stream is not closed, so that more may follow."
        )
    return (
        f"Nothing is wrong, and it is not proven to the end: the session is {held}, and the last ones are "
        "not all listed by a checkpoint, or have not arrived."
    )


def _these(streams: list[StreamStanding]) -> str:
    return "that stream" if len(streams) == 1 else "these streams"


def count(number: int, what: str) -> str:
    """Such as ``1 record`` and ``1,204 records``."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
