"""The broker goes away and comes back while events are emitted all the time: nothing is lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from emit_support import QUICK, FaultRow, assert_complete, collector, read_all, until

from auditwire import JournalFull, KafkaCollector
from auditwire.events import LossEvent, ToolCallAttemptEvent, TurnStartEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from emit_support import Trail
    from typing_extensions import Self

    from rig.broker import Broker
    from rig.container import KafkaCluster

pytest_plugins = ["fault_report"]


class Agents:
    """Threads that emit without a pause but a short one, and remember what became of each event."""

    def __init__(self, kafka: KafkaCollector, threads: int = 4, pause: float = 0.01) -> None:
        self._kafka = kafka
        self._pause = pause
        self._stop = threading.Event()
        self.accepted: list[str] = []
        self.refused: list[str] = []
        self.slowest = 0.0
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(threads)]

    def _run(self, number: int) -> None:
        kinds: tuple[Any, ...] = (TurnStartEvent, ToolCallAttemptEvent)
        count = 0
        while not self._stop.wait(self._pause):
            for _ in range(5):
                count += 1
                event = kinds[count % 2](session_id=f"s-{number}-{count % 10}")
                start = time.monotonic()
                try:
                    self._kafka.emit(event)
                except JournalFull:
                    self.refused.append(event.event_id)
                else:
                    self.accepted.append(event.event_id)
                self.slowest = max(self.slowest, time.monotonic() - start)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def row_of(fault: str, agents: Agents, trail: Trail, lasted: float, recovery: float) -> FaultRow:
    delivered = {r.event.event_id for r in trail.events}
    assert delivered <= {*agents.accepted}  # nothing that emit refused, or that nobody emitted
    return FaultRow(
        fault=fault,
        accepted=len(agents.accepted),
        refused=len(agents.refused),
        delivered=len(delivered),
        lost=len({*agents.accepted} - delivered),
        duplicates=trail.duplicates,
        stall_ms=agents.slowest * 1_000,
        lasted=lasted,
        recovery=recovery,
    )


def recovered(kafka: KafkaCollector, agents: Agents) -> float:
    """Seconds until what has been accepted by now is delivered."""
    start, mark = time.monotonic(), len(agents.accepted)
    until(lambda: kafka.health().delivered >= mark, "what waited is delivered", 60)
    return time.monotonic() - start


def kill(broker: Broker, during: Callable[[], None]) -> None:
    broker.kill()
    during()
    broker.start_again()


def shut_down(broker: Broker, during: Callable[[], None]) -> None:
    broker.shut_down()
    during()
    broker.start_again()


def freeze(broker: Broker, during: Callable[[], None]) -> None:
    broker.pause()
    during()
    broker.unpause()


OUTAGES: dict[str, tuple[int, Callable[[Broker, Callable[[], None]], None]]] = {
    "killed with -9 and started again": (1, kill),
    "shut down and started again": (1, shut_down),
    "frozen and released, twice": (2, freeze),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_what_is_accepted_before_during_and_after_an_outage_is_delivered(
    faulty_broker: Broker, prefix: str, outage: str, fault_table: Callable[[FaultRow], None]
) -> None:
    kafka = collector(faulty_broker, prefix)
    away = recovery = 0.0
    with Agents(kafka) as agents:
        times, break_it = OUTAGES[outage]
        for _ in range(times):
            before = kafka.health().delivered
            until(lambda: kafka.health().delivered > before + 2_000, "events are delivered")  # noqa: B023 - called in this round
            start = time.monotonic()
            break_it(
                faulty_broker, lambda: until(lambda: kafka.health().pending_records > 3_000, "events wait")
            )
            away += time.monotonic() - start
            recovery = max(recovery, recovered(kafka, agents))
    kafka.flush(60)
    health = kafka.health()
    kafka.close()
    trail = read_all(faulty_broker.bootstrap, prefix)
    row = row_of(outage, agents, trail, away, recovery)
    fault_table(row)
    assert (row.lost, row.refused) == (0, 0)
    assert row.accepted == health.accepted == health.delivered == row.delivered
    assert (health.lost, health.quarantined, health.parked, health.faults) == ({}, {}, {}, 0)
    assert_complete(trail.report(kafka.stream_id))
    assert agents.slowest < 1.0


def test_an_outage_beyond_the_journals_room_is_accounted_for_to_the_last_event(
    faulty_broker: Broker, prefix: str, fault_table: Callable[[FaultRow], None]
) -> None:
    kafka = collector(faulty_broker, prefix, journal_bytes=2 << 20, on_full="drop_newest")
    with Agents(kafka) as agents:
        until(lambda: kafka.health().delivered > 1_000, "events are delivered")
        start = time.monotonic()
        faulty_broker.kill()
        until(lambda: len(agents.refused) > 2_000, "the journal is full")
        assert "journal_full" in kafka.health().lost
        faulty_broker.start_again()
        away = time.monotonic() - start
        refused = len(agents.refused)
        recovery = recovered(kafka, agents)
        mark = len(agents.accepted)
        until(lambda: kafka.health().delivered > mark + 1_000, "events are delivered again")
    kafka.flush(60)
    health = kafka.health()
    kafka.close()
    assert refused <= len(agents.refused)
    trail = read_all(faulty_broker.bootstrap, prefix)
    row = row_of("killed, journal of 2 MiB, drop_newest", agents, trail, away, recovery)
    fault_table(row)
    assert row.lost == 0
    assert row.delivered == row.accepted == health.accepted
    assert health.lost == {"journal_full": row.refused}
    declared = [r.event for r in trail.of_type("loss") if isinstance(r.event, LossEvent)]
    assert sum(event.count for event in declared) == row.refused
    assert {event.reason for event in declared} == {"journal_full"}
    report = trail.report(kafka.stream_id)
    assert report.declared_lost == row.refused
    assert {fault.kind for fault in report.faults} == {"declared_loss"}
    assert (report.missing, report.awaited, report.closed) == ([], [], True)


def test_with_on_full_block_one_caller_waits_once_and_then_is_told(
    faulty_broker: Broker, prefix: str
) -> None:
    kafka = collector(faulty_broker, prefix, journal_bytes=2 << 20, full_timeout=1.0)
    kafka.emit(TurnStartEvent())
    kafka.flush()
    faulty_broker.pause()
    waits = []
    refused = 0
    while refused < 100:
        start = time.monotonic()
        try:
            kafka.emit(TurnStartEvent(prompt_preview="x" * 1_000))
        except JournalFull:
            refused += 1
        waits.append(time.monotonic() - start)
    assert max(waits) == pytest.approx(1.0, abs=0.4)
    assert sorted(waits)[-2] < 0.3
    faulty_broker.unpause()
    kafka.flush(60)
    kafka.close()
    assert kafka.health().lost == {"journal_full": 100}
    (report,) = read_all(faulty_broker.bootstrap, prefix).reports
    assert report.declared_lost == 100


def test_a_collector_made_while_the_broker_is_away_delivers_when_it_comes(
    faulty_broker: Broker, prefix: str
) -> None:
    faulty_broker.kill()
    kafka = collector(faulty_broker, prefix)
    for number in range(5_000):
        kafka.emit(TurnStartEvent(session_id=str(number % 100)))
    faulty_broker.start_again()
    kafka.flush(60)
    kafka.close()
    trail = read_all(faulty_broker.bootstrap, prefix)
    assert_complete(trail.reports[0])
    assert len(trail.unique) == 5_000


def test_closing_while_the_broker_is_away_ends_in_time_and_closing_as_it_comes_back_delivers(
    faulty_broker: Broker, prefix: str
) -> None:
    patient, hasty = collector(faulty_broker, prefix), collector(faulty_broker, prefix)
    for kafka in (patient, hasty):
        kafka.emit(TurnStartEvent(session_id="before"))
        kafka.flush()
    faulty_broker.kill()
    for kafka in (patient, hasty):
        for _ in range(1_000):
            kafka.emit(TurnStartEvent(session_id="during"))
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"100\d records"):
        hasty.close(1.0)
    assert time.monotonic() - start < 4
    closing = threading.Thread(target=patient.close, args=(60.0,))
    closing.start()
    faulty_broker.start_again()
    closing.join(60)
    assert patient.health().state == "closed"
    trail = read_all(faulty_broker.bootstrap, prefix)
    assert_complete(trail.report(patient.stream_id))
    assert trail.report(hasty.stream_id).verdict != "complete"


def test_one_broker_killed_of_three_costs_nothing(
    kafka_cluster: KafkaCluster, prefix: str, fault_table: Callable[[FaultRow], None]
) -> None:
    kafka = KafkaCollector(kafka_cluster.bootstrap, prefix=prefix, config=QUICK)
    with Agents(kafka) as agents:
        until(lambda: kafka.health().delivered > 2_000, "events are delivered")
        start = time.monotonic()
        kafka_cluster.nodes[1].kill()
        mark = len(agents.accepted)
        until(lambda: kafka.health().delivered > mark + 2_000, "events are delivered by the others", 60)
        away = time.monotonic() - start
        recovery = recovered(kafka, agents)
    kafka.flush(60)
    kafka.close()
    health = kafka.health()
    trail = read_all(kafka_cluster.bootstrap, prefix)
    row = row_of("one of three brokers killed", agents, trail, away, recovery)
    fault_table(row)
    assert (row.lost, row.refused) == (0, 0)
    assert row.delivered == row.accepted == health.delivered
    assert health.faults == 0
    assert_complete(trail.report(kafka.stream_id))
