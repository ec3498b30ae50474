"""What cannot be proven of a stream, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditwire.verification.ranges import in_words
from auditwire.verification.report import KEPT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from auditwire.verification.report import StreamReport

__all__ = ["bytes_in_words", "carry_notes", "clock_notes", "notes_on", "size_notes"]

_CHANGED = "whether changes were made cannot be told"
_SHOWN = 5  # ranges of bytes that a sentence names


def bytes_in_words(ranges: Sequence[str]) -> str:
    """The first few ranges of bytes, ``segment:from-to``, and how many more there are."""
    more = len(ranges) - _SHOWN
    return ", ".join(ranges[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def clock_notes(report: StreamReport) -> Iterator[str]:
    """The sentence on Kafka timestamps from before the stream; none where there are none."""
    if report.antedated:
        yield (
            f"{report.counts['antedated']} records, from record {report.antedated[0][0]} on, have Kafka "
            "timestamps of more than an hour before the stream: a clock was set meanwhile, or they were "
            "written with another time"
        )


def carry_notes(let_go: int) -> Iterator[str]:
    """The sentence on records that only an earlier check could have compared; none where there are none.

    Args:
        let_go: How many.
    """
    if let_go:
        yield (
            f"{let_go} records came again, or were not listed yet, when an earlier check had let go of their "
            f"digests: {_CHANGED}, except by a check that reads everything"
        )


def size_notes(report: StreamReport) -> Iterator[str]:
    """What the report leaves out because there is too much of it."""
    for name, count in sorted(report.counts.items()):
        if name == "withheld":
            if len(report.withheld) < count:
                yield f"withheld shows the first {KEPT} of {count} sequences"
        elif sum(last - first + 1 for first, last in getattr(report, name)) < count:
            yield f"{name} shows the first {KEPT} ranges: it is {count} sequences in all"
    if report.faults_total > len(report.faults):
        yield f"the first {len(report.faults)} of {report.faults_total} faults are shown"


def notes_on(report: StreamReport, unreadable: Sequence[str]) -> Iterator[str]:
    """The sentences; none for a stream that no recovery record speaks of, or that was closed after all.

    Args:
        report: The finished report.
        unreadable: Ranges of bytes of its journal that could not be read, ``segment:from-to``.
    """
    if not report.recoveries or report.verdict == "complete":
        return
    end = report.recovered_to
    journal = f"record {end}, the last readable one in the journal" if end >= 0 else "the empty journal's end"
    for first, last in report.unproven:
        if first <= end:
            yield f"no checkpoint and no recovery record lists {in_words(first, min(last, end))}: {_CHANGED}"
        if last > end:
            yield f"nothing lists {in_words(max(first, end + 1), last)}, behind {journal}: {_CHANGED}"
    for first, last in report.unaccounted:
        yield (
            f"nothing is known of {in_words(first, last)}, behind {journal}: lost with the journal's end, or "
            "removed from the broker"
        )
    if unreadable:
        yield (
            f"bytes of the journal could not be read (segment:from-to {bytes_in_words(unreadable)}): whether "
            f"they held records behind {journal}, cannot be told"
        )
    if report.machine_restarted:
        yield (
            f"the machine was restarted before the journal was read: whether more had been accepted behind "
            f"{journal}, after its last sync, cannot be told"
        )
