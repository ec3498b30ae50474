"""What is said of a stream as a whole, read before its records are judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from auditwire.verification.layout import Kind, head, is_hashed, text_of, unpacked
from auditwire.verification.speech import CHECKPOINT_HEAD, NAMED, RECOVERY
from auditwire.verification.statements import Recovery, Statement, put_together

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from auditwire.verification.cursors import ClaimCursor

__all__ = ["REMEMBERED", "Heads", "Remembered", "read_heads"]

REMEMBERED = Struct(">Q32sqB")


class Remembered(NamedTuple):
    """What a state file knows of a stream."""

    last_sequence: int
    digest: bytes
    last_timestamp_ms: int  # the latest time of an event
    closed: bool


@dataclass(slots=True, kw_only=True)
class Heads:
    """What is known of a stream before its records are looked at.

    Attributes:
        stream_id: Its id.
        wanted: Whether it has a record of a session that was asked for.
        acknowledged: The broker had every record below this sequence, says a checkpoint that counts.
        acknowledged_next: The same, says any checkpoint: all of them count in the next check, below whose
            first ends they lie.
        opened: True when record 0 is an opening checkpoint.
        opened_ms: The time of the checkpoint that is record 0, milliseconds since the Unix epoch; None: none.
        closing: The sequence of the first closing checkpoint.
        trail: As in the first checkpoint.
        service: As in the first checkpoint.
        named_to: The highest sequence that a later stream names; -1: none does.
        delivered_to: The same, of those that count: nothing up to there is on its way any more.
        recovery: What adopters say.
        remembered: What a state file knows.
        duplicates: How many duplicates earlier checks have met.
        first_timestamp_ms: The time of the first event, where only an earlier check has seen it.
        chain: Where the chain of checkpoints stood in an earlier check.
        raw: What has to be carried to a later check as it is; kept only where one is to come.
    """

    stream_id: str
    wanted: bool = True
    acknowledged: int = 0
    acknowledged_next: int = 0
    opened: bool = False
    opened_ms: int | None = None
    closing: int | None = None
    trail: str | None = None
    service: str | None = None
    named_to: int = -1
    delivered_to: int = -1
    recovery: Recovery
    remembered: Remembered | None = None
    duplicates: int = 0
    first_timestamp_ms: int = -1
    chain: list[Any] | None = None
    raw: list[bytes] = field(default_factory=list)

    @property
    def known_to(self) -> int:
        """The last record that others say the stream has; -1: none."""
        return max(self.recovery.last_sequence, self.named_to)


def read_heads(
    key: bytes,
    claims: ClaimCursor,
    has_all: Callable[[str, int, int], bool],
    *,
    sessions: bool,
    carry: bool,
) -> Heads:
    """Read a stream's heads; the cursor stands on the claims about its records then.

    Args:
        key: The stream's key.
        claims: Its claims.
        has_all: As for ``put_together``.
        sessions: True when sessions were asked for.
        carry: True when the stream is to be carried to a later check.
    """
    names = [text.decode("utf-8", "surrogatepass") for text in claims.heads(Kind.NAME)]
    out = Heads(
        stream_id=names[0] if is_hashed(key) and names else text_of(key),
        wanted=not sessions,
        recovery=Recovery(),
    )
    for payload in claims.heads(Kind.CARRIED):
        _of_carried(out, payload)
    for _ in claims.heads(Kind.WANTED):
        out.wanted = True
    if carry and sessions and out.wanted:
        out.raw.append(head(Kind.WANTED))
    for number, payload in enumerate(claims.heads(Kind.CHECKPOINT_HEAD)):
        _of_checkpoint(out, payload, is_first=number == 0)
    for payload in claims.heads(Kind.NAMED):
        sequence, uncounted = NAMED.unpack(payload)
        out.named_to = max(out.named_to, sequence)
        if not uncounted:
            out.delivered_to = max(out.delivered_to, sequence)
    recoveries = claims.heads(Kind.RECOVERY)
    if carry:
        recoveries = _kept(recoveries, out.raw)
    out.recovery = put_together(map(Statement.of, recoveries), has_all)
    for payload in claims.heads(Kind.REMEMBERED_HEAD):
        out.remembered = Remembered(*REMEMBERED.unpack(payload))
    return out


def _kept(recoveries: Iterator[bytes], raw: list[bytes]) -> Iterator[bytes]:
    for payload in recoveries:
        *of, _ = RECOVERY.unpack_from(payload)
        # all that was read in this check lies below the first ends of the next one, and counts there
        raw.append(head(Kind.RECOVERY, RECOVERY.pack(*of, 0) + payload[RECOVERY.size :]))
        yield payload


def _of_carried(out: Heads, payload: bytes) -> None:
    (
        out.acknowledged,
        out.opened,
        out.opened_ms,
        out.closing,
        out.trail,
        out.service,
        out.duplicates,
        out.first_timestamp_ms,
        out.chain,
    ) = unpacked(payload)
    out.acknowledged_next = out.acknowledged


def _of_checkpoint(out: Heads, payload: bytes, *, is_first: bool) -> None:
    sequence, _ = CHECKPOINT_HEAD.unpack_from(payload)
    acknowledged, counted, reason, timestamp_us, trail, service = unpacked(payload[CHECKPOINT_HEAD.size :])
    if is_first and out.trail is None:
        out.trail, out.service = trail, service
    if sequence == 0:
        out.opened |= reason == "open"
        if out.opened_ms is None:
            out.opened_ms = timestamp_us // 1_000
    if reason == "close" and out.closing is None:
        out.closing = sequence
    out.acknowledged_next = max(out.acknowledged_next, acknowledged)
    if counted:
        out.acknowledged = max(out.acknowledged, acknowledged)
