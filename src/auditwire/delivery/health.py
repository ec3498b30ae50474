"""What an operator asks a collector: what came in, what went out, what waits, and what went wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from auditwire.delivery.latency import Latency

__all__ = ["LOSS_REASONS", "QUARANTINE_REASONS", "Health", "State"]

State = Literal["ok", "degraded", "failing", "closed"]
"""``ok``: delivering or idle. ``degraded``: topics are parked, or events were lost, withheld or cut.
``failing``: nothing was acknowledged for 10 s though something waits, or the disk refuses the journal.
``closed``: after ``close``."""

LOSS_REASONS = ("journal_full", "closed", "encoding", "refused", "unreadable")
"""Why an event was refused: no room; the collector is closed; it cannot be encoded; anything else. Or why a
record that was accepted never reached the broker: the disk does not give it back as it was written."""

QUARANTINE_REASONS = ("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "internal")
"""Why a record is withheld: the broker's error, or a record that the client itself could not take."""


@dataclass(frozen=True, slots=True)
class Health:
    """A snapshot; all counts since the stream was opened.

    Attributes:
        state: See :data:`State`.
        stream_id: The stream that this process writes.
        accepted: Events accepted into the journal, control records not counted.
        delivered: Events that the broker acknowledged, control records not counted.
        control: Control records written: checkpoints, losses, quarantines.
        pending_records: Records, control records included, that wait for an acknowledgement.
        pending_bytes: Their bytes as the journal's bound counts them.
        capacity_bytes: That bound.
        oldest_seconds: Age of the oldest record that waits; 0.0 when none does.
        lost: Reason -> events refused before they were accepted, or accepted and unreadable on the disk.
        coerced: Field -> values that did not fit and were converted.
        truncated: Field -> values that were cut because the record was too large.
        parked: Topic -> why it takes no records at the moment.
        quarantined: Reason -> records withheld because the broker refuses them for good.
        resent: Records that were produced more than once; readers drop duplicates.
        producers: Producers made so far; more than 1 after fatal errors.
        faults: Errors in callbacks and in the sender itself, each logged.
        last_error: The last error of broker, client or sender, "" when there was none.
        orphans: Stream -> records that were read of it and wait, for streams of other processes that this one
            delivers.
        left_alone: Stream -> where it goes, for those on the journal's path that go elsewhere.
        adopted: Streams of other processes that were delivered to their end.
        adopted_delivered: Events of other processes' streams that the broker acknowledged.
        journal_problem: What the file system refuses the journal at the moment, "" when nothing.
        journal_used_bytes: Bytes of all files on the journal's path; 0 in memory.
        unsynced_records: Records that a loss of power would cost at this moment; all that wait, in memory.
        latency: How long records took from being made to being acknowledged.
    """

    state: State
    stream_id: str
    accepted: int
    delivered: int
    control: int
    pending_records: int
    pending_bytes: int
    capacity_bytes: int
    oldest_seconds: float
    lost: dict[str, int] = field(default_factory=dict)
    coerced: dict[str, int] = field(default_factory=dict)
    truncated: dict[str, int] = field(default_factory=dict)
    parked: dict[str, str] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    resent: int = 0
    producers: int = 0
    faults: int = 0
    last_error: str = ""
    orphans: dict[str, int] = field(default_factory=dict)
    left_alone: dict[str, str] = field(default_factory=dict)
    adopted: int = 0
    adopted_delivered: int = 0
    journal_problem: str = ""
    journal_used_bytes: int = 0
    unsynced_records: int = 0
    latency: Latency = field(default_factory=Latency)

    def to_dict(self) -> dict[str, Any]:
        """The snapshot in JSON's own types."""
        return asdict(self)
