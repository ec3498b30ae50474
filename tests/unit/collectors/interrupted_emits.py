"""A process of its own, run by test_kafka_interrupted: emits under ten thousand signals, and what is left.

Not inside pytest: an exception in the middle of coverage's or pytest's own bookkeeping would leave
that half done, and the one interval timer is pytest-timeout's.

    python interrupted_emits.py raise-interrupted | raise-timed-out | emit
"""

from __future__ import annotations

import contextlib
import random
import signal
import sys
from typing import TYPE_CHECKING

from auditwire.collectors.kafka import KafkaCollector
from auditwire.collectors.lifetime import unregister
from auditwire.emitter import AuditEmitter
from auditwire.errors import EncodingError
from auditwire.journal import MemoryJournal
from auditwire.wire import decode, frame_single_object, schema_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from auditwire.journal import Record

INTERRUPTIONS = 10_000


class Interrupted(BaseException):
    """As Ctrl-C, and gunicorn's SystemExit."""


class TimedOut(Exception):  # noqa: N818 - beside Interrupted
    """As what SIGALRM handlers raise; an emitter that encodes may take it for a fault of the event."""


def collector_to_nobody() -> KafkaCollector:
    # nobody listens there: everything stays in the journal, where the test looks at it
    collector = KafkaCollector("127.0.0.1:1", journal_bytes=1 << 30, exit_timeout=0)
    collector.begin_close(0)  # the sender ends; the journal is unsealed again below
    collector.end_close(5)
    collector._closed = False
    journal = collector._stream.journal
    assert isinstance(journal, MemoryJournal)
    journal._sealed = False
    for record in journal.take(10):  # the opening and closing checkpoints
        journal.release(record.size)
    journal._held = journal._in - journal._out
    journal.release(journal._held)
    unregister(collector)
    return collector


def interrupt(handler: Callable[[], object], run: Callable[[], object]) -> int:
    """Run until as many signals as wanted have struck, each after a random fraction of a millisecond."""
    struck = 0
    pick = random.Random(7)

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal struck
        struck += 1
        handler()

    def until_struck() -> None:  # a call of its own: what strikes between two rounds is caught too
        before_this = struck
        signal.setitimer(signal.ITIMER_REAL, pick.uniform(1e-6, 150e-6))
        while struck == before_this:
            run()

    before = signal.signal(signal.SIGALRM, on_signal)
    try:
        while struck < INTERRUPTIONS:
            with contextlib.suppress(Interrupted, TimedOut, EncodingError):
                until_struck()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return struck


def read(collector: KafkaCollector) -> list[Record]:
    journal = collector._stream.journal
    records: list[Record] = []
    while batch := journal.take(512):
        records.extend(batch)
    return records


def warm_up(audit: AuditEmitter, collector: KafkaCollector) -> None:
    """The first event of a type makes its encoder, which takes longer than what interrupts it lets it."""
    audit.emit_tool_call_attempt("warm-up")
    for record in read(collector):
        collector._stream.journal.release(record.size)


def tool_name_of(record: Record) -> str:
    fingerprint = schema_for(record.event_type).fingerprint
    event = decode(frame_single_object(fingerprint, record.body)).event
    return str(getattr(event, "tool_name"))  # noqa: B009 - of the type that the test emits


def signals_that_raise(kind: type[BaseException]) -> None:
    collector = collector_to_nobody()
    audit = AuditEmitter(collector, session_id="s", on_error="raise")
    warm_up(audit, collector)
    begun = finished = 0

    def raise_() -> None:
        raise kind

    def run() -> None:
        nonlocal begun, finished
        for _ in range(20):
            begun += 1
            audit.emit_tool_call_attempt(f"tool-{begun}", args="x" * 50)
            finished += 1

    interrupt(raise_, run)
    records = read(collector)
    assert [r.sequence for r in records] == list(
        range(records[0].sequence, records[0].sequence + len(records))
    )
    seen = [tool_name_of(r) for r in records]
    assert len(seen) == len(set(seen))
    assert finished <= len(seen) <= begun
    # what emit returned for is there; what it was interrupted in is there whole or not at all
    assert begun - finished >= INTERRUPTIONS // 4  # else the test interrupted something else
    lost = collector.health().lost.get("encoding", 0)
    assert lost <= begun - len(seen)  # what is accepted is never written down as lost
    journal = collector._stream.journal
    for record in records:
        journal.release(record.size)
    for _ in range(2):
        journal.wait(0)
    assert journal.pending_bytes == 0


def signals_that_emit() -> None:
    collector = collector_to_nobody()
    audit = AuditEmitter(collector, session_id="s", on_error="raise")
    warm_up(audit, collector)
    outer = inner = 0

    def emit_inside() -> None:
        nonlocal inner
        inner += 1
        audit.emit_tool_call_attempt(f"inner-{inner}")

    def run() -> None:
        nonlocal outer
        for _ in range(20):
            outer += 1
            audit.emit_tool_call_attempt(f"outer-{outer}")

    struck = interrupt(emit_inside, run)
    records = read(collector)
    seen = [tool_name_of(r) for r in records]
    assert len(seen) == outer + inner
    assert inner == struck
    for kind, count in (("outer", outer), ("inner", inner)):
        mine = [int(name.split("-")[1]) for name in seen if name.startswith(kind)]
        assert mine == list(range(1, count + 1))
    assert [r.sequence for r in records] == list(
        range(records[0].sequence, records[0].sequence + len(records))
    )


SCENARIOS: dict[str, Callable[[], None]] = {
    "raise-interrupted": lambda: signals_that_raise(Interrupted),
    "raise-timed-out": lambda: signals_that_raise(TimedOut),
    "emit": signals_that_emit,
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[1]]()
    print("whole")  # noqa: T201 - what the test waits for
