"""Topics that refuse, change or are missing, around processes that are killed and started again."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined] # not all in its __all__
    AdminClient,
    NewPartitions,
    NewTopic,
)
from durable_support import MEBIBYTE, Site, assert_all_delivered, by_agent
from emit_support import until

from auditwire.events import QuarantineEvent, TurnStartEvent

if TYPE_CHECKING:
    from pathlib import Path

    from emit_support import Ended

    from rig.broker import Broker

pytestmark = pytest.mark.needs("create_topics")


@pytest.fixture
def site(broker: Broker, prefix: str, tmp_path: Path) -> Site:
    return Site(broker, prefix, tmp_path)


def finish(futures: dict[str, Any]) -> None:
    for future in futures.values():
        future.result(20)


def create(site: Site, *event_types: str, partitions: int = 6, max_message_bytes: int = 1_048_588) -> None:
    config = {"max.message.bytes": str(max_message_bytes)}
    admin = AdminClient({**site.broker.client(), "log_level": 0})
    finish(
        admin.create_topics(
            [NewTopic(f"{site.prefix}.{name}", partitions, 1, config=config) for name in event_types]
        )
    )


# -- too large -------------------------------------------------------------------------------------------


def test_an_adopter_withholds_what_is_too_large_and_keeps_its_bytes(site: Site) -> None:
    """The process that accepted it never heard of the limit; the one that delivers it says so."""
    create(site, "turn-start", max_message_bytes=20_000)
    ended = site.run("""
import random
from auditwire import JournalCollector

audit = JournalCollector(JOURNAL, prefix=PREFIX)
for number in range(600):
    large = number in (100, 101, 500)
    noise = random.Random(number).randbytes(30_000).hex() if large else ""
    event = TurnStartEvent(agent_id="large" if large else "small", session_id="s", prompt_preview=noise)
    audit.emit(event)
    os.write(accepted, event.event_id.encode() + b"\\n")
os._exit(0)
""")
    assert ended.code == 0, ended.err
    (orphan,) = site.streams
    with site.collector() as kafka:
        until(lambda: site.streams == [kafka.stream_id], "what was left is delivered")
    trail = site.trail()
    delivered = {record.event.event_id for record in trail.events}
    withheld = sorted(set(site.accepted) - delivered)
    assert len(withheld) == 3
    said = [r.event for r in trail.of_type("quarantine") if isinstance(r.event, QuarantineEvent)]
    sequences = {event.quarantined_sequence for event in said}
    assert {event.quarantined_stream for event in said} == {orphan}
    report = trail.report(orphan)
    assert set(report.withheld) == sequences
    assert len(sequences) == 3
    assert (report.faults, report.missing, report.awaited) == ([], [], [])
    kept = site.journal / "quarantine" / orphan
    for event in said:
        assert len((kept / f"{event.quarantined_sequence}.avro").read_bytes()) == event.size + 10
        note = json.loads((kept / f"{event.quarantined_sequence}.json").read_text())
        assert (note["topic"], note["reason"]) == (f"{site.prefix}.turn-start", "MSG_SIZE_TOO_LARGE")
        assert (note["digest"], note["size"]) == (event.quarantined_digest, event.size)


# -- partitions ------------------------------------------------------------------------------------------


def test_partitions_may_be_added_while_processes_emit_are_killed_and_are_started_again(site: Site) -> None:
    create(site, "turn-start", partitions=1)
    stop = threading.Event()
    finished: list[Ended] = []

    def restart() -> None:
        while not stop.is_set():
            ended = site.run("""
audit = make()
for number in range(1500):
    event = TurnStartEvent(agent_id="a", session_id=f"s-{number % 50}")
    audit.emit(event)
    os.write(accepted, event.event_id.encode() + b"\\n")
os.kill(os.getpid(), signal.SIGKILL)
""")
            finished.append(ended)

    thread = threading.Thread(target=restart)
    with site.collector() as kafka:
        emitted: list[str] = []

        def emit(count: int) -> None:
            for number in range(count):
                event = TurnStartEvent(agent_id="b", session_id=f"s-{number % 50}")
                kafka.emit(event)
                emitted.append(event.event_id)

        thread.start()
        for partitions in (2, 5, 12):
            emit(1_000)
            admin = AdminClient({**site.broker.client(), "log_level": 0})
            finish(admin.create_partitions([NewPartitions(f"{site.prefix}.turn-start", partitions)]))
            emit(500)
            until(lambda: kafka.health().delivered == len(emitted), "all of it is delivered")
            runs = len(finished)
            until(lambda: len(finished) > runs + 1, "a process has begun since and is killed")  # noqa: B023 - in this round
        stop.set()
        thread.join()
        kafka.flush(60)
        assert kafka.health().faults == 0
    assert [ended.err for ended in finished if ended.code != -9] == []
    site.recover()
    trail = site.trail()
    assert_all_delivered(site, trail, unsaid=len(emitted))
    counted = by_agent(trail)
    assert counted["b"] == 4_500
    assert {r.event.event_id for r in trail.events} == {*emitted, *site.accepted}
    # who began before the change asks again after five minutes, as Kafka's own clients do
    assert len({record.partition for record in trail.events if record.event.agent_id == "a"}) > 6


# -- a topic that is missing for long --------------------------------------------------------------------

FILL = """
from auditwire.events import TurnEndEvent
audit = make(create_topics=False, journal_bytes=8 << 20, on_full="drop_newest")
refused = count = 0
while refused < 40 and count < 40_000:
    count += 1
    kind = TurnEndEvent if count % 2 else TurnStartEvent
    event = kind(agent_id=sys.argv[5], session_id=f"s-{count % 10}", turn_id="x" * 2_000)
    try:
        audit.emit(event)
    except JournalFull:
        refused += 1
        time.sleep(0.01)
    else:
        os.write(accepted, event.event_id.encode() + b"\\n")
health = audit.health()
print(json.dumps([refused, health.parked, health.journal_used_bytes]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_missing_topic_fills_the_journal_and_all_of_it_arrives_after_two_restarts(site: Site) -> None:
    create(site, "turn-start", "checkpoint", "loss", "recovery")
    bound = 8 * MEBIBYTE
    for name in ("first", "second"):
        ended = site.run(FILL, name, timeout=100)
        assert ended.code == -9, ended.err
        refused, parked, used = ended.said
        assert refused == 40
        if name == "first":
            assert list(parked) == [f"{site.prefix}.turn-end"]
        assert used <= bound
        on_disk = sum(file.stat().st_blocks * 512 for file in site.journal.rglob("*") if file.is_file())
        assert on_disk <= bound * 1.1
    with site.collector(create_topics=False, journal_bytes=bound) as kafka:
        until(lambda: f"{site.prefix}.turn-end" in kafka.health().parked, "the topic is parked again")
        create(site, "turn-end")
        until(lambda: site.streams == [kafka.stream_id], "everything is delivered", 90)
        assert kafka.health().parked == {}
    assert site.left == []
    trail = site.trail()
    assert_all_delivered(site, trail, unsaid=2, refused=True)
    assert len(trail.of_type("turn_end")) > 500
